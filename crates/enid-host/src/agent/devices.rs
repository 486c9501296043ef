//! Devices: what the plan wants, against what the host has.

use enid_model::id::{EniId, InstanceId};
use enid_plan::DeviceSpec;

use super::{Agent, AgentError, Verification};
use crate::device::EniDevice;
use crate::netns::NetNs;

/// The device of a spec.
pub(super) fn device_of(spec: &DeviceSpec) -> EniDevice {
    let mut addresses = spec.addresses.iter().copied();
    EniDevice {
        eni: spec.eni,
        device_index: spec.device_index,
        mac: spec.mac,
        router_mac: spec.router_mac,
        subnet: spec.subnet,
        primary: addresses.next().unwrap_or(spec.subnet.network()),
        secondaries: addresses.collect(),
    }
}

impl Agent {
    /// The devices that an instance shall have.
    pub(super) fn planned_devices(&self, instance: InstanceId) -> Vec<DeviceSpec> {
        let planned = self.planner.devices().values();
        planned
            .filter(|spec| spec.instance == instance)
            .cloned()
            .collect()
    }

    /// Forgets devices that no interface of the plan has: their interface was detached, or its
    /// instance stopped, while no agent ran.
    pub(super) fn forget_strays(&mut self) -> Result<(), AgentError> {
        for (eni, _) in EniDevice::list(self.installation)? {
            if self.planner.device(eni).is_none() {
                self.planner.bind(eni, None);
                self.datapath.detach(eni)?;
                EniDevice::delete(self.installation, eni)?;
            }
        }
        Ok(())
    }

    /// Tells the datapath about a device that is there, switched off or on, and puts the programs
    /// on it. The tables hold the interface's policy before this.
    pub(super) fn bind(&mut self, eni: EniId, ifindex: u32) -> Result<(), AgentError> {
        let diff = self.planner.bind(eni, Some(ifindex));
        self.datapath.apply(&diff)?;
        self.datapath.attach(eni, &EniDevice::host_name_of(eni))?;
        Ok(())
    }

    /// Makes a device in the namespace of a running instance, and switches it on.
    pub(super) fn plug(&mut self, spec: &DeviceSpec) -> Result<(), AgentError> {
        let namespace = NetNs::open(&spec.instance.to_string())?;
        let device = device_of(spec);
        let links = device.create(self.installation, &namespace)?;
        self.bind(spec.eni, links.host)?;
        device.up(&namespace)?;
        self.devices.insert(spec.eni, spec.clone());
        Ok(())
    }

    /// Takes a device away. The tables have forgotten the interface before this.
    pub(super) fn unplug(&mut self, eni: EniId) -> Result<(), AgentError> {
        self.devices.remove(&eni);
        let diff = self.planner.bind(eni, None);
        self.datapath.apply(&diff)?;
        self.datapath.detach(eni)?;
        EniDevice::delete(self.installation, eni)?;
        Ok(())
    }

    /// Gives a device its addresses, and takes from it those that it no longer has.
    pub(super) fn readdress(
        &mut self,
        old: &DeviceSpec,
        new: &DeviceSpec,
    ) -> Result<(), AgentError> {
        let namespace = NetNs::open(&new.instance.to_string())?;
        let device = device_of(new);
        for address in &old.addresses {
            if !new.addresses.contains(address) {
                device.unassign(&namespace, *address)?;
            }
        }
        for address in &new.addresses {
            if !old.addresses.contains(address) {
                device.assign(&namespace, *address)?;
            }
        }
        self.devices.insert(new.eni, new.clone());
        Ok(())
    }

    /// Brings the devices of a running instance to what the plan says.
    pub(super) fn reconcile_devices(&mut self, instance: InstanceId) -> Result<(), AgentError> {
        let gone: Vec<EniId> = self
            .devices
            .values()
            .filter(|spec| spec.instance == instance)
            .filter(|spec| {
                let planned = self.planner.device(spec.eni);
                planned.is_none_or(|planned| planned.instance != instance)
            })
            .map(|spec| spec.eni)
            .collect();
        for eni in gone {
            self.unplug(eni)?;
        }
        for spec in self.planned_devices(instance) {
            match self.devices.get(&spec.eni).cloned() {
                None => self.plug(&spec)?,
                Some(old) if old == spec => {}
                Some(old) if old.device_index == spec.device_index => {
                    self.readdress(&old, &spec)?;
                }
                Some(_) => {
                    self.unplug(spec.eni)?;
                    self.plug(&spec)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn verify_devices(&self, found: &mut Verification) {
        let present = match EniDevice::list(self.installation) {
            Ok(present) => present,
            Err(error) => {
                found.differences.push(crate::chain(&error));
                return;
            }
        };
        found.devices = present.len();
        for (eni, ifindex) in &present {
            if self.planner.device(*eni).is_none() {
                let name = EniDevice::host_name_of(*eni);
                let words = format!("device {name} belongs to no interface of the plan");
                found.differences.push(words);
            } else if self.planner.bound(*eni) != Some(*ifindex) {
                let words = format!("{eni} is bound to another device than {ifindex}");
                found.differences.push(words);
            }
        }
        for eni in self.planner.devices().keys() {
            let has_device = present.iter().any(|(present, _)| present == eni);
            if !has_device {
                found.differences.push(format!("{eni} has no device"));
            } else if let Err(error) = self.datapath.verify_attached(*eni) {
                found.differences.push(crate::chain(&error));
            }
        }
    }
}
