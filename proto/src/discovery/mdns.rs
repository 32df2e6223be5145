//! Multicast DNS on all interfaces: what to announce, answer and ask, and when.
//!
//! It keeps nothing of what others say, so nobody can fill it: an announcement that was heard goes out at once. It
//! announces three times, as packets get lost, and then answers those who ask; it asks at growing intervals. Names are
//! drawn from 128 random bits, so they are not probed for (RFC 6762 section 8.1).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;

use super::Kind;
use super::dns::{self, Message, Name, Question, Record, Response, Said};
use crate::key::{self, Entropy};
use crate::limits;
use crate::time::Mono;

/// What stands in front of the sealed text in its string of the TXT record.
const SEALED: &[u8] = b"s=";
/// The first string: the version of the second.
const VERSION: &[u8] = b"v=1";
/// When an announcement is repeated (RFC 6762 section 8.3).
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// The least time between two answers on one interface, RFC 6762 section 6.
const BETWEEN: Duration = Duration::from_secs(1);
/// The first wait between two queries, which doubles, and the longest: RFC 6762 section 5.2.
const ASK_MIN: Duration = Duration::from_secs(1);
const ASK_MAX: Duration = Duration::from_secs(3600);
/// Announcements taken from one message; others say one thing at a time.
const HEARD: usize = 16;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message to the group on an interface.
    Send {
        /// Its index.
        interface: u32,
        /// At most 1,232 bytes: with its headers it fits the smallest IPv6 packet.
        packet: Vec<u8>,
    },
    /// Somebody announced something that is looked for. What it is worth is up to [`super::Recogniser`].
    Heard {
        /// What.
        kind: Kind,
        /// On which interface.
        interface: u32,
        /// The sealed text.
        sealed: Vec<u8>,
    },
}

/// The state machine. Facts go in, [`Mdns::poll`] says what to do until it says nothing, [`Mdns::tick`] is due at
/// [`Mdns::deadline`].
#[derive(Debug, Default)]
pub struct Mdns {
    interfaces: BTreeMap<u32, Interface>,
    services: BTreeMap<Kind, Service>,
    searches: BTreeMap<Kind, Search>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Interface {
    addresses: Vec<IpAddr>,
    /// When to answer who asked.
    due: BTreeMap<Kind, Mono>,
    /// Until when another answer has to wait.
    quiet: BTreeMap<Kind, Mono>,
}

/// What this device announces.
#[derive(Debug)]
struct Service {
    instance: Name,
    host: Name,
    text: Vec<u8>,
    /// When to announce it once more, and how often that was done.
    again: Option<Mono>,
    repeated: usize,
}

/// What this device looks for.
#[derive(Debug)]
struct Search {
    next: Mono,
    wait: Duration,
}

impl Mdns {
    /// The interfaces to work on, and their addresses. Whoever is there on a new one is asked for at once.
    pub fn interfaces(&mut self, now: Mono, interfaces: BTreeMap<u32, Vec<IpAddr>>) {
        let known = |(index, addresses)| (index, Interface { addresses, ..Interface::default() });
        self.interfaces = interfaces.into_iter().map(known).collect();
        for search in self.searches.values_mut() {
            *search = Search { next: now, wait: ASK_MIN };
        }
    }

    /// Announces `sealed` from now on, under fresh names, and takes back what was announced before; or no more.
    pub fn serve(&mut self, now: Mono, kind: Kind, sealed: Option<&[u8]>, entropy: Entropy<'_>) {
        if let Some(old) = self.services.remove(&kind) {
            self.say_on_all(kind, &old, true);
        }
        let Some(sealed) = sealed else { return };
        let service = Service::new(kind, sealed, entropy);
        self.say_on_all(kind, &service, false);
        self.services.insert(kind, Service { again: Some(now.after(AGAIN[0])), ..service });
    }

    /// Looks for announcements, or no more.
    pub fn search(&mut self, now: Mono, kind: Kind, wanted: bool, entropy: Entropy<'_>) {
        if wanted {
            let new = || Search { next: now.after(delay(entropy)), wait: ASK_MIN };
            self.searches.entry(kind).or_insert_with(new);
        } else {
            self.searches.remove(&kind);
        }
    }

