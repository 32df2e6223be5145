//! What must hold, always and at rest.

use std::collections::{BTreeMap, BTreeSet};

use kinlink_proto::engine::Engine;
use kinlink_proto::engine::view::Standing;
use kinlink_proto::id::{DeviceId, SessionId, StatementId};
use kinlink_proto::roster::Status;
use kinlink_proto::store::{Read, Table};
use kinlink_proto::wire::frame::Frame;
use kinlink_proto::wire::message::kind;

use super::user::Write;
use super::world::World;

/// Holds after every step.
///
/// # Errors
/// What does not.
pub fn always(world: &World) -> Result<(), String> {
    same_statements_same_result(world)?;
    super::clones::nobody_is_taken_for_a_clone(world)?;
    for device in &world.devices {
        let Some(engine) = &device.engine else { continue };
        out_means_no_keys(world, engine, device.index)?;
        only_confirmed_devices_are_linked(world, engine)?;
        nobody_knows_more_of_a_journal_than_its_author(world, engine)?;
        epochs_stay_secret(world, engine, device.index)?;
    }
    Ok(())
}

fn engines(world: &World) -> impl Iterator<Item = (usize, &Engine)> {
    world.devices.iter().filter_map(|device| device.engine.as_ref().map(|engine| (device.index, engine)))
}

/// Evaluation is a function of the set of statements.
fn same_statements_same_result(world: &World) -> Result<(), String> {
    let mut seen: BTreeMap<BTreeSet<_>, (usize, &Engine)> = BTreeMap::new();
    for (at, engine) in engines(world) {
        let set: BTreeSet<_> = engine.roster().statements().map(|statement| statement.id).collect();
        match seen.get(&set) {
            Some((other, known)) if known.roster().evaluation() != engine.roster().evaluation() => {
                return Err(format!("devices {other} and {at} hold the same statements and see another roster"));
            }
            _ => {
                seen.insert(set, (at, engine));
            }
        }
    }
    Ok(())
}

/// A device that knows that it is out holds no key, in memory or on disk.
fn out_means_no_keys(world: &World, engine: &Engine, at: usize) -> Result<(), String> {
    let status = engine.roster().evaluation().device(engine.device()).map(|device| device.status);
    if !matches!(status, Some(Status::Revoked | Status::Left)) {
        return Ok(());
    }
    let stored =
        world.devices[at].disk.range(Table::Secrets, &[], &[u8::MAX; 40], 1).map_err(|error| error.to_string())?;
    if engine.epochs().next().is_some() || !stored.is_empty() {
        return Err(format!("device {at} is out and still holds keys"));
    }
    Ok(())
}

/// Nobody is in but the first device and those whose code was typed.
fn only_confirmed_devices_are_linked(world: &World, engine: &Engine) -> Result<(), String> {
    for device in engine.roster().evaluation().linked() {
        let first = device.linked_by == device.id;
        if !first && !world.model.confirmed.contains(&device.id) {
            return Err(format!("{:?} is linked though nobody typed its code", device.id));
        }
    }
    Ok(())
}

/// What another device holds of a journal was durable at its author: nothing leaves before it is.
fn nobody_knows_more_of_a_journal_than_its_author(world: &World, engine: &Engine) -> Result<(), String> {
    for position in engine.journals().vector() {
        let author = world
            .devices
            .iter()
            .filter_map(|device| device.engine.as_ref())
            .find(|e| e.device() == position.journal.device);
        let Some(author) = author.filter(|author| !world.model.restored.contains(&author.device())) else { continue };
        let joined = author.roster().evaluation().is_linked(author.device());
        if joined && author.journals().size(position.journal) < position.size {
            return Err(format!("{:?} is held longer than at its author", position.journal));
        }
    }
    Ok(())
}

