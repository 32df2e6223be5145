//! The installed units in machines that boot systemd: started by the first who asks, confined, told what their callers are,
//! watched, and restarted without a trace.
//!
//! A machine is an overlay of this one's root, so these tests are for root on a machine with systemd's tools.

mod lab;

use std::fs;
use std::path::Path;
use std::process::Command;

use kinlink_tests::harness::{Installed, Machine, User, eventually, program};
use serde_json::Value;

/// A machine of its own for a test.
fn machine(name: &str) -> Machine {
    Machine::boot(name, &Installed::new())
}

/// What `kinctl --json` says, with only the private socket to go by.
fn over_the_socket(user: &User<'_>, args: &[&str]) -> Value {
    let socket = format!("/run/user/{}/kinlink/bus", user.id());
    user.ok(&[&["--socket", &socket], args].concat())
}

#[test]
fn the_first_who_asks_starts_it() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("first");
    let alice = machine.user("alice");
    // Nothing is enabled and nothing runs: the bus starts it.
    assert_eq!(alice.property("kinlinkd.service", "ActiveState"), "inactive");
    assert_eq!(alice.ok(&["status"])["device"]["name"], "first");
    assert_eq!(alice.property("kinlinkd.service", "ActiveState"), "active");
    alice.sh("systemd-analyze --user verify /usr/local/share/systemd/user/kinlinkd*");

    alice.systemctl("stop kinlinkd");
    assert_eq!(alice.property("kinlinkd.service", "Result"), "success");
    assert_eq!(alice.property("kinlinkd.service", "ActiveState"), "inactive");
    // The socket is still there, and starts it again.
    assert_eq!(alice.property("kinlinkd.socket", "SubState"), "listening");
    assert_eq!(over_the_socket(&alice, &["status"])["device"]["name"], "first");
    assert_eq!(alice.property("kinlinkd.service", "ActiveState"), "active");
    assert_eq!(
        alice.sh("stat -c %a:%a $XDG_RUNTIME_DIR/kinlink $XDG_RUNTIME_DIR/kinlink/bus ~/.local/state/kinlink"),
        "700:700\n600:600\n700:700\n"
    );

    alice.systemctl("enable kinlinkd");
    assert_eq!(alice.systemctl("is-enabled kinlinkd.service kinlinkd.socket"), "enabled\nenabled\n");
    alice.nothing_failed();
}

/// What a program may do in a unit that is the daemon's but for its program. A line for each that it can.
const PROBE: &str = r#"
import ctypes, mmap, os, socket, sys
home, run = os.environ["HOME"], os.environ["XDG_RUNTIME_DIR"]
def can(what, how):
    try:
        how()
    except OSError:
        return
    print(what)
for path in [home, home + "/.config", home + "/.local/state", home + "/Documents", "/etc", "/var/lib", "/run", run,
             run + "/kinlink", "/dev/shm", "/run/lock", home + "/.local/state/kinlink", "/tmp", "/usr/local/bin"]:
    def write(path=path):
        with open(path + "/probe", "w") as file:
            file.write("x")
    can("write " + path, write)
for path in [home + "/.ssh/id_ed25519", home + "/Documents/letter", run + "/secret", "/tmp/theirs", "/dev/kmsg"]:
    can("read " + path, lambda path=path: open(path).read(1))
