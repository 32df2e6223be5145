//! Somebody copies the disk of a device and starts both.

use kinlink_proto::engine::Engine;
use kinlink_proto::id::DeviceId;
use kinlink_proto::roster::statement::Action;
use kinlink_proto::roster::{Role, Status};

use super::device::Device;
use super::world::World;

impl World {
    /// Copies the disk of a device that an owner beside it knows, and starts the copy as well. Returns which device that was;
    /// `None` if there is none like that.
    pub(super) fn clone_one(&mut self) -> Option<DeviceId> {
        let running = |at: &usize| self.devices[*at].engine.is_some();
        let candidates: Vec<usize> =
            (0..self.devices.len()).filter(running).filter(|at| self.is_watched(*at)).collect();
        let original = self.pick(&candidates)?;
        let (id, copy) = (self.devices[original].id(), self.devices.len());
        let device = self.devices[original].copied(copy);
        self.devices.push(device);
        self.admitted.push(std::collections::BTreeSet::new());
        self.keyrings.push(kinlink_proto::roster::keyring::Keyring::default());
        self.skew.push(0);
        self.cloned += 1;
        // What one of the two says and does the other does not know.
        self.model.restored.insert(id);
        self.start(copy);
        Some(id)
    }

    /// Whether another device that runs is an owner beside it, and both know that.
    fn is_watched(&self, at: usize) -> bool {
        let Some(engine) = &self.devices[at].engine else { return false };
        let (me, account) = (engine.device(), engine.roster().account());
        let knows = |engine: &Engine, id| engine.roster().evaluation().is_linked(id);
        knows(engine, me)
            && self.devices.iter().filter_map(|device| device.engine.as_ref()).any(|other| {
                let owner = other.roster().evaluation().role(other.device()) == Some(Role::Owner);
                other.device() != me
                    && other.roster().account() == account
                    && owner
                    && knows(other, me)
                    && knows(engine, other.device())
            })
    }
}

/// Everybody who counts the cloned device among the account knows that it is suspended, and so do both of it.
///
/// # Errors
/// If somebody does not.
pub(super) fn suspended_everywhere(world: &World, id: DeviceId) -> Result<(), String> {
    let engines = world.devices.iter().filter_map(|device| Some((device.index, device.engine.as_ref()?)));
    for (at, engine) in engines {
        let evaluation = engine.roster().evaluation();
        let takes_part = engine.device() == id || evaluation.is_linked(engine.device());
        let status = evaluation.device(id).map(|device| device.status);
        if takes_part && status.is_some() && status != Some(Status::Suspended) {
            return Err(format!("device {at} holds {id:?}, of which two run, for {status:?}"));
        }
    }
    Ok(())
}

/// Crashes, restarts, restored disks and whatever the network does suspend nobody.
///
/// # Errors
/// If somebody is suspended though there is one of each.
pub(super) fn nobody_is_taken_for_a_clone(world: &World) -> Result<(), String> {
    let engines = world.devices.iter().filter_map(|device: &Device| Some((device.index, device.engine.as_ref()?)));
    for (at, engine) in engines.filter(|_| world.cloned == 0) {
        if let Some(said) = engine.roster().statements().find(|said| matches!(said.action, Action::Suspend(_))) {
            return Err(format!("device {at} knows that {:?} was suspended by {:?}", said.removes(), said.author));
        }
    }
    Ok(())
}
