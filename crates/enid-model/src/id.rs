//! Typed ids of resources.
//!
//! An AWS resource id is a prefix and 17 hexadecimal digits. Those that AWS mints start with `0`,
//! so 64 bits hold one: an id here is a `u64` that is `Copy`, cheap to compare, and fit to be the
//! key of a kernel map as it stands. An id of the right shape that Enid cannot have minted
//! ([`Parsed::Foreign`]: eight digits, or a first digit other than `0`) names nothing.
//!
//! Those of load balancers are sixteen digits and nothing else (`bare`).

mod bare;

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

pub use bare::{ListenerId, LoadBalancerId, MalformedBareId, TargetGroupId, TargetUid};

/// What a client's text says about an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<I> {
    /// The id has the shape that Enid mints.
    Native(I),
    /// The text is a well-formed id that no resource of Enid can have.
    Foreign,
}

/// The text is no id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}-0123456789abcdef0")]
pub struct MalformedId {
    /// The prefix that the text should have had, without the dash.
    pub prefix: &'static str,
}

/// A typed resource id.
pub trait ResourceId: Copy + Ord + fmt::Display + fmt::Debug {
    /// What stands before the dash, for example `eni`.
    const PREFIX: &'static str;

    /// The id with these 64 bits.
    fn from_bits(bits: u64) -> Self;

    /// The 64 bits behind the prefix and the leading `0`.
    fn bits(self) -> u64;

    /// Reads a client's text.
    fn parse(text: &str) -> Result<Parsed<Self>, MalformedId> {
        let malformed = MalformedId {
            prefix: Self::PREFIX,
        };
        let digits = text
            .strip_prefix(Self::PREFIX)
            .and_then(|rest| rest.strip_prefix('-'))
            .ok_or(malformed)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !matches!(digits.len(), 8 | 17) || !digits.bytes().all(lower_hex) {
            return Err(malformed);
        }
        match digits.strip_prefix('0') {
            Some(low) if low.len() == 16 => match u64::from_str_radix(low, 16) {
                Ok(bits) => Ok(Parsed::Native(Self::from_bits(bits))),
                Err(_) => Err(malformed),
            },
            _ => Ok(Parsed::Foreign),
        }
    }
}

/// Sixteen digits. Answers have thousands of ids, and the formatter's own way to pad them takes
/// several times as long.
fn hexadecimal(bits: u64, digits: &mut [u8; 16]) -> &str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (place, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        place.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
    // Digits are text.
    std::str::from_utf8(digits).unwrap_or_default()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl ResourceId for $name {
            const PREFIX: &'static str = $prefix;

            fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            fn bits(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "-0"))?;
                f.write_str(hexadecimal(self.0, &mut [0; 16]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Accepts only what Enid mints; see [`ResourceId::parse`] for a client's text.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                match Self::parse(text)? {
                    Parsed::Native(id) => Ok(id),
                    Parsed::Foreign => Err(MalformedId { prefix: $prefix }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an id that starts with ", $prefix, "-0"))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

ids! {
    /// An Elastic IP address of an account.
    AllocationId = "eipalloc";
    /// The association of an Elastic IP address with a private address.
    AssociationId = "eipassoc";
    /// A network interface's attachment to an instance.
    AttachmentId = "eni-attach";
    /// A DHCP option set.
    DhcpOptionsId = "dopt";
    /// An egress-only internet gateway.
    EgressOnlyInternetGatewayId = "eigw";
    /// A network interface.
    EniId = "eni";
    /// A flow log.
    FlowLogId = "fl";
    /// An instance.
    InstanceId = "i";
    /// An internet gateway.
    InternetGatewayId = "igw";
    /// A key pair.
    KeyPairId = "key";
    /// A launch template.
    LaunchTemplateId = "lt";
    /// A NAT gateway.
    NatGatewayId = "nat";
    /// The association of a network ACL with a subnet.
    NetworkAclAssociationId = "aclassoc";
    /// A network ACL.
    NetworkAclId = "acl";
    /// The permission of another account to attach a network interface.
    NetworkInterfacePermissionId = "eni-perm";
    /// A managed prefix list.
    PrefixListId = "pl";
    /// The reservation under which instances were launched together.
    ReservationId = "r";
    /// The association of a route table with a subnet or a gateway, or as a VPC's main table.
    RouteTableAssociationId = "rtbassoc";
    /// A route table.
    RouteTableId = "rtb";
    /// A security group.
    SecurityGroupId = "sg";
    /// A rule of a security group.
    SecurityGroupRuleId = "sgr";
    /// The association of an IPv6 block with a subnet.
    SubnetCidrAssociationId = "subnet-cidr-assoc";
    /// A reservation of a part of a subnet's block.
    SubnetCidrReservationId = "scr";
    /// A subnet.
    SubnetId = "subnet";
    /// A filter of mirrored packets.
    TrafficMirrorFilterId = "tmf";
    /// A rule of such a filter.
    TrafficMirrorFilterRuleId = "tmfr";
    /// A session that mirrors an interface's packets.
    TrafficMirrorSessionId = "tms";
    /// A target of mirrored packets.
    TrafficMirrorTargetId = "tmt";
    /// A volume.
    VolumeId = "vol";
    /// A VPC.
    VpcId = "vpc";
    /// The association of a CIDR block with a VPC.
    VpcCidrAssociationId = "vpc-cidr-assoc";
    /// A VPC peering connection.
    VpcPeeringConnectionId = "pcx";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_are_one_to_one() {
        let id = EniId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "eni-00123456789abcdef");
        assert_eq!(
            EniId::parse("eni-00123456789abcdef"),
            Ok(Parsed::Native(id))
        );
        assert_eq!(
            serde_json::to_string(&id).ok().as_deref(),
            Some("\"eni-00123456789abcdef\"")
        );
    }

    #[test]
    fn foreign_ids_are_well_formed_but_name_nothing() {
        for text in ["vpc-12345678", "vpc-f0123456789abcdef"] {
            assert_eq!(VpcId::parse(text), Ok(Parsed::Foreign), "{text}");
            assert!(text.parse::<VpcId>().is_err());
        }
    }

    #[test]
    fn other_shapes_are_malformed() {
        for text in [
            "",
            "vpc",
            "vpc-",
            "vpc-xyz",
            "subnet-00123456789abcdef",
            "vpc-00123456789ABCDEF",
            "vpc-00123456789abcde",
            "vpc-00123456789abcdef0",
            "vpc-+0123456789abcdef",
        ] {
            assert!(VpcId::parse(text).is_err(), "{text}");
        }
    }
}
