//! What volumes and the other recorded parts of instances say.

use enid_model::id::{InstanceId, VolumeId};

// By code, then by name, as in `Error`.
errors! {
    /// Why what is recorded of an instance was not.
    enum ComputingError
    /// An instance of a type that cannot burst has no CPU credits.
    NotBurstable { id: InstanceId } => "InvalidInstanceID",
        "The instance '{id}' is not of a burstable performance type.";
    /// A device name that is used twice.
    DeviceNameTwice { name: Box<str> } => "InvalidBlockDeviceMapping",
        "The device '{name}' is used in more than one block-device mapping";
    /// The root device is smaller than the image.
    RootDeviceTooSmall { size: i64, least: u32 } => "InvalidBlockDeviceMapping",
        "Volume of size {size}GB is smaller than the image, expect size>= {least}GB";
    /// A device name that the instance does not have.
    DeviceUnknown { name: Box<str> } => "InvalidInstanceAttributeValue",
        "No device is currently mapped at {name}";
    /// A volume type does not take the member.
    VolumeMemberUnsupported { member: &'static str, volume_type: Box<str> } => "InvalidParameterCombination",
        "The parameter {member} is not supported for {volume_type} volumes.";
    /// A KMS key for a volume that is not encrypted.
    KmsKeyWithoutEncryption => "InvalidParameterDependency",
        "The parameter KmsKeyId requires the parameter Encrypted to be set.";
    /// A credit specification that is none.
    CpuCreditsUnknown { text: Box<str> } => "InvalidParameterValue",
        "Value ({text}) for parameter cpuCredits is invalid. Expecting standard or unlimited.";
    /// A credit specification for a type that cannot burst.
    CpuCreditsUnsupported { instance_type: Box<str> } => "InvalidParameterCombination",
        "The instance type {instance_type} does not support CPU credit specification.";
    /// A device name that is empty or too long.
    DeviceNameInvalid { name: Box<str> } => "InvalidParameterValue",
        "Value ({name}) for parameter deviceName is invalid. Invalid device name.";
    /// A number that the volume type does not have.
    VolumeNumberInvalid { member: &'static str, value: i64, volume_type: Box<str>, least: u32, most: u32 } => "InvalidParameterValue",
        "Value ({value}) for parameter {member} is invalid. Volumes of type {volume_type} have {least} to {most}.";
    /// A volume type that is none.
    VolumeTypeUnknown { text: Box<str> } => "InvalidParameterValue",
        "Value ({text}) for parameter volumeType is invalid.";
    /// A volume id names none.
    VolumeNotFound { id: Box<str> } => "InvalidVolume.NotFound", "The volume '{id}' does not exist.";
    /// Types of provisioned operations need their number.
    IopsMissing { volume_type: Box<str> } => "MissingParameter",
        "The parameter iops must be specified for {volume_type} volumes.";
    /// A new volume that is made from nothing has a size.
    VolumeSizeMissing => "MissingParameter", "The request must contain the parameter size or snapshotId";
    /// A volume that an instance has is not deleted.
    VolumeInUse { volume: VolumeId, instance: InstanceId } => "VolumeInUse",
        "Volume {volume} is currently attached to {instance}";
}
