//! `org.kinlink.Kinlink1.Pairing`: the objects at `/pairing/N`, each there for its owner only.

use kinlink_proto::dbus::{Error as Name, PAIRING};
use kinlink_proto::engine::command::{Caller, Command, OldSessions, PairingId, Reply, SessionFilter};
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::view::{Direction, PairingState, PairingView};
use kinlink_proto::id::DeviceId;
use zbus::Message;

use super::call::{Call, unexpected};
use super::contract::{Interface, Method, OPTIONS, changing, constant};
use super::error::Failure;
use super::objects::{Object, Values, shown, text};
use super::options::{Options, bounded};
use super::{limits, pin, signals};
use crate::handle::Core;

pub(super) static INTERFACE: Interface = Interface {
    name: PAIRING,
    methods: &[
        Method { name: "Confirm", takes: &[("code", "s"), OPTIONS], gives: &[] },
        Method { name: "Accept", takes: &[OPTIONS], gives: &[] },
        Method { name: "Code", takes: &[OPTIONS], gives: &[("code", "s")] },
        Method { name: "Reject", takes: &[OPTIONS], gives: &[] },
        Method { name: "Cancel", takes: &[OPTIONS], gives: &[] },
    ],
    signals: &[],
    properties: &[
        constant("Direction", "s"),
        changing("State", "s"),
        changing("PeerName", "s"),
        changing("PeerPlatform", "s"),
        changing("PeerAddress", "s"),
        changing("PeerFingerprint", "s"),
        changing("PeerId", "s"),
        changing("AccountLabel", "s"),
        changing("Account", "s"),
        changing("Role", "s"),
        changing("Custody", "s"),
        changing("Expires", "t"),
        changing("TriesLeft", "u"),
        changing("Error", "s"),
        changing("ErrorMessage", "s"),
        changing("Device", "o"),
    ],
};

/// The properties of a pairing. `this` is this device, which is what a join links.
pub(super) fn values(view: &PairingView, this: DeviceId) -> Values {
    let failure = view.error.as_ref();
    vec![
        ("Direction", direction(view.direction).into()),
        ("State", state(view.state).into()),
        ("PeerName", text(view.peer_name.as_str()).into()),
        ("PeerPlatform", text(view.peer_platform.as_str()).into()),
        ("PeerAddress", shown(view.peer_address.as_ref()).into()),
        ("PeerFingerprint", view.peer.map(|peer| peer.fingerprint()).unwrap_or_default().into()),
        ("PeerId", shown(view.peer.as_ref()).into()),
        ("AccountLabel", text(view.label.as_str()).into()),
        ("Account", shown(view.account.as_ref()).into()),
        ("Role", view.role.to_string().into()),
        ("Custody", view.custody.to_string().into()),
        ("Expires", view.expires.0.into()),
        ("TriesLeft", u32::from(view.tries_left).into()),
        ("Error", failure.map(|error| error.kind.name()).unwrap_or_default().into()),
        ("ErrorMessage", text(failure.map(|error| error.message.as_str()).unwrap_or_default()).into()),
        ("Device", linked(view, this).object_path().into()),
    ]
}

/// The device that was linked, once it is; the root until then.
fn linked(view: &PairingView, this: DeviceId) -> Object {
    match (view.state, view.direction, view.peer) {
        (PairingState::Linked, Direction::Show, Some(peer)) => Object::Device(peer),
        (PairingState::Linked, Direction::Join, _) => Object::Device(this),
        _ => Object::Root,
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Show => "show",
        Direction::Join => "join",
    }
}

fn state(state: PairingState) -> &'static str {
    match state {
        PairingState::Waiting => "waiting",
        PairingState::Claimed => "claimed",
        PairingState::Code => "code",
        PairingState::Dialling => "dialling",
        PairingState::Offered => "offered",
        PairingState::Accepted => "accepted",
        PairingState::Linked => "linked",
        PairingState::Failed => "failed",
        PairingState::Cancelled => "cancelled",
    }
}

