//! The address blocks of a VPC: IPv4 ones beside its primary one, and IPv6 ones.
//!
//! An IPv6 block is claimed in the scope of what all accounts share, so that no two VPCs ever have
//! the same. A VPC's record holds all its blocks: whoever needs one to stay depends on the record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enid_model::address::PublicAddressHolder;
use enid_model::id::{VpcCidrAssociationId, VpcId};
use enid_model::key::Kind;
use enid_model::route_table::RouteDestination;
use enid_model::security_group::{Direction, Matcher, SecurityGroup};
use enid_model::state::{RegionState, Stored};
use enid_model::vpc::{Vpc, VpcCidr, VpcIpv6Cidr};
use enid_model::vpc_peering_connection::PeeringStatus;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::region::{everything_out, new_rule, open_acl_to_ipv6};
use crate::vpc::{ipv6_block, vpc_block};
use crate::{AddressingError, Caller, Control, Draft, Error};

/// A block that a VPC shall get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedBlock {
    /// An IPv4 block, as the client writes it.
    Ipv4(String),
    /// An IPv6 block.
    Ipv6(WantedIpv6Block),
}

/// An IPv6 block that a VPC shall get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedIpv6Block {
    /// Any that is free.
    AmazonProvided,
    /// This one, as the client writes it, of the pool with this id.
    Given {
        /// The block.
        cidr: String,
        /// The pool, see [`IPV6_POOL`].
        pool: String,
    },
}

/// A block of a VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VpcBlock {
    /// An IPv4 block.
    Ipv4(VpcCidr),
    /// An IPv6 block.
    Ipv6(VpcIpv6Cidr),
}

/// The id of the pool that an installation's IPv6 blocks come from. It stands for a pool that an
/// account has brought to AWS: blocks can be asked for by name.
pub const IPV6_POOL: &str = "ipv6pool-ec2-00000000000000001";

impl Control {
    /// AssociateVpcCidrBlock.
    pub async fn associate_vpc_cidr_block(
        &self,
        caller: &Caller,
        id: VpcId,
        wanted: &WantedBlock,
    ) -> Result<VpcBlock, Error> {
        self.transact(caller, |draft| {
            let vpc = draft.require::<Vpc>(id)?;
            match wanted {
                WantedBlock::Ipv4(text) => associate_ipv4(draft, &vpc, text).map(VpcBlock::Ipv4),
                WantedBlock::Ipv6(wanted) => {
                    associate_ipv6(draft, &vpc, wanted).map(VpcBlock::Ipv6)
                }
            }
        })
        .await
    }

    /// DisassociateVpcCidrBlock. Returns the VPC, and the block that it had.
    pub async fn disassociate_vpc_cidr_block(
        &self,
        caller: &Caller,
        id: VpcCidrAssociationId,
    ) -> Result<(VpcId, VpcBlock), Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let (vpc, block) = find(&region, id).ok_or_else(|| Error::not_found(id))?;
            draft.depend(vpc);
            if vpc.cidr_association == id {
                return Err(AddressingError::PrimaryCidrDisassociated { id }.into());
            }
            draft.demand_unnamed(Kind::Subnet, vpc.id);
            if has_subnet(&region, vpc.id, &block) {
                return Err(AddressingError::VpcCidrInUse { id }.into());
            }
            if let VpcBlock::Ipv6(own) = &block {
                draft.release_public(own.cidr.network().into());
            }
            draft.edit(vpc, |vpc| {
                vpc.secondary_cidrs.retain(|own| own.association != id);
                vpc.ipv6_cidrs.retain(|own| own.association != id);
            });
            Ok((vpc.id, block))
        })
        .await
    }
}

impl WantedIpv6Block {
    /// Finds the block in the pool. It is claimed with the VPC that gets it.
    pub(crate) fn choose(&self, draft: &mut Draft<'_>) -> Result<VpcIpv6Cidr, Error> {
        let (cidr, pool) = match self {
            Self::AmazonProvided => (any_block(draft)?, AMAZON_POOL),
            Self::Given { cidr, pool } => (given_block(draft, cidr, pool)?, IPV6_POOL),
        };
        Ok(VpcIpv6Cidr {
            association: draft.mint(),
            cidr,
            pool: pool.to_owned(),
            network_border_group: draft.caller.region.name.to_owned(),
        })
    }
}

