//! `kinctl session new`.

use kinlink_proto::dbus::SESSIONS;

use super::super::Ctx;
use crate::error::Failure;
use crate::proxy::Options;
use crate::when;

/// Make a session of this device; prints its id
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The app's id, like org.example.Notes
    #[arg(long, value_name = "ID")]
    app: String,
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Let it end by itself after this many seconds
    #[arg(long, value_name = "SECS")]
    expires: Option<u64>,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let mut options = Options::new();
    if let Some(seconds) = args.expires {
        options.insert("expires", when::now().saturating_add(seconds.saturating_mul(1000)).into());
    }
    let path = bus.manager().await?.create_session(&args.app, &args.title, &options).await?;
    if ctx.out.json {
        let session = bus.session_state(path.as_str()).await?;
        return ctx.out.json(&session.json(ctx.out, &bus.devices().await?));
    }
    ctx.out.line(path.as_str().trim_start_matches(SESSIONS).trim_start_matches('/'))
}
