//! Devices: what the plan wants, against what the host has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enid_model::id::{EniId, InstanceId};
use enid_model::image::Driver;
use enid_pipeline::table::TAP;
use enid_plan::DeviceSpec;

use super::foreign::Place;
use super::{Agent, AgentError, Verification};
use crate::datapath::DatapathError;
use crate::device::{DeviceError, EniDevice};
use crate::netlink::{Netlink, NetlinkError, OpenInError};
use crate::netns::NetNs;

/// The device of a spec, with its name in an adopted namespace.
fn device_named(spec: &DeviceSpec, name: Option<String>) -> EniDevice {
    let mut addresses = spec.addresses.iter().copied();
    EniDevice {
        eni: spec.eni,
        network_card_index: spec.network_card_index,
        device_index: spec.device_index,
        name,
        mac: spec.mac,
        router_mac: spec.router_mac,
        subnet: spec.subnet,
        primary: addresses.next().unwrap_or_else(|| spec.subnet.network()),
        secondaries: addresses.collect(),
        ipv6_subnet: spec.ipv6_subnet,
        ipv6_addresses: spec.ipv6_addresses.clone(),
    }
}

/// Whether both ends of a device are switched on, and the far one is in its instance's namespace. On
/// a further network card it has its name: earlier versions had another one for it.
fn is_pair_whole(
    spec: &DeviceSpec,
    device: &EniDevice,
    namespace: &NetNs,
) -> Result<bool, AgentError> {
    let name = (spec.network_card_index > 0).then(|| device.instance_name());
    let mut instance = match Netlink::open_in(namespace) {
        Ok(instance) => instance,
        Err(OpenInError::NetNs(error)) => return Err(error.into()),
        Err(OpenInError::Netlink(error)) => return Err(error.into()),
    };
    let links = instance.links()?;
    let mut own = links.iter().filter(|link| link.is_veth);
    let has_peer = own.any(|link| {
        let is_named = name.as_ref().is_none_or(|name| *name == link.name);
        link.mac == Some(spec.mac) && link.is_up && is_named
    });
    Ok(has_peer && is_up(spec.eni)?)
}

/// Whether the host's end of a device is switched on; the other end is the instance's own matter.
fn is_up(eni: EniId) -> Result<bool, NetlinkError> {
    let host = Netlink::open()?.link(&EniDevice::host_name_of(eni))?;
    Ok(host.is_some_and(|host| host.is_up))
}

impl Agent {
    /// The device of a spec.
    pub(super) fn device_of(&self, spec: &DeviceSpec) -> EniDevice {
        let adoption = self.adoptions.get(&spec.instance);
        device_named(spec, adoption.map(|it| it.name_of(spec.number())))
    }

    /// Whether a device is as an agent leaves it, and where it shall be.
    pub(super) fn is_whole(&self, spec: &DeviceSpec) -> Result<bool, AgentError> {
        if spec.driver == Driver::Sandbox && !NetNs::exists(&spec.instance.to_string()) {
            return Ok(false);
        }
        match self.place_of(spec) {
            Ok(Place::Namespace(namespace)) => {
                is_pair_whole(spec, &self.device_of(spec), &namespace)
            }
            Ok(Place::Nowhere) => Ok(false),
            Ok(Place::Tap(_)) => Ok(is_up(spec.eni)?),
            // The namespace lives without its file, or its pair would have gone with it.
            Err(_) if spec.driver == Driver::Namespace => Ok(is_up(spec.eni)?),
            Err(error) => Err(error),
        }
    }

    /// The devices that an instance shall have.
    pub(super) fn planned_devices(&self, instance: InstanceId) -> Vec<DeviceSpec> {
        let planned = self.planner.devices().values();
        planned
            .filter(|spec| spec.instance == instance)
            .cloned()
            .collect()
    }

    /// Forgets devices that no interface of the plan has, or that are not where the plan has them:
    /// their interface was detached or moved, or its instance stopped, while no agent ran, or an
    /// agent ended between making a device and switching it on.
    pub(super) fn forget_strays(&mut self) -> Result<(), AgentError> {
        for (eni, _) in EniDevice::list(self.installation)? {
            let is_whole = match self.planner.device(eni) {
                Some(spec) => self.is_whole(spec)?,
                None => false,
            };
            if !is_whole {
                self.planner.bind(eni, None);
                EniDevice::delete(self.installation, eni)?;
                self.datapath.detach(eni)?;
            }
        }
        let planner = &self.planner;
        self.datapath
            .forget_links(|eni| planner.device(eni).is_some())?;
        Ok(())
    }

