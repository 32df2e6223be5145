//! The verbs, a file each.

pub(crate) mod address;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dismiss;
pub(crate) mod join;
pub(crate) mod key;
pub(crate) mod leave;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod pin;
pub(crate) mod ping;
pub(crate) mod readmit;
pub(crate) mod rename;
pub(crate) mod revoke;
pub(crate) mod role;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod suspend;

use std::path::PathBuf;

use crate::bus::Bus;
use crate::cli::{Cli, Command, JSON};
use crate::error::{EXIT_CODES, Failure};
use crate::interrupt::Interrupt;
use crate::output::Output;

/// What a verb works with.
#[derive(Debug)]
pub(crate) struct Ctx<'a> {
    /// Where to print.
    pub(crate) out: &'a Output,
    /// Ctrl-C.
    pub(crate) interrupt: Interrupt,
    socket: Option<PathBuf>,
}

impl Ctx<'_> {
    /// Connects to the daemon.
    pub(crate) async fn bus(&self) -> Result<Bus, Failure> {
        Bus::connect(self.socket.as_deref()).await
    }
}

/// Carries out what `cli` asks for.
pub(crate) async fn run(cli: Cli, out: &Output) -> Result<(), Failure> {
    let ctx = Ctx { out, interrupt: Interrupt::listen()?, socket: cli.global.socket };
    match cli.command.unwrap_or(Command::List(list::Args {})) {
        // These two have something to undo.
        Command::Link(args) => link::run(&ctx, args).await,
        Command::Join(args) => join::run(&ctx, args).await,
        command => tokio::select! {
            result = dispatch(&ctx, command) => result,
            () = ctx.interrupt.happened() => Err(Failure::Interrupted("Interrupted.".to_owned())),
        },
    }
}

async fn dispatch(ctx: &Ctx<'_>, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(ctx, args).await,
        Command::Show(args) => show::run(ctx, args).await,
        Command::Ping(args) => ping::run(ctx, args).await,
        Command::Address(args) => address::run(ctx, args).await,
        Command::Config(args) => config::run(ctx, args).await,
        Command::Dismiss(args) => dismiss::run(ctx, args).await,
        Command::Rename(args) => rename::run(ctx, args).await,
        Command::Revoke(args) => revoke::run(ctx, args).await,
        Command::Suspend(args) => suspend::run(ctx, args).await,
        Command::Readmit(args) => readmit::run(ctx, args).await,
        Command::Role(args) => role::run(ctx, args).await,
        Command::Pin(args) => pin::run(ctx, args).await,
        Command::Link(args) => link::run(ctx, args).await,
        Command::Join(args) => join::run(ctx, args).await,
        Command::Leave(args) => leave::run(ctx, args).await,
        Command::Erase(args) => leave::erase(ctx, args).await,
        Command::Status => status::run(ctx).await,
        Command::Key(args) => key::run(ctx, args).await,
        Command::Unlock(key::Unlock {}) => key::unlock(ctx).await,
        Command::Sessions(args) => sessions::run(ctx, args).await,
        Command::Session(args) => session::run(ctx, args).await,
        Command::Completions(args) => completions::run(ctx, &args),
        Command::Man(args) => man::run(ctx, &args),
        Command::ExitCodes => ctx.out.line(EXIT_CODES),
        Command::Json => ctx.out.line(JSON),
    }
}
