//! `kinctl pin`: the PIN that linking, revoking and roles need besides this device.

use clap::Subcommand;
use serde_json::json;

use super::Ctx;
use crate::error::Failure;
use crate::model::Manager;
use crate::output::Output;
use crate::passphrase::{Passphrase, PinArgs};
use crate::proxy::Options;
use crate::{table, when};

/// Show the PIN's state, or set, change or remove it
///
/// Where a PIN is set, nobody links a device, revokes another, or changes its role without it, on whichever device: not even
/// with an unlocked one in hand. It is asked for at the terminal. Nobody can find it out for you: write it down.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show whether a PIN is set, by whom, and which devices know
    Status,
    /// Set a PIN: 6 to 64 characters, in any script; several words are best
    Set {
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Change the PIN; the file has the old one in its first line and the new one in its second
    Change {
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Remove the PIN
    Remove {
        #[command(flatten)]
        pin: PinArgs,
    },
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let manager = bus.manager().await?;
    let set = bus.status().await?.two_step;
    match args.verb {
        Some(Verb::Set { .. }) if set => {
            return Err(Failure::Declined {
                message: "A PIN is set.".to_owned(),
                hint: "kinctl pin change changes it.",
            });
        }
        Some(Verb::Change { .. } | Verb::Remove { .. }) if !set => {
            return Err(Failure::Declined { message: "No PIN is set.".to_owned(), hint: "kinctl pin set sets one." });
        }
        Some(Verb::Set { pin }) => {
            let new = Passphrase::new_pin(ctx.out, pin.open()?.as_mut()).await?;
            manager.set_pin(&Options::from([("new", new.pipe()?.into())])).await?;
        }
        Some(Verb::Change { pin }) => {
            let mut file = pin.open()?;
            let old = Passphrase::pin(ctx.out, file.as_mut()).await?;
            // Before the new one is thought of.
            manager.verify_pin(&Options::from([("pin", old.pipe()?.into())])).await?;
            let new = Passphrase::new_pin(ctx.out, file.as_mut()).await?;
            manager.set_pin(&Options::from([("new", new.pipe()?.into()), ("pin", old.pipe()?.into())])).await?;
        }
        Some(Verb::Remove { pin }) => {
            let old = Passphrase::pin(ctx.out, pin.open()?.as_mut()).await?;
            manager.remove_pin(&Options::from([("pin", old.pipe()?.into())])).await?;
        }
        Some(Verb::Status) | None => {}
    }
    print(ctx.out, &bus.status().await?)
}

fn print(out: &Output, status: &Manager) -> Result<(), Failure> {
    if out.json {
        return out.json(&status.pin_json(out));
    }
    table::pairs(&rows(out, status)).iter().try_for_each(|line| out.line(line))
}

fn rows(out: &Output, status: &Manager) -> Vec<(&'static str, String)> {
    if !status.two_step {
        return vec![("PIN", "none is set".to_owned())];
    }
    let (on, of) = (status.pin_known_on, status.pin_known_of);
    let known = if on < of {
        format!("{on} of {of} devices; the others when they come online")
    } else {
        "all devices".to_owned()
    };
    vec![
        ("PIN", "set".to_owned()),
        ("Set by", out.name(&status.pin_set_by)),
        ("On", when::date(status.pin_set_at)),
        ("Known to", known),
    ]
}

impl Manager {
    /// `kinctl pin --json`.
    fn pin_json(&self, out: &Output) -> serde_json::Value {
        let set = self.two_step.then(|| json!({"by": out.name(&self.pin_set_by), "at": self.pin_set_at}));
        json!({"two_step": self.two_step, "set": set, "known_on": self.pin_known_on, "known_of": self.pin_known_of})
    }
}
