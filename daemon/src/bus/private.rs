//! The private socket: D-Bus without a bus daemon, for the same user only.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zbus::connection::{AuthMechanism, Builder};
use zbus::{Connection, Guid, MessageStream};

use super::error::StartError;
use super::hub::Hub;
use super::{Private, limits, link, public, stopped};

/// The listening socket. Unlinked when dropped, if it was made here and is still the one.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Socket {
    /// Makes the socket, or takes over the one that was handed in.
    pub(super) fn open(private: Private) -> Result<Self, StartError> {
        match private {
            Private::Listener(listener) => {
                let path = listener.local_addr().ok().and_then(|addr| addr.as_pathname().map(Path::to_owned));
                let failed = |error| StartError::Socket { path: path.unwrap_or_default(), error };
                let nonblocking = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
                Ok(Self { listener: nonblocking.map_err(failed)?, made: None })
            }
            Private::Path(path) => Self::make(&path),
        }
    }

    fn make(path: &Path) -> Result<Self, StartError> {
        let failed = |error| StartError::Socket { path: path.to_owned(), error };
        if let Some(dir) = path.parent() {
            own_directory(dir).map_err(failed)?;
        }
        if is_served(path).map_err(failed)? {
            return Err(StartError::SocketTaken(path.to_owned()));
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let made = Made::at(path).map_err(failed)?;
        // The directory keeps others out from the first instant; this is for those who look at the file.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, made: Some(made) })
    }
}

impl Made {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Whether the file is still the one that was made: a daemon started meanwhile may have replaced it.
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(made) = self.made.take_if(|made| made.is_there())
            && let Err(error) = fs::remove_file(&made.path)
        {
            tracing::warn!("cannot remove {}: {error}", made.path.display());
        }
    }
}

/// Makes the directory if it is not there, and closes it to everybody else.
fn own_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other(format!("{} is not a directory of this user", dir.display())));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether somebody answers there. What a killed daemon left behind is removed.
fn is_served(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Err(io::Error::other("it exists and is not a socket")),
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map(|()| false),
        Err(error) => Err(error),
    }
}

/// Accepts clients until the daemon stops, then unlinks the socket and waits for them to be gone.
pub(super) async fn accept(hub: Arc<Hub>, socket: Socket, mut stop: watch::Receiver<bool>) {
    let guid = Guid::generate();
    let (mut clients, stopping) = (JoinSet::new(), stop.clone());
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = clients.join_next() => if let Err(error) = ended {
                tracing::error!("serving a client of the private socket failed: {error}");
            },
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < limits::PRIVATE_CLIENTS => {
                    clients.spawn(welcome(hub.clone(), stream, guid.clone(), stopping.clone()));
                }
                Ok(_) => tracing::warn!("a client was turned away: {} are connected", limits::PRIVATE_CLIENTS),
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(socket);
    while clients.join_next().await.is_some() {}
}

/// When file descriptors have run out, trying again at once would only take time from those who could release some.
async fn pause(error: &io::Error) {
    tracing::warn!("cannot accept a client of the private socket: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn welcome(hub: Arc<Hub>, stream: UnixStream, guid: Guid<'static>, mut stop: watch::Receiver<bool>) {
    let handshake = timeout(limits::HANDSHAKE, handshake(&hub, stream, guid));
    let done = tokio::select! {
        () = stopped(&mut stop) => return,
        done = handshake => done,
    };
    match done {
        Ok(Ok((messages, side))) => link::serve(hub, messages, side, stop).await,
        Ok(Err(error)) => tracing::debug!("a client of the private socket was not admitted: {error}"),
        Err(_) => tracing::debug!("a client of the private socket did not authenticate in time"),
    }
}

/// The kernel says who is there; EXTERNAL then asks the client to say the same.
async fn handshake(
    hub: &Hub,
    stream: UnixStream,
    guid: Guid<'static>,
) -> Result<(MessageStream, link::Side), zbus::Error> {
    let peer = stream.peer_cred()?;
    if peer.uid() != hub.uid {
        return Err(io::Error::other(format!("it is of the user {}", peer.uid())).into());
    }
    let builder = Builder::unix_stream(stream.into_std()?).server(guid).p2p().auth_mechanism(AuthMechanism::External);
    let messages = builder.build_message_stream().await?;
    // If nobody can say now what it is, it is nobody, and its next call asks again.
    let kind = public::identify(hub, &Connection::from(&messages), None).await.ok();
    Ok((messages, link::Side::Peer(kind)))
}
