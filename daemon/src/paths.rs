//! Where the daemon keeps things, after the XDG Base Directory Specification 0.8.
//!
//! | directory | flag | variable | otherwise |
//! | --- | --- | --- | --- |
//! | state: keys and the store | `--state-dir` | `KINLINK_STATE_DIR` | `$XDG_STATE_HOME/kinlink`, `~/.local/state/kinlink` |
//! | runtime: sockets | `--runtime-dir` | `KINLINK_RUNTIME_DIR` | `$XDG_RUNTIME_DIR/kinlink`, `/run/user/UID/kinlink` |
//!
//! Both are of mode 0700 from their first instant, and are refused if anybody else could look inside.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The store's name in the state directory.
pub const STORE: &str = "store";
/// The store key's name there.
pub const KEY: &str = "key";
/// The identity's name there.
pub const IDENTITY: &str = "identity";
/// The name of the private socket in the runtime directory.
pub const BUS: &str = "bus";
/// The name of our directory within each of the user's.
const OURS: &str = "kinlink";

/// Why a directory or its lock cannot be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// There is no home directory.
    #[error("neither HOME nor XDG_STATE_HOME is set; set one, or say where to keep state with --state-dir")]
    NoState,
    /// There is no runtime directory.
    #[error(
        "XDG_RUNTIME_DIR is not set and {} is not a directory that only you can read; \
         log in through systemd-logind, or choose a directory with --runtime-dir", .0.display()
    )]
    NoRuntime(PathBuf),
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to you (user {me}); choose another directory", .path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our user id.
        me: u32,
    },
    /// Others can look inside.
    #[error("{0} has mode {mode:04o}, so other users can look inside; check who did that, then run: chmod 700 {0}", .path.display())]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another daemon uses it.
    #[error("another kinlinkd{} uses {}; stop it first, or choose another --state-dir", holder(*.pid), .path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// The other's process id, if it has said so yet.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was being made or read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> PathError {
    move |source| PathError::Io { path: path.to_owned(), source }
}

/// What the environment and the command line say. An argument, so that tests need not set the
/// environment of their process.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// `--state-dir`.
    pub state_flag: Option<PathBuf>,
    /// `--runtime-dir`.
    pub runtime_flag: Option<PathBuf>,
    /// `KINLINK_STATE_DIR`.
    pub kinlink_state_dir: Option<OsString>,
    /// `KINLINK_RUNTIME_DIR`.
    pub kinlink_runtime_dir: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// What systemd-logind makes for us: `/run/user/UID`.
    pub run_user: PathBuf,
}

impl Env {
    /// What this process was started with, without flags.
    #[must_use]
    pub fn of_process() -> Self {
        let var = std::env::var_os;
        Self {
            state_flag: None,
            runtime_flag: None,
            kinlink_state_dir: var("KINLINK_STATE_DIR"),
            kinlink_runtime_dir: var("KINLINK_RUNTIME_DIR"),
            xdg_state_home: var("XDG_STATE_HOME"),
            xdg_runtime_dir: var("XDG_RUNTIME_DIR"),
            home: var("HOME"),
            run_user: Path::new("/run/user").join(rustix::process::geteuid().as_raw().to_string()),
        }
    }

    /// The directory for keys and the store; it is not made yet.
    ///
    /// # Errors
    /// [`PathError::NoState`].
    pub fn state_dir(&self) -> Result<PathBuf, PathError> {
        if let Some(chosen) = chosen(self.state_flag.as_deref(), self.kinlink_state_dir.as_ref())? {
            return Ok(chosen);
        }
        let state = absolute(self.xdg_state_home.as_ref());
        let state = state.or_else(|| Some(absolute(self.home.as_ref())?.join(".local/state")));
        state.map(|dir| dir.join(OURS)).ok_or(PathError::NoState)
    }

    /// The directory for sockets; it is not made yet.
    ///
    /// # Errors
    /// [`PathError::NoRuntime`].
    pub fn runtime_dir(&self) -> Result<PathBuf, PathError> {
        if let Some(chosen) = chosen(self.runtime_flag.as_deref(), self.kinlink_runtime_dir.as_ref())? {
            return Ok(chosen);
        }
        if let Some(dir) = absolute(self.xdg_runtime_dir.as_ref()) {
            return Ok(dir.join(OURS));
        }
        match check_private(&self.run_user) {
            Ok(()) => Ok(self.run_user.join(OURS)),
            Err(_) => Err(PathError::NoRuntime(self.run_user.clone())),
        }
    }
}

/// What the user chose, seen from the working directory: a flag comes before a variable.
fn chosen(flag: Option<&Path>, variable: Option<&OsString>) -> Result<Option<PathBuf>, PathError> {
    let variable = variable.filter(|value| !value.is_empty()).map(Path::new);
    let chosen = flag.or(variable).map(|dir| std::path::absolute(dir).map_err(io_at(dir)));
    chosen.transpose()
}

/// The value of an XDG variable; one that is empty or relative counts as not set, as XDG says.
fn absolute(variable: Option<&OsString>) -> Option<PathBuf> {
    variable.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes `dir` and what is missing above it with mode 0700, or checks that `dir` is ours alone.
///
/// # Errors
/// [`PathError`], if it belongs to somebody else or others can look inside.
pub fn make_private(dir: &Path) -> Result<(), PathError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir))?;
    check_private(dir)
}

fn check_private(dir: &Path) -> Result<(), PathError> {
    let meta = fs::metadata(dir).map_err(io_at(dir))?;
    if !meta.is_dir() {
        return Err(io_at(dir)(io::ErrorKind::NotADirectory.into()));
    }
    let (owner, me, mode) = (meta.uid(), rustix::process::geteuid().as_raw(), meta.mode() & 0o7777);
    if owner != me {
        return Err(PathError::Owner { path: dir.to_owned(), owner, me });
    }
    if mode & 0o077 != 0 {
        return Err(PathError::Mode { path: dir.to_owned(), mode });
    }
    Ok(())
}

/// The right to use a state directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    /// An open file with a `flock`, which the kernel drops with it. It is not inherited by children.
    _file: File,
}

impl StateLock {
    /// Takes the lock of `dir`, which exists, and writes our process id into it.
    ///
    /// # Errors
    /// [`PathError::Held`] if another daemon has it.
    pub fn take(dir: &Path) -> Result<Self, PathError> {
        let path = dir.join("lock");
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let mut file = options.open(&path).map_err(io_at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PathError::Held { path: dir.to_owned(), pid: pid(&mut file) }),
            Err(TryLockError::Error(e)) => return Err(io_at(&path)(e)),
        }
        say_pid(&mut file).map_err(io_at(&path))?;
        Ok(Self { _file: file })
    }
}

fn say_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The holder's process id, if it has written it already.
fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
