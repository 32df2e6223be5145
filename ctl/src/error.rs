//! Everything that can go wrong, and for each what to say, what to do about it, and the exit code.

use std::io;
use std::process::ExitCode;

use kinlink_proto::dbus::Error;

use crate::output::visible;

/// How the process ends. Scripts rely on these numbers: `kinctl help exit-codes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line, or a value in it, is wrong.
    Usage = 2,
    /// kinlinkd does not answer.
    Unreachable = 3,
    /// No such thing, or several of that name.
    NotFound = 4,
    /// Refused, by the user or by the rules.
    Refused = 5,
    /// The pairing came to nothing.
    Pairing = 6,
    /// A wrong code, or too many of them; a wrong passphrase or PIN.
    Code = 7,
    /// This device was revoked.
    Revoked = 8,
    /// The session is over.
    Ended = 9,
    /// A device that was pinged does not answer.
    Silent = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What `kinctl help exit-codes` and the man page say.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed
    2  wrong usage, or a value out of bounds
    3  kinlinkd is not running or does not answer
    4  no such device, session or key, or the name fits several
    5  refused: you said no, or it is not allowed
    6  the pairing came to nothing: expired, used, cancelled, unreadable, or nobody answered
    7  wrong code, or too many of them; wrong passphrase or PIN
    8  this device was revoked
    9  the session has ended
   10  the device that was pinged does not answer
  130  interrupted";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon answered with an error of its own.
    Daemon { error: Error, message: String },
    /// D-Bus failed.
    Bus(zbus::Error),
    /// No daemon: each way that was tried, with what came of it.
    NoDaemon { tried: Vec<String> },
    /// Nothing of that name.
    NotFound { what: &'static str, name: String },
    /// Several of that name.
    Ambiguous { what: &'static str, name: String, candidates: Vec<Candidate> },
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// The user said no, or there was nobody to ask.
    Declined { message: String, hint: &'static str },
    /// Ctrl-C; says what became of what was under way.
    Interrupted(String),
    /// A device that was pinged did not answer; the daemon's words.
    Silent(String),
    /// The watched session ended.
    Ended { by: String, reason: String },
    /// A picture without a challenge.
    Picture(String),
    /// A file could not be read or written.
    File { path: String, source: io::Error },
    /// Standard output, a thread, or the like.
    Io(io::Error),
}

/// One of several that a name fits.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The start of its id.
    pub(crate) id: String,
    /// Its name, chosen by people.
    pub(crate) name: String,
    /// What else tells it from the others.
    pub(crate) about: String,
}

impl Failure {
    /// The user's own no.
    pub(crate) fn declined(message: impl Into<String>) -> Self {
        Self::Declined { message: message.into(), hint: "" }
    }

    /// What to print and how to exit.
    pub(crate) fn report(&self) -> Report {
        match self {
            Self::Daemon { error, message } => daemon(*error, message),
            Self::Bus(error) => bus(error),
            Self::NoDaemon { tried } => no_daemon(tried),
            Self::NotFound { what, name } => Report::new(Exit::NotFound, format!("There is no {what} \"{name}\"."))
                .hint(if *what == "session" { "kinctl sessions --all lists them." } else { "kinctl list shows them." }),
            Self::Ambiguous { what, name, candidates } => ambiguous(what, name, candidates),
            Self::Usage(message) => Report::new(Exit::Usage, message).hint("--help says more."),
            Self::Declined { message, hint } => Report::new(Exit::Refused, message).hint(hint),
            Self::Silent(message) => Report { name: Some(Error::Unreachable.name()), ..silent(message) },
            Self::Interrupted(message) => Report::new(Exit::Interrupted, message),
            Self::Ended { by, reason } => Report::new(Exit::Ended, ended(by, reason)),
            Self::Picture(message) => Report::new(Exit::Pairing, message).hint(
                "Take a sharper picture with the whole code and its margin, or copy the text of kinctl link --text.",
            ),
            Self::File { path, source } => Report::new(Exit::Failure, format!("{path}: {source}.")),
            Self::Io(error) => Report::new(Exit::Failure, format!("{error}.")),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        if let zbus::Error::MethodError(name, message, _) = &error
            && let Some(known) = Error::from_name(name.as_str())
        {
            return Self::Daemon { error: known, message: message.clone().unwrap_or_default() };
        }
        Self::Bus(error)
    }
}

impl From<zbus::fdo::Error> for Failure {
    fn from(error: zbus::fdo::Error) -> Self {
        zbus::Error::from(error).into()
    }
}

/// What a person, or with `--json` a script, is told.
#[derive(Debug)]
pub(crate) struct Report {
    /// The D-Bus error name, if the daemon gave one.
    pub(crate) name: Option<&'static str>,
    /// What failed.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
    /// How to exit.
    pub(crate) exit: Exit,
}

impl Report {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { name: None, message: message.into(), hint: String::new(), exit }
    }

    fn hint(mut self, hint: &str) -> Self {
        hint.clone_into(&mut self.hint);
        self
    }
}

/// The one place that knows every error of the contract.
fn daemon(error: Error, message: &str) -> Report {
    let (exit, otherwise, hint) = advice(error);
    let message = if message.is_empty() { otherwise.to_owned() } else { sentence(message) };
    Report { name: Some(error.name()), message, hint: hint.to_owned(), exit }
}

/// `text` with a capital and a full stop: the daemon's messages are parts of sentences.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

/// Exit code, the message if the daemon gave none, and what to do.
fn advice(error: Error) -> (Exit, &'static str, &'static str) {
    match error {
        Error::NotFound => {
            (Exit::NotFound, "There is no such thing.", "kinctl list and kinctl sessions show what there is.")
        }
        Error::Ambiguous => (Exit::NotFound, "The name fits several.", "Use the id."),
        Error::Refused => (Exit::Refused, "It was refused.", ""),
        // What to do depends on why it may not, which the daemon says.
        Error::NotAllowed => (Exit::Refused, "This program may not do that.", ""),
        Error::Expired => (
            Exit::Pairing,
            "The challenge has expired.",
            "Run kinctl link again and be quicker, or give it longer with --timeout.",
        ),
        Error::AlreadyUsed => (
            Exit::Pairing,
            "The challenge was used before.",
            "Run kinctl link again: each challenge links one device, once.",
        ),
        Error::Cancelled => {
            (Exit::Pairing, "The other side cancelled.", "Run kinctl link again if that was a mistake.")
        }
        Error::AlreadyLinked => {
            (Exit::Refused, "This device is linked to that account already.", "kinctl list shows its devices.")
        }
        Error::NotLinked => (
            Exit::Refused,
            "This device is not linked.",
            "Link it with kinctl link here and kinctl join on the other device.",
        ),
        Error::LeaveFirst => (
            Exit::Refused,
            "This device belongs to an account with other devices.",
            "Leave that account first: kinctl leave.",
        ),
        Error::PairingOpen => {
            (Exit::Refused, "Another pairing is open.", "Finish or cancel it first (Ctrl-C in the other terminal).")
        }
        Error::PairingClosed => {
            (Exit::Pairing, "The pairing is over.", "Run kinctl link again on the device that shows the code.")
        }
        Error::BadChallenge => {
            (Exit::Pairing, "That is not a valid challenge.", "kinctl link on the other device shows a fresh one.")
        }
        Error::BadProof => (
            Exit::Pairing,
            "The other side could not prove that it saw the challenge.",
            "Run kinctl link again and scan what it shows now.",
        ),
        Error::WrongPassphrase => {
            (Exit::Code, "That is not the passphrase.", "Try again; what it seals cannot be opened without it.")
        }
        Error::WrongCode => (Exit::Code, "That is not the code.", "Type the six digits that the new device shows now."),
        Error::TooManyTries => (
            Exit::Code,
            "Three wrong codes: the pairing was given up.",
            "Make sure that you are looking at the right device, then run kinctl link again.",
        ),
        Error::PinRequired => {
            (Exit::Refused, "This needs the PIN.", "Run it in a terminal, or give the PIN with --pin-file.")
        }
        Error::PinWrong => (Exit::Code, "That is not the PIN.", "kinctl pin says who set it, and when."),
        Error::SecondClaimant => (
            Exit::Pairing,
            "A second device answered the same challenge, so nothing was linked.",
            "Somebody else may have photographed it. Run kinctl link again where nobody can see the screen.",
        ),
        Error::Unreachable => (
            Exit::Pairing,
            "The other device does not answer.",
            "Check that both are on the same network (or use --anywhere on both) and that kinctl link is still open.",
        ),
        Error::PortUnavailable => (
            Exit::Failure,
            "The port cannot be had.",
            "Choose another, or stop what uses it: ss -ulpn shows what that is.",
        ),
        Error::WrongAccount => (
            Exit::Pairing,
            "The other side speaks for another account.",
            "Run kinctl link again on the device whose account you mean.",
        ),
        Error::NotOwner => {
            (Exit::Refused, "Only an owner may do that.", "Do it on a device whose role is owner: kinctl list.")
        }
        Error::LastOwner => (
            Exit::Refused,
            "The last owner cannot go while others remain.",
            "Link another owner first, or revoke the others: kinctl revoke --others.",
        ),
        Error::TooManyDevices => (
            Exit::Refused,
            "The account is full.",
            "Revoke a device that is no longer used, or see kinlinkd --devices.",
        ),
        Error::Revoked => (
            Exit::Revoked,
            "This device was revoked.",
            "kinctl status says by whom and why; kinctl erase makes it ready to be linked again.",
        ),
        Error::SessionEnded => (Exit::Ended, "The session has ended.", "kinctl sessions --all says by whom and why."),
        Error::TooLarge => (Exit::Usage, "That is too large.", "A key has at most 1 KiB, a value at most 1 MiB."),
        Error::InvalidArgument => (Exit::Usage, "A value is not valid.", "--help says more."),
        Error::InvalidOption => (
            Exit::Usage,
            "The daemon does not know one of the options.",
            "kinctl and kinlinkd may be of different versions: kinctl status.",
        ),
        Error::UpdateNeeded => (
            Exit::Refused,
            "A newer device uses something that this version does not know.",
            "Update Kinlink on this device.",
        ),
        Error::Locked => (
            Exit::Refused,
            "This device does not hold the keys yet.",
            "kinctl unlock, if its own key is locked; otherwise bring one of the owner devices online and try again.",
        ),
        Error::Conflict => (Exit::Refused, "The value was changed meanwhile.", "Look at it again: kinctl session get."),
        Error::CursorExpired => (
            Exit::Refused,
            "That cursor no longer holds.",
            "Begin anew without --since; keys that are not listed are gone.",
        ),
        Error::Storage => (
            Exit::Failure,
            "The store failed; it is not known whether this was done.",
            "Check that the disk is not full, then look before you repeat it.",
        ),
        Error::Internal => {
            (Exit::Failure, "kinlinkd made a mistake.", "Its log says more: journalctl --user -u kinlinkd.")
        }
    }
}

fn bus(error: &zbus::Error) -> Report {
    use zbus::fdo::Error as Fdo;
    let zbus::Error::FDO(fdo) = error else {
        return match error {
            zbus::Error::InputOutput(_) => gone(),
            _ => Report::new(Exit::Failure, format!("D-Bus: {error}.")),
        };
    };
    match fdo.as_ref() {
        Fdo::ServiceUnknown(_) | Fdo::NameHasNoOwner(_) | Fdo::NoReply(_) | Fdo::Disconnected(_) | Fdo::TimedOut(_) => {
            gone()
        }
        Fdo::UnknownObject(_) => Report::new(Exit::NotFound, "It is not there any more."),
        Fdo::AccessDenied(message) => Report::new(Exit::Refused, message),
        Fdo::InvalidArgs(message) => Report::new(Exit::Usage, message),
        Fdo::UnknownMethod(_) | Fdo::UnknownInterface(_) | Fdo::UnknownProperty(_) => {
            Report::new(Exit::Failure, format!("D-Bus: {fdo}."))
                .hint("kinctl and kinlinkd may be of different versions.")
        }
        other => Report::new(Exit::Failure, format!("D-Bus: {other}.")),
    }
}

fn silent(message: &str) -> Report {
    Report::new(Exit::Silent, sentence(message)).hint(
        "Check that it is on and that both are on the same network; if they are not, kinctl address add says where it is.",
    )
}

fn gone() -> Report {
    Report::new(Exit::Unreachable, "kinlinkd went away or does not answer.")
        .hint("Start it again: systemctl --user start kinlinkd, or run kinlinkd.")
}

fn no_daemon(tried: &[String]) -> Report {
    Report::new(Exit::Unreachable, format!("kinlinkd does not run here. Tried {}.", tried.join("; ")))
        .hint("Start it: systemctl --user start kinlinkd, or run kinlinkd.")
}

fn ambiguous(what: &str, name: &str, candidates: &[Candidate]) -> Report {
    let line = |one: &Candidate| format!("\n  {}  {} ({})", one.id, visible(&one.name), one.about);
    let list: String = candidates.iter().map(line).collect();
    Report::new(Exit::NotFound, format!("\"{name}\" fits several {what}s:{list}"))
        .hint("Use the id, or as much of it as is unique.")
}

fn ended(by: &str, reason: &str) -> String {
    match (by, reason) {
        ("", "") => "The session has ended.".to_owned(),
        ("", reason) => format!("The session has ended: {reason}"),
        (by, "") => format!("The session was ended by {by}."),
        (by, reason) => format!("The session was ended by {by}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: Error) -> Report {
        Failure::Daemon { error, message: String::new() }.report()
    }

    #[test]
    fn every_error_has_a_sentence_and_a_way_on() {
        for error in Error::ALL {
            let report = of(*error);
            assert!(report.message.ends_with('.'), "{error}: {}", report.message);
            assert_eq!(report.name, Some(error.name()));
            // These come with the daemon's reason, which is all there is to say.
            let told = matches!(error, Error::Refused | Error::NotAllowed);
            assert!(told || report.hint.ends_with('.'), "{error}: {}", report.hint);
        }
    }

    #[test]
    fn exit_codes_are_as_documented() {
        let expected = [
            (Error::Internal, 1),
            (Error::InvalidArgument, 2),
            (Error::NotFound, 4),
            (Error::Ambiguous, 4),
            (Error::Refused, 5),
            (Error::NotAllowed, 5),
            (Error::Expired, 6),
            (Error::AlreadyUsed, 6),
            (Error::Cancelled, 6),
            (Error::WrongCode, 7),
            (Error::WrongPassphrase, 7),
            (Error::TooManyTries, 7),
            (Error::Revoked, 8),
            (Error::SessionEnded, 9),
        ];
        for (error, code) in expected {
            assert_eq!(of(error).exit as u8, code, "{error}");
        }
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130] {
            assert!(EXIT_CODES.contains(&format!("\n{code:>5}  ")), "{code} is not documented");
        }
    }

    #[test]
    fn the_daemon_s_own_words_come_first() {
        let report = Failure::Daemon { error: Error::Expired, message: "It expired 3 s ago.".into() }.report();
        assert_eq!(report.message, "It expired 3 s ago.");
        assert!(report.hint.contains("kinctl link"));
        let report = Failure::Daemon { error: Error::NotFound, message: "there is no such device".into() }.report();
        assert_eq!(report.message, "There is no such device.");
    }

    #[test]
    fn a_vanished_daemon_is_unreachable() {
        let error = zbus::fdo::Error::ServiceUnknown("no such name".into());
        assert_eq!(Failure::from(error).report().exit, Exit::Unreachable);
    }
}