    /// The tables forget the devices of interfaces that have left the instance which has the
    /// device, however busy that instance's worker is. The devices themselves go when it is done.
    pub(super) fn part(&mut self, enis: &BTreeSet<EniId>) -> Result<(), DatapathError> {
        for eni in enis {
            let planned = self.planner.device(*eni).map(|spec| spec.instance);
            let present = self.devices.get(eni).map(|spec| spec.instance);
            if present.is_some() && present != planned {
                let diff = self.planner.bind(*eni, None);
                self.settle(&diff)?;
            }
        }
        Ok(())
    }

    /// Tells the datapath about a device that is there, switched off or on, and puts the programs
    /// on it. The tables hold the interface's policy before this.
    pub(super) fn bind(&mut self, eni: EniId, number: u32) -> Result<(), AgentError> {
        let diff = self.planner.bind(eni, Some(number));
        self.settle(&diff)?;
        self.datapath.attach(eni, &EniDevice::host_name_of(eni))?;
        Ok(())
    }

    /// Makes a device for a running instance where the instance is, and switches it on. One that waits
    /// for its namespace gets none.
    fn plug(&mut self, spec: &DeviceSpec) -> Result<(), AgentError> {
        let plugged = self.plug_in(spec);
        if plugged.is_err() {
            // The first failure is the one to report; what is left is replaced by the next try.
            let _ = self.unplug(spec.eni);
        }
        plugged
    }

    fn plug_in(&mut self, spec: &DeviceSpec) -> Result<(), AgentError> {
        let device = self.device_of(spec);
        match self.place_of(spec)? {
            Place::Namespace(namespace) => {
                let links = device.create(self.installation, &namespace)?;
                self.bind(spec.eni, links.host)?;
                device.up(&namespace, links.host)?;
            }
            Place::Nowhere => return Ok(()),
            Place::Tap(owner) => {
                let number = device.create_tap(self.installation, owner)?;
                self.bind(spec.eni, number)?;
                device.up_tap(number)?;
            }
        }
        self.devices.insert(spec.eni, spec.clone());
        Ok(())
    }

    /// Takes a device away. The programs go after it: without them its packets are the host's.
    pub(super) fn unplug(&mut self, eni: EniId) -> Result<(), AgentError> {
        let diff = self.planner.bind(eni, None);
        self.settle(&diff)?;
        EniDevice::delete(self.installation, eni)?;
        self.datapath.detach(eni)?;
        if let Some(spec) = self.devices.remove(&eni)
            && spec.driver == Driver::Namespace
            && let Ok(Place::Namespace(namespace)) = self.place_of(&spec)
        {
            self.device_of(&spec).forget_rules(&namespace)?;
        }
        Ok(())
    }

    /// The tables forget the devices of an instance, which are switched off; they go with the
    /// instance's namespace, which its last processes may use for a while yet.
    pub(super) fn release_devices(&mut self, instance: InstanceId) {
        let is_foreign = |spec: &DeviceSpec| spec.driver.is_foreign();
        let present = self.devices.values();
        let present: Vec<DeviceSpec> = present
            .filter(|spec| spec.instance == instance)
            .cloned()
            .collect();
        if self.adoptions.contains_key(&instance) || present.iter().any(is_foreign) {
            // There is no namespace of Enid's with which they would go.
            if let Err(error) = self.vacate(instance) {
                tracing::error!(
                    %instance,
                    error = crate::chain(&error),
                    "the devices of an instance were not removed"
                );
            }
            return;
        }
        for spec in present {
            if let Err(error) = self.release(&spec) {
                tracing::error!(
                    eni = %spec.eni,
                    error = crate::chain(&error),
                    "a device was not released"
                );
            }
        }
    }

    fn release(&mut self, spec: &DeviceSpec) -> Result<(), AgentError> {
        self.devices.remove(&spec.eni);
        let diff = self.planner.bind(spec.eni, None);
        let settled = self.settle(&diff);
        match self.device_of(spec).down() {
            // Gone: root in the instance may have removed its end.
            Ok(()) | Err(DeviceError::Missing { .. }) => self.datapath.detach(spec.eni)?,
            // It keeps its programs, which drop what the tables do not know.
            Err(error) => return Err(error.into()),
        }
        Ok(settled?)
    }

