//! Volumes: recorded with the instance that they are made for, and kept or deleted when it ends.
//!
//! Nothing is stored on them: see [`enid_model::volume`]. Whatever AWS refuses when an instance is
//! launched is refused here too, so that a configuration that Enid takes is one that AWS takes.

use std::collections::BTreeSet;

use enid_model::Tags;
use enid_model::id::{InstanceId, VolumeId};
use enid_model::instance::Instance;
use enid_model::instance_type::InstanceType;
use enid_model::state::RegionState;
use enid_model::volume::{BlockDevice, ROOT_DEVICE, Volume, VolumeForm};

use crate::error::ComputingError;
use crate::{Caller, Control, Draft, Error};

/// The size of the image, and so of the root device unless more is asked for.
pub const ROOT_SIZE_GIB: u32 = 8;

/// A block device that a launch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedDevice {
    /// Its name, such as `/dev/xvda`.
    pub name: String,
    /// Whether it goes with the instance; it does unless this says otherwise.
    pub delete_on_termination: Option<bool>,
    /// Its size in GiB.
    pub size: Option<i32>,
    /// Its type; AWS's default is `gp2`, and the image's root device is a `gp3`.
    pub volume_type: Option<String>,
    /// Its operations per second.
    pub iops: Option<i32>,
    /// Its throughput in MiB/s.
    pub throughput: Option<i32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key for that.
    pub kms_key: Option<String>,
}

/// A device of a launch that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    name: String,
    form: VolumeForm,
    delete_on_termination: bool,
}

/// The devices of each instance of a launch: the root device first, whether it is asked for or not.
pub(crate) fn devices(wanted: &[WantedDevice]) -> Result<Vec<Device>, Error> {
    let mut names = BTreeSet::new();
    if let Some(twice) = wanted.iter().find(|device| !names.insert(&device.name)) {
        let name = twice.name.as_str().into();
        return Err(ComputingError::DeviceNameTwice { name }.into());
    }
    let root = WantedDevice {
        name: ROOT_DEVICE.to_owned(),
        ..WantedDevice::default()
    };
    let asked = wanted.iter().find(|device| device.name == ROOT_DEVICE);
    let others = wanted.iter().filter(|device| device.name != ROOT_DEVICE);
    let all = std::iter::once(asked.unwrap_or(&root)).chain(others);
    all.map(device).collect()
}

/// The device of an instance whose launch asked for none.
pub(crate) fn root() -> Device {
    Device {
        name: ROOT_DEVICE.to_owned(),
        form: VolumeForm {
            volume_type: "gp3".to_owned(),
            size_gib: ROOT_SIZE_GIB,
            iops: Some(3_000),
            throughput: Some(125),
            encrypted: false,
            kms_key: None,
        },
        delete_on_termination: true,
    }
}

fn device(wanted: &WantedDevice) -> Result<Device, Error> {
    let is_root = wanted.name == ROOT_DEVICE;
    if wanted.name.is_empty() || wanted.name.len() > NAME_MAX {
        let name = wanted.name.chars().take(NAME_MAX).collect::<String>();
        return Err(ComputingError::DeviceNameInvalid { name: name.into() }.into());
    }
    let default = if is_root { "gp3" } else { "gp2" };
    let name = wanted.volume_type.as_deref().unwrap_or(default);
    let kind = VOLUME_TYPES.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| ComputingError::VolumeTypeUnknown { text: name.into() })?;
    let size_gib = match wanted.size {
        None if is_root => ROOT_SIZE_GIB,
        None => return Err(ComputingError::VolumeSizeMissing.into()),
        Some(size) => kind.within("size", size, kind.size)?,
    };
    if is_root && size_gib < ROOT_SIZE_GIB {
        let (size, least) = (size_gib.into(), ROOT_SIZE_GIB);
        return Err(ComputingError::RootDeviceTooSmall { size, least }.into());
    }
    if wanted.kms_key.is_some() && !wanted.encrypted {
        return Err(ComputingError::KmsKeyWithoutEncryption.into());
    }
    Ok(Device {
        name: wanted.name.clone(),
        form: VolumeForm {
            volume_type: kind.name.to_owned(),
            size_gib,
            iops: kind.iops(wanted.iops, size_gib)?,
            throughput: kind.throughput(wanted.throughput)?,
            encrypted: wanted.encrypted,
            kms_key: wanted.kms_key.clone(),
        },
        delete_on_termination: wanted.delete_on_termination.unwrap_or(true),
    })
}

