//! What both sides of a pairing share: following its state, giving it up, and saying how it ended.

use kinlink_proto::dbus::Error;
use serde_json::json;

use crate::bus::{Bus, Signals};
use crate::error::Failure;
use crate::model::Pairing;
use crate::output::Output;
use crate::proxy::{Options, PairingProxy};

/// A pairing that this process owns: the daemon cancels it when the process goes.
#[derive(Debug)]
pub(crate) struct Attempt {
    bus: Bus,
    path: String,
    changes: Signals,
    /// Its methods.
    pub(crate) proxy: PairingProxy<'static>,
}

impl Attempt {
    /// The pairing at `path`; `changes` are the signals of all pairings since before it was made.
    pub(crate) async fn new(bus: &Bus, path: &str, changes: Signals) -> Result<Self, Failure> {
        Ok(Self { bus: bus.clone(), path: path.to_owned(), changes, proxy: bus.pairing(path).await? })
    }

    /// How it stands. Ended otherwise than linked, it is a failure.
    pub(crate) async fn state(&self) -> Result<Pairing, Failure> {
        let pairing = self.bus.pairing_state(&self.path).await?;
        match pairing.state.as_str() {
            "failed" | "cancelled" => Err(ended(&pairing)),
            _ => Ok(pairing),
        }
    }

    /// Returns when something about it has changed.
    pub(crate) async fn changed(&mut self) -> Result<(), Failure> {
        loop {
            let signal = self.changes.next().await?;
            if signal.header().path().is_some_and(|path| path.as_str() == self.path) {
                return Ok(());
            }
        }
    }

    /// After Ctrl-C: gives it up, and says truly what became of it.
    pub(crate) async fn cancel(&self) -> Failure {
        let cancelled = self.proxy.cancel(&Options::new()).await;
        let linked = self.bus.pairing_state(&self.path).await.is_ok_and(|pairing| pairing.state == "linked");
        Failure::Interrupted(match (linked, cancelled) {
            (true, _) => "Too late to cancel: the device is linked. kinctl revoke undoes it.".to_owned(),
            (false, Ok(())) => "Cancelled; nothing was linked.".to_owned(),
            (false, Err(error)) => format!("Interrupted. kinlinkd cancels the pairing as this program ends ({error})."),
        })
    }
}

/// Says what `--anywhere` gives up.
pub(crate) fn warn_anywhere(out: &Output) -> Result<(), Failure> {
    out.note(out.warn(
        "With --anywhere the other device need not be on this network: it may be anybody's who saw the QR code, anywhere. Compare \
         the fingerprints.",
    ))
}

/// The failure of a pairing that ended, as an event for scripts.
pub(crate) fn tell_failure(out: &Output, failure: &Failure) -> Result<(), Failure> {
    if !out.json {
        return Ok(());
    }
    let report = out.report(failure);
    out.json(&json!({"event": "failed", "error": report.name, "message": out.sentence(&report.message), "exit": report.exit as u8}))
}

/// Lines about the peer. Its name is its own choice; the fingerprint is not.
pub(crate) fn describe_peer(out: &Output, pairing: &Pairing) -> Vec<String> {
    crate::table::pairs(&[
        ("  Name", format!("{}  (self-chosen)", out.name(&pairing.peer_name))),
        ("  Platform", format!("{}  (by its own account)", out.hide("platform", &pairing.peer_platform))),
        ("  Address", out.address(&pairing.peer_address)),
        ("  Fingerprint", pairing.peer_fingerprint.clone()),
    ])
}

fn ended(pairing: &Pairing) -> Failure {
    let fallback = if pairing.state == "cancelled" { Error::Cancelled } else { Error::PairingClosed };
    let error = Error::from_name(&pairing.error).unwrap_or(fallback);
    Failure::Daemon { error, message: pairing.error_message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_pairing_decides_the_exit_code() {
        let exit = |state: &str, error: &str| {
            ended(&Pairing { state: state.into(), error: error.into(), ..Pairing::default() }).report().exit as u8
        };
        assert_eq!(exit("failed", Error::TooManyTries.name()), 7);
        assert_eq!(exit("failed", Error::Expired.name()), 6);
        assert_eq!(exit("failed", Error::Refused.name()), 5);
        assert_eq!(exit("cancelled", ""), 6);
        assert_eq!(exit("failed", "org.example.Unheard"), 6);
    }
}
