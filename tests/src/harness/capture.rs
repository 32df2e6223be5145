//! What stands on the wire, in a file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use super::netns::Namespace;
use super::signal;

/// A capture under way. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Captures all that `interface` carries, into `file`; it has begun when this returns.
    ///
    /// # Panics
    /// If there is no `tcpdump`, or it does not begin.
    pub(super) fn start(space: &Namespace, interface: &str, file: &Path) -> Self {
        let mut command = space.exec("tcpdump");
        // Room for all that comes while the machine is busy: places are as large as the largest packet, and 64 MiB in all.
        command
            .args(["-i", interface, "-U", "--immediate-mode", "-s", "4096", "-B", "65536", "-Z", "root", "-w"])
            .arg(file);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("tcpdump is missing; run: tests/setup");
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        // It says how much it saw in the end; somebody has to take that.
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        Self { child, file: file.to_owned() }
    }

    /// Ends it; the file, in the format of pcap.
    pub fn stop(mut self) -> PathBuf {
        signal(&self.child, Signal::INT);
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "tcpdump: {ended}");
        self.file.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