/// A device that is out, as the sender knows, is sent its revocation and nothing else.
pub fn sending(world: &mut World, from: usize, to: Option<usize>, frame: &Frame) {
    let (Some(to), Some(engine)) = (to, &world.devices[from].engine) else { return };
    let peer = world.devices[to].id();
    let status = engine.roster().evaluation().device(peer).map(|device| device.status);
    let out = matches!(status, Some(Status::Revoked | Status::Left));
    let own = engine.roster().evaluation().device(engine.device()).map(|device| device.status);
    let linking = frame.kind < kind::HELLO;
    let telling = frame.kind == kind::REVOKED || frame.kind == kind::INTRODUCTION;
    if out && own == Some(Status::Linked) && !telling && !linking {
        world.broken = Some(format!("device {from} sends {frame:?} to {to}, which is out"));
    }
}

/// At rest nothing is sent, unless a device that two others fight over asks again and again how that ended, or one that
/// agreed to join whether it was linked.
///
/// # Errors
/// If frames arrived.
pub fn quiet(world: &World, frames: usize) -> Result<(), String> {
    let suspended = |engine: &Engine| {
        engine.roster().evaluation().device(engine.device()).is_some_and(|own| own.status == Status::Suspended)
    };
    let asks = |engine: &Engine| suspended(engine) || engine.view().status.standing == Standing::Pending;
    if frames > 0 && !engines(world).any(|(_, engine)| asks(engine)) {
        return Err(format!("{frames} frames arrived in the last five minutes, and nothing happened"));
    }
    Ok(())
}

/// Notes for each new epoch who was out by what its maker knew.
pub fn note_epochs(world: &mut World) {
    let mut new = Vec::new();
    for (_, engine) in engines(world) {
        let evaluation = engine.roster().evaluation();
        for epoch in evaluation.epochs.iter().filter(|epoch| !world.shut_out.contains_key(&epoch.id)) {
            let made =
                engine.roster().statement(StatementId(epoch.id.0)).is_some_and(|said| said.author == engine.device());
            let out =
                evaluation.devices.values().filter(|device| device.status != Status::Linked).map(|device| device.id);
            new.extend(made.then(|| (epoch.id, out.collect())));
        }
    }
    world.shut_out.extend(new);
}

/// Nobody holds the secret of an epoch whose maker knew that it was out.
fn epochs_stay_secret(world: &World, engine: &Engine, at: usize) -> Result<(), String> {
    let known = |epoch| world.shut_out.get(&epoch).is_some_and(|out| out.contains(&engine.device()));
    match engine.epochs().find(|epoch| known(*epoch)) {
        Some(epoch) => Err(format!("device {at} holds {epoch:?}, made by one who knew that it was out")),
        None => Ok(()),
    }
}

/// Holds once everything was healed and time has passed.
///
/// # Errors
/// What does not.
pub fn at_rest(world: &mut World) -> Result<(), String> {
    for camp in camps(world)? {
        same_journals(world, &camp)?;
        same_values(world, &camp)?;
        super::apps::know_what_is_listed(world, &camp)?;
        sessions_end_everywhere(world, &camp)?;
        revocations_are_applied(world, &camp)?;
        nothing_beyond_the_honoured_position(world, &camp)?;
        a_fresh_start_changes_nothing(world, &camp)?;
    }
    Ok(())
}

/// The devices that are in, in groups that all agree on who is. There is more than one only where devices revoked each
/// other and nobody else is left who could hear of both: nothing that comes from a revoked key is read.
fn camps(world: &World) -> Result<Vec<Vec<usize>>, String> {
    let Some(account) = world.account else { return Ok(Vec::new()) };
    let inside = |engine: &Engine| {
        engine.roster().account() == Some(account) && engine.roster().evaluation().is_linked(engine.device())
    };
    let members: Vec<(usize, &Engine)> = engines(world).filter(|(_, engine)| inside(engine)).collect();
    let mut camps: BTreeMap<BTreeSet<usize>, Vec<usize>> = BTreeMap::new();
    for (at, engine) in &members {
        let sees = |other: &Engine| engine.roster().evaluation().is_linked(other.device());
        for (other, theirs) in members.iter().filter(|(_, theirs)| !sees(theirs)) {
            if theirs.roster().evaluation().is_linked(engine.device()) {
                return Err(format!("device {other} sees device {at} linked, which sees device {other} out"));
            }
        }
        let camp: BTreeSet<usize> = (0..world.devices.len())
            .filter(|other| engine.roster().evaluation().is_linked(world.devices[*other].id()))
            .collect();
        camps.entry(camp).or_default().push(*at);
    }
    for (seen, camp) in &camps {
        if !seen.iter().eq(camp) {
            return Err(format!("devices {camp:?} see {seen:?} linked"));
        }
    }
    Ok(camps.into_values().collect())
}

