//! As much of DNS messages (RFC 1035, RFC 6762) as finding each other takes. Everything that is read is bounded.

use std::net::IpAddr;

use crate::wire::{DecodeError, Reader, Writer};

/// Questions of one message that are looked at.
const QUESTIONS: usize = 32;
/// Records of one message that are looked at; ours have a dozen.
const RECORDS: usize = 64;
/// Bytes of a name on the wire, RFC 1035 section 2.3.4.
const NAME: usize = 255;
/// Labels and pointers of a name that are followed; ours have four.
const STEPS: usize = 32;

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;
pub(super) const ANY: u16 = 255;
const IN: u16 = 1;
/// In a record: what was known under this name before is void (RFC 6762 section 10.2). In a question: an answer by
/// unicast is welcome (section 5.4); it is answered by multicast all the same, as that section allows.
const TOP_BIT: u16 = 0x8000;
/// QR and AA.
const RESPONSE: u16 = 0x8400;

/// How long others may keep records that name a host, and the others: RFC 6762 section 10.
pub(super) const TTL_HOST: u32 = 120;
pub(super) const TTL_OTHER: u32 = 4500;

/// A domain name, in lower case: letters compare without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<Vec<u8>>);

impl Name {
    /// From its labels; an empty or long one is cut, as none of ours is.
    pub(super) fn new<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        Self(labels.into_iter().map(|label| label.bytes().take(63).collect()).collect())
    }

    /// This name below `label`.
    pub(super) fn below(&self, label: &str) -> Self {
        let mut labels = vec![label.bytes().take(63).collect()];
        labels.extend(self.0.iter().cloned());
        Self(labels)
    }

    /// Whether this is one label and then `parent`.
    pub(super) fn is_below(&self, parent: &Self) -> bool {
        self.0.split_first().is_some_and(|(_, rest)| rest == parent.0)
    }

    fn write(&self, w: &mut Writer) {
        self.0.iter().for_each(|label| w.v8(label));
        w.u8(0);
    }

    /// Reads the name at the reader's position in `message`. A pointer must lead backwards, so that reading ends.
    fn read<'a>(message: &'a [u8], r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut labels = Vec::new();
        let mut left = NAME;
        let mut lowest = r.position();
        let mut elsewhere: Option<Reader<'a>> = None;
        for _ in 0..STEPS {
            let r = elsewhere.as_mut().unwrap_or(&mut *r);
            match r.u8()? {
                0 => return Ok(Self(labels)),
                len @ 1..=63 => {
                    left = left.checked_sub(usize::from(len) + 1).ok_or(malformed("a name"))?;
                    labels.push(r.take(len.into())?.to_ascii_lowercase());
                }
                high @ 0xc0.. => {
                    let at = usize::from(high & 0x3f) << 8 | usize::from(r.u8()?);
                    if at >= lowest {
                        return Err(malformed("a pointer"));
                    }
                    lowest = at;
                    elsewhere = Some(reader_at(message, at)?);
                }
                _ => return Err(malformed("a label")),
            }
        }
        Err(malformed("a name"))
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
}

/// What somebody says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Pointer(Name),
    Text(Vec<u8>),
    Other,
}

/// One record of a message, of any of its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) ttl: u32,
    pub(super) said: Said,
}

/// A message, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) response: bool,
    pub(super) questions: Vec<Question>,
    pub(super) records: Vec<Record>,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// If it is not one, or asks for or reports something that Multicast DNS has no use for.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let (_id, flags) = (r.u16()?, r.u16()?);
        // RFC 6762 sections 18.3 and 18.11: other opcodes and response codes are ignored.
        if flags & 0x780f != 0 {
            return Err(malformed("an opcode"));
        }
        let counts = [r.u16()?, r.u16()?, r.u16()?, r.u16()?].map(usize::from);
        if counts[0] > QUESTIONS {
            return Err(malformed("so many questions"));
        }
        let questions = (0..counts[0]).map(|_| question(bytes, &mut r)).collect::<Result<_, _>>()?;
        let records = counts[1..].iter().sum::<usize>().min(RECORDS);
        let records = (0..records).map(|_| record(bytes, &mut r)).collect::<Result<_, _>>()?;
        Ok(Self { response: flags & 0x8000 != 0, questions, records })
    }
}

fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Invalid(what)
}

fn reader_at(message: &[u8], at: usize) -> Result<Reader<'_>, DecodeError> {
    let mut r = Reader::new(message);
    r.take(at)?;
    Ok(r)
}

fn question<'a>(message: &'a [u8], r: &mut Reader<'a>) -> Result<Question, DecodeError> {
    let name = Name::read(message, r)?;
    let (kind, _class) = (r.u16()?, r.u16()?);
    Ok(Question { name, kind })
}

fn record<'a>(message: &'a [u8], r: &mut Reader<'a>) -> Result<Record, DecodeError> {
    let name = Name::read(message, r)?;
    let (kind, class, ttl, len) = (r.u16()?, r.u16()?, r.u32()?, r.u16()?);
    let start = r.position();
    let data = r.take(len.into())?;
    let said = match kind {
        _ if class & !TOP_BIT != IN => Said::Other,
        PTR => Said::Pointer(Name::read(message, &mut reader_at(message, start)?)?),
        TXT => Said::Text(data.to_vec()),
        _ => Said::Other,
    };
    Ok(Record { name, ttl, said })
}

/// The strings of a TXT record, RFC 6763 section 6.1.
pub(super) fn strings(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut r = Reader::new(text);
    std::iter::from_fn(move || r.v8().ok())
}

/// A query for all pointers under `name`.
pub(super) fn query(name: &Name) -> Vec<u8> {
    let mut w = header(0, 1, 0);
    name.write(&mut w);
    w.u16(PTR);
    w.u16(IN);
    w.finish()
}

/// A response that is being written.
pub(super) struct Response {
    records: Writer,
    count: u16,
    /// Everything that it says is taken back.
    goodbye: bool,
}

impl Response {
    pub(super) fn new(goodbye: bool) -> Self {
        Self { records: Writer::new(), count: 0, goodbye }
    }

    pub(super) fn pointer(&mut self, name: &Name, to: &Name) {
        self.record(name, PTR, IN, TTL_OTHER, |w| to.write(w));
    }

    pub(super) fn service(&mut self, name: &Name, host: &Name) {
        // Priority and weight, and the port: what listens where is said under seal.
        self.record(name, SRV, IN | TOP_BIT, TTL_HOST, |w| {
            w.raw(&[0; 6]);
            host.write(w);
        });
    }

    pub(super) fn text(&mut self, name: &Name, text: &[u8]) {
        self.record(name, TXT, IN | TOP_BIT, TTL_OTHER, |w| w.raw(text));
    }

    pub(super) fn address(&mut self, name: &Name, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.record(name, A, IN | TOP_BIT, TTL_HOST, |w| w.raw(&ip.octets())),
            IpAddr::V6(ip) => self.record(name, AAAA, IN | TOP_BIT, TTL_HOST, |w| w.raw(&ip.octets())),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut w = header(RESPONSE, 0, self.count);
        w.raw(&self.records.finish());
        w.finish()
    }

    fn record(&mut self, name: &Name, kind: u16, class: u16, ttl: u32, data: impl FnOnce(&mut Writer)) {
        let w = &mut self.records;
        name.write(w);
        w.u16(kind);
        w.u16(class);
        w.u32(if self.goodbye { 0 } else { ttl });
        let mut inner = Writer::new();
        data(&mut inner);
        w.v16(inner.written());
        self.count += 1;
    }
}

fn header(flags: u16, questions: u16, answers: u16) -> Writer {
    let mut w = Writer::new();
    [0, flags, questions, answers, 0, 0].into_iter().for_each(|field| w.u16(field));
    w
}
