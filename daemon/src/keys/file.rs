//! Small secret files: private from their first instant, replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::error::{KeyError, io_at};

/// Bytes of magic and version.
const HEADER: usize = 9;

/// What kind of file it is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) magic: [u8; 8],
    /// How many bytes stand behind the header, at least and at most, for each version from 1 on.
    pub(super) bodies: &'static [(usize, usize)],
}

impl Kind {
    /// The first bytes of such a file.
    pub(super) fn header(self, version: u8) -> [u8; HEADER] {
        let mut header = [version; HEADER];
        header[..8].copy_from_slice(&self.magic);
        header
    }

    fn longest(self) -> usize {
        self.bodies.iter().map(|(_, most)| *most).max().unwrap_or_default()
    }
}

/// What stands behind the magic of a file.
pub(super) struct Body {
    pub(super) version: u8,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// What `name` is called while it is written.
pub(super) fn unfinished(name: &str) -> String {
    format!("{name}.tmp")
}

/// A directory of such files. Only one process changes it.
pub(super) struct Dir<'a> {
    path: &'a Path,
    /// How many more steps succeed: a test stops at each.
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<usize>,
}

impl<'a> Dir<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Self {
            path,
            #[cfg(test)]
            steps: std::cell::Cell::new(usize::MAX),
        }
    }

    /// Where `name` lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is anything of this name.
    pub(super) fn has(&self, name: &str) -> Result<bool, KeyError> {
        let path = self.path(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_at(&path)(e)),
        }
    }

    /// What stands in `name`; `None` if there is no such file.
    pub(super) fn read(&self, name: &str, kind: Kind) -> Result<Option<Body>, KeyError> {
        let path = self.path(name);
        let file = match options().read(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_at(&path)(e)),
        };
        check(&path, &file)?;
        let size = HEADER + kind.longest();
        // Never grown, so no copy is left behind; one byte more shows that the file is too long.
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
        file.take(size as u64 + 1).read_to_end(&mut bytes).map_err(io_at(&path))?;
        parse(&path, kind, &bytes).map(Some)
    }

    /// Replaces `name`, or makes it; durable on return.
    pub(super) fn write(&self, name: &str, kind: Kind, version: u8, body: &[u8]) -> Result<(), KeyError> {
        let unfinished = unfinished(name);
        let path = self.path(&unfinished);
        self.erase(&unfinished)?;
        let bytes = Zeroizing::new([&kind.header(version), body].concat());
        self.create(&path, &bytes).map_err(io_at(&path))?;
        self.rename(&unfinished, name)
    }

    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let mut file = options().write(true).create_new(true).mode(0o600).open(path)?;
        self.step()?;
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        file.write_all(first)?;
        self.step()?;
        file.write_all(rest)?;
        file.sync_all()
    }

    /// Renames a file, durably.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), KeyError> {
        let to = self.path(to);
        self.step().map_err(io_at(&to))?;
        fs::rename(self.path(from), &to).map_err(io_at(&to))?;
        self.step().map_err(io_at(&to))?;
        File::open(self.path).and_then(|dir| dir.sync_all()).map_err(io_at(self.path))
    }

    /// Overwrites `name`, if it is there, and removes it.
    pub(super) fn erase(&self, name: &str) -> Result<(), KeyError> {
        self.overwrite(name);
        let path = self.path(name);
        self.step().map_err(io_at(&path))?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_at(&path)(e)),
            _ => Ok(()),
        }
    }

    /// Overwrites `name` in place, if it is there and can be overwritten: the best that can be done.
    pub(super) fn overwrite(&self, name: &str) {
        let path = self.path(name);
        match self.zero(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{}: the old key could not be overwritten: {e}", path.display());
            }
            _ => {}
        }
    }

    fn zero(&self, path: &Path) -> io::Result<()> {
        let mut file = options().write(true).open(path)?;
        let zeros = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(4096)];
        self.step()?;
        let (first, rest) = zeros.split_at(zeros.len() / 2);
        file.write_all(first)?;
        self.step()?;
        file.write_all(rest)?;
        file.sync_all()
    }

    #[cfg(not(test))]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        let left = self.steps.get().checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
        self.steps.set(left);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default());
    options
}

fn check(path: &Path, file: &File) -> Result<(), KeyError> {
    let meta = file.metadata().map_err(io_at(path))?;
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    if !meta.is_file() {
        return Err(KeyError::NotAKey(path.to_owned()));
    }
    if owner != rustix::process::geteuid().as_raw() {
        return Err(KeyError::Owner { path: path.to_owned(), owner });
    }
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

fn parse(path: &Path, kind: Kind, bytes: &[u8]) -> Result<Body, KeyError> {
    let other = || KeyError::NotAKey(path.to_owned());
    let (version, body) = bytes.strip_prefix(&kind.magic).and_then(<[u8]>::split_first).ok_or_else(other)?;
    match usize::from(*version).checked_sub(1).map(|at| kind.bodies.get(at)) {
        Some(Some((least, most))) if (*least..=*most).contains(&body.len()) => {
            Ok(Body { version: *version, bytes: Zeroizing::new(body.to_vec()) })
        }
        Some(None) => Err(KeyError::Newer { path: path.to_owned(), version: *version }),
        _ => Err(other()),
    }
}
