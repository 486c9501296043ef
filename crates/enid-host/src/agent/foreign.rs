//! Guests that somebody else runs: their interfaces go into an adopted namespace, or are taps.
//!
//! Such an instance has no processes here. It runs as soon as it is told to; its interfaces come when
//! its namespace is adopted, or at once if they are taps. When an adopted namespace is gone the guest
//! has ended by itself, as a sandbox does whose first process ends.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use enid_model::id::{EniId, InstanceId};
use enid_model::image::Driver;
use enid_model::network_interface::Mac;
use enid_pipeline::table::ROUTER_LINK_LOCAL;
use enid_plan::{DeviceSpec, InstanceSpec};
use ipnet::IpNet;

use super::guests::{Phase, read_boot, write_boot};
use super::{Agent, AgentError};
use crate::adoption::{self, ADOPTION_FILE, Adoption, AdoptionError, TAP_OWNER_FILE};
use crate::device::{EniDevice, MTU};
use crate::netns::NetNs;
use crate::sandbox::Sandbox;
use crate::tap::TapOwner;

/// Where the device of an interface is.
pub(super) enum Place {
    /// In this namespace.
    Namespace(NetNs),
    /// Nowhere yet: its instance waits for a namespace.
    Nowhere,
    /// It is a tap.
    Tap(TapOwner),
}

/// A guest that somebody else runs, as its instance is for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignGuest {
    /// The namespace that it was adopted with.
    pub adoption: Option<Adoption>,
    /// Who owns its taps.
    pub owner: TapOwner,
    /// Its interfaces, by device index.
    pub interfaces: Vec<ForeignInterface>,
    /// The resolvers that it shall ask.
    pub resolvers: Vec<IpAddr>,
    /// The domain that it completes names with.
    pub search: Option<String>,
}

/// An interface of such a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignInterface {
    /// The interface.
    pub eni: EniId,
    /// The number of the device in the instance.
    pub device_index: u8,
    /// The link on the host.
    pub host_name: String,
    /// The link in the adopted namespace.
    pub name: Option<String>,
    /// The MAC address of the guest's end.
    pub mac: Mac,
    /// The largest packet.
    pub mtu: u32,
    /// Its addresses with their prefixes, the primary one first.
    pub addresses: Vec<IpNet>,
    /// The MAC address of the host's end, which is its router's.
    pub router_mac: Mac,
    /// The router of its subnet.
    pub gateway: Ipv4Addr,
    /// The same by IPv6, if its subnet has that.
    pub ipv6_gateway: Option<IpAddr>,
}

/// Why a guest cannot be adopted, released or told about.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It is in another namespace.
    #[error("{instance} is adopted already, with {}", path.display())]
    Adopted {
        /// The instance.
        instance: InstanceId,
        /// The other namespace.
        path: PathBuf,
    },
    /// The namespace cannot be adopted.
    #[error(transparent)]
    Adoption(#[from] AdoptionError),
    /// Its interfaces cannot be put there or taken away.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// It starts or ends just now.
    #[error("{0} is not running yet")]
    Busy(InstanceId),
    /// An interface is not in the namespace as it should be.
    #[error("the device of {0} is not as it was put into its namespace")]
    Incomplete(EniId),
    /// An interface's tap is gone, or down.
    #[error("the tap of {0} is not there: stop and start the instance")]
    NoTap(EniId),
    /// The instance's directory cannot be read or written.
    #[error("write down where the interfaces of {instance} are")]
    Record {
        /// The instance.
        instance: InstanceId,
        /// How it failed.
        source: io::Error,
    },
    /// It does not run.
    #[error("{0} is not running")]
    NotRunning(InstanceId),
    /// There is no such instance on this host.
    #[error("there is no instance {0} on this host")]
    Unknown(InstanceId),
    /// Its driver does something else with its interfaces.
    #[error("{instance} was not launched from the image {wanted}")]
    WrongImage {
        /// The instance.
        instance: InstanceId,
        /// The image that such instances have.
        wanted: &'static str,
    },
}

impl Agent {
    /// Puts the interfaces of an instance into a namespace. The same again is no change.
    pub(super) fn adopt_namespace(
        &mut self,
        id: InstanceId,
        path: &Path,
        ifname: &str,
    ) -> Result<ForeignGuest, ForeignError> {
        self.require(id, Driver::Namespace)?;
        let wanted = Adoption::of(path, ifname)?;
        if let Some(present) = self.adoptions.get(&id) {
            if *present != wanted {
                let path = present.path.clone();
                return Err(ForeignError::Adopted { instance: id, path });
            }
        } else {
            // Before there is anything: whatever happens now, a later agent knows where to look.
            let file = self.directory_of(id).join(ADOPTION_FILE);
            adoption::store(&file, &wanted).map_err(recording(id))?;
            self.adoptions.insert(id, wanted);
        }
        if let Err(error) = self.reconcile_devices(id) {
            // The first failure is the one to report.
            let _ = self.release_namespace(id);
            return Err(error.into());
        }
        self.foreign_guest(id)
    }

