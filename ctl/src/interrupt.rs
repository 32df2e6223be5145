//! Ctrl-C and its like, remembered from the first instant on.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Becomes true once, and stays so: an interrupt is never lost between two waits.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts listening for SIGINT, SIGTERM and SIGHUP, which from now on end nothing by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hangup.recv() => {}
            }
            sender.send_replace(true);
            // Kept open: a closed channel would look like an interrupt.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Returns once the user interrupts.
    pub(crate) async fn happened(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|interrupted| *interrupted).await.is_err() {
            // The sender only goes with the runtime.
            std::future::pending::<()>().await;
        }
    }
}