/// Everybody sees that every revocation was applied everywhere.
fn revocations_are_applied(world: &World, camp: &[usize]) -> Result<(), String> {
    for engine in camp.iter().filter_map(|at| world.devices[*at].engine.as_ref()) {
        let evaluation = engine.roster().evaluation();
        for out in evaluation.devices.values().filter(|device| matches!(device.status, Status::Revoked | Status::Left))
        {
            if let Some(missing) = camp.iter().map(|at| world.devices[*at].id()).find(|id| !out.applied_by.contains(id))
            {
                return Err(format!(
                    "{:?} does not know that {missing:?} applied the revocation of {:?}",
                    engine.device(),
                    out.id
                ));
            }
        }
    }
    Ok(())
}

/// Of who was put out nobody keeps more than counts.
fn nothing_beyond_the_honoured_position(world: &World, camp: &[usize]) -> Result<(), String> {
    for engine in camp.iter().filter_map(|at| world.devices[*at].engine.as_ref()) {
        for position in engine.journals().vector() {
            let author = engine.roster().evaluation().device(position.journal.device);
            let Some(author) = author.filter(|author| matches!(author.status, Status::Revoked | Status::Left)) else {
                continue;
            };
            let honoured = author.honoured.get(&position.journal.generation).map_or(0, |honoured| honoured.size);
            if position.size > honoured {
                return Err(format!(
                    "{:?} holds {} of {:?}, of which {honoured} count",
                    engine.device(),
                    position.size,
                    position.journal
                ));
            }
        }
    }
    Ok(())
}

/// An engine that is loaded anew sees what the one before it saw.
fn a_fresh_start_changes_nothing(world: &mut World, camp: &[usize]) -> Result<(), String> {
    for at in camp {
        let now = world.clock(*at);
        let mut rng = world.rng.clone();
        let again = world.devices[*at].reloaded(now, &mut rng);
        let (Some(old), Some(new)) = (&world.devices[*at].engine, &again.engine) else { continue };
        let same = old.roster().evaluation() == new.roster().evaluation()
            && old.journals().vector() == new.journals().vector()
            && old.epochs().eq(new.epochs());
        if !same {
            return Err(format!("device {at} sees something else after a restart"));
        }
        let before = everything(world, *at);
        let running = std::mem::replace(&mut world.devices[*at], again);
        let after = everything(world, *at);
        world.devices[*at] = running;
        if before != after {
            return Err(format!("device {at} reads something else after a restart: {before:?}, then {after:?}"));
        }
    }
    Ok(())
}

/// All that can be read on a device.
fn everything(world: &mut World, at: usize) -> Vec<(SessionId, Vec<BTreeSet<Vec<u8>>>)> {
    let open = world.open_sessions(at);
    open.into_iter()
        .map(|session| (session, super::user::KEYS.iter().map(|key| world.values(at, session, key)).collect()))
        .collect()
}

