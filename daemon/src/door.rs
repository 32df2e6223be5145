//! A daemon whose store key is locked: it answers that it is, and waits until it is unlocked.

use std::path::PathBuf;

use anyhow::Context;
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use crate::clock::entropy;
use crate::handle::{Job, KeyView};
use crate::keys::{KeyError, Keys, Means, Place};

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
        loop {
            match jobs.recv().await.context("the bus is gone")? {
                Job::CallerGone(_) => {}
                // Whoever asked may be stopping.
                Job::Ping(answer) => drop(answer.send(())),
                Job::Command(_, _, answer) => drop(answer.send(Err(refusal(view)))),
                Job::MoveKey(wrap, answer) => {
                    let KeyView { place, locked } = view.borrow().clone();
                    drop(wrap);
                    drop(answer.send(Err(KeyError::Locked { place, why: locked.unwrap_or_default() })));
                }
                Job::Unlock(passphrase, answer) => {
                    let door = Self { means: self.means.with(passphrase), ..self.clone() };
                    let opened = spawn_blocking(move || Keys::open(&door.state_dir, &door.means, &mut entropy()));
                    match opened.await.context("the keys are lost")? {
                        Ok(keys) => {
                            view.send_replace(KeyView { place: keys.place(), locked: None });
                            drop(answer.send(Ok(())));
                            return Ok(keys);
                        }
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
            }
        }
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