    /// Takes the interfaces of an instance out of the namespace that it was adopted with. The instance
    /// waits for another one then. Returns whether it had one.
    pub(super) fn release_namespace(&mut self, id: InstanceId) -> Result<bool, ForeignError> {
        self.require(id, Driver::Namespace)?;
        let had = self.adoptions.contains_key(&id);
        self.vacate(id)?;
        Ok(had)
    }

    /// Where the interfaces of an adopted instance are, after looking whether they really are there.
    pub(super) fn inspect(&self, id: InstanceId) -> Result<ForeignGuest, ForeignError> {
        self.require(id, Driver::Namespace)?;
        for spec in self.planned_devices(id) {
            let Place::Namespace(namespace) = self.place_of(&spec)? else {
                continue;
            };
            let device = self.device_of(&spec);
            let present = device.addresses(&namespace).map_err(AgentError::from)?;
            let wanted = device.all_addresses();
            if !self.is_whole(&spec)? || !wanted.iter().all(|it| present.contains(it)) {
                return Err(ForeignError::Incomplete(spec.eni));
            }
        }
        self.foreign_guest(id)
    }

    /// What the taps of an instance are, after giving them to somebody, if it is said to whom.
    pub(super) fn taps(
        &self,
        id: InstanceId,
        owner: Option<TapOwner>,
    ) -> Result<ForeignGuest, ForeignError> {
        self.require(id, Driver::Tap)?;
        if let Some(mut owner) = owner {
            owner.group = owner.group.or_else(|| self.tap_owner(id).group);
            let planned = self.planned_devices(id);
            // One that is gone would be made anew by being opened, without programs and for a moment only.
            for spec in &planned {
                if !self.is_whole(spec)? {
                    return Err(ForeignError::NoTap(spec.eni));
                }
            }
            let file = self.directory_of(id).join(TAP_OWNER_FILE);
            adoption::store(&file, &owner).map_err(recording(id))?;
            for spec in &planned {
                let given = self.device_of(spec).give_tap(owner);
                given.map_err(AgentError::from)?;
            }
        }
        self.foreign_guest(id)
    }

    /// Where the device of an interface is, or shall be.
    pub(super) fn place_of(&self, spec: &DeviceSpec) -> Result<Place, AgentError> {
        Ok(match spec.driver {
            Driver::Sandbox => Place::Namespace(NetNs::open(&spec.instance.to_string())?),
            Driver::Namespace => match self.adoptions.get(&spec.instance) {
                Some(adoption) => Place::Namespace(adoption.open()?),
                None => Place::Nowhere,
            },
            Driver::Tap => Place::Tap(self.tap_owner(spec.instance)),
        })
    }

    /// Reads where the instances that this host knows were adopted, before anything else is looked at.
    pub(super) fn read_adoptions(&mut self, known: &[InstanceId]) {
        for id in known {
            let file = self.directory_of(*id).join(ADOPTION_FILE);
            match adoption::load::<Adoption>(&file) {
                // The namespaces of an earlier start of the host are gone.
                Ok(Some(adoption)) if adoption.is_of_this_host_boot() => {
                    self.adoptions.insert(*id, adoption);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(instance = %id, %error, "an adoption cannot be read");
                }
            }
        }
    }

    /// Finds a foreign guest again that an earlier agent left. Returns whether it has ended since.
    pub(super) fn find_foreign(&self, id: InstanceId) -> (Phase, bool) {
        let Some(boot) = read_boot(&self.directory_of(id)) else {
            return (Phase::Idle, false);
        };
        (Phase::Running { boot }, self.has_vanished(id))
    }

