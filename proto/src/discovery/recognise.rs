//! Telling announcements of one's own from everybody else's, at a bounded price.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Key;
use crate::id::DeviceId;
use crate::key::NONCE;
use crate::limits;
use crate::time::Mono;

/// A device that announced itself, and where, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub device: DeviceId,
    /// Where, best first. Link-local ones are meant for the interface on which they were heard.
    pub addresses: Vec<SocketAddr>,
}

/// Opens announcements, not more of them in a second than [`limits::OPENINGS`] tries with a key.
#[derive(Debug, Default)]
pub struct Recogniser {
    keys: Vec<Key>,
    /// Tries that were made since `since`.
    tried: usize,
    since: Mono,
    /// What was opened not long ago, by its nonce: whoever repeats it is not listened to again so soon.
    recent: VecDeque<([u8; NONCE], Mono)>,
}

impl Recogniser {
    /// Recognises what is sealed under one of `keys` from now on, the first ones first.
    pub fn learn(&mut self, keys: Vec<Key>) {
        self.keys = keys;
        self.recent.clear();
    }

    /// Who announced this, if it is somebody known who was not heard saying the same just now.
    pub fn recognise(&mut self, now: Mono, sealed: &[u8]) -> Option<Sighting> {
        let nonce = *sealed.first_chunk::<NONCE>()?;
        self.recent.retain(|(_, until)| *until > now);
        if self.recent.iter().any(|(heard, _)| *heard == nonce) {
            return None;
        }
        let sighting = self.open(now, sealed)?;
        self.recent.truncate(limits::SIGHTINGS - 1);
        self.recent.push_front((nonce, now.after(limits::SIGHTING_AGAIN)));
        Some(sighting)
    }

    fn open(&mut self, now: Mono, sealed: &[u8]) -> Option<Sighting> {
        if self.since.after(std::time::Duration::from_secs(1)) <= now {
            (self.since, self.tried) = (now, 0);
        }
        let affordable = self.keys.iter().take(limits::OPENINGS.saturating_sub(self.tried));
        let mut tries = 0;
        let found = affordable.inspect(|_| tries += 1).find_map(|key| key.open(sealed));
        self.tried += tries;
        found
    }
}
