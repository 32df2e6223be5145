//! Three devices from the first link to the last revocation, as their owner sees it.

use kinlink_daemon::keys::Keys;
use kinlink_daemon::store::Db;
use kinlink_proto::key;
use kinlink_proto::store::{Read, Table};
use kinlink_tests::harness::{Host, eventually, link};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;
use tempfile::TempDir;

/// Two owners, `anna` and `bert`, and the member `carl`, who all know of each other.
fn three() -> (Host, Host, Host) {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    link(&anna, &carl);
    for host in [&anna, &bert, &carl] {
        eventually("all three are listed", || (host.linked() == ["anna", "bert", "carl"]).then_some(()));
    }
    bert.meets("carl");
    (anna, bert, carl)
}

/// Waits until `host` lists the device called `name` in this status.
fn lists(host: &Host, name: &str, status: &str) -> Value {
    eventually(&format!("{} lists {name} as {status}", host.name()), || {
        Some(host.device(name)).filter(|device| device["status"] == status)
    })
}

#[test]
fn three_devices_share_names_and_sessions() {
    let (anna, bert, carl) = three();
    for host in [&anna, &bert, &carl] {
        let role = |name| host.device(name)["role"].clone();
        assert_eq!([role("anna"), role("bert"), role("carl")], ["owner", "owner", "member"]);
        assert_eq!(host.device("carl")["linked"]["by"]["name"], "anna");
        assert_eq!(host.device("carl")["linked"]["verified"], "code");
        assert_eq!(host.device(host.name())["this_device"], true);
    }
    let list = carl.says(&["list"]).out;
    let own = list.lines().find(|line| line.contains("* carl")).unwrap();
    assert!(own.contains("member") && own.contains("this device"), "{list}");

    let hosts = [&anna, &bert, &carl];
    for writer in hosts {
        let session = writer.session("org.example.Notes", writer.name());
        writer.put(&session, "greeting", &format!("from {}", writer.name()));
        for reader in hosts {
            reader.reads(&session, "greeting", &format!("from {}", writer.name()));
            let listed = reader.ok(&["sessions", "--device", writer.name()]);
            assert_eq!(
                (&listed[0]["title"], &listed[0]["device"]["name"]),
                (&writer.name().into(), &writer.name().into())
            );
        }
    }

    carl.ok(&["rename", "bert", "Bert's phone"]);
    for host in hosts {
        eventually("the new name is seen", || (host.linked() == ["Bert's phone", "anna", "carl"]).then_some(()));
    }
    assert_eq!(bert.ok(&["status"])["device"]["name"], "Bert's phone");
    // A name that fits nobody, and one that fits two.
    let unknown = anna.fails(&["show", "bert"], 4);
    assert!(unknown.message.contains("\"bert\"") && unknown.hint.contains("kinctl list"), "{unknown:?}");
    bert.ok(&["rename", "carl", "Bert's phone"]);
    eventually("carl's new name is seen", || anna.device("carl").is_null().then_some(()));
    let ambiguous = anna.fails(&["revoke", "--yes", "Bert's phone"], 4);
    assert!(ambiguous.message.contains("fits several") && ambiguous.message.lines().count() == 3, "{ambiguous:?}");
}

#[test]
fn a_watcher_hears_changes_and_the_end() {
    let (anna, bert, carl) = three();
    let session = anna.session("org.example.Music", "Listening");
    anna.put(&session, "track", "1");
    bert.reads(&session, "track", "1");
    let mut watch = bert.spawn(&["--json", "session", "watch", "Listening"]);
    assert_eq!(watch.event("watching")["session"]["app"], "org.example.Music");
    anna.put(&session, "track", "2");
    let put = watch.event("put");
    assert_eq!((&put["key"], &put["value"], &put["device"]["name"]), (&"track".into(), &"2".into(), &"anna".into()));
    carl.reads(&session, "track", "2");
    carl.ok(&["session", "rm", &session, "track"]);
    let delete = watch.event("delete");
    assert_eq!((&delete["key"], &delete["device"]["name"]), (&"track".into(), &"carl".into()));

    carl.ok(&["session", "end", &session, "--reason", "party is over"]);
    let ended = watch.event("ended");
    assert_eq!((&ended["by"]["name"], &ended["reason"]), (&"carl".into(), &"party is over".into()));
    let heard = watch.end().fails(9);
    assert_eq!(heard.message, "The session was ended by carl: party is over");
    for host in [&anna, &bert, &carl] {
        eventually("the end is listed", || {
            let all = host.ok(&["sessions", "--all"]);
            (all[0]["ended"]["by"]["name"] == "carl" && all[0]["ended"]["reason"] == "party is over").then_some(())
        });
        assert_eq!(host.fails(&["session", "get", &session, "track"], 9).name, "SessionEnded");
        assert_eq!(host.fails(&["session", "put", &session, "track", "3"], 9).name, "SessionEnded");
        assert_eq!(host.ok(&["sessions"]), serde_json::json!([]));
    }
}

