//! The command line. Help, completions and man pages all come from these definitions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cmd::{
    address, completions, config, dismiss, join, key, leave, link, list, man, pin, ping, readmit, rename, revoke, role,
    session, sessions, show, suspend,
};
use crate::error::EXIT_CODES;

/// List, link and revoke your devices, and the sessions of apps on them
///
/// Without a command: list. A device or session is given by its name, its id, or the first digits of its id (at least four).
#[derive(Debug, Parser)]
#[command(name = "kinctl", version, max_term_width = 100, disable_help_subcommand = false)]
#[command(after_help = "kinctl help COMMAND says more; so do the topics kinctl help exit-codes and kinctl help json.")]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print JSON; commands that wait print one object a line as things happen
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Replace names and addresses, for bug reports
    #[arg(long, global = true)]
    pub(crate) redact: bool,
    /// When to use colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub(crate) color: Color,
    /// Use kinlinkd's private socket at PATH and nothing else
    #[arg(long, global = true, value_name = "PATH", env = "KINLINK_SOCKET", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Also elsewhere.
    Always,
    /// Nowhere.
    Never,
}

/// One verb each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Show(show::Args),
    Rename(rename::Args),
    Dismiss(dismiss::Args),
    Ping(ping::Args),
    Address(address::Args),
    Revoke(revoke::Args),
    Suspend(suspend::Args),
    Readmit(readmit::Args),
    Role(role::Args),
    Pin(pin::Args),
    Link(link::Args),
    Join(join::Args),
    Leave(leave::Args),
    /// Wipe this device's data and start over with a fresh identity
    ///
    /// For a device that was revoked, whose remains would otherwise go after seven days.
    Erase(leave::Confirm),
    /// Show this device's state, account and warnings
    Status,
    Sessions(sessions::Args),
    Session(session::Args),
    Config(config::Args),
    Key(key::Args),
    Unlock(key::Unlock),
    Completions(completions::Args),
    Man(man::Args),
    /// What the exit codes mean
    #[command(name = "exit-codes", hide = true, long_about = EXIT_CODES, help_template = TOPIC)]
    ExitCodes,
    /// What --json prints
    #[command(name = "json", hide = true, long_about = JSON, help_template = TOPIC)]
    Json,
}

/// A topic has no usage and no options.
const TOPIC: &str = "{about-with-newline}";

/// What `kinctl help json` says.
pub(crate) const JSON: &str = include_str!("json.txt");
