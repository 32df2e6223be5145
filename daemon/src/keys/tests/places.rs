//! The places of the store key: what opens it there, what does not, and moving between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use super::*;

/// A directory with a credential in it, for all tests.
static CREDENTIALS: LazyLock<tempfile::TempDir> = LazyLock::new(|| with_credential(&[7; 32]));

fn with_credential(content: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CREDENTIAL), content).unwrap();
    dir
}

fn typed(text: &str) -> Option<Passphrase> {
    Some(Passphrase::read(text.as_bytes()).unwrap())
}

/// A keyring that is open until somebody locks it.
#[derive(Debug, Default)]
struct Chain {
    items: Mutex<BTreeMap<[u8; 16], Secret>>,
    locked: AtomicBool,
}

impl Chain {
    fn open(&self) -> Result<MutexGuard<'_, BTreeMap<[u8; 16], Secret>>, KeyringError> {
        if self.locked.load(Ordering::Relaxed) { Err(KeyringError::Locked) } else { Ok(self.items.lock().unwrap()) }
    }
}

impl Keyring for Chain {
    fn is_ready(&self) -> bool {
        self.open().is_ok()
    }

    fn find(&self, item: &Item) -> Result<Secret, KeyringError> {
        self.open()?.get(&item.0).cloned().ok_or(KeyringError::Lost)
    }

    fn put(&self, item: &Item, key: &Secret) -> Result<(), KeyringError> {
        self.open()?.insert(item.0, key.clone());
        Ok(())
    }

    fn forget(&self, item: &Item) -> Result<(), KeyringError> {
        self.open()?.remove(&item.0);
        Ok(())
    }
}

thread_local! {
    /// The keyring of a test.
    static CHAIN: Arc<Chain> = Arc::default();
}

/// What opens a key in any place.
pub(super) fn everything() -> Means {
    let keyring = CHAIN.with(|chain| chain.clone() as Arc<dyn Keyring>);
    let credentials = Some(CREDENTIALS.path().to_owned());
    Means { passphrase: typed("correct horse"), credentials, keyring: Some(keyring) }
}

/// The keyring of the test locks, or opens.
fn lock_keyring(locked: bool) {
    CHAIN.with(|chain| chain.locked.store(locked, Ordering::Relaxed));
}

/// How many keys are in the keyring of the test.
fn in_keyring() -> usize {
    CHAIN.with(|chain| chain.items.lock().unwrap().len())
}

/// What opens a key in `place`, and in no other.
fn only(place: Place) -> Means {
    let Means { passphrase, credentials, keyring } = everything();
    match place {
        Place::File => Means::default(),
        Place::Keyring => Means { keyring, ..Means::default() },
        Place::Passphrase => Means { passphrase, ..Means::default() },
        Place::Credential => Means { credentials, ..Means::default() },
    }
}

