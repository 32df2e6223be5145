//! A stand-in for kinlinkd on a private socket: it plays the contract as far as a test needs it, so that
//! kinctl is tested alone, at every turn that a pairing can take. It has no protocol behind it; whole-system
//! tests run kinctl against the real one.

#![allow(dead_code, unused_imports, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "test support")]

mod objects;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use kinlink_proto::dbus::{DEVICES, ROOT};
use zbus::fdo::ObjectManager;
use zbus::{Guid, connection};

pub use objects::{CODE, LAPTOP, PHONE, SESSION};
use objects::{Device, Manager, Session};

/// What the stand-in was asked to do, in order.
pub type Log = Arc<Mutex<Vec<String>>>;

/// The stand-in.
pub struct Stand {
    dir: tempfile::TempDir,
    pub log: Log,
    runtime: tokio::runtime::Runtime,
}

impl Stand {
    /// Serves any number of clients, each with objects of its own.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = UnixListener::bind(dir.path().join("bus")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let log = Log::default();
        runtime.spawn(serve(listener, log.clone()));
        Self { dir, log, runtime }
    }

    /// The same on a message bus of its own, which is given by its address.
    pub fn start_on_bus(address: &str) -> Self {
        let stand = Self::start();
        let (address, log) = (address.to_owned(), stand.log.clone());
        stand.runtime.block_on(async {
            let builder = connection::Builder::address(address.as_str()).name(kinlink_proto::dbus::BUS_NAME);
            let connection = objects(builder, log).build().await.unwrap();
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(connection)
            });
        });
        stand
    }

    /// A file in a directory that goes with the stand-in.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// kinctl, to talk to it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinctl"));
        command.env_clear().env("KINLINK_SOCKET", self.file("bus")).args(args).stdin(Stdio::null());
        command
    }

    /// Runs kinctl to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs kinctl with pipes, to be driven line by line.
    pub fn drive(&self, args: &[&str]) -> Driven {
        Driven::spawn(self.command(args))
    }
    /// The log so far.
    pub fn said(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// A kinctl under way.
pub struct Driven {
    pub child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Driven {
    /// Starts it with pipes.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    /// The next event, which must be of that kind.
    pub fn event(&mut self, kind: &str) -> serde_json::Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(event["event"], kind, "{line}");
        event
    }

    /// Reads a line, whatever it is.
    pub fn skip_line(&mut self) {
        assert!(self.stdout.read_line(&mut String::new()).unwrap() > 0);
    }

    /// Reads a line of standard error.
    pub fn told(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    /// Types a line.
    pub fn line(&mut self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes to its input.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Its exit code and what is left of its standard error. Its input stays open until then: its end is a no.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let mut told = String::new();
        self.stderr.read_to_string(&mut told).unwrap();
        (self.child.wait().unwrap().code(), told)
    }
}

async fn serve(listener: UnixListener, log: Log) {
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let mut clients = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that is gone before the handshake is done is none.
        if let Ok(client) = client(stream.into_std().unwrap(), log.clone()).await {
            clients.push(client);
        }
    }
}

async fn client(stream: std::os::unix::net::UnixStream, log: Log) -> zbus::Result<zbus::Connection> {
    let builder = connection::Builder::unix_stream(stream).server(Guid::generate()).p2p();
    objects(builder, log).build().await
}

fn objects(builder: connection::Builder<'_>, log: Log) -> connection::Builder<'_> {
    builder
        .serve_at(ROOT, ObjectManager)
        .serve_at(ROOT, Manager::new(log.clone()))
        .serve_at(format!("{DEVICES}/{LAPTOP}"), Device::laptop(log.clone()))
        .serve_at(format!("{DEVICES}/{PHONE}"), Device::phone(log.clone()))
        .serve_at(format!("{}/{SESSION}", kinlink_proto::dbus::SESSIONS), Session { log })
}
