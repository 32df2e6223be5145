//! Opening a store: its file's mode and owner, its lock, its schema.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};
use rustix::fs::{Advice, OFlags};

use super::{Place, tables};

/// redb's cache, in bytes. The whole idle daemon is to stay within 12 MiB, and the kernel's page
/// cache holds the file as well, so this only has to keep the upper levels of the trees. redb gives
/// at most half of it to pages not yet written; a larger transaction spills into the file.
const CACHE: usize = 1 << 20;

/// Why a store cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store is in use by another process; stop the other kinlinkd first")]
    InUse,
    /// Its schema is from the future.
    #[error(
        "the store was made by a newer kinlinkd (schema {found}, this one knows {known}); install that version again"
    )]
    Newer {
        /// The schema number in the store.
        found: u64,
        /// The newest that this program knows.
        known: u64,
    },
    /// Its schema is from before 0.1.0.
    #[error(
        "the store was made by a kinlinkd from before its first release (schema {found}), which this one cannot read; move it away, start again, and link this device anew"
    )]
    Unreleased {
        /// The schema number in the store.
        found: u64,
    },
    /// It is something else.
    #[error("this is not a kinlinkd store; move the file away, and kinlinkd makes a new store")]
    NotAStore,
    /// Others may read or write it.
    #[error("{0} has mode {mode:04o}, so other users may read it; check who did that, then run: chmod 600 {0}", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to you; run kinlinkd as that user, or choose another --state-dir", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// It cannot be read or written, or is damaged.
    #[error("the store cannot be opened: {0}")]
    Storage(Box<redb::Error>),
}

impl From<DatabaseError> for OpenError {
    fn from(e: DatabaseError) -> Self {
        match e {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
                Self::NotAStore
            }
            other => Self::Storage(Box::new(other.into())),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        Self::Storage(Box::new(redb::Error::Io(e)))
    }
}

macro_rules! storage {
    ($($error:ty),+) => {
        $(impl From<$error> for OpenError {
            fn from(e: $error) -> Self {
                Self::Storage(Box::new(e.into()))
            }
        })+
    };
}

storage!(redb::StorageError, redb::TransactionError, redb::TableError, redb::CommitError);

/// Opens what lies at `place`, or makes it.
pub(super) fn open(place: &Place) -> Result<Database, OpenError> {
    let db = match place {
        Place::File(path) => {
            if !path.try_exists()? {
                create(path)?;
            }
            build(FileBackend::new(existing(path)?)?)?
        }
        Place::Backend(backend) => build(Shared(Arc::clone(backend)))?,
    };
    tables::prepare(&db)?;
    Ok(db)
}

/// Makes an empty store under another name and renames it when it is whole: redb does not recognise
/// a file whose making was cut short.
fn create(path: &Path) -> Result<(), OpenError> {
    let unfinished = path.with_added_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let file = options().create_new(true).open(&unfinished)?;
    let db = build(FileBackend::new(file)?)?;
    tables::prepare(&db)?;
    db.close()?;
    std::fs::rename(&unfinished, path)?;
    // A commit is worth nothing if the file's name is lost.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(parent)?.sync_all()?)
}

fn options() -> OpenOptions {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    // Of mode 0600 from the first instant, if it is made.
    options.read(true).write(true).mode(0o600).custom_flags(flags);
    options
}

fn build(backend: impl StorageBackend) -> Result<Database, OpenError> {
    Ok(Database::builder().set_cache_size(CACHE).create_with_backend(backend)?)
}

/// The file at `path`, if it is ours alone.
fn existing(path: &Path) -> Result<File, OpenError> {
    let file = options().open(path)?;
    check(path, &file)?;
    // After an fsync that failed, the kernel may hold pages as clean that never reached the disk.
    // Dropping them shows what is really there, and is slow. Only advice: a file system that ignores it (tmpfs)
    // has no disk to differ from.
    if !is_as_synced(&file)?
        && let Err(e) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
    {
        tracing::debug!("the store's cached pages could not be dropped: {e}");
    }
    Ok(file)
}

/// Whether all that the header names is on the disk, whatever became of later syncs: redb closed the file, as it does only if no
/// sync failed; or the last commit was of the kind that syncs before the header names it. The header itself
/// redb writes anew, and syncs, when it opens the file. It begins with nine bytes by which it is recognised, then one of
/// flags: the second stands until the file is closed, the third after a commit of that kind.
fn is_as_synced(file: &File) -> io::Result<bool> {
    const OPEN: u8 = 2;
    const SYNCED_FIRST: u8 = 4;
    let mut header = [0; 10];
    match file.read_exact_at(&mut header, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| header[9] & OPEN == 0 || header[9] & SYNCED_FIRST != 0),
    }
}

fn check(path: &Path, file: &File) -> Result<(), OpenError> {
    let meta = file.metadata()?;
    let (mode, owner) = (meta.mode() & 0o7777, meta.uid());
    if owner != rustix::process::geteuid().as_raw() {
        return Err(OpenError::Owner { path: path.to_owned(), owner });
    }
    if mode & 0o077 != 0 {
        return Err(OpenError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// A backend that outlives the database over it, so that it can be opened again. Backends that are
/// handed in have no locks: nobody else can reach them.
#[derive(Debug)]
struct Shared(Arc<dyn StorageBackend>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_differ_from_the_disk_is_told_from_one_that_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let db = open(&Place::File(path.clone())).unwrap();
        let file = File::open(&path).unwrap();
        let commit = |synced_first| {
            let mut txn = db.begin_write().unwrap();
            txn.set_quick_repair(synced_first);
            txn.open_table(redb::TableDefinition::<u8, u8>::new("table")).unwrap().insert(1, 2).unwrap();
            txn.commit().unwrap();
            is_as_synced(&file).unwrap()
        };
        assert!(!commit(false) && commit(true) && !commit(false));
        drop(db);
        assert!(is_as_synced(&file).unwrap());
        std::fs::write(&path, "short").unwrap();
        assert!(!is_as_synced(&file).unwrap());
    }
}
