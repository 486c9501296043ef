//! A flow log: of what records are made, with which fields, and where they go.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{EniId, FlowLogId, SubnetId, VpcId};
use crate::time::Timestamp;

/// A flow log. It never changes, but for its tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLog {
    /// Its id.
    pub id: FlowLogId,
    /// Of what network interfaces it tells.
    pub resource: FlowLogResource,
    /// What of their traffic.
    pub traffic: TrafficType,
    /// Where its records go.
    pub destination: FlowLogDestination,
    /// Their fields, in their order.
    pub format: LogFormat,
    /// The seconds that one record may tell of.
    pub interval_s: u32,
    /// What happened before is not told.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// Of what network interfaces a flow log tells: present and future ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowLogResource {
    /// One.
    NetworkInterface(EniId),
    /// Those of a subnet.
    Subnet(SubnetId),
    /// Those of a VPC.
    Vpc(VpcId),
}

impl fmt::Display for FlowLogResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkInterface(id) => id.fmt(f),
            Self::Subnet(id) => id.fmt(f),
            Self::Vpc(id) => id.fmt(f),
        }
    }
}

/// What traffic a flow log tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficType {
    /// What security groups and network ACLs let pass.
    Accept,
    /// Both.
    All,
    /// What they do not.
    Reject,
}

impl TrafficType {
    /// AWS's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::All => "ALL",
            Self::Reject => "REJECT",
        }
    }

    /// Whether it is told whether something was accepted.
    #[must_use]
    pub fn tells(self, is_accepted: bool) -> bool {
        match self {
            Self::Accept => is_accepted,
            Self::All => true,
            Self::Reject => !is_accepted,
        }
    }
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowLogDestination {
    /// A log group, which is made if it is missing.
    LogGroup {
        /// Its name.
        name: String,
        /// Whether it was given as an ARN.
        as_arn: bool,
        /// The role that may write to it.
        role: String,
    },
    /// Files in a bucket.
    Bucket {
        /// Its name.
        bucket: String,
        /// The folder in it, with a slash at its end; empty for none.
        folder: String,
        /// Whether the files are Parquet, and not text.
        is_parquet: bool,
        /// Whether names of directories are as Hive has them.
        is_hive_compatible: bool,
        /// Whether there is a directory for each hour, and not only for each day.
        is_per_hour: bool,
    },
}

/// The fields of a flow log's records: at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFormat(Vec<Field>);

/// Why a format cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedFormat {
    /// It has no fields, or is not fields in `${}` with spaces between them.
    #[error("the format is not a list of fields")]
    Syntax,
    /// Fields that there are not.
    #[error("unknown fields: {}", .0.join(", "))]
    Unknown(Vec<String>),
}

impl LogFormat {
    /// A format as clients write it: `${field} ${field}`.
    pub fn parse(text: &str) -> Result<Self, MalformedFormat> {
        let names = text.split(' ').filter(|word| !word.is_empty()).map(|word| {
            let name = word.strip_prefix("${").and_then(|it| it.strip_suffix('}'));
            name.filter(|name| !name.is_empty())
                .ok_or(MalformedFormat::Syntax)
        });
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let unknown = names.iter().filter(|name| Field::named(name).is_none());
        let unknown: Vec<String> = unknown.map(|name| (*name).to_owned()).collect();
        if !unknown.is_empty() {
            return Err(MalformedFormat::Unknown(unknown));
        }
        let fields: Vec<Field> = names.into_iter().filter_map(Field::named).collect();
        if fields.is_empty() {
            return Err(MalformedFormat::Syntax);
        }
        Ok(Self(fields))
    }

    /// The fields, in their order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.0
    }

    /// What records of this format have as `version`: 2 for the default one, else the highest version
    /// among AWS's fields.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0
            .iter()
            .map(|field| field.version())
            .max()
            .unwrap_or(2)
    }
}

/// The format that flow logs have unless they say otherwise.
impl Default for LogFormat {
    fn default() -> Self {
        let fields = Field::ALL.iter().filter(|field| field.version() == 2);
        Self(fields.filter(|field| !field.is_own()).copied().collect())
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, field) in self.0.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(f, "{space}${{{}}}", field.name())?;
        }
        Ok(())
    }
}

impl From<LogFormat> for String {
    fn from(format: LogFormat) -> Self {
        format.to_string()
    }
}

impl TryFrom<String> for LogFormat {
    type Error = MalformedFormat;

    fn try_from(text: String) -> Result<Self, MalformedFormat> {
        Self::parse(&text)
    }
}

/// Declares every field once: its name, the version of AWS's that brought it (0 for Enid's own), and
/// what type it has in Parquet.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident $name:literal $version:literal $kind:ident;)*) => {
        /// A field of a record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            /// All fields, the default format's first and in its order.
            pub const ALL: &'static [Self] = &[$(Self::$field,)*];

            /// The field's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }

            /// What type it has in Parquet.
            #[must_use]
            pub fn kind(self) -> FieldKind {
                match self { $(Self::$field => FieldKind::$kind,)* }
            }

            fn number(self) -> u32 {
                match self { $(Self::$field => $version,)* }
            }
        }
    };
}

