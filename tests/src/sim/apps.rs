//! Apps that ask what changed: one for each device and session, which keeps what it was told when its device is restored.

use std::collections::BTreeSet;

use kinlink_proto::engine::command::{Command, Reply};
use kinlink_proto::engine::error::ErrorKind;
use kinlink_proto::id::{Cursor, SessionId};

use super::world::World;

/// What an app was told.
#[derive(Clone, Debug, Default)]
pub struct App {
    cursor: Option<Cursor>,
    keys: BTreeSet<Vec<u8>>,
    /// Times that it had to begin anew.
    pub anew: usize,
}

impl World {
    /// An app on a device catches up, in small pages.
    pub fn catch_up(&mut self, device: usize, session: SessionId) {
        let mut app = self.apps.remove(&(device, session)).unwrap_or_default();
        loop {
            match self.ask(device, Command::Changes { session, cursor: app.cursor, limit: 2 }) {
                Some(Ok(Reply::Changes(changes, next))) => {
                    app.cursor = Some(next);
                    if changes.is_empty() {
                        break;
                    }
                    for (change, gone) in changes {
                        if gone {
                            app.keys.remove(&change.key)
                        } else {
                            app.keys.insert(change.key)
                        };
                    }
                }
                Some(Err(error)) if error.kind == ErrorKind::CursorExpired && app.cursor.is_some() => {
                    app = App { anew: app.anew + 1, ..App::default() };
                }
                // Ended, out, or stopped: there is nothing to read.
                _ => break,
            }
        }
        self.apps.insert((device, session), app);
    }

    /// The keys that a device lists.
    fn listed(&mut self, device: usize, session: SessionId) -> BTreeSet<Vec<u8>> {
        match self.ask(device, Command::List { session, prefix: Vec::new(), after: None, limit: 1000 }) {
            Some(Ok(Reply::Keys(keys, _))) => keys.into_iter().map(|key| key.key).collect(),
            _ => BTreeSet::new(),
        }
    }
}

/// Whoever followed the changes knows what is listed, however often the device was stopped, restored or told to forget.
///
/// # Errors
/// If an app knows something else.
pub fn know_what_is_listed(world: &mut World, devices: &[usize]) -> Result<(), String> {
    for at in devices {
        for session in world.open_sessions(*at) {
            world.catch_up(*at, session);
            let listed = world.listed(*at, session);
            let app = &world.apps[&(*at, session)];
            if app.keys != listed {
                return Err(format!("an app on device {at} was told of {:?}, listed are {listed:?}", app.keys));
            }
        }
    }
    Ok(())
}
