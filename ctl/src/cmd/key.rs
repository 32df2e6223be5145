//! `kinctl key` and `kinctl unlock`: where this device's key is kept, and opening it.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::Ctx;
use crate::error::Failure;
use crate::model::Key;
use crate::passphrase::Passphrase;
use crate::proxy::Options;
use crate::table;

/// Show where this device's key is kept, or keep it elsewhere
///
/// The key opens this device's identity and all that Kinlink holds here. Without a command: status.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show where the key is kept, and whether it is open
    Status,
    /// Keep the key elsewhere; it is wiped where it was
    ///
    /// Interrupted at any moment, the key is in the old place or in the new one. A copy that somebody made of the disk before
    /// keeps what it has.
    Move {
        /// Where to
        place: Place,
    },
}

/// As the daemon calls them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// In the clear in a file that only you can read: opens by itself, for whoever has the disk too
    File,
    /// Under a key in your desktop's keyring: opens while that is unlocked, as after logging in
    Keyring,
    /// Under a passphrase, asked for here and whenever kinlinkd starts: see kinctl unlock
    Passphrase,
    /// Under a credential that systemd hands to kinlinkd at its start: see its unit's README
    Credential,
}

/// Open this device's key with its passphrase, or with what is there by now
///
/// While it is locked, kinlinkd reaches no other device and shows none of its sessions. The passphrase is asked for at the
/// terminal, or is read from standard input: systemd-ask-password Kinlink: | kinctl unlock
#[derive(clap::Args, Debug)]
pub(crate) struct Unlock {}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let manager = ctx.bus().await?.manager().await?;
    if let Some(Verb::Move { place }) = args.verb {
        let name = place.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        match place {
            Place::Passphrase => {
                let pipe = Passphrase::chosen(ctx.out).await?.pipe()?;
                manager.move_key(&name, &Options::from([("passphrase", pipe.into())])).await?;
            }
            Place::File | Place::Keyring | Place::Credential => manager.move_key(&name, &Options::new()).await?,
        }
    }
    let key = Key::from(manager.key_status(&Options::new()).await?);
    match args.verb {
        _ if ctx.out.json => ctx.out.json(&json!({"place": key.place, "locked": key.locked, "why": key.why})),
        Some(Verb::Move { .. }) => ctx.out.line(format!("The key of this device is now kept in the {}.", key.place)),
        Some(Verb::Status) | None => {
            let open = if key.locked { "no: ".to_owned() + &key.why } else { "yes".to_owned() };
            let rows = [("Key kept in", key.place), ("Open", open)];
            table::pairs(&rows).iter().try_for_each(|line| ctx.out.line(line))
        }
    }
}

pub(crate) async fn unlock(ctx: &Ctx<'_>) -> Result<(), Failure> {
    let manager = ctx.bus().await?.manager().await?;
    let key = Key::from(manager.key_status(&Options::new()).await?);
    if key.locked {
        let mut options = Options::new();
        if key.place == "passphrase" {
            options.insert("passphrase", Passphrase::asked(ctx.out, "Passphrase: ").await?.pipe()?.into());
        }
        manager.unlock(&options).await?;
    }
    if ctx.out.json {
        return ctx.out.json(&json!({"done": true}));
    }
    ctx.out.line(if key.locked { "The key of this device is open." } else { "It was open already." })
}
