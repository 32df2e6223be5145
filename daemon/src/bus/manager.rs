//! `org.kinlink.Kinlink1.Manager`: the root object.

use std::time::Duration;

use kinlink_proto::dbus::{Error as Name, MANAGER};
use kinlink_proto::engine::command::{CallerKind, Command, Reply, SessionFilter};
use kinlink_proto::engine::view::{Standing, View};
use kinlink_proto::id::SessionId;
use kinlink_proto::limits as proto;
use kinlink_proto::time::Wall;
use kinlink_proto::wire::challenge::Challenge;
use zbus::{Message, ObjectPath, Variant};

use super::agent::Agent;
use super::call::{Call, unexpected};
use super::contract::{Emits, Interface, Method, OPTIONS, Property, changing, constant};
use super::error::{Failure, Standard};
use super::listed::{Listed, PROPERTIES};
use super::objects::{Object, Values, shown, text};
use super::options::{Options, bounded};
use super::{caller, limits, pairing, pin, vault};
use crate::handle::{Facts, KeyView};

pub(super) static INTERFACE: Interface = Interface {
    name: MANAGER,
    methods: &[
        Method {
            name: "OpenPairing",
            takes: &[OPTIONS],
            gives: &[("pairing", "o"), ("qr_text", "s"), ("text", "s"), ("expires", "t")],
        },
        Method { name: "Join", takes: &[("challenge", "s"), OPTIONS], gives: &[("pairing", "o")] },
        Method { name: "Leave", takes: &[OPTIONS], gives: &[] },
        Method { name: "RevokeOthers", takes: &[("reason", "s"), OPTIONS], gives: &[("revoked", "ao")] },
        Method { name: "SetPin", takes: &[OPTIONS], gives: &[] },
        Method { name: "RemovePin", takes: &[OPTIONS], gives: &[] },
        Method { name: "VerifyPin", takes: &[OPTIONS], gives: &[] },
        Method { name: "CreateSession", takes: &[("app", "s"), ("title", "s"), OPTIONS], gives: &[("session", "o")] },
        Method {
            name: "ListSessions",
            takes: &[("filter", "a{sv}")],
            gives: &[("sessions", "aa{sv}"), ("cursor", "s")],
        },
        Method { name: "Subscribe", takes: &[OPTIONS], gives: &[] },
        Method { name: "Unsubscribe", takes: &[OPTIONS], gives: &[] },
        Method { name: "RegisterAgent", takes: &[("agent", "o"), OPTIONS], gives: &[] },
        Method { name: "UnregisterAgent", takes: &[OPTIONS], gives: &[] },
        Method { name: "Erase", takes: &[OPTIONS], gives: &[] },
        Method { name: "KeyStatus", takes: &[OPTIONS], gives: &[("status", "a{sv}")] },
        Method { name: "MoveKey", takes: &[("place", "s"), OPTIONS], gives: &[] },
        Method { name: "Unlock", takes: &[OPTIONS], gives: &[] },
    ],
    signals: &[("SignalsLost", &[])],
    properties: &[
        constant("Version", "s"),
        changing("Account", "s"),
        changing("AccountLabel", "s"),
        changing("ThisDevice", "o"),
        changing("DeviceName", "s"),
        changing("Fingerprint", "s"),
        changing("RosterHeads", "as"),
        changing("Epoch", "s"),
        changing("TwoStep", "b"),
        changing("PinSetBy", "s"),
        changing("PinSetAt", "t"),
        changing("PinKnownOn", "u"),
        changing("PinKnownOf", "u"),
        changing("PairingOpen", "b"),
        changing("KeyProtection", "s"),
        Property { name: "Port", kind: "q", writable: true, emits: Emits::Value },
        changing("State", "s"),
        changing("RevokedBy", "s"),
        changing("RevokedReason", "s"),
        changing("RevokedAt", "t"),
        changing("UpdateNeeded", "b"),
        changing("ChangesReceived", "t"),
        changing("ChangesExpected", "t"),
        changing("Warnings", "as"),
    ],
};

