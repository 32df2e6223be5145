//! Where the log goes: to the journal, with its fields, if standard error ends there; else to standard error as text.
//!
//! What matters to whoever looks after a device has a name (`event`), and in the journal a `MESSAGE_ID` of its own
//! ([`EVENTS`]). Fields are `KINLINK_DEVICE`, `KINLINK_APP` and so on. Never a secret, and no name that a person chose: the
//! journal is read by administrators, and pasted into bug reports.

use std::fmt::{Debug, Write as _};
use std::io::IsTerminal as _;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

/// A device was linked.
pub const LINKED: &str = "linked";
/// A device was revoked, or left.
pub const REVOKED: &str = "revoked";
/// This device was revoked, or left.
pub const OUT: &str = "out";
/// This device's keys were erased.
pub const ERASED: &str = "erased";
/// This device was set back to an older state of its disk, and has noticed.
pub const RESTORED: &str = "restored";
/// A device was suspended: it may be a clone.
pub const SUSPENDED: &str = "suspended";
/// A suspended device has its rights back.
pub const READMITTED: &str = "readmitted";
/// A caller was refused.
pub const REFUSED: &str = "refused";

/// What has a `MESSAGE_ID` in the journal. They are documented in `systemd/README.md`, and never change.
pub const EVENTS: [(&str, &str); 8] = [
    (LINKED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95201"),
    (REVOKED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95202"),
    (OUT, "e8c1f14d2c8d4b0fa6b1f0a3c7d95203"),
    (ERASED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95204"),
    (REFUSED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95205"),
    (RESTORED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95206"),
    (SUSPENDED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95207"),
    (READMITTED, "e8c1f14d2c8d4b0fa6b1f0a3c7d95208"),
];

/// Where journald listens for entries of its native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The name of the field that says which of [`EVENTS`] it is.
const EVENT: &str = "event";
/// Bytes of one entry: a datagram must fit into the socket's buffer, and nothing here is nearly as long.
const ENTRY: usize = 64 * 1024;

/// Starts the log. `KINLINK_LOG` is a level, or levels of parts of the program: `info,kinlink_daemon::net=debug`.
///
/// # Errors
/// If there is one already.
pub fn start() -> anyhow::Result<()> {
    let levels = std::env::var("KINLINK_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let filter = levels.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let journal =
        to_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()).then(Journal::connect).and_then(Result::ok);
    // A journal that does not answer must not take the log along.
    let text = journal.is_none().then(|| {
        let ansi = std::io::stderr().is_terminal();
        fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(ansi)
    });
    Ok(tracing_subscriber::registry().with(filter).with(journal).with(text).try_init()?)
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names, as `DEVICE:INODE`: the variable is inherited, and says
/// nothing where standard error was redirected.
fn to_journal(stream: Option<&str>) -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == Some(format!("{}:{}", stat.st_dev, stat.st_ino).as_str())
}

/// Writes entries to journald.
struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    fn connect() -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNAL)?;
        Ok(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::new(*event.metadata().level());
        event.record(&mut entry);
        // To whom could it be told that the log is gone? Standard error is the journal, too.
        if self.socket.send(&entry.0).is_err() {
            eprintln!("kinlinkd: the journal did not take an entry");
        }
    }
}

/// An entry of journald's native protocol: a field a line, or, where the value has lines, with its length.
struct Entry(Vec<u8>);

impl Entry {
    fn new(level: Level) -> Self {
        let mut entry = Self(Vec::new());
        entry.field("PRIORITY", priority(level));
        entry.field("SYSLOG_IDENTIFIER", "kinlinkd");
        entry
    }

    fn field(&mut self, name: &str, value: &str) {
        if self.0.len() + name.len() + value.len() + 10 > ENTRY {
            return;
        }
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.field("MESSAGE", value),
            EVENT => {
                self.field("KINLINK_EVENT", value);
                if let Some((_, id)) = EVENTS.iter().find(|(name, _)| *name == value) {
                    self.field("MESSAGE_ID", id);
                }
            }
            name => self.field(&journal_name(name), value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string does not fail, but for what a value's own Debug says.
        if write!(text, "{value:?}").is_ok() {
            self.record_str(field, &text);
        }
    }
}

/// `device` as `KINLINK_DEVICE`: what journald takes, and nobody else's.
fn journal_name(field: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("KINLINK_{}", field.chars().map(upper).collect::<String>())
}

/// As syslog counts.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What journald would be sent.
    fn sent(log: impl FnOnce()) -> Vec<u8> {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal { socket: ours });
        tracing::dispatcher::with_default(
            &tracing::Dispatch::from(Arc::new(subscriber) as Arc<dyn Subscriber + Send + Sync>),
            log,
        );
        let mut entry = vec![0; ENTRY];
        let length = theirs.recv(&mut entry).unwrap();
        entry.truncate(length);
        entry
    }

    #[test]
    fn an_event_has_its_message_id_and_fields() {
        let entry = sent(|| tracing::warn!(event = REFUSED, app = "org.example.Notes", count = 3, "refused"));
        let text = String::from_utf8(entry).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        let expected = [
            "KINLINK_APP=org.example.Notes",
            "KINLINK_COUNT=3",
            "KINLINK_EVENT=refused",
            "MESSAGE=refused",
            "MESSAGE_ID=e8c1f14d2c8d4b0fa6b1f0a3c7d95205",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=kinlinkd",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn no_value_makes_a_field_of_its_own() {
        let entry = sent(|| tracing::info!(reason = "lost\nMESSAGE_ID=1", "x"));
        let at = entry.windows(15).position(|bytes| bytes == b"KINLINK_REASON\n").unwrap() + 15;
        assert_eq!(entry[at..at + 8], 17u64.to_le_bytes());
        assert_eq!(&entry[at + 8..at + 26], b"lost\nMESSAGE_ID=1\n");
    }

    #[test]
    fn the_journal_is_where_its_stream_is() {
        assert!(!to_journal(None) && !to_journal(Some("")) && !to_journal(Some("1:2")));
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        assert!(to_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
    }

    #[test]
    fn message_ids_are_128_bits_and_differ() {
        let mut ids: Vec<_> = EVENTS.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), EVENTS.len());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte))));
    }
}
