//! `kinlinkd`: links a person's devices and keeps their sessions in sync. One for each user.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{CommandFactory as _, Parser};
use kinlink_proto::limits;

/// Links this user's devices and keeps their sessions in sync, end-to-end encrypted, with no server.
///
/// Starts with no configuration. Control it with kinctl.
#[derive(Debug, Parser)]
#[command(name = "kinlinkd", version)]
struct Args {
    /// Where keys and data are kept [default: $XDG_STATE_HOME/kinlink or ~/.local/state/kinlink]
    #[arg(long, value_name = "DIR", env = "KINLINK_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Where the private bus socket is [default: $XDG_RUNTIME_DIR/kinlink]
    #[arg(long, value_name = "DIR", env = "KINLINK_RUNTIME_DIR")]
    runtime_dir: Option<PathBuf>,
    /// The UDP port to listen on [default: the one of the last run, at first a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Do not serve the session bus, only the private socket
    #[arg(long)]
    no_session_bus: bool,
    /// Do not search the local network for other devices, and announce nothing there
    #[arg(long, env = "KINLINK_NO_DISCOVERY", value_parser = FalseyValueParser::new())]
    no_discovery: bool,
    /// Ask kinlink-callers at this socket what callers are, for a daemon that is confined and may not look itself
    #[arg(long, value_name = "SOCKET", env = "KINLINK_CALLERS")]
    callers: Option<PathBuf>,
    /// How many devices an account may have for this one to link another
    #[arg(long, value_name = "NUMBER", env = "KINLINK_DEVICES", default_value_t = limits::DEVICES_DEFAULT, value_parser = devices)]
    devices: usize,
    /// This device's name until you give it another [default: the host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A file with the passphrase, for a key that is kept under one; kinctl unlock is the other way to give it
    #[arg(long, value_name = "FILE", env = "KINLINK_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print the manual page
    #[arg(long, hide = true)]
    man: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.man {
        return man();
    }
    let options = kinlink_daemon::Options {
        state_dir: args.state_dir,
        runtime_dir: args.runtime_dir,
        port: args.port,
        session_bus: !args.no_session_bus,
        discovery: !args.no_discovery,
        callers: args.callers,
        devices: args.devices,
        name: args.name,
        passphrase_file: args.passphrase_file,
    };
    match kinlink_daemon::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Before and after logging: whoever started the daemon reads standard error.
            eprintln!("kinlinkd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn devices(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (2..=limits::DEVICES_MAX).contains(number));
    number.ok_or_else(|| format!("expected 2 to {}", limits::DEVICES_MAX))
}

/// From the same definitions as `--help`.
fn man() -> ExitCode {
    let page = clap_mangen::Man::new(Args::command()).section("8").manual("Kinlink");
    match page.render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