fields! {
    /// The version of the format.
    Version "version" 2 Int32;
    /// The account that owns the interface.
    AccountId "account-id" 2 Text;
    /// The interface.
    InterfaceId "interface-id" 2 Text;
    /// The source; the interface's own primary address if it is the interface's.
    SrcAddr "srcaddr" 2 Text;
    /// The destination, likewise.
    DstAddr "dstaddr" 2 Text;
    /// The source port, 0 without one.
    SrcPort "srcport" 2 Int32;
    /// The destination port, 0 without one.
    DstPort "dstport" 2 Int32;
    /// The IP protocol's number.
    Protocol "protocol" 2 Int32;
    /// Packets.
    Packets "packets" 2 Int64;
    /// Bytes, IP headers included.
    Bytes "bytes" 2 Int64;
    /// When the first packet came.
    Start "start" 2 Int64;
    /// When the last came.
    End "end" 2 Int64;
    /// `ACCEPT` or `REJECT`.
    Action "action" 2 Text;
    /// `OK`, `NODATA` or `SKIPDATA`.
    LogStatus "log-status" 2 Text;
    /// The VPC.
    VpcId "vpc-id" 3 Text;
    /// The subnet.
    SubnetId "subnet-id" 3 Text;
    /// The instance that the interface is attached to.
    InstanceId "instance-id" 3 Text;
    /// The TCP flags of all packets.
    TcpFlags "tcp-flags" 3 Int32;
    /// `IPv4` or `IPv6`.
    Type "type" 3 Text;
    /// The packet's own source.
    PktSrcAddr "pkt-srcaddr" 3 Text;
    /// The packet's own destination.
    PktDstAddr "pkt-dstaddr" 3 Text;
    /// The region.
    Region "region" 4 Text;
    /// The id of the zone.
    AzId "az-id" 4 Text;
    /// What sort of sublocation it is in: in none.
    SublocationType "sublocation-type" 4 Text;
    /// In which: in none.
    SublocationId "sublocation-id" 4 Text;
    /// The AWS service that the source belongs to: to none, the outside is not AWS.
    PktSrcAwsService "pkt-src-aws-service" 5 Text;
    /// The destination, likewise.
    PktDstAwsService "pkt-dst-aws-service" 5 Text;
    /// `ingress` or `egress`.
    FlowDirection "flow-direction" 5 Text;
    /// Which way it goes.
    TrafficPath "traffic-path" 5 Int32;
    /// Why it was rejected, other than by groups and ACLs: never.
    RejectReason "reject-reason" 8 Text;
    /// Enid's own: the security group rule that let it pass.
    SgRuleId "sg-rule-id" 0 Text;
    /// Enid's own: the number of the network ACL's entry that decided.
    NaclEntry "nacl-entry" 0 Text;
    /// Enid's own: the route that decided, its kind and prefix length.
    Route "route" 0 Text;
    /// Enid's own: why it was dropped.
    DropReason "drop-reason" 0 Text;
    /// Enid's own: how long the other side took to answer in the connection's handshake, in microseconds.
    RttUs "rtt-us" 0 Int32;
    /// Enid's own: packets of TCP that were sent again.
    Retransmits "retransmits" 0 Int64;
}

/// What type a field has in Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// 32-bit numbers.
    Int32,
    /// 64-bit numbers.
    Int64,
    /// Text.
    Text,
}

impl Field {
    /// The field with this name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|field| field.name() == name).copied()
    }

    /// The version that brought it; Enid's own count as of the first.
    #[must_use]
    pub fn version(self) -> u32 {
        self.number().max(2)
    }

    fn is_own(self) -> bool {
        self.number() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_format_is_the_one_of_version_2() {
        let expected = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} \
                        ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";
        let format = LogFormat::default();
        assert_eq!(format.to_string(), expected);
        assert_eq!(LogFormat::parse(expected), Ok(format.clone()));
        assert_eq!(format.version(), 2);
    }

    #[test]
    fn a_format_has_the_highest_version_of_its_fields() {
        for (text, version) in [
            ("${srcaddr}", 2),
            ("${tcp-flags} ${version}", 3),
            ("${az-id} ${traffic-path}", 5),
            ("${reject-reason}", 8),
            ("${sg-rule-id}", 2),
        ] {
            assert_eq!(LogFormat::parse(text).map(|it| it.version()), Ok(version));
        }
    }

    #[test]
    fn other_formats_are_refused_and_all_unknown_fields_named() {
        let unknown = ["ecs-task-id", "ecs-service-name"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            LogFormat::parse("${ecs-task-id} ${srcaddr} ${ecs-service-name}"),
            Err(MalformedFormat::Unknown(unknown))
        );
        for text in [
            "",
            "  ",
            "srcaddr",
            "${srcaddr},${dstaddr}",
            "${srcaddr",
            "${}",
        ] {
            assert!(LogFormat::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rejected_traffic_is_told_to_those_who_ask_for_it() {
        assert!(TrafficType::All.tells(true) && TrafficType::All.tells(false));
        assert!(TrafficType::Accept.tells(true) && !TrafficType::Accept.tells(false));
        assert!(!TrafficType::Reject.tells(true) && TrafficType::Reject.tells(false));
    }
}