/// A type of volumes with its limits, from the EBS User Guide's page on volume types.
struct VolumeType {
    name: &'static str,
    /// The least and the most GiB.
    size: (u32, u32),
    operations: Operations,
    /// The least and the most MiB/s, if they can be asked for.
    throughput: Option<(u32, u32)>,
}

/// How a type's operations per second come about.
enum Operations {
    /// They are asked for, from a default on.
    Asked { default: u32, most: u32 },
    /// They follow from the size.
    BySize,
    /// They must be asked for.
    Needed { most: u32 },
    /// The type does not say them.
    Unsaid,
}

const VOLUME_TYPES: [VolumeType; 7] = [
    VolumeType {
        name: "gp2",
        size: (1, 16_384),
        operations: Operations::BySize,
        throughput: None,
    },
    VolumeType {
        name: "gp3",
        size: (1, 65_536),
        operations: Operations::Asked {
            default: 3_000,
            most: 80_000,
        },
        throughput: Some((125, 2_000)),
    },
    VolumeType {
        name: "io1",
        size: (4, 16_384),
        operations: Operations::Needed { most: 64_000 },
        throughput: None,
    },
    VolumeType {
        name: "io2",
        size: (4, 65_536),
        operations: Operations::Needed { most: 256_000 },
        throughput: None,
    },
    VolumeType {
        name: "sc1",
        size: (125, 16_384),
        operations: Operations::Unsaid,
        throughput: None,
    },
    VolumeType {
        name: "st1",
        size: (125, 16_384),
        operations: Operations::Unsaid,
        throughput: None,
    },
    VolumeType {
        name: "standard",
        size: (1, 1_024),
        operations: Operations::Unsaid,
        throughput: None,
    },
];

impl VolumeType {
    fn within(
        &self,
        member: &'static str,
        value: i32,
        (least, most): (u32, u32),
    ) -> Result<u32, Error> {
        let found = u32::try_from(value).ok();
        let found = found.filter(|value| (least..=most).contains(value));
        let invalid = || ComputingError::VolumeNumberInvalid {
            member,
            value: value.into(),
            volume_type: self.name.into(),
            least,
            most,
        };
        found.ok_or_else(|| invalid().into())
    }

    fn unsupported(&self, member: &'static str) -> Error {
        let volume_type = self.name.into();
        ComputingError::VolumeMemberUnsupported {
            member,
            volume_type,
        }
        .into()
    }

    fn iops(&self, wanted: Option<i32>, size_gib: u32) -> Result<Option<u32>, Error> {
        match (&self.operations, wanted) {
            (Operations::Asked { default, .. }, None) => Ok(Some(*default)),
            (Operations::Asked { default, most }, Some(wanted)) => {
                self.within("iops", wanted, (*default, *most)).map(Some)
            }
            (Operations::Needed { most }, Some(wanted)) => {
                self.within("iops", wanted, (100, *most)).map(Some)
            }
            (Operations::Needed { .. }, None) => {
                let volume_type = self.name.into();
                Err(ComputingError::IopsMissing { volume_type }.into())
            }
            (Operations::BySize, None) => Ok(Some((3 * size_gib).clamp(100, 16_000))),
            (Operations::Unsaid, None) => Ok(None),
            (Operations::BySize | Operations::Unsaid, Some(_)) => Err(self.unsupported("iops")),
        }
    }

    fn throughput(&self, wanted: Option<i32>) -> Result<Option<u32>, Error> {
        match (self.throughput, wanted) {
            (Some((least, _)), None) => Ok(Some(least)),
            (Some(limits), Some(wanted)) => self.within("throughput", wanted, limits).map(Some),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(self.unsupported("throughput")),
        }
    }
}

/// Makes the volumes of a new instance.
pub(crate) fn create(
    draft: &mut Draft<'_>,
    instance: InstanceId,
    zone: &str,
    devices: &[Device],
    tags: Option<&Tags>,
) -> Vec<BlockDevice> {
    let mut made = Vec::with_capacity(devices.len());
    for device in devices {
        let volume = Volume {
            id: draft.mint(),
            zone: zone.to_owned(),
            form: device.form.clone(),
            create_time: draft.now,
            instance: Some(instance),
            tags: tags.cloned().unwrap_or_default(),
        };
        made.push(BlockDevice {
            name: device.name.clone(),
            volume: volume.id,
            attach_time: draft.now,
            delete_on_termination: device.delete_on_termination,
        });
        draft.create(volume);
    }
    made
}

