//! Commands about sessions and their entries.

use super::command::{Caller, CallerKind, KeyView, OldSessions, Reply, Seen, SessionFilter, Value};
use super::error::{CommandError, ErrorKind};
use super::io::Event;
use super::view::{RevokedBy, SessionView};
use super::{Cx, Engine, Fail, refuse};
use crate::id::{Cursor, EpochId, SessionId};
use crate::journal::{Author, Header};
use crate::limits;
use crate::names::clean;
use crate::session::content::{Content, Space};
use crate::session::record::{END_KEY, End, RECORD_KEY, Record};
use crate::session::{Change, KeyInfo, ReadError, SessionInfo};
use crate::time::Wall;
use crate::wire::Encode;

impl Engine {
    pub(super) fn create_session(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        app: &str,
        title: &str,
        expires: Wall,
    ) -> Result<Reply, Fail> {
        self.may_write()?;
        let app = clean(app);
        if app.is_empty() || title.len() > limits::TITLE_BYTES {
            return refuse(
                ErrorKind::InvalidArgument,
                format!("an app's id is not empty, and a title has at most {} bytes", limits::TITLE_BYTES),
            );
        }
        if let CallerKind::Sandboxed(own) = &caller.kind
            && *own != app
        {
            return refuse(ErrorKind::NotAllowed, "a sandboxed app makes sessions under its own id only");
        }
        self.room_for_session(&app)?;
        self.ensure_account(cx)?;
        let id = SessionId(crate::key::random(cx.entropy));
        let record = Record { app, title: title.to_owned(), created: cx.now.wall, expires, creator: self.device() };
        self.write(cx, id, Space::Record, RECORD_KEY, Some(&record.to_bytes()))?;
        Ok(Reply::Created(id))
    }

    fn room_for_session(&self, app: &str) -> Result<(), Fail> {
        let open = || self.sessions.iter().filter(|(_, info)| info.ended.is_none());
        if open().count() >= limits::SESSIONS {
            return refuse(
                ErrorKind::TooLarge,
                format!("there are {} open sessions; end some first", limits::SESSIONS),
            );
        }
        if open().filter(|(_, info)| info.app == app).count() >= limits::SESSIONS_PER_APP {
            return refuse(
                ErrorKind::TooLarge,
                format!("{app} has {} open sessions; end some first", limits::SESSIONS_PER_APP),
            );
        }
        Ok(())
    }

    /// A session that the caller may see.
    fn visible(&self, caller: &Caller, session: SessionId) -> Result<&SessionInfo, Fail> {
        let found = self.sessions.get(session).filter(|info| may_see(caller, &info.app));
        found.ok_or_else(|| CommandError::new(ErrorKind::NotFound, "there is no such session").into())
    }

    /// A session that the caller may use.
    fn usable(&self, now: Wall, caller: &Caller, session: SessionId) -> Result<(), Fail> {
        let info = self.visible(caller, session)?;
        match &info.ended {
            None if info.expires.0 != 0 && info.expires <= now => {
                refuse(ErrorKind::SessionEnded, "the session's time is over")
            }
            None => Ok(()),
            Some(end) => Err(ended(&self.name_of(end.by), &end.reason).into()),
        }
    }

    pub(super) fn end_session(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        session: SessionId,
        reason: &str,
    ) -> Result<Reply, Fail> {
        if reason.len() > limits::REASON_BYTES {
            return refuse(ErrorKind::TooLarge, format!("a reason has at most {} bytes", limits::REASON_BYTES));
        }
        self.usable(cx.now.wall, caller, session)?;
        let end = End { by: self.device(), time: cx.now.wall, reason: reason.to_owned() };
        self.write(cx, session, Space::Record, END_KEY, Some(&end.to_bytes()))?;
        Ok(Reply::Done)
    }

    pub(super) fn put(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        session: SessionId,
        key: &[u8],
        value: Option<&[u8]>,
        only_if: Option<Seen>,
    ) -> Result<Reply, Fail> {
        self.usable(cx.now.wall, caller, session)?;
        if key.is_empty() || key.len() > limits::KEY_BYTES {
            return refuse(ErrorKind::TooLarge, format!("a key has 1 to {} bytes", limits::KEY_BYTES));
        }
        if value.is_some_and(|value| value.len() > limits::VALUE_BYTES) {
            return refuse(
                ErrorKind::TooLarge,
                format!("a value has at most {} bytes; keep larger ones in files", limits::VALUE_BYTES),
            );
        }
        self.is_as_seen(cx, session, key, only_if)?;
        if value.is_none() && self.read(cx, session, key)?.is_empty() {
            return refuse(ErrorKind::NotFound, "there is no such key in this session");
        }
        self.write(cx, session, Space::Entry, key, value)?;
        Ok(Reply::Done)
    }

