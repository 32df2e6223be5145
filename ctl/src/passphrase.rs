//! Passphrases: asked for without showing them, and handed over through a pipe, so that they stand in no message.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;
use zbus::Fd;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::output::Output;

/// More than the daemon takes.
const LONGEST: usize = 2048;

/// What somebody typed, or a script wrote. Wiped when dropped.
pub(crate) struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Asks for it at the terminal; without one, the first line of standard input.
    pub(crate) async fn asked(out: &Output, prompt: &str) -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            return Self::line(io::stdin()).await;
        }
        let tty = File::open("/dev/tty")?;
        let _quiet = Quiet::on(tty.try_clone()?)?;
        out.prompt(prompt)?;
        Self::line(tty).await
    }

    /// Asks for a new one, twice at a terminal.
    pub(crate) async fn chosen(out: &Output) -> Result<Self, Failure> {
        let first = Self::asked(out, "New passphrase, several words are best: ").await?;
        if io::stdin().is_terminal() && *Self::asked(out, "Again: ").await?.0 != *first.0 {
            return Err(Failure::declined("They differ. Nothing was done."));
        }
        Ok(first)
    }

    /// Read on a thread of its own: a read of a terminal cannot be taken back, and Ctrl-C is to end the wait.
    async fn line(source: impl Read + Send + 'static) -> Result<Self, Failure> {
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || sender.send(first_line(source)));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        Ok(Self(receiver.await.map_err(gone)??))
    }

    /// The end of a pipe with it. It fits in there before anybody reads.
    pub(crate) fn pipe(self) -> Result<Fd<'static>, Failure> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(&self.0)?;
        Ok(OwnedFd::from(reader).into())
    }
}

/// Read byte by byte, so that it stands in no buffer but this one, which is never grown.
fn first_line(mut source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = [0];
    while line.len() < LONGEST && source.read(&mut byte)? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn on(tty: File) -> Result<Self, Failure> {
        let before = tcgetattr(tty.as_fd()).map_err(io::Error::from)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(tty.as_fd(), OptionalActions::Flush, &quiet).map_err(io::Error::from)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        tcsetattr(self.tty.as_fd(), OptionalActions::Now, &self.before).ok();
    }
}
