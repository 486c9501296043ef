//! The nodes of load balancers: an interface in each zone, made and kept by Enid, with the addresses
//! that clients connect to.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use enid_model::Tags;
use enid_model::address::{ElasticIp, ElasticIpAssociation};
use enid_model::id::{AllocationId, EniId, SecurityGroupId, SubnetId, VpcId};
use enid_model::load_balancer::{
    IpAddressType, LoadBalancer, LoadBalancerZone, NodePublicAddress, Scheme,
};
use enid_model::network_interface::{ConnectionTracking, InterfaceType, NetworkInterface};
use enid_model::state::Stored;
use enid_model::subnet::Subnet;

use crate::address_lease::{Claims, Wish};
use crate::internet_gateway::depend_on_gateway;
use crate::ipv6_lease::{Ipv6Wish, give_back_ipv6_address};
use crate::network_interface::{new_mac, remove};
use crate::public_address::give;
use crate::subnet::available_addresses;
use crate::{BalancingError, Draft, Error};

/// A subnet of a load balancer, and the addresses of its node there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetMapping {
    /// The subnet.
    pub subnet: SubnetId,
    /// The Elastic IP of the node: of an internet-facing load balancer only; else any public address.
    pub allocation: Option<AllocationId>,
    /// The private address of the node: of an internal one only; else any free one.
    pub private_ip: Option<Ipv4Addr>,
    /// The IPv6 address of the node: of a dualstack one only; else any free one.
    pub ipv6: Option<Ipv6Addr>,
}

/// A node that a request asks for.
pub(crate) struct WantedNode {
    subnet: Stored<Subnet>,
    allocation: Option<AllocationId>,
    private_ip: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

impl WantedNode {
    pub(crate) fn zone(&self) -> &str {
        &self.subnet.zone
    }

    pub(crate) fn vpc(&self) -> VpcId {
        self.subnet.vpc
    }

    /// Whether a node was made by the same wish.
    pub(crate) fn is_as(&self, own: &LoadBalancerZone) -> bool {
        let allocation = own.public.and_then(|public| public.allocation);
        let private_ip = own.is_private_ip_chosen.then_some(own.private_ip);
        let ipv6 = own.ipv6.filter(|_| own.is_ipv6_chosen);
        let place = (own.subnet, allocation, private_ip, ipv6);
        place == (self.subnet.id, self.allocation, self.private_ip, self.ipv6)
    }

    /// Whether a node has what is asked for: what is left open may be as it is.
    pub(crate) fn is_kept_by(&self, own: &LoadBalancerZone) -> bool {
        let allocation = own.public.and_then(|public| public.allocation);
        let same_allocation = self.allocation.is_none() || self.allocation == allocation;
        let same_address = self
            .private_ip
            .is_none_or(|wanted| wanted == own.private_ip);
        let same_ipv6 = self.ipv6.is_none() || self.ipv6 == own.ipv6;
        own.subnet == self.subnet.id && same_allocation && same_address && same_ipv6
    }
}

/// The nodes that a request asks for, by zone: subnets that are there, one of each zone.
pub(crate) fn wanted_nodes(
    draft: &mut Draft<'_>,
    scheme: Scheme,
    addresses: IpAddressType,
    mappings: &[SubnetMapping],
) -> Result<Vec<WantedNode>, Error> {
    let mut nodes = Vec::with_capacity(mappings.len());
    let mut allocations = BTreeSet::new();
    for mapping in mappings {
        check_scheme(scheme, mapping)?;
        if mapping.ipv6.is_some() && addresses == IpAddressType::Ipv4 {
            let why = "You can specify IPv6 addresses for dualstack load balancers only";
            return Err(BalancingError::configuration(why).into());
        }
        if let Some(id) = mapping.allocation.filter(|id| !allocations.insert(*id)) {
            return Err(taken(id).into());
        }
        let subnet = draft.require::<Subnet>(mapping.subnet);
        let subnet = subnet.map_err(|_not_found| BalancingError::SubnetNotFound {
            id: mapping.subnet.to_string().into(),
        })?;
        nodes.push(WantedNode {
            subnet,
            allocation: mapping.allocation,
            private_ip: mapping.private_ip,
            ipv6: mapping.ipv6,
        });
    }
    nodes.sort_by(|one, other| one.zone().cmp(other.zone()));
    let is_twice = nodes.windows(2).any(|pair| match pair {
        [one, other] => one.zone() == other.zone(),
        _ => false,
    });
    if is_twice {
        return Err(BalancingError::SubnetsOfOneZone.into());
    }
    Ok(nodes)
}

fn check_scheme(scheme: Scheme, mapping: &SubnetMapping) -> Result<(), BalancingError> {
    let (what, scheme) = match scheme {
        Scheme::Internal if mapping.allocation.is_some() => ("Elastic IP addresses", "internal"),
        Scheme::InternetFacing if mapping.private_ip.is_some() => {
            ("private IPv4 addresses", "internet-facing")
        }
        Scheme::Internal | Scheme::InternetFacing => return Ok(()),
    };
    Err(BalancingError::MappingOfOtherScheme { what, scheme })
}

/// Makes nodes of one load balancer.
pub(crate) struct NodeMaker {
    description: String,
    groups: Vec<SecurityGroupId>,
    scheme: Scheme,
    is_dualstack: bool,
    claims: Claims,
    /// Nodes that it has made.
    made: usize,
}

impl NodeMaker {
    pub(crate) fn new(balancer: &LoadBalancer) -> Self {
        Self {
            description: format!("ELB {}", balancer.path()),
            groups: balancer.security_groups.clone(),
            scheme: balancer.scheme,
            is_dualstack: balancer.ip_address_type == IpAddressType::Dualstack,
            claims: Claims::default(),
            made: 0,
        }
    }

