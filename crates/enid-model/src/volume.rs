//! A block device of an instance: recorded, because storage is not networking.
//!
//! What an instance keeps is in its sandbox's root file system. A volume is what AWS would tell of
//! it: clients ask for it, change it with the instance, and expect its id to stay.

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{InstanceId, VolumeId};
use crate::time::Timestamp;

/// The device that an instance boots from.
pub const ROOT_DEVICE: &str = "/dev/xvda";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// The zone of the instance that it was made for.
    pub zone: String,
    /// What it is.
    pub form: VolumeForm,
    /// When it was made.
    pub create_time: Timestamp,
    /// The instance that has it. The instance says where.
    pub instance: Option<InstanceId>,
    /// Its tags.
    pub tags: Tags,
}

/// What a volume is, whoever has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeForm {
    /// Such as `gp3`.
    pub volume_type: String,
    /// Its size in GiB.
    pub size_gib: u32,
    /// Its operations per second, of types that say them.
    pub iops: Option<u32>,
    /// Its throughput in MiB/s, of types that say it.
    pub throughput: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key that a client named for that.
    pub kms_key: Option<String>,
}

/// A volume's place in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// The device's name, such as `/dev/xvda`.
    pub name: String,
    /// The volume.
    pub volume: VolumeId,
    /// When it was attached.
    pub attach_time: Timestamp,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
}