/// What becomes of the volumes of an instance that ends: they go, or nobody has them.
pub(crate) fn leave(draft: &mut Draft<'_>, instance: &Instance) {
    for device in &instance.recorded.block_devices {
        let found = draft.region.volumes.get(&device.volume).cloned();
        if let Some(volume) = found {
            if device.delete_on_termination {
                draft.delete(&volume);
            } else {
                draft.edit(&volume, |volume| volume.instance = None);
            }
        }
    }
}

/// Deletes the volumes of an instance that has never been.
pub(crate) fn unmake(draft: &mut Draft<'_>, instance: &Instance) {
    for device in &instance.recorded.block_devices {
        let found = draft.region.volumes.get(&device.volume).cloned();
        if let Some(volume) = found {
            draft.delete(&volume);
        }
    }
}

/// The place of a volume in the instance that has it.
#[must_use]
pub fn place_of_volume<'a>(
    region: &'a RegionState,
    volume: &Volume,
) -> Option<(&'a Instance, &'a BlockDevice)> {
    let instance = region.instances.get(&volume.instance?)?;
    let mut devices = instance.recorded.block_devices.iter();
    let device = devices.find(|device| device.volume == volume.id)?;
    Some((instance, device))
}

/// What is said of an instance's CPU credits: nothing unless its type can burst.
#[must_use]
pub fn cpu_credits(instance: &Instance) -> Option<&str> {
    let name = &instance.instance_type;
    let default = match is_burstable(name) {
        false => return None,
        // The first generation of these that AWS kept pays for nothing that is not asked for.
        true if name.starts_with("t2.") => "standard",
        true => "unlimited",
    };
    Some(instance.recorded.cpu_credits.as_deref().unwrap_or(default))
}

/// A credit specification for a type of instances.
pub(crate) fn check_cpu_credits(wanted: &str, instance_type: &str) -> Result<(), Error> {
    if !matches!(wanted, "standard" | "unlimited") {
        let text = wanted.chars().take(100).collect::<String>().into();
        return Err(ComputingError::CpuCreditsUnknown { text }.into());
    }
    if !is_burstable(instance_type) {
        let instance_type = instance_type.into();
        return Err(ComputingError::CpuCreditsUnsupported { instance_type }.into());
    }
    Ok(())
}

/// Whether a type can burst: AWS has them in its `t` families.
fn is_burstable(instance_type: &str) -> bool {
    let digit = |byte: &u8| byte.is_ascii_digit();
    instance_type.starts_with('t')
        && instance_type.as_bytes().get(1).is_some_and(digit)
        && InstanceType::named(instance_type).is_some()
}

impl Control {
    /// DeleteVolume: of one that no instance has.
    pub async fn delete_volume(&self, caller: &Caller, id: VolumeId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let volume = draft.require::<Volume>(id)?;
            if let Some(instance) = volume.instance {
                let volume = id;
                return Err(ComputingError::VolumeInUse { volume, instance }.into());
            }
            draft.delete(&volume);
            Ok(())
        })
        .await
    }
}

