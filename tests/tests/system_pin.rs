//! The PIN, with real daemons: what it keeps from happening, what wrong ones cost, and where it stands nowhere.

use std::fs;
use std::path::{Path, PathBuf};

use kinlink_tests::harness::{Failure, Host, Linking, eventually, link};

const PIN: &str = "correct horse 7";
const WRONG: &str = "battery staple";

/// Files that scripts read PINs from, outside of any host's home.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With these lines.
    fn with(&self, lines: &[&str]) -> PathBuf {
        let name: u32 = lines.iter().flat_map(|line| line.bytes()).map(u32::from).sum();
        let path = self.0.path().join(name.to_string());
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path
    }
}

fn with<'a>(args: &[&'a str], file: &'a Path) -> Vec<&'a str> {
    [args, &["--pin-file", file.to_str().unwrap()]].concat()
}

fn set(host: &Host, files: &Files) {
    let state = host.ok(&with(&["pin", "set"], &files.with(&[PIN])));
    assert_eq!((&state["two_step"], &state["set"]["by"]), (&true.into(), &host.name().into()), "{state}");
}

fn knows(host: &Host, of: u64) {
    eventually("all devices know of the PIN", || {
        let state = host.ok(&["pin"]);
        (state["known_on"] == of && state["known_of"] == of).then_some(())
    });
}

#[test]
fn with_a_pin_nobody_is_linked_or_revoked_without_it_on_whichever_device() {
    let files = Files::new();
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    set(&anna, &files);
    knows(&bert, 2);
    let (right, wrong) = (files.with(&[PIN]), files.with(&[WRONG]));

    // Nothing is shown before the PIN was right.
    let none = bert.fails(&["link"], 5);
    assert!(none.hint.contains("--pin-file"), "{none:?}");
    assert_eq!(bert.fails(&with(&["link"], &wrong), 7).name, "PinWrong");
    let (show, text) = Linking::open_with(&bert, &with(&[], &right));
    let mut linking = Linking { show, join: Linking::join(&carl, &text) };
    let code = linking.code();
    linking.show.type_line(&code);
    linking.show.end().ok();
    linking.join.end().ok();
    knows(&anna, 3);
    assert_eq!(anna.device("carl")["role"], "owner", "at once, with the PIN");

    let none = anna.fails(&["revoke", "--yes", "carl"], 5);
    assert!(none.hint.contains("--pin-file"), "{none:?}");
    assert_eq!(anna.fails(&with(&["revoke", "--yes", "carl"], &wrong), 7).name, "PinWrong");
    assert_eq!(anna.fails(&with(&["role", "carl", "member"], &wrong), 7).name, "PinWrong");
    anna.ok(&with(&["role", "carl", "member"], &right));
    assert_eq!(anna.linked(), ["anna", "bert", "carl"]);
    anna.ok(&with(&["revoke", "--yes", "carl"], &right));
    eventually("carl is out", || (carl.ok(&["status"])["state"] == "revoked").then_some(()));

    // Whoever leaves needs none; and it is gone with who knows it only.
    assert_eq!(anna.fails(&with(&["pin", "remove"], &wrong), 7).name, "PinWrong");
    anna.ok(&with(&["pin", "change"], &files.with(&[PIN, "another one"])));
    assert_eq!(bert.fails(&with(&["pin", "remove"], &right), 7).name, "PinWrong");
    let gone = bert.ok(&with(&["pin", "remove"], &files.with(&["another one"])));
    assert_eq!(gone["two_step"], false);
    eventually("anna knows", || (anna.ok(&["pin"])["two_step"] == false).then_some(()));
    anna.ok(&["revoke", "--yes", "bert"]);
}

#[test]
fn wrong_pins_are_counted_over_a_kill_and_told_to_the_other_device() {
    let files = Files::new();
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    set(&anna, &files);
    knows(&bert, 2);
    let (right, wrong) = (files.with(&[PIN]), files.with(&[WRONG]));
    for _ in 0..3 {
        assert_eq!(bert.fails(&with(&["link"], &wrong), 7).name, "PinWrong");
    }
    eventually("anna shows it", || (anna.device("bert")["wrong_pins"] == 3).then_some(()));
    let warned = anna.ok(&["status"])["warnings"].to_string();
    assert!(warned.contains("3 wrong PINs in a row were typed on bert"), "{warned}");
    // From now on the right one has to wait as well.
    let waits = |failure: Failure| {
        assert_eq!(failure.name, "PinWrong");
        assert!(failure.message.contains("oo many wrong PINs"), "{failure:?}");
    };
    waits(bert.fails(&with(&["link"], &right), 7));
    bert.kill();
    bert.start();
    waits(bert.fails(&with(&["link"], &right), 7));
    assert_eq!(bert.device("bert")["wrong_pins"], 3);
}

/// All that lies below a directory.
fn contents(dir: &Path, found: &mut Vec<u8>) {
    for path in fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            contents(&path, found);
        } else if path.is_file() {
            found.extend(fs::read(&path).unwrap());
        }
    }
}

fn finds(haystack: &[u8], text: &str) -> bool {
    haystack.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_pin_stands_in_no_store_no_log_and_on_no_command_line() {
    let files = Files::new();
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    set(&anna, &files);
    knows(&bert, 2);
    bert.fails(&with(&["link"], &files.with(&[WRONG])), 7);
    let (show, text) = Linking::open_with(&bert, &with(&[], &files.with(&[PIN])));
    // While it waits, kinctl holds the PIN.
    let mut lines = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // What ends meanwhile was not it.
        lines.extend(fs::read(process.path().join("cmdline")).unwrap_or_default());
        lines.extend(fs::read(process.path().join("environ")).unwrap_or_default());
    }
    assert!(finds(&lines, "kinctl") && text.starts_with("kinlink:"));
    drop(show);
    for host in [&anna, &bert] {
        host.stop();
        let mut all = host.log().into_bytes();
        contents(&host.state(), &mut all);
        contents(&host.runtime(), &mut all);
        assert!(finds(&all, host.name()), "the search finds what is there");
        lines.extend(all);
    }
    for secret in [PIN, WRONG] {
        assert!(!finds(&lines, secret), "{secret}");
    }
}
