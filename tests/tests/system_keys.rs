//! Where the store key is kept: moving it, a daemon whose key is locked, and what a thief has of a disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;

use kinlink_daemon::keys::{CREDENTIAL, Keys, Means, Passphrase};
use kinlink_daemon::store::Db;
use kinlink_proto::key;
use kinlink_proto::store::{Read, Table};
use kinlink_tests::harness::{Host, Keyring, eventually, link};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const PASSPHRASE: &str = "correct horse battery";

/// What is in a state directory, but for who holds it and what a daemon that is locked does not touch.
fn secrets(host: &Host) -> BTreeMap<&'static str, Vec<u8>> {
    ["key", "identity"].into_iter().map(|name| (name, fs::read(host.state().join(name)).unwrap())).collect()
}

fn place(host: &Host) -> (String, String) {
    let status = host.ok(&["status"]);
    (status["key_protection"].as_str().unwrap().to_owned(), status["state"].as_str().unwrap().to_owned())
}

fn says(place: &str, state: &str) -> (String, String) {
    (place.to_owned(), state.to_owned())
}

#[test]
fn a_daemon_under_a_passphrase_is_locked_until_it_is_given() {
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Mine");
    anna.put(&session, "k", "v");
    let id = anna.id();
    assert!(anna.ok(&["status"])["warnings"].to_string().contains("beside its data"));

    let short = anna.given(&["key", "move", "passphrase"], "short").fails(2);
    assert!(short.message.contains("8 characters"), "{short:?}");
    let none = anna.fails(&["key", "move", "passphrase"], 2);
    assert!(none.message.contains("passphrase"), "{none:?}");
    assert_eq!(place(&anna), says("file", "linked"));
    let moved = anna.given(&["key", "move", "passphrase"], PASSPHRASE).ok();
    assert_eq!((&moved["place"], &moved["locked"]), (&"passphrase".into(), &false.into()));
    assert_eq!(place(&anna), says("passphrase", "linked"));
    assert!(!anna.ok(&["status"])["warnings"].to_string().contains("beside its data"));
    anna.put(&session, "k", "w");

    anna.stop();
    let before = secrets(&anna);
    anna.start();
    bert.put(&session, "k", "written meanwhile");
    let status = anna.ok(&["status"]);
    assert_eq!(place(&anna), says("passphrase", "locked"));
    for field in ["account", "label", "epoch"] {
        assert_eq!(status[field], "", "{field}");
    }
    assert_eq!((&status["device"]["name"], &status["device"]["fingerprint"]), (&"".into(), &"".into()));
    assert!(!status.to_string().contains(&id));
    assert!(status["warnings"].to_string().contains("kinctl unlock"), "{status}");
    for refused in [
        &["list"][..],
        &["sessions"],
        &["session", "get", &session, "k"],
        &["session", "new", "--app", "a", "--title", "t"],
        &["erase", "--yes"],
        &["leave", "--yes"],
        &["key", "move", "file"],
    ] {
        let failure = anna.fails(refused, 5);
        assert_eq!(failure.name, "Locked", "{refused:?}");
        assert!(failure.message.contains("kinctl unlock"), "{failure:?}");
    }
    assert_eq!(anna.given(&["unlock"], "correct horse").fails(7).name, "WrongPassphrase");
    assert_eq!(anna.fails(&["unlock"], 2).name, "InvalidArgument");
    assert_eq!(secrets(&anna), before, "nothing is made anew because it is locked");

    anna.given(&["unlock"], PASSPHRASE).ok();
    assert_eq!((anna.id(), place(&anna)), (id, says("passphrase", "linked")));
    anna.reads(&session, "k", "written meanwhile");
    assert_eq!(anna.ok(&["unlock"])["done"], true);

    anna.stop();
    let file = anna.runtime().join("passphrase");
    fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
    let mut command = anna.command();
    command.arg("--passphrase-file").arg(&file);
    anna.start_with(command);
    anna.reads(&session, "k", "written meanwhile");
    anna.ok(&["key", "move", "file"]);
    anna.stop();
    anna.start();
    assert_eq!(place(&anna), says("file", "linked"));
}