/// The first free block from a random place on. The pool's own first block is the host's.
fn any_block(draft: &mut Draft<'_>) -> Result<Ipv6Net, Error> {
    let pool = draft.pools.ipv6;
    let bits = BLOCK_PREFIX.checked_sub(pool.prefix_len());
    let count = bits.map_or(0, |bits| (1_u128 << bits) - 1);
    if count == 0 {
        return Err(AddressingError::Ipv6PoolExhausted.into());
    }
    let start = u128::from(draft.random()) % count;
    let taken = &draft.everywhere.public_addresses;
    // As many steps as there are claims, and one more, meet a free block if there is one.
    let tries = u128::try_from(taken.len()).unwrap_or(u128::MAX);
    let base = u128::from(pool.network());
    (0..=tries.min(count - 1))
        .map(|step| base + ((1 + (start + step) % count) << (128 - BLOCK_PREFIX)))
        .map(Ipv6Addr::from)
        .find(|base| !taken.contains_key(&IpAddr::V6(*base)))
        .map(|base| Ipv6Net::new_assert(base, BLOCK_PREFIX))
        .ok_or_else(|| AddressingError::Ipv6PoolExhausted.into())
}

fn given_block(draft: &Draft<'_>, text: &str, pool: &str) -> Result<Ipv6Net, Error> {
    if pool != IPV6_POOL {
        return Err(AddressingError::Ipv6PoolNotFound { id: pool.into() }.into());
    }
    let cidr = ipv6_block(text)?;
    let pool = draft.pools.ipv6;
    let is_hosts = cidr.network() == pool.network();
    if cidr.prefix_len() != BLOCK_PREFIX || !pool.contains(&cidr) || is_hosts {
        return Err(AddressingError::VpcIpv6Range { cidr: text.into() }.into());
    }
    let taken = &draft.everywhere.public_addresses;
    if taken.contains_key(&IpAddr::V6(cidr.network())) {
        return Err(AddressingError::Ipv6BlockInUse { cidr }.into());
    }
    Ok(cidr)
}

fn associate_ipv4(draft: &mut Draft<'_>, vpc: &Stored<Vpc>, text: &str) -> Result<VpcCidr, Error> {
    let cidr = vpc_block(text)?;
    if private_range(cidr) != private_range(vpc.cidr) && private_range(cidr).is_some()
        || is_in(cidr, BENCHMARK) && !is_in(vpc.cidr, BENCHMARK)
        || is_in(cidr, RESERVED_BY_AWS) && is_in(vpc.cidr, RESERVED_BY_AWS_FOR)
    {
        return Err(AddressingError::VpcRangeRestricted { cidr }.into());
    }
    let max = draft.quotas.cidr_blocks_per_vpc;
    if vpc.ipv4_cidrs().count() >= max {
        return Err(AddressingError::CidrLimitExceeded { vpc: vpc.id, max }.into());
    }
    let own = vpc.ipv4_cidrs().find(|own| overlap(*own, cidr));
    if let Some(own) = own {
        return Err(conflict(cidr, format!("{own} of the VPC")));
    }
    check_routes(draft, vpc, cidr)?;
    check_peers(draft, vpc, cidr)?;
    let block = VpcCidr {
        association: draft.mint(),
        cidr,
    };
    draft.edit(vpc, |vpc| vpc.secondary_cidrs.push(block));
    Ok(block)
}

/// No route of the VPC's tables leads to a part of the block, nor to the whole; also at the commit.
fn check_routes(draft: &mut Draft<'_>, vpc: &Vpc, cidr: Ipv4Net) -> Result<(), Error> {
    draft.demand_unnamed(Kind::RouteTable, vpc.id);
    let region = Arc::clone(&draft.region);
    let tables = region.route_tables_of_vpc(vpc.id);
    for table in tables.filter_map(|table| region.route_tables.get(&table)) {
        for route in &table.routes {
            if let RouteDestination::Cidr(IpNet::V4(destination)) = route.destination
                && cidr.contains(&destination)
            {
                let id = table.id;
                return Err(conflict(
                    cidr,
                    format!("the route to {destination} in {id}"),
                ));
            }
        }
    }
    Ok(())
}