/// What an app in a sandbox may read: whether Kinlink works here, and nothing that tells people or devices apart.
const PUBLIC: [&str; 3] = ["Version", "State", "UpdateNeeded"];

/// The properties.
pub(super) fn values(facts: &Facts, view: &View, key: &KeyView) -> Values {
    let status = &view.status;
    let fingerprint = if key.locked.is_some() { String::new() } else { status.device.fingerprint() };
    let warnings = status.warnings.iter().map(String::as_str).chain(key.locked.as_deref());
    let (revoked, pin) = (status.revoked.as_ref(), status.two_step.as_ref());
    let heads = status.heads.iter().map(|(author, number, _)| format!("{author}:{number}")).collect::<Vec<_>>();
    vec![
        ("Version", text(facts.version.as_str()).into()),
        ("Account", shown(status.account.as_ref()).into()),
        ("AccountLabel", text(status.label.as_str()).into()),
        ("ThisDevice", Object::Device(status.device).object_path().into()),
        ("DeviceName", text(status.name.as_str()).into()),
        ("Fingerprint", fingerprint.into()),
        ("RosterHeads", heads.into()),
        ("Epoch", shown(status.epoch.as_ref()).into()),
        ("TwoStep", pin.is_some().into()),
        ("PinSetBy", text(pin.map(|pin| pin.by_name.as_str()).unwrap_or_default()).into()),
        ("PinSetAt", pin.map_or(0, |pin| pin.at.0).into()),
        ("PinKnownOn", pin.map_or(0, |pin| pin.known_on).into()),
        ("PinKnownOf", pin.map_or(0, |pin| pin.known_of).into()),
        ("PairingOpen", status.pairing_open.into()),
        ("KeyProtection", key.place.name().into()),
        ("Port", status.port.into()),
        ("State", if key.locked.is_some() { "locked" } else { state(status.standing) }.into()),
        ("RevokedBy", text(revoked.map(|by| by.name.as_str()).unwrap_or_default()).into()),
        ("RevokedReason", text(revoked.map(|by| by.reason.as_str()).unwrap_or_default()).into()),
        ("RevokedAt", revoked.map_or(0, |by| by.at.0).into()),
        ("UpdateNeeded", status.update_needed.into()),
        ("ChangesReceived", status.arriving.map_or(0, |arriving| arriving.here).into()),
        ("ChangesExpected", status.arriving.map_or(0, |arriving| arriving.total).into()),
        ("Warnings", warnings.map(text).collect::<Vec<_>>().into()),
    ]
}

/// What of `values` a caller of that kind may read.
pub(super) fn visible(values: Values, kind: &CallerKind) -> Values {
    if caller::may_see_account(kind) { values } else { of_apps(values) }
}

/// What of `values` an app in a sandbox may read.
pub(super) fn of_apps(mut values: Values) -> Values {
    values.retain(|(name, _)| PUBLIC.contains(name));
    values
}

/// Sets the property `Port`.
pub(super) async fn set_port(call: &Call<'_>, port: Variant<'_>) -> Result<Message, Failure> {
    let mistyped = |_| Failure::standard(Standard::InvalidArgs, "a port is a number (q)");
    match u16::try_from(port).map_err(mistyped)? {
        0 => Err(Failure::argument("a port is a number from 1 to 65535")),
        port => call.done(Command::SetPort(port)).await,
    }
}

fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Unlinked => "unlinked",
        Standing::Linked => "linked",
        Standing::Pending => "pending",
        Standing::Suspended => "suspended",
        Standing::Revoked => "revoked",
    }
}

