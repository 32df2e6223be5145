//! Orders that need the account's PIN: with the one that came with the call, or with what the client's agent is told.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use kinlink_proto::dbus::Error as Name;
use kinlink_proto::engine::command::{Command, Reply};
use kinlink_proto::engine::error::CommandError;
use tokio::task::spawn_blocking;
use zbus::{Fd, Message};
use zeroize::Zeroizing;

use super::call::Call;
use super::error::Failure;
use super::hub::Client;
use super::limits;
use super::options::Options;
use super::vault::Patient;
use crate::handle::Core;
use crate::pin::{Pin, PinError};

/// How often an agent is asked for the PIN for one order: wrong ones are counted and waited for.
const PROMPTS: usize = 3;

/// Gives an order with the PIN that came with the call; without one, and if it is needed, the client's agent is asked for it. `what`
/// is what the order does: "link", "revoke", "readmit", "role", "pin".
pub(super) async fn order(
    call: &Call<'_>,
    given: Option<File>,
    what: &str,
    command: Command,
) -> Result<Reply, Failure> {
    let (core, client) = (&call.hub.core, call.client);
    Ok(match given {
        Some(pin) => with(core, client, read(pin).await?, command).await?,
        None => ask(core, client, what, command).await?,
    })
}

/// Gives an order, and asks the client's agent for the PIN if it is needed.
pub(super) async fn ask(core: &Core, client: &Client, what: &str, command: Command) -> Result<Reply, CommandError> {
    let mut refused = match core.command(client.caller(), command.clone()).await {
        Err(error) if error.kind == Name::PinRequired => error,
        other => return other,
    };
    let Some(agent) = client.agent() else { return Err(refused) };
    let mut complaint = None;
    for _ in 0..PROMPTS {
        let pin = match agent.request_pin(what, complaint).await {
            Ok(pin) => pin,
            Err(why) => {
                tracing::info!("something is not done, as an agent gave no PIN: {why}");
                return Err(refused);
            }
        };
        let done = match read(pin).await {
            Ok(pin) => with(core, client, pin, command.clone()).await,
            Err(error) => Err(error),
        };
        match done {
            Err(error) if matches!(error.kind, Name::PinWrong | Name::InvalidArgument) => {
                complaint = Some(error.message.clone());
                refused = error;
            }
            other => return other,
        }
    }
    Err(refused)
}

async fn with(core: &Core, client: &Client, pin: Pin, command: Command) -> Result<Reply, CommandError> {
    let settings = core.view().borrow().status.two_step.as_ref().map(|pin| pin.settings.clone()).unwrap_or_default();
    let seeds = pin.seeds(settings).await.map_err(refusal)?;
    core.command(client.caller(), Command::WithPin { seeds, command: Box::new(command) }).await
}

/// The PIN that stands in a pipe, up to its end or the end of a line: so it is in no message. Read on a thread of its own.
async fn read(pipe: File) -> Result<Pin, CommandError> {
    let unreadable = |error: String| CommandError::new(Name::InvalidArgument, format!("pin: {error}"));
    let read = move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(limits::PIN + 1));
        let mut pipe = Patient::new(pipe);
        let mut byte = [0];
        // One by one: they stand in no other buffer, and this one is never grown.
        while bytes.len() <= limits::PIN && pipe.read(&mut byte)? == 1 && byte != *b"\n" {
            bytes.push(byte[0]);
        }
        std::io::Result::Ok(bytes)
    };
    let bytes = spawn_blocking(read).await.map_err(|error| unreadable(error.to_string()))?;
    let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable("not UTF-8".to_owned()))?;
    Pin::typed(text).map_err(refusal)
}

/// The open file of a descriptor in a message.
pub(super) fn file(descriptor: &Fd<'_>) -> Result<File, CommandError> {
    let own = descriptor.as_fd().try_clone_to_owned();
    own.map(File::from).map_err(|error| CommandError::new(Name::InvalidArgument, format!("pin: {error}")))
}

fn refusal(error: PinError) -> CommandError {
    let kind = match error {
        PinError::Length => Name::InvalidArgument,
        PinError::Memory(_) | PinError::Stopping => Name::Internal,
    };
    CommandError::new(kind, error.to_string())
}

/// Sets the PIN, or changes it with the one that is set.
pub(super) async fn set(call: &Call<'_>) -> Result<Message, Failure> {
    let mut options = Options(call.args()?);
    let (new, given) = (options.file("new")?, options.file("pin")?);
    options.finish()?;
    let new = new.ok_or_else(|| Failure::argument("new: the PIN from now on, in a pipe"))?;
    let setting = read(new).await?.setting().await.map_err(refusal)?;
    order(call, given, "pin", Command::SetPin(Some(setting))).await?;
    call.reply(&())
}

/// Removes the PIN with itself.
pub(super) async fn remove(call: &Call<'_>) -> Result<Message, Failure> {
    proven(call, Command::SetPin(None)).await
}

/// Says whether that is the PIN: a wrong one is counted like any other.
pub(super) async fn verify(call: &Call<'_>) -> Result<Message, Failure> {
    proven(call, Command::VerifyPin).await
}

async fn proven(call: &Call<'_>, command: Command) -> Result<Message, Failure> {
    let mut options = Options(call.args()?);
    let given = options.file("pin")?;
    options.finish()?;
    order(call, given, "pin", command).await?;
    call.reply(&())
}
