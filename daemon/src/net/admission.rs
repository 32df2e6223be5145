//! Who may connect on `kinlink/1`, and what opens what they bring.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::roster::keyring::Keyring;

/// Addresses that are remembered: two for each device of the largest account.
const REMEMBERED: usize = 2 * limits::DEVICES_MAX;

/// The keys that may connect at this moment, the secrets that open what arrives, and the addresses that worked before. Shared between the task
/// that owns the roster and the TLS verifiers; cheap to clone. The lock is held for one look-up, never across an await.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    devices: BTreeSet<DeviceId>,
    keyring: Arc<Keyring>,
    /// The newest last.
    addresses: VecDeque<IpAddr>,
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

    /// Replaces what opens operations.
    pub fn give(&self, keyring: Keyring) {
        self.write(|state| state.keyring = Arc::new(keyring));
    }

    /// What opens operations at this moment; not to be kept.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.read(|state| state.keyring.clone())
    }

    /// Remembers an address at which a key that may connect was met: room is kept for it when strangers flood the port.
    pub(super) fn remember(&self, address: IpAddr) {
        let address = address.to_canonical();
        self.write(|state| {
            state.addresses.retain(|known| *known != address);
            state.addresses.push_back(address);
            let surplus = state.addresses.len().saturating_sub(REMEMBERED);
            state.addresses.drain(..surplus);
        });
    }

    /// Whether this key may connect now.
    #[must_use]
    pub fn allows(&self, device: &DeviceId) -> bool {
        self.read(|state| state.devices.contains(device))
    }

    /// Whether an unknown key may introduce itself: where there is nobody who may connect there is no account.
    pub(super) fn hears_strangers(&self) -> bool {
        self.read(|state| !state.devices.is_empty())
    }

    /// Whether this address worked before.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.read(|state| state.addresses.contains(&address.to_canonical()))
    }

    // A panic between two changes of a write cannot happen, so poisoning leaves nothing half-written.
    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_newest_addresses_are_remembered() {
        let admission = Admission::new();
        let ip = |n: usize| IpAddr::from(Ipv4Addr::from_bits(u32::try_from(n).unwrap()));
        (0..REMEMBERED).for_each(|n| admission.remember(ip(n)));
        admission.remember(ip(0));
        admission.remember(ip(REMEMBERED));
        assert!(admission.knows(ip(0)) && admission.knows(ip(REMEMBERED)) && !admission.knows(ip(1)));
    }
}
