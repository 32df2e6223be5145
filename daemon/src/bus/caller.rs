//! Who calls, and what that is allowed to reach.
//!
//! The caller is the message's sender: on the bus its unique name, on the private socket the connection. Orders are
//! decided by the core, which is told who gives them; reads of properties become no order, and are decided here.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use kinlink_proto::dbus::{MANAGER, SESSION};
use kinlink_proto::engine::command::CallerKind;

use super::limits;

/// A file of `/proc` that tells of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Its content.
    Text(String),
    /// It is not there.
    Absent,
    /// It may be there.
    Unreadable,
}

/// What a process may do. `flatpak` is its `/.flatpak-info`, `cgroup` its `/proc/PID/cgroup`.
///
/// What cannot be read counts as a sandbox without a name, which may do nothing: to hide must not help.
pub(super) fn kind(flatpak: &Seen, cgroup: &Seen) -> CallerKind {
    match (flatpak, cgroup) {
        (Seen::Text(info), _) => CallerKind::Sandboxed(flatpak_id(info).unwrap_or_default()),
        (Seen::Absent, Seen::Text(cgroup)) => snap_id(cgroup).map_or(CallerKind::User, CallerKind::Sandboxed),
        (Seen::Unreadable, _) | (Seen::Absent, Seen::Absent | Seen::Unreadable) => unknown(),
    }
}

/// A caller that could not be identified.
pub(super) fn unknown() -> CallerKind {
    CallerKind::Sandboxed(String::new())
}

/// `name=` of the section `[Application]`. A runtime that was started by itself has none.
fn flatpak_id(info: &str) -> Option<String> {
    let mut lines = info.lines().map(str::trim).skip_while(|line| *line != "[Application]").skip(1);
    let name = lines.by_ref().take_while(|line| !line.starts_with('[')).find_map(|line| line.strip_prefix("name="));
    name.map(|name| name.trim().to_owned())
}

/// `snap.NAME` of a cgroup such as `0::/user.slice/…/snap.firefox.firefox-1c2d.scope`, as the portals write it.
fn snap_id(cgroup: &str) -> Option<String> {
    let segments = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split('/'));
    let mut names = segments.filter_map(|segment| segment.strip_prefix("snap."));
    names.next().map(|rest| format!("snap.{}", rest.split('.').next().unwrap_or_default()))
}

/// What the process `pid` of the user `uid` may do here, where `ours` is the daemon's user.
pub(super) fn identify(pid: Option<u32>, uid: Option<u32>, ours: u32) -> CallerKind {
    match (pid, uid) {
        (Some(pid), Some(uid)) if uid == ours && pid != 0 => {
            kind(&see(&format!("/proc/{pid}/root/.flatpak-info")), &see(&format!("/proc/{pid}/cgroup")))
        }
        _ => unknown(),
    }
}

fn see(path: &str) -> Seen {
    let open = File::options().read(true).custom_flags(nofollow()).open(path);
    let mut text = String::new();
    match open.and_then(|file| file.take(limits::SANDBOX_FILE).read_to_string(&mut text)) {
        Ok(_) => Seen::Text(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Seen::Absent,
        Err(_) => Seen::Unreadable,
    }
}

/// A sandbox must not be able to point at another's file, nor hold up the daemon with a pipe.
fn nofollow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    i32::try_from(flags.bits()).unwrap_or_default()
}

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

    const HOST: &str = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-kinctl-12.scope\n";
    const SNAP: &str = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/snap.firefox.firefox-1c2d.scope\n";
    const FLATPAK: &str =
        "[Context]\nname=org.evil.Decoy\n[Application]\nname=org.example.Notes\nruntime=x\n[Instance]\nname=y\n";

    fn text(text: &str) -> Seen {
        Seen::Text(text.to_owned())
    }

    fn app(id: &str) -> CallerKind {
        CallerKind::Sandboxed(id.to_owned())
    }

    #[test]
    fn a_sandbox_is_told_by_its_files() {
        assert_eq!(kind(&Seen::Absent, &text(HOST)), CallerKind::User);
        assert_eq!(kind(&text(FLATPAK), &text(HOST)), app("org.example.Notes"));
        assert_eq!(kind(&Seen::Absent, &text(SNAP)), app("snap.firefox"));
        assert_eq!(kind(&text(FLATPAK), &Seen::Unreadable), app("org.example.Notes"));
    }

    #[test]
    fn what_cannot_be_read_is_a_sandbox_without_a_name() {
        assert_eq!(kind(&Seen::Unreadable, &text(HOST)), unknown());
        assert_eq!(kind(&Seen::Absent, &Seen::Absent), unknown());
        assert_eq!(kind(&Seen::Absent, &Seen::Unreadable), unknown());
        assert_eq!(kind(&text("[Application]\n[Context]\nname=org.example.Notes\n"), &text(HOST)), unknown());
        assert_eq!(kind(&text(""), &text(HOST)), unknown());
        assert_eq!(identify(None, Some(1), 1), unknown());
        assert_eq!(identify(Some(1), None, 1), unknown());
    }

    #[test]
    fn this_process_is_the_user_and_another_user_is_nobody() {
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(identify(Some(std::process::id()), Some(uid), uid), CallerKind::User);
        assert_eq!(identify(Some(std::process::id()), Some(uid), uid + 1), unknown());
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
        for method in ["OpenPairing", "Join", "Leave", "RevokeOthers", "Erase", "RegisterAgent", "Whatever"] {
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