    /// Makes a node with its interface.
    pub(crate) fn make(
        &mut self,
        draft: &mut Draft<'_>,
        node: &WantedNode,
    ) -> Result<LoadBalancerZone, Error> {
        if draft.region.network_interfaces.len() >= draft.quotas.network_interfaces {
            return Err(Error::InterfaceLimitExceeded);
        }
        let subnet = &node.subnet;
        let balancers = draft.region.load_balancers.values();
        let in_vpc = balancers.filter(|balancer| balancer.vpc == subnet.vpc);
        let nodes: usize = in_vpc.map(|balancer| balancer.zones.len()).sum();
        if nodes + self.made >= draft.quotas.load_balancer_nodes_per_vpc {
            return Err(BalancingError::TooManyNodes.into());
        }
        self.made += 1;
        if self.scheme == Scheme::InternetFacing {
            check_internet(draft, subnet)?;
        }
        let mut eni = self.interface(draft, node)?;
        let private_ip = eni.primary_address();
        let public = match (self.scheme, node.allocation) {
            (Scheme::Internal, _) => None,
            (Scheme::InternetFacing, Some(id)) => Some(associate(draft, &eni, id)?),
            (Scheme::InternetFacing, None) => {
                give(draft, &mut eni)?;
                eni.public_address.map(|public_ip| NodePublicAddress {
                    public_ip,
                    allocation: None,
                })
            }
        };
        let made = LoadBalancerZone {
            zone: subnet.zone.clone(),
            subnet: subnet.id,
            eni: eni.id,
            private_ip,
            ipv6: eni.ipv6_addresses.first().copied(),
            is_ipv6_chosen: node.ipv6.is_some(),
            public,
            is_private_ip_chosen: node.private_ip.is_some(),
        };
        draft.create(eni);
        Ok(made)
    }

    fn interface(
        &mut self,
        draft: &mut Draft<'_>,
        node: &WantedNode,
    ) -> Result<NetworkInterface, Error> {
        let subnet = &node.subnet;
        let wish = Wish {
            primary: node.private_ip,
            secondary: Vec::new(),
            automatic: 0,
            prefixes: Vec::new(),
            automatic_prefixes: 0,
        };
        let id = draft.mint();
        let claimed = self.claims.fulfil(draft, subnet, &wish, id);
        let (addresses, _) = claimed.map_err(|error| refused(node, &error))?;
        let ipv6_addresses = match self.is_dualstack {
            true => vec![self.claim_ipv6(draft, subnet, node.ipv6, id)?],
            false => Vec::new(),
        };
        Ok(NetworkInterface {
            id,
            subnet: subnet.id,
            vpc: subnet.vpc,
            mac: new_mac(draft),
            description: self.description.clone(),
            groups: self.groups.clone(),
            addresses,
            ipv4_prefixes: Vec::new(),
            ipv6_addresses,
            ipv6_prefixes: Vec::new(),
            primary_ipv6: false,
            public_address: None,
            associate_public_address: false,
            connection_tracking: ConnectionTracking::default(),
            source_dest_check: false,
            interface_type: InterfaceType::NetworkLoadBalancer,
            requester_id: Some(REQUESTER.to_owned()),
            attachment: None,
            tags: Tags::new(),
        })
    }
}

impl NodeMaker {
    /// Claims an address of IPv6 for a node's interface: that one, or any.
    fn claim_ipv6(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Stored<Subnet>,
        wanted: Option<Ipv6Addr>,
        id: EniId,
    ) -> Result<Ipv6Addr, Error> {
        let name: Box<str> = subnet.id.to_string().into();
        if subnet.ipv6_cidr.is_none() {
            return Err(BalancingError::SubnetWithoutIpv6 { id: name }.into());
        }
        let wish = Ipv6Wish {
            addresses: wanted.into_iter().collect(),
            automatic: Some(u32::from(wanted.is_none())),
            ..Ipv6Wish::default()
        };
        let held = self.claims.fulfil_ipv6(draft, subnet, &wish, id);
        let address = held.map(|held| held.addresses.first().copied());
        match (address, wanted) {
            (Ok(Some(address)), _) => Ok(address),
            (Err(error), Some(wanted)) => Err(BalancingError::Ipv6Address {
                address: wanted.to_string().into(),
                subnet: name,
                why: error.to_string().into(),
            }
            .into()),
            (Ok(None) | Err(_), _) => Err(BalancingError::SubnetTooFull { id: name }.into()),
        }
    }

