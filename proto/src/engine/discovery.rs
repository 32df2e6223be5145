//! Finding each other on the local network: what to announce and recognise, and whom to dial when somebody was heard.

use std::cmp::Reverse;

use super::Engine;
use super::io::Output;
use crate::discovery::{Key, Keys};
use crate::id::{DeviceId, EpochId};
use crate::limits;
use crate::roster::Status;
use crate::time::Mono;
use crate::wire::Address;

/// The epochs under which the shell was told to recognise, newest first; empty if it does neither that nor announces.
pub(super) type Told = Option<Vec<EpochId>>;

impl Engine {
    /// Tells the shell what to announce and recognise, if that is not what it was told before.
    pub(super) fn discover(&mut self) {
        let epochs = self.discovery_epochs();
        if self.discovery.as_ref() == Some(&epochs) {
            return;
        }
        let keys = self.discovery_keys(&epochs);
        self.discovery = Some(epochs);
        self.outputs.push_back(Output::Discover(keys));
    }

    /// The epochs held, newest first: the one to write under, then by depth, then those that count no more. None if
    /// there is nobody to find, or this device is not to be found: one that is out has no keys, and one that nobody
    /// who is in has confirmed would be told no more than that.
    fn discovery_epochs(&self) -> Vec<EpochId> {
        let standing = matches!(self.own_status(), Some(Status::Linked | Status::Suspended));
        if self.local.out || self.local.pending.is_some() || !standing || self.wanted_peers().is_empty() {
            return Vec::new();
        }
        let known = &self.roster.evaluation().epochs;
        let depth = |id: EpochId| known.iter().find(|epoch| epoch.id == id).map(|epoch| epoch.depth);
        let newest = self.held_write_epoch();
        let mut epochs: Vec<EpochId> = self.epochs().collect();
        epochs.sort_by_cached_key(|id| Reverse((Some(*id) == newest, depth(*id))));
        epochs
    }

    fn discovery_keys(&self, epochs: &[EpochId]) -> Option<Keys> {
        let account = self.account()?;
        let key = |epoch: &EpochId| self.keyring.secret(*epoch).map(|secret| Key::of_epoch(secret, account));
        let recognise: Vec<Key> = epochs.iter().filter_map(key).collect();
        let announce = recognise.first().cloned()?;
        Some(Keys { device: self.device(), announce, recognise })
    }

    /// A device announced itself: it is dialled there at once. Who repeats what was said before has to wait, as a
    /// recorded announcement can be repeated by anybody; and so has a revoked one whatever it says, as it may say
    /// something else each time for no good purpose.
    pub(super) fn heard(&mut self, now: Mono, device: DeviceId, mut addresses: Vec<Address>) {
        let revoked = self.is_untold(device);
        if !revoked && !self.wanted_peers().contains(&device) {
            return;
        }
        addresses.truncate(limits::ADDRESSES);
        let heard = &mut self.peers.entry(device).or_default().heard;
        let recent = heard.at.is_some_and(|at| at.after(limits::SIGHTING_AGAIN) > now);
        if recent && (revoked || heard.addresses == addresses) {
            // A dial that comes of itself goes where it was heard last.
            heard.addresses = addresses;
            return;
        }
        *heard = super::peers::Heard { addresses, at: Some(now) };
        if revoked {
            self.seek_again(device);
        }
        self.changed.view = true;
        self.dial_at_once(now, device);
    }
}