    /// A message came in on an interface. What is not understood is passed over.
    pub fn received(&mut self, now: Mono, interface: u32, packet: &[u8], entropy: Entropy<'_>) {
        let Ok(message) = Message::read(packet) else { return };
        if !self.interfaces.contains_key(&interface) {
            return;
        }
        if message.response {
            self.heard(interface, &message.records);
        } else {
            self.asked(now, interface, &message, entropy);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Mono) {
        self.answer(now);
        self.repeat(now);
        self.ask(now);
    }

    /// When [`Mdns::tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let answers = self.interfaces.values().flat_map(|interface| interface.due.values().copied());
        let repeats = self.services.values().filter_map(|service| service.again);
        answers.chain(repeats).chain(self.searches.values().map(|search| search.next)).min()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn heard(&mut self, interface: u32, records: &[Record]) {
        for kind in Kind::ALL.into_iter().filter(|kind| self.searches.contains_key(kind)) {
            let ours = self.services.get(&kind).map(|service| &service.instance);
            let texts = records.iter().filter(|record| record.name.is_below(&service_type(kind)) && record.ttl > 0);
            let others = texts.filter(|record| Some(&record.name) != ours);
            let sealed = others.filter_map(|record| match &record.said {
                Said::Text(text) => sealed(text),
                _ => None,
            });
            let heard = sealed.take(HEARD).map(|sealed| Output::Heard { kind, interface, sealed });
            self.outputs.extend(heard);
        }
    }

    fn asked(&mut self, now: Mono, interface: u32, message: &Message, entropy: Entropy<'_>) {
        let Some(on) = self.interfaces.get_mut(&interface) else { return };
        for (kind, service) in &self.services {
            let asked = message.questions.iter().any(|question| service.is_asked_for(*kind, question));
            if !asked || service.is_known(*kind, &message.records) || on.due.contains_key(kind) {
                continue;
            }
            let quiet = on.quiet.get(kind).copied().unwrap_or_default();
            on.due.insert(*kind, now.after(delay(entropy)).max(quiet));
        }
    }

    fn answer(&mut self, now: Mono) {
        for (index, interface) in &mut self.interfaces {
            for kind in Kind::ALL {
                if interface.due.get(&kind).is_none_or(|due| *due > now) {
                    continue;
                }
                interface.due.remove(&kind);
                interface.quiet.insert(kind, now.after(BETWEEN));
                if let Some(service) = self.services.get(&kind) {
                    let packet = service.response(kind, &interface.addresses, false);
                    self.outputs.push_back(Output::Send { interface: *index, packet });
                }
            }
        }
    }

    fn repeat(&mut self, now: Mono) {
        for kind in Kind::ALL {
            let Some(mut service) = self.services.remove(&kind) else { continue };
            if service.again.is_some_and(|due| due <= now) {
                self.say_on_all(kind, &service, false);
                service.repeated += 1;
                service.again = AGAIN.get(service.repeated).map(|wait| now.after(*wait));
            }
            self.services.insert(kind, service);
        }
    }

    fn ask(&mut self, now: Mono) {
        for (kind, search) in self.searches.iter_mut().filter(|(_, search)| search.next <= now) {
            let packet = dns::query(&service_type(*kind));
            let all = self.interfaces.keys().map(|index| Output::Send { interface: *index, packet: packet.clone() });
            self.outputs.extend(all);
            search.next = now.after(search.wait);
            search.wait = (search.wait * 2).min(ASK_MAX);
        }
    }

    fn say_on_all(&mut self, kind: Kind, service: &Service, goodbye: bool) {
        for (index, interface) in &self.interfaces {
            let packet = service.response(kind, &interface.addresses, goodbye);
            self.outputs.push_back(Output::Send { interface: *index, packet });
        }
    }
}

impl Service {
    fn new(kind: Kind, sealed: &[u8], entropy: Entropy<'_>) -> Self {
        let mut text = Vec::new();
        for string in [VERSION, &[SEALED, sealed].concat()] {
            // A sealed text of SEALED bytes fits a string; a longer one, which there is not, would say nothing.
            text.push(u8::try_from(string.len()).unwrap_or(0));
            text.extend_from_slice(string);
        }
        let instance = service_type(kind).below(&random_label(&mut *entropy));
        let host = Name::new([random_label(entropy).as_str(), "local"]);
        Self { instance, host, text, again: None, repeated: 0 }
    }

    fn response(&self, kind: Kind, addresses: &[IpAddr], goodbye: bool) -> Vec<u8> {
        let mut response = Response::new(goodbye);
        response.pointer(&service_type(kind), &self.instance);
        response.service(&self.instance, &self.host);
        response.text(&self.instance, &self.text);
        let addresses = addresses.iter().take(limits::ADDRESSES);
        addresses.for_each(|ip| response.address(&self.host, *ip));
        response.finish()
    }

    fn is_asked_for(&self, kind: Kind, question: &Question) -> bool {
        let kinds: &[u16] = match &question.name {
            name if *name == service_type(kind) => &[dns::PTR, dns::ANY],
            name if *name == self.instance => &[dns::SRV, dns::TXT, dns::ANY],
            name if *name == self.host => &[dns::A, dns::AAAA, dns::ANY],
            _ => &[],
        };
        kinds.contains(&question.kind)
    }

    /// Whether who asks knows this one already (RFC 6762 section 7.1).
    fn is_known(&self, kind: Kind, records: &[Record]) -> bool {
        let known = |record: &Record| record.name == service_type(kind) && record.ttl >= dns::TTL_OTHER / 2;
        let this = |record: &Record| matches!(&record.said, Said::Pointer(to) if *to == self.instance);
        records.iter().any(|record| known(record) && this(record))
    }
}

fn service_type(kind: Kind) -> Name {
    Name::new([kind.label(), "_udp", "local"])
}

/// The sealed text in a TXT record, if it is one of this version.
fn sealed(text: &[u8]) -> Option<Vec<u8>> {
    let mut strings = dns::strings(text);
    if strings.next() != Some(VERSION) {
        return None;
    }
    let sealed = strings.next()?.strip_prefix(SEALED)?;
    (sealed.len() == super::SEALED).then(|| sealed.to_vec())
}

/// 128 random bits, as a label.
fn random_label(entropy: Entropy<'_>) -> String {
    BASE32_NOPAD.encode(&key::random::<16>(entropy)).to_ascii_lowercase()
}

/// 20 to 120 ms, so that not all speak at once: RFC 6762 section 6.
fn delay(entropy: Entropy<'_>) -> Duration {
    let [random] = key::random(entropy);
    Duration::from_millis(20 + u64::from(random) * 100 / 255)
}
