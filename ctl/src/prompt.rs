//! Questions. The answer defaults to No, and nobody is asked who cannot answer.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};

use tokio::sync::mpsc;

use crate::error::Failure;
use crate::output::Output;

/// Lines that somebody types, or a script writes. They are read on a thread of their own, since a read of a terminal cannot
/// be taken back; and only when one is wanted: the next may be a PIN, which is for somebody else to read.
#[derive(Debug)]
pub(crate) struct Lines {
    wants: std::sync::mpsc::Sender<()>,
    lines: mpsc::UnboundedReceiver<String>,
    /// A line is being read, for whoever asks next.
    wanted: bool,
}

impl Lines {
    /// Of standard input: a person's, or a script's pipe. What a person typed before being asked is not an answer.
    pub(crate) fn stdin() -> Self {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            // Failing to discard leaves an early line as the answer, and an empty one is a No.
            rustix::termios::tcflush(&stdin, rustix::termios::QueueSelector::IFlush).ok();
        }
        Self::read(BufReader::new(stdin))
    }

    /// Of the person at the terminal, if there is one. `stdin_taken` says that standard input is used for
    /// something else, so that the terminal itself is to be opened.
    pub(crate) fn person(stdin_taken: bool) -> Option<Self> {
        if stdin_taken {
            return File::open("/dev/tty").ok().map(|tty| Self::read(BufReader::new(tty)));
        }
        io::stdin().is_terminal().then(Self::stdin)
    }

    fn read(source: impl BufRead + Send + 'static) -> Self {
        let (wants, wanted) = std::sync::mpsc::channel();
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut source = source.lines();
            while wanted.recv().is_ok() {
                let Some(Ok(line)) = source.next() else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { wants, lines, wanted: false }
    }

    /// The next line, trimmed; none at the end of input. May be given up and asked again.
    pub(crate) async fn next(&mut self, out: &Output) -> Option<String> {
        // Where the input has ended, so has what is received below.
        self.wanted = self.wanted || self.wants.send(()).is_ok();
        let line = self.lines.recv().await?;
        self.wanted = false;
        out.answered();
        Some(line.trim().to_owned())
    }

    /// Asks a question whose answer is one of `words`, or a first letter; anything else is none of them.
    pub(crate) async fn choose(
        &mut self,
        out: &Output,
        question: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, Failure> {
        out.prompt(format!("{question} "))?;
        let answer = self.next(out).await.unwrap_or_default().to_lowercase();
        let fits = |word: &&&'static str| !answer.is_empty() && word.starts_with(&answer);
        Ok(words.iter().find(fits).copied())
    }
}

/// Asks before doing what cannot be undone. `yes` is `--yes`.
pub(crate) async fn confirm(out: &Output, question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let mut person = Lines::person(false).ok_or_else(nobody)?;
    match person.choose(out, &format!("{question} [y/N]"), &["yes"]).await? {
        Some(_) => Ok(()),
        None => Err(Failure::declined("Nothing was done.")),
    }
}

/// There is no terminal to ask at.
pub(crate) fn nobody() -> Failure {
    Failure::Declined {
        message: "This needs a yes, and there is no terminal to ask at.".to_owned(),
        hint: "Run it in a terminal, or add --yes.",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cli::{Color, Global};

    fn output() -> Output {
        Output::new(&Global { json: true, redact: false, color: Color::Never, socket: None })
    }

    async fn answer(text: &'static str) -> Option<&'static str> {
        Lines::read(text.as_bytes()).choose(&output(), "?", &["yes"]).await.unwrap()
    }

    /// A terminal, which gives a line at each read, and counts them.
    struct Terminal(Arc<AtomicUsize>);

    impl Read for Terminal {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::SeqCst);
            b"y\n".as_slice().read(buffer)
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_line_is_read_that_nobody_asked_for() {
        let reads = Arc::<AtomicUsize>::default();
        let mut lines = Lines::read(BufReader::new(Terminal(reads.clone())));
        assert_eq!(lines.choose(&output(), "?", &["yes"]).await.unwrap(), Some("yes"));
        drop(lines);
        // The thread that reads is over.
        while Arc::strong_count(&reads) > 1 {
            std::thread::yield_now();
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_yes_is_yes() {
        assert_eq!(answer("y\n").await, Some("yes"));
        assert_eq!(answer(" YES \n").await, Some("yes"));
        for no in ["", "\n", "n\n", "yess\n", "ja\n"] {
            assert_eq!(answer(no).await, None, "{no:?}");
        }
    }
}
