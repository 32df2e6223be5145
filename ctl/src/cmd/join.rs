//! `kinctl join`: answers a challenge, to link this device.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use kinlink_proto::dbus::{Error, PAIRINGS, ROOT};
use serde_json::json;

use super::Ctx;
use crate::bus::Bus;
use crate::error::Failure;
use crate::model::Pairing;
use crate::output::Output;
use crate::pairing::{Attempt, describe_peer, tell_failure, warn_anywhere};
use crate::prompt::{self, Lines};
use crate::proxy::Options;
use crate::{qr, receiving};

/// The largest picture that is read, in bytes.
const PICTURE: u64 = 64 << 20;

/// Link this device: answers the challenge that kinctl link shows on another one
///
/// Shows which account it would join and as what, asks, then displays the six digits to be typed on the other device.
/// Ctrl-C cancels and leaves nothing half linked. Once it is linked, a terminal shows how what the account holds arrives.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The challenge, or - to read it, or a picture of it, from standard input
    ///
    /// Other users of this machine may see command lines: on a shared one, prefer - or --image.
    #[arg(value_name = "TEXT", required_unless_present = "image", allow_hyphen_values = false)]
    text: Option<String>,
    /// A picture (PNG or JPEG) of the QR code
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    image: Option<PathBuf>,
    /// What becomes of the sessions made here before; asked if there are any, with --yes they are brought
    #[arg(long, value_name = "WHAT", value_enum)]
    sessions: Option<Sessions>,
    /// What this device shall be called
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Let the other device be on another network than this one
    #[arg(long)]
    anywhere: bool,
    /// Do not ask whether to join
    #[arg(long, short)]
    yes: bool,
}

/// What becomes of earlier sessions.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sessions {
    /// Take them along into the account
    Bring,
    /// Delete them
    Discard,
}

impl Sessions {
    fn word(self) -> &'static str {
        match self {
            Self::Bring => "bring",
            Self::Discard => "discard",
        }
    }
}

impl Args {
    fn options(&self) -> Options<'_> {
        let mut options = Options::from([("anywhere", self.anywhere.into())]);
        if let Some(name) = &self.name {
            options.insert("name", name.as_str().into());
        }
        options
    }

    fn stdin_taken(&self) -> bool {
        self.text.as_deref() == Some("-")
    }
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let challenge = challenge(&args)?;
    if args.anywhere {
        warn_anywhere(ctx.out)?;
    }
    let bus = ctx.bus().await?;
    let changes = bus.signals(PAIRINGS).await?;
    let path = bus.manager().await?.join(&challenge, &args.options()).await?;
    let mut attempt = Attempt::new(&bus, path.as_str(), changes).await?;
    let result = tokio::select! {
        result = follow(ctx.out, &bus, &mut attempt, &args) => result,
        () = ctx.interrupt.happened() => Err(attempt.cancel().await),
    };
    match result {
        Ok(linked) => {
            report(ctx.out, &bus, &linked).await?;
            receive(ctx, &bus).await
        }
        Err(failure) => tell_failure(ctx.out, &failure).and(Err(failure)),
    }
}

/// The challenge as text, from wherever it is given.
fn challenge(args: &Args) -> Result<String, Failure> {
    let bytes = match (&args.image, &args.text) {
        (Some(path), _) => return qr::read(&file(path)?),
        (None, Some(text)) if text == "-" => stdin()?,
        (None, text) => text.clone().unwrap_or_default().into_bytes(),
    };
    if qr::is_picture(&bytes) {
        return qr::read(&bytes);
    }
    let not_text = |_| Failure::Picture("That is neither a challenge nor a PNG or JPEG.".to_owned());
    Ok(String::from_utf8(bytes).map_err(not_text)?.trim().to_owned())
}

fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(PICTURE).read_to_end(&mut bytes));
    read.map_err(|source| Failure::File { path: path.display().to_string(), source })?;
    Ok(bytes)
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().take(PICTURE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Follows the pairing until this device is linked.
async fn follow(out: &Output, bus: &Bus, attempt: &mut Attempt, args: &Args) -> Result<Pairing, Failure> {
    let (mut accepted, mut dialling, mut shown) = (false, false, String::new());
    loop {
        let pairing = attempt.state().await?;
        match pairing.state.as_str() {
            "linked" => return Ok(pairing),
            "dialling" if !dialling => {
                dialling = true;
                out.note(format!("Looking for the device {} …", pairing.peer_fingerprint))?;
            }
            "offered" if !accepted => {
                accepted = true;
                offered(out, bus, attempt, args, &pairing).await?;
                continue;
            }
            "code" => display(out, attempt, &pairing, &mut shown).await?,
            _ => {}
        }
        attempt.changed().await?;
    }
}

/// Shows the offer and accepts it, if the user agrees before the other side gives up.
async fn offered(
    out: &Output,
    bus: &Bus,
    attempt: &mut Attempt,
    args: &Args,
    pairing: &Pairing,
) -> Result<(), Failure> {
    describe(out, pairing)?;
    let agreed = tokio::select! {
        agreed = agree(out, bus, args) => agreed?,
        failure = lost(attempt) => return Err(failure),
    };
    let Some(options) = agreed else {
        attempt.proxy.reject(&Options::new()).await?;
        return Err(Failure::declined("Not joined."));
    };
    attempt.proxy.accept(&options).await?;
    out.note("Accepted. Waiting for the other device …")
}

fn describe(out: &Output, pairing: &Pairing) -> Result<(), Failure> {
    if out.json {
        return out.json(&json!({
            "event": "offer",
            "account": pairing.account,
            "label": out.name(&pairing.label),
            "role": pairing.role,
            "custody": pairing.custody,
            "peer": pairing.peer(out),
        }));
    }
    let label = if pairing.label.is_empty() {
        "a new account".to_owned()
    } else {
        format!("the account \"{}\"", out.name(&pairing.label))
    };
    out.line(format!("This device would join {label} as {} ({}).", pairing.role, pairing.custody))?;
    out.line("It is offered by:")?;
    describe_peer(out, pairing).iter().try_for_each(|line| out.line(line))
}

/// What to accept with; none if the user does not agree.
async fn agree(out: &Output, bus: &Bus, args: &Args) -> Result<Option<Options<'static>>, Failure> {
    let mut person = None;
    if !args.yes {
        let asked = person.insert(Lines::person(args.stdin_taken()).ok_or_else(prompt::nobody)?);
        if asked.choose(out, "Join it? [y/N]", &["yes"]).await?.is_none() {
            return Ok(None);
        }
    }
    let sessions = match args.sessions {
        Some(choice) => Some(choice.word()),
        None if has_sessions(bus).await? => choose(out, person).await?,
        None => Some(Sessions::Bring.word()),
    };
    Ok(sessions.map(|word| Options::from([("sessions", word.into())])))
}