#[test]
fn a_locked_daemon_stops_when_it_is_told_to() {
    let host = Host::new("anna");
    host.given(&["key", "move", "passphrase"], PASSPHRASE).ok();
    host.stop();
    host.start();
    assert_eq!(place(&host), says("passphrase", "locked"));
    assert!(host.stop().success());
}

#[test]
fn a_key_under_a_credential_opens_with_that_one_only() {
    let host = Host::new("anna");
    let id = host.id();
    assert!(host.fails(&["key", "move", "credential"], 5).message.contains(CREDENTIAL));
    let credentials = tempfile::tempdir().unwrap();
    let with = |content: &[u8]| {
        fs::write(credentials.path().join(CREDENTIAL), content).unwrap();
        let mut command = host.command();
        command.env("CREDENTIALS_DIRECTORY", credentials.path());
        host.start_with(command);
    };
    host.stop();
    with(&[7; 32]);
    assert_eq!(host.ok(&["key", "move", "credential"])["place"], "credential");
    host.stop();
    host.start();
    assert_eq!(place(&host), says("credential", "locked"));
    assert!(host.fails(&["list"], 5).message.contains("start it by its unit"));
    host.stop();
    with(&[7; 32]);
    assert_eq!((host.id(), place(&host)), (id, says("credential", "unlinked")));
    host.stop();
    fs::write(credentials.path().join(CREDENTIAL), [8; 32]).unwrap();
    let mut command = host.command();
    let before = secrets(&host);
    let output = command.env("CREDENTIALS_DIRECTORY", credentials.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("put back what was there"), "{said}");
    assert_eq!(secrets(&host), before);
}

/// A thief has the disk and the passphrase, and comes after the revocation was heard of.
#[test]
fn what_a_revoked_device_leaves_opens_with_no_passphrase() {
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    bert.given(&["key", "move", "passphrase"], PASSPHRASE).ok();
    bert.stop();
    let epochs = rows(&bert);
    assert!(!epochs.is_empty() && opened(&bert, &epochs) == epochs.len(), "the passphrase opens what is in use");
    bert.start();
    bert.given(&["unlock"], PASSPHRASE).ok();
    anna.ok(&["revoke", "bert", "--yes"]);
    eventually("bert is out", || (place(&bert).1 == "revoked").then_some(()));
    bert.stop();
    assert_eq!(opened(&bert, &epochs), 0);
    bert.start();
    bert.given(&["unlock"], PASSPHRASE).ok();
    assert_eq!(place(&bert), says("passphrase", "revoked"));
    bert.ok(&["erase", "--yes"]);
    assert_eq!(place(&bert), says("passphrase", "unlinked"));
}

fn rows(host: &Host) -> Vec<(Vec<u8>, Vec<u8>)> {
    let store = Db::open(host.state().join("store")).unwrap();
    store.snapshot().unwrap().range(Table::Secrets, &[], &[0xff; 64], usize::MAX).unwrap()
}