/// The longest name of a device.
const NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunInstances;
    use crate::fixture::{caller, control, new_instance, place};

    fn wanted(name: &str, volume_type: &str, size: i32) -> WantedDevice {
        WantedDevice {
            name: name.to_owned(),
            volume_type: Some(volume_type.to_owned()),
            size: Some(size),
            ..WantedDevice::default()
        }
    }

    #[test]
    fn who_asks_for_no_device_gets_the_root_device() {
        assert_eq!(devices(&[]), Ok(vec![root()]));
    }

    #[test]
    fn a_device_is_what_its_type_can_be() {
        let made = devices(&[
            WantedDevice {
                iops: Some(4_000),
                ..wanted("/dev/sdb", "gp3", 100)
            },
            wanted("/dev/sdc", "gp2", 50),
            wanted("/dev/sdd", "st1", 500),
        ])
        .expect("devices");
        let shown: Vec<_> = made
            .iter()
            .map(|d| (&*d.name, d.form.size_gib, d.form.iops, d.form.throughput))
            .collect();
        assert_eq!(
            shown,
            [
                (ROOT_DEVICE, 8, Some(3_000), Some(125)),
                ("/dev/sdb", 100, Some(4_000), Some(125)),
                ("/dev/sdc", 50, Some(150), None),
                ("/dev/sdd", 500, None, None),
            ]
        );
        let with = |change: fn(&mut WantedDevice)| {
            let mut device = wanted("/dev/sdb", "gp2", 10);
            change(&mut device);
            devices(&[device]).map(|_| ()).map_err(|error| error.code())
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|d| d.size = None), Err("MissingParameter"));
        assert_eq!(with(|d| d.size = Some(0)), Err("InvalidParameterValue"));
        let combination = Err("InvalidParameterCombination");
        assert_eq!(with(|d| d.iops = Some(100)), combination);
        assert_eq!(with(|d| d.throughput = Some(125)), combination);
        let named = |d: &mut WantedDevice, kind: &str| d.volume_type = Some(kind.to_owned());
        let unknown = devices(&[{
            let mut device = wanted("/dev/sdb", "gp2", 10);
            named(&mut device, "gp9");
            device
        }]);
        assert_eq!(
            unknown.map(|_| ()).map_err(|e| e.code()),
            Err("InvalidParameterValue")
        );
        assert_eq!(with(|d| d.name.clear()), Err("InvalidParameterValue"));
        let kms = with(|d| d.kms_key = Some("key".to_owned()));
        assert_eq!(kms, Err("InvalidParameterDependency"));
        let small = with(|d| {
            d.name = ROOT_DEVICE.to_owned();
            d.size = Some(4);
        });
        assert_eq!(small, Err("InvalidBlockDeviceMapping"));
        let io = devices(&[wanted("/dev/sdb", "io1", 10)]);
        assert_eq!(
            io.map(|_| ()).map_err(|e| e.code()),
            Err("MissingParameter")
        );
        let twice = devices(&[wanted("/dev/sdb", "gp2", 1), wanted("/dev/sdb", "gp2", 1)]);
        assert_eq!(
            twice.map(|_| ()).map_err(|e| e.code()),
            Err("InvalidBlockDeviceMapping")
        );
    }

    #[tokio::test]
    async fn volumes_go_with_their_instance_or_stay() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let input = RunInstances {
            block_devices: vec![WantedDevice {
                delete_on_termination: Some(false),
                ..wanted("/dev/sdb", "gp3", 20)
            }],
            ..new_instance(&place)
        };
        let launched = control.run_instances(&caller, input).await;
        let instance = launched.expect("a launch").instances.remove(0);
        let [root, other] = instance.recorded.block_devices.as_slice() else {
            panic!("two devices");
        };
        let in_use = control.delete_volume(&caller, other.volume).await;
        assert_eq!(in_use.map_err(|error| error.code()), Err("VolumeInUse"));
        let ended = control.terminate_instances(&caller, &[instance.id]).await;
        assert!(ended.is_ok());
        let region = control.read(&caller).await.expect("the region is alive");
        assert!(!region.volumes.contains_key(&root.volume));
        let kept = region.volumes.get(&other.volume).expect("it stays");
        assert_eq!(kept.instance, None);
        assert_eq!(control.delete_volume(&caller, other.volume).await, Ok(()));
        let again = control.delete_volume(&caller, other.volume).await;
        assert_eq!(again, Err(Error::not_found(other.volume)));
        // The groups of the fixture have no claims of their names.
        let findings = enid_model::check::check(&control.store().state());
        let mut kinds = findings.iter().map(|finding| finding.kind.as_str());
        assert!(kinds.all(|kind| kind == "security-group"), "{findings:?}");
    }

    #[tokio::test]
    async fn only_what_can_burst_has_credits() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        for (instance_type, wanted, told) in [
            ("t3.micro", None, Some("unlimited")),
            ("t2.micro", None, Some("standard")),
            ("t3.micro", Some("standard"), Some("standard")),
            ("m5.large", None, None),
        ] {
            let mut input = RunInstances {
                instance_type: Some(instance_type.to_owned()),
                ..new_instance(&place)
            };
            input.recorded.cpu_credits = wanted.map(str::to_owned);
            let launched = control.run_instances(&caller, input).await;
            let instance = launched.expect("a launch").instances.remove(0);
            assert_eq!(cpu_credits(&instance), told, "{instance_type}");
        }
        let check = |wanted, kind| check_cpu_credits(wanted, kind).map_err(|error| error.code());
        assert_eq!(
            check("standard", "m5.large"),
            Err("InvalidParameterCombination")
        );
        assert_eq!(check("endless", "t3.micro"), Err("InvalidParameterValue"));
    }
}