/// What no file may hold as it is.
const PLAINTEXT: [&str; 4] =
    ["org.example.Diary", "An unmistakable title", "an-unmistakable-key", "an unmistakable value"];

#[test]
fn a_revoked_device_loses_its_keys_and_knows_why() {
    let (anna, bert, carl) = three();
    let [app, title, key, value] = PLAINTEXT;
    let session = anna.session(app, title);
    anna.put(&session, key, value);
    bert.reads(&session, key, value);
    carl.reads(&session, key, value);
    bert.stop();
    let before = Loot::take(&bert);
    let secrets = before.rows(Table::Secrets);
    assert!(!secrets.is_empty() && before.opens(&secrets) == secrets.len(), "a linked device holds its keys");
    bert.start();
    anna.meets("bert");
    let mut watch = bert.spawn(&["--json", "session", "watch", &session]);
    watch.event("watching");

    let said = anna.says(&["revoke", "bert", "--reason", "left on a train", "--yes", "--wait", "60"]);
    assert_eq!((said.code, said.out.as_str()), (0, "bert is revoked, applied on 2 of 2.\n"), "{said:?}");
    assert_eq!(watch.end().fails(9).message, "The session was ended by anna: left on a train");
    for host in [&anna, &carl] {
        let revoked = &lists(host, "bert", "revoked")["revoked"];
        assert_eq!((&revoked["by"]["name"], &revoked["reason"]), (&"anna".into(), &"left on a train".into()));
        eventually("everyone is known to have applied it", || {
            let list = host.says(&["list"]).out;
            list.lines()
                .any(|line| line.contains("bert") && line.contains("left on a train") && line.ends_with("on 2 of 2"))
                .then_some(())
        });
    }

    out_for_good(&bert, &session, key);
    bert.kill();
    let after = Loot::take(&bert);
    assert_eq!(after.keys.identity.device(), before.keys.identity.device());
    assert_eq!(after.rows(Table::Secrets), []);
    assert_eq!(after.opens(&secrets), 0, "what was sealed before stays sealed");
    assert!(!after.rows(Table::Operations).is_empty(), "the ciphertext stays for a while");
    for host in [&anna, &carl] {
        host.stop();
    }
    for host in [&anna, &bert, &carl] {
        assert_no_plaintext(host, &PLAINTEXT);
    }
    for host in [&anna, &bert, &carl] {
        host.start();
    }
    out_for_good(&bert, &session, key);
    anna.meets("carl");
    anna.put(&session, key, "after");
    carl.reads(&session, key, "after");
    assert_eq!(anna.device("bert")["online"], false);
    out_for_good(&bert, &session, key);

    let id = bert.id();
    assert_eq!(bert.says(&["erase", "--yes"]).code, 0);
    assert_eq!(bert.ok(&["status"])["state"], "unlinked");
    assert_ne!(bert.id(), id);
    link(&anna, &bert);
    bert.reads(&session, key, "after");
    assert_eq!(lists(&carl, "bert", "linked")["role"], "member");
}

