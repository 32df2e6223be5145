//! What the core is made from: keys, store and port, at the start and after everything was erased.

use std::net::UdpSocket;
use std::path::PathBuf;

use anyhow::Context;
use kinlink_proto::engine::{Config, Cx, Engine};
use kinlink_proto::id::RunId;
use kinlink_proto::store::{Read as _, Store as _, Table};
use tokio::sync::mpsc;

use crate::clock::{entropy, now};
use crate::handed;
use crate::keys::Keys;
use crate::net::{Admission, Links, Net, NetError, NetEvent};
use crate::store::Db;

const WIPING: &[u8] = b"wiping";
const PORT: &[u8] = b"port";

/// What the core is made from.
#[derive(Debug)]
pub struct Setup {
    /// Where keys and store are.
    pub state_dir: PathBuf,
    /// The keys.
    pub keys: Keys,
    /// The store.
    pub db: Db,
    /// This device's name until its user gives it another.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// The UDP port to listen on; 0 takes the one of the last run, or a fresh one.
    pub port: u16,
    /// Whether to search the local network.
    pub discovery: bool,
    /// The most devices that this one links.
    pub devices: usize,
    /// The socket of the last run, if the service manager kept it.
    pub socket: Option<UdpSocket>,
}

/// Empties the store and makes fresh keys. A crash in between is finished at the next start: no empty store may be
/// left with an old, perhaps revoked, identity.
pub(super) fn wipe(setup: &mut Setup) -> anyhow::Result<()> {
    let mut txn = setup.db.begin()?;
    for table in Table::ALL {
        txn.clear(table)?;
    }
    txn.put(Table::Meta, WIPING, &[])?;
    txn.commit()?;
    setup.keys.reset(&setup.state_dir, &mut entropy()).context("no fresh keys can be made")?;
    let mut txn = setup.db.begin()?;
    txn.delete(Table::Meta, WIPING)?;
    Ok(txn.commit()?)
}

/// Finishes what a crash cut short.
pub(super) fn finish_wiping(setup: &mut Setup) -> anyhow::Result<()> {
    match setup.db.snapshot()?.get(Table::Meta, WIPING)? {
        Some(_) => wipe(setup),
        None => Ok(()),
    }
}

pub(super) fn remember_port(setup: &mut Setup) -> anyhow::Result<()> {
    let mut txn = setup.db.begin()?;
    txn.put(Table::Meta, PORT, &setup.port.to_be_bytes())?;
    Ok(txn.commit()?)
}

pub(super) fn remembered_port(db: &Db) -> anyhow::Result<u16> {
    let bytes = db.snapshot()?.get(Table::Meta, PORT)?;
    Ok(bytes.and_then(|bytes| <[u8; 2]>::try_from(bytes).ok()).map_or(0, u16::from_be_bytes))
}

/// Listens on `port`: on the socket of the last run, if it was kept and has that port. If the port is taken by now and
/// nobody insisted on it, on a fresh one.
pub(super) fn bind(
    setup: &mut Setup,
    port: u16,
    admission: &Admission,
    events: &mpsc::Sender<NetEvent>,
    links: &Links,
) -> anyhow::Result<Net> {
    let kept = setup.socket.take();
    let identity = &setup.keys.identity;
    match kept.map(|socket| (socket.local_addr().map(|address| address.port()).ok(), socket)) {
        Some((Some(had), socket)) if had == port => {
            return Ok(Net::listen(identity, socket, admission.clone(), events.clone(), links.clone())?);
        }
        // Of a store that is not there any more, or before another port was asked for.
        Some(_) => handed::let_go(),
        None => {}
    }
    match bind_on(setup, port, admission, events, links) {
        Err(error) if setup.port == 0 && port != 0 => {
            tracing::warn!(%error, "taking another port");
            Ok(bind_on(setup, 0, admission, events, links)?)
        }
        other => Ok(other?),
    }
}

pub(super) fn search(setup: &Setup, net: &Net) {
    if setup.discovery {
        net.start_discovery();
    }
}

pub(super) fn bind_on(
    setup: &Setup,
    port: u16,
    admission: &Admission,
    events: &mpsc::Sender<NetEvent>,
    links: &Links,
) -> Result<Net, NetError> {
    Net::bind(&setup.keys.identity, port, admission.clone(), events.clone(), links.clone())
}

pub(super) fn load(setup: &Setup, run: RunId) -> anyhow::Result<Engine> {
    let config = Config {
        identity: setup.keys.identity.clone(),
        store_key: setup.keys.store_key.clone(),
        run,
        name: setup.name.clone(),
        platform: setup.platform.clone(),
        devices: setup.devices,
    };
    let mut txn = setup.db.begin()?;
    let mut rng = entropy();
    let engine = Engine::load(config, &mut Cx { now: now(), entropy: &mut rng, store: &mut txn })?;
    txn.commit()?;
    Ok(engine)
}