    /// Gives a device its addresses, and takes from it those that it no longer has.
    pub(super) fn readdress(
        &mut self,
        old: &DeviceSpec,
        new: &DeviceSpec,
    ) -> Result<(), AgentError> {
        let Place::Namespace(namespace) = self.place_of(new)? else {
            // Who has a tap gives the guest its addresses, or asks for them.
            self.devices.insert(new.eni, new.clone());
            return Ok(());
        };
        let device = self.device_of(new);
        if new.driver.is_foreign() && old.ipv6_subnet.is_none() && new.ipv6_subnet.is_some() {
            device.settle_in(&namespace)?;
        }
        let present = self.device_of(old).all_addresses();
        let wanted = device.all_addresses();
        for address in present.iter().filter(|it| !wanted.contains(it)) {
            device.unassign(&namespace, *address)?;
        }
        for address in wanted.iter().filter(|it| !present.contains(it)) {
            device.assign(&namespace, *address)?;
        }
        if old.ipv6_subnet != new.ipv6_subnet {
            device.reroute(&namespace, old.ipv6_subnet)?;
        }
        self.devices.insert(new.eni, new.clone());
        Ok(())
    }

    /// Brings the devices of a running instance to what the plan says. One that fails does not
    /// keep the others from it; the first failure is reported.
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
        let mut outcome = Ok(());
        for eni in gone {
            let unplugged = self.unplug(eni);
            outcome = outcome.and(unplugged);
        }
        for spec in self.planned_devices(instance) {
            let reconciled = self.reconcile_device(&spec);
            outcome = outcome.and(reconciled);
        }
        outcome
    }

    fn reconcile_device(&mut self, spec: &DeviceSpec) -> Result<(), AgentError> {
        let place = |spec: &DeviceSpec| (spec.instance, spec.number());
        match self.devices.get(&spec.eni).cloned() {
            None => self.plug(spec),
            Some(old) if old == *spec => Ok(()),
            Some(old) if place(&old) == place(spec) => self.readdress(&old, spec),
            Some(_) => {
                self.unplug(spec.eni)?;
                self.plug(spec)
            }
        }
    }

    /// Takes over a device that is there. Addresses that an earlier agent did not come to give it
    /// are not taken for given.
    pub(super) fn adopt_device(&mut self, spec: DeviceSpec, number: u32) -> Result<(), AgentError> {
        self.bind(spec.eni, number)?;
        let namespace = match self.place_of(&spec) {
            Ok(Place::Namespace(namespace)) => namespace,
            // What cannot be looked into is taken for what it was.
            Err(error) if spec.driver == Driver::Sandbox => return Err(error),
            _ => {
                self.devices.insert(spec.eni, spec);
                return Ok(());
            }
        };
        let device = self.device_of(&spec);
        let present = device.addresses(&namespace)?;
        let has = |address: IpAddr| present.contains(&address);
        let mut spec = spec;
        spec.addresses.retain(|address| has((*address).into()));
        spec.ipv6_addresses.retain(|address| has((*address).into()));
        if !has(device.link_local().into()) {
            spec.ipv6_subnet = None;
        }
        self.devices.insert(spec.eni, spec);
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
        let present: BTreeMap<EniId, u32> = present.into_iter().collect();
        for (eni, number) in &present {
            if self.planner.device(*eni).is_none() && self.planner.node(*eni).is_none() {
                let name = EniDevice::host_name_of(*eni);
                let words = format!("device {name} belongs to no interface of the plan");
                found.differences.push(words);
            } else if self.planner.bound(*eni) != Some(*number) {
                let index = number & !TAP;
                let words = format!("{eni} is bound to another device than {index}");
                found.differences.push(words);
            }
        }
        let devices = self.planner.devices().iter().filter(|(eni, spec)| {
            let is_adopted = self.adoptions.contains_key(&spec.instance);
            let is_waiting = spec.driver == Driver::Namespace && !is_adopted;
            !is_waiting || present.contains_key(eni)
        });
        let devices = devices.map(|(eni, _)| eni);
        for eni in devices.chain(self.planner.nodes().keys()) {
            let Some(number) = present.get(eni) else {
                found.differences.push(format!("{eni} has no device"));
                continue;
            };
            if let Err(error) = self.datapath.verify_attached(*eni, *number) {
                found.differences.push(crate::chain(&error));
            }
            match is_up(*eni) {
                Ok(true) => {}
                Ok(false) => {
                    let words = format!("the device of {eni} is switched off");
                    found.differences.push(words);
                }
                Err(error) => found.differences.push(crate::chain(&error)),
            }
        }
        for (id, adoption) in &self.adoptions {
            if let Err(error) = adoption.open() {
                let words = format!("the namespace of {id}: {}", crate::chain(&error));
                found.differences.push(words);
            }
        }
    }
}
