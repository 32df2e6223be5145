//! `org.kinlink.Kinlink1.Session`: the objects at `/sessions/ID`. The core decides who may see and write which.

use std::collections::BTreeMap;

use kinlink_proto::dbus::{Error as Name, SESSION};
use kinlink_proto::engine::command::{Command, KeyView, Reply, Seen, Value};
use kinlink_proto::engine::view::SessionView;
use kinlink_proto::id::{Cursor, SessionId, Version};
use kinlink_proto::limits as proto;
use zbus::{Message, Variant};

use super::call::{Call, unexpected};
use super::contract::{Interface, Method, OPTIONS, changing, constant, silent};
use super::error::Failure;
use super::objects::{Values, shown, text};
use super::options::{Options, bounded};
use super::{limits, manager};

pub(super) static INTERFACE: Interface = Interface {
    name: SESSION,
    methods: &[
        Method { name: "Get", takes: &[("key", "s"), OPTIONS], gives: &[("value", "ay"), ("meta", "a{sv}")] },
        Method { name: "Put", takes: &[("key", "s"), ("value", "ay"), OPTIONS], gives: &[] },
        Method { name: "Delete", takes: &[("key", "s"), OPTIONS], gives: &[] },
        Method { name: "List", takes: &[OPTIONS], gives: &[("entries", "a(stst)"), ("cursor", "s")] },
        Method {
            name: "ChangesSince",
            takes: &[("cursor", "s"), OPTIONS],
            gives: &[("changes", "a(sstst)"), ("next", "s")],
        },
        Method { name: "Conflicts", takes: &[("key", "s"), OPTIONS], gives: &[("values", "a(ayts)")] },
        Method { name: "End", takes: &[("reason", "s"), OPTIONS], gives: &[] },
    ],
    signals: &[
        ("EntryChanged", &[("key", "s"), ("kind", "s"), ("device", "s")]),
        ("Ended", &[("by_device_id", "s"), ("by_name", "s"), ("reason", "s")]),
    ],
    properties: &[
        constant("Id", "s"),
        constant("App", "s"),
        changing("Title", "s"),
        constant("Device", "s"),
        constant("Created", "t"),
        silent("LastActive", "t"),
        changing("Expires", "t"),
        changing("State", "s"),
        changing("EndedBy", "s"),
        changing("EndedReason", "s"),
        changing("EndedAt", "t"),
    ],
};

/// The properties of a session.
pub(super) fn values(session: &SessionView) -> Values {
    let mut values = vec![
        ("Id", session.id.to_string().into()),
        ("App", text(session.app.as_str()).into()),
        ("Title", text(session.title.as_str()).into()),
        ("Device", session.device.to_string().into()),
        ("Created", session.created.0.into()),
        ("LastActive", session.last_active.0.into()),
        ("Expires", session.expires.0.into()),
    ];
    values.extend(ending(session.ended.as_ref()));
    values
}

/// The properties that change when a session ends.
pub(super) fn ending(ended: Option<&kinlink_proto::engine::view::RevokedBy>) -> Values {
    vec![
        ("State", if ended.is_some() { "ended" } else { "open" }.into()),
        ("EndedBy", shown(ended.map(|by| &by.by)).into()),
        ("EndedReason", text(ended.map(|by| by.reason.as_str()).unwrap_or_default()).into()),
        ("EndedAt", ended.map_or(0, |by| by.at.0).into()),
    ]
}

/// The properties of a session that the caller may see.
pub(super) async fn read(call: &Call<'_>, session: SessionId) -> Result<Values, Failure> {
    match call.order(Command::Session(session)).await? {
        Reply::Session(view) => Ok(values(&view)),
        other => Err(unexpected(&other)),
    }
}

/// Answers a call of `method`, one of the table's.
pub(super) async fn call(call: &Call<'_>, session: SessionId, method: &'static str) -> Result<Message, Failure> {
    match method {
        "Get" => get(call, session).await,
        "Put" => put(call, session).await,
        "Delete" => delete(call, session).await,
        "List" => list(call, session).await,
        "ChangesSince" => changes_since(call, session).await,
        "Conflicts" => conflicts(call, session).await,
        "End" => {
            let (reason, options) = call.args::<(String, _)>()?;
            Options(options).finish()?;
            bounded("reason", &reason, proto::REASON_BYTES)?;
            call.done(Command::EndSession { session, reason }).await
        }
        other => Err(Failure::internal(format!("{other} is listed and not answered"))),
    }
}

/// The arguments of a method that takes a key and no options.
fn key(call: &Call<'_>) -> Result<Vec<u8>, Failure> {
    let (key, options) = call.args::<(String, _)>()?;
    Options(options).finish()?;
    bounded("key", &key, proto::KEY_BYTES)?;
    Ok(key.into_bytes())
}

