//! Where a record lives: (account, region, kind, name).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A twelve-digit AWS account number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub u64);

impl AccountId {
    /// The account that a new data directory's root key belongs to.
    pub const DEFAULT: Self = Self(123_456_789_012);
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// The text is not an account number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account is twelve decimal digits")]
pub struct MalformedAccount;

impl FromStr for AccountId {
    type Err = MalformedAccount;

    fn from_str(text: &str) -> Result<Self, MalformedAccount> {
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MalformedAccount);
        }
        text.parse().map(Self).or(Err(MalformedAccount))
    }
}

/// The name of an AWS region, such as `eu-west-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionName(Arc<str>);

impl RegionName {
    /// The region with this name; the name is not checked here.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One account's part of one region: nothing in it sees anything outside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Whose resources these are.
    pub account: AccountId,
    /// Where they are.
    pub region: RegionName,
}

impl Scope {
    /// The scope of what is claimed across all accounts and regions: public addresses.
    #[must_use]
    pub fn everywhere() -> Self {
        Self {
            account: AccountId(0),
            region: RegionName::new("everywhere"),
        }
    }
}

/// What a record is. The word is part of the stored key, so it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The claim of one private IPv4 address of a subnet by one network interface.
    AddressLease,
    /// An alarm of CloudWatch.
    Alarm,
    /// What an alarm is to do.
    AlarmAction,
    /// What happened to an alarm.
    AlarmHistory,
    /// An anomaly detector of CloudWatch.
    AnomalyDetector,
    /// A certificate of ACM.
    Certificate,
    /// A dashboard of CloudWatch.
    Dashboard,
    /// A DHCP option set.
    DhcpOptions,
    /// An egress-only internet gateway.
    EgressOnlyInternetGateway,
    /// An Elastic IP address.
    ElasticIp,
    /// A flow log.
    FlowLog,
    /// The name of a security group within its VPC.
    GroupName,
    /// An instance.
    Instance,
    /// An internet gateway.
    InternetGateway,
    /// The claim of one IPv6 address of a subnet by one network interface.
    Ipv6Lease,
    /// The claim of an IPv6 prefix of a subnet by one network interface.
    Ipv6PrefixLease,
    /// A key pair.
    KeyPair,
    /// A launch template with its versions.
    LaunchTemplate,
    /// An interface of another account that may be attached here.
    LentInterface,
    /// A listener of a load balancer.
    Listener,
    /// A load balancer.
    LoadBalancer,
    /// A log group with its filters.
    LogGroup,
    /// A stream of a log group.
    LogStream,
    /// A name that is unique in its region.
    NameClaim,
    /// A NAT gateway.
    NatGateway,
    /// A network ACL with its entries.
    NetworkAcl,
    /// A network interface.
    NetworkInterface,
    /// The permission of another account to attach a network interface.
    NetworkInterfacePermission,
    /// A managed prefix list with its versions.
    PrefixList,
    /// The claim of a public address; see [`Scope::everywhere`].
    PublicAddress,
    /// That the region has come to life.
    Region,
    /// A route table with its routes.
    RouteTable,
    /// A security group with its rules.
    SecurityGroup,
    /// A subnet.
    Subnet,
    /// A reservation of a part of a subnet's block.
    SubnetCidrReservation,
    /// A subscription to a topic.
    Subscription,
    /// A target of a target group.
    Target,
    /// A target group.
    TargetGroup,
    /// What a client token was used for.
    Token,
    /// A topic of SNS.
    Topic,
    /// A filter of mirrored packets, with its rules.
    TrafficMirrorFilter,
    /// A session that mirrors an interface's packets.
    TrafficMirrorSession,
    /// A target of mirrored packets.
    TrafficMirrorTarget,
    /// A volume of an instance.
    Volume,
    /// A VPC.
    Vpc,
    /// A VPC peering connection.
    VpcPeeringConnection,
}

