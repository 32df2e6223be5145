#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kinlink_proto::id::DeviceId;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

mod places;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn load(dir: &Path) -> Result<Keys, KeyError> {
    Keys::open(dir, &places::everything(), &mut ChaCha20Rng::seed_from_u64(99))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory with keys in it.
fn made() -> (tempfile::TempDir, Keys) {
    made_in(Place::File)
}

fn made_in(place: Place) -> (tempfile::TempDir, Keys) {
    let (dir, keys) = (tempfile::tempdir().unwrap(), fresh_in(place, 1));
    keys.write(&Dir::new(dir.path()), None, &mut rng()).unwrap();
    (dir, keys)
}

fn same(a: &Keys, b: &Keys) -> bool {
    a.store_key == b.store_key && a.identity.seeds() == b.identity.seeds()
}

#[test]
fn keys_are_made_once_and_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::load_or_create(dir.path(), &mut rng()).unwrap();
    assert!(same(&keys, &load(dir.path()).unwrap()));
    assert_eq!(names(dir.path()), ["identity", "key"]);
    for name in names(dir.path()) {
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777, 0o600);
    }
    let (signing, hpke) = keys.identity.seeds();
    let identity = fs::read(dir.path().join(IDENTITY)).unwrap();
    let holds = |secret: &Secret| identity.windows(32).any(|window| window == secret.0);
    assert!(!holds(&signing) && !holds(&hpke), "a seed lies open on the disk");
}

#[test]
fn a_new_store_key_keeps_the_identity_and_a_reset_does_not() {
    let (dir, mut keys) = made();
    let (old_key, device) = (keys.store_key.clone(), keys.identity.device());
    keys.replace_store_key(dir.path(), &mut ChaCha20Rng::seed_from_u64(4)).unwrap();
    assert_ne!(keys.store_key, old_key);
    assert_eq!(keys.identity.device(), device);
    assert!(same(&keys, &load(dir.path()).unwrap()));
    let replaced = keys.store_key.clone();
    keys.reset(dir.path(), &mut ChaCha20Rng::seed_from_u64(5)).unwrap();
    assert_ne!(keys.identity.device(), device);
    assert_ne!(keys.store_key, replaced);
    assert!(same(&keys, &load(dir.path()).unwrap()));
    assert_eq!(names(dir.path()), ["identity", "key"]);
}

#[test]
fn the_old_key_is_overwritten_where_it_lay() {
    let (dir, mut keys) = made();
    let linked = dir.path().join("another name of the same bytes");
    fs::hard_link(dir.path().join(KEY), &linked).unwrap();
    keys.replace_store_key(dir.path(), &mut rng()).unwrap();
    assert!(fs::read(&linked).unwrap().iter().all(|byte| *byte == 0), "the old key is still on the disk");
}

fn fresh(seed: u64) -> Keys {
    fresh_in(Place::File, seed)
}

fn fresh_in(place: Place, seed: u64) -> Keys {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let means = places::everything();
    Keys::fresh(Wrap::fresh(place, &means, rng).unwrap(), &means, rng)
}

fn copy(keys: &Keys) -> Keys {
    Keys {
        store_key: keys.store_key.clone(),
        identity: keys.identity.clone(),
        wrap: keys.wrap.clone(),
        means: keys.means.clone(),
    }
}

#[test]
fn a_crash_at_any_step_of_the_first_start_costs_nothing() {
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let stopping = Dir::new(dir.path());
        stopping.steps.set(steps);
        let done = fresh(8).write(&stopping, None, &mut rng()).is_ok();
        let found = load(dir.path()).unwrap_or_else(|e| panic!("after {steps} steps: {e}"));
        assert!(!done || same(&found, &fresh(8)));
        assert!(same(&found, &load(dir.path()).unwrap()), "after {steps} steps: made twice");
        if done {
            assert!(steps > 10, "only {steps} steps");
            return;
        }
    }
}

/// Stops `new` taking over from `old` at every step, and loads what is left.
fn stop_everywhere(both: impl Fn() -> (Keys, Keys)) {
    for steps in 0.. {
        // What they have in the keyring is there again.
        let (old, new) = &both();
        let dir = tempfile::tempdir().unwrap();
        old.write(&Dir::new(dir.path()), None, &mut rng()).unwrap();
        let stopping = Dir::new(dir.path());
        stopping.steps.set(steps);
        let mut held = copy(old);
        let done = held.become_these(copy(new), &stopping, &mut rng()).is_ok();
        let found = load(dir.path()).unwrap_or_else(|e| panic!("after {steps} steps: {e}"));
        assert!(same(&found, new) || (!done && same(&found, old)), "after {steps} steps: another pair");
        assert!(same(&found, &held), "after {steps} steps: the running daemon goes on with other keys than are stored");
        assert!(same(&found, &load(dir.path()).unwrap()), "after {steps} steps: loading changes it");
        if done {
            assert!(steps > 12, "only {steps} steps");
            assert_eq!(names(dir.path()), ["identity", "key"]);
            return;
        }
    }
}

