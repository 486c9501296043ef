//! Any stored record, and its form in the store: JSON with a format version.

use serde::{Deserialize, Serialize};

use crate::address::{ElasticIp, PublicAddress};
use crate::alarm::{Alarm, AlarmAction, AlarmHistory};
use crate::anomaly_detector::AnomalyDetector;
use crate::certificate::Certificate;
use crate::dashboard::Dashboard;
use crate::dhcp_options::DhcpOptions;
use crate::flow_log::FlowLog;
use crate::gateway::{EgressOnlyInternetGateway, InternetGateway};
use crate::instance::Instance;
use crate::key::Kind;
use crate::key_pair::KeyPair;
use crate::launch_template::LaunchTemplate;
use crate::listener::Listener;
use crate::load_balancer::LoadBalancer;
use crate::log_group::{LogGroup, LogStream};
use crate::nat_gateway::NatGateway;
use crate::network_acl::NetworkAcl;
use crate::network_interface::NetworkInterface;
use crate::network_interface_permission::{LentInterface, NetworkInterfacePermission};
use crate::prefix_list::PrefixList;
use crate::region::RegionRecord;
use crate::route_table::RouteTable;
use crate::security_group::SecurityGroup;
use crate::subnet::{AddressLease, Ipv6Lease, Ipv6PrefixLease, Subnet, SubnetCidrReservation};
use crate::subscription::Subscription;
use crate::target::Target;
use crate::target_group::TargetGroup;
use crate::topic::Topic;
use crate::traffic_mirror::{TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget};
use crate::volume::Volume;
use crate::vpc::Vpc;
use crate::vpc_peering_connection::VpcPeeringConnection;

/// The format that this version writes. A reader takes its own and every older one.
pub const FORMAT: u32 = 1;

/// What a record of this format starts with, written by [`Outgoing`].
const CURRENT: &str = "{\"v\":1,";

/// The claim of a name by a group; its key is the VPC and the name in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupName {
    /// The group that has the name.
    pub group: crate::id::SecurityGroupId,
}

/// The claim of a name that is unique in a region; its key is the prefix of the holder's id, a
/// slash, and the name: `key/alice`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameClaim {
    /// The id of the resource that has the name.
    pub holder: String,
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

/// Each kind with the type of its records.
macro_rules! records {
    ($($kind:ident($record:ident),)*) => {
        /// A stored record.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Record {
            $(
                #[doc = concat!("See [`", stringify!($record), "`].")]
                $kind($record),
            )*
        }

        impl Record {
            /// What it is.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// Its stored form.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                match self {
                    $(Self::$kind(record) => write(record),)*
                }
            }

            /// Reads the stored form of a record of a kind.
            pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Result<Self, UnreadableRecord> {
                let shape = |source| UnreadableRecord::Shape {
                    kind: kind.word(),
                    source,
                };
                // Reading the version alone goes through the whole text, which is spared if it
                // starts as this version writes it.
                if !bytes.starts_with(CURRENT.as_bytes()) {
                    let Version { v } = serde_json::from_slice(bytes).map_err(shape)?;
                    if v > FORMAT {
                        return Err(UnreadableRecord::TooNew(v));
                    }
                }
                match kind {
                    $(Kind::$kind => serde_json::from_slice(bytes).map(Self::$kind),)*
                }
                .map_err(shape)
            }
        }
    };
}

records! {
    AddressLease(AddressLease),
    Alarm(Alarm),
    AlarmAction(AlarmAction),
    AlarmHistory(AlarmHistory),
    AnomalyDetector(AnomalyDetector),
    Certificate(Certificate),
    Dashboard(Dashboard),
    DhcpOptions(DhcpOptions),
    EgressOnlyInternetGateway(EgressOnlyInternetGateway),
    ElasticIp(ElasticIp),
    FlowLog(FlowLog),
    GroupName(GroupName),
    Instance(Instance),
    InternetGateway(InternetGateway),
    Ipv6Lease(Ipv6Lease),
    Ipv6PrefixLease(Ipv6PrefixLease),
    KeyPair(KeyPair),
    LaunchTemplate(LaunchTemplate),
    LentInterface(LentInterface),
    Listener(Listener),
    LoadBalancer(LoadBalancer),
    LogGroup(LogGroup),
    LogStream(LogStream),
    NameClaim(NameClaim),
    NatGateway(NatGateway),
    NetworkAcl(NetworkAcl),
    NetworkInterface(NetworkInterface),
    NetworkInterfacePermission(NetworkInterfacePermission),
    PrefixList(PrefixList),
    PublicAddress(PublicAddress),
    Region(RegionRecord),
    RouteTable(RouteTable),
    SecurityGroup(SecurityGroup),
    Subnet(Subnet),
    SubnetCidrReservation(SubnetCidrReservation),
    Subscription(Subscription),
    Target(Target),
    TargetGroup(TargetGroup),
    Token(Token),
    Topic(Topic),
    TrafficMirrorFilter(TrafficMirrorFilter),
    TrafficMirrorSession(TrafficMirrorSession),
    TrafficMirrorTarget(TrafficMirrorTarget),
    Volume(Volume),
    Vpc(Vpc),
    VpcPeeringConnection(VpcPeeringConnection),
}

fn write<T: Serialize>(record: &T) -> Vec<u8> {
    // Unwrap: no record has a map with keys that are neither text nor numbers, nor a failing
    // serializer.
    serde_json::to_vec(&Outgoing { v: FORMAT, record }).expect("records serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_starts_with_its_format_and_a_newer_one_is_refused() {
        let token = Record::Token(Token {
            parameters: String::new(),
            made: Vec::new(),
            at: crate::time::Timestamp(0),
        });
        let bytes = token.to_bytes();
        assert!(bytes.starts_with(CURRENT.as_bytes()));
        assert_eq!(
            Record::from_bytes(Kind::Token, &bytes).ok().as_ref(),
            Some(&token)
        );
        // Whatever the order of its members.
        let text = String::from_utf8_lossy(&bytes).replacen(CURRENT, "{", 1);
        for (format, is_read) in [(FORMAT, true), (FORMAT + 1, false)] {
            let text = text.replacen('}', &format!(",\"v\":{format}}}"), 1);
            let read = Record::from_bytes(Kind::Token, text.as_bytes());
            assert_eq!(read.is_ok(), is_read, "{text}");
        }
    }
}
