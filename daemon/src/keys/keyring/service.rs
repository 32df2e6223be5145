//! The client of `org.freedesktop.secrets`.

use std::collections::HashMap;

use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use kinlink_proto::key::Secret;
use zbus::fdo::DBusProxy;
use zbus::proxy::CacheProperties;
use zbus::{
    Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant, connection, message, proxy,
};

use super::secret::{ALGORITHM, Half, Session};
use super::{Item, KeyringError};
use crate::clock::entropy;

const NAME: &str = "org.freedesktop.secrets";
const SERVICE: &str = "/org/freedesktop/secrets";
/// What a keyring sorts items by, and what it is for.
const SCHEMA: &str = "org.kinlink.StoreKey";
/// What a person sees in a keyring's window.
const LABEL: &str = "Kinlink: the key of this device";

/// A secret on the bus: session, initial vector, sealed, type.
type Sealed = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

#[proxy(interface = "org.freedesktop.Secret.Service", default_service = "org.freedesktop.secrets")]
trait Service {
    fn open_session(&self, algorithm: &str, input: Variant<'_>) -> zbus::Result<(OwnedVariant, OwnedObjectPath)>;
    fn search_items(
        &self,
        attributes: HashMap<&str, String>,
    ) -> zbus::Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>)>;
    fn read_alias(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[proxy(interface = "org.freedesktop.Secret.Collection", default_service = "org.freedesktop.secrets")]
trait Collection {
    fn create_item(
        &self,
        properties: HashMap<&str, Variant<'_>>,
        secret: &Sealed,
        replace: bool,
    ) -> zbus::Result<(OwnedObjectPath, OwnedObjectPath)>;
    #[zbus(property)]
    fn locked(&self) -> zbus::Result<bool>;
}

#[proxy(interface = "org.freedesktop.Secret.Item", default_service = "org.freedesktop.secrets")]
trait Item {
    fn get_secret(&self, session: &OwnedObjectPath) -> zbus::Result<(Sealed,)>;
    fn delete(&self) -> zbus::Result<OwnedObjectPath>;
}

impl From<zbus::Error> for KeyringError {
    fn from(error: zbus::Error) -> Self {
        match &error {
            zbus::Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.Secret.Error.IsLocked" => {
                Self::Locked
            }
            _ => Self::Absent(error.to_string()),
        }
    }
}

/// Nobody is started for this question: a keyring that does not run yet is not open.
pub(super) async fn is_ready() -> Result<bool, KeyringError> {
    let bus = connection::Builder::session().build().await?;
    if !DBusProxy::new(&bus).await?.name_has_owner(NAME.try_into()?).await.map_err(zbus::Error::from)? {
        return Ok(false);
    }
    Ok(Client::on(bus).await?.collection().await.is_ok())
}

pub(super) async fn find(item: &Item) -> Result<Secret, KeyringError> {
    let client = Client::connect().await?;
    let (open, locked) = client.search(item).await?;
    let Some(path) = open.first() else {
        // Some keyrings find nothing while they are locked.
        return Err(if locked.is_empty() && client.collection().await.is_ok() {
            KeyringError::Lost
        } else {
            KeyringError::Locked
        });
    };
    let (session, at) = client.session().await?;
    let ((_, iv, sealed, _),) = client.item(path).await?.get_secret(&at).await?;
    session.open(&iv, &sealed).ok_or(KeyringError::Lost)
}

pub(super) async fn put(item: &Item, key: &Secret) -> Result<(), KeyringError> {
    let client = Client::connect().await?;
    let collection = client.collection().await?;
    let (session, at) = client.session().await?;
    let (iv, sealed) = session.seal(key, &mut entropy());
    let properties = HashMap::from([
        ("org.freedesktop.Secret.Item.Label", Variant::from(LABEL)),
        ("org.freedesktop.Secret.Item.Attributes", Variant::from(attributes(item))),
    ]);
    let secret = (at, iv.to_vec(), sealed, "text/plain".to_owned());
    let (_, prompt) = collection.create_item(properties, &secret, true).await?;
    unprompted(&prompt)?;
    // It counts when it can be read back.
    if find(item).await? == *key { Ok(()) } else { Err(KeyringError::Lost) }
}

pub(super) async fn forget(item: &Item) -> Result<(), KeyringError> {
    let client = Client::connect().await?;
    let (open, locked) = client.search(item).await?;
    for path in &open {
        unprompted(&client.item(path).await?.delete().await?)?;
    }
    if locked.is_empty() && client.collection().await.is_ok() { Ok(()) } else { Err(KeyringError::Locked) }
}

/// A keyring that wants to ask somebody is one that is locked.
fn unprompted(prompt: &OwnedObjectPath) -> Result<(), KeyringError> {
    if prompt.as_str() == "/" { Ok(()) } else { Err(KeyringError::Locked) }
}

fn attributes(item: &Item) -> HashMap<&'static str, String> {
    HashMap::from([("xdg:schema", SCHEMA.to_owned()), ("item", data_encoding::HEXLOWER.encode(&item.0))])
}

