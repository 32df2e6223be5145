//! Who may connect on `kinlink/1`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use kinlink_proto::id::DeviceId;

/// The keys that may connect at this moment, and the addresses that worked before. Shared between the task
/// that owns the roster and the TLS verifiers; cheap to clone. The lock is held for one look-up, never across an await.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    devices: BTreeSet<DeviceId>,
    addresses: BTreeSet<IpAddr>,
}

impl Admission {
    /// Nobody, until [`Self::admit`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the keys: those that are linked, and those that were revoked and are still to be told.
    pub fn admit(&self, devices: impl IntoIterator<Item = DeviceId>) {
        self.write(|state| state.devices = devices.into_iter().collect());
    }

    /// Replaces the addresses that worked before: room is kept for them when strangers flood the port.
    pub fn remember(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.write(|state| state.addresses = addresses.into_iter().map(|ip| ip.to_canonical()).collect());
    }

    /// Whether this key may connect now.
    #[must_use]
    pub fn allows(&self, device: &DeviceId) -> bool {
        self.read(|state| state.devices.contains(device))
    }

    /// Whether this address worked before.
    #[must_use]
    pub fn knows(&self, address: IpAddr) -> bool {
        self.read(|state| state.addresses.contains(&address.to_canonical()))
    }

    // Poisoning cannot leave the sets half-written: each is replaced whole.
    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
