//! Who is connected, what each has asked to hear, and the pairings as their owners last saw them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinlink_proto::engine::command::{Caller, CallerId, CallerKind, PairingId};
use kinlink_proto::engine::view::PairingView;
use tokio::sync::{OnceCell, mpsc, oneshot};
use zbus::names::OwnedUniqueName;

use super::agent::{Agent, Held};
use super::caller;
use super::outbox::Outbox;
use crate::callers::Callers;
use crate::handle::Core;

/// One client, until it leaves.
#[derive(Debug)]
pub(super) struct Client {
    /// What the core knows it by.
    pub(super) id: CallerId,
    /// Its unique name on the bus; none on a link of its own.
    pub(super) name: Option<OwnedUniqueName>,
    /// What it may do, once that was looked up.
    pub(super) kind: OnceCell<CallerKind>,
    /// Whether it wants the signals of sessions.
    subscribed: AtomicBool,
    /// Its prompts, if it has its own.
    agent: Mutex<Option<(Agent, Held)>>,
    /// Whether it was refused something before.
    refused: AtomicBool,
    /// The way to it.
    pub(super) outbox: Outbox,
}

impl Client {
    /// As whom it gives orders: nobody, before it was identified.
    pub(super) fn caller(&self) -> Caller {
        Caller { id: self.id, kind: self.kind.get().cloned().unwrap_or_else(caller::unknown) }
    }

    /// From now on it hears of sessions, or no longer.
    pub(super) fn subscribe(&self, on: bool) {
        self.subscribed.store(on, Ordering::Release);
    }

    /// From now on it is asked at `agent`, or nowhere. An agent that it had before is gone, with its open prompts.
    pub(super) fn set_agent(&self, agent: Option<(Agent, Held)>) {
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = agent;
    }

    /// Where it wants to be asked.
    pub(super) fn agent(&self) -> Option<Agent> {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        agent.as_ref().map(|(agent, _)| agent.clone())
    }

    /// Notes that it was refused something; whether that was for the first time.
    pub(super) fn note_refused(&self) -> bool {
        !self.refused.swap(true, Ordering::AcqRel)
    }

    fn is(&self, kind: impl Fn(&CallerKind) -> bool) -> bool {
        self.kind.get().is_some_and(kind)
    }

    fn hears_of(&self, app: &str) -> bool {
        self.subscribed.load(Ordering::Acquire) && self.is(|kind| caller::may_see_session(kind, app))
    }
}

#[derive(Debug, Default)]
struct Registry {
    clients: BTreeMap<CallerId, Arc<Client>>,
    pairings: BTreeMap<PairingId, (CallerId, PairingView)>,
}

/// What all links share.
#[derive(Debug)]
pub(super) struct Hub {
    /// The only way to the state.
    pub(super) core: Core,
    /// The daemon's user.
    pub(super) uid: u32,
    /// Who tells what callers are.
    pub(super) callers: Callers,
    barriers: mpsc::Sender<oneshot::Sender<()>>,
    registry: Mutex<Registry>,
}