can("make code", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
can("talk to devices", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
can("talk Bluetooth", lambda: socket.socket(31, socket.SOCK_RAW, 1))
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
can("make a namespace", lambda: call(libc.unshare(0x10000000)))
can("share memory", lambda: call(libc.shmget(0x6b696e, 4096, 0o1600)))
can("trace", lambda: call(libc.ptrace(16, os.getppid(), 0, 0)))
can("open a datagram socket", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(("::", 0)))
can("list addresses", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
"#;

#[test]
fn it_is_confined() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("confined");
    let alice = machine.user("alice");
    alice.sh("mkdir -p .ssh .config Documents; echo s >.ssh/id_ed25519; echo l >Documents/letter; \
              echo s >$XDG_RUNTIME_DIR/secret; echo t >/tmp/theirs");
    alice.ok(&["status"]);
    machine.write("/usr/local/lib/probe.py", PROBE);
    machine.sh(
        "cd /usr/local/share/systemd/user; sed -e 's,^ExecStart=.*,ExecStart=/usr/bin/python3 /usr/local/lib/probe.py,' \
         -e 's,^Type=.*,Type=oneshot,' -e '/^Restart/d' -e '/^WatchdogSec/d' -e '/^FileDescriptorStore/d' \
         -e '/^NotifyAccess/d' kinlinkd.service >probe.service",
    );
    alice.systemctl("daemon-reload");
    alice.systemctl("start probe");
    let said = alice.sh("journalctl --user -u probe -o cat _COMM=python3");
    let mut can: Vec<_> = said.lines().collect();
    can.sort_unstable();
    let state = "write /home/alice/.local/state/kinlink";
    assert_eq!(can, ["list addresses", "open a datagram socket", state, "write /tmp"]);
    // Its /tmp is its own.
    assert!(alice.can("test -e /tmp/theirs && ! test -e /tmp/probe"));

    let pid = alice.property("kinlinkd.service", "MainPID");
    let status = machine.sh(&format!("cat /proc/{pid}/status"));
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    let own = |namespace: &str| {
        machine.sh(&format!("readlink /proc/{pid}/ns/{namespace}"))
            != machine.sh(&format!("readlink /proc/1/ns/{namespace}"))
    };
    assert!(own("user") && own("mnt") && own("uts"));
    alice.nothing_failed();
}

/// A program in a sandbox as Flatpak makes it, for the app `org.example.Notes`, in which the directory `run` is there.
fn in_sandbox(run: &str, command: &str) -> String {
    format!(
        "exec 9<<'END'\n[Application]\nname=org.example.Notes\nEND\nexec bwrap --die-with-parent --tmpfs / \
         --proc /proc --dev /dev --ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin --symlink usr/lib /lib \
         --symlink usr/lib64 /lib64 --bind {run} {run} --ro-bind-data 9 /.flatpak-info {command}"
    )
}

#[test]
fn confined_as_it_is_it_knows_its_callers() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("callers");
    let alice = machine.user("alice");
    let run = format!("/run/user/{}", alice.id());
    let socket = format!("--socket={run}/kinlink/bus");
    alice.ok(&["session", "new", "--app", "org.example.Mail", "--title", "Not theirs"]);
    for over in [&[][..], &[socket.as_str()]] {
        // A program of the user may do everything.
        let mut link = alice.spawn(&[over, &["--json", "link"]].concat());
        link.event("open");
        machine.sh("pkill -INT -x kinctl");
        link.end();
        // One in a sandbox may not.
        let kinctl = in_sandbox(&run, &format!("kinctl --json {} link", over.concat()));
        let refused = alice.command("sh", &["-c", &kinctl]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(5) && said.contains("NotAllowed"), "{refused:?}");
    }
    // Its own sessions it has.
    let manager = "gdbus call --session --dest org.kinlink.Kinlink1 --object-path /org/kinlink/Kinlink1 \
                   --method org.kinlink.Kinlink1.Manager";
    alice.sh(&in_sandbox(&run, &format!("{manager}.CreateSession org.example.Notes Ours {{}}")));
    let seen = alice.sh(&in_sandbox(&run, &format!("{manager}.ListSessions {{}}")));
    assert!(seen.contains("'Ours'") && !seen.contains("Not theirs"), "{seen}");
    assert!(!alice.can(&in_sandbox(&run, &format!("{manager}.CreateSession org.example.Mail Theirs {{}}"))));

    let refusals = alice.events("refused");
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    for refusal in &refusals {
        assert_eq!(refusal["KINLINK_APP"], "org.example.Notes");
        assert_eq!(refusal["KINLINK_METHOD"], "OpenPairing");
        assert_eq!(refusal["_SYSTEMD_USER_UNIT"], "kinlinkd.service");
    }
    alice.nothing_failed();
}

#[test]
fn without_its_helper_it_believes_nobody() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("helper");
    let alice = machine.user("alice");
    alice.ok(&["status"]);
    alice.systemctl("stop kinlinkd-callers.socket kinlinkd-callers.service");
    for socket in [None, Some(format!("/run/user/{}/kinlink/bus", alice.id()))] {
        let over: Vec<_> = socket.iter().flat_map(|socket| ["--socket", socket]).collect();
        let refused = alice.run(&[&over[..], &["link"]].concat()).fails(5);
        assert!(refused.name == "NotAllowed" && refused.message.contains("kinlinkd-callers.socket"), "{refused:?}");
    }
    let warnings = alice.journal("_SYSTEMD_USER_UNIT=kinlinkd.service PRIORITY=4");
    let warns = |entry: &Value| entry["MESSAGE"].as_str().is_some_and(|said| said.contains("kinlinkd-callers.socket"));
    assert!(warnings.iter().any(warns), "{warnings:?}");
    alice.systemctl("start kinlinkd-callers.socket");
    alice.ok(&["list"]);
}