/// Answers a call of `method`, one of the table's.
pub(super) async fn call(call: &Call<'_>, method: &'static str) -> Result<Message, Failure> {
    match method {
        "OpenPairing" => open_pairing(call).await,
        "Join" => join(call).await,
        "Leave" => leave(call).await,
        "RevokeOthers" => revoke_others(call).await,
        "SetPin" => pin::set(call).await,
        "RemovePin" => pin::remove(call).await,
        "VerifyPin" => pin::verify(call).await,
        "CreateSession" => create_session(call).await,
        "ListSessions" => list_sessions(call).await,
        "Subscribe" => subscribe(call, true),
        "Unsubscribe" => subscribe(call, false),
        "RegisterAgent" => register_agent(call),
        "UnregisterAgent" => {
            Options(call.args()?).finish()?;
            call.client.set_agent(None);
            call.reply(&())
        }
        "Erase" => {
            Options(call.args()?).finish()?;
            call.done(Command::Erase).await
        }
        "KeyStatus" => vault::status(call),
        "MoveKey" => vault::move_key(call).await,
        "Unlock" => vault::unlock(call).await,
        other => Err(Failure::internal(format!("{other} is listed and not answered"))),
    }
}

async fn open_pairing(call: &Call<'_>) -> Result<Message, Failure> {
    let mut options = Options(call.args()?);
    let timeout = pairing_timeout(options.number("timeout")?)?;
    let anywhere = options.flag("anywhere")?;
    let label = options.text("label", proto::NAME_BYTES)?;
    let name = options.text("name", proto::NAME_BYTES)?;
    options.finish()?;
    match call.order(Command::OpenPairing { timeout, anywhere, label, name, addresses: Vec::new() }).await? {
        Reply::Opened { pairing, qr, text, expires } => {
            pairing::opened(call, pairing).await;
            call.reply(&(Object::Pairing(pairing).object_path(), qr, text, expires.0))
        }
        other => Err(unexpected(&other)),
    }
}

fn pairing_timeout(seconds: Option<u32>) -> Result<Duration, Failure> {
    let timeout = seconds.map_or(proto::CHALLENGE_DEFAULT, |seconds| Duration::from_secs(seconds.into()));
    let (min, max) = (proto::CHALLENGE_MIN, proto::CHALLENGE_MAX);
    if (min..=max).contains(&timeout) {
        return Ok(timeout);
    }
    Err(Failure::argument(format!("timeout: from {} to {} seconds", min.as_secs(), max.as_secs())))
}

async fn join(call: &Call<'_>) -> Result<Message, Failure> {
    let (challenge, options) = call.args::<(&str, _)>()?;
    let mut options = Options(options);
    let anywhere = options.flag("anywhere")?;
    let name = options.text("name", proto::NAME_BYTES)?;
    options.finish()?;
    bounded("challenge", challenge, limits::CHALLENGE)?;
    let bad = |error| Failure::new(Name::BadChallenge, format!("{error}"));
    let challenge = Challenge::parse(challenge).map_err(bad)?;
    match call.order(Command::Join { challenge, name, anywhere }).await? {
        Reply::Joining(pairing) => {
            pairing::opened(call, pairing).await;
            call.reply(&Object::Pairing(pairing).object_path())
        }
        other => Err(unexpected(&other)),
    }
}

async fn leave(call: &Call<'_>) -> Result<Message, Failure> {
    let mut options = Options(call.args()?);
    let reason = options.text("reason", proto::REASON_BYTES)?.unwrap_or_default();
    options.finish()?;
    call.done(Command::Leave { reason }).await
}

async fn revoke_others(call: &Call<'_>) -> Result<Message, Failure> {
    let (reason, options) = call.args::<(String, _)>()?;
    let mut options = Options(options);
    let given = options.file("pin")?;
    options.finish()?;
    bounded("reason", &reason, proto::REASON_BYTES)?;
    match pin::order(call, given, "revoke", Command::RevokeOthers { reason }).await? {
        Reply::Revoked(devices) => {
            let paths: Vec<ObjectPath<'_>> = devices.into_iter().map(|id| Object::Device(id).object_path()).collect();
            call.reply(&paths)
        }
        other => Err(unexpected(&other)),
    }
}

