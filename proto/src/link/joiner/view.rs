//! What goes into the joiner and what comes out of it.

use crate::id::{AccountId, DeviceId};
use crate::link::message::Offer;
use crate::names;
use crate::roster::{Custody, Role};
use crate::wire::address::Address;
use crate::wire::frame::CloseCode;

/// What a shower offers, its signature verified. The roster in it is not: that is the engine's to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferView {
    /// The account to join.
    pub account: AccountId,
    /// Its label, cleaned for showing.
    pub label: String,
    /// The shower's name, chosen by itself, cleaned.
    pub name: String,
    /// The shower's platform, cleaned.
    pub platform: String,
    /// As what.
    pub role: Role,
    /// In whose custody.
    pub custody: Custody,
    /// Seconds without an owner after which this device would lock; 0 is the default.
    pub lease: u32,
    /// The roster as it came, parents first.
    pub statements: Vec<Vec<u8>>,
    /// Where the shower can be reached later.
    pub addresses: Vec<Address>,
}

/// How this device describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptParams {
    /// Its name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// The device that this machine was before.
    pub replaces: Option<DeviceId>,
}

/// How an attempt came to its good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkedOutcome {
    /// As wished.
    Linked,
    /// This side had cancelled, too late: the link is real and has to be revoked.
    AfterCancel,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinerStage {
    /// On the way to the shower.
    Dialling,
    /// The claim is out.
    Claimed,
    /// The account is known; the user is asked.
    Offered,
    /// The code is shown.
    Code,
    /// The code was typed wrongly; the next one is being agreed on.
    Retrying,
    /// Cancelled here; the shower has not said yet whether it had linked before.
    Cancelling,
    /// Linked.
    Linked,
    /// Over.
    Ended(CloseCode),
}

impl From<&Offer> for OfferView {
    fn from(offer: &Offer) -> Self {
        Self {
            account: offer.account,
            label: names::clean(&offer.label),
            name: names::clean(&offer.name),
            platform: names::clean(&offer.platform),
            role: offer.role,
            custody: offer.custody,
            lease: offer.lease,
            statements: offer.statements.clone(),
            addresses: offer.addresses.clone(),
        }
    }
}
