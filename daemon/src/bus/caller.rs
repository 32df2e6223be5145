//! Who calls, and what that is allowed to reach.
//!
//! The caller is the message's sender: on the bus its unique name, on the private socket the connection. What its process
//! is, [`crate::callers`] finds out. Orders are decided by the core, which is told who gives them; reads of properties become
//! no order, and are decided here.

use kinlink_proto::dbus::{MANAGER, SESSION};
use kinlink_proto::engine::command::CallerKind;

pub(super) use crate::callers::unknown;

/// Whether a caller may call `method` of `interface`. The core decides once more, on which sessions.
pub(super) fn may_call(kind: &CallerKind, interface: &str, method: &str) -> bool {
    let of_apps = match interface {
        MANAGER => matches!(method, "CreateSession" | "ListSessions" | "Subscribe" | "Unsubscribe"),
        interface => interface == SESSION,
    };
    of_apps || *kind == CallerKind::User
}

/// Whether a caller may know which devices there are, and what the account is.
pub(super) fn may_see_account(kind: &CallerKind) -> bool {
    *kind == CallerKind::User
}

/// Whether a caller may know of a session of `app`.
pub(super) fn may_see_session(kind: &CallerKind, app: &str) -> bool {
    match kind {
        CallerKind::User => true,
        CallerKind::Sandboxed(own) => !own.is_empty() && own == app,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> CallerKind {
        CallerKind::Sandboxed(id.to_owned())
    }

    #[test]
    fn an_app_reaches_sessions_only_and_its_own_only() {
        for (interface, method) in [
            (MANAGER, "CreateSession"),
            (MANAGER, "ListSessions"),
            (SESSION, "Put"),
            (SESSION, "ChangesSince"),
            (SESSION, "End"),
        ] {
            assert!(may_call(&app("a"), interface, method), "{method}");
        }
        for method in
            ["OpenPairing", "Join", "Leave", "RevokeOthers", "Erase", "MoveKey", "Unlock", "KeyStatus", "Whatever"]
        {
            assert!(!may_call(&app("a"), MANAGER, method), "{method}");
            assert!(may_call(&CallerKind::User, MANAGER, method), "{method}");
        }
        assert!(!may_call(&app("a"), kinlink_proto::dbus::DEVICE, "Revoke"));
        assert!(!may_call(&app("a"), kinlink_proto::dbus::PAIRING, "Confirm"));
        assert!(may_see_session(&app("a"), "a") && !may_see_session(&app("a"), "b"));
        assert!(!may_see_session(&unknown(), ""));
        assert!(may_see_session(&CallerKind::User, "b"));
    }
}
