//! What the account holds arrives on a device that was just linked: how far it is.

use std::time::Duration;

use kinlink_proto::dbus::ROOT;

use crate::bus::{Bus, Signals};
use crate::error::Failure;
use crate::output::Output;

/// How long another device may take to connect. Whoever waits longer is better told that it goes on without him.
const MEETING: Duration = Duration::from_secs(5);

/// Shows it until everything is here. `signals` are the daemon's, since before.
pub(crate) async fn follow(out: &Output, bus: &Bus, signals: &mut Signals) -> Result<(), Failure> {
    if tokio::time::timeout(MEETING, met(bus, signals)).await.is_err() {
        return out.note("No other device has connected yet: what they hold arrives once one does. See kinctl status.");
    }
    let mut all = 0;
    loop {
        let status = bus.status().await?;
        let Some(percent) = (100 * status.changes_received).checked_div(status.changes_expected) else { break };
        all = status.changes_expected;
        let here = status.changes_received;
        out.progress(format!("Receiving: {here} of {all} changes ({percent} %). Ctrl-C leaves it to kinlinkd."))?;
        changed(signals).await?;
    }
    if all > 0 {
        out.progress(format!("Received {all} changes."))?;
    }
    Ok(())
}

/// Returns when another device is connected.
async fn met(bus: &Bus, signals: &mut Signals) -> Result<(), Failure> {
    while !bus.devices().await?.iter().any(|device| device.online && !device.this) {
        signals.next().await?;
    }
    Ok(())
}

/// Returns when something about the account has changed.
async fn changed(signals: &mut Signals) -> Result<(), Failure> {
    while signals.next().await?.header().path().is_none_or(|path| path.as_str() != ROOT) {}
    Ok(())
}