async fn create_session(call: &Call<'_>) -> Result<Message, Failure> {
    let (app, title, options) = call.args::<(String, String, _)>()?;
    let mut options = Options(options);
    let expires = Wall(options.time("expires")?.unwrap_or_default());
    options.finish()?;
    bounded("app", &app, limits::APP)?;
    bounded("title", &title, proto::TITLE_BYTES)?;
    match call.order(Command::CreateSession { app, title, expires }).await? {
        Reply::Created(session) => call.reply(&Object::Session(session).object_path()),
        other => Err(unexpected(&other)),
    }
}

async fn list_sessions(call: &Call<'_>) -> Result<Message, Failure> {
    let mut options = Options(call.args()?);
    let filter = SessionFilter {
        app: options.text("app", limits::APP)?,
        device: options.id("device")?,
        open: open(options.text("state", limits::CODE)?)?,
        after: cursor(options.text("after", limits::CODE)?)?,
        limit: page(options.number("limit")?)?,
    };
    let wanted = options.among("properties", PROPERTIES)?;
    options.finish()?;
    match call.order(Command::Sessions(filter)).await? {
        Reply::Sessions(sessions, more) => {
            let cursor = shown(sessions.last().filter(|_| more).map(|session| &session.id));
            call.reply(&(sessions.iter().map(|view| Listed::new(view, &wanted)).collect::<Vec<_>>(), cursor))
        }
        other => Err(unexpected(&other)),
    }
}

fn open(state: Option<String>) -> Result<Option<bool>, Failure> {
    match state.as_deref() {
        None | Some("open") => Ok(Some(true)),
        Some("ended") => Ok(Some(false)),
        Some("all") => Ok(None),
        Some(_) => Err(Failure::argument("state: one of open, ended and all")),
    }
}

/// The empty cursor is that of the first page.
fn cursor(after: Option<String>) -> Result<Option<SessionId>, Failure> {
    let after = after.filter(|after| !after.is_empty()).map(|after| after.parse());
    after.transpose().map_err(|_| Failure::argument("after: the cursor that the last page came with"))
}

/// How many entries a page may have.
pub(super) fn page(limit: Option<u32>) -> Result<usize, Failure> {
    match limit.unwrap_or(limits::PAGE_DEFAULT) {
        limit @ 1..=limits::PAGE_MAX => Ok(limit as usize),
        _ => Err(Failure::argument(format!("limit: from 1 to {}", limits::PAGE_MAX))),
    }
}

/// Only the caller's own pairings are asked about there: nobody can put prompts of its own before another's.
fn register_agent(call: &Call<'_>) -> Result<Message, Failure> {
    let (path, options) = call.args::<(ObjectPath<'_>, _)>()?;
    Options(options).finish()?;
    let agent = Agent::new(call.connection.clone(), call.client.name.clone(), path.to_owned().into());
    call.client.set_agent(Some(agent));
    call.reply(&())
}

fn subscribe(call: &Call<'_>, on: bool) -> Result<Message, Failure> {
    Options(call.args()?).finish()?;
    call.client.subscribe(on);
    call.reply(&())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Vault;

    #[test]
    fn an_app_reads_nothing_that_tells_accounts_or_devices_apart() {
        let facts = Facts { version: "1".to_owned() };
        let all = values(&facts, &View::default(), &Vault::file().view.borrow());
        let names = |values: Values| values.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(
            names(visible(all.clone(), &CallerKind::Sandboxed("a".to_owned()))),
            ["Version", "State", "UpdateNeeded"]
        );
        assert_eq!(visible(all.clone(), &CallerKind::User), all);
    }

    #[test]
    fn ranges_are_those_of_the_contract() {
        assert_eq!(pairing_timeout(None), Ok(Duration::from_secs(120)));
        assert!(pairing_timeout(Some(30)).is_ok() && pairing_timeout(Some(300)).is_ok());
        assert!(pairing_timeout(Some(29)).is_err() && pairing_timeout(Some(301)).is_err());
        assert_eq!((page(None), page(Some(1000))), (Ok(100), Ok(1000)));
        assert!(page(Some(0)).is_err() && page(Some(1001)).is_err());
    }
}