/// The properties of a pairing of the caller. One that is over and forgotten is read as it was last seen.
pub(super) async fn read(call: &Call<'_>, pairing: PairingId) -> Result<Values, Failure> {
    let this = call.hub.core.view().borrow().status.device;
    let failure = match call.order(Command::Pairing(pairing)).await {
        Ok(Reply::Pairing(view)) => return Ok(values(&view, this)),
        Ok(other) => return Err(unexpected(&other)),
        Err(failure) => failure,
    };
    call.hub.settle().await;
    let kept = call.hub.kept(call.client.id).into_iter().find(|(kept, _)| *kept == pairing);
    kept.map(|(_, view)| values(&view, this)).ok_or(failure)
}

/// Notes a pairing that the caller has just opened: it is among the managed objects from the first instant.
pub(super) async fn opened(call: &Call<'_>, pairing: PairingId) {
    let this = call.hub.core.view().borrow().status.device;
    if let Ok(Reply::Pairing(view)) = call.order(Command::Pairing(pairing)).await {
        let values = values(&view, this);
        if call.hub.keep_first(pairing, call.client.id, view) {
            signals::tell_added(call.client, Object::Pairing(pairing), values).await;
        }
    }
}

/// Answers a call of `method`, one of the table's.
pub(super) async fn call(call: &Call<'_>, pairing: PairingId, method: &'static str) -> Result<Message, Failure> {
    match method {
        "Confirm" => {
            let (code, options) = call.args::<(String, _)>()?;
            let mut options = Options(options);
            let given = options.file("pin")?;
            options.finish()?;
            bounded("code", &code, limits::CODE)?;
            pin::order(call, given, "link", Command::ConfirmCode { pairing, code }).await?;
            call.reply(&())
        }
        "Accept" => {
            let mut options = Options(call.args()?);
            let sessions = options.text("sessions", limits::CODE)?;
            options.finish()?;
            let sessions = old_sessions(&call.hub.core, call.client.caller(), sessions.as_deref()).await?;
            call.done(Command::AcceptOffer { pairing, sessions }).await
        }
        "Code" => {
            Options(call.args()?).finish()?;
            match call.order(Command::Code(pairing)).await? {
                Reply::Code(code) => call.reply(&code),
                other => Err(unexpected(&other)),
            }
        }
        "Reject" | "Cancel" => cancel(call, pairing).await,
        other => Err(Failure::internal(format!("{other} is listed and not answered"))),
    }
}

/// What becomes of sessions made before. It need not be said where there are none.
pub(super) async fn old_sessions(core: &Core, caller: Caller, said: Option<&str>) -> Result<OldSessions, CommandError> {
    let invalid = |message| Err(CommandError::new(Name::InvalidArgument, message));
    match said {
        Some("bring") => return Ok(OldSessions::Bring),
        Some("discard") => return Ok(OldSessions::Discard),
        Some(_) => return invalid("sessions: bring or discard"),
        None => {}
    }
    match core.command(caller, Command::Sessions(SessionFilter { limit: 1, ..SessionFilter::default() })).await? {
        Reply::Sessions(found, _) if found.is_empty() => Ok(OldSessions::Bring),
        _ => invalid(
            "there are sessions on this device: say with the option 'sessions' whether to bring or to discard them",
        ),
    }
}

/// To end what has ended already is no error.
async fn cancel(call: &Call<'_>, pairing: PairingId) -> Result<Message, Failure> {
    Options(call.args()?).finish()?;
    let refused = match call.done(Command::CancelPairing(pairing)).await {
        Ok(reply) => return Ok(reply),
        Err(refused) => refused,
    };
    call.hub.settle().await;
    let ended = call.hub.kept(call.client.id).iter().any(|(kept, view)| *kept == pairing && is_over(view.state));
    if ended { call.reply(&()) } else { Err(refused) }
}

fn is_over(state: PairingState) -> bool {
    matches!(state, PairingState::Linked | PairingState::Failed | PairingState::Cancelled)
}
