//! Any stored record, and its form in the store: JSON with a format version.

use serde::{Deserialize, Serialize};

use crate::instance::Instance;
use crate::key::Kind;
use crate::network_interface::NetworkInterface;
use crate::region::RegionRecord;
use crate::security_group::SecurityGroup;
use crate::subnet::{AddressLease, Subnet};
use crate::vpc::Vpc;

/// The format that this version writes. A reader takes its own and every older one.
pub const FORMAT: u32 = 1;

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// See [`AddressLease`].
    AddressLease(AddressLease),
    /// See [`GroupName`].
    GroupName(GroupName),
    /// See [`Instance`].
    Instance(Instance),
    /// See [`NetworkInterface`].
    NetworkInterface(NetworkInterface),
    /// See [`RegionRecord`].
    Region(RegionRecord),
    /// See [`SecurityGroup`].
    SecurityGroup(SecurityGroup),
    /// See [`Subnet`].
    Subnet(Subnet),
    /// See [`Token`].
    Token(Token),
    /// See [`Vpc`].
    Vpc(Vpc),
}

/// The claim of a name by a group; its key is the VPC and the name in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupName {
    /// The group that has the name.
    pub group: crate::id::SecurityGroupId,
}

/// What a client token was used for; its key is the operation and the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// A digest of the request's parameters, the token itself left out.
    pub parameters: String,
    /// The ids of what was made.
    pub made: Vec<String>,
    /// When; tokens are forgotten after a day.
    pub at: crate::time::Timestamp,
}

/// A stored value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// The value is not the JSON of a record of its kind.
    #[error("not a record of kind {kind}")]
    Shape {
        /// The kind that its key names.
        kind: &'static str,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// A newer version of Enid wrote it.
    #[error("written in format {0}, and this version reads up to {FORMAT}")]
    TooNew(u32),
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    v: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Record {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::AddressLease(_) => Kind::AddressLease,
            Self::GroupName(_) => Kind::GroupName,
            Self::Instance(_) => Kind::Instance,
            Self::NetworkInterface(_) => Kind::NetworkInterface,
            Self::Region(_) => Kind::Region,
            Self::SecurityGroup(_) => Kind::SecurityGroup,
            Self::Subnet(_) => Kind::Subnet,
            Self::Token(_) => Kind::Token,
            Self::Vpc(_) => Kind::Vpc,
        }
    }

    /// Its stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        fn write<T: Serialize>(record: &T) -> Vec<u8> {
            // Unwrap: no record has a map with keys that are not text, nor a failing serializer.
            serde_json::to_vec(&Outgoing { v: FORMAT, record }).expect("records serialize")
        }
        match self {
            Self::AddressLease(record) => write(record),
            Self::GroupName(record) => write(record),
            Self::Instance(record) => write(record),
            Self::NetworkInterface(record) => write(record),
            Self::Region(record) => write(record),
            Self::SecurityGroup(record) => write(record),
            Self::Subnet(record) => write(record),
            Self::Token(record) => write(record),
            Self::Vpc(record) => write(record),
        }
    }

    /// Reads the stored form of a record of a kind.
    pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        let shape = |source| UnreadableRecord::Shape {
            kind: kind.word(),
            source,
        };
        let Version { v } = serde_json::from_slice(bytes).map_err(shape)?;
        if v > FORMAT {
            return Err(UnreadableRecord::TooNew(v));
        }
        match kind {
            Kind::AddressLease => serde_json::from_slice(bytes).map(Self::AddressLease),
            Kind::GroupName => serde_json::from_slice(bytes).map(Self::GroupName),
            Kind::Instance => serde_json::from_slice(bytes).map(Self::Instance),
            Kind::NetworkInterface => serde_json::from_slice(bytes).map(Self::NetworkInterface),
            Kind::Region => serde_json::from_slice(bytes).map(Self::Region),
            Kind::SecurityGroup => serde_json::from_slice(bytes).map(Self::SecurityGroup),
            Kind::Subnet => serde_json::from_slice(bytes).map(Self::Subnet),
            Kind::Token => serde_json::from_slice(bytes).map(Self::Token),
            Kind::Vpc => serde_json::from_slice(bytes).map(Self::Vpc),
        }
        .map_err(shape)
    }
}