/// No VPC that packets reach by peering has a part of the block; also at the commit.
fn check_peers(draft: &mut Draft<'_>, vpc: &Vpc, cidr: Ipv4Net) -> Result<(), Error> {
    draft.demand_unnamed(Kind::VpcPeeringConnection, vpc.id);
    let region = Arc::clone(&draft.region);
    let peerings = region.peerings_of_vpc(vpc.id);
    for peering in peerings.filter_map(|id| region.vpc_peering_connections.get(&id)) {
        if peering.status != PeeringStatus::Active {
            continue;
        }
        let ends = [peering.requester.vpc, peering.accepter.vpc];
        let peers = ends.into_iter().filter(|end| *end != vpc.id);
        for peer in peers.filter_map(|peer| region.vpcs.get(&peer)) {
            draft.depend(peer);
            if peer.ipv4_cidrs().any(|theirs| overlap(theirs, cidr)) {
                return Err(conflict(cidr, format!("{} over {}", peer.id, peering.id)));
            }
        }
    }
    Ok(())
}

fn associate_ipv6(
    draft: &mut Draft<'_>,
    vpc: &Stored<Vpc>,
    wanted: &WantedIpv6Block,
) -> Result<VpcIpv6Cidr, Error> {
    let max = draft.quotas.ipv6_cidr_blocks_per_vpc;
    if vpc.ipv6_cidrs.len() >= max {
        return Err(AddressingError::CidrLimitExceeded { vpc: vpc.id, max }.into());
    }
    let block = wanted.choose(draft)?;
    let holder = PublicAddressHolder::Vpc(vpc.id);
    draft.claim_public(block.cidr.network().into(), holder);
    if vpc.ipv6_cidrs.is_empty() {
        open_to_ipv6(draft, vpc);
    }
    draft.edit(vpc, |vpc| vpc.ipv6_cidrs.push(block.clone()));
    Ok(block)
}

/// As AWS does when a VPC gets its first IPv6 block: what its default ACL and group let pass of IPv4
/// since they were made, they let pass of IPv6 as well.
fn open_to_ipv6(draft: &mut Draft<'_>, vpc: &Vpc) {
    let region = Arc::clone(&draft.region);
    if let Some(acl) = region.network_acls.get(&vpc.default_network_acl) {
        draft.edit(acl, open_acl_to_ipv6);
    }
    if let Some(group) = region.security_groups.get(&vpc.default_group) {
        let out = |group: &SecurityGroup| -> Vec<Matcher> {
            let rules = group.rules_of(Direction::Egress);
            rules.map(|rule| rule.matcher).collect()
        };
        if out(group).into_iter().eq(everything_out(false)) {
            let ipv6 = everything_out(true).skip(1);
            let rules: Vec<_> = ipv6.map(|matcher| new_rule(draft, matcher)).collect();
            draft.edit(group, |group| group.rules.extend(rules));
        }
    }
}

/// The VPC and block of an association.
fn find(region: &RegionState, id: VpcCidrAssociationId) -> Option<(&Stored<Vpc>, VpcBlock)> {
    region.vpcs.values().find_map(|vpc| {
        let primary = VpcCidr {
            association: vpc.cidr_association,
            cidr: vpc.cidr,
        };
        let ipv4 = std::iter::once(primary).chain(vpc.secondary_cidrs.iter().copied());
        let mut ipv4 = ipv4.filter(|own| own.association == id);
        let mut ipv6 = vpc.ipv6_cidrs.iter().filter(|own| own.association == id);
        let ipv6 = || ipv6.next().cloned().map(VpcBlock::Ipv6);
        let block = ipv4.next().map(VpcBlock::Ipv4).or_else(ipv6)?;
        Some((vpc, block))
    })
}

fn has_subnet(region: &RegionState, vpc: VpcId, block: &VpcBlock) -> bool {
    let subnets = region.subnets_of_vpc(vpc);
    let mut subnets = subnets.filter_map(|id| region.subnets.get(&id));
    match block {
        VpcBlock::Ipv4(own) => subnets.any(|subnet| own.cidr.contains(&subnet.cidr)),
        VpcBlock::Ipv6(own) => subnets.any(|subnet| {
            let theirs = subnet.ipv6_cidr.map(|theirs| theirs.cidr);
            theirs.is_some_and(|theirs| own.cidr.contains(&theirs))
        }),
    }
}

