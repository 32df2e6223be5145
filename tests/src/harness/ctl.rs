//! A running `kinctl`: its events as they come, its input, Ctrl-C, and how it ended.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use super::{PATIENCE, eventually, signal};

/// A `kinctl` that runs. Dropping it kills it, as a closed terminal would.
#[derive(Debug)]
pub struct Ctl {
    /// What it was called with, for messages.
    call: String,
    child: Child,
    input: Option<File>,
    lines: Receiver<String>,
    seen: Vec<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a `kinctl` ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it was called with.
    pub call: String,
    /// Its exit code; −1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// What a failed `kinctl --json` says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The D-Bus error's last part, such as `WrongCode`; empty if it has none.
    pub name: String,
    /// What failed.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Ctl {
    /// Starts it with a pipe for its input, as a script does.
    pub(super) fn script(mut command: Command, call: String) -> Self {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        command.stdin(read);
        Self::start(command, call, write.into())
    }

    /// Starts it with a terminal for its input: it asks.
    pub(super) fn person(mut command: Command, call: String) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        command.stdin(OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap());
        Self::start(command, call, terminal.into())
    }

    fn start(mut command: Command, call: String, input: File) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let err = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || std::io::read_to_string(err).unwrap_or_default());
        Self { call, child, input: Some(input), lines, seen: Vec::new(), errors: Some(errors) }
    }

    /// The next event called `name`; what comes before it is passed over.
    ///
    /// # Panics
    /// If the program ends first, or does not say so in time.
    pub fn event(&mut self, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(line) => {
                    let event: Value = serde_json::from_str(&line).unwrap_or_default();
                    self.seen.push(line);
                    if event["event"] == name {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{}: no {name}, only {:?}", self.call, self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    let (call, done) = (self.call.clone(), self.end());
                    panic!("{call} ended before {name}: {done:?}")
                }
            }
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, text: &str) {
        let input = self.input.as_mut().expect("the input is closed");
        // A program that has just ended reads nothing; how it ended is what the test looks at.
        writeln!(input, "{text}").ok();
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        signal(&self.child, Signal::INT);
    }

    /// Kills it: no chance to say goodbye.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn end(&mut self) -> Done {
        let call = self.call.clone();
        let status = eventually(&format!("the end of {call}"), || self.child.try_wait().unwrap());
        self.input = None;
        self.seen.extend(self.lines.iter());
        let err = self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default();
        let out: String = self.seen.iter().map(|line| format!("{line}\n")).collect();
        Done { call, code: status.code().unwrap_or(-1), out, err }
    }
}

impl Drop for Ctl {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

impl Done {
    /// Its JSON, given that it succeeded.
    ///
    /// # Panics
    /// If it did not.
    pub fn ok(self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.lines().last().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default()
    }

    /// What it says about its failure, given that it failed with `code`.
    ///
    /// # Panics
    /// If it succeeded, or failed otherwise.
    pub fn fails(self, code: i32) -> Failure {
        assert_eq!(self.code, code, "{self:?}");
        // A prompt may stand before it, on the line that nobody ended.
        let json = self.err.lines().rev().find_map(|line| line.find('{').map(|at| &line[at..]));
        let json: Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(json["exit"], code, "{self:?}");
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let name = text("error").rsplit('.').next().unwrap_or_default().to_owned();
        Failure { name, message: text("message"), hint: text("hint") }
    }
}
