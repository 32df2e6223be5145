//! `kinctl`: lists, links and revokes devices and sessions.
//!
//! It is a client of kinlinkd's D-Bus interface and has no powers of its own: whatever it does, an app
//! may do as well. It reads one command, carries it out, says how it went, and exits with a code that
//! [`error::Exit`] documents. It never waits without saying for what.

mod bus;
mod cli;
mod cmd;
mod error;
mod interrupt;
mod model;
mod output;
mod pairing;
mod passphrase;
mod prompt;
mod proxy;
mod qr;
mod receiving;
mod resolve;
mod table;
mod when;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let out = output::Output::new(&cli.global);
    match run(cli, &out) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does: nobody is left to tell.
        Err(error::Failure::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(failure) => out.failure(&failure).into(),
    }
}

/// One thread is enough for one client. It does not wait for a thread that is still reading a line.
fn run(cli: cli::Cli, out: &output::Output) -> Result<(), error::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(cmd::run(cli, out));
    runtime.shutdown_background();
    result
}
