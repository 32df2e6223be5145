//! Passphrases and PINs: asked for without showing them, and handed over through a pipe, so that they stand in no message.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

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

    /// Asks for the PIN that is set, or takes it from `file`.
    pub(crate) async fn pin(out: &Output, file: Option<&mut PinFile>) -> Result<Self, Failure> {
        Self::pin_for(out, "PIN: ", file).await
    }

    /// Asks for a new PIN, twice at a terminal, or takes it from `file`.
    pub(crate) async fn new_pin(out: &Output, mut file: Option<&mut PinFile>) -> Result<Self, Failure> {
        let first = Self::pin_for(out, "New PIN, 6 to 64 characters: ", file.as_deref_mut()).await?;
        if file.is_none() && *Self::pin_for(out, "Again: ", None).await?.0 != *first.0 {
            return Err(Failure::declined("They differ. Nothing was done."));
        }
        Ok(first)
    }

    async fn pin_for(out: &Output, prompt: &str, file: Option<&mut PinFile>) -> Result<Self, Failure> {
        if let Some(PinFile(file)) = file {
            return Self::line(file.try_clone()?).await;
        }
        let tty = File::open("/dev/tty").map_err(|_| Failure::Declined {
            message: "This needs the PIN, and there is no terminal to ask at.".to_owned(),
            hint: "Run it in a terminal, or give the PIN with --pin-file.",
        })?;
        let _quiet = Quiet::on(tty.try_clone()?)?;
        out.prompt(prompt)?;
        let pin = Self::line(tty).await?;
        // The line break that the user typed was not shown either.
        out.note("")?;
        Ok(pin)
    }

    /// Read on a thread of its own: a read of a terminal cannot be taken back, and Ctrl-C is to end the wait.
    async fn line(source: impl Read + Send + 'static) -> Result<Self, Failure> {
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || sender.send(first_line(source)));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        Ok(Self(receiver.await.map_err(gone)??))
    }

    /// The end of a pipe with it. It fits in there before anybody reads.
    pub(crate) fn pipe(&self) -> Result<Fd<'static>, Failure> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(&self.0)?;
        Ok(OwnedFd::from(reader).into())
    }
}

/// Where a script has PINs, a line each, in the order in which they are asked for.
#[derive(Debug)]
pub(crate) struct PinFile(File);

/// What commands that may need the PIN take.
#[derive(clap::Args, Debug)]
pub(crate) struct PinArgs {
    /// Read the PIN from this file instead of the terminal; /dev/stdin or /dev/fd/N for an open one
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl PinArgs {
    pub(crate) fn open(&self) -> Result<Option<PinFile>, Failure> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| Failure::File { path, source }
        };
        self.pin_file.as_deref().map(|path| File::open(path).map(PinFile).map_err(failed(path))).transpose()
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