impl Kind {
    /// Each kind with its word.
    const WORDS: [(Self, &'static str); 46] = [
        (Self::AddressLease, "address-lease"),
        (Self::Alarm, "alarm"),
        (Self::AlarmAction, "alarm-action"),
        (Self::AlarmHistory, "alarm-history"),
        (Self::AnomalyDetector, "anomaly-detector"),
        (Self::Certificate, "certificate"),
        (Self::Dashboard, "dashboard"),
        (Self::DhcpOptions, "dhcp-options"),
        (
            Self::EgressOnlyInternetGateway,
            "egress-only-internet-gateway",
        ),
        (Self::ElasticIp, "elastic-ip"),
        (Self::FlowLog, "flow-log"),
        (Self::GroupName, "group-name"),
        (Self::Instance, "instance"),
        (Self::InternetGateway, "internet-gateway"),
        (Self::Ipv6Lease, "ipv6-lease"),
        (Self::Ipv6PrefixLease, "ipv6-prefix-lease"),
        (Self::KeyPair, "key-pair"),
        (Self::LaunchTemplate, "launch-template"),
        (Self::LentInterface, "lent-interface"),
        (Self::Listener, "listener"),
        (Self::LoadBalancer, "load-balancer"),
        (Self::LogGroup, "log-group"),
        (Self::LogStream, "log-stream"),
        (Self::NameClaim, "name"),
        (Self::NatGateway, "nat-gateway"),
        (Self::NetworkAcl, "network-acl"),
        (Self::NetworkInterface, "network-interface"),
        (
            Self::NetworkInterfacePermission,
            "network-interface-permission",
        ),
        (Self::PrefixList, "prefix-list"),
        (Self::PublicAddress, "public-address"),
        (Self::Region, "region"),
        (Self::RouteTable, "route-table"),
        (Self::SecurityGroup, "security-group"),
        (Self::Subnet, "subnet"),
        (Self::SubnetCidrReservation, "subnet-cidr-reservation"),
        (Self::Subscription, "subscription"),
        (Self::Target, "target"),
        (Self::TargetGroup, "target-group"),
        (Self::Token, "token"),
        (Self::Topic, "topic"),
        (Self::TrafficMirrorFilter, "traffic-mirror-filter"),
        (Self::TrafficMirrorSession, "traffic-mirror-session"),
        (Self::TrafficMirrorTarget, "traffic-mirror-target"),
        (Self::Volume, "volume"),
        (Self::Vpc, "vpc"),
        (Self::VpcPeeringConnection, "vpc-peering-connection"),
    ];

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(kind, _)| *kind)
    }

    /// Whether a record of this kind is an interface, is claimed for one, or concerns none: who may
    /// attach it, what remembers a call, what is logged to or notified, what watches metrics, what load
    /// balancers do with the interfaces that they have.
    #[must_use]
    pub fn is_interfaces(self) -> bool {
        matches!(
            self,
            Self::AddressLease
                | Self::Alarm
                | Self::AlarmAction
                | Self::AlarmHistory
                | Self::AnomalyDetector
                | Self::Certificate
                | Self::Dashboard
                | Self::Ipv6Lease
                | Self::Ipv6PrefixLease
                | Self::LentInterface
                | Self::Listener
                | Self::LoadBalancer
                | Self::LogGroup
                | Self::LogStream
                | Self::NetworkInterface
                | Self::NetworkInterfacePermission
                | Self::Subscription
                | Self::Target
                | Self::TargetGroup
                | Self::Token
                | Self::Topic
        )
    }

    /// The kind's word in stored keys.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, word)| word)
    }
}

/// The key of a stored record. Its text is `account/region/kind/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The account and region.
    pub scope: Scope,
    /// What the record is.
    pub kind: Kind,
    /// Which one: the resource's id, or what is claimed. May hold slashes.
    pub name: Box<str>,
}

/// The text is no key of a stored record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no key of a stored record")]
pub struct MalformedKey(Box<str>);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, kind, name } = self;
        write!(
            f,
            "{}/{}/{}/{name}",
            scope.account,
            scope.region,
            kind.word()
        )
    }
}

impl FromStr for Key {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        let malformed = || MalformedKey(text.into());
        let mut parts = text.splitn(4, '/');
        let mut next = || parts.next().ok_or_else(malformed);
        let account = next()?.parse().map_err(|MalformedAccount| malformed())?;
        let region = RegionName::new(next()?);
        let word = next()?;
        let kind = Kind::WORDS
            .iter()
            .find(|(_, known)| *known == word)
            .map(|(kind, _)| *kind)
            .ok_or_else(malformed)?;
        let name = next()?.into();
        let scope = Scope { account, region };
        Ok(Self { scope, kind, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let text = "123456789012/eu-west-1/group-name/vpc-00123456789abcdef/a/b";
        let key: Result<Key, _> = text.parse();
        assert_eq!(
            key.as_ref().map(|key| &*key.name),
            Ok("vpc-00123456789abcdef/a/b")
        );
        assert_eq!(key.map(|key| key.to_string()).as_deref(), Ok(text));
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in [
            "",
            "1/eu-west-1/vpc/x",
            "123456789012/eu-west-1/planet/x",
            "123456789012/eu-west-1/vpc",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}
