//! Linking a new device: both sides as state machines (PROTOCOL.md sections 3 and 4).
//!
//! The shower ([`shower::Shower`]) shows a challenge; the joiner ([`joiner::Joiner`]) answers it. Both are pure:
//! the engine feeds them the messages of one stream and sends the frames that they return. What only the roster
//! knows (is the shower an owner, is the joiner linked or revoked, is there room) is the engine's to check.
//!
//! | joiner | | shower |
//! | --- | --- | --- |
//! | `connected` → Claim | → | `claim`, then `offer` → Offer |
//! | `offer`, the user agrees, *pending* is stored, `accept` → Accept | → | `accept` |
//! | shows `code` | people | `confirm`: right → link, commit, Linked; wrong → WrongCode |
//! | `wrong_code` → Recommit | → | `recommit` → Nonce |
//! | `nonce` → Open, shows the next `code` | → | `opened` |
//! | `linked`, commit, Done | | |
//!
//! A frame that is not awaited ends the connection with [`CloseCode::Protocol`](crate::wire::frame::CloseCode::Protocol),
//! not the attempt: the same key may connect again while the challenge is open. A new connection starts a new
//! transcript, whose tries count from 0 in the code; wrong codes add up over all of them.

pub mod joiner;
pub mod message;
pub mod proof;
pub mod shower;

pub use joiner::{AcceptParams, Joiner, JoinerStage, LinkedOutcome, OfferView};
pub use message::Message;
pub use proof::Exporter;
pub use shower::{ClaimVerdict, Claimant, Confirm, OfferParams, Peer, Shower, ShowerStage, ShowerState};

#[cfg(test)]
mod tests;