impl Hub {
    /// Without anybody. The receiver is for [`super::signals::run`].
    pub(super) fn new(core: Core, callers: Callers) -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (barriers, waiting) = mpsc::channel(1);
        let uid = rustix::process::getuid().as_raw();
        (Self { core, uid, callers, barriers, registry: Mutex::default() }, waiting)
    }

    /// Adds a client that was not seen before.
    pub(super) fn admit(&self, name: Option<OwnedUniqueName>, kind: Option<CallerKind>, outbox: Outbox) -> Arc<Client> {
        let kind = OnceCell::new_with(kind);
        let client = Client {
            id: self.core.next_caller(),
            name,
            kind,
            subscribed: AtomicBool::default(),
            agent: Mutex::default(),
            refused: AtomicBool::default(),
            outbox,
        };
        let client = Arc::new(client);
        self.registry().clients.insert(client.id, client.clone());
        client
    }

    /// Removes a client and what was kept for it.
    pub(super) fn forget(&self, id: CallerId) {
        let mut registry = self.registry();
        registry.clients.remove(&id);
        registry.pairings.retain(|_, (owner, _)| *owner != id);
    }

    /// The client `id`, if it is still here.
    pub(super) fn client(&self, id: CallerId) -> Option<Arc<Client>> {
        self.registry().clients.get(&id).cloned()
    }

    /// All who called something and may know of the account's devices. Who never called has nothing to keep up to date.
    pub(super) fn everybody(&self) -> Vec<Arc<Client>> {
        let registry = self.registry();
        registry.clients.values().filter(|client| client.is(caller::may_see_account)).cloned().collect()
    }

    /// The apps in sandboxes that called something, and have a name.
    pub(super) fn apps(&self) -> Vec<Arc<Client>> {
        let named = |kind: &CallerKind| matches!(kind, CallerKind::Sandboxed(app) if !app.is_empty());
        self.registry().clients.values().filter(|client| client.is(named)).cloned().collect()
    }

    /// Those who asked to hear of the sessions of `app`, and may.
    pub(super) fn subscribers(&self, app: &str) -> Vec<Arc<Client>> {
        self.registry().clients.values().filter(|client| client.hears_of(app)).cloned().collect()
    }

    /// Those who asked to hear of sessions.
    pub(super) fn all_subscribers(&self) -> Vec<Arc<Client>> {
        let subscribed = |client: &&Arc<Client>| client.subscribed.load(Ordering::Acquire);
        self.registry().clients.values().filter(subscribed).cloned().collect()
    }

    /// Keeps a pairing's state until its owner leaves, and returns the one before. Nothing is kept for those who left.
    pub(super) fn keep(&self, pairing: PairingId, owner: CallerId, view: PairingView) -> Option<PairingView> {
        let mut registry = self.registry();
        if !registry.clients.contains_key(&owner) {
            return None;
        }
        registry.pairings.insert(pairing, (owner, view)).map(|(_, before)| before)
    }

    /// Keeps a pairing that was just opened, unless more is known of it by now. Returns whether it was new.
    pub(super) fn keep_first(&self, pairing: PairingId, owner: CallerId, view: PairingView) -> bool {
        let mut registry = self.registry();
        let new = registry.clients.contains_key(&owner) && !registry.pairings.contains_key(&pairing);
        if new {
            registry.pairings.insert(pairing, (owner, view));
        }
        new
    }

    /// The pairings that are kept for `owner`.
    pub(super) fn kept(&self, owner: CallerId) -> Vec<(PairingId, PairingView)> {
        let registry = self.registry();
        let own = registry.pairings.iter().filter(|(_, (of, _))| *of == owner);
        own.map(|(pairing, (_, view))| (*pairing, view.clone())).collect()
    }

    /// All pairings that are kept, with their owners.
    pub(super) fn all_kept(&self) -> Vec<(PairingId, CallerId)> {
        self.registry().pairings.iter().map(|(pairing, (owner, _))| (*pairing, *owner)).collect()
    }

    /// Waits until every event that the core has sent so far is reflected here.
    pub(super) async fn settle(&self) {
        let (done, reflected) = oneshot::channel();
        if self.barriers.send(done).await.is_err() || reflected.await.is_err() {
            tracing::debug!("the service is stopping: nothing more is reflected");
        }
    }

    /// A panic while it was held cannot leave it half changed: each change is one insert or remove.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kinlink_proto::engine::command::CallerKind;
    use kinlink_proto::engine::view::View;
    use tokio::sync::{broadcast, mpsc, watch};

    use super::super::outbox::Outbox;
    use super::{Client, Hub};
    use crate::callers::Callers;
    use crate::handle::{Core, Facts, Vault};

    fn hub() -> Hub {
        let (view, events) = (watch::channel(Arc::new(View::default())).1, broadcast::channel(1).0);
        let facts = Facts { version: String::new() };
        Hub::new(Core::new(mpsc::channel(1).0, view, events, facts, Vault::file()), Callers::Own).0
    }

    #[test]
    fn an_app_hears_of_its_own_sessions_and_of_no_device() {
        let hub = hub();
        let kinds = [CallerKind::User, CallerKind::Sandboxed("a".to_owned()), CallerKind::Sandboxed(String::new())];
        let clients = kinds.map(|kind| hub.admit(None, Some(kind), Outbox::new().0));
        for client in &clients {
            client.subscribe(true);
        }
        let hear = |app: &str| hub.subscribers(app).iter().map(|client| client.id).collect::<Vec<_>>();
        assert_eq!(hear("a"), [clients[0].id, clients[1].id]);
        assert_eq!(hear("b"), [clients[0].id]);
        assert_eq!(hear(""), [clients[0].id]);
        let ids = |clients: Vec<Arc<Client>>| clients.iter().map(|client| client.id).collect::<Vec<_>>();
        assert_eq!(ids(hub.everybody()), [clients[0].id], "who hears of devices");
        assert_eq!(ids(hub.apps()), [clients[1].id], "who hears whether Kinlink works here");
    }
}