    /// Makes an instance run that has no processes: whatever interfaces it can have, it has then.
    pub(super) fn start_foreign(&mut self, spec: &InstanceSpec) -> Result<(), String> {
        let id = spec.id;
        let directory = self.directory_of(id);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| format!("create {}: {error}", directory.display()))?;
        // An earlier boot's, whose end was cut short.
        self.vacate(id).map_err(|e| crate::chain(&e))?;
        self.reconcile_devices(id).map_err(|e| crate::chain(&e))?;
        write_boot(&directory, spec.boot)
    }

    /// Notices adopted guests that are gone with their namespaces.
    pub(super) fn notice_vanished(&mut self) {
        if self.adoptions.is_empty() {
            return;
        }
        let adopted: Vec<InstanceId> = self.adoptions.keys().copied().collect();
        for id in adopted {
            let boot = self.guests.get(&id).map(|guest| guest.phase);
            if let Some(Phase::Running { boot }) = boot
                && self.has_vanished(id)
            {
                self.on_exited(id, boot);
            }
        }
    }

    /// Takes the interfaces of an instance away, wherever they are, and forgets where that was.
    pub(super) fn vacate(&mut self, id: InstanceId) -> Result<(), ForeignError> {
        let present = self.devices.values();
        let present: Vec<DeviceSpec> = present
            .filter(|spec| spec.instance == id)
            .cloned()
            .collect();
        let mut outcome = Ok(());
        for spec in present {
            let unplugged = self.unplug(spec.eni);
            outcome = outcome.and(unplugged);
        }
        outcome?;
        let file = self.directory_of(id).join(ADOPTION_FILE);
        adoption::forget(&file).map_err(recording(id))?;
        self.adoptions.remove(&id);
        Ok(())
    }

    /// Whether the namespace of an adopted guest is gone, and all of its interfaces with it. One whose
    /// file has gone may live on.
    fn has_vanished(&self, id: InstanceId) -> bool {
        let Some(adoption) = self.adoptions.get(&id) else {
            return false;
        };
        let is_there = |spec: &DeviceSpec| {
            let name = EniDevice::host_name_of(spec.eni);
            Path::new("/sys/class/net").join(name).exists()
        };
        let has_device = self.planned_devices(id).iter().any(is_there);
        !has_device && adoption.open().is_err()
    }

    fn require(&self, id: InstanceId, driver: Driver) -> Result<(), ForeignError> {
        let spec = self.planner.instance(id);
        let spec = spec.ok_or(ForeignError::Unknown(id))?;
        if spec.driver != driver {
            let wanted = driver.image();
            return Err(ForeignError::WrongImage {
                instance: id,
                wanted,
            });
        }
        if !spec.running {
            return Err(ForeignError::NotRunning(id));
        }
        match self
            .guests
            .get(&id)
            .map(|guest| (guest.phase, guest.failed))
        {
            Some((Phase::Running { .. }, _)) => Ok(()),
            Some((_, Some(failed))) if failed == spec.boot => Err(ForeignError::NotRunning(id)),
            _ => Err(ForeignError::Busy(id)),
        }
    }

    fn foreign_guest(&self, id: InstanceId) -> Result<ForeignGuest, ForeignError> {
        let spec = self.planner.instance(id).ok_or(ForeignError::Unknown(id))?;
        let adoption = self.adoptions.get(&id).cloned();
        let mut devices = self.planned_devices(id);
        devices.sort_by_key(DeviceSpec::number);
        let interfaces = devices.iter().map(|spec| {
            let device = self.device_of(spec);
            let own = device.all_addresses().into_iter();
            let own = own.filter(|address| *address != device.link_local());
            ForeignInterface {
                eni: spec.eni,
                device_index: spec.device_index,
                host_name: device.host_name(),
                name: adoption.is_some().then(|| device.instance_name()),
                mac: spec.mac,
                mtu: MTU,
                addresses: own.map(|address| device.prefixed(address)).collect(),
                gateway: device.gateway(),
                router_mac: spec.router_mac,
                ipv6_gateway: spec.ipv6_subnet.map(|_| ROUTER_LINK_LOCAL.into()),
            }
        });
        Ok(ForeignGuest {
            interfaces: interfaces.collect(),
            owner: self.tap_owner(id),
            resolvers: spec.resolvers.clone(),
            search: spec.search.clone(),
            adoption,
        })
    }

    /// Whose the taps of an instance are. Who cannot be read is nobody but root.
    fn tap_owner(&self, id: InstanceId) -> TapOwner {
        let file = self.directory_of(id).join(TAP_OWNER_FILE);
        adoption::load(&file).ok().flatten().unwrap_or_default()
    }

    fn directory_of(&self, id: InstanceId) -> PathBuf {
        Sandbox::of(&self.config.data_dir, id).dir().to_owned()
    }
}

fn recording(instance: InstanceId) -> impl Fn(io::Error) -> ForeignError {
    move |source| ForeignError::Record { instance, source }
}
