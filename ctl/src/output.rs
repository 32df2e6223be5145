//! Everything that is printed goes through here: plain, coloured, redacted, or JSON.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::cli::{Color, Global};
use crate::error::{Candidate, Exit, Failure, Report};

/// Where output goes and in which shape.
#[derive(Debug)]
pub(crate) struct Output {
    /// `--json`: results and events as JSON on standard output, nothing else there.
    pub(crate) json: bool,
    screen: bool,
    color: bool,
    aliases: Option<RefCell<Vec<(String, String)>>>,
    /// A line was begun and not ended, by a prompt or a progress note.
    open: Cell<bool>,
}

impl Output {
    /// As the global options and the environment say.
    pub(crate) fn new(global: &Global) -> Self {
        let screen = io::stdout().is_terminal() || matches!(global.color, Color::Always);
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => screen && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        let aliases = global.redact.then(RefCell::default);
        Self { json: global.json, screen, color: color && !global.json, aliases, open: Cell::new(false) }
    }

    /// Whether somebody sees standard output on a screen: a terminal, or what `--color always` stands in for.
    pub(crate) fn screen(&self) -> bool {
        self.screen
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.close()?;
        self.raw(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// Bytes of the result, as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// A JSON object on a line of its own, flushed at once: a result, or one event of several.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Failure> {
        self.line(value.to_string())
    }

    /// What is going on, on standard error; silent with `--json`, where events tell it.
    pub(crate) fn note(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.close()?;
        if self.json {
            return Ok(());
        }
        Ok(writeln!(io::stderr().lock(), "{}", text.as_ref())?)
    }

    /// A question, or what is being waited for: on a terminal the line stays open. Shown with `--json` too,
    /// since somebody is expected to answer.
    pub(crate) fn prompt(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.close()?;
        let mut stderr = io::stderr().lock();
        self.open.set(stderr.is_terminal());
        write!(stderr, "{}{}", text.as_ref(), if self.open.get() { "" } else { "\n" })?;
        Ok(stderr.flush()?)
    }

    /// How far something got, on standard error: on a terminal in place of what was said before; silent with `--json`.
    pub(crate) fn progress(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stderr = io::stderr().lock();
        if self.json || !stderr.is_terminal() {
            drop(stderr);
            return self.note(text);
        }
        self.open.set(true);
        // Back to the line's beginning, and clear what is behind (ECMA-48 EL).
        write!(stderr, "\r\x1b[K{}", text.as_ref())?;
        Ok(stderr.flush()?)
    }

    /// The user ended the open line with Enter.
    pub(crate) fn answered(&self) {
        self.open.set(false);
    }

    fn close(&self) -> Result<(), Failure> {
        if self.open.replace(false) {
            writeln!(io::stderr().lock())?;
        }
        Ok(())
    }

    /// Lines of a table, the first of them a heading. Written at once: there may be thousands.
    pub(crate) fn table(&self, lines: &[String]) -> Result<(), Failure> {
        let Some((head, rows)) = lines.split_first() else { return Ok(()) };
        self.line([&[self.bold(head)], rows].concat().join("\n"))
    }

    /// `text` in bold, on a terminal.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `text` as a warning, on a terminal.
    pub(crate) fn warn(&self, text: &str) -> String {
        if self.color { format!("\x1b[1;33m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Somebody's text, safe to print; with `--redact` "KIND-1" instead, the same for the same text.
    pub(crate) fn hide(&self, kind: &str, text: &str) -> String {
        let Some(aliases) = self.aliases.as_ref().filter(|_| !text.is_empty()) else {
            return visible(text);
        };
        let mut aliases = aliases.borrow_mut();
        if let Some((_, alias)) = aliases.iter().find(|(hidden, _)| hidden == text) {
            return alias.clone();
        }
        let alias = format!("{kind}-{}", aliases.iter().filter(|(_, a)| a.starts_with(kind)).count() + 1);
        aliases.push((text.to_owned(), alias.clone()));
        alias
    }

    /// The name of a device, an account or a session.
    pub(crate) fn name(&self, text: &str) -> String {
        self.hide("name", text)
    }

    /// A network address.
    pub(crate) fn address(&self, text: &str) -> String {
        self.hide("address", text)
    }

    /// A sentence that may contain what was hidden before.
    pub(crate) fn sentence(&self, text: &str) -> String {
        let Some(aliases) = &self.aliases else { return visible(text) };
        let mut hidden: Vec<_> = aliases.borrow().clone();
        // The longest first: one name may be part of another.
        hidden.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        visible(&hidden.iter().fold(text.to_owned(), |text, (name, alias)| text.replace(name, alias)))
    }

    /// Says what failed and what to do, on standard error. A reader that went away needs no telling.
    pub(crate) fn failure(&self, failure: &Failure) -> Exit {
        let report = self.report(failure);
        let told = if self.json { self.failure_json(&report) } else { self.failure_text(&report) };
        match told {
            Ok(()) => report.exit,
            Err(_) => Exit::Failure,
        }
    }

    /// What to say of `failure`; redacted, that is what can be said without anybody's words.
    pub(crate) fn report(&self, failure: &Failure) -> Report {
        if self.aliases.is_none() {
            return failure.report();
        }
        match failure {
            Failure::Daemon { error, .. } => Failure::Daemon { error: *error, message: String::new() }.report(),
            Failure::NotFound { what, name } => Failure::NotFound { what, name: self.name(name) }.report(),
            Failure::Ambiguous { what, name, candidates } => {
                let name = self.name(name);
                let alias = |one: &Candidate| Candidate { name: self.name(&one.name), ..one.clone() };
                Failure::Ambiguous { what, name, candidates: candidates.iter().map(alias).collect() }.report()
            }
            other => other.report(),
        }
    }

    fn failure_text(&self, report: &Report) -> Result<(), Failure> {
        self.close()?;
        let mut stderr = io::stderr().lock();
        // Line by line, so that a list of candidates keeps its shape.
        for line in report.message.lines() {
            writeln!(stderr, "{}", self.sentence(line))?;
        }
        if !report.hint.is_empty() {
            writeln!(stderr, "{}", report.hint)?;
        }
        Ok(())
    }

    fn failure_json(&self, report: &Report) -> Result<(), Failure> {
        self.close()?;
        let message: Vec<_> = report.message.lines().map(|line| self.sentence(line)).collect();
        let error = json!({
            "error": report.name,
            "message": message.join("\n"),
            "hint": report.hint,
            "exit": report.exit as u8,
        });
        Ok(writeln!(io::stderr().lock(), "{error}")?)
    }
}

/// `text` with control and direction-changing characters escaped: nobody's name may move the cursor.
pub(crate) fn visible(text: &str) -> String {
    if !text.contains(hidden) {
        return text.to_owned();
    }
    let shown = |c: char| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(redact: bool) -> Output {
        Output::new(&Global { json: false, redact, color: Color::Never, socket: None })
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(visible("a\u{1b}[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
    }

    #[test]
    fn redaction_is_consistent() {
        let out = output(true);
        assert_eq!(out.name("laptop"), "name-1");
        assert_eq!(out.name("phone"), "name-2");
        assert_eq!(out.name("laptop"), "name-1");
        assert_eq!(out.address("10.0.0.7:4433"), "address-1");
        assert_eq!(out.name(""), "");
        assert_eq!(out.sentence("laptop revoked phone"), "name-1 revoked name-2");
    }

    #[test]
    fn redacted_failures_hold_nobody_s_words() {
        let candidate = |name: &str| Candidate { id: "aaaa0000".into(), name: name.into(), about: "linked".into() };
        let failures = [
            Failure::Daemon { error: kinlink_proto::dbus::Error::Refused, message: "phone is out already".into() },
            Failure::NotFound { what: "device", name: "phone".into() },
            Failure::Ambiguous { what: "device", name: "PHONE".into(), candidates: vec![candidate("phone")] },
        ];
        for failure in failures {
            let (open, hidden) = (output(false).report(&failure).message, output(true).report(&failure).message);
            assert!(open.to_lowercase().contains("phone"), "{open}");
            assert!(!hidden.to_lowercase().contains("phone"), "{hidden}");
        }
    }

    #[test]
    fn nothing_is_redacted_unasked() {
        assert_eq!(output(false).name("laptop"), "laptop");
        assert_eq!(output(false).sentence("laptop revoked phone"), "laptop revoked phone");
    }
}
