//! `kinctl completions`: for the user's shell.

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

use super::Ctx;
use crate::cli::Cli;
use crate::error::Failure;

/// Print a completion script for a shell
///
/// For bash: kinctl completions bash > ~/.local/share/bash-completion/completions/kinctl
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(ctx: &Ctx<'_>, args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinctl", &mut script);
    if ctx.out.json {
        return ctx.out.json(&json!({"shell": args.shell.to_string(), "script": String::from_utf8_lossy(&script)}));
    }
    ctx.out.raw(&script)
}
