//! `kinctl link`: opens pairing, shows the challenge, and links whoever answers with the right code.

use std::path::PathBuf;
use std::time::Duration;

use kinlink_proto::dbus::{DEVICES, Error, PAIRINGS};
use serde_json::json;

use super::{Ctx, show};
use crate::bus::Bus;
use crate::error::Failure;
use crate::model::{Device, Pairing, short};
use crate::output::Output;
use crate::pairing::{Attempt, describe_peer, tell_failure, warn_anywhere};
use crate::passphrase::{Passphrase, PinArgs};
use crate::prompt::Lines;
use crate::proxy::Options;
use crate::qr::Code;
use crate::when;

/// Link a new device: shows a QR code, then asks for the code that the new device displays
///
/// On the new device run kinctl join with the picture or the text. Nothing is linked before the six digits that the new
/// device displays are typed here; an empty line refuses. They may also be written to standard input, as a line.
/// Ctrl-C cancels and leaves nothing half linked.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Also write the QR code as a PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Also write the QR code as an SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the challenge as text, for kinctl join
    #[arg(long)]
    text: bool,
    /// How long the challenge stays open
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(30..=300))]
    timeout: u32,
    /// Let the new device answer from another network than this one
    #[arg(long)]
    anywhere: bool,
    /// What the account is called, if this makes it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// What this device is called, if this makes the account
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[command(flatten)]
    pin: PinArgs,
}

impl Args {
    fn options(&self) -> Options<'_> {
        let mut options = Options::from([("timeout", self.timeout.into()), ("anywhere", self.anywhere.into())]);
        for (name, value) in [("label", &self.label), ("name", &self.name)] {
            if let Some(value) = value {
                options.insert(name, value.as_str().into());
            }
        }
        options
    }
}

/// How long the new device may take to connect once it is linked, before it is shown as it is: *pending*.
const COMPLETION: Duration = Duration::from_secs(3);

/// The challenge, as the daemon gives it.
struct Offer {
    qr: String,
    text: String,
    expires: u64,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    if args.anywhere {
        warn_anywhere(ctx.out)?;
    }
    let bus = ctx.bus().await?;
    // Before anything is shown: whoever has forgotten it need not begin.
    let pin = tokio::select! {
        pin = pin(ctx.out, &bus, &args.pin) => pin?,
        () = ctx.interrupt.happened() => return Err(Failure::Interrupted("Interrupted.".to_owned())),
    };
    let changes = bus.signals(PAIRINGS).await?;
    let (path, qr, text, expires) = bus.manager().await?.open_pairing(&args.options()).await?;
    let offer = Offer { qr, text, expires };
    let mut attempt = Attempt::new(&bus, path.as_str(), changes).await?;
    let result = tokio::select! {
        result = present_and_follow(ctx.out, &mut attempt, &args, &offer, pin.as_ref()) => result,
        () = ctx.interrupt.happened() => Err(attempt.cancel().await),
    };
    match result {
        Ok(linked) => {
            // It is linked, whatever comes of this wait: what is shown then is how it stands.
            tokio::time::timeout(COMPLETION, completed(&bus, &linked)).await.ok();
            report(ctx.out, &bus, &linked).await
        }
        Err(failure) => tell_failure(ctx.out, &failure).and(Err(failure)),
    }
}

async fn present_and_follow(
    out: &Output,
    attempt: &mut Attempt,
    args: &Args,
    offer: &Offer,
    pin: Option<&Passphrase>,
) -> Result<Pairing, Failure> {
    present(out, args, offer)?;
    follow(out, attempt, pin).await
}

fn present(out: &Output, args: &Args, offer: &Offer) -> Result<(), Failure> {
    let code = Code::new(&offer.qr)?;
    args.png.as_deref().map_or(Ok(()), |path| code.png(path))?;
    args.svg.as_deref().map_or(Ok(()), |path| code.svg(path))?;
    if out.json {
        return out.json(&json!({
            "event": "open", "qr": offer.qr, "text": offer.text, "expires": offer.expires, "png": args.png, "svg": args.svg,
        }));
    }
    for path in [&args.png, &args.svg].into_iter().flatten() {
        out.line(format!(
            "The QR code is in {}. Whoever reads it may ask to be linked: delete it afterwards.",
            path.display()
        ))?;
    }
    if args.text {
        out.line(&offer.text)?;
    } else if args.png.is_none() && args.svg.is_none() || out.screen() {
        // A script that asked for a file needs no drawing; a person at a screen does.
        draw(out, &code, offer)?;
    }
    // Left open: with its line break the code's first row would leave a screen of 24 rows.
    let left = when::left(when::now(), offer.expires);
    out.prompt(format!("Waiting {left} for the new device (kinctl join). Ctrl-C cancels."))
}

fn draw(out: &Output, code: &Code, offer: &Offer) -> Result<(), Failure> {
    let (columns, rows) = code.size();
    let small = rustix::termios::tcgetwinsize(std::io::stdout())
        .is_ok_and(|size| size.ws_col > 0 && (usize::from(size.ws_col) < columns || usize::from(size.ws_row) <= rows));
    if small {
        out.note(format!(
            "The terminal is too small for the QR code: it takes {columns} columns and {} rows. As text:",
            rows + 1
        ))?;
        return out.line(&offer.text);
    }
    code.half_blocks(out.screen()).iter().try_for_each(|row| out.line(row))
}

