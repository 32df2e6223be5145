//! The stand-in's objects. A pairing goes to where a person is needed by itself; a right code links.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use kinlink_proto::dbus::{PAIRINGS, ROOT, SESSIONS};
use zbus::object_server::{InterfaceRef, ObjectServer, SignalEmitter};
use zbus::{DBusError, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::Log;

pub const LAPTOP: &str = "aaaa000000000000000000000000000000000000000000000000000000000001";
pub const PHONE: &str = "bbbb000000000000000000000000000000000000000000000000000000000002";
pub const SESSION: &str = "cccc0000000000000000000000000003";
/// The code that a joining device displays.
pub const CODE: &str = "012345";

type Dict = HashMap<String, OwnedVariant>;

#[derive(DBusError, Debug)]
#[zbus(prefix = "org.kinlink.Kinlink1.Error")]
pub enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    WrongCode(String),
    TooManyTries(String),
    NotFound(String),
    BadChallenge(String),
    InvalidArgument(String),
}

fn note(log: &Log, text: impl Into<String>) {
    log.lock().unwrap().push(text.into());
}

fn path(text: String) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text).unwrap()
}

pub struct Manager {
    log: Log,
    /// How often it is yet to say that changes of others are on their way.
    arriving: AtomicU64,
}

impl Manager {
    pub fn new(log: Log) -> Self {
        Self { log, arriving: AtomicU64::new(0) }
    }
}

