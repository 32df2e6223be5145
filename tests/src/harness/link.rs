//! Linking as two people with two terminals do it.

use super::{Ctl, Host, eventually};

/// A linking under way: `kinctl link` on one device, `kinctl join` on the other.
#[derive(Debug)]
pub struct Linking {
    /// On the device that shows the challenge.
    pub show: Ctl,
    /// On the new one.
    pub join: Ctl,
}

/// Links `joiner` to the account of `shower`, until both list each other as linked.
pub fn link(shower: &Host, joiner: &Host) {
    finish(Linking::start(shower, joiner));
    for (host, other) in [(shower, joiner), (joiner, shower)] {
        eventually("both list both", || (host.linked().iter().any(|name| name == other.name())).then_some(()));
    }
}

/// [`link`] of hosts that are not on one network.
pub fn link_anywhere(shower: &Host, joiner: &Host) {
    let (show, text) = Linking::open_with(shower, &["--anywhere"]);
    finish(Linking { show, join: joiner.spawn(&["--json", "join", "--yes", "--anywhere", &text]) });
    shower.meets(joiner.name());
}

/// Types the code.
fn finish(mut linking: Linking) {
    let code = linking.code();
    linking.show.type_line(&code);
    let shown = linking.show.end().ok();
    assert_eq!((&shown["event"], &shown["device"]["status"]), (&"linked".into(), &"linked".into()), "{shown}");
    assert_eq!(linking.join.end().ok()["event"], "linked");
}

impl Linking {
    /// Opens pairing on `shower`; the challenge as text comes with it.
    #[must_use]
    pub fn open(shower: &Host) -> (Ctl, String) {
        Self::open_with(shower, &[])
    }

    /// [`open`](Self::open) with further arguments.
    #[must_use]
    pub fn open_with(shower: &Host, args: &[&str]) -> (Ctl, String) {
        let mut show = shower.spawn(&[&["--json", "link"], args].concat());
        let text = show.event("open")["text"].as_str().unwrap().to_owned();
        (show, text)
    }

    /// Answers a challenge on `joiner`, agreeing to whatever it offers.
    #[must_use]
    pub fn join(joiner: &Host, text: &str) -> Ctl {
        joiner.spawn(&["--json", "join", "--yes", text])
    }

    /// Both, without waiting for anything behind the challenge.
    #[must_use]
    pub fn start(shower: &Host, joiner: &Host) -> Self {
        let (show, text) = Self::open(shower);
        Self { show, join: Self::join(joiner, &text) }
    }

    /// The code that the new device shows, once the other one asks for it.
    pub fn code(&mut self) -> String {
        let code = self.join.event("code")["code"].as_str().unwrap().to_owned();
        self.show.event("peer");
        code
    }
}

/// A code that is not `code`.
#[must_use]
pub fn wrong(code: &str) -> String {
    let digit = if code.starts_with('0') { '1' } else { '0' };
    format!("{digit}{}", &code[1..])
}
