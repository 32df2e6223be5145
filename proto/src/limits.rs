//! Every limit and interval of the protocol, each with its reason.

use std::time::Duration;

/// Characters of a name or platform that are shown. Longer ones hide what stands behind them.
pub const NAME_CHARS: usize = 64;
/// Bytes of a name on the wire: 64 characters of four bytes do not fit a `t8`, so fewer of those.
pub const NAME_BYTES: usize = 255;
/// Bytes of a revocation's text: enough for a sentence.
pub const REASON_BYTES: usize = 200;
/// Bytes of a session's title: a line on any screen.
pub const TITLE_BYTES: usize = 1024;
/// Bytes of a key within a session.
pub const KEY_BYTES: usize = 1024;
/// Bytes of a value: larger ones belong in files.
pub const VALUE_BYTES: usize = 1 << 20;
/// Entries of an operation's context: as many concurrent authors as an account has devices, with
/// room for a second generation of each.
pub const CONTEXT_ENTRIES: usize = 64;
/// Sessions of one app. A runaway app must not fill the list of every device.
pub const SESSIONS_PER_APP: usize = 1000;
/// Open sessions in all.
pub const SESSIONS: usize = 10_000;

/// Generations of one device's journal: each is a store that was rolled back, which hardly ever happens. Without a bound
/// the vectors of all journals, which every hello carries, would have none.
pub const GENERATIONS: usize = 64;
/// Journals named in one vector: all generations of all authors, and well within a control frame.
pub const JOURNALS: usize = 4096;
/// Epochs named in a hello: every revocation makes one.
pub const EPOCHS: usize = 4096;

/// Devices of an account unless set otherwise.
pub const DEVICES_DEFAULT: usize = 10;
/// Devices of an account at most: vectors and sealed epochs grow with it.
pub const DEVICES_MAX: usize = 30;
/// Authors named in a vector: the devices of today and those revoked before.
pub const AUTHORS: usize = 255;
/// Parents of a statement: see [`AUTHORS`]; authors that were revoked long ago are reached through others.
pub const PARENTS: usize = 64;
/// Bytes of one statement: the largest is a link (about 1.6 KiB) with 64 parents.
pub const STATEMENT_BYTES: usize = 16 * 1024;
/// Statements kept that wait for their parents. A peer sends parents first, so few ever wait.
pub const STATEMENTS_WAITING: usize = 256;
/// Statements of an account. At ten thousand an evaluation still takes well under a second.
pub const STATEMENTS: usize = 20_000;
/// Statements of one author that are taken once the account has half of [`STATEMENTS`]: whoever floods an account must not
/// use up the room for its own revocation. Nobody who is honest comes near: an author makes a few for each device that
/// is linked or revoked.
pub const STATEMENTS_SHARE: usize = 1000;
/// Runs of one device that are remembered, to tell a clone from a restart.
pub const RUNS: usize = 16;
/// Addresses carried for one device.
pub const ADDRESSES: usize = 8;
/// Extensions of one object.
pub const EXTENSIONS: usize = 16;

/// Bytes of a frame from a peer that has not proved anything yet.
pub const FRAME_STRANGER: usize = 8 * 1024;
/// Bytes of a frame from the shower, who is pinned: it carries the roster.
pub const FRAME_SHOWER: usize = 4 << 20;
/// Bytes of a control frame between linked devices.
pub const FRAME_CONTROL: usize = 1 << 20;
/// Bytes of a segment frame: segments stay under 4 MiB unless one value alone is larger.
pub const FRAME_SEGMENT: usize = 6 << 20;
/// What a segment should stay under, in bytes: it is held in memory whole while it is verified.
pub const SEGMENT_BYTES: usize = 4 << 20;
/// log2 of the operations in a full segment.
pub const SEGMENT_LEVEL: u8 = 10;
/// A range up to this many bytes travels inline on the control stream, a longer one on its own.
pub const INLINE_BYTES: usize = 256 * 1024;