    /// Refuses a write under a condition that does not hold. Commands are taken one by one: of several writers that saw the same, one
    /// comes first.
    fn is_as_seen(&self, cx: &Cx<'_>, session: SessionId, key: &[u8], seen: Option<Seen>) -> Result<(), Fail> {
        let Some(seen) = seen else { return Ok(()) };
        let now = self.sessions.version(cx.store, session, key)?.map_or(Seen::Absent, Seen::Version);
        match (seen, now) {
            _ if seen == now => Ok(()),
            (Seen::Absent, _) => refuse(ErrorKind::Conflict, "there is a value under this key already"),
            (_, Seen::Absent) => refuse(ErrorKind::Conflict, "the value was deleted meanwhile"),
            _ => refuse(ErrorKind::Conflict, "the value was changed meanwhile; read it again"),
        }
    }

    pub(super) fn get(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        session: SessionId,
        key: &[u8],
    ) -> Result<Reply, Fail> {
        self.usable(cx.now.wall, caller, session)?;
        let values = self.read(cx, session, key)?;
        if values.is_empty() {
            return refuse(ErrorKind::NotFound, "there is no such key in this session");
        }
        let version = self.sessions.version(cx.store, session, key)?.unwrap_or(crate::id::Version::NONE);
        Ok(Reply::Values(values, version))
    }

    fn read(&self, cx: &mut Cx<'_>, session: SessionId, key: &[u8]) -> Result<Vec<Value>, Fail> {
        let values = self.sessions.values(cx.store, &self.keyring, &self.journals, session, key).map_err(read_error)?;
        Ok(values
            .into_iter()
            .map(|value| Value { bytes: value.bytes, time: value.time, device: value.device })
            .collect())
    }

