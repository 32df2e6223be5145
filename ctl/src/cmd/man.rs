//! `kinctl man`: the man pages, one a command.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;

use super::Ctx;
use crate::cli::Cli;
use crate::error::Failure;

/// Write the man pages into a directory
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// An existing directory
    dir: PathBuf,
}

pub(crate) fn run(ctx: &Ctx<'_>, args: &Args) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut written = Vec::new();
    write(&command, &args.dir, &mut written)?;
    if ctx.out.json {
        return ctx.out.json(&json!({"written": written}));
    }
    written.iter().try_for_each(|path| ctx.out.line(path))
}

fn write(command: &clap::Command, dir: &Path, written: &mut Vec<String>) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: dir.display().to_string(), source };
    let path = Man::new(command.clone()).generate_to(dir).map_err(failed)?;
    written.push(path.display().to_string());
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| write(sub, dir, written))
}
