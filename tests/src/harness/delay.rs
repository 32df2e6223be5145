//! A slow line: what arrives at a host is held back for a while by NFQUEUE, and then goes on its way in the kernel.
//!
//! The kernels that tests run on have no `netem`.

use std::collections::VecDeque;
use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};

use super::netns::{Namespace, enter, succeed};

/// How often the line is looked at: also how exact the delay is.
const LOOK: Duration = Duration::from_millis(1);
/// How many packets may be held back at once.
const ROOM: u32 = 65_536;

/// Delays all UDP that arrives in a namespace, until it is dropped.
#[derive(Debug)]
pub(super) struct Delay {
    space: Arc<Namespace>,
    end: Arc<AtomicBool>,
    line: Option<JoinHandle<()>>,
}

impl Delay {
    /// Begins.
    ///
    /// # Panics
    /// If the kernel or `iptables` does not play along.
    pub(super) fn start(space: &Arc<Namespace>, by: Duration) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (name, stop) = (space.name().to_owned(), end.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let line = std::thread::spawn(move || {
            let mut queue = open(&name).unwrap_or_else(|error| panic!("no queue in {name}: {error}"));
            ready.send(()).unwrap();
            serve(&mut queue, by, &stop).unwrap_or_else(|error| panic!("the queue in {name}: {error}"));
        });
        is_ready.recv().expect("the line did not begin");
        let delay = Self { space: space.clone(), end, line: Some(line) };
        delay.rules("-I");
        delay
    }

    fn rules(&self, action: &str) {
        for tables in ["iptables", "ip6tables"] {
            let rule = [action, "INPUT", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "0"];
            succeed(self.space.exec(tables).args(rule));
        }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.rules("-D");
        }
        self.end.store(true, Ordering::Relaxed);
        if let Some(line) = self.line.take() {
            line.join().ok();
        }
    }
}

/// A queue of the namespace called `name`. The thread is in there from then on.
fn open(name: &str) -> Result<Queue> {
    enter(name)?;
    let mut queue = Queue::open()?;
    queue.bind(0)?;
    queue.set_copy_range(0, 0)?;
    queue.set_queue_max_len(0, ROOM)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

/// Lets each packet go `by` after it came, in the order in which they came; all at once in the end.
fn serve(queue: &mut Queue, by: Duration, end: &AtomicBool) -> Result<()> {
    let mut held: VecDeque<(Instant, Message)> = VecDeque::new();
    while !end.load(Ordering::Relaxed) {
        take(queue, by, &mut held)?;
        while held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            pass(queue, &mut held)?;
        }
        std::thread::sleep(LOOK);
    }
    take(queue, by, &mut held)?;
    while !held.is_empty() {
        pass(queue, &mut held)?;
    }
    Ok(())
}

/// Takes what has come.
fn take(queue: &mut Queue, by: Duration, held: &mut VecDeque<(Instant, Message)>) -> Result<()> {
    loop {
        match queue.recv() {
            Ok(message) => held.push_back((Instant::now() + by, message)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Lets the oldest one go.
fn pass(queue: &mut Queue, held: &mut VecDeque<(Instant, Message)>) -> Result<()> {
    let Some((_, mut message)) = held.pop_front() else { return Ok(()) };
    message.set_verdict(Verdict::Accept);
    queue.verdict(message)
}
