//! The store key: where it is kept, moving it, and unlocking it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use kinlink_proto::dbus::Error as Name;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::spawn_blocking;
use zbus::{Message, Variant};

use super::call::Call;
use super::error::Failure;
use super::objects::{Object, text};
use super::options::Options;
use crate::handle::KeyView;
use crate::keys::{KeyError, Passphrase, Place};

/// How long a pipe may take to bring a passphrase. It is written before the call, or by a program that was given the other end.
const READ: Duration = Duration::from_secs(10);

/// What is answered while the store key is locked.
const UNLOCKING: [&str; 2] = ["KeyStatus", "Unlock"];

/// Refuses what cannot be done while the store key is locked.
pub(super) fn check(call: &Call<'_>, object: &Object, method: &str) -> Result<(), Failure> {
    match &call.hub.core.key().borrow().locked {
        Some(_) if *object == Object::Root && UNLOCKING.contains(&method) => Ok(()),
        Some(why) => Err(Failure::new(Name::Locked, why.as_str())),
        None => Ok(()),
    }
}

pub(super) fn status(call: &Call<'_>) -> Result<Message, Failure> {
    Options(call.args()?).finish()?;
    let KeyView { place, locked } = call.hub.core.key().borrow().clone();
    let status: BTreeMap<&str, Variant<'_>> = BTreeMap::from([
        ("Place", place.name().into()),
        ("Locked", locked.is_some().into()),
        ("Why", text(locked.unwrap_or_default()).into()),
        ("Places", Place::ALL.map(Place::name).to_vec().into()),
    ]);
    call.reply(&status)
}

pub(super) async fn move_key(call: &Call<'_>) -> Result<Message, Failure> {
    let (place, options) = call.args::<(&str, _)>()?;
    let unknown = || Failure::argument(format!("place: one of {}", Place::ALL.map(Place::name).join(", ")));
    let place = Place::named(place).ok_or_else(unknown)?;
    let passphrase = passphrase(Options(options)).await?;
    match (place, &passphrase) {
        (Place::Passphrase, None) => return Err(Failure::argument("passphrase: this place needs one")),
        (Place::Passphrase, Some(given)) if given.is_short() => {
            return Err(Failure::argument("passphrase: at least 8 characters; several words are better"));
        }
        (Place::Passphrase, Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(Failure::argument("passphrase: only the place 'passphrase' has one")),
    }
    call.hub.core.move_key(place, passphrase).await.map_err(failure)?;
    call.reply(&())
}

pub(super) async fn unlock(call: &Call<'_>) -> Result<Message, Failure> {
    let passphrase = passphrase(Options(call.args()?)).await?;
    call.hub.core.unlock(passphrase).await.map_err(failure)?;
    call.reply(&())
}

/// The only option. It is read from the open file on a thread of its own: a pipe may take a while.
async fn passphrase(mut options: Options<'_>) -> Result<Option<Passphrase>, Failure> {
    let file = options.file("passphrase")?;
    options.finish()?;
    let Some(file) = file else { return Ok(None) };
    let unreadable = |error: io::Error| Failure::argument(format!("passphrase: {error}"));
    let read = move || Passphrase::read(Patient::new(file));
    spawn_blocking(read).await.map_err(Failure::internal)?.map(Some).map_err(unreadable)
}

/// Reads a pipe that may bring nothing, up to a deadline.
pub(super) struct Patient {
    file: File,
    until: Instant,
}

impl Patient {
    /// From now on.
    pub(super) fn new(file: File) -> Self {
        Self { file, until: Instant::now() + READ }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&left))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => self.file.read(buffer),
        }
    }
}

fn failure(error: Option<KeyError>) -> Failure {
    let Some(error) = error else { return Failure::internal("the daemon is stopping") };
    let name = match error {
        KeyError::Locked { .. } => Name::Locked,
        KeyError::WrongPassphrase => Name::WrongPassphrase,
        KeyError::Io { .. } => Name::Storage,
        _ => Name::Refused,
    };
    Failure::new(name, error.to_string())
}
