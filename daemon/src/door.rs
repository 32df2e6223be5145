//! A daemon whose store key is locked: it answers that it is, and waits until it is unlocked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::clock::entropy;
use crate::handle::{Job, KeyView};
use crate::keys::{KeyError, Keys, Means, Passphrase, Place, Watch};

/// How long a keyring that changes is left alone: one change comes with others.
const SETTLE: Duration = Duration::from_millis(100);

/// Where the keys are, and what there is to open them with.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) state_dir: PathBuf,
    pub(crate) means: Means,
}

impl Door {
    /// The keys; or why they are locked.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub(crate) fn open(&self) -> Result<Result<Keys, KeyError>, KeyError> {
        match Keys::open(&self.state_dir, &self.means, &mut entropy()) {
            Err(error) if !error.is_locked() => Err(error),
            other => Ok(other),
        }
    }

    /// Answers what can be answered, until the keys are open.
    ///
    /// # Errors
    /// That nobody gives orders any more.
    pub(crate) async fn wait(
        &self,
        jobs: &mut mpsc::Receiver<Job>,
        view: &watch::Sender<KeyView>,
    ) -> anyhow::Result<Keys> {
        let mut keyring = match view.borrow().place {
            Place::Keyring => Watch::start().await,
            _ => None,
        };
        let mut due = None;
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job.context("the bus is gone")?,
                () = changed(&mut keyring) => {
                    due.get_or_insert(Instant::now() + SETTLE);
                    continue;
                }
                () = until(due) => {
                    due = None;
                    if let Ok(keys) = self.open_with(None, view).await? {
                        return Ok(keys);
                    }
                    continue;
                }
            };
            match job {
                Job::CallerGone(_) => {}
                // Whoever asked may be stopping.
                Job::Ping(answer) => drop(answer.send(())),
                Job::Command(_, _, answer) => drop(answer.send(Err(refusal(view)))),
                Job::MoveKey(_, answer) => {
                    let (place, why) = (view.borrow().place, "unlock it first".to_owned());
                    drop(answer.send(Err(KeyError::Locked { place, why })));
                }
                Job::Unlock(passphrase, answer) => match self.open_with(passphrase, view).await? {
                    Ok(keys) => {
                        drop(answer.send(Ok(())));
                        return Ok(keys);
                    }
                    Err(error) => drop(answer.send(Err(error))),
                },
            }
        }
    }

    /// Tries to open the keys, and says how that went.
    async fn open_with(
        &self,
        passphrase: Option<Passphrase>,
        view: &watch::Sender<KeyView>,
    ) -> anyhow::Result<Result<Keys, KeyError>> {
        let door = Self { means: self.means.with(passphrase), ..self.clone() };
        let opened = spawn_blocking(move || Keys::open(&door.state_dir, &door.means, &mut entropy()));
        let opened = opened.await.context("the keys are lost")?;
        match &opened {
            Ok(keys) => drop(view.send_replace(KeyView { place: keys.place(), locked: None })),
            // What was typed wrongly says nothing new of the key.
            Err(KeyError::WrongPassphrase) => {}
            Err(error) => view.send_modify(|view| view.locked = Some(error.to_string())),
        }
        Ok(opened)
    }
}

/// The next change in the keyring.
async fn changed(keyring: &mut Option<Watch>) {
    match keyring {
        Some(keyring) => keyring.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What others may know of these keys.
pub(crate) fn view(keys: &Result<Keys, KeyError>) -> KeyView {
    match keys {
        Ok(keys) => KeyView { place: keys.place(), locked: None },
        Err(KeyError::Locked { place, .. }) => {
            KeyView { place: *place, locked: keys.as_ref().err().map(ToString::to_string) }
        }
        // There was a passphrase file, with another one.
        Err(error) => KeyView { place: Place::Passphrase, locked: Some(error.to_string()) },
    }
}

fn refusal(view: &watch::Sender<KeyView>) -> CommandError {
    CommandError::new(ErrorKind::Locked, view.borrow().locked.clone().unwrap_or_default())
}