fn conflict(cidr: Ipv4Net, other: String) -> Error {
    AddressingError::VpcCidrConflict {
        cidr,
        other: other.into(),
    }
    .into()
}

/// Whether two blocks have addresses in common.
pub(crate) fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// In which of the private ranges of RFC 1918 a block lies.
fn private_range(cidr: Ipv4Net) -> Option<usize> {
    PRIVATE.iter().position(|range| is_in(cidr, *range))
}

fn is_in(cidr: Ipv4Net, (base, length): Range) -> bool {
    Ipv4Net::new_assert(base, length).contains(&cidr)
}

type Range = (Ipv4Addr, u8);

// Which secondary blocks AWS permits, by the range of the primary one. Source: the VPC User Guide's
// page on CIDR blocks. No block of a permitted size holds one of these ranges.
const PRIVATE: [Range; 3] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];
const BENCHMARK: Range = (Ipv4Addr::new(198, 19, 0, 0), 16);
const RESERVED_BY_AWS: Range = (Ipv4Addr::new(10, 0, 0, 0), 16);
const RESERVED_BY_AWS_FOR: Range = (Ipv4Addr::new(10, 0, 0, 0), 15);

/// The prefix length of every VPC's IPv6 blocks.
const BLOCK_PREFIX: u8 = 56;

