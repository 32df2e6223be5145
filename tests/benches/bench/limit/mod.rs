//! The least that the work can take: small programs over quinn, rustls and redb alone, none of Kinlink's code.

pub(crate) mod exchange;
mod quic;
pub(crate) mod store;
pub(crate) mod sync;

use anyhow::Context as _;

/// Runs the half of a limit that the arguments name, in a process of its own.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["send", count, size, dir] => sync::send(count.parse()?, size.parse()?, dir.as_ref()),
        ["receive", port, count, size, dir] => {
            sync::receive(port.parse()?, count.parse()?, size.parse()?, dir.as_ref())
        }
        ["answer", what, rounds, entries, size, dir] => {
            exchange::answer(what, rounds.parse()?, entries.parse()?, size.parse()?, dir.as_ref())
        }
        ["ask", port, what, rounds, entries, size, dir] => {
            let (rounds, entries, size) = (rounds.parse()?, entries.parse()?, size.parse()?);
            exchange::ask(port.parse()?, what, rounds, entries, size, dir.as_ref())
        }
        _ => anyhow::bail!("no such limit: {args:?}"),
    }
}

/// This program again, as one half of a limit.
fn again(args: &[&str]) -> anyhow::Result<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe().context("this program has no path")?);
    command.arg("--limit").args(args);
    Ok(command)
}
