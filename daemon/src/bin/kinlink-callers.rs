//! `kinlink-callers`: tells `kinlinkd`, which its service manager confines, whether a process is in a sandbox.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use kinlink_daemon::{callers, handed, harden};

/// What it is for, to whoever starts it by hand.
const USAGE: &str = "kinlink-callers is started by systemd, with a socket (kinlinkd-callers.socket); kinlinkd asks it whether a \
                     process is in a sandbox";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinlink-callers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    harden::harden()?;
    let listener: OwnedFd = handed::helper()?.ok_or(USAGE)?;
    Ok(callers::helper::serve(&listener)?)
}
