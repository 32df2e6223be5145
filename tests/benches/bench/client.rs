//! An app: a D-Bus client on a daemon's private socket.

use std::collections::HashMap;
use std::num::NonZero;
use std::os::unix::net::UnixStream;

use kinlink_proto::dbus::{MANAGER, ROOT, SESSION};
use kinlink_tests::harness::Host;
use tokio::task::JoinSet;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, Variant, connection, message};

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
        let reply = self.0.call_method(None::<&str>, ROOT, Some(MANAGER), "CreateSession", &arguments).await?;
        Ok(reply.body().deserialize::<OwnedObjectPath>()?.to_string())
    }

    pub(crate) async fn put(&self, session: &str, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let arguments = (key, value, Options::new());
        self.0.call_method(None::<&str>, session, Some(SESSION), "Put", &arguments).await?;
        Ok(())
    }

    /// Whether there is a value under a key.
    pub(crate) async fn has(&self, session: &str, key: &str) -> bool {
        let arguments = (key, Options::new());
        self.0.call_method(None::<&str>, session, Some(SESSION), "Get", &arguments).await.is_ok()
    }

    /// The cheapest call there is.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        self.0.call_method(None::<&str>, ROOT, Some("org.freedesktop.DBus.Peer"), "Ping", &()).await?;
        Ok(())
    }

    /// Its signals from now on, those about sessions included.
    pub(crate) async fn signals(&self) -> anyhow::Result<MessageStream> {
        let rule = MatchRule::builder().msg_type(message::Type::Signal).build()?;
        let stream = MessageStream::for_match_rule(rule, &self.0, NonZero::new(1024)).await?;
        self.0.call_method(None::<&str>, ROOT, Some(MANAGER), "Subscribe", &(Options::new(),)).await?;
        Ok(stream)
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
        let mut lanes = JoinSet::new();
        for lane in 0..at_once {
            let (client, session) = (self.clone(), session.to_owned());
            lanes.spawn(async move {
                let mut number = from + lane;
                while number < to {
                    client.put(&session, &key(number), &value(number, size)).await?;
                    number += at_once;
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
