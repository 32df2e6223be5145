//! Agents: clients that have their own prompts. The daemon calls the agent of the client that opened a pairing, and
//! nobody else's; its answers are orders of that client.
//!
//! A prompt is a task of its own. It ends with its answer, when the pairing goes on without it, when the agent is taken back,
//! or after [`limits::AGENT`]. An agent that refuses, fails or is not there cancels the pairing: silence is a No.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use kinlink_proto::dbus::{AGENT, Error as Name};
use kinlink_proto::engine::command::{CallerId, Command, PairingId, Reply};
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::view::{Direction, PairingState, PairingView};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{Connection, DynamicType, Fd, Message, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::hub::{Client, Hub};
use super::objects::Object;
use super::options::Options;
use super::{limits, pairing, pin};

/// Where a client has its prompts.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    connection: Connection,
    /// The client's unique name; none on a link of its own.
    name: Option<OwnedUniqueName>,
    path: OwnedObjectPath,
    /// Closed when the agent is taken back or replaced.
    held: watch::Receiver<()>,
}

/// Held while an agent is registered.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "what counts is that it is dropped")] watch::Sender<()>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it was taken back")]
    Gone,
    #[error("it did not answer in time")]
    Late,
    #[error("somebody else answered")]
    Forged,
    #[error("{0}")]
    Said(zbus::Error),
}

impl Agent {
    /// The agent at `path` of the client called `name`, as long as the other half is held.
    pub(super) fn new(connection: Connection, name: Option<OwnedUniqueName>, path: OwnedObjectPath) -> (Self, Held) {
        let (holder, held) = watch::channel(());
        (Self { connection, name, path, held }, Held(holder))
    }

    /// Asks for the PIN; `complaint` is what was wrong with the last one.
    pub(super) async fn request_pin(&self, what: &str, complaint: Option<String>) -> Result<File, String> {
        let reply = self.ask("RequestPin", &(what, said(complaint))).await.map_err(|refusal| refusal.to_string())?;
        let body = reply.body();
        let pipe: Fd<'_> = body.deserialize().map_err(|error| error.to_string())?;
        pin::file(&pipe).map_err(|error| error.message)
    }

    async fn ask<B: Serialize + DynamicType>(&self, method: &str, body: &B) -> Result<Message, Refusal> {
        let to = self.name.as_ref().map(|name| BusName::from(name.as_ref()));
        let call = self.connection.call_method(to, &self.path, Some(AGENT), method, body);
        let mut held = self.held.clone();
        let reply = tokio::select! {
            reply = tokio::time::timeout(limits::AGENT, call) => reply.map_err(|_| Refusal::Late)?,
            // It never changes: this is the end of the sender.
            _ = held.changed() => return Err(Refusal::Gone),
        };
        let reply = reply.map_err(Refusal::Said)?;
        // A bus that lets anybody answer must not let anybody type the code.
        let sender = reply.header().sender().map(|sender| sender.to_owned());
        match &self.name {
            Some(name) if sender.as_ref().is_none_or(|sender| *sender != **name) => Err(Refusal::Forged),
            _ => Ok(reply),
        }
    }
}

/// What a pairing wants of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Type the code that the peer shows.
    EnterCode { tries: u8 },
    /// Agree to join, or not.
    ConfirmJoin,
    /// Show the code.
    ShowCode { tries: u8 },
    /// Nothing.
    Wait,
    /// Nothing more; why it failed, if it did.
    Over(&'static str),
}

impl Step {
    fn of(view: &PairingView) -> Self {
        match (view.state, view.direction) {
            (PairingState::Code, Direction::Show) => Self::EnterCode { tries: view.tries_left },
            (PairingState::Code, Direction::Join) => Self::ShowCode { tries: view.tries_left },
            (PairingState::Offered, _) => Self::ConfirmJoin,
            (PairingState::Linked, _) => Self::Over(""),
            (PairingState::Failed | PairingState::Cancelled, _) => {
                Self::Over(view.error.as_ref().map_or(Name::Cancelled.name(), |error| error.kind.name()))
            }
            _ => Self::Wait,
        }
    }
}

/// The prompts that are open.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    tasks: JoinSet<()>,
    open: BTreeMap<PairingId, (Step, AbortHandle)>,
}

impl Prompts {
    /// Asks the agent of a pairing's owner, if it has one, what the pairing's state asks for; once for each.
    pub(super) fn follow(&mut self, hub: &Arc<Hub>, pairing: PairingId, owner: CallerId, view: PairingView) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Some(error) = ended.err().filter(|error| !error.is_cancelled()) {
                tracing::error!("prompting failed: {error}");
            }
        }
        let Some(client) = hub.client(owner) else { return self.close(pairing) };
        let Some(agent) = client.agent() else { return self.close(pairing) };
        let step = Step::of(&view);
        if self.open.get(&pairing).is_some_and(|(open, _)| *open == step) {
            return;
        }
        self.close(pairing);
        let prompt = Prompt { hub: hub.clone(), client, agent, pairing, view };
        let over = matches!(step, Step::Over(_));
        let task = self.tasks.spawn(prompt.run(step.clone()));
        if !over {
            self.open.insert(pairing, (step, task));
        }
    }

    fn close(&mut self, pairing: PairingId) {
        if let Some((_, task)) = self.open.remove(&pairing) {
            task.abort();
        }
    }
}