#[test]
fn a_hung_daemon_is_replaced_and_loses_nothing() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("watchdog");
    let alice = machine.user("alice");
    machine.write("/home/alice/.config/systemd/user/kinlinkd.service.d/soon.conf", "[Service]\nWatchdogSec=2s");
    alice.systemctl("daemon-reload");
    let session = alice.ok(&["session", "new", "--app", "org.example.Notes", "--title", "Kept"]);
    let session = session["id"].as_str().unwrap();
    alice.ok(&["session", "put", session, "milk", "2 l"]);
    let hung = alice.property("kinlinkd.service", "MainPID");
    machine.sh(&format!("kill -STOP {hung}"));
    eventually("it is restarted", || (alice.property("kinlinkd.service", "NRestarts") == "1").then_some(()));
    assert_eq!(alice.ok(&["session", "get", session, "milk"])["value"], "2 l");
    assert_ne!(alice.property("kinlinkd.service", "MainPID"), hung);
    alice.nothing_failed();
}

/// Inode and receive queue of the UDP socket on `port`, of whoever has it.
fn udp_socket(machine: &Machine, port: &str) -> Option<(String, u64)> {
    let port = format!(":{:04X}", port.parse::<u16>().unwrap());
    let table = machine.sh("cat /proc/net/udp6 /proc/net/udp");
    let line = table.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&port)))?;
    let fields: Vec<_> = line.split_whitespace().collect();
    let queue = fields[4].split(':').nth(1).and_then(|queue| u64::from_str_radix(queue, 16).ok());
    Some((fields[9].to_owned(), queue.unwrap()))
}

#[test]
fn its_port_is_its_own_while_it_restarts() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("port");
    let alice = machine.user("alice");
    // One that is to start waits as long as this file is there.
    let hold = "[Service]\nExecStartPre=sh -c 'while test -e %t/kinlink/hold; do sleep 0.05; done'";
    machine.write("/home/alice/.config/systemd/user/kinlinkd.service.d/hold.conf", hold);
    alice.systemctl("daemon-reload");
    let port = alice.ok(&["status"])["port"].to_string();
    let (inode, _) = udp_socket(&machine, &port).unwrap();
    alice.systemctl("restart kinlinkd");
    assert_eq!(udp_socket(&machine, &port).unwrap().0, inode, "a restart made another socket");

    // Dead, and not started again yet: what comes in waits, and nobody else gets the port.
    alice.sh("touch $XDG_RUNTIME_DIR/kinlink/hold");
    machine.sh(&format!("kill -KILL {}", alice.property("kinlinkd.service", "MainPID")));
    eventually("it is dead", || (alice.property("kinlinkd.service", "SubState") == "start-pre").then_some(()));
    let python = |code: &str| {
        format!("python3 -c 'import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); {code}'")
    };
    assert!(!alice.can(&python(&format!("s.bind((\"::\", {port}))"))), "the port is free");
    alice.sh(&python(&format!("s.sendto(b\"?\" * 100, (\"::1\", {port}))")));
    let (kept, waiting) = udp_socket(&machine, &port).unwrap();
    assert!(kept == inode && waiting > 0, "{kept} is not {inode}, or holds nothing: {waiting}");

    alice.sh("rm $XDG_RUNTIME_DIR/kinlink/hold");
    assert_eq!(alice.ok(&["status"])["port"].to_string(), port);
    eventually("it reads what waited", || (udp_socket(&machine, &port) == Some((inode.clone(), 0))).then_some(()));

    // Stopped for good, it gives the port back.
    alice.systemctl("stop kinlinkd");
    eventually("the port is free", || udp_socket(&machine, &port).is_none().then_some(()));
    alice.nothing_failed();
}

#[test]
fn a_machine_without_logins_has_it_too() {
    if !Machine::possible() {
        return;
    }
    let machine = machine("headless");
    machine.sh("useradd -r -M -d /nonexistent -s /usr/sbin/nologin robot; systemctl start kinlinkd@robot");
    assert_eq!(machine.sh("stat -c %U:%a /var/lib/kinlink/robot /run/kinlink/robot"), "robot:700\nrobot:700\n");
    let kinctl = |args: &str| {
        let kinctl = format!("exec kinctl --json --socket /run/kinlink/robot/bus {args}");
        machine.command("setpriv", &["--reuid=robot", "--regid=robot", "--init-groups", "sh", "-c", &kinctl])
    };
    let status: Value = serde_json::from_str(&lab::succeed(&mut kinctl("status"))).unwrap();
    assert_eq!(status["device"]["name"], "headless");
    // It knows its callers, without a helper.
    lab::succeed(&mut kinctl("session new --app org.example.Notes --title Log"));
    let sandboxed = in_sandbox("/run/kinlink/robot", "kinctl --json --socket /run/kinlink/robot/bus link");
    let refused =
        machine.command("setpriv", &["--reuid=robot", "--regid=robot", "--clear-groups", "sh", "-c", &sandboxed]);
    let refused = { refused }.output().unwrap();
    assert!(refused.status.code() == Some(5), "{refused:?}");
    // Nobody else comes near it, and nobody is seen by it.
    let alice = machine.user("alice");
    assert!(!alice.can("test -e /run/kinlink/robot/bus") && !alice.can("ls /var/lib/kinlink/robot"));
    machine.sh("systemctl restart kinlinkd@robot; systemctl stop kinlinkd@robot");
    alice.nothing_failed();
}

