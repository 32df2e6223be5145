//! Reports: what each device holds, relayed by all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account::pieces;
use super::io::{ConnId, Output};
use super::view::AddressSource;
use super::{Cx, Engine, Fail};
use crate::id::DeviceId;
use crate::limits;
use crate::roster::Status;
use crate::store::{StoreError, Table};
use crate::sync::report::{Content, Held, REPORT_BYTES, Report};
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::Message;
use crate::wire::object::Extensions;

impl Engine {
    /// A report is due after some quiet, so that a burst of changes costs one.
    pub(super) fn report_soon(&mut self, now: Mono) {
        if self.own_status() == Some(Status::Linked) && self.report_due.is_none() {
            self.report_due = Some(now.after(limits::REPORT_QUIET));
        }
    }

    /// Says what this device holds, durable, to everyone.
    pub(super) fn report(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        self.report_due = None;
        let Some(account) = self.account() else { return Ok(()) };
        if self.own_status() != Some(Status::Linked) {
            return Ok(());
        }
        self.local.reports += 1;
        self.local.save(cx.store)?;
        let content = Content {
            account,
            device: self.device(),
            counter: self.local.reports,
            run: self.config.run,
            time: cx.now.wall,
            heads: self.roster.heads(),
            journals: self.journals.vector().iter().take(limits::JOURNALS).map(Held::from).collect(),
            capabilities: 0,
            addresses: self.addresses.clone(),
            ext: Extensions::grease(crate::key::random(cx.entropy)),
        };
        let report = Report::sign(content, &self.config.identity);
        cx.store.put(Table::Reports, report.content.device.as_bytes(), report.bytes())?;
        self.reports.insert(report.content.device, report);
        for id in self.ready().map(|(id, _)| id).collect::<Vec<_>>() {
            self.send_reports(id, [self.device()]);
        }
        self.sweep(cx)
    }

    pub(super) fn receive_reports(
        &mut self,
        cx: &mut Cx<'_>,
        from: Option<ConnId>,
        reports: &[Vec<u8>],
    ) -> Result<(), Fail> {
        let mut newest = BTreeMap::new();
        // One that is held was checked when it came.
        let held: BTreeSet<&[u8]> = self.reports.values().map(Report::bytes).collect();
        for bytes in reports.iter().filter(|bytes| !held.contains(bytes.as_slice())) {
            let report = Report::open(bytes).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
            let (device, counter) = (report.content.device, report.content.counter);
            if newest.get(&device).is_none_or(|old: &Report| old.content.counter < counter) {
                newest.insert(device, report);
            }
        }
        for report in newest.into_values() {
            let said = &report.content;
            let brought = from.and_then(|id| Some((id, self.conns.get_mut(&id)?)));
            let direct = brought.is_some_and(|(_, conn)| {
                conn.holds_report(said.device, said.counter);
                conn.peer == said.device
            });
            if said.device == self.device() {
                self.own_report(cx, &report)?;
                continue;
            }
            let newer = self.reports.get(&said.device).is_none_or(|old| old.content.counter < said.counter);
            let ours = Some(said.account) == self.account() && self.roster.evaluation().is_linked(said.device);
            if !newer || !ours {
                continue;
            }
            self.remember(said.device, &said.addresses, AddressSource::Reported);
            self.seen(said.device, said.time.min(cx.now.wall));
            if let Some(id) = from.filter(|_| direct) {
                self.reported(cx.now.mono, id, &said.journals)?;
                let unknown = said.heads.iter().map(|head| head.id).filter(|id| self.roster.statement(*id).is_none());
                self.ask_for(id, unknown.collect());
            }
            self.pass_on_report(cx.now.mono, said.device, from);
            let device = said.device;
            self.unsaved.reports.insert(device);
            if self.reports.insert(device, report).is_none() {
                // It shows that the device is linked for good, which is not to look open after a restart.
                self.unsaved.at_once();
            }
            self.changed.view = true;
        }
        self.reach_out(cx.now.mono);
        self.sweep(cx)?;
        Ok(())
    }

    /// A report of this device's own that it does not know: it was set back, and counts on from there.
    fn own_report(&mut self, cx: &mut Cx<'_>, report: &Report) -> Result<(), StoreError> {
        if Some(report.content.account) != self.account() || report.content.counter <= self.local.reports {
            return Ok(());
        }
        self.local.reports = report.content.counter;
        self.local.save(cx.store)?;
        self.report_soon(cx.now.mono);
        self.note_restored(cx)
    }

    /// Sends a peer those reports of some devices that are newer here, as far as is known.
    pub(super) fn send_reports(&mut self, id: ConnId, of: impl IntoIterator<Item = DeviceId>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let mut newer = Vec::new();
        for report in of.into_iter().filter_map(|device| self.reports.get(&device)) {
            if conn.holds_report(report.content.device, report.content.counter) {
                newer.push(report.bytes().to_vec());
            }
        }
        for piece in pieces(&newer) {
            self.outputs.push_back(Output::Send { conn: id, frame: Message::Reports(piece).to_frame() });
        }
    }

    /// The reports that go along with a link: not more than fits beside the roster. The others follow with the first hello.
    pub(super) fn reports_to_link(&self) -> Vec<Vec<u8>> {
        let mut room = REPORT_BYTES;
        let fits = |report: &&Report| {
            let fits = report.bytes().len() <= room;
            room -= if fits { report.bytes().len() } else { 0 };
            fits
        };
        self.reports.values().filter(fits).map(|report| report.bytes().to_vec()).collect()
    }

    /// Drops content that was replaced, once every linked device has reported what replaced it: a piece at a time, so that
    /// nobody waits long, and on and on while there is anything to drop, so that no amount of writing leaves it behind.
    pub(super) fn sweep(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        /// Operations looked at in one go: some milliseconds.
        const PIECE: usize = 256;
        const PAUSE: Duration = Duration::from_millis(10);
        let linked: Vec<DeviceId> = self.roster.evaluation().linked().map(|device| device.id).collect();
        let reports = &self.reports;
        let reported = |journal, number| {
            linked.iter().all(|device| reports.get(device).is_some_and(|report| report.size(journal) > number))
        };
        let dropped = self.sessions.sweep(cx.store, &self.keyring, &mut self.journals, reported, PIECE)?;
        self.sweep_due = (dropped > 0).then(|| cx.now.mono.after(PAUSE));
        Ok(())
    }
}
