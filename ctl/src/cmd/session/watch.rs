//! `kinctl session watch`.

use kinlink_proto::dbus::{MANAGER, ROOT, SESSION};
use serde_json::{Value, json};
use zbus::Message;

use super::super::Ctx;
use super::{brief, insert_value};
use crate::bus::Bus;
use crate::error::Failure;
use crate::model::{Device, Props, Session, name_of};
use crate::output::{Output, visible};
use crate::proxy::{Options, SessionProxy};
use crate::resolve;

/// Print changes as they come, until Ctrl-C or the end of the session
///
/// Exits with 9 when the session ends, saying who ended it and why.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
}

/// A watched session.
struct Watch<'a> {
    out: &'a Output,
    bus: Bus,
    path: String,
    proxy: SessionProxy<'static>,
    devices: Vec<Device>,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    // The session's own, and that some were lost.
    let mut signals = bus.signals(ROOT).await?;
    bus.manager().await?.subscribe(&Options::new()).await?;
    // Read after the subscription: an end that came before it is seen here, one that comes later is signalled.
    let session = bus.session_state(&path).await?;
    let mut watch = Watch { out: ctx.out, proxy: bus.session(&path).await?, devices: bus.devices().await?, bus, path };
    watch.begin(&session)?;
    loop {
        watch.tell(&signals.next().await?).await?;
    }
}

impl Watch<'_> {
    fn begin(&self, session: &Session) -> Result<(), Failure> {
        if session.state == "ended" {
            return Err(self.ended(&session.ended_by, "", &session.ended_reason)?);
        }
        if self.out.json {
            return self.out.json(&json!({"event": "watching", "session": session.json(self.out, &self.devices)}));
        }
        let title = self.out.hide("title", &session.title);
        self.out.note(format!("Watching \"{title}\" of {}. Ctrl-C stops.", self.out.hide("app", &session.app)))
    }

    async fn tell(&mut self, signal: &Message) -> Result<(), Failure> {
        let header = signal.header();
        if header.interface().is_none_or(|interface| ![SESSION, MANAGER].contains(&interface.as_str())) {
            return Ok(());
        }
        if header.path().is_none_or(|path| ![self.path.as_str(), ROOT].contains(&path.as_str())) {
            return Ok(());
        }
        match header.member().map(|member| member.as_str()) {
            Some("EntryChanged") => {
                let (key, kind, device): (String, String, String) = signal.body().deserialize()?;
                self.changed(&key, &kind, &device).await
            }
            Some("SignalsLost") => self.missed(),
            Some("Ended") => {
                let (by, name, reason): (String, String, String) = signal.body().deserialize()?;
                Err(self.ended(&by, &name, &reason)?)
            }
            _ => Ok(()),
        }
    }

    async fn changed(&mut self, key: &str, kind: &str, device: &str) -> Result<(), Failure> {
        if !self.devices.iter().any(|known| known.id == device) {
            self.devices = self.bus.devices().await?;
        }
        if kind != "put" {
            return self.deleted(key, device);
        }
        match self.proxy.get(key, &Options::new()).await {
            Ok((value, meta)) => self.put(key, device, &value, Props::new(meta)),
            // Deleted, or the session ended, since: the signal of that is on its way.
            Err(zbus::Error::MethodError(..)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn put(&self, key: &str, device: &str, value: &[u8], mut meta: Props) -> Result<(), Failure> {
        if !self.out.json {
            return self.out.line(format!("{}: {} = {}", self.name(device), visible(key), brief(value)));
        }
        let mut event = serde_json::Map::new();
        event.insert("event".to_owned(), "put".into());
        event.insert("key".to_owned(), key.into());
        event.insert("device".to_owned(), json!({"id": device, "name": self.name(device)}));
        insert_value(&mut event, value);
        event.insert("time".to_owned(), meta.take::<u64>("Time").into());
        self.out.json(&Value::from(event))
    }

    fn deleted(&self, key: &str, device: &str) -> Result<(), Failure> {
        if !self.out.json {
            return self.out.line(format!("{}: {} deleted", self.name(device), visible(key)));
        }
        self.out.json(&json!({"event": "delete", "key": key, "device": {"id": device, "name": self.name(device)}}))
    }

    fn missed(&self) -> Result<(), Failure> {
        if self.out.json {
            return self.out.json(&json!({"event": "missed"}));
        }
        self.out.note(
            self.out.warn("Changes came faster than they could be shown, and some were not. See kinctl session ls."),
        )
    }

    /// The end, as an event, and as what the process exits with.
    fn ended(&self, by: &str, name: &str, reason: &str) -> Result<Failure, Failure> {
        let name = if name.is_empty() && !by.is_empty() { self.name(by) } else { self.out.name(name) };
        let reason = self.out.hide("reason", reason);
        if self.out.json {
            self.out.json(&json!({"event": "ended", "by": {"id": by, "name": name}, "reason": reason}))?;
        }
        Ok(Failure::Ended { by: name, reason })
    }

    fn name(&self, device: &str) -> String {
        name_of(device, self.out, &self.devices)
    }
}