/// How many of these sealed epoch secrets open with what is on the disk and the passphrase.
fn opened(host: &Host, epochs: &[(Vec<u8>, Vec<u8>)]) -> usize {
    let passphrase = Some(Passphrase::read(PASSPHRASE.as_bytes()).unwrap());
    let means = Means { passphrase, ..Means::default() };
    let keys = Keys::open(&host.state(), &means, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    epochs.iter().filter(|(epoch, sealed)| key::open(&keys.store_key, epoch, sealed).is_some()).count()
}

/// A device in a session with an open keyring: its key is there from the first start on.
fn in_keyring() -> (Host, Keyring) {
    let host = Host::stopped("anna").with_session_bus();
    fs::DirBuilder::new().mode(0o700).create(host.runtime()).unwrap();
    let keyring = Keyring::open(&host);
    host.start();
    assert_eq!((place(&host), keyring.items()), (says("keyring", "unlinked"), (1, 0)));
    (host, keyring)
}

#[test]
fn a_key_in_a_keyring_is_locked_and_opens_with_it() {
    let (anna, keyring) = in_keyring();
    let id = anna.id();
    let session = anna.session("org.example.Notes", "Mine");
    anna.put(&session, "k", "v");
    // A keyring that locks, or goes, takes nothing from a daemon that runs.
    keyring.lock();
    assert_eq!(keyring.items(), (1, 1));
    anna.put(&session, "k", "w");
    anna.stop();
    let before = secrets(&anna);
    anna.start();
    assert_eq!(place(&anna), says("keyring", "locked"));
    let refused = anna.fails(&["unlock"], 5);
    assert!(refused.name == "Locked" && refused.message.contains("goes on by itself"), "{refused:?}");
    drop(keyring);
    let keyring = Keyring::locked(&anna);
    assert_eq!(anna.fails(&["list"], 5).name, "Locked");
    drop(keyring);
    assert_eq!(secrets(&anna), before, "nothing is made anew because it is locked");
    let keyring = Keyring::open(&anna);
    eventually("anna goes on by itself", || (place(&anna).1 == "unlinked").then_some(()));
    anna.reads(&session, "k", "w");
    assert_eq!((anna.id(), keyring.items()), (id, (1, 0)));

    anna.given(&["key", "move", "passphrase"], PASSPHRASE).ok();
    assert_eq!(keyring.items(), (0, 0));
    anna.ok(&["key", "move", "keyring"]);
    assert_eq!(keyring.items(), (1, 0));
    anna.stop();
    anna.start();
    assert_eq!(place(&anna), says("keyring", "unlinked"));
}

#[test]
fn a_keyring_that_lost_the_key_costs_nothing_and_says_the_way_out() {
    let (anna, keyring) = in_keyring();
    anna.stop();
    drop(keyring);
    let keyrings = anna.home().join(".local/share/keyrings");
    let kept = anna.home().join("kept");
    fs::rename(&keyrings, &kept).unwrap();
    let before = secrets(&anna);
    let keyring = Keyring::open(&anna);
    anna.start();
    assert_eq!(place(&anna), says("keyring", "locked"));
    let lost = anna.fails(&["list"], 5);
    assert!(lost.message.contains("put back the keyring from a backup"), "{lost:?}");
    assert_eq!(secrets(&anna), before);
    drop(keyring);
    fs::remove_dir_all(&keyrings).unwrap();
    fs::rename(&kept, &keyrings).unwrap();
    let _keyring = Keyring::open(&anna);
    eventually("anna goes on by itself", || (place(&anna).1 == "unlinked").then_some(()));
}

#[test]
fn a_revoked_device_leaves_no_key_in_the_keyring_that_opens_its_old_disk() {
    let (anna, bert) = (in_keyring(), Host::new("bert"));
    let (anna, keyring) = anna;
    link(&bert, &anna);
    anna.stop();
    let disk = tempfile::tempdir().unwrap();
    for name in ["key", "identity"] {
        fs::copy(anna.state().join(name), disk.path().join(name)).unwrap();
    }
    anna.start();
    bert.ok(&["revoke", "anna", "--yes"]);
    eventually("anna is out", || (place(&anna) == says("keyring", "revoked")).then_some(()));
    eventually("its old key is gone", || (keyring.items() == (1, 0)).then_some(()));
    anna.stop();
    // Where it was, the old disk; the keyring is that of now.
    for name in ["key", "identity"] {
        fs::copy(disk.path().join(name), anna.state().join(name)).unwrap();
    }
    anna.start();
    assert_eq!(place(&anna), says("keyring", "locked"));
    assert!(anna.fails(&["list"], 5).message.contains("has no key of this device"));
}
