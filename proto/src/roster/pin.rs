//! The PIN, seen from who is about to say something: whether it needs the countersignature (PROTOCOL.md section 5.4, E10).

use super::statement::Action;
use super::{Role, Roster};
use crate::id::DeviceId;

impl Roster {
    /// Whether `action`, said now by `author`, needs the PIN.
    #[must_use]
    pub fn needs_pin(&self, author: DeviceId, action: &Action) -> bool {
        let exempt = match action {
            Action::Revoke(revoke) => self.revokes_freely(author, revoke.device),
            _ => false,
        };
        !self.evaluation().pins.is_empty() && concerns_others(action, author) && !exempt
    }

    /// Whether `author` may revoke `device` without the PIN: itself, a guest, or what it linked and never said anything.
    #[must_use]
    pub fn revokes_freely(&self, author: DeviceId, device: DeviceId) -> bool {
        let known = self.evaluation().device(device);
        author == device
            || known.is_none_or(|known| known.role == Role::Guest)
            || known.is_some_and(|known| known.linked_by == author)
                && !self.statements().any(|statement| statement.author == device)
    }
}

/// Whether an action is about another device, or the PIN: what the PIN is there for.
pub(super) fn concerns_others(action: &Action, author: DeviceId) -> bool {
    match action {
        Action::Link(_) | Action::Pin(_) | Action::Readmit { .. } => true,
        Action::Revoke(revoke) => revoke.device != author,
        Action::Role { device, .. } => *device != author,
        Action::Genesis(_)
        | Action::Epoch(_)
        | Action::Applied { .. }
        | Action::Suspend(_)
        | Action::Unknown { .. } => false,
    }
}