/// Follows the pairing until it is linked.
async fn follow(out: &Output, attempt: &mut Attempt, pin: Option<&Passphrase>) -> Result<Pairing, Failure> {
    let mut lines: Option<Lines> = None;
    let mut told = String::new();
    // The tries that were left when the code was last asked for: asked once for each.
    let mut asked = None;
    loop {
        let pairing = attempt.state().await?;
        match pairing.state.as_str() {
            "linked" => return Ok(pairing),
            "claimed" if told.is_empty() => {
                out.note("A device answers and proves that it saw the challenge.")?;
                told = "claimed".to_owned();
            }
            "code" if asked != Some(pairing.tries_left) => {
                ask(out, &pairing, told != pairing.peer_id)?;
                told.clone_from(&pairing.peer_id);
                asked = Some(pairing.tries_left);
            }
            _ => {}
        }
        if asked.is_none() {
            attempt.changed().await?;
            continue;
        }
        tokio::select! {
            changed = attempt.changed() => changed?,
            line = lines.get_or_insert_with(Lines::stdin).next(out) => {
                answer(out, attempt, line.as_deref(), pin).await?;
                asked = None;
            }
        }
    }
}

fn ask(out: &Output, pairing: &Pairing, first: bool) -> Result<(), Failure> {
    if out.json {
        let event =
            json!({"event": "peer", "peer": pairing.peer(out), "role": pairing.role, "tries_left": pairing.tries_left});
        return out.json(&event);
    }
    if first {
        out.line(format!("This device asks to be linked as {}:", pairing.role))?;
        describe_peer(out, pairing).iter().try_for_each(|line| out.line(line))?;
    }
    out.prompt("Type the 6-digit code that it displays, to link it (Enter alone refuses): ")
}

/// The PIN, if one is set: asked for, and looked at.
async fn pin(out: &Output, bus: &Bus, args: &PinArgs) -> Result<Option<Passphrase>, Failure> {
    if !bus.status().await?.two_step {
        return Ok(None);
    }
    let pin = Passphrase::pin(out, args.open()?.as_mut()).await?;
    bus.manager().await?.verify_pin(&Options::from([("pin", pin.pipe()?.into())])).await?;
    Ok(Some(pin))
}

async fn answer(out: &Output, attempt: &Attempt, line: Option<&str>, pin: Option<&Passphrase>) -> Result<(), Failure> {
    let Some(code) = line.filter(|line| !line.is_empty()) else {
        attempt.proxy.reject(&Options::new()).await?;
        return Err(Failure::declined("Refused; nothing was linked."));
    };
    let mut options = Options::new();
    if let Some(pin) = pin {
        options.insert("pin", pin.pipe()?.into());
    }
    match attempt.proxy.confirm(code, &options).await.map_err(Failure::from) {
        Err(Failure::Daemon { error: error @ (Error::WrongCode | Error::InvalidArgument), message }) => {
            let failure = Failure::Daemon { error, message };
            wrong(out, attempt.state().await?.tries_left, &failure)
        }
        other => other,
    }
}

fn wrong(out: &Output, tries_left: u32, failure: &Failure) -> Result<(), Failure> {
    if out.json {
        return out.json(&json!({"event": "wrong_code", "tries_left": tries_left}));
    }
    let tries = if tries_left == 1 { "One try is left." } else { &format!("{tries_left} tries are left.") };
    out.note(format!("{} {tries}", out.warn(&out.sentence(&out.report(failure).message))))
}

/// Returns when the new device has said that it knows itself linked.
async fn completed(bus: &Bus, linked: &Pairing) -> Result<(), Failure> {
    let path = format!("{DEVICES}/{}", linked.peer_id);
    let mut signals = bus.signals(&path).await?;
    while bus.device_state(&path).await?.status == "pending" {
        signals.next().await?;
    }
    Ok(())
}

async fn report(out: &Output, bus: &Bus, linked: &Pairing) -> Result<(), Failure> {
    let devices = bus.devices().await?;
    let found = devices.iter().find(|device| device.id == linked.peer_id);
    let device = found.cloned().unwrap_or_default();
    if out.json {
        return out.json(&json!({"event": "linked", "device": device.json(out, &devices)}));
    }
    out.line(out.bold(&format!("{} is linked.", out.name(&linked.peer_name))))?;
    if found.is_some() {
        show::print(out, &device, &devices)?;
    }
    replaced(&device, &devices).try_for_each(|old| {
        let (name, id) = (out.name(&old.name), short(&old.id));
        out.note(format!("{name} ({id}) has the same name and platform. If that is this machine before it was reinstalled, the new one replaces it: kinctl revoke {id}"))
    })
}

/// Devices that the new one may replace: what is in, and calls itself the same on the same platform.
fn replaced<'a>(new: &'a Device, devices: &'a [Device]) -> impl Iterator<Item = &'a Device> {
    let same = |old: &&Device| {
        old.id != new.id && !old.out() && !old.this && (&old.name, &old.platform) == (&new.name, &new.platform)
    };
    devices.iter().filter(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reinstalled_machine_is_offered_as_replacing_its_namesake() {
        let device = |id: &str, name: &str, status: &str| Device {
            id: id.into(),
            name: name.into(),
            platform: "Debian 12".into(),
            status: status.into(),
            ..Device::default()
        };
        let new = device("aaaa", "desktop", "linked");
        let this = Device { this: true, ..device("eeee", "desktop", "linked") };
        let devices = [
            new.clone(),
            device("bbbb", "desktop", "linked"),
            device("cccc", "phone", "linked"),
            device("dddd", "desktop", "revoked"),
            this,
        ];
        let ids: Vec<&str> = replaced(&new, &devices).map(|old| old.id.as_str()).collect();
        assert_eq!(ids, ["bbbb"]);
    }
}