/// What descriptions call the pool of blocks that nobody asked for by name.
const AMAZON_POOL: &str = "Amazon";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateSubnet, CreateVpc, PublicPools, Quotas};

    async fn vpc(control: &Control, cidr: &str) -> Vpc {
        let input = CreateVpc {
            cidr_block: cidr.to_owned(),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(&caller(), &input).await;
        vpc.expect("a VPC")
    }

    async fn associate(control: &Control, vpc: VpcId, cidr: &str) -> Result<VpcCidr, Error> {
        let wanted = WantedBlock::Ipv4(cidr.to_owned());
        let caller = caller();
        let block = control.associate_vpc_cidr_block(&caller, vpc, &wanted);
        match block.await? {
            VpcBlock::Ipv4(block) => Ok(block),
            VpcBlock::Ipv6(block) => panic!("an IPv6 block: {block:?}"),
        }
    }

    async fn provided(control: &Control, vpc: VpcId) -> Result<VpcIpv6Cidr, Error> {
        let wanted = WantedBlock::Ipv6(WantedIpv6Block::AmazonProvided);
        let caller = caller();
        let block = control.associate_vpc_cidr_block(&caller, vpc, &wanted);
        match block.await? {
            VpcBlock::Ipv4(block) => panic!("an IPv4 block: {block:?}"),
            VpcBlock::Ipv6(block) => Ok(block),
        }
    }

    #[tokio::test]
    async fn a_secondary_block_goes_with_the_primary_one() {
        let control = control().with_quotas(Quotas {
            vpcs: 100,
            ..Quotas::default()
        });
        let restricted = Err("InvalidVpc.Range");
        for (primary, secondary, made) in [
            ("10.2.0.0/16", "10.3.0.0/16", Ok(())),
            ("10.2.0.0/16", "10.0.0.0/16", Ok(())),
            ("10.1.0.0/16", "10.0.0.0/16", restricted),
            ("10.1.0.0/16", "10.0.128.0/24", restricted),
            ("10.2.0.0/16", "172.20.0.0/16", restricted),
            ("10.2.0.0/16", "192.168.0.0/24", restricted),
            ("10.2.0.0/16", "198.19.0.0/24", restricted),
            ("10.2.0.0/16", "100.64.0.0/16", Ok(())),
            ("10.2.0.0/16", "203.0.113.0/24", Ok(())),
            ("172.20.0.0/16", "172.21.0.0/16", Ok(())),
            ("172.20.0.0/16", "10.0.0.0/16", restricted),
            ("192.168.0.0/24", "192.168.1.0/24", Ok(())),
            ("192.168.0.0/24", "172.16.0.0/16", restricted),
            ("198.19.0.0/24", "198.19.1.0/24", Ok(())),
            ("198.19.0.0/24", "10.0.0.0/16", restricted),
            ("203.0.113.0/24", "198.51.100.0/24", Ok(())),
            ("100.64.0.0/16", "192.168.0.0/16", restricted),
            ("10.2.0.0/16", "10.2.128.0/17", restricted),
            ("10.2.3.0/24", "10.2.0.0/16", restricted),
            ("10.2.0.0/16", "10.3.0.0/15", restricted),
            ("10.2.0.0/16", "nonsense", Err("InvalidParameterValue")),
        ] {
            let id = vpc(&control, primary).await.id;
            let block = associate(&control, id, secondary).await;
            let what = block.map(drop).map_err(|error| error.code());
            assert_eq!(what, made, "{secondary} beside {primary}");
        }
        let id = vpc(&control, "10.2.0.0/16").await.id;
        let refused = associate(&control, id, "172.20.0.0/16").await;
        let words = refused.map_err(|error| error.to_string());
        assert!(words.is_err_and(|words| {
            words.starts_with("The CIDR '172.20.0.0/16' is restricted. Use a CIDR from the same")
        }));
    }

    #[tokio::test]
    async fn a_block_is_used_and_then_goes() {
        let (control, caller) = (control(), caller());
        let home = vpc(&control, "10.2.0.0/16").await;
        let block = associate(&control, home.id, "10.3.7.0/16").await;
        let block = block.expect("a block");
        assert_eq!(block.cidr.to_string(), "10.3.0.0/16");
        let subnet = CreateSubnet::new(home.id, "10.3.1.0/24");
        let subnet = control.create_subnet(&caller, &subnet).await;
        let subnet = subnet.expect("a subnet in the second block").id;
        let go = |id| control.disassociate_vpc_cidr_block(&caller, id);
        let id = block.association;
        assert_eq!(
            go(id).await,
            Err(AddressingError::VpcCidrInUse { id }.into())
        );
        assert_eq!(control.delete_subnet(&caller, subnet).await, Ok(()));
        assert_eq!(go(id).await, Ok((home.id, VpcBlock::Ipv4(block))));
        assert_eq!(go(id).await, Err(Error::not_found(id)));
        let id = home.cidr_association;
        assert_eq!(
            go(id).await,
            Err(AddressingError::PrimaryCidrDisassociated { id }.into())
        );
        let subnet = CreateSubnet::new(home.id, "10.3.1.0/24");
        let refused = control.create_subnet(&caller, &subnet).await;
        assert_eq!(refused.map_err(|e| e.code()), Err("InvalidSubnet.Range"));
    }

    #[tokio::test]
    async fn a_vpc_has_five_blocks_of_each_family() {
        let control = control();
        let id = vpc(&control, "10.2.0.0/16").await.id;
        for number in 3..7 {
            let block = associate(&control, id, &format!("10.{number}.0.0/16")).await;
            assert!(block.is_ok());
        }
        let exceeded = Error::from(AddressingError::CidrLimitExceeded { vpc: id, max: 5 });
        let refused = associate(&control, id, "10.7.0.0/16").await;
        assert_eq!(refused, Err(exceeded.clone()));
        let mut blocks = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let block = provided(&control, id).await.expect("an IPv6 block");
            assert!(blocks.insert(block.cidr));
        }
        assert_eq!(provided(&control, id).await, Err(exceeded));
    }

    #[tokio::test]
    async fn a_route_keeps_its_destination_out_of_the_vpc() {
        let control = control();
        let home = vpc(&control, "10.2.0.0/16").await;
        let route = enid_model::route_table::Route {
            destination: RouteDestination::Cidr("10.4.0.0/24".parse().expect("a block")),
            target: enid_model::route_table::RouteTarget::NetworkInterface(enid_model::id::EniId(
                1,
            )),
        };
        let add = |draft: &mut Draft<'_>| {
            let table = draft.region.route_tables.get(&home.main_route_table);
            let table = table.cloned().expect("a main table");
            draft.edit(&table, |table| table.routes.push(route));
            Ok(())
        };
        assert_eq!(control.transact(&caller(), add).await, Ok(()));
        for (cidr, made) in [
            ("10.4.0.0/24", false),
            ("10.4.0.0/16", false),
            ("10.4.0.0/25", true),
            ("10.5.0.0/16", true),
        ] {
            let block = associate(&control, home.id, cidr).await;
            assert_eq!(block.is_ok(), made, "{cidr}: {block:?}");
        }
    }

    #[tokio::test]
    async fn no_two_vpcs_have_one_ipv6_block() {
        // Room for three blocks beside the host's own.
        let pools = PublicPools {
            ipv6: "2001:db8::/54".parse().expect("a block"),
            ..PublicPools::default()
        };
        let (control, caller) = (control().with_pools(pools), caller());
        let create = || async {
            let input = CreateVpc {
                cidr_block: "10.0.0.0/16".to_owned(),
                ipv6: Some(WantedIpv6Block::AmazonProvided),
                ..CreateVpc::default()
            };
            control.create_vpc(&caller, &input).await
        };
        let first = create().await.expect("a VPC");
        let second = create().await.expect("a VPC");
        assert_ne!(first.ipv6_cidrs[0].cidr, second.ipv6_cidrs[0].cidr);
        assert!(create().await.is_ok());
        assert_eq!(
            create().await,
            Err(AddressingError::Ipv6PoolExhausted.into())
        );
        let third = vpc(&control, "10.0.0.0/16").await.id;
        let given = |cidr: &str, pool: &str| {
            let wanted = WantedBlock::Ipv6(WantedIpv6Block::Given {
                cidr: cidr.to_owned(),
                pool: pool.to_owned(),
            });
            let (control, caller) = (&control, &caller);
            async move {
                let block = control.associate_vpc_cidr_block(caller, third, &wanted);
                block.await.map(drop).map_err(|error| error.code())
            }
        };
        let taken = first.ipv6_cidrs[0].cidr.to_string();
        for (cidr, pool, made) in [
            (&*taken, IPV6_POOL, Err("InvalidCidrBlock.InUse")),
            ("2001:db8::/56", IPV6_POOL, Err("InvalidVpc.Range")),
            ("2001:db8::/64", IPV6_POOL, Err("InvalidVpc.Range")),
            ("2001:db8:1::/56", IPV6_POOL, Err("InvalidVpc.Range")),
            ("10.0.0.0/16", IPV6_POOL, Err("InvalidParameterValue")),
            (&*taken, "ipv6pool-ec2-1", Err("InvalidPoolID.NotFound")),
        ] {
            assert_eq!(given(cidr, pool).await, made, "{cidr} of {pool}");
        }
        assert_eq!(control.delete_vpc(&caller, first.id).await, Ok(()));
        assert_eq!(given(&taken, IPV6_POOL).await, Ok(()));
    }

    #[tokio::test]
    async fn the_first_ipv6_block_opens_what_was_open() {
        let control = control();
        let opened = |region: &RegionState, vpc: &Vpc| {
            let acl = region.network_acls.get(&vpc.default_network_acl);
            let entries = acl.map_or(0, |acl| acl.entries.len());
            let group = region.security_groups.get(&vpc.default_group);
            (entries, group.map_or(0, |group| group.rules.len()))
        };
        let (plain, edited) = (
            vpc(&control, "10.0.0.0/16").await,
            vpc(&control, "10.0.0.0/16").await,
        );
        let edit = |draft: &mut Draft<'_>| {
            let acl = draft.region.network_acls.get(&edited.default_network_acl);
            let acl = acl.cloned().expect("an ACL");
            draft.edit(&acl, |acl| acl.entries[0].number = 7);
            let group = draft.region.security_groups.get(&edited.default_group);
            let group = group.cloned().expect("a group");
            draft.edit(&group, |group| group.rules.clear());
            Ok(())
        };
        assert_eq!(control.transact(&caller(), edit).await, Ok(()));
        for vpc in [&plain, &edited] {
            assert!(provided(&control, vpc.id).await.is_ok());
            assert!(provided(&control, vpc.id).await.is_ok());
        }
        let region = control.read(&caller()).await.expect("a region");
        assert_eq!(opened(&region, &plain), (4, 3));
        assert_eq!(opened(&region, &edited), (3, 0));
        let acl = region.network_acls.get(&plain.default_network_acl);
        let numbers: Vec<_> = acl
            .iter()
            .flat_map(|acl| &acl.entries)
            .map(|entry| (entry.direction, entry.number))
            .collect();
        let (egress, ingress) = (Direction::Egress, Direction::Ingress);
        assert_eq!(
            numbers,
            [(egress, 100), (egress, 101), (ingress, 100), (ingress, 101)]
        );
    }
}
