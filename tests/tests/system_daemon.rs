//! `kinlinkd` as a program: how it starts, what it leaves on the disk, how it stops, and what a kill costs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kinlink_tests::harness::{Host, SessionBus, eventually, kinctl, kinlinkd, link};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a daemon that does not start says.
fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_second_daemon_for_the_same_state_refuses() {
    let host = Host::new("anna");
    let session = host.session("org.example.Notes", "Mine");
    let said = refused(host.command());
    let (pid, state) = (host.pid(), host.state());
    assert!(said.contains(&format!("another kinlinkd (process {pid}) uses {}", state.display())), "{said}");
    assert!(said.contains("stop it first"), "{said}");
    host.put(&session, "k", "v");
    host.reads(&session, "k", "v");
    host.kill();
    host.start();
    host.reads(&session, "k", "v");
}

/// Every path in `dir` with its permission bits, and whether it is a directory.
fn modes(dir: &Path, found: &mut Vec<(PathBuf, u32, bool)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        // What is gone again by now was seen by nobody.
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        found.push((path.clone(), meta.mode() & 0o777, meta.is_dir()));
        modes(&path, found);
    }
}

#[test]
fn nothing_is_readable_by_others_from_the_first_instant() {
    let home = tempfile::tempdir().unwrap();
    let (state, runtime) = (home.path().join("deep/state"), home.path().join("deeper/run"));
    // The most careless of masks; a shell sets it for the daemon that it becomes.
    let daemon = kinlinkd(&[]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 000; exec \"$0\" --no-session-bus --no-discovery"])
        .arg(daemon.get_program())
        .env_clear();
    command.env("KINLINK_STATE_DIR", &state).env("KINLINK_RUNTIME_DIR", &runtime);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket = runtime.join("bus");
    let begun = Instant::now();
    let mut all = Vec::new();
    let mut served = false;
    // Without a pause, since an instant is what matters.
    while !served && begun.elapsed() < Duration::from_secs(20) {
        served = std::os::unix::net::UnixStream::connect(&socket).is_ok();
        all.clear();
        modes(home.path(), &mut all);
        for (path, mode, dir) in &all {
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            let socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
            assert!(socket || *mode == if *dir { 0o700 } else { 0o600 }, "{} has mode {mode:o}", path.display());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let names: BTreeSet<_> = all.iter().map(|(path, ..)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert!(served && ["bus", "identity", "key", "lock", "store"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn it_says_which_directory_is_missing_or_open_to_others() {
    let home = tempfile::tempdir().unwrap();
    let said = refused(kinlinkd(&[("KINLINK_RUNTIME_DIR", home.path())]));
    assert!(said.contains("neither HOME nor XDG_STATE_HOME is set"), "{said}");
    let user = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    // Where logind made that directory it is used, and a daemon of this user may live in it.
    if !user.exists() {
        let said = refused(kinlinkd(&[("HOME", home.path())]));
        assert!(said.contains("XDG_RUNTIME_DIR is not set") && said.contains("--runtime-dir"), "{said}");
    }
    let open = home.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let said = refused(kinlinkd(&[("KINLINK_RUNTIME_DIR", &open), ("HOME", home.path())]));
    assert!(said.contains("mode 0755") && said.contains("chmod 700"), "{said}");
}

#[test]
fn it_stops_cleanly_and_soon() {
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Open");
    let mut watch = anna.spawn(&["--json", "session", "watch", &session]);
    watch.event("watching");
    let begun = Instant::now();
    let status = anna.stop();
    assert_eq!(status.code(), Some(0), "{status:?}: {}", anna.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!anna.socket().exists());
    assert!(watch.end().fails(3).message.contains("kinlinkd"));
    let gone = anna.fails(&["list"], 3);
    assert!(gone.message.contains("does not run") && gone.hint.contains("kinlinkd"), "{gone:?}");
    eventually("the other sees it go", || (bert.device("anna")["online"] == false).then_some(()));
    anna.start();
    bert.meets("anna");
}

#[test]
fn its_process_is_hardened() {
    let host = Host::new("anna");
    let proc = PathBuf::from(format!("/proc/{}", host.pid()));
    for task in fs::read_dir(proc.join("task")).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Umask:\t0077"), "{status}");
    }
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    // The kernel gives the files of a process that is not dumpable to root.
    assert_eq!(fs::metadata(proc.join("status")).unwrap().uid(), 0);
}

/// Rounds of kill -9 and restart.
const ROUNDS: usize = 10;
/// `kinctl session put` at a time.
const WRITERS: usize = 2;

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let seed = std::env::var("KINLINK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("KINLINK_SEED={seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let host = Host::new("anna");
    let session = host.session("org.example.Notes", "Written to");
    let (next, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let acknowledged = Mutex::new(BTreeSet::new());
    let write = || {
        while !done.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            // While it is down, or if it is killed meanwhile, the outcome is not known.
            if host.run(&["session", "put", &session, &format!("key {n}"), &format!("value {n}")]).code == 0 {
                acknowledged.lock().unwrap().insert(n);
            }
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        for round in 0..ROUNDS {
            let enough = acknowledged.lock().unwrap().len() + 3 + usize::try_from(rng.next_u64() % 12).unwrap();
            eventually("more was acknowledged", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
            let before = acknowledged.lock().unwrap().clone();
            host.kill();
            host.start();
            assert_kept(&host, &session, &before, round);
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    let all = acknowledged.into_inner().unwrap();
    assert_kept(&host, &session, &all, ROUNDS);
    for n in &all {
        host.reads(&session, &format!("key {n}"), &format!("value {n}"));
    }
}

fn assert_kept(host: &Host, session: &str, numbers: &BTreeSet<u64>, round: usize) {
    let entries = host.ok(&["session", "ls", session]);
    let keys: BTreeSet<_> = entries.as_array().unwrap().iter().filter_map(|entry| entry["key"].as_str()).collect();
    let lost: Vec<_> = numbers.iter().filter(|n| !keys.contains(format!("key {n}").as_str())).collect();
    assert!(lost.is_empty(), "round {round}: of {} acknowledged {lost:?} are lost", numbers.len());
}

#[test]
fn the_session_bus_serves_the_same_and_one_daemon_only() {
    let bus = SessionBus::start();
    let on_bus = |host: &Host| {
        let (state, runtime) = (host.state(), host.runtime());
        let mut command = kinlinkd(&[("KINLINK_STATE_DIR", &state), ("KINLINK_RUNTIME_DIR", &runtime)]);
        command.args(["--name", host.name()]).env("DBUS_SESSION_BUS_ADDRESS", bus.address());
        command
    };
    // Without a private socket in sight it goes over the bus.
    let empty = tempfile::tempdir().unwrap();
    let vars = [("DBUS_SESSION_BUS_ADDRESS", bus.address()), ("XDG_RUNTIME_DIR", empty.path().to_str().unwrap())];
    let over_bus = || {
        let output = kinctl(&vars).args(["--json", "status"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), status["device"]["name"].clone())
    };
    assert_eq!(over_bus().0, Some(3));

    let (anna, bert) = (Host::stopped("anna"), Host::stopped("bert"));
    anna.start_with(on_bus(&anna));
    assert_eq!(over_bus(), (Some(0), "anna".into()));
    assert_eq!(anna.ok(&["status"])["device"]["name"], "anna");
    let said = refused(on_bus(&bert));
    let holder = format!("org.kinlink.Kinlink1 on the session bus is held by process {} kinlinkd", anna.pid());
    assert!(said.contains(&holder) && said.contains("stop that first"), "{said}");
    assert!(!bert.socket().exists());
    assert_eq!(over_bus(), (Some(0), "anna".into()));

    anna.stop();
    bert.start_with(on_bus(&bert));
    assert_eq!(over_bus(), (Some(0), "bert".into()));
    // A bus that goes away takes nothing along.
    drop(bus);
    assert_eq!(bert.ok(&["status"])["device"]["name"], "bert");
}
