//! Why a packet was not carried: one table makes the enum, the metric label and the words.
//!
//! Numbers are part of stored records and of kernel maps. They are appended, never renumbered and
//! never reused.

/// Declares every reason once: number, variant, metric label, words for people.
macro_rules! reasons {
    ($($number:literal $variant:ident $label:literal $words:literal;)+) => {
        /// The numbered cause of a drop.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason {
            $(#[doc = $words] $variant = $number,)+
        }

        impl Reason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for metrics and flow logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// The sentence for people.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)+ }
            }

            /// The reason with this number, if there is one.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    1 UnknownDevice "unknown-device" "the device belongs to no network interface";
    2 EtherType "ether-type" "the frame carries neither IPv4, IPv6 nor ARP";
    3 Malformed "malformed" "a header is cut short or contradicts itself";
    4 Multicast "multicast" "multicast and broadcast are not carried";
    5 SourceMac "source-mac" "the source MAC is not the network interface's";
    6 SourceAddress "source-address" "the source address is not the network interface's and the source/destination check is on";
    7 ArpUnanswered "arp-unanswered" "the ARP request asks for an address that nobody in the subnet has";
    8 ArpSender "arp-sender" "the ARP sender is not the network interface";
    9 ArpNotRequest "arp-not-request" "an ARP message other than a request";
    10 FragmentUnknown "fragment-unknown" "a later fragment whose first fragment was not seen";
    11 EgressRule "egress-rule" "no egress rule of the source's security groups allows it";
    12 IngressRule "ingress-rule" "no ingress rule of the destination's security groups allows it";
    13 DestinationMac "destination-mac" "the destination MAC leads neither to the router nor to a neighbour";
    14 NoRoute "no-route" "the route table has no route to the destination";
    15 NoEndpoint "no-endpoint" "no network interface has the destination address";
    16 TargetDown "target-down" "the destination's network interface has no device on this host";
    17 OwnAddress "own-address" "the destination is the sending network interface itself";
    18 RouterAddress "router-address" "the destination is the subnet's router, which answers nothing";
    19 LinkLocal "link-local" "no service answers at this link-local address";
    20 FlowTableFull "flow-table-full" "the flow table is full and takes no new flow";
    21 Incomplete "incomplete" "the tables lack a record that another one names";
    22 Rewrite "rewrite" "the frame could not be rewritten";
    23 HostTraffic "host-traffic" "the host's own stack may not send to a network interface";
    24 Scratch "scratch" "the program's working memory is missing";
    25 AclEgress "acl-egress" "the network ACL of the subnet that it leaves does not allow it";
    26 AclIngress "acl-ingress" "the network ACL of the subnet that it enters does not allow it";
    27 Blackhole "blackhole" "the target of the route is gone";
    28 DestinationCheck "destination-check" "the route leads to a network interface that has not the destination address and whose source/destination check is on";
    29 NoPublicAddress "no-public-address" "the source has no public address for the internet gateway";
    30 NoInternetGateway "no-internet-gateway" "the VPC of the destination has no internet gateway that lets it in";
    31 NoOutside "no-outside" "this host has no device that leads outside";
    32 UnassignedAddress "unassigned-address" "the public address belongs to this installation and to nobody in it";
    33 OutsideSource "outside-source" "a packet from the outside has a source that is not outside: a private one, or of this installation";
    34 NatUnsolicited "nat-unsolicited" "the NAT gateway has no connection that this packet answers";
    35 NatProtocol "nat-protocol" "a NAT gateway carries TCP, UDP and ICMP echo, and nothing else";
    36 NatFragment "nat-fragment" "a NAT gateway carries fragments of UDP only";
    37 NatPortAllocation "nat-port-allocation" "the NAT gateway has no free port to this destination";
    38 NatRoute "nat-route" "the route of the NAT gateway's subnet leads where this NAT gateway does not send";
    39 NdUnanswered "nd-unanswered" "the neighbour solicitation asks for an address that nobody in the subnet has";
    40 NdSender "nd-sender" "the sender of the neighbour solicitation is not the network interface";
    41 NdOther "nd-other" "a message of neighbour discovery other than a solicitation of a neighbour";
    42 DuplicateAddress "duplicate-address-detection" "a question whether somebody has the sender's address, which needs no answer";
    43 PrivateAddress "private-address" "the internet carries nothing to private addresses";
    44 TooBig "too-big" "a gateway on the way carries shorter packets: 1,500 bytes through an internet gateway, 8,500 through a NAT gateway";
    45 LinkLocalAllowance "link-local-allowance" "the network interface sends more than 1,024 packets a second to the link-local services";
    46 ServiceDown "service-down" "the link-local services of the VPC have no device on this host";
    47 ServiceSource "service-source" "what comes from the link-local services is no answer of theirs";
    48 MiddleboxAddress "middlebox-address" "the internet gateway's route leads to a network interface that has no public address";
    49 NatReset "nat-reset" "the NAT gateway has no such connection, or was rid of it after 350 idle seconds: it resets it";
    50 FlowShare "flow-share" "an instance at one end holds as many flow entries as are free, and gets no new ones";
    51 BandwidthInAllowance "bandwidth-in-allowance" "the receiving instance gets more than its inbound bandwidth allows";
    52 BandwidthOutAllowance "bandwidth-out-allowance" "the sending instance sends more than its outbound bandwidth allows";
    53 PacketAllowance "packet-allowance" "an instance at one end has more packets a second than its allowance";
    54 ConntrackAllowance "conntrack-allowance" "an instance at one end tracks as many connections as its allowance";
    55 FlowAllowance "flow-allowance" "the flow is faster than a single flow may be";
    56 ChecksumPlace "checksum-place" "a checksum that is left to be filled in has its place where something else was judged";
    57 NoListener "no-listener" "the load balancer has no listener at this port for this protocol";
    58 BalancerProtocol "balancer-protocol" "a load balancer carries TCP and UDP, fragments of UDP only, and of ICMP only errors about its flows";
    59 BalancerIngressRule "balancer-ingress-rule" "no ingress rule of the load balancer's security groups allows it";
    60 BalancerEgressRule "balancer-egress-rule" "no egress rule of the load balancer's security groups allows it to the target";
    61 BalancerTarget "balancer-target" "the load balancer's node has no target for the flow";
    62 BalancerReset "balancer-reset" "the load balancer has no such connection, or was rid of it: it resets it";
    63 BalancerHairpin "balancer-hairpin" "the load balancer would send the client's packet back to the client, under its own address";
    64 BalancerRoute "balancer-route" "no way leads from the load balancer's node to the target, or from the client to the node";
    65 Fault "fault" "an injected fault stops all traffic of a network interface on the way";
}

impl Reason {
    /// Whether it is the node of a load balancer that drops.
    #[inline(always)]
    pub const fn is_of_balancer(self) -> bool {
        let number = self as u32;
        number >= Self::NoListener as u32 && number <= Self::BalancerRoute as u32
    }
}

/// Entries of the counter table: one per reason number, and number zero, which is never counted.
pub const REASON_COUNTERS: u32 = 128;

const _: () = assert!(Reason::ALL.len() < REASON_COUNTERS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_found_again() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            let number = *reason as u32;
            assert_eq!(number as usize, index + 1);
            assert_eq!(Reason::from_number(number), Some(*reason));
        }
        assert_eq!(Reason::from_number(0), None);
        assert_eq!(Reason::from_number(REASON_COUNTERS), None);
    }

    #[test]
    fn labels_are_unique_metric_words() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            let label = reason.label();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(
                Reason::ALL[..index]
                    .iter()
                    .all(|other| other.label() != label)
            );
        }
    }
}
