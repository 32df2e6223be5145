//! Bytes: the codec, envelopes, addresses, frames and the challenge.

pub mod address;
pub mod challenge;
pub mod codec;
pub mod frame;
pub mod message;
pub mod object;

pub use address::Address;
pub use codec::{Decode, DecodeError, Encode, Reader, Writer};
