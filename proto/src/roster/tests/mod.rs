//! Scenarios in text, one statement a line:
//!
//! ```text
//! ga  A genesis
//! lb  A link B owner            builds upon all lines above
//! rb  A revoke B    < lb        builds upon what these (and their pasts) say, and nothing else
//! =   B revoked
//! =   lb effective
//! p1  A pin one                sets the PIN "one"; "none" removes it
//! lc  A link C owner +one      countersigned by it
//! =   pin one                  what countersigns in the end
//! ```
//!
//! Who builds upon less than its own newest statement forks. Lines with `=` are what must follow, in every order of arrival.

mod bytes;
mod epochs;
mod pins;
mod property;
mod rules;
mod spread;
mod suspended;

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::keyring::commitment;
use super::statement::{
    Action, EpochAction, Genesis, Honoured, Link, PinSetting, Revoke, Statement, Suspend, consent_message,
};
use super::{Custody, Role, Roster, Status};
use crate::id::{AccountId, ChallengeId, DeviceId, Hash, StatementId};
use crate::key::{self, Identity, PinSigner, Secret};
use crate::limits;
use crate::time::Wall;
use crate::wire::address::Address;

/// The device with this name, always the same.
fn identity(name: &str) -> Identity {
    let seed = name.bytes().fold(7u64, |seed, byte| seed * 257 + u64::from(byte));
    Identity::random(&mut ChaCha20Rng::seed_from_u64(seed))
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn genesis(author: &Identity) -> Statement {
    let hpke = author.hpke_public().to_vec();
    let (label, name, platform) = ("home".into(), "first".into(), "Linux".into());
    Roster::genesis(author, Wall(1), Genesis { label, name, platform, hpke, salt: [9; 16] })
}

/// Links a device, with its consent.
pub(crate) fn link(account: AccountId, device: &Identity, role: Role) -> Action {
    let (custody, challenge) = (Custody::Personal, ChallengeId([5; 32]));
    let hpke = device.hpke_public().to_vec();
    let consent = device.sign("consent", &consent_message(account, device.device(), &hpke, role, custody, challenge));
    Action::Link(Box::new(Link {
        device: device.device(),
        hpke,
        role,
        custody,
        holder: String::new(),
        lease: 0,
        name: "a name".into(),
        platform: "Linux".into(),
        origin: Address::none(),
        replaces: DeviceId::NONE,
        challenge,
        consent,
    }))
}

fn revoke(device: DeviceId) -> Action {
    let (text, honoured) = ("why".into(), BTreeMap::new());
    Action::Revoke(Revoke { device, reason_code: 1, text, with_linked: false, honoured })
}

fn suspend(device: DeviceId) -> Action {
    let seen_at = vec![std::net::SocketAddr::from(([192, 0, 2, 7], 4000)).into()];
    Action::Suspend(Suspend { device, reason_code: 6, text: "two of it".into(), seen_at })
}

fn epoch(recipients: impl IntoIterator<Item = DeviceId>) -> Action {
    let mut recipients: Vec<DeviceId> = recipients.into_iter().collect();
    recipients.sort();
    Action::Epoch(EpochAction { commitment: commitment(&Secret([3; 32])), cipher: 1, recipients })
}

/// What the PIN with this name gives.
fn pin(name: &str) -> PinSigner {
    PinSigner::from_seed(&Secret(key::sha256(&[name.as_bytes()]).0))
}

fn set_pin(name: &str) -> Action {
    let (memory, passes, lanes) = (*limits::PIN_MEMORY.start(), *limits::PIN_PASSES.start(), 1);
    let setting = PinSetting { key: pin(name).public(), salt: [4; 16], memory, passes, lanes };
    Action::Pin((name != "none").then_some(setting))
}

/// Statements by name, in the order of the text.
#[derive(Default)]
struct Story {
    names: Vec<String>,
    statements: Vec<Statement>,
}

impl Story {
    /// Tells a story and checks what it says must follow.
    fn tell(text: &str) -> Self {
        let mut story = Self::default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (claims, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('='));
        said.into_iter().for_each(|line| story.say(line));
        for seed in 0..4 {
            let roster = story.roster(seed);
            claims.iter().for_each(|claim| story.check(&roster, claim, seed));
        }
        story
    }

    fn say(&mut self, line: &str) {
        let (what, seen) = line.split_once('<').map_or((line, None), |(what, seen)| (what, Some(seen)));
        let (what, countersigner) =
            what.split_once('+').map_or((what, None), |(what, by)| (what, Some(pin(by.trim()))));
        let words: Vec<&str> = what.split_whitespace().collect();
        let view = self.view(seen);
        let author = identity(words[1]);
        let statement = match words[2] {
            "genesis" => genesis(&author),
            _ => {
                let time = Wall(self.names.len() as u64);
                let action = self.action(&words[2..], view.account().expect("a genesis"));
                let mut rng = rng(self.names.len() as u64);
                view.draft_countersigned(&author, countersigner.as_ref(), time, action, &mut rng)
            }
        };
        self.names.push(words[0].to_owned());
        self.statements.push(statement);
    }

    /// What one that saw only `seen` knows.
    fn view(&self, seen: Option<&str>) -> Roster {
        let Some(seen) = seen else { return self.roster(0) };
        let mut known: Vec<StatementId> = seen.split_whitespace().map(|name| self.get(name).id).collect();
        let mut batch = Vec::new();
        // Newest first: what a statement builds upon comes later in this walk.
        for statement in self.statements.iter().rev() {
            if known.contains(&statement.id) {
                known.push(statement.previous);
                known.extend(statement.parents.iter().map(|parent| parent.id));
                batch.push(statement.bytes.clone());
            }
        }
        let mut view = Roster::new();
        view.insert(&batch).expect("a valid story");
        view
    }

    fn action(&self, words: &[&str], account: AccountId) -> Action {
        let device = || identity(words[1]).device();
        match words[0] {
            "link" => link(account, &identity(words[1]), words[2].parse().unwrap()),
            "revoke" => match (revoke(device()), words.get(2)) {
                (Action::Revoke(mut revoke), Some(size)) => {
                    let size = size.parse().unwrap();
                    revoke.honoured.insert(1, Honoured { size, root: Hash([1; 32]) });
                    Action::Revoke(revoke)
                }
                (action, _) => action,
            },
            "suspend" => suspend(device()),
            "readmit" => Action::Readmit { device: device() },
            "role" => Action::Role { device: device(), role: words[2].parse().unwrap() },
            "pin" => set_pin(words[1]),
            "epoch" => epoch(words[1..].iter().map(|name| identity(name).device())),
            "applied" => {
                let mut revocations: Vec<_> = words[1..].iter().map(|name| self.get(name).id).collect();
                revocations.sort();
                Action::Applied { revocations }
            }
            "unknown" => Action::Unknown { kind: u16::from_str_radix(words[1], 16).unwrap(), body: b"?".to_vec() },
            other => panic!("no such action: {other}"),
        }
    }

    fn get(&self, name: &str) -> &Statement {
        let at = self.names.iter().position(|other| other == name);
        &self.statements[at.unwrap_or_else(|| panic!("no statement {name}"))]
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        self.statements.iter().map(|statement| statement.bytes.clone()).collect()
    }

    /// A roster that was told everything: at once, or, with a seed, one by one in some order.
    fn roster(&self, seed: u64) -> Roster {
        let mut roster = Roster::new();
        if seed == 0 {
            roster.insert(&self.bytes()).expect("a valid story");
        } else {
            for bytes in shuffled(self.bytes(), seed) {
                roster.insert(&[bytes]).expect("a valid story");
            }
        }
        roster
    }

    /// The names of the PINs that countersign.
    fn pins(&self, roster: &Roster) -> String {
        let pins = &roster.evaluation().pins;
        let names = ["one", "two", "three", "thief"].into_iter();
        let set: Vec<&str> =
            names.filter(|name| pins.iter().any(|set| set.setting.key == pin(name).public())).collect();
        if set.is_empty() { "none".to_owned() } else { set.join(" ") }
    }

    fn check(&self, roster: &Roster, claim: &str, seed: u64) {
        let words: Vec<&str> = claim.split_whitespace().skip(1).collect();
        let evaluation = roster.evaluation();
        let found = if words[0] == "pin" {
            self.pins(roster)
        } else if words[0].chars().all(char::is_uppercase) {
            match evaluation.device(identity(words[0]).device()) {
                Some(device) if words.len() > 2 => format!("{} {}", name(device.status), device.role),
                Some(device) => name(device.status).to_owned(),
                None => "unknown".to_owned(),
            }
        } else {
            let id = self.get(words[0]).id;
            match evaluation.void.get(&id) {
                Some(reason) => format!("void {}", reason.rule()),
                None if evaluation.contested.contains(&id) => "contested".to_owned(),
                None if words[1].ends_with("fit") => {
                    let fit = evaluation.epoch(id.into()).expect("an epoch").fit;
                    if fit { "fit".to_owned() } else { "unfit".to_owned() }
                }
                None if evaluation.effective.contains(&id) => "effective".to_owned(),
                None => "missing".to_owned(),
            }
        };
        assert_eq!(found, words[1..].join(" "), "{}, told in order {seed}", words[0]);
    }
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Linked => "linked",
        Status::Revoked => "revoked",
        Status::Left => "left",
        Status::Suspended => "suspended",
        Status::Unconfirmed => "unconfirmed",
    }
}

fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut rng = rng(seed);
    for end in (1..items.len()).rev() {
        items.swap(end, (rng.next_u64() % (end as u64 + 1)) as usize);
    }
    items
}
