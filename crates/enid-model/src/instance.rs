//! An instance.

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{InstanceId, ReservationId, SubnetId, VpcId};
use crate::instance_metadata::MetadataOptions;
use crate::private_dns_name::PrivateDnsNameOptions;
use crate::time::Timestamp;
use crate::volume::BlockDevice;

/// An instance: what a host's driver runs, with its interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The launch that it came from.
    pub reservation: ReservationId,
    /// Its number in that launch.
    pub launch_index: u32,
    /// The image id that it was launched from; see [`crate::image`].
    pub image: String,
    /// Its type, such as `t3.micro`.
    pub instance_type: String,
    /// The VPC of its primary interface.
    pub vpc: VpcId,
    /// The subnet of its primary interface.
    pub subnet: SubnetId,
    /// The zone of that subnet.
    pub zone: String,
    /// What it shall be. A host makes it so, and says what it sees.
    pub desired: DesiredState,
    /// How many times it has been told to boot: launch, start and reboot each add one.
    pub boot: u32,
    /// When it was launched or last started.
    pub launch_time: Timestamp,
    /// Why it left the running state, when it did.
    pub state_reason: Option<StateReason>,
    /// When it was told to stop or terminate.
    pub transition_time: Option<Timestamp>,
    /// What runs at its first boot, decoded.
    #[serde(default, with = "user_data")]
    pub user_data: Option<Vec<u8>>,
    /// Whether TerminateInstances refuses it.
    pub disable_api_termination: bool,
    /// Whether StopInstances refuses it.
    #[serde(default)]
    pub disable_api_stop: bool,
    /// Whether a halt from inside terminates it (else it stops).
    pub terminate_on_shutdown: bool,
    /// How it may read its metadata.
    #[serde(default)]
    pub metadata_options: MetadataOptions,
    /// Its private names.
    #[serde(default)]
    pub private_dns_name_options: PrivateDnsNameOptions,
    /// The client token of its launch.
    pub client_token: Option<String>,
    /// What lies outside networking: stored and reported back.
    pub recorded: Recorded,
    /// Its tags.
    pub tags: Tags,
}

/// Attributes outside networking; monitoring says how often metrics are published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorded {
    /// The name of a key pair.
    pub key_name: Option<String>,
    /// Its public key at the launch, in OpenSSH's format; the instance's user is known by it.
    pub public_key: Option<String>,
    /// Detailed monitoring: metrics every minute.
    pub monitoring: bool,
    /// EBS optimisation.
    pub ebs_optimized: bool,
    /// Its volumes, the one it boots from first. A terminated instance has none.
    pub block_devices: Vec<BlockDevice>,
    /// How it pays for bursts, if its type can burst: `standard` or `unlimited`.
    pub cpu_credits: Option<String>,
}

/// What an instance shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// A sandbox runs, its interfaces are up.
    Running,
    /// No process runs; interfaces and root file system are kept.
    Stopped,
    /// Gone; the record stays visible for an hour.
    Terminated,
}

/// Why an instance left the running state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    /// Such as `Client.UserInitiatedShutdown`.
    pub code: String,
    /// For people.
    pub message: String,
}

mod user_data {
    //! User data are bytes; JSON holds them as a string of hexadecimal digits.

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        data: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match data {
            None => serializer.serialize_none(),
            Some(bytes) => {
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                serializer.serialize_some(&text)
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect();
        match bytes {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(serde::de::Error::custom("user data is not hexadecimal")),
        }
    }
}