#[test]
fn a_crash_at_any_step_leaves_a_pair_that_fits() {
    for place in Place::ALL {
        let both = || (fresh_in(place, 7), fresh_in(place, 8));
        stop_everywhere(both);
        stop_everywhere(|| {
            let (old, new) = both();
            let identity = old.identity.clone();
            (old, Keys { identity, ..new })
        });
    }
}

#[test]
fn a_crash_while_a_change_is_ended_or_undone_can_be_loaded_again() {
    let (old, new) = (fresh(7), fresh(8));
    for (stands, steps) in [&old, &new].into_iter().flat_map(|keys| (0..8).map(move |steps| (keys, steps))) {
        let dir = tempfile::tempdir().unwrap();
        let files = Dir::new(dir.path());
        files.write(KEY, KEY_KIND, 1, &old.store_key.0).unwrap();
        files.write(KEY_NEW, KEY_KIND, 1, &new.store_key.0).unwrap();
        files.write(IDENTITY, IDENTITY_KIND, 1, &sealed(stands, &mut rng())).unwrap();
        files.steps.set(steps);
        let identity = files.read(IDENTITY, IDENTITY_KIND).unwrap().unwrap();
        let stopped = super::load(&files, &identity.bytes, &Means::default());
        assert!(stopped.is_ok_and(|keys| same(&keys, stands)) || steps < 4, "{steps} steps are enough");
        assert!(same(&load(dir.path()).unwrap(), stands), "after {steps} steps");
        assert_eq!(names(dir.path()), ["identity", "key"]);
    }
}

/// What is said after `spoil` was done to a directory with keys.
fn said(spoil: impl Fn(&Path)) -> String {
    let (dir, _) = made();
    spoil(dir.path());
    let before = names(dir.path());
    let said = load(dir.path()).unwrap_err().to_string();
    assert_eq!(names(dir.path()), before, "an error changes nothing");
    said
}

#[test]
fn what_is_missing_is_named_and_never_made_anew() {
    let key = said(|dir| fs::remove_file(dir.join(KEY)).unwrap());
    assert!(key.contains("/key is missing") && key.contains("backup"), "{key}");
    let identity = said(|dir| fs::remove_file(dir.join(IDENTITY)).unwrap());
    assert!(identity.contains("/identity is missing") && identity.contains("link again"), "{identity}");
    let both = said(|dir| {
        fs::write(dir.join(STORE), "").unwrap();
        fs::remove_file(dir.join(KEY)).unwrap();
        fs::remove_file(dir.join(IDENTITY)).unwrap();
    });
    assert!(both.contains("/identity is missing"), "{both}");
}

#[test]
fn damaged_foreign_and_exposed_files_are_refused_with_the_remedy() {
    let edit = |name: &'static str, change: fn(&mut Vec<u8>)| {
        said(move |dir| {
            let mut bytes = fs::read(dir.join(name)).unwrap();
            change(&mut bytes);
            fs::write(dir.join(name), bytes).unwrap();
        })
    };
    assert!(edit(KEY, |bytes| bytes[20] ^= 1).contains("does not open"));
    assert!(edit(IDENTITY, |bytes| bytes[60] ^= 1).contains("does not open"));
    assert!(edit(KEY, |bytes| bytes[0] ^= 1).contains("not a kinlinkd key file"));
    assert!(edit(KEY, |bytes| bytes.truncate(30)).contains("not a kinlinkd key file"));
    assert!(edit(IDENTITY, |bytes| bytes.push(0)).contains("not a kinlinkd key file"));
    assert!(edit(IDENTITY, |bytes| bytes.clear()).contains("not a kinlinkd key file"));
    assert!(edit(KEY, |bytes| bytes[8] = 3).contains("newer kinlinkd (version 3)"));
    assert!(edit(KEY, |bytes| bytes[8] = 0).contains("not a kinlinkd key file"));
    let mode = said(|dir| fs::set_permissions(dir.join(KEY), Permissions::from_mode(0o640)).unwrap());
    assert!(mode.contains("0640") && mode.contains("chmod 600"), "{mode}");
}

#[test]
fn a_key_of_somebody_else_is_refused() {
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        let said = said(|dir| std::os::unix::fs::chown(dir.join(KEY), Some(12345), None).unwrap());
        assert!(said.contains("belongs to user 12345") && said.contains("--state-dir"), "{said}");
    }
}

#[test]
fn a_link_in_place_of_a_key_is_not_followed() {
    let said = said(|dir| {
        fs::rename(dir.join(KEY), dir.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join(KEY)).unwrap();
    });
    assert!(said.contains("/key"), "{said}");
}

#[test]
fn debug_shows_no_secret() {
    let (_dir, keys) = made();
    let DeviceId(public) = keys.identity.device();
    let shown = format!("{keys:?}");
    assert!(!shown.contains(&format!("{:?}", keys.store_key.0)) && !shown.contains(&format!("{public:?}")));
    assert!(shown.contains("Secret(…)"), "{shown}");
}