fn open_with(dir: &Path, means: &Means) -> Result<Keys, KeyError> {
    Keys::open(dir, means, &mut ChaCha20Rng::seed_from_u64(99))
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

/// What `means` say to a key in `place`, having changed nothing.
fn refused(place: Place, means: &Means) -> KeyError {
    let (dir, _) = made_in(place);
    let before = files(dir.path());
    let error = open_with(dir.path(), means).unwrap_err();
    assert_eq!(files(dir.path()), before, "an error changes nothing");
    error
}

#[test]
fn a_key_opens_with_what_its_place_needs_and_with_nothing_less() {
    for place in Place::ALL {
        let (dir, keys) = made_in(place);
        let found = open_with(dir.path(), &only(place)).unwrap();
        assert!(same(&keys, &found) && found.place() == place);
        let file = fs::read(dir.path().join(KEY)).unwrap();
        let clear = file.windows(32).any(|window| window == keys.store_key.0);
        assert_eq!(clear, place == Place::File, "{place}");
    }
    for place in [Place::Keyring, Place::Passphrase, Place::Credential] {
        let error = refused(place, &Means::default());
        assert!(error.is_locked(), "{error}");
        assert!(error.to_string().contains(&format!("kept in the {place}")), "{error}");
    }
}

#[test]
fn what_is_wrong_is_told_and_costs_nothing() {
    let error = refused(Place::Passphrase, &Means { passphrase: typed("correct house"), ..Means::default() });
    assert!(matches!(error, KeyError::WrongPassphrase) && error.is_locked(), "{error}");
    let with = |dir: &tempfile::TempDir| Means { credentials: Some(dir.path().to_owned()), ..Means::default() };
    let error = refused(Place::Credential, &with(&with_credential(&[8; 32])));
    assert!(matches!(error, KeyError::WrongKey(Place::Credential)) && !error.is_locked(), "{error}");
    assert!(error.to_string().contains("put back what was there"), "{error}");
    for (content, said) in [(&b""[..], "0 bytes"), (&[1; 15], "15 bytes"), (&[1; 70_000], "70000 bytes")] {
        let error = refused(Place::Credential, &with(&with_credential(content)));
        assert!(error.is_locked() && error.to_string().contains(said), "{error}");
    }
    let error = refused(Place::Credential, &with(&tempfile::tempdir().unwrap()));
    assert!(error.is_locked() && error.to_string().contains(CREDENTIAL), "{error}");
}

#[test]
fn a_first_start_takes_the_best_place_that_asks_nobody() {
    for (means, place) in [
        (everything(), Place::Credential),
        (only(Place::Credential), Place::Credential),
        (only(Place::Passphrase), Place::Passphrase),
        (only(Place::Keyring), Place::Keyring),
        (Means { credentials: Some(PathBuf::from("/nowhere")), ..Means::default() }, Place::File),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let keys = open_with(dir.path(), &means).unwrap();
        assert_eq!(keys.place(), place);
        assert!(same(&keys, &open_with(dir.path(), &means).unwrap()));
    }
    lock_keyring(true);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open_with(dir.path(), &only(Place::Keyring)).unwrap().place(), Place::File);
    let dir = tempfile::tempdir().unwrap();
    let short = open_with(dir.path(), &Means { passphrase: typed("1234567"), ..Means::default() }).unwrap_err();
    assert!(short.to_string().contains("less than 8 characters"), "{short}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn damaged_seals_are_refused() {
    for place in [Place::Keyring, Place::Passphrase, Place::Credential] {
        let (dir, _) = made_in(place);
        let whole = fs::read(dir.path().join(KEY)).unwrap();
        for at in 9..whole.len() {
            let mut bytes = whole.clone();
            // Costs, too: no file makes us take all memory. The lowest bit of a cost only makes it another one.
            bytes[at] ^= 0x81;
            fs::write(dir.path().join(KEY), &bytes).unwrap();
            assert!(load(dir.path()).is_err(), "{place}: byte {at}");
        }
        fs::write(dir.path().join(KEY), &whole).unwrap();
        load(dir.path()).unwrap();
    }
}

#[test]
fn a_move_that_is_cut_short_at_any_step_leaves_one_of_both_places() {
    for from in Place::ALL {
        for to in Place::ALL {
            stop_moving_everywhere(from, to);
        }
    }
}

fn stop_moving_everywhere(from: Place, to: Place) {
    for steps in 0.. {
        let (dir, keys) = made_in(from);
        let wrap = Wrap::fresh(to, &everything(), &mut ChaCha20Rng::seed_from_u64(5)).unwrap();
        let stopping = Dir::new(dir.path());
        stopping.steps.set(steps);
        let mut held = copy(&keys);
        let done = held.move_to(wrap, &stopping, &mut rng()).is_ok();
        let left = files(dir.path());
        let opens = |place| {
            // What opening ends or undoes is put back: each place is tried on what the crash left.
            let copy = tempfile::tempdir().unwrap();
            left.iter().for_each(|(name, bytes)| fs::write(copy.path().join(name), bytes).unwrap());
            names(copy.path()).iter().for_each(|name| {
                fs::set_permissions(copy.path().join(name), Permissions::from_mode(0o600)).unwrap();
            });
            // A copy of a disk shares its keyring, and opening ends what was begun there.
            let kept = CHAIN.with(|chain| chain.items.lock().unwrap().clone());
            let found = open_with(copy.path(), &only(place));
            CHAIN.with(|chain| *chain.items.lock().unwrap() = kept);
            if let Err(error) = &found {
                assert!(error.is_locked(), "{from} to {to}, after {steps} steps: {error}");
                assert_eq!(files(copy.path()), left, "an error changes nothing");
            }
            found.is_ok_and(|found| same(&found, &keys))
        };
        assert!(opens(from) || opens(to), "{from} to {to}: neither opens after {steps} steps");
        let found = load(dir.path()).unwrap_or_else(|e| panic!("{from} to {to}, after {steps} steps: {e}"));
        assert!(same(&found, &keys) && same(&held, &keys));
        assert!(found.place() == to || !done && found.place() == from);
        assert_eq!(names(dir.path()), ["identity", "key"]);
        if done {
            assert!(steps > 8, "only {steps} steps");
            let apart = from != to && to != Place::File;
            assert!(opens(to) && !(apart && opens(from)), "{from} to {to}");
            return;
        }
    }
}

#[test]
fn a_key_is_wiped_where_it_was() {
    for (from, to) in [(Place::File, Place::Passphrase), (Place::Credential, Place::File)] {
        let (dir, mut keys) = made_in(from);
        let linked = dir.path().join("another name of the same bytes");
        fs::hard_link(dir.path().join(KEY), &linked).unwrap();
        keys.rewrap(dir.path(), Wrap::fresh(to, &everything(), &mut rng()).unwrap(), &mut rng()).unwrap();
        assert!(fs::read(&linked).unwrap().iter().all(|byte| *byte == 0), "the old one is still on the disk");
    }
}

/// What is erased is a store key: the place stays, and what was sealed there before opens nothing of the new one.
#[test]
fn an_erased_key_stays_in_its_place() {
    for place in Place::ALL {
        let (dir, mut keys) = made_in(place);
        let old = keys.store_key.clone();
        keys.replace_store_key(dir.path(), &mut ChaCha20Rng::seed_from_u64(4)).unwrap();
        assert_eq!(keys.place(), place);
        let found = open_with(dir.path(), &only(place)).unwrap();
        assert!(same(&found, &keys) && found.store_key != old);
    }
}

#[test]
fn a_passphrase_changes_by_moving_to_another() {
    let (dir, mut keys) = made_in(Place::Passphrase);
    let next = Means { passphrase: typed("battery staple"), ..Means::default() };
    keys.rewrap(dir.path(), Wrap::fresh(Place::Passphrase, &next, &mut rng()).unwrap(), &mut rng()).unwrap();
    assert!(matches!(open_with(dir.path(), &everything()), Err(KeyError::WrongPassphrase)));
    assert!(same(&keys, &open_with(dir.path(), &next).unwrap()));
}

#[test]
fn a_keyring_that_is_locked_or_lost_the_key_costs_nothing() {
    let (dir, keys) = made_in(Place::Keyring);
    let before = files(dir.path());
    lock_keyring(true);
    let error = open_with(dir.path(), &everything()).unwrap_err();
    assert!(error.is_locked() && error.to_string().contains("goes on by itself"), "{error}");
    lock_keyring(false);
    let taken = CHAIN.with(|chain| std::mem::take(&mut *chain.items.lock().unwrap()));
    let error = open_with(dir.path(), &everything()).unwrap_err();
    assert!(error.is_locked() && error.to_string().contains("put back the keyring from a backup"), "{error}");
    assert_eq!(files(dir.path()), before, "an error changes nothing");
    CHAIN.with(|chain| chain.items.lock().unwrap().extend(taken));
    assert!(same(&keys, &open_with(dir.path(), &everything()).unwrap()));
}

#[test]
fn a_key_that_leaves_the_keyring_is_deleted_there() {
    let (dir, mut keys) = made_in(Place::Keyring);
    assert_eq!(in_keyring(), 1);
    keys.replace_store_key(dir.path(), &mut ChaCha20Rng::seed_from_u64(4)).unwrap();
    assert_eq!((in_keyring(), names(dir.path()).len()), (1, 2), "another key, and not the old one");
    keys.rewrap(dir.path(), Wrap::fresh(Place::File, &everything(), &mut rng()).unwrap(), &mut rng()).unwrap();
    assert_eq!((in_keyring(), names(dir.path()).len()), (0, 2));
}

/// A revocation does not wait for a keyring: what the keyring could not do is done when it is open again.
#[test]
fn keys_are_erased_while_the_keyring_is_locked() {
    let (dir, mut keys) = made_in(Place::Keyring);
    let thief = files(dir.path());
    let old = keys.store_key.clone();
    lock_keyring(true);
    keys.replace_store_key(dir.path(), &mut ChaCha20Rng::seed_from_u64(4)).unwrap();
    assert!(keys.store_key != old);
    lock_keyring(false);
    assert!(same(&keys, &open_with(dir.path(), &everything()).unwrap()));
    assert_eq!((in_keyring(), names(dir.path()).len()), (1, 2));
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in thief {
        fs::write(copy.path().join(&name), bytes).unwrap();
        fs::set_permissions(copy.path().join(&name), Permissions::from_mode(0o600)).unwrap();
    }
    let error = open_with(copy.path(), &everything()).unwrap_err();
    assert!(error.to_string().contains("has no key of this device"), "an old disk opens with no keyring: {error}");
}