async fn has_sessions(bus: &Bus) -> Result<bool, Failure> {
    let filter = Options::from([("state", "all".into()), ("limit", 1_u32.into())]);
    let (sessions, cursor) = bus.manager().await?.list_sessions(&filter).await?;
    Ok(!sessions.is_empty() || !cursor.is_empty())
}

async fn choose(out: &Output, person: Option<Lines>) -> Result<Option<&'static str>, Failure> {
    let words = [Sessions::Bring.word(), Sessions::Discard.word()];
    match person {
        Some(mut lines) => {
            lines
                .choose(
                    out,
                    "Sessions were made on this device before. Bring them along, or discard them? [bring/discard]",
                    &words,
                )
                .await
        }
        None => Ok(Some(Sessions::Bring.word())),
    }
}

/// Returns when the pairing has ended while the user was being asked.
async fn lost(attempt: &mut Attempt) -> Failure {
    loop {
        if let Err(failure) = attempt.changed().await {
            return failure;
        }
        if let Err(failure) = attempt.state().await {
            return failure;
        }
    }
}

/// Displays the code, and again whenever it is another.
async fn display(out: &Output, attempt: &Attempt, pairing: &Pairing, shown: &mut String) -> Result<(), Failure> {
    let code = match attempt.proxy.code(&Options::new()).await.map_err(Failure::from) {
        Ok(code) if code == *shown => return Ok(()),
        Ok(code) => code,
        // It went on since its state was read; what it is now is signalled.
        Err(Failure::Daemon { error: Error::PairingClosed | Error::Refused, .. }) => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let again = !std::mem::replace(shown, code.clone()).is_empty();
    if out.json {
        return out.json(&json!({"event": "code", "code": code, "tries_left": pairing.tries_left}));
    }
    if again {
        out.note(out.warn("A wrong code was typed on the other device. The new one:"))?;
    }
    out.line(format!("Type this code on the other device:  {}", out.bold(&spaced(&code))))?;
    out.note("Waiting for it to be typed there. Ctrl-C cancels.")
}

/// "123456" as "123 456".
fn spaced(code: &str) -> String {
    code.split_at_checked(3).map_or_else(|| code.to_owned(), |(a, b)| format!("{a} {b}"))
}

async fn report(out: &Output, bus: &Bus, linked: &Pairing) -> Result<(), Failure> {
    let devices = bus.devices().await?;
    if out.json {
        let device = devices.iter().find(|device| device.this).cloned().unwrap_or_default();
        return out.json(&json!({
            "event": "linked", "account": linked.account, "label": out.name(&linked.label), "device": device.json(out, &devices),
        }));
    }
    let count = devices.iter().filter(|device| !device.out()).count();
    out.line(
        out.bold(&format!("Linked: this device is one of {count} of the account \"{}\".", out.name(&linked.label))),
    )
}

/// For somebody who looks on. It goes on without.
async fn receive(ctx: &Ctx<'_>, bus: &Bus) -> Result<(), Failure> {
    if !ctx.out.screen() || ctx.out.json {
        return Ok(());
    }
    let mut signals = bus.signals(ROOT).await?;
    tokio::select! {
        shown = receiving::follow(ctx.out, bus, &mut signals) => shown,
        () = ctx.interrupt.happened() => ctx.out.note("The rest arrives without this: kinctl status says how far it is."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        let (text, image, sessions, name) = (Some(text.to_owned()), None, None, None);
        Args { text, image, sessions, name, anywhere: false, yes: false }
    }

    #[test]
    fn a_pasted_challenge_is_trimmed() {
        assert_eq!(challenge(&args("  KL:ABC\n")).unwrap(), "KL:ABC");
    }

    #[test]
    fn codes_are_spaced_for_reading() {
        assert_eq!(spaced("012345"), "012 345");
        assert_eq!(spaced(""), "");
    }
}
