//! `kinctl config`: what can be set.

use clap::Subcommand;
use serde_json::json;

use super::Ctx;
use crate::error::Failure;
use crate::table;

/// Show what is set, or set it
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    setting: Option<Setting>,
}

#[derive(Debug, Subcommand)]
enum Setting {
    /// The UDP port that other devices reach this one at
    ///
    /// Drawn at the first start and kept. Another one is used at once, remembered, and told to the other devices; connections
    /// that break by it come back by themselves. For a firewall or a router that forwards one port.
    Port {
        /// The port from now on; without it, the one of now is printed
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    if let Some(Setting::Port { port: Some(port) }) = args.setting {
        bus.manager().await?.set_port(port).await?;
    }
    let port = bus.status().await?.port;
    match args.setting {
        _ if ctx.out.json => ctx.out.json(&json!({"port": port})),
        Some(Setting::Port { port: Some(_) }) => Ok(()),
        Some(Setting::Port { port: None }) => ctx.out.line(port.to_string()),
        None => table::pairs(&[("port", port.to_string())]).iter().try_for_each(|line| ctx.out.line(line)),
    }
}
