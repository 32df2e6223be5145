//! What the files of a process say.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use kinlink_proto::engine::command::CallerKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::unknown;

/// Bytes of `.flatpak-info` and of `/proc/PID/cgroup` that are read: both are far shorter.
const FILE: u64 = 64 * 1024;

/// A file of `/proc` that tells of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Its content.
    Text(String),
    /// It is not there.
    Absent,
    /// It may be there.
    Unreadable,
}

/// What the process behind a pidfd may do.
pub(super) fn identify(process: BorrowedFd<'_>) -> CallerKind {
    let Some(pid) = pid(process) else { return unknown() };
    let found = kind(&see(&format!("/proc/{pid}/root/.flatpak-info")), &see(&format!("/proc/{pid}/cgroup")));
    // While it runs nobody else has its process id: what was read was its own.
    if runs(process) { found } else { unknown() }
}

/// The process id, as this process knows it.
fn pid(process: BorrowedFd<'_>) -> Option<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // −1 of one that has ended, 0 of one in another process namespace.
    pid.trim().parse().ok().filter(|pid| *pid != 0)
}

/// A pidfd becomes readable when its process ends.
fn runs(process: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

/// What a process may do. `flatpak` is its `/.flatpak-info`, `cgroup` its `/proc/PID/cgroup`.
///
/// What cannot be read counts as a sandbox without a name, which may do nothing: to hide must not help.
fn kind(flatpak: &Seen, cgroup: &Seen) -> CallerKind {
    match (flatpak, cgroup) {
        (Seen::Text(info), _) => CallerKind::Sandboxed(flatpak_id(info).unwrap_or_default()),
        (Seen::Absent, Seen::Text(cgroup)) => snap_id(cgroup).map_or(CallerKind::User, CallerKind::Sandboxed),
        (Seen::Unreadable, _) | (Seen::Absent, Seen::Absent | Seen::Unreadable) => unknown(),
    }
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

fn see(path: &str) -> Seen {
    let open = File::options().read(true).custom_flags(nofollow()).open(path);
    let mut text = String::new();
    match open.and_then(|file| file.take(FILE).read_to_string(&mut text)) {
        Ok(_) => Seen::Text(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Seen::Absent,
        Err(_) => Seen::Unreadable,
    }
}

/// A sandbox must not be able to point at another's file, nor hold up the reader with a pipe.
fn nofollow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    i32::try_from(flags.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::callers::process;

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
    }

    #[test]
    fn this_process_is_the_user_and_one_that_has_ended_is_nobody() {
        let own = process(Some(std::process::id())).unwrap();
        assert_eq!(identify(own.as_fd()), CallerKind::User);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let other = process(Some(child.id())).unwrap();
        assert_eq!(identify(other.as_fd()), CallerKind::User);
        child.kill().unwrap();
        // Ended and not waited for: its process id is still its own, and its files can still be looked at.
        rustix::process::waitid(
            rustix::process::WaitId::PidFd(other.as_fd()),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap();
        assert_eq!(identify(other.as_fd()), unknown());
        child.wait().unwrap();
        assert_eq!(identify(other.as_fd()), unknown());
    }

    #[test]
    fn what_is_no_process_is_nobody() {
        assert_eq!(identify(File::open("/dev/null").unwrap().as_fd()), unknown());
        assert!(process(Some(0)).is_none() && process(None).is_none() && process(Some(u32::MAX)).is_none());
    }
}
