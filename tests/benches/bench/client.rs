//! An app: a D-Bus client on a daemon's private socket.

use std::collections::HashMap;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use kinlink_proto::dbus::{DEVICE, MANAGER, PAIRING, ROOT, SESSION};
use kinlink_tests::harness::Host;
use serde::Serialize;
use tokio::task::JoinSet;
use zbus::wire::DynamicDeserialize;
use zbus::{
    Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant, connection, message,
};

use crate::rows::LOOK;

type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// A connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client(Connection);

impl Client {
    pub(crate) async fn of(host: &Host) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(host.socket())?;
        stream.set_nonblocking(true)?;
        Ok(Self(connection::Builder::unix_stream(stream).p2p().build().await?))
    }

    /// A new session; its path.
    pub(crate) async fn session(&self) -> anyhow::Result<String> {
        let arguments = ("org.example.Bench", "bench", Options::new());
        let path: OwnedObjectPath = self.call(ROOT, MANAGER, "CreateSession", &arguments).await?;
        Ok(path.to_string())
    }

    pub(crate) async fn put(&self, session: &str, key: &str, value: &[u8]) -> anyhow::Result<()> {
        self.call(session, SESSION, "Put", &(key, value, Options::new())).await
    }

    /// Whether there is a value under a key.
    pub(crate) async fn has(&self, session: &str, key: &str) -> bool {
        let arguments = (key, Options::new());
        self.0.call_method(None::<&str>, session, Some(SESSION), "Get", &arguments).await.is_ok()
    }

    /// How many of the changes that others announced are here.
    pub(crate) async fn received(&self) -> anyhow::Result<u64> {
        Ok(u64::try_from(self.property(ROOT, MANAGER, "ChangesReceived").await?)?)
    }

    /// The cheapest call there is.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        self.call(ROOT, "org.freedesktop.DBus.Peer", "Ping", &()).await
    }

    /// Shows a challenge; the pairing's path, and the challenge.
    pub(crate) async fn open_pairing(&self) -> anyhow::Result<(String, String)> {
        let (path, _, challenge, _): (OwnedObjectPath, String, String, u64) =
            self.call(ROOT, MANAGER, "OpenPairing", &(Options::new(),)).await?;
        Ok((path.to_string(), challenge))
    }

    /// Answers a challenge; the pairing's path.
    pub(crate) async fn join(&self, challenge: &str) -> anyhow::Result<String> {
        let path: OwnedObjectPath = self.call(ROOT, MANAGER, "Join", &(challenge, Options::new())).await?;
        Ok(path.to_string())
    }

    pub(crate) async fn accept(&self, pairing: &str) -> anyhow::Result<()> {
        self.call(pairing, PAIRING, "Accept", &(Options::new(),)).await
    }

    pub(crate) async fn code(&self, pairing: &str) -> anyhow::Result<String> {
        self.call(pairing, PAIRING, "Code", &(Options::new(),)).await
    }

    pub(crate) async fn confirm(&self, pairing: &str, code: &str) -> anyhow::Result<()> {
        self.call(pairing, PAIRING, "Confirm", &(code, Options::new())).await
    }

    /// The path of this device, which is the same on all of the account.
    pub(crate) async fn device(&self) -> anyhow::Result<String> {
        let path = self.property(ROOT, MANAGER, "ThisDevice").await?;
        Ok(OwnedObjectPath::try_from(path)?.to_string())
    }

    pub(crate) async fn revoke(&self, device: &str) -> anyhow::Result<()> {
        self.call(device, DEVICE, "Revoke", &("", Options::new())).await
    }

    /// Waits until this device is connected to another one.
    pub(crate) async fn meets(&self, device: &str) {
        self.becomes(device, DEVICE, "Online", true).await;
    }

    /// Waits until another device counts as revoked here.
    pub(crate) async fn sees_out(&self, device: &str) {
        self.becomes(device, DEVICE, "Status", "revoked").await;
    }

    /// Waits until this device knows that it was revoked.
    pub(crate) async fn is_out(&self) {
        self.becomes(ROOT, MANAGER, "State", "revoked").await;
    }

    async fn becomes(&self, path: &str, interface: &str, name: &str, value: impl Into<Variant<'_>>) {
        let value = value.into();
        while !self.property(path, interface, name).await.is_ok_and(|now| *now == value) {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn property(&self, path: &str, interface: &str, name: &str) -> anyhow::Result<OwnedVariant> {
        self.call(path, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await
    }

    async fn call<R: for<'r> DynamicDeserialize<'r>>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &(impl Serialize + DynamicType),
    ) -> anyhow::Result<R> {
        let reply = self.0.call_method(None::<&str>, path, Some(interface), method, arguments).await?;
        Ok(reply.body().deserialize()?)
    }

    /// Its signals from now on, those about sessions included.
    pub(crate) async fn signals(&self) -> anyhow::Result<Signals> {
        let rule = MatchRule::builder().msg_type(message::Type::Signal).build()?;
        let stream = MessageStream::for_match_rule(rule, &self.0, NonZero::new(1024)).await?;
        self.call::<()>(ROOT, MANAGER, "Subscribe", &(Options::new(),)).await?;
        Ok(Signals(stream))
    }

    /// Writes entries `from..to` of `size` bytes each, `at_once` of them under way at any moment.
    pub(crate) async fn fill(
        &self,
        session: &str,
        from: u64,
        to: u64,
        size: usize,
        at_once: u64,
    ) -> anyhow::Result<()> {
        self.write(session, (from..to).map(|number| (key(number), number)).collect(), size, at_once).await
    }

    /// Writes these entries: the key of each, and what its value is made of.
    pub(crate) async fn write(
        &self,
        session: &str,
        entries: Vec<(String, u64)>,
        size: usize,
        at_once: u64,
    ) -> anyhow::Result<()> {
        let (mut lanes, left) = (JoinSet::new(), Arc::new(Mutex::new(entries.into_iter())));
        for _ in 0..at_once {
            let (client, session, left) = (self.clone(), session.to_owned(), Arc::clone(&left));
            let next = move || left.lock().ok()?.next();
            lanes.spawn(async move {
                while let Some((key, seed)) = next() {
                    client.put(&session, &key, &value(seed, size)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = lanes.join_next().await {
            done??;
        }
        Ok(())
    }
}

/// What a daemon tells a client, in order.
#[derive(Debug)]
pub(crate) struct Signals(MessageStream);

impl Signals {
    /// Waits until an entry is told to have changed.
    pub(crate) async fn entry(&mut self, key: &str) -> anyhow::Result<()> {
        while let Some(signal) = self.0.next().await {
            let signal = signal?;
            let changed = signal.header().member().is_some_and(|member| member == "EntryChanged");
            if changed && signal.body().deserialize::<(String, String, String)>()?.0 == key {
                return Ok(());
            }
        }
        anyhow::bail!("the daemon went away")
    }

    /// Waits until a property of an object is told to be `value` now.
    pub(crate) async fn property(&mut self, path: &str, name: &str, value: &str) -> anyhow::Result<()> {
        while let Some(signal) = self.0.next().await {
            let (signal, wanted) = (signal?, Variant::from(value));
            let header = signal.header();
            let changed = header.member().is_some_and(|member| member == "PropertiesChanged");
            if !changed || header.path().is_none_or(|at| at.as_str() != path) {
                continue;
            }
            let (_, changes, _): (String, HashMap<String, OwnedVariant>, Vec<String>) = signal.body().deserialize()?;
            if changes.get(name).is_some_and(|now| **now == wanted) {
                return Ok(());
            }
        }
        anyhow::bail!("the daemon went away")
    }
}

/// The key of an entry.
pub(crate) fn key(number: u64) -> String {
    format!("key {number:08}")
}

/// Bytes that are no other entry's, and do not compress.
pub(crate) fn value(number: u64, size: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // Xorshift: Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(size).collect()
}