/// Every file below `dir`, from there.
fn files(dir: &Path) -> Vec<String> {
    let listed = lab::succeed(Command::new("find").arg(dir).args(["!", "-type", "d", "-printf", "%P\n"]));
    let mut files: Vec<_> = listed.lines().map(str::to_owned).collect();
    files.sort();
    files
}

#[test]
fn what_is_installed_is_complete_and_goes_again() {
    if !lab::have(&["make", "systemd-analyze"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let built = program("kinlinkd");
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.arg("-C").arg(lab::root()).args([target, "PREFIX=/opt/kin"]);
        make.arg(format!("DESTDIR={}", dir.path().display()));
        lab::succeed(make.arg(format!("BUILT={}", built.parent().unwrap().display())));
    };
    make("install");
    let installed = files(dir.path());
    let pages = |name: &&String| !name.starts_with("opt/kin/share/man/man1/kinctl-");
    let expected = [
        "opt/kin/bin/kinctl",
        "opt/kin/bin/kinlinkd",
        "opt/kin/lib/systemd/system/kinlinkd@.service",
        "opt/kin/libexec/kinlink-callers",
        "opt/kin/share/bash-completion/completions/kinctl",
        "opt/kin/share/dbus-1/interfaces/org.kinlink.Kinlink1.Agent.xml",
        "opt/kin/share/dbus-1/interfaces/org.kinlink.Kinlink1.Device.xml",
        "opt/kin/share/dbus-1/interfaces/org.kinlink.Kinlink1.Manager.xml",
        "opt/kin/share/dbus-1/interfaces/org.kinlink.Kinlink1.Pairing.xml",
        "opt/kin/share/dbus-1/interfaces/org.kinlink.Kinlink1.Session.xml",
        "opt/kin/share/dbus-1/services/org.kinlink.Kinlink1.service",
        "opt/kin/share/fish/vendor_completions.d/kinctl.fish",
        "opt/kin/share/man/man1/kinctl.1",
        "opt/kin/share/man/man8/kinlinkd.8",
        "opt/kin/share/systemd/user/kinlinkd-callers.service",
        "opt/kin/share/systemd/user/kinlinkd-callers.socket",
        "opt/kin/share/systemd/user/kinlinkd.service",
        "opt/kin/share/systemd/user/kinlinkd.socket",
        "opt/kin/share/zsh/site-functions/_kinctl",
    ];
    assert_eq!(installed.iter().filter(pages).collect::<Vec<_>>(), expected);
    assert!(installed.len() > expected.len() + 10, "the pages of kinctl's commands are missing");

    let units = dir.path().join("opt/kin/share/systemd/user");
    for (unit, program) in [("kinlinkd", "bin/kinlinkd"), ("kinlinkd-callers", "libexec/kinlink-callers")] {
        let text = fs::read_to_string(units.join(format!("{unit}.service"))).unwrap();
        assert!(text.contains(&format!("\nExecStart=/opt/kin/{program}")), "{text}");
    }
    let page = fs::read_to_string(dir.path().join("opt/kin/share/man/man8/kinlinkd.8")).unwrap();
    assert!(page.contains(".TH kinlinkd 8") && page.contains("\\-\\-state\\-dir"), "{page}");

    make("uninstall");
    assert_eq!(files(dir.path()), [] as [String; 0]);
}

/// How exposed systemd itself finds a unit, in tenths: 0 is not at all, 100 is fully.
fn assert_exposed_at_most(unit: &str, tenths: u32) {
    let unit = lab::root().join("systemd").join(unit);
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", &format!("--threshold={tenths}")]).arg(unit);
    lab::succeed(&mut analyze);
}

#[test]
fn systemd_finds_little_to_say_against_the_units() {
    if lab::have(&["systemd-analyze"]) {
        assert_exposed_at_most("kinlinkd.service", 25);
        assert_exposed_at_most("kinlinkd-callers.service", 60);
        assert_exposed_at_most("kinlinkd@.service", 25);
    }
}
