//! Volumes: an instance and each of its volumes name one another.

use super::Report;
use crate::instance::DesiredState;

impl Report<'_> {
    pub(super) fn volumes(&mut self) {
        for (id, volume) in &self.region.volumes {
            self.need(*id == volume.id, id, "its key is its id", &volume.id);
            let Some(instance) = volume.instance else {
                continue;
            };
            let found = self.region.instances.get(&instance);
            let devices = found.map_or(&[][..], |found| &found.recorded.block_devices);
            let places = devices.iter().filter(|device| device.volume == *id).count();
            let invariant = "its instance has it once";
            self.need(places == 1, id, invariant, &instance);
        }
        for (id, instance) in &self.region.instances {
            let devices = &instance.recorded.block_devices;
            let lives = instance.desired != DesiredState::Terminated || devices.is_empty();
            let invariant = "only an instance that is not terminated has volumes";
            self.need(lives, id, invariant, &devices.len());
            for device in devices {
                let volume = self.region.volumes.get(&device.volume);
                let own = volume.is_some_and(|volume| volume.instance == Some(*id));
                self.need(own, id, "each of its volumes is its own", &device.volume);
            }
            let names = devices
                .iter()
                .map(|device| (device.name.as_str(), id.to_string()));
            self.unique("each device name is used once", names);
        }
    }
}