    /// Gives a node that is there an address of IPv6.
    pub(crate) fn widen(
        &mut self,
        draft: &mut Draft<'_>,
        own: &mut LoadBalancerZone,
    ) -> Result<(), Error> {
        let subnet = draft.require::<Subnet>(own.subnet)?;
        let eni = draft.require::<NetworkInterface>(own.eni)?;
        let address = self.claim_ipv6(draft, &subnet, None, own.eni)?;
        draft.edit(&eni, |eni| eni.ipv6_addresses = vec![address]);
        own.ipv6 = Some(address);
        own.is_ipv6_chosen = false;
        Ok(())
    }
}

/// Takes its address of IPv6 from a node.
pub(crate) fn narrow(draft: &mut Draft<'_>, own: &mut LoadBalancerZone) -> Result<(), Error> {
    let eni = draft.require::<NetworkInterface>(own.eni)?;
    if let Some(address) = own.ipv6.take() {
        give_back_ipv6_address(draft, own.subnet, address);
    }
    draft.edit(&eni, |eni| eni.ipv6_addresses.clear());
    own.is_ipv6_chosen = false;
    Ok(())
}

/// What stands in the way of an address, in the words of load balancers.
fn refused(node: &WantedNode, error: &Error) -> Error {
    let subnet = node.subnet.id.to_string().into();
    match node.private_ip {
        Some(address) => BalancingError::PrivateAddress {
            address: address.to_string().into(),
            subnet,
            why: error.to_string().into(),
        },
        None => BalancingError::SubnetTooFull { id: subnet },
    }
    .into()
}

/// What an internet-facing load balancer needs of a subnet.
fn check_internet(draft: &mut Draft<'_>, subnet: &Subnet) -> Result<(), Error> {
    if !depend_on_gateway(draft, subnet.vpc) {
        return Err(BalancingError::NoInternetGateway {
            vpc: subnet.vpc.to_string().into(),
        }
        .into());
    }
    if available_addresses(&draft.region, subnet) < FREE_MIN {
        return Err(BalancingError::SubnetTooFull {
            id: subnet.id.to_string().into(),
        }
        .into());
    }
    Ok(())
}

/// Makes an Elastic IP stand for a node's address. It must be free.
fn associate(
    draft: &mut Draft<'_>,
    eni: &NetworkInterface,
    allocation: AllocationId,
) -> Result<NodePublicAddress, Error> {
    let elastic_ip = draft.require::<ElasticIp>(allocation);
    let elastic_ip = elastic_ip.map_err(|_not_found| BalancingError::AllocationNotFound {
        id: allocation.to_string().into(),
    })?;
    if elastic_ip.association.is_some() {
        return Err(taken(allocation).into());
    }
    let association = ElasticIpAssociation {
        id: draft.mint(),
        eni: eni.id,
        private_ip: eni.primary_address(),
    };
    draft.edit(&elastic_ip, |new| new.association = Some(association));
    Ok(NodePublicAddress {
        public_ip: elastic_ip.public_ip,
        allocation: Some(allocation),
    })
}

fn taken(id: AllocationId) -> BalancingError {
    BalancingError::AllocationInUse {
        id: id.to_string().into(),
    }
}

/// Removes the interface of a node. Its Elastic IP stays allocated.
pub(crate) fn remove_node(draft: &mut Draft<'_>, own: &LoadBalancerZone) -> Result<(), Error> {
    let eni = draft.require::<NetworkInterface>(own.eni)?;
    remove(draft, &eni);
    Ok(())
}

/// How many addresses of an internet-facing load balancer's subnets must be free.
const FREE_MIN: u32 = 8;

/// Who made and keeps a node's interface.
const REQUESTER: &str = "amazon-elb";