fn same_journals(world: &World, linked: &[usize]) -> Result<(), String> {
    let vectors: Vec<_> = linked
        .iter()
        .filter_map(|at| world.devices[*at].engine.as_ref().map(|engine| (*at, engine)))
        .map(|(at, engine)| {
            (
                at,
                engine
                    .journals()
                    .vector()
                    .into_iter()
                    .filter(|p| p.size > 0)
                    .map(|p| (p.journal, p.size, p.root))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    for pair in vectors.windows(2) {
        if pair[0].1 != pair[1].1 {
            return Err(format!(
                "devices {} and {} hold other journals: {:?} and {:?}",
                pair[0].0, pair[1].0, pair[0].1, pair[1].1
            ));
        }
    }
    Ok(())
}

/// No write is lost: what nobody replaced is readable everywhere, and what was replaced is not.
fn same_values(world: &mut World, linked: &[usize]) -> Result<(), String> {
    let Some(first) = linked.first() else { return Ok(()) };
    let Some(engine) = world.devices[*first].engine.as_ref() else { return Ok(()) };
    let trusted: BTreeSet<DeviceId> = engine.roster().evaluation().linked().map(|device| device.id).collect();
    let writes = world.model.writes.clone();
    let places: BTreeSet<_> = writes.iter().map(|write| (write.session, write.key.clone())).collect();
    for (session, key) in places {
        let here: Vec<_> = writes.iter().filter(|write| write.session == session && write.key == key).collect();
        let left = |write: &Write| write.left_with.as_ref().is_none_or(|left| !left.is_disjoint(&trusted));
        let sure = |write: &Write| trusted.contains(&write.author) && left(write);
        // What is written again after a disk was set back may show a conflict once more that was settled.
        let again = |write: &Write| world.model.restored.contains(&write.author);
        let covered =
            |value: &Vec<u8>, by: &dyn Fn(&Write) -> bool| here.iter().any(|w| by(w) && w.covers.contains(value));
        let must: BTreeSet<Vec<u8>> = here
            .iter()
            .filter(|write| sure(write))
            .filter_map(|write| write.value.clone())
            .filter(|value| !covered(value, &|_| true))
            .collect();
        let may: BTreeSet<Vec<u8>> = here
            .iter()
            .filter(|write| again(write) || write.value.as_ref().is_some_and(|value| !covered(value, &|by| sure(by))))
            .filter_map(|write| write.value.clone())
            .collect();
        let mut all = BTreeMap::new();
        for at in linked {
            if !world.open_sessions(*at).contains(&session) {
                continue;
            }
            all.insert(*at, world.values(*at, session, &key));
        }
        for (at, values) in &all {
            if !must.is_subset(values) || !values.is_subset(&may) {
                return Err(format!(
                    "device {at}, key {}: must {:?}, may {:?}, is {:?}, with {} operations waiting for their key",
                    String::from_utf8_lossy(&key),
                    texts(&must),
                    texts(&may),
                    texts(values),
                    waiting(world, *at)
                ));
            }
        }
        let different: BTreeSet<_> = all.values().collect();
        if different.len() > 1 {
            return Err(format!(
                "key {}: devices read {all:?}, with {:?} operations waiting for their key",
                String::from_utf8_lossy(&key),
                linked.iter().map(|at| waiting(world, *at)).collect::<Vec<_>>()
            ));
        }
    }
    Ok(())
}

fn waiting(world: &World, at: usize) -> usize {
    world.devices[at].disk.range(Table::Waiting, &[], &[u8::MAX; 80], 1000).map_or(0, |rows| rows.len())
}

fn texts(values: &BTreeSet<Vec<u8>>) -> Vec<String> {
    values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn sessions_end_everywhere(world: &mut World, linked: &[usize]) -> Result<(), String> {
    let ended: Vec<_> = world.model.ended.clone().into_iter().collect();
    for at in linked {
        let open = world.open_sessions(*at);
        let trusted = world.devices[*at].engine.as_ref().map(|engine| engine.roster().evaluation());
        let Some(trusted) = trusted else { continue };
        for (session, end) in &ended {
            let left = end.left_with.as_ref().is_none_or(|left| left.iter().any(|device| trusted.is_linked(*device)));
            if left && trusted.is_linked(end.by) && open.contains(session) {
                return Err(format!("device {at} still has a session open that {:?} ended", end.by));
            }
        }
    }
    Ok(())
}