    pub(super) fn list(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        session: SessionId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Reply, Fail> {
        self.usable(cx.now.wall, caller, session)?;
        let (keys, more) = self.sessions.keys(cx.store, session, prefix, after, limit).map_err(read_error)?;
        Ok(Reply::Keys(keys.into_iter().map(key_view).collect(), more))
    }

    pub(super) fn changes_since(
        &self,
        cx: &Cx<'_>,
        caller: &Caller,
        session: SessionId,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Reply, Fail> {
        self.usable(cx.now.wall, caller, session)?;
        let (changes, cursor) = self.sessions.changes_since(cx.store, session, cursor, limit).map_err(read_error)?;
        let changes = changes.into_iter().map(|change| (key_view(change.now), change.deleted));
        Ok(Reply::Changes(changes.collect(), cursor))
    }

    pub(super) fn list_sessions(&self, caller: &Caller, filter: &SessionFilter) -> Reply {
        let matching = self.sessions.iter().filter(|(id, info)| {
            may_see(caller, &info.app)
                && filter.app.as_ref().is_none_or(|app| *app == info.app)
                && filter.device.is_none_or(|device| device == info.creator)
                && filter.open.is_none_or(|open| open == info.ended.is_none())
                && filter.after.is_none_or(|after| *id > after)
        });
        let limit = filter.limit.max(1);
        let mut found: Vec<SessionView> =
            matching.take(limit + 1).map(|(id, info)| self.session_view(id, info)).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        Reply::Sessions(found, more)
    }

    pub(super) fn one_session(&self, caller: &Caller, session: SessionId) -> Result<Reply, Fail> {
        Ok(Reply::Session(self.session_view(session, self.visible(caller, session)?)))
    }

    fn session_view(&self, id: SessionId, info: &SessionInfo) -> SessionView {
        SessionView {
            id,
            app: info.app.clone(),
            title: info.title.clone(),
            device: info.creator,
            device_name: self.name_of(info.creator),
            created: info.created,
            last_active: info.last_active,
            expires: info.expires,
            ended: info.ended.as_ref().map(|end| RevokedBy {
                by: end.by,
                name: self.name_of(end.by),
                reason: clean(&end.reason),
                at: end.time,
            }),
        }
    }

    /// Writes one operation: sealed once, under the newest fit epoch, knowing what this device has seen of its key.
    pub(super) fn write(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        space: Space,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Fail> {
        self.may_write()?;
        self.ensure_account(cx)?;
        let epoch = self.write_epoch(cx)?;
        let context = self.sessions.context(cx.store, session, space, key)?;
        let content = Content::new(space, self.writing_time(session, cx.now.wall), key, context, value);
        self.append(cx, session, epoch, &content)
    }

    /// Seals content under an epoch and appends it to this device's journal.
    pub(super) fn append(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        epoch: EpochId,
        content: &Content,
    ) -> Result<(), Fail> {
        let account = self.ensure_account(cx)?;
        let Some(session_key) = self.keyring.session_key(epoch, session) else {
            return refuse(ErrorKind::Locked, "this device holds no key to write with");
        };
        if self.local.generation == 0 {
            self.local.generation = 1;
            self.local.save(cx.store)?;
        }
        let (journal, entropy) = (self.own_journal(), &mut *cx.entropy);
        let seal = |header: &Header| content.seal(header, &session_key, entropy);
        let author =
            Author { identity: &self.config.identity, account, run: self.config.run, generation: journal.generation };
        let operation = self.journals.append(cx.store, &author, session, epoch, seal)?;
        let change = self.sessions.apply(cx.store, &self.keyring, &operation.header, operation.ciphertext(), None)?;
        self.changes(change);
        self.changed.wrote = true;
        Ok(())
    }

    /// When a write to a session says that it was made: behind what was written there before, even where this clock
    /// is slow; but a clock that is far ahead is not followed.
    fn writing_time(&self, session: SessionId, now: Wall) -> Wall {
        let behind = self.sessions.get(session).map_or(Wall(0), |info| Wall(info.last_active.0.saturating_add(1)));
        let ahead = u64::try_from(limits::CLOCK_AHEAD.as_millis()).unwrap_or(u64::MAX);
        if behind.0 <= now.0.saturating_add(ahead) { now.max(behind) } else { now }
    }

    /// Tells the clients what changed.
    pub(super) fn changes(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        let app = |engine: &Self, session| engine.sessions.get(session).map(|info| info.app.clone());
        match change {
            Change::Account { .. } => self.changed.view = true,
            Change::Created { session } => {
                if let Some(app) = app(self, session) {
                    self.emit(Event::SessionCreated { session, app });
                }
            }
            Change::Entry { session, key, deleted, device } => {
                if let Some(app) = app(self, session) {
                    self.emit(Event::EntryChanged { session, app, key, deleted, device });
                }
            }
            Change::Ended { session, end } => {
                let by = RevokedBy { by: end.by, name: self.name_of(end.by), reason: clean(&end.reason), at: end.time };
                if let Some(app) = app(self, session) {
                    self.emit(Event::SessionEnded { session, app, by });
                }
            }
        }
    }

    /// Everything that is live in the open sessions, to be written anew in another account.
    pub(super) fn bring_along(&self, cx: &mut Cx<'_>, sessions: OldSessions) -> Result<super::complete::Brought, Fail> {
        if sessions == OldSessions::Discard {
            return Ok(Vec::new());
        }
        let all = self.sessions.export(cx.store, &self.keyring, &self.journals).map_err(read_error)?;
        let open =
            all.into_iter().filter(|item| self.sessions.get(item.session).is_some_and(|info| info.ended.is_none()));
        Ok(open.map(|item| (item.session, item.space, item.key, item.value)).collect())
    }
}

fn may_see(caller: &Caller, app: &str) -> bool {
    match &caller.kind {
        CallerKind::User => true,
        CallerKind::Sandboxed(own) => !own.is_empty() && own == app,
    }
}

fn key_view(key: KeyInfo) -> KeyView {
    KeyView { key: key.key, time: key.time, device: key.device, size: key.size }
}

fn ended(name: &str, reason: &str) -> CommandError {
    let reason = clean(reason);
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    CommandError::new(ErrorKind::SessionEnded, format!("the session was ended by {name}{why}"))
}

fn read_error(error: ReadError) -> Fail {
    match error {
        ReadError::Store(error) => Fail::Store(error),
        ReadError::NotFound => CommandError::new(ErrorKind::NotFound, "there is no such session").into(),
        ReadError::StartOver => CommandError::new(ErrorKind::CursorExpired, error.to_string()).into(),
        ReadError::Ended => CommandError::new(ErrorKind::SessionEnded, "the session is over").into(),
        ReadError::Locked => CommandError::new(ErrorKind::Locked, "the key for this value has not arrived yet").into(),
    }
}
