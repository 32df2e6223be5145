//! Kinlink's main job from end to end, with two real daemons, as a person would do it.
//!
//! Needs neither root nor a message bus; everything happens in throwaway directories. Exits with 0 only if all of it held.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kinlink_daemon::clock;
use kinlink_daemon::keys::Keys;
use kinlink_daemon::paths;
use kinlink_daemon::store::Db;
use kinlink_proto::store::{Read, Table};

/// What a step may take before the demo gives up: a loaded machine is slow, a hung one is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match demo() {
        Ok(took) => {
            println!("\nAll of it held, in {:.1} s.", took.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> anyhow::Result<Duration> {
    let began = Instant::now();
    let dir = tempfile::tempdir()?;
    let mut a = step("Two devices start, each with a home of its own", || Device::start(dir.path(), "laptop"))?;
    let mut b = Device::start(dir.path(), "desktop")?;
    let qr = dir.path().join("challenge.png");
    link(&a, &b, &qr)?;
    let session = sync(&a, &b)?;
    same_lists(&a, &b)?;
    revoke(&a, &b, &session)?;
    b.stop()?;
    unreadable(&b)?;
    a.stop()?;
    Ok(began.elapsed())
}

/// Says what happens now, does it, and says how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    println!("\n== {what}");
    let began = Instant::now();
    let done = work().with_context(|| what.to_owned())?;
    println!("   ({:.0} ms)", began.elapsed().as_secs_f64() * 1000.0);
    Ok(done)
}

fn link(a: &Device, b: &Device, qr: &Path) -> anyhow::Result<()> {
    let qr_text = qr.to_string_lossy().into_owned();
    let mut shown = step("The laptop opens pairing and shows a QR code", || {
        let shown = a.begin(&["--color", "always", "link", "--label", "Ada's devices", "--png", &qr_text])?;
        shown.until("Waiting")?;
        ensure!(qr.is_file(), "no picture at {}", qr.display());
        Ok(shown)
    })?;
    let (joining, code) = step("The desktop reads it from the picture, and shows a code", || {
        let joining = b.begin(&["join", "--yes", "--image", &qr_text])?;
        joining.until("Ada's devices")?;
        let line = joining.until("Type this code")?;
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        ensure!(digits.len() == 6, "no code in {line:?}");
        Ok((joining, digits))
    })?;
    step("The code is typed on the laptop: the two are linked", || {
        shown.until("Type the 6-digit code")?;
        shown.type_line(&code)?;
        shown.end(0)?;
        joining.end(0)
    })
}

fn sync(a: &Device, b: &Device) -> anyhow::Result<String> {
    let session = step("A session is made on the laptop, and something is written", || {
        let session = a.run(&["session", "new", "--app", "org.example.Mail", "--title", "Inbox"])?.trim().to_owned();
        a.run(&["session", "put", &session, "draft", "Dear Grace"])?;
        Ok(session)
    })?;
    step("It is read on the desktop, and answered", || {
        eventually(b, &["session", "get", &session, "draft"], |out| out.contains("Dear Grace"))?;
        b.run(&["session", "put", &session, "reply", "Dear Ada"])?;
        eventually(a, &["session", "get", &session, "reply"], |out| out.contains("Dear Ada"))
    })?;
    step("The desktop watches while the laptop writes", || {
        let watching = b.begin(&["session", "watch", &session])?;
        watching.until("Watching")?;
        a.run(&["session", "put", &session, "draft", "Dear Grace, thank you"])?;
        watching.until("thank you")?;
        Ok(())
    })?;
    Ok(session)
}

fn same_lists(a: &Device, b: &Device) -> anyhow::Result<()> {
    step("Both list the same devices and sessions", || {
        for device in [a, b] {
            eventually(device, &["list"], |out| {
                out.contains("laptop") && out.contains("desktop") && out.contains("online")
            })?;
            let out = device.run(&["sessions"])?;
            ensure!(out.contains("Inbox") && out.contains("org.example.Mail"), "the session is not listed:\n{out}");
        }
        Ok(())
    })
}

fn revoke(a: &Device, b: &Device, session: &str) -> anyhow::Result<()> {
    step("The laptop revokes the desktop", || a.run(&["revoke", "desktop", "--yes", "--reason", "lost on the train"]))?;
    step("The desktop is out, and says who did it and why", || {
        eventually(b, &["status"], |out| {
            out.contains("revoked") && out.contains("laptop") && out.contains("lost on the train")
        })?;
        let refused = b.ctl(&["session", "get", session, "draft"]).output()?;
        ensure!(refused.status.code() == Some(8), "reading on the desktop exits with {:?}", refused.status.code());
        println!("   desktop$ kinctl session get: {}", String::from_utf8_lossy(&refused.stderr).trim());
        Ok(())
    })?;
    step("The laptop's list says so too", || {
        let out = a.run(&["list"])?;
        ensure!(out.contains("lost on the train") && out.contains("on 1 of 1"), "the list does not say it");
        Ok(())
    })
}

/// With every key that the desktop has left, nothing of what it holds can be opened.
fn unreadable(b: &Device) -> anyhow::Result<()> {
    step("What the desktop still holds cannot be read with the keys that it has left", || {
        // The key that is left opens this device's identity, and nothing else.
        Keys::load_or_create(&b.state(), &mut clock::entropy())?;
        let db = Db::open(b.state().join(paths::STORE))?;
        let snapshot = db.snapshot()?;
        let rows = |table| snapshot.range(table, &[], &[u8::MAX; 64], usize::MAX);
        let secrets = rows(Table::Secrets)?;
        let operations = rows(Table::Operations)?;
        ensure!(secrets.is_empty(), "{} epoch secrets are left", secrets.len());
        ensure!(rows(Table::Entries)?.is_empty() && rows(Table::Sessions)?.is_empty(), "an index is left");
        ensure!(!operations.is_empty(), "there is nothing to try the keys on");
        println!("   {} sealed operations, and no epoch secret for any of them", operations.len());
        let bytes = std::fs::read(b.state().join(paths::STORE))?;
        for plain in ["Dear Grace", "Inbox", "org.example.Mail", "draft"] {
            ensure!(
                !bytes.windows(plain.len()).any(|window| window == plain.as_bytes()),
                "{plain:?} stands in the store"
            );
        }
        Ok(())
    })
}

/// Repeats a question until the answer is right: devices tell one another in their own time.
fn eventually(device: &Device, args: &[&str], right: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let out = device.ctl(args).output()?;
        let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        if right(&text) {
            device.show(args, &text);
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("{}$ kinctl {} still says:\n{text}", device.name, args.join(" "));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A daemon with a home of its own.
struct Device {
    name: &'static str,
    home: PathBuf,
    daemon: Child,
}

impl Device {
    fn start(dir: &Path, name: &'static str) -> anyhow::Result<Self> {
        let home = dir.join(name);
        std::fs::create_dir(&home)?;
        let daemon = Command::new(program("kinlinkd")?)
            .args(["--no-session-bus", "--no-discovery", "--name", name])
            .env("KINLINK_STATE_DIR", home.join("state"))
            .env("KINLINK_RUNTIME_DIR", home.join("run"))
            .env("KINLINK_LOG", "warn")
            .spawn()
            .context("kinlinkd does not start")?;
        let device = Self { name, home, daemon };
        eventually(&device, &["status"], |out| out.contains("unlinked"))?;
        Ok(device)
    }

    fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    fn ctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("kinctl").unwrap_or_else(|_| PathBuf::from("kinctl")));
        command.args(args).env("KINLINK_SOCKET", self.home.join("run").join(paths::BUS));
        command
    }

    fn show(&self, args: &[&str], text: &str) {
        println!("   {}$ kinctl {}", self.name, args.join(" "));
        text.lines().for_each(|line| println!("   {line}"));
    }

    /// Runs a command to its good end.
    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let out = self.ctl(args).output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        self.show(args, &text);
        ensure!(out.status.success(), "kinctl {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
        Ok(text)
    }

    /// Begins a command that a person would sit in front of.
    fn begin(&self, args: &[&str]) -> anyhow::Result<Running> {
        println!("   {}$ kinctl {}", self.name, args.join(" "));
        let mut child = self.ctl(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (tx, lines) = channel();
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        let input = child.stdin.take();
        let mut readers: Vec<Box<dyn BufRead + Send>> =
            vec![Box::new(BufReader::new(out)), Box::new(BufReader::new(err))];
        for mut reader in readers.drain(..) {
            let tx = tx.clone();
            std::thread::spawn(move || {
                while let Some(line) = next_line(&mut reader) {
                    if tx.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Running { child, input, lines })
    }

    /// Stops the daemon as a service manager would.
    fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.daemon.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "cannot stop the daemon");
        ensure!(self.daemon.wait()?.success(), "the daemon did not stop cleanly");
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // It may have stopped already.
        if let Err(error) = self.daemon.kill() {
            eprintln!("{}: {error}", self.name);
        }
    }
}

/// A command in progress: what it prints is shown as it comes.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// The first line that contains `text`.
    fn until(&self, text: &str) -> anyhow::Result<String> {
        let began = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(began.elapsed()) {
            let Ok(line) = self.lines.recv_timeout(left) else { break };
            println!("   {line}");
            if line.contains(text) {
                return Ok(line);
            }
        }
        bail!("{text:?} never appeared")
    }

    fn type_line(&mut self, text: &str) -> anyhow::Result<()> {
        println!("   {text}");
        let input = self.input.as_mut().context("its standard input is closed")?;
        Ok(writeln!(input, "{text}")?)
    }

    /// Waits until it has ended with `code`.
    fn end(mut self, code: i32) -> anyhow::Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        self.lines.iter().for_each(|line| println!("   {line}"));
        ensure!(status.code() == Some(code), "it exited with {status} instead of {code}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed; that is no news.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A line, or a prompt, which ends in `. ` or `: ` without a line break.
fn next_line(reader: &mut dyn BufRead) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match std::io::Read::read(&mut *reader, &mut byte) {
            Ok(1) if byte[0] == b'\n' => break,
            Ok(1) => line.push(byte[0]),
            _ if line.is_empty() => return None,
            _ => break,
        }
        if line.ends_with(b"cancels.") || line.ends_with(b"refuses): ") {
            break;
        }
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}

/// A program that was built beside this one.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().context("this program has no directory")?.join(name);
    ensure!(path.is_file(), "{} is missing: build the workspace first, or run `make demo`", path.display());
    Ok(path)
}