#[interface(name = "org.kinlink.Kinlink1.Manager")]
impl Manager {
    async fn open_pairing(
        &self,
        options: Dict,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<(OwnedObjectPath, String, String, u64), Error> {
        note(
            &self.log,
            format!("open {:?}", {
                let mut keys: Vec<_> = options.keys().collect();
                keys.sort();
                keys
            }),
        );
        let at = format!("{PAIRINGS}/1");
        server.at(at.as_str(), Pairing::new("show", "waiting", &self.log)).await?;
        // With a name it is answered by nobody: it stays as it is.
        if !options.contains_key("name") {
            go_on(server.interface(at.as_str()).await?, &["claimed", "code"]);
        }
        Ok((path(at), format!("KL:{}", "A1".repeat(96)), "kinlink:abc".to_owned(), 1_795_517_880_000))
    }

    async fn join(
        &self,
        challenge: String,
        options: Dict,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, Error> {
        note(&self.log, format!("join {challenge}"));
        if !challenge.starts_with("KL:") {
            return Err(Error::BadChallenge("the text is not a challenge".to_owned()));
        }
        self.arriving.store(2, Relaxed);
        let at = format!("{PAIRINGS}/2");
        server.at(at.as_str(), Pairing::new("join", "dialling", &self.log)).await?;
        if !options.contains_key("name") {
            go_on(server.interface(at.as_str()).await?, &["offered"]);
        }
        Ok(path(at))
    }

    async fn revoke_others(
        &self,
        reason: &str,
        _options: Dict,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<Vec<OwnedObjectPath>, Error> {
        note(&self.log, format!("revoke others: {reason}"));
        let at = format!("{}/{PHONE}", kinlink_proto::dbus::DEVICES);
        server.interface::<_, Device>(at.as_str()).await?.get_mut().await.out = true;
        Ok(vec![path(at)])
    }

    fn create_session(&self, app: &str, title: &str, _options: Dict) -> OwnedObjectPath {
        note(&self.log, format!("session {app} {title}"));
        path(format!("{SESSIONS}/{SESSION}"))
    }

    fn leave(&self, _options: Dict) {
        note(&self.log, "leave");
    }

    fn list_sessions(&self, filter: Dict) -> (Vec<Dict>, String) {
        let text = |text: &str| OwnedVariant::try_from(Variant::from(text.to_owned())).unwrap();
        let number = |number: u64| OwnedVariant::from(number);
        let session = Dict::from([
            ("Id".to_owned(), text(SESSION)),
            ("App".to_owned(), text("org.example.Notes")),
            ("Title".to_owned(), text("Groceries")),
            ("Device".to_owned(), text(LAPTOP)),
            ("DeviceName".to_owned(), text("laptop")),
            ("Created".to_owned(), number(1_795_517_880_000)),
            ("State".to_owned(), text("open")),
        ]);
        // Two pages, the first of them empty: a client must go by the cursor.
        if filter.contains_key("after") { (vec![session], String::new()) } else { (Vec::new(), SESSION.to_owned()) }
    }

    /// The subscriber sees a short life: a change, a deletion, the end.
    async fn subscribe(&self, _options: Dict, #[zbus(object_server)] server: &ObjectServer) -> Result<(), Error> {
        note(&self.log, "subscribe");
        let session = server.interface::<_, Session>(format!("{SESSIONS}/{SESSION}")).await?;
        let emitter = session.signal_emitter();
        Session::entry_changed(emitter, "milk", "put", PHONE).await?;
        Session::entry_changed(emitter, "eggs", "delete", PHONE).await?;
        Ok(Session::ended(emitter, PHONE, "phone", "done shopping").await?)
    }

    #[zbus(property)]
    fn state(&self) -> String {
        "linked".to_owned()
    }

    #[zbus(property)]
    fn changes_received(&self) -> u64 {
        4000 - 1000 * self.arriving.load(Relaxed)
    }

    /// Whoever has read it is told of the next one.
    #[zbus(property)]
    fn changes_expected(&self, #[zbus(object_server)] server: &ObjectServer) -> u64 {
        let left = self.arriving.load(Relaxed);
        self.arriving.store(left.saturating_sub(1), Relaxed);
        let server = server.clone();
        tokio::spawn(async move {
            let manager = server.interface::<_, Self>(ROOT).await.unwrap();
            manager.get().await.warnings_changed(manager.signal_emitter()).await.unwrap();
        });
        if left == 0 { 0 } else { 4000 }
    }

    #[zbus(property)]
    fn warnings(&self) -> Vec<String> {
        vec!["laptop keeps its keys in a file".to_owned()]
    }
}

pub struct Device {
    log: Log,
    id: &'static str,
    name: String,
    this: bool,
    out: bool,
}

impl Device {
    pub fn laptop(log: Log) -> Self {
        Self { log, id: LAPTOP, name: "laptop".to_owned(), this: true, out: false }
    }

    pub fn phone(log: Log) -> Self {
        Self { log, id: PHONE, name: "phone".to_owned(), this: false, out: false }
    }
}

impl Device {
    /// Why it is suspended, by what was last said of that over any connection.
    fn suspended(&self) -> Option<String> {
        let said = self.log.lock().unwrap();
        let (suspended, readmitted) = (format!("suspend {}: ", self.name), format!("readmit {}", self.name));
        let last = said.iter().rev().find(|line| line.starts_with(&suspended) || **line == readmitted)?;
        last.strip_prefix(&suspended).map(str::to_owned)
    }
}

#[interface(name = "org.kinlink.Kinlink1.Device")]
impl Device {
    fn revoke(&mut self, reason: &str, _options: Dict) {
        note(&self.log, format!("revoke {}: {reason}", self.name));
        self.out = true;
    }

    fn suspend(&self, reason: &str, _options: Dict) {
        note(&self.log, format!("suspend {}: {reason}", self.name));
    }

    fn readmit(&self, _options: Dict) {
        note(&self.log, format!("readmit {}", self.name));
    }

    #[zbus(property)]
    fn revoked_by(&self) -> String {
        if self.suspended().is_none() { String::new() } else { LAPTOP.to_owned() }
    }

    #[zbus(property)]
    fn revoked_at(&self) -> u64 {
        if self.suspended().is_none() { 0 } else { 1_795_517_880_000 }
    }

    #[zbus(property)]
    fn revoked_reason(&self) -> String {
        self.suspended().unwrap_or_default()
    }

    #[zbus(property)]
    fn seen_at(&self) -> Vec<String> {
        if self.suspended().is_none() { Vec::new() } else { vec!["192.0.2.7:4000".into(), "192.0.2.9:4000".into()] }
    }

    #[zbus(property)]
    fn id(&self) -> String {
        self.id.to_owned()
    }

    #[zbus(property)]
    fn name(&self) -> String {
        self.name.clone()
    }

    #[zbus(property)]
    fn set_name(&mut self, name: String) {
        note(&self.log, format!("rename {} {name}", self.name));
        self.name = name;
    }

    #[zbus(property)]
    fn online(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn this_device(&self) -> bool {
        self.this
    }

    #[zbus(property)]
    fn role(&self) -> String {
        "owner".to_owned()
    }

    #[zbus(property)]
    fn status(&self) -> String {
        match (self.out, self.suspended()) {
            (true, _) => "revoked",
            (false, None) => "linked",
            (false, Some(_)) => "suspended",
        }
        .to_owned()
    }

    #[zbus(property)]
    fn applied_on(&self) -> u32 {
        u32::from(self.out)
    }

    #[zbus(property)]
    fn applied_of(&self) -> u32 {
        u32::from(self.out)
    }
}

pub struct Pairing {
    log: Log,
    direction: &'static str,
    state: &'static str,
    tries: u32,
    failure: &'static str,
}

impl Pairing {
    fn new(direction: &'static str, state: &'static str, log: &Log) -> Self {
        Self { log: log.clone(), direction, state, tries: 3, failure: "" }
    }
}

/// Takes a pairing through `states` after the reply that is under way.
fn go_on(pairing: InterfaceRef<Pairing>, states: &'static [&'static str]) {
    tokio::spawn(async move {
        for state in states {
            let mut inner = pairing.get_mut().await;
            inner.state = state;
            inner.state_changed(pairing.signal_emitter()).await.unwrap();
        }
    });
}

/// The same from within the pairing, which is borrowed until its method returns.
fn advance(server: &ObjectServer, emitter: &SignalEmitter<'_>, states: &'static [&'static str]) {
    let (server, at) = (server.clone(), emitter.path().to_string());
    tokio::spawn(async move { go_on(server.interface(at.as_str()).await.unwrap(), states) });
}

#[interface(name = "org.kinlink.Kinlink1.Pairing")]
impl Pairing {
    async fn confirm(
        &mut self,
        code: &str,
        _options: Dict,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), Error> {
        note(&self.log, format!("confirm {code}"));
        if code.len() != CODE.len() {
            return Err(Error::InvalidArgument("the code has six digits; this was not counted as a try".to_owned()));
        }
        if code == CODE {
            self.state = "linked";
            return Ok(self.state_changed(&emitter).await?);
        }
        self.tries -= 1;
        if self.tries == 0 {
            (self.state, self.failure) = ("failed", "org.kinlink.Kinlink1.Error.TooManyTries");
            return Err(Error::TooManyTries("the third wrong code".to_owned()));
        }
        self.tries_left_changed(&emitter).await?;
        Err(Error::WrongCode("that is not the code".to_owned()))
    }

    async fn accept(
        &mut self,
        options: Dict,
        #[zbus(object_server)] server: &ObjectServer,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), Error> {
        let choice: String = options
            .get("sessions")
            .and_then(|choice| String::try_from(choice.try_clone().unwrap()).ok())
            .unwrap_or_default();
        note(&self.log, format!("accept, {choice} sessions"));
        advance(server, &emitter, &["accepted", "code"]);
        Ok(())
    }

    /// Once it is displayed somebody types it, over there.
    async fn code(
        &self,
        _options: Dict,
        #[zbus(object_server)] server: &ObjectServer,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> String {
        advance(server, &emitter, &["linked"]);
        CODE.to_owned()
    }

    fn reject(&mut self, _options: Dict) {
        note(&self.log, "reject");
        self.state = "cancelled";
    }

    fn cancel(&mut self, _options: Dict) {
        note(&self.log, "cancel");
        self.state = "cancelled";
    }

    #[zbus(property)]
    fn direction(&self) -> String {
        self.direction.to_owned()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.state.to_owned()
    }

    #[zbus(property)]
    fn peer_name(&self) -> String {
        "phone".to_owned()
    }

    #[zbus(property)]
    fn peer_id(&self) -> String {
        PHONE.to_owned()
    }

    #[zbus(property)]
    fn role(&self) -> String {
        "member".to_owned()
    }

    #[zbus(property)]
    fn tries_left(&self) -> u32 {
        self.tries
    }

    #[zbus(property)]
    fn error(&self) -> String {
        self.failure.to_owned()
    }
}

pub struct Session {
    pub log: Log,
}

#[interface(name = "org.kinlink.Kinlink1.Session")]
impl Session {
    fn get(&self, key: &str, _options: Dict) -> Result<(Vec<u8>, Dict), Error> {
        match key {
            "milk" => Ok((
                b"2 litres".to_vec(),
                Dict::from([("Device".to_owned(), OwnedVariant::try_from(Variant::from(PHONE)).unwrap())]),
            )),
            _ => Err(Error::NotFound(format!("there is no key {key}"))),
        }
    }

    fn put(&self, key: &str, value: Vec<u8>, _options: Dict) {
        note(&self.log, format!("put {key} = {}", String::from_utf8_lossy(&value)));
    }

    fn end(&self, reason: &str, _options: Dict) {
        note(&self.log, format!("end: {reason}"));
    }

    #[zbus(signal)]
    async fn entry_changed(emitter: &SignalEmitter<'_>, key: &str, kind: &str, device: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn ended(emitter: &SignalEmitter<'_>, by_device_id: &str, by_name: &str, reason: &str) -> zbus::Result<()>;

    #[zbus(property)]
    fn state(&self) -> String {
        "open".to_owned()
    }
}