struct Prompt {
    hub: Arc<Hub>,
    client: Arc<Client>,
    agent: Agent,
    pairing: PairingId,
    view: PairingView,
}

impl Prompt {
    async fn run(self, step: Step) {
        let done = match step {
            Step::EnterCode { .. } => self.enter_code().await,
            Step::ConfirmJoin => self.confirm_join().await,
            Step::ShowCode { .. } => self.show_code().await,
            Step::Wait => Ok(()),
            Step::Over(error) => return self.tell_end(error).await,
        };
        if let Err(refusal) = done {
            tracing::info!("a pairing is cancelled, as its agent did not agree: {refusal}");
            self.cancel().await;
        }
    }

    /// Until the code is right, wrong (which is another step), or refused. What has not six digits is asked for again.
    async fn enter_code(&self) -> Result<(), Refusal> {
        let mut complaint = None;
        for _ in 0..limits::AGENT_TYPOS {
            let reply = self.agent.ask("EnterCode", &(self.path(), self.properties(), said(complaint))).await?;
            let code: String = reply.body().deserialize().map_err(Refusal::Said)?;
            let code = code.chars().take(limits::CODE).collect();
            match self.confirm(code).await {
                Err(error) if error.kind == Name::InvalidArgument => complaint = Some(error.message),
                _ => return Ok(()),
            }
        }
        Err(Refusal::Late)
    }

    async fn confirm_join(&self) -> Result<(), Refusal> {
        let mut complaint = None;
        for _ in 0..limits::AGENT_TYPOS {
            let reply = self.agent.ask("ConfirmJoin", &(self.path(), self.properties(), said(complaint))).await?;
            let answer: BTreeMap<String, OwnedVariant> = reply.body().deserialize().map_err(Refusal::Said)?;
            match self.accept(answer).await {
                Err(error) if error.kind == Name::InvalidArgument => complaint = Some(error.message),
                _ => return Ok(()),
            }
        }
        Err(Refusal::Late)
    }

    async fn accept(&self, answer: BTreeMap<String, OwnedVariant>) -> Result<Reply, CommandError> {
        let invalid = |message: String| CommandError::new(Name::InvalidArgument, message);
        let answer = answer.into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut answer = Options(answer);
        let sessions = answer.text("sessions", limits::CODE).map_err(|failure| invalid(failure.message))?;
        answer.finish().map_err(|failure| invalid(failure.message))?;
        let sessions = pairing::old_sessions(&self.hub.core, self.client.caller(), sessions.as_deref()).await?;
        self.order(Command::AcceptOffer { pairing: self.pairing, sessions }).await
    }

    async fn show_code(&self) -> Result<(), Refusal> {
        // If it is over by now, the next step says so.
        let Ok(Reply::Code(code)) = self.order(Command::Code(self.pairing)).await else { return Ok(()) };
        self.agent.ask("ShowCode", &(self.path(), code, self.properties(), said(None))).await.map(|_| ())
    }

    async fn tell_end(&self, error: &str) {
        let body = (self.path(), error, said(None));
        let told = self.agent.ask("Cancel", &body);
        match tokio::time::timeout(limits::AGENT_END, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => tracing::debug!("an agent was not told that its pairing is over: {refusal}"),
            Err(_) => tracing::debug!("an agent that was told that its pairing is over does not answer"),
        }
    }

    async fn cancel(&self) {
        if let Err(error) = self.order(Command::CancelPairing(self.pairing)).await {
            tracing::debug!("a pairing that is to be cancelled is over: {error}");
        }
    }

    /// With the PIN, if that is needed.
    async fn confirm(&self, code: String) -> Result<Reply, CommandError> {
        let confirm = Command::ConfirmCode { pairing: self.pairing, code };
        pin::ask(&self.hub.core, &self.client, "link", confirm).await
    }

    async fn order(&self, command: Command) -> Result<Reply, CommandError> {
        self.hub.core.command(self.client.caller(), command).await
    }

    fn path(&self) -> ObjectPath<'static> {
        Object::Pairing(self.pairing).object_path()
    }

    fn properties(&self) -> BTreeMap<&'static str, Variant<'static>> {
        let this = self.hub.core.view().borrow().status.device;
        pairing::values(&self.view, this).into_iter().collect()
    }
}

/// The options of a call to an agent: what was wrong with the last answer.
fn said(complaint: Option<String>) -> BTreeMap<&'static str, Variant<'static>> {
    complaint.map(|complaint| ("Error", complaint.into())).into_iter().collect()
}
