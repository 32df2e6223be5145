//! Devices with journals and sessions, joined by hand.

mod changes;
mod compaction;
mod random;
mod stories;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::id::{EpochId, JournalId, RunId};
use crate::journal::{Author, Journals, Operation};
use crate::key::Identity;
use crate::store::MemoryStore;
use crate::wire::Encode;

const ACCOUNT: AccountId = AccountId([9; 32]);
const EPOCHS: [EpochId; 2] = [EpochId([1; 32]), EpochId([2; 32])];
const SESSION: SessionId = SessionId([7; 16]);

static IDENTITIES: LazyLock<Vec<Identity>> =
    LazyLock::new(|| (0..5).map(|n| Identity::from_seeds(&Secret([n; 32]), &Secret([n + 100; 32]))).collect());

/// What a user sees of one session: its record and, while it is open, its keys with their values.
type SeenSession = (SessionInfo, Vec<(Vec<u8>, Vec<Value>)>);

/// A key: its session, its space, itself, and its values.
type IndexRow = (SessionId, Space, Vec<u8>, super::register::Register);

#[derive(Debug)]
struct Device {
    who: usize,
    generation: u32,
    store: MemoryStore,
    journals: Journals,
    sessions: Sessions,
    keyring: Keyring,
    rng: ChaCha20Rng,
}

impl Device {
    /// The device with the identity `who`, holding the keys of both epochs.
    fn new(who: usize) -> Self {
        let mut keyring = Keyring::new(ACCOUNT);
        EPOCHS.iter().for_each(|epoch| keyring.insert(*epoch, secret(*epoch)));
        Self::with_keys(who, keyring)
    }

    fn with_keys(who: usize, keyring: Keyring) -> Self {
        let store = MemoryStore::new();
        let mut sessions = Sessions::load(&store, &index_key(), &keyring).unwrap();
        sessions.begin_run(RunId([3; 16]));
        let rng = ChaCha20Rng::seed_from_u64(who as u64);
        Self { who, generation: 1, store, journals: Journals::default(), sessions, keyring, rng }
    }

    /// The daemon starts again over its store.
    fn restart(&mut self, run: u8) {
        self.sessions = Sessions::load(&self.store, &index_key(), &self.keyring).unwrap();
        self.sessions.begin_run(RunId([run; 16]));
    }

    fn id(&self) -> DeviceId {
        IDENTITIES[self.who].device()
    }

    /// Writes as the engine does: what was seen of the key, sealed, appended, applied.
    fn write(&mut self, epoch: EpochId, session: SessionId, content: Content) -> (Operation, Option<Change>) {
        let context = self.sessions.context(&self.store, session, content.space, &content.key).unwrap();
        self.write_raw(epoch, session, &Content { context, ..content }.to_bytes())
    }

    /// Writes `plain` as it is.
    fn write_raw(&mut self, epoch: EpochId, session: SessionId, plain: &[u8]) -> (Operation, Option<Change>) {
        let author = author(self.who, self.generation);
        let key = self.keyring.session_key(epoch, session).unwrap();
        let (store, rng) = (&mut self.store, &mut self.rng);
        let seal = |header: &crate::journal::Header| key::seal(&key, &header.to_bytes(), plain, rng);
        let operation = self.journals.append(store, &author, session, epoch, seal).unwrap();
        let change = self.apply(&operation);
        (operation, change)
    }

    fn create(&mut self, session: SessionId, app: &str, title: &str) -> Operation {
        let record =
            Record { app: app.into(), title: title.into(), created: Wall(1), expires: Wall(0), creator: self.id() };
        let content = Content::new(Space::Record, Wall(1), record::RECORD_KEY, vec![], Some(&record.to_bytes()));
        self.write(EPOCHS[0], session, content).0
    }

    fn end(&mut self, session: SessionId, reason: &str) -> Operation {
        let end = End { by: self.id(), time: Wall(5), reason: reason.into() };
        let content = Content::new(Space::Record, Wall(5), record::END_KEY, vec![], Some(&end.to_bytes()));
        self.write(EPOCHS[0], session, content).0
    }

