//! Rule E10: what needs the countersignature of the PIN.
//!
//! What a statement had seen decides, as everywhere. A thief would therefore leave the PIN out of what his statements name; so
//! an author that had seen it, by what it says elsewhere, is held to it.

use super::super::Role;
use super::super::statement::{Action, PinSetting, Statement};
use super::Pin;
use super::rules::{Answer, Rules};
use crate::id::DeviceId;

impl Rules<'_> {
    /// E10: whether `at` has the countersignature that it needs.
    pub(super) fn countersigned(&self, at: usize) -> Answer {
        if !needs(self.graph().at(at)) {
            return Answer::Yes;
        }
        let signed = || match self.pins_at(at) {
            Ok(pins) => Answer::from_bool(pins.is_empty() || self.signed_by_any(at, &pins)),
            Err(open) => open,
        };
        let tests: [&dyn Fn() -> Answer; 2] = [&signed, &|| self.exempt(at)];
        self.any(tests.into_iter().map(|test| test()))
    }

    /// Whether `at` is countersigned by a PIN that its author had seen.
    pub(super) fn has_pin(&self, at: usize) -> bool {
        self.pins_at(at).is_ok_and(|pins| self.signed_by_any(at, &pins))
    }

    /// The PINs that are set in the end.
    pub(super) fn pins_at_last(&self) -> Vec<Pin> {
        let effective = self.index().pins.iter().copied().filter(|pin| self.stands(*pin) == Answer::Yes);
        let newest = self.newest(effective.collect());
        let pin = |at: usize| {
            let statement = self.graph().at(at);
            let all = self.graph().statements().iter().enumerate();
            let later = all.filter(|(index, _)| *index == at || self.graph().before(at, *index));
            let known_by = later.map(|(_, later)| later.author).collect();
            setting(statement).map(|setting| Pin { id: statement.id, by: statement.author, setting, known_by })
        };
        let mut pins: Vec<Pin> = newest.into_iter().filter_map(pin).collect();
        pins.sort_by_key(|pin| pin.id);
        pins
    }

    /// The set PINs of which any countersigns `at`; open as long as it is open which those are.
    fn pins_at(&self, at: usize) -> Result<Vec<usize>, Answer> {
        let pins = || self.index().pins.iter().copied().filter(|pin| *pin != at);
        let known = self.all(pins().map(|pin| match self.sees(at, pin) {
            Answer::Open => Answer::Open,
            _ => Answer::Yes,
        }));
        match known {
            Answer::Yes => Ok(self.newest(pins().filter(|pin| self.sees(at, *pin) == Answer::Yes).collect())),
            open => Err(open),
        }
    }

    /// Whether `pin` counts for `at`: its author had seen it, or is held to it.
    fn sees(&self, at: usize, pin: usize) -> Answer {
        if self.graph().before(pin, at) {
            return self.stands(pin);
        }
        let tests: [&dyn Fn() -> Answer; 2] = [&|| self.stands(pin), &|| self.held(at, pin)];
        self.all(tests.into_iter().map(|test| test()))
    }

    /// Whether the author of `at` is held to a PIN that is not in its past: to that of another by any word of its own that builds
    /// upon it, and to its own by a third device that counted with it before it heard of `at`. A thief could set one in
    /// hindsight, beside what the device had said, and all that would fall.
    fn held(&self, at: usize, pin: usize) -> Answer {
        let author = self.graph().at(at).author;
        match self.graph().concurrent(pin, at) {
            true if self.graph().at(pin).author == author => self.saved(pin, at),
            true => self.knew(author, pin, at),
            false => Answer::No,
        }
    }

    /// E2: whether `at` is a PIN that the author of the revocation `by` leaves out though it had seen it: nobody gets rid of a PIN
    /// by revoking, as if he did not know of it, the device that set it.
    pub(super) fn ignores_pin(&self, by: usize, at: usize) -> Answer {
        match self.graph().at(at).action {
            Action::Pin(_) => self.knew(self.graph().at(by).author, at, by),
            _ => Answer::No,
        }
    }

    /// Whether `author` says, beside `at`, something that builds upon `what`, even if that is void, as long as it was not said by a
    /// device that was out: that is not handed on, and all must come to the same.
    fn knew(&self, author: DeviceId, what: usize, at: usize) -> Answer {
        let beside = self.index().said(author).iter().copied().filter(|said| self.graph().concurrent(*said, at));
        self.any(beside.filter(|said| self.graph().before(what, *said)).map(|said| {
            let tests: [&dyn Fn() -> Answer; 2] =
                [&|| self.linked_at(author, said), &|| self.removed_meanwhile(said).not()];
            self.all(tests.into_iter().map(|test| test()))
        }))
    }

    /// Those of `pins` that no other one saw, without removals.
    fn newest(&self, pins: Vec<usize>) -> Vec<usize> {
        let seen = |pin: &usize| pins.iter().any(|later| self.graph().before(*pin, *later));
        let set = |pin: &usize| setting(self.graph().at(*pin)).is_some();
        pins.iter().copied().filter(|pin| !seen(pin) && set(pin)).collect()
    }

    fn signed_by_any(&self, at: usize, pins: &[usize]) -> bool {
        let mut keys = pins.iter().filter_map(|pin| setting(self.graph().at(*pin)));
        keys.any(|setting| self.is_countersigned(at, setting.key))
    }

    /// Whether `at` revokes what takes nothing from anybody: a guest, or a device that its author linked and that never said
    /// anything. Daemons do both by themselves, without anybody who could type the PIN.
    fn exempt(&self, at: usize) -> Answer {
        let statement = self.graph().at(at);
        let Some(target) = statement.revokes() else { return Answer::No };
        let guest = || self.has_role_at(target, at, Role::Member).not();
        let spoke = |said: &usize| match self.graph().before(*said, at) {
            true => Answer::Yes,
            false => self.knew(statement.author, *said, at),
        };
        let silent = || self.any(self.index().said(target).iter().map(spoke)).not();
        let linked = || {
            let own = |link: &usize| self.graph().at(*link).author == statement.author;
            self.any(self.earlier(self.index().links_of(target), at).filter(own).map(|link| self.stands(link)))
        };
        let tests: [&dyn Fn() -> Answer; 2] = [&silent, &linked];
        let never_completed = || self.all(tests.iter().map(|test| test()));
        let tests: [&dyn Fn() -> Answer; 2] = [&guest, &never_completed];
        self.any(tests.into_iter().map(|test| test()))
    }
}

/// What is said about others, and the PIN itself. Every role of another, not only a higher one: who could demote all other
/// owners would be the last who may revoke.
fn needs(statement: &Statement) -> bool {
    super::super::pin::concerns_others(&statement.action, statement.author)
}

fn setting(statement: &Statement) -> Option<PinSetting> {
    match &statement.action {
        Action::Pin(setting) => *setting,
        _ => None,
    }
}