/// `host` says that it was revoked, by whom and why, and reads nothing.
fn out_for_good(host: &Host, session: &str, key: &str) {
    eventually("it knows that it was revoked", || (host.ok(&["status"])["state"] == "revoked").then_some(()));
    let status = host.ok(&["status"]);
    assert_eq!((&status["revoked"]["by"], &status["revoked"]["reason"]), (&"anna".into(), &"left on a train".into()));
    assert_eq!(status["epoch"], "");
    let said = host.says(&["status"]).out;
    assert!(said.contains("revoked by anna on ") && said.contains(": left on a train"), "{said}");
    for args in
        [&["session", "get", session, key][..], &["sessions"], &["session", "new", "--app", "a.b", "--title", "t"]]
    {
        let failure = host.fails(args, 8);
        assert!(failure.message.contains("anna") && failure.message.contains("left on a train"), "{failure:?}");
        assert!(failure.hint.contains("kinctl erase"), "{failure:?}");
    }
    for args in [&["link"][..], &["rename", "carl", "x"], &["revoke", "anna", "--yes"]] {
        assert_eq!(host.fails(args, 8).name, "Revoked");
    }
}

/// What a thief copies from the disk of a stopped device.
struct Loot {
    keys: Keys,
    store: Db,
    _dir: TempDir,
}

impl Loot {
    fn take(host: &Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["store", "key", "identity"] {
            std::fs::copy(host.state().join(name), dir.path().join(name)).unwrap();
        }
        let keys = Keys::load_or_create(dir.path(), &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let store = Db::open(dir.path().join("store")).unwrap();
        Self { keys, store, _dir: dir }
    }

    fn rows(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store.snapshot().unwrap().range(table, &[], &[0xff; 64], usize::MAX).unwrap()
    }

    /// How many of these sealed epoch secrets its store key opens.
    fn opens(&self, secrets: &[(Vec<u8>, Vec<u8>)]) -> usize {
        secrets.iter().filter(|(epoch, sealed)| key::open(&self.keys.store_key, epoch, sealed).is_some()).count()
    }
}

/// Nothing of `plaintext` stands in any file of a stopped device.
fn assert_no_plaintext(host: &Host, plaintext: &[&str]) {
    for entry in std::fs::read_dir(host.state()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for text in plaintext {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{} holds {text:?}", path.display());
        }
    }
}

#[test]
fn devices_leave_and_the_last_owner_stays() {
    let (anna, bert, carl) = three();
    let session = bert.session("org.example.Notes", "Shared");
    bert.put(&session, "k", "v");
    carl.reads(&session, "k", "v");
    for args in [&["link"][..], &["revoke", "anna", "--yes"], &["revoke", "--others", "--yes"]] {
        let refused = carl.fails(args, 5);
        assert_eq!(refused.name, "NotOwner");
        assert!(refused.message.contains("Only an owner") && refused.hint.contains("kinctl list"), "{refused:?}");
    }
    // Nobody is asked who cannot answer.
    let asked = anna.fails(&["revoke", "bert"], 5);
    assert!(asked.message.contains("needs a yes") && asked.hint.contains("--yes"), "{asked:?}");
    assert_eq!(anna.device("bert")["status"], "linked");

    assert_eq!(anna.fails(&["erase", "--yes"], 5).name, "LeaveFirst");
    bert.ok(&["leave", "--yes", "--reason", "sold"]);
    for host in [&anna, &carl] {
        assert_eq!(lists(host, "bert", "left")["revoked"]["reason"], "sold");
    }
    assert_eq!(bert.fails(&["session", "get", &session, "k"], 8).name, "Revoked");
    carl.reads(&session, "k", "v");

    let last = anna.fails(&["leave", "--yes"], 5);
    assert_eq!(last.name, "LastOwner");
    assert!(last.hint.contains("kinctl revoke --others"), "{last:?}");
    assert_eq!(lists(&carl, "anna", "linked")["role"], "owner");

    let revoked = anna.ok(&["revoke", "--others", "--yes", "--reason", "clean slate"]);
    assert_eq!((revoked.as_array().unwrap().len(), &revoked[0]["name"]), (1, &"carl".into()));
    eventually("carl knows", || (carl.ok(&["status"])["revoked"]["reason"] == "clean slate").then_some(()));
    assert_eq!(anna.linked(), ["anna"]);
    anna.reads(&session, "k", "v");
    let none = anna.says(&["revoke", "--others", "--yes"]);
    assert_eq!((none.code, none.out.as_str()), (0, "There is no other device.\n"));
}