    fn put(&mut self, key: &str, value: &str, time: u64) -> Operation {
        self.entry(SESSION, key, Some(value), time).0
    }

    fn delete(&mut self, key: &str, time: u64) -> Operation {
        self.entry(SESSION, key, None, time).0
    }

    fn entry(&mut self, session: SessionId, key: &str, value: Option<&str>, time: u64) -> (Operation, Option<Change>) {
        let value = value.map(str::as_bytes);
        self.write(EPOCHS[0], session, Content::new(Space::Entry, Wall(time), key.as_bytes(), vec![], value))
    }

    /// Takes an operation into its journal, which has all before it.
    fn hold(&mut self, operation: &Operation) {
        let header = &operation.header;
        let who = IDENTITIES.iter().position(|identity| identity.device() == header.journal.device).unwrap();
        let author = author(who, header.journal.generation);
        if self.journals.size(header.journal) <= header.number {
            let seal = |_: &_| operation.ciphertext().to_vec();
            let held = self.journals.append(&mut self.store, &author, header.session, header.epoch, seal).unwrap();
            assert_eq!(held, *operation, "journals are filled in order");
        }
    }

    fn apply(&mut self, operation: &Operation) -> Option<Change> {
        let change =
            self.sessions.apply(&mut self.store, &self.keyring, &operation.header, operation.ciphertext(), None);
        self.sessions.settle(&mut self.store).unwrap();
        change.unwrap()
    }

    fn receive(&mut self, operation: &Operation) -> Option<Change> {
        self.hold(operation);
        self.apply(operation)
    }

    /// The values of a key of [`SESSION`], the one that is shown first.
    fn values(&self, key: &str) -> Vec<Option<String>> {
        let values = self.read(SESSION, key.as_bytes()).unwrap();
        values.into_iter().map(|value| value.bytes.map(|bytes| String::from_utf8(bytes).unwrap())).collect()
    }

    fn read(&self, session: SessionId, key: &[u8]) -> Result<Vec<Value>, ReadError> {
        self.sessions.values(&self.store, &self.keyring, &self.journals, session, key)
    }

    fn keys(&self, session: SessionId) -> Vec<String> {
        let (keys, more) = self.sessions.keys(&self.store, session, b"", None, usize::MAX).unwrap();
        assert!(!more);
        keys.into_iter().map(|key| String::from_utf8(key.key).unwrap()).collect()
    }

    /// All that a user can see.
    fn view(&self) -> BTreeMap<SessionId, SeenSession> {
        let view = self.sessions.iter().map(|(id, info)| {
            let entries = match &info.ended {
                None => {
                    self.keys(id).into_iter().map(|key| (key.clone().into(), self.read(id, key.as_bytes()).unwrap()))
                }
                Some(_) => {
                    assert_eq!(self.read(id, b"a"), Err(ReadError::Ended));
                    return (id, (info.clone(), Vec::new()));
                }
            };
            (id, (info.clone(), entries.collect()))
        });
        view.collect()
    }

    /// What the index says of each key, and the covered operations; without the numbers that depend on what came first.
    fn rows(&self) -> (Vec<IndexRow>, BTreeSet<OpId>) {
        let (mut rows, index) = (Vec::new(), &self.sessions.index);
        for (session, summary) in &self.sessions.summaries {
            let each = |entry: Entry| rows.push((*session, entry.space, entry.key, entry.register));
            index.entries(&self.store, summary.number, each).unwrap();
        }
        rows.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        let covered = self.store.range(Table::Covered, &[], &[u8::MAX; 65], usize::MAX).unwrap();
        let op = |name: &[u8]| index.authors().read_op(&mut crate::wire::Reader::new(name)).unwrap();
        (rows, covered.iter().map(|(name, _)| op(name)).collect())
    }
}

/// This device's own secret; one for all, so that their indexes can be compared byte by byte.
fn index_key() -> Secret {
    Secret([42; 32])
}

fn secret(epoch: EpochId) -> Secret {
    Secret(epoch.0)
}

fn author(who: usize, generation: u32) -> Author<'static> {
    Author { identity: &IDENTITIES[who], account: ACCOUNT, run: RunId([3; 16]), generation }
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}