struct Client {
    bus: Connection,
    service: ServiceProxy<'static>,
}

impl Client {
    async fn connect() -> Result<Self, KeyringError> {
        Self::on(connection::Builder::session().build().await?).await
    }

    async fn on(bus: Connection) -> Result<Self, KeyringError> {
        let service = ServiceProxy::builder(&bus).path(SERVICE).cache_properties(CacheProperties::No).build().await?;
        Ok(Self { bus, service })
    }

    async fn search(&self, item: &Item) -> Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>), KeyringError> {
        Ok(self.service.search_items(attributes(item)).await?)
    }

    /// The one that new items go to, given that it is there and open.
    async fn collection(&self) -> Result<CollectionProxy<'static>, KeyringError> {
        let path = self.service.read_alias("default").await?;
        if path.as_str() == "/" {
            return Err(KeyringError::Absent("it has no default collection".to_owned()));
        }
        let builder = CollectionProxy::builder(&self.bus).path(path).cache_properties(CacheProperties::No);
        let collection = builder.build().await?;
        if collection.locked().await? { Err(KeyringError::Locked) } else { Ok(collection) }
    }

    async fn item(&self, path: &OwnedObjectPath) -> Result<ItemProxy<'static>, KeyringError> {
        Ok(ItemProxy::builder(&self.bus).path(path.clone()).cache_properties(CacheProperties::No).build().await?)
    }

    async fn session(&self) -> Result<(Session, OwnedObjectPath), KeyringError> {
        let half = Half::new(&mut entropy());
        let (theirs, at) = self.service.open_session(ALGORITHM, half.public().into()).await?;
        let theirs = Vec::<u8>::try_from(theirs).ok();
        let refused = || KeyringError::Absent("it does not agree on a key".to_owned());
        Ok((theirs.and_then(|theirs| half.agree(&theirs)).ok_or_else(refused)?, at))
    }
}

/// Tells that a keyring came, or that something in it changed: that it was unlocked, for one.
pub(crate) struct Watch(SelectAll<MessageStream>);

impl Watch {
    /// `None` if there is no session bus.
    pub(crate) async fn start() -> Option<Self> {
        let watched = async {
            let bus = connection::Builder::session().build().await?;
            let came = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender("org.freedesktop.DBus")
                .member("NameOwnerChanged")
                .arg(0, NAME)
                .build()?;
            let changed =
                MatchRule::builder().msg_type(message::Type::Signal).path_namespace(SERVICE).sender(NAME).build()?;
            let came = MessageStream::for_match_rule(came, &bus, None).await?;
            let changed = MessageStream::for_match_rule(changed, &bus, None).await?;
            Ok::<_, zbus::Error>(select_all([came, changed]))
        };
        let failed = |error| tracing::info!("no keyring is waited for: {error}");
        watched.await.map_err(failed).ok().map(Self)
    }

    /// The next time. Never, if the bus is gone.
    pub(crate) async fn next(&mut self) {
        loop {
            match self.0.next().await {
                // To ask now would start another one, that nobody has unlocked.
                Some(Ok(message)) if went(&message) => {}
                Some(_) => return,
                None => std::future::pending().await,
            }
        }
    }
}

/// Whether it says that a keyring left the bus.
fn went(message: &Message) -> bool {
    let left = message.header().member().is_some_and(|member| member.as_str() == "NameOwnerChanged");
    left && message.body().deserialize::<(&str, &str, &str)>().is_ok_and(|(_, _, now)| now.is_empty())
}