/// How long a challenge stays open unless set otherwise.
pub const CHALLENGE_DEFAULT: Duration = Duration::from_secs(120);
/// The shortest time for walking to the other machine.
pub const CHALLENGE_MIN: Duration = Duration::from_secs(30);
/// The longest: an open challenge is an open door.
pub const CHALLENGE_MAX: Duration = Duration::from_secs(300);
/// How long the linking socket still answers a valid claim with the reason why it is too late.
pub const CHALLENGE_LINGER: Duration = Duration::from_secs(60);
/// Tries at the code, each with fresh nonces: one guess in 10^6 each.
pub const CODE_TRIES: u8 = 3;
/// Bad proofs of one address before it is no longer answered while this challenge is open.
pub const BAD_PROOFS: u8 = 5;
/// How long J waits for an answer of the shower's machine (not of its user).
pub const LINK_ANSWER: Duration = Duration::from_secs(20);
/// A linked device that never showed up is revoked after this much running time.
pub const NEVER_COMPLETED: Duration = Duration::from_secs(24 * 3600);
/// A new owner is a member for this much running time of an owner's daemon.
pub const PROMOTE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Memory that a PIN's key takes to make, in KiB: as much as can be had on a small machine beside everything else. The
/// most is what a device lets another make it take.
pub const PIN_MEMORY: std::ops::RangeInclusive<u32> = 64 * 1024..=1024 * 1024;
/// Passes over it.
pub const PIN_PASSES: std::ops::RangeInclusive<u32> = 3..=16;
/// Lanes of it.
pub const PIN_LANES: std::ops::RangeInclusive<u32> = 1..=4;
/// Wrong PINs after which there is no wait yet: typing errors.
pub const PIN_FREE: u32 = 3;
/// The wait after one more; it doubles with each.
pub const PIN_WAIT: Duration = Duration::from_secs(30);
/// The longest wait: 24 guesses a day, and somebody who remembers it is not locked out for longer.
pub const PIN_WAIT_MAX: Duration = Duration::from_secs(3600);
/// Characters of a PIN.
pub const PIN_CHARS: std::ops::RangeInclusive<usize> = 6..=64;
/// How often running time is counted. It is lost up to this much at a crash.
pub const AGE_STEP: Duration = Duration::from_secs(600);
/// What a revoked device still holds, sealed and without its keys, goes after this much running
/// time: until then a recovery key can undo the revocation.
pub const REVOKED_KEEPS: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a device that was restored from an old disk says so in its status, in running time.
pub const RESTORED_SHOWN: Duration = Duration::from_secs(24 * 3600);
/// How long the revoker waits for the revoked device to have stored its revocation.
pub const REVOKED_WAIT: Duration = Duration::from_millis(200);