async fn put(call: &Call<'_>, session: SessionId) -> Result<Message, Failure> {
    let (key, value, options) = call.args::<(String, &[u8], _)>()?;
    let only_if = seen(Options(options))?;
    bounded("key", &key, proto::KEY_BYTES)?;
    if value.len() > proto::VALUE_BYTES {
        let message = format!("value: at most {} bytes, this has {}", proto::VALUE_BYTES, value.len());
        return Err(Failure::new(Name::TooLarge, message));
    }
    call.done(Command::Put { session, key: key.into_bytes(), value: value.to_vec(), only_if }).await
}

async fn delete(call: &Call<'_>, session: SessionId) -> Result<Message, Failure> {
    let (key, options) = call.args::<(String, _)>()?;
    let only_if = seen(Options(options))?;
    bounded("key", &key, proto::KEY_BYTES)?;
    call.done(Command::Delete { session, key: key.into_bytes(), only_if }).await
}

/// The condition of a write, if it has one.
fn seen(mut options: Options<'_>) -> Result<Option<Seen>, Failure> {
    let version = options.text("if-version", limits::CODE)?;
    options.finish()?;
    let Some(version) = version else { return Ok(None) };
    if version.is_empty() {
        return Ok(Some(Seen::Absent));
    }
    let parsed = version.parse::<Version>().map(|version| Some(Seen::Version(version)));
    parsed.map_err(|_| Failure::argument("if-version: the Version that Get() told, or nothing for a new key"))
}

async fn stored(call: &Call<'_>, session: SessionId) -> Result<(Vec<Value>, Version), Failure> {
    let key = key(call)?;
    match call.order(Command::Get { session, key }).await? {
        Reply::Values(values, version) => Ok((values, version)),
        other => Err(unexpected(&other)),
    }
}

async fn get(call: &Call<'_>, session: SessionId) -> Result<Message, Failure> {
    let (values, version) = stored(call, session).await?;
    // A delete that won over a concurrent write leaves nothing to read; the write is among the conflicts.
    let (winner, others) = values.split_first().ok_or_else(|| Failure::missing("key"))?;
    let bytes = winner.bytes.as_ref().ok_or_else(|| Failure::missing("key"))?;
    let conflicts = u32::try_from(others.len()).unwrap_or(u32::MAX);
    let meta: BTreeMap<&str, Variant<'_>> = BTreeMap::from([
        ("Time", winner.time.0.into()),
        ("Device", winner.device.to_string().into()),
        ("Conflicts", conflicts.into()),
        ("Version", version.to_string().into()),
    ]);
    call.reply(&(bytes, meta))
}

/// Values only: a concurrent delete has none to show.
async fn conflicts(call: &Call<'_>, session: SessionId) -> Result<Message, Failure> {
    let values = stored(call, session).await?.0.into_iter();
    let shown = |value: Value| Some((value.bytes?, value.time.0, value.device.to_string()));
    call.reply(&values.filter_map(shown).collect::<Vec<_>>())
}

async fn list(call: &Call<'_>, session: SessionId) -> Result<Message, Failure> {
    let mut options = Options(call.args()?);
    let prefix = options.text("prefix", proto::KEY_BYTES)?.unwrap_or_default().into_bytes();
    let after = options.text("after", proto::KEY_BYTES)?.filter(|after| !after.is_empty()).map(String::into_bytes);
    let limit = manager::page(options.number("limit")?)?;
    options.finish()?;
    match call.order(Command::List { session, prefix, after, limit }).await? {
        Reply::Keys(keys, more) => {
            let cursor = keys.last().filter(|_| more).map(|last| name(&last.key)).unwrap_or_default();
            let entry = |it: &KeyView| (name(&it.key), it.time.0, it.device.to_string(), it.size);
            call.reply(&(keys.iter().map(entry).collect::<Vec<_>>(), cursor))
        }
        other => Err(unexpected(&other)),
    }
}

async fn changes_since(call: &Call<'_>, session: SessionId) -> Result<Message, Failure> {
    let (cursor, options) = call.args::<(&str, _)>()?;
    let mut options = Options(options);
    let limit = manager::page(options.number("limit")?)?;
    options.finish()?;
    match call.order(Command::Changes { session, cursor: position(cursor)?, limit }).await? {
        Reply::Changes(changes, next) => {
            let change = |(it, deleted): &(KeyView, bool)| {
                (name(&it.key), kind(*deleted), it.time.0, it.device.to_string(), it.size)
            };
            call.reply(&(changes.iter().map(change).collect::<Vec<_>>(), next.to_string()))
        }
        other => Err(unexpected(&other)),
    }
}

/// What was no cursor of ours is as good as one that no longer holds.
fn position(cursor: &str) -> Result<Option<Cursor>, Failure> {
    let over = |_| Failure::new(Name::CursorExpired, "this is no cursor of this session; begin anew with an empty one");
    Some(cursor).filter(|cursor| !cursor.is_empty()).map(str::parse).transpose().map_err(over)
}

/// How a change is told.
pub(super) fn kind(deleted: bool) -> &'static str {
    if deleted { "delete" } else { "put" }
}

/// A key as text. Keys are written as text; only a device that does not keep to it could make others.
pub(super) fn name(key: &[u8]) -> String {
    text(String::from_utf8_lossy(key))
}
