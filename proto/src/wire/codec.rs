//! The codec of PROTOCOL.md section 1: fixed-width big-endian integers, counted strings and lists,
//! no padding, one encoding for each value, nothing behind the end.

use bytes::Bytes;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("truncated: {0} more bytes were announced than there are")]
    Truncated(usize),
    /// Something stands behind the end.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// A list or string is longer than its limit.
    #[error("{what}: {len} is over the limit of {max}")]
    TooLarge {
        /// Which field.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A value that the format does not have.
    #[error("{0} has a value that is not allowed")]
    Invalid(&'static str),
    /// A list that must be strictly ascending is not.
    #[error("{0} is not sorted")]
    Unsorted(&'static str),
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
    /// An unknown format, suite, type or extension that must be understood: an update is needed.
    #[error("made by a newer version: unknown {what} {value:#06x}")]
    Newer {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// A signature or key does not verify.
    #[error("{0}: the signature does not verify")]
    Signature(&'static str),
}

/// Writes values one behind the other.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// What was written so far.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.0
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.0.push(v);
    }

    /// Two bytes.
    pub fn u16(&mut self, v: u16) {
        self.raw(&v.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, v: u32) {
        self.raw(&v.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, v: u64) {
        self.raw(&v.to_be_bytes());
    }

    /// As few bytes as it takes, 7 bits in each (LEB128). Only for what stays on this device: others could write it otherwise.
    pub fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.u8((v & 0x7f) as u8 | 0x80);
            v >>= 7;
        }
        self.u8(v as u8);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes behind a length of 8 bits. Longer input is cut: callers bound it before.
    pub fn v8(&mut self, bytes: &[u8]) {
        let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        self.u8(len);
        self.raw(&bytes[..usize::from(len)]);
    }

    /// Bytes behind a length of 16 bits. Longer input is cut: callers bound it before.
    pub fn v16(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(len);
        self.raw(&bytes[..usize::from(len)]);
    }

    /// Bytes behind a length of 32 bits. Longer input is cut: callers bound it before.
    pub fn v32(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(len);
        self.raw(&bytes[..len as usize]);
    }

    /// Text behind a length of 8 bits, cut at a character boundary if it is longer than 255 bytes.
    pub fn t8(&mut self, text: &str) {
        self.v8(cut(text, usize::from(u8::MAX)).as_bytes());
    }

    /// Text behind a length of 16 bits, cut at a character boundary.
    pub fn t16(&mut self, text: &str) {
        self.v16(cut(text, usize::from(u16::MAX)).as_bytes());
    }

    /// A list behind a count of 8 bits. Callers bound it; more than 255 are cut.
    pub fn n8<T: Encode>(&mut self, items: &[T]) {
        let count = u8::try_from(items.len()).unwrap_or(u8::MAX);
        self.u8(count);
        items.iter().take(usize::from(count)).for_each(|item| item.encode(self));
    }

    /// A list behind a count of 16 bits. Callers bound it; more than 65535 are cut.
    pub fn n16<T: Encode>(&mut self, items: &[T]) {
        let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
        self.u16(count);
        items.iter().take(usize::from(count)).for_each(|item| item.encode(self));
    }
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Reads values one behind the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
    /// What `all` is, if parts of it may be shared.
    buffer: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// From the first of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, at: 0, buffer: None }
    }

    /// From the first byte of `buffer`, whose parts [`Self::share`] gives without copying them.
    #[must_use]
    pub fn sharing(buffer: &'a Bytes) -> Self {
        Self { all: buffer, at: 0, buffer: Some(buffer) }
    }

    /// What was read since `start`, to be kept: a part of the buffer if there is one, or else a copy.
    #[must_use]
    pub fn share(&self, start: usize) -> Bytes {
        let start = start.min(self.at);
        match self.buffer {
            Some(buffer) => buffer.slice(start..self.at),
            None => Bytes::copy_from_slice(&self.all[start..self.at]),
        }
    }

    /// How many bytes were read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.all.len() - self.at
    }

    /// What was read since `start`, for signatures over "all before".
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.all[start.min(self.at)..self.at]
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.all[self.at..];
        let taken = rest.get(..len).ok_or_else(|| DecodeError::Truncated(len - rest.len()))?;
        self.at += len;
        Ok(taken)
    }

    /// A fixed number of bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    ///
    /// # Errors
    /// If none is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Two bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// What [`Writer::varint`] wrote.
    ///
    /// # Errors
    /// If it does not end, or is over 64 bits.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut v = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            v |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(v);
            }
        }
        Err(DecodeError::Invalid("number"))
    }

    /// Bytes behind a length of 8 bits.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn v8(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// Bytes behind a length of 16 bits.
    ///
    /// # Errors
    /// If they are longer than `max`, or fewer are left.
    pub fn v16(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u16()?);
        self.bounded(what, len, max)
    }

    /// Bytes behind a length of 32 bits.
    ///
    /// # Errors
    /// If they are longer than `max`, or fewer are left.
    pub fn v32(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()? as usize;
        self.bounded(what, len, max)
    }

    /// Text behind a length of 8 bits.
    ///
    /// # Errors
    /// If it is not UTF-8 or fewer bytes are left.
    pub fn t8(&mut self) -> Result<String, DecodeError> {
        text(self.v8()?)
    }

    /// Text behind a length of 16 bits.
    ///
    /// # Errors
    /// If it is not UTF-8, longer than `max` bytes, or fewer are left.
    pub fn t16(&mut self, what: &'static str, max: usize) -> Result<String, DecodeError> {
        text(self.v16(what, max)?)
    }

    /// A list behind a count of 8 bits.
    ///
    /// # Errors
    /// If it has more than `max` items, or one of them is malformed.
    pub fn n8<T: Decode>(&mut self, what: &'static str, max: usize) -> Result<Vec<T>, DecodeError> {
        let count = usize::from(self.u8()?);
        self.list(what, count, max)
    }

    /// A list behind a count of 16 bits.
    ///
    /// # Errors
    /// If it has more than `max` items, or one of them is malformed.
    pub fn n16<T: Decode>(&mut self, what: &'static str, max: usize) -> Result<Vec<T>, DecodeError> {
        let count = usize::from(self.u16()?);
        self.list(what, count, max)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If something is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn bounded(&mut self, what: &'static str, len: usize, max: usize) -> Result<&'a [u8], DecodeError> {
        if len > max {
            return Err(DecodeError::TooLarge { what, len, max });
        }
        self.take(len)
    }

    fn list<T: Decode>(&mut self, what: &'static str, count: usize, max: usize) -> Result<Vec<T>, DecodeError> {
        if count > max {
            return Err(DecodeError::TooLarge { what, len: count, max });
        }
        // No allocation by announced size: a short input must not reserve memory.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Text)
}

/// Refuses a list that is not strictly ascending by `key`.
///
/// # Errors
/// Names `what`.
pub fn sorted<T, K: Ord>(what: &'static str, items: &[T], key: impl Fn(&T) -> K) -> Result<(), DecodeError> {
    if items.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])) { Ok(()) } else { Err(DecodeError::Unsorted(what)) }
}

/// What can be written.
pub trait Encode {
    /// Appends this value to `w`.
    fn encode(&self, w: &mut Writer);

    /// This value alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.encode(&mut w);
        w.finish()
    }
}

/// What can be read.
pub trait Decode: Sized {
    /// Reads one value.
    ///
    /// # Errors
    /// If the bytes are not one.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one value that ends where `bytes` end.
    ///
    /// # Errors
    /// If the bytes are not one, or something stands behind it.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }

    /// As [`Self::from_bytes`]; what the value keeps may be parts of `buffer`.
    ///
    /// # Errors
    /// As [`Self::from_bytes`].
    fn from_buffer(buffer: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::sharing(buffer);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

/// A `v32` of at most [`crate::limits::FRAME_SHOWER`] bytes as a list item: an object carried unread.
impl Encode for Bytes {
    fn encode(&self, w: &mut Writer) {
        w.v32(self);
    }
}

impl Decode for Bytes {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = r.v32("object", crate::limits::FRAME_SHOWER)?.len();
        Ok(r.share(r.position() - len))
    }
}
