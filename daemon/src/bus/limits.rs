//! Limits of the D-Bus service, each with its reason.

use std::time::Duration;

/// Clients of the private socket at once: a person has a handful; a program that leaks connections must not take
/// all file descriptors.
pub(super) const PRIVATE_CLIENTS: usize = 64;
/// Calls of one client under way: what is more is refused, so that no client fills the core's queue.
pub(super) const CALLS_PER_CLIENT: usize = 64;
/// Messages waiting to be written to one link: a burst of signals.
pub(super) const OUTBOX: usize = 512;
/// Of these, places that changes of entries do not take: there may be tens of thousands a second, while a client that follows
/// a pairing has to hear how it ends.
pub(super) const OUTBOX_RESERVED: usize = 128;
/// Messages that are handed to the socket together: by then their bytes cost more than the call.
pub(super) const AT_ONCE: usize = 64;
/// How long a link may leave a full outbox unread. Then it is cut: it would hold up everybody else's signals.
pub(super) const UNREAD: Duration = Duration::from_secs(2);
/// How long authentication may take: it is four short lines.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long the session bus may take to answer at the start: after that the daemon does without it.
pub(super) const SESSION_BUS: Duration = Duration::from_secs(10);
/// How long calls of a client that has left may still take before what it opened ends.
pub(super) const LAST_CALLS: Duration = Duration::from_secs(1);

/// How long an agent may take to answer: as long as a challenge can be open, after which its pairing is over anyway.
pub(super) const AGENT: Duration = kinlink_proto::limits::CHALLENGE_MAX;
/// How long an agent may take to hear that its pairing is over.
pub(super) const AGENT_END: Duration = Duration::from_secs(5);
/// How often an agent may answer with what is no answer: a person mistypes, a broken program does nothing else.
pub(super) const AGENT_TYPOS: usize = 10;

/// Bytes of an app's id: the longest D-Bus name.
pub(super) const APP: usize = 255;
/// Bytes of a challenge's text with the white space around it.
pub(super) const CHALLENGE: usize = 16 * 1024;
/// Bytes of a typed code: six digits, and the spaces that people put between them.
pub(super) const CODE: usize = 64;
/// Bytes of a PIN as it is typed: 64 characters with marks that make one each when they are normalised.
pub(super) const PIN: usize = 1024;
/// Entries of one page unless set otherwise.
pub(super) const PAGE_DEFAULT: u32 = 100;
/// Entries of one page at most.
pub(super) const PAGE_MAX: u32 = 1000;
/// Bytes of an address: a host name of 253 characters, a colon, and a port.
pub(super) const ADDRESS: usize = 260;