/// Connections in all: 30 devices twice over, for duplicates that are being sorted out.
pub const CONNECTIONS: usize = 64;
/// Handshakes under way in all; more are answered with Retry or dropped.
pub const HANDSHAKES: usize = 64;
/// Handshakes under way for one source address.
pub const HANDSHAKES_PER_SOURCE: usize = 8;
/// A handshake takes one round trip; ten seconds allow for a very bad network.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// A linked peer says Hello at once.
pub const HELLO: Duration = Duration::from_secs(10);
/// How long an unknown key has to introduce itself, and to bring the statements that link it: it says both at once.
pub const INTRODUCTION: Duration = Duration::from_secs(5);
/// Unknown keys that are being heard at once: a new device meets few that have not heard of it.
pub const INTRODUCTIONS: usize = 8;
/// Those from one source address.
pub const INTRODUCTIONS_PER_SOURCE: usize = 2;
/// How long the place of an unknown key stays taken that did not turn out to be linked, so that whoever holds no key of the
/// account costs no more than a look at a few frames in a minute.
pub const INTRODUCTION_COOLS: Duration = Duration::from_secs(10);
/// Epochs under which a newcomer proves itself: the receiver has to hold one of them, and all fit into
/// [`FRAME_STRANGER`]. Every revocation makes one.
pub const INTRODUCTION_EPOCHS: usize = 64;
/// Bytes of the frame with the statements that link a newcomer, or that put the receiver out: a link is 1.6 KiB.
pub const FRAME_INTRODUCED: usize = 64 * 1024;
/// QUIC's idle time-out: a peer that vanished is noticed within this.
pub const IDLE: Duration = Duration::from_secs(60);
/// QUIC keep-alive: twice within the idle time-out; also keeps NAT bindings.
pub const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How long a peer has to answer a ping before its connection is doubted: several round trips of a bad network. A doubt that
/// was wrong costs a ping a second and a dial.
pub const PROBE: Duration = Duration::from_millis(750);
/// A connection on which something was sent and from which nothing came for this long is doubted: by then QUIC has sent it
/// again at least three times.
pub const SILENT: Duration = Duration::from_secs(3);
/// How long somebody who pings a device waits: a dial that fails is over by then.
pub const PING_ANSWER: Duration = Duration::from_secs(15);
/// Pings that wait for an answer at once, of all clients.
pub const PINGS: usize = 64;
/// How often a peer whose connection is doubted is dialled anew, in pings: QUIC repeats a first packet after one second and
/// after three, so that at least every other second one is on the way when the network returns.
pub const DOUBTS_PER_DIAL: u32 = 4;
/// A connection that stood this long has led to something: after it, the waits between dials begin anew. One that closes
/// again and again is waited for longer each time.
pub const STEADY: Duration = Duration::from_secs(5);
/// Addresses that a user gives for one device.
pub const GIVEN: usize = 8;
/// Of the addresses that are remembered of a device, those at which it proved its key: what it reports never pushes them out.
pub const PROVEN: usize = 4;
/// How long a name may take to resolve before the addresses that are known are dialled without it.
pub const RESOLVE: Duration = Duration::from_secs(5);
/// The first wait before dialling again.
pub const REDIAL_MIN: Duration = Duration::from_millis(500);
/// The longest wait before dialling again.
pub const REDIAL_MAX: Duration = Duration::from_secs(60);
/// Dials after which a revoked device is no longer looked for: with the waits in between about an hour.
pub const SEEK_REVOKED: u32 = 64;
/// How long a peer may take to begin to send what it says that it has. Then another is asked: who claims to hold a journal
/// must not be able to keep it from this device.
pub const WANT_ANSWER: Duration = Duration::from_secs(60);
/// How long an author who is connected is waited for to push what others have of it already. Its line can be dead for
/// [`IDLE`] before that shows, while a third device would pass it on; asking both costs only the bytes.
pub const PUSH: Duration = Duration::from_secs(5);
/// How long what others tell again, and where they are, waits at most for a commit to go along with. What a power cut costs
/// until then comes again.
pub const SAVE: Duration = Duration::from_secs(60);
/// How long the reports of others are gathered before they are passed on to peers that do not hear from them, and new connections
/// before peers are told of them: so that much that comes at once costs one frame.
pub const TELL: Duration = Duration::from_millis(500);
/// Changes are reported to the other devices after this much quiet, so that a burst costs one report.
pub const REPORT_QUIET: Duration = Duration::from_secs(2);

/// Our own clock follows a peer's no further ahead than this.
pub const CLOCK_AHEAD: Duration = Duration::from_secs(600);

/// Tries in a second to open what was announced on the local network: a few milliseconds. A household's devices announce
/// themselves three times an hour.
pub const OPENINGS: usize = 4096;
/// Announcements remembered so as not to listen to the same again soon: of all devices that an account may have.
pub const SIGHTINGS: usize = 64;
/// How long an announcement that is repeated says nothing new.
pub const SIGHTING_AGAIN: Duration = Duration::from_secs(10);
/// How often names and sealed texts of announcements are drawn anew, so that nobody recognises them later.
pub const REDRAW: Duration = Duration::from_secs(3600);
