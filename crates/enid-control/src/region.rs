//! A region comes to life: its default VPC with a subnet in every zone.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enid_model::Tags;
use enid_model::address::PublicAddressHolder;
use enid_model::dhcp_options::{DhcpOptions, NameServer};
use enid_model::gateway::InternetGateway;
use enid_model::id::{DhcpOptionsId, NetworkAclId, SecurityGroupRuleId, VpcId};
use enid_model::instance::DesiredState;
use enid_model::instance_metadata::MetadataDefaults;
use enid_model::network_acl::{AclAction, NetworkAcl, NetworkAclEntry};
use enid_model::record::Record;
use enid_model::region::RegionRecord;
use enid_model::route_table::{Route, RouteDestination, RouteTable, RouteTarget};
use enid_model::security_group::{Direction, Matcher, Peer, Rule, SecurityGroup, Service};
use enid_model::state::{RegionState, Stored};
use enid_model::subnet::{Subnet, SubnetAttributes, SubnetNetworkAcl};
use enid_model::vpc::{Vpc, VpcIpv6Cidr};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{Draft, Error, volume};

/// The default VPC's block, in every region.
const DEFAULT_VPC: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 0);
const DEFAULT_VPC_PREFIX: u8 = 16;
const DEFAULT_SUBNET_PREFIX: u8 = 20;

/// Makes the default VPC of a region that has none, and marks the region as alive. A region that
/// an older version brought to life gets what it lacks.
pub(crate) fn wake(draft: &mut Draft<'_>) -> Result<(), Error> {
    let region = Arc::clone(&draft.region);
    match &region.region {
        None => bring_to_life(draft),
        Some(record) if record.outfit < OUTFIT => upgrade(draft, &region, record),
        Some(_) => {}
    }
    Ok(())
}

/// Whether a region has everything that this version expects of one.
pub(crate) fn is_awake(region: &RegionState) -> bool {
    let record = region.region.as_ref();
    record.is_some_and(|record| record.outfit >= OUTFIT)
}

/// The option set of new VPCs. Somebody may have deleted it; then it is made again.
pub(crate) fn default_dhcp_options(draft: &mut Draft<'_>) -> Result<DhcpOptionsId, Error> {
    // Absent only if a reset came between waking the region and here.
    let record = draft.region.region.clone().ok_or(Error::TooManyRivals)?;
    if draft.region.dhcp_options.contains_key(&record.dhcp_options) {
        draft.require::<DhcpOptions>(record.dhcp_options)?;
        return Ok(record.dhcp_options);
    }
    let dhcp_options = new_dhcp_options(draft);
    let new = RegionRecord {
        dhcp_options,
        ..RegionRecord::clone(&record)
    };
    draft.replace("", record.revision, Record::Region(new));
    Ok(dhcp_options)
}

/// Creates what AWS's default set says: the region's domain, and the VPC's own resolver.
fn new_dhcp_options(draft: &mut Draft<'_>) -> DhcpOptionsId {
    let options = DhcpOptions {
        id: draft.mint(),
        domain_name: Some(draft.caller.region.private_domain()),
        domain_name_servers: vec![NameServer::AmazonProvidedDns],
        ..DhcpOptions::default()
    };
    let id = options.id;
    draft.create(options);
    id
}

fn bring_to_life(draft: &mut Draft<'_>) {
    let dhcp_options = new_dhcp_options(draft);
    let vpc = new_default_vpc(draft, dhcp_options);
    let record = RegionRecord {
        first_default_vpc: vpc.id,
        dhcp_options,
        metadata_defaults: MetadataDefaults::default(),
        outfit: OUTFIT,
    };
    draft.claim("", Record::Region(record));
}

/// Creates a default VPC: with an internet gateway, a route to it, and a subnet in every zone.
pub(crate) fn new_default_vpc(draft: &mut Draft<'_>, dhcp_options: DhcpOptionsId) -> Vpc {
    let block = Ipv4Net::new_assert(DEFAULT_VPC, DEFAULT_VPC_PREFIX);
    let gateway = InternetGateway {
        id: draft.mint(),
        vpc: None,
        route_table: None,
        tags: Tags::new(),
    };
    let routes = vec![Route {
        destination: RouteDestination::Cidr(everywhere()),
        target: RouteTarget::InternetGateway(gateway.id),
    }];
    let vpc = new_vpc(
        draft,
        NewVpc {
            cidr: block,
            ipv6_cidr: None,
            is_default: true,
            dhcp_options: Some(dhcp_options),
            routes,
            tags: Tags::new(),
        },
    );
    draft.create(InternetGateway {
        vpc: Some(vpc.id),
        ..gateway
    });
    let region = draft.caller.region;
    for (zone, cidr) in region.zones().zip(default_subnet_blocks(block)) {
        new_default_subnet(draft, &vpc, cidr, zone);
    }
    vpc
}

/// The blocks that default subnets of a VPC can have.
pub(crate) fn default_subnet_blocks(vpc: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    // None for a VPC that is smaller than a default subnet; the default VPC is not.
    vpc.subnets(DEFAULT_SUBNET_PREFIX).into_iter().flatten()
}

/// Creates the default subnet of a zone, which is a name and an id.
pub(crate) fn new_default_subnet(
    draft: &mut Draft<'_>,
    vpc: &Vpc,
    cidr: Ipv4Net,
    (zone, zone_id): (String, String),
) -> Subnet {
    let subnet = Subnet {
        id: draft.mint(),
        vpc: vpc.id,
        cidr,
        zone,
        zone_id,
        default_for_az: true,
        ipv6_cidr: None,
        route_table: None,
        network_acl: new_acl_association(draft, vpc.default_network_acl),
        attributes: SubnetAttributes {
            map_public_ip_on_launch: true,
            ..SubnetAttributes::default()
        },
        tags: Tags::new(),
    };
    draft.create(subnet.clone());
    subnet
}

/// What a new VPC is made of.
pub(crate) struct NewVpc {
    pub(crate) cidr: Ipv4Net,
    /// An IPv6 block that is free; it is claimed with the VPC.
    pub(crate) ipv6_cidr: Option<VpcIpv6Cidr>,
    pub(crate) is_default: bool,
    pub(crate) dhcp_options: Option<DhcpOptionsId>,
    /// The routes of its main table, the local one left out.
    pub(crate) routes: Vec<Route>,
    pub(crate) tags: Tags,
}

/// Creates a VPC with its default security group, its main route table and its default network ACL.
/// The name claim of the group is made as well.
pub(crate) fn new_vpc(draft: &mut Draft<'_>, new: NewVpc) -> Vpc {
    let id = draft.mint();
    let ipv6_cidrs: Vec<VpcIpv6Cidr> = new.ipv6_cidr.into_iter().collect();
    for block in &ipv6_cidrs {
        draft.claim_public(block.cidr.network().into(), PublicAddressHolder::Vpc(id));
    }
    let group = default_group(draft, id, !ipv6_cidrs.is_empty());
    let vpc = Vpc {
        id,
        cidr: new.cidr,
        cidr_association: draft.mint(),
        secondary_cidrs: Vec::new(),
        ipv6_cidrs,
        is_default: new.is_default,
        default_group: group.id,
        main_route_table: draft.mint(),
        main_route_table_association: draft.mint(),
        default_network_acl: draft.mint(),
        dhcp_options: new.dhcp_options,
        enable_dns_support: true,
        enable_dns_hostnames: new.is_default,
        network_address_usage_metrics: false,
        tags: new.tags,
    };
    draft.claim_group_name(&group);
    draft.create(group);
    draft.create(RouteTable {
        id: vpc.main_route_table,
        vpc: id,
        routes: new.routes,
        tags: Tags::new(),
    });
    draft.create(default_acl(&vpc));
    draft.create(vpc.clone());
    vpc
}

/// A new subnet's association with a network ACL.
pub(crate) fn new_acl_association(draft: &mut Draft<'_>, acl: NetworkAclId) -> SubnetNetworkAcl {
    SubnetNetworkAcl {
        association: draft.mint(),
        acl,
    }
}

/// The ACL that lets everything pass: entry 100 of each direction, and 101 for IPv6 if the VPC has
/// it.
fn default_acl(vpc: &Vpc) -> NetworkAcl {
    let mut acl = NetworkAcl {
        id: vpc.default_network_acl,
        vpc: vpc.id,
        is_default: true,
        entries: [Direction::Egress, Direction::Ingress]
            .map(|direction| open_entry(direction, FIRST_ENTRY, everywhere()))
            .to_vec(),
        tags: Tags::new(),
    };
    if !vpc.ipv6_cidrs.is_empty() {
        open_acl_to_ipv6(&mut acl);
    }
    acl
}

/// Adds entry 101 for IPv6 to each direction that is as it was made.
pub(crate) fn open_acl_to_ipv6(acl: &mut NetworkAcl) {
    for direction in [Direction::Egress, Direction::Ingress] {
        let untouched = open_entry(direction, FIRST_ENTRY, everywhere());
        if acl.entries_of(direction).eq([&untouched]) {
            let entry = open_entry(direction, FIRST_ENTRY + 1, everywhere_ipv6());
            acl.entries.push(entry);
        }
    }
    acl.entries
        .sort_by_key(|entry| (entry.direction, entry.number));
}

fn open_entry(direction: Direction, number: u16, cidr: IpNet) -> NetworkAclEntry {
    NetworkAclEntry {
        direction,
        number,
        action: AclAction::Allow,
        service: Service::All,
        cidr,
    }
}

/// 0.0.0.0/0.
fn everywhere() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))
}

/// ::/0.
fn everywhere_ipv6() -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0))
}

/// Gives a region what the versions since the one that it comes from have added.
fn upgrade(draft: &mut Draft<'_>, region: &RegionState, record: &Stored<RegionRecord>) {
    if record.outfit < 1 {
        add_network_records(draft, region, record);
    }
    if record.outfit < 2 {
        add_root_volumes(draft, region);
    }
    let new = RegionRecord {
        outfit: OUTFIT,
        ..RegionRecord::clone(record)
    };
    draft.replace("", record.revision, Record::Region(new));
}

/// Until outfit 2, instances had no volumes.
fn add_root_volumes(draft: &mut Draft<'_>, region: &RegionState) {
    let alive = region.instances.values();
    let alive = alive.filter(|instance| instance.desired != DesiredState::Terminated);
    for instance in alive {
        let root = [volume::root()];
        let made = volume::create(draft, instance.id, &instance.zone, &root, None);
        draft.edit(instance, |instance| instance.recorded.block_devices = made);
    }
}

/// The first version had ids of route tables, network ACLs and option sets, but no records of them.
fn add_network_records(draft: &mut Draft<'_>, region: &RegionState, record: &Stored<RegionRecord>) {
    draft.create(DhcpOptions {
        id: record.dhcp_options,
        domain_name: Some(draft.caller.region.private_domain()),
        domain_name_servers: vec![NameServer::AmazonProvidedDns],
        ..DhcpOptions::default()
    });
    for vpc in region.vpcs.values() {
        let mut routes = Vec::new();
        if vpc.is_default {
            let gateway = InternetGateway {
                id: draft.mint(),
                vpc: Some(vpc.id),
                route_table: None,
                tags: Tags::new(),
            };
            routes.push(Route {
                destination: RouteDestination::Cidr(everywhere()),
                target: RouteTarget::InternetGateway(gateway.id),
            });
            draft.create(gateway);
        }
        draft.create(RouteTable {
            id: vpc.main_route_table,
            vpc: vpc.id,
            routes,
            tags: Tags::new(),
        });
        draft.create(default_acl(vpc));
        let association = draft.mint();
        draft.edit(vpc, |vpc| vpc.main_route_table_association = association);
    }
    for subnet in region.subnets.values() {
        let Some(vpc) = region.vpcs.get(&subnet.vpc) else {
            continue;
        };
        let network_acl = new_acl_association(draft, vpc.default_network_acl);
        draft.edit(subnet, |subnet| {
            subnet.network_acl = network_acl;
            subnet.attributes.map_public_ip_on_launch = subnet.default_for_az;
        });
    }
}

/// What this version expects of a region; raised when that changes.
const OUTFIT: u32 = 2;

/// The number of the first entry of a new ACL.
const FIRST_ENTRY: u16 = 100;

/// The group named `default`: everything from itself, everything out.
fn default_group(draft: &mut Draft<'_>, vpc: VpcId, has_ipv6: bool) -> SecurityGroup {
    let id = draft.mint();
    let from_itself = Matcher {
        direction: Direction::Ingress,
        service: Service::All,
        peer: Peer::Group(id),
    };
    let rules = std::iter::once(from_itself)
        .chain(everything_out(has_ipv6))
        .map(|matcher| new_rule(draft, matcher))
        .collect();
    SecurityGroup {
        id,
        vpc,
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        associated_vpcs: BTreeSet::new(),
        rules,
        tags: Tags::new(),
    }
}

/// A rule without a description, by its id.
pub(crate) fn new_rule(draft: &mut Draft<'_>, matcher: Matcher) -> (SecurityGroupRuleId, Rule) {
    let rule = Rule {
        id: draft.mint(),
        matcher,
        description: None,
        tags: Tags::new(),
    };
    (rule.id, rule)
}

/// The rules of a new group: all protocols to 0.0.0.0/0, and to ::/0 if its VPC has IPv6.
pub(crate) fn everything_out(has_ipv6: bool) -> impl Iterator<Item = Matcher> {
    let to = |peer| Matcher {
        direction: Direction::Egress,
        service: Service::All,
        peer,
    };
    let ipv4 = Peer::Ipv4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
    let ipv6 = Peer::Ipv6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));
    std::iter::once(to(ipv4)).chain(has_ipv6.then(|| to(ipv6)))
}

#[cfg(test)]
mod tests {
    use enid_model::region::Region;

    use super::*;
    use crate::Caller;
    use crate::fixture::{caller, control};

    #[tokio::test]
    async fn each_region_has_a_default_vpc_of_its_own() -> Result<(), Box<dyn std::error::Error>> {
        let control = control();
        let mut vpcs = BTreeSet::new();
        for name in ["us-east-1", "eu-west-1"] {
            let region = Region::named(name).ok_or("a region of AWS")?;
            let caller = Caller {
                region,
                dry_run: true,
                ..caller()
            };
            let state = control.read(&caller).await?;
            assert_eq!(state.subnets.len(), region.zones.len());
            assert_eq!(state.vpcs.values().filter(|vpc| vpc.is_default).count(), 1);
            vpcs.extend(state.vpcs.keys().copied());
            // The second use finds it alive.
            assert_eq!(control.read(&caller).await?.vpcs.len(), 1);
        }
        assert_eq!(vpcs.len(), 2);
        Ok(())
    }

    /// Takes away what the first version did not store.
    fn age(draft: &mut Draft<'_>) -> Result<(), Error> {
        let region = Arc::clone(&draft.region);
        region.dhcp_options.values().for_each(|it| draft.delete(it));
        region
            .internet_gateways
            .values()
            .for_each(|it| draft.delete(it));
        region.network_acls.values().for_each(|it| draft.delete(it));
        region.route_tables.values().for_each(|it| draft.delete(it));
        for vpc in region.vpcs.values() {
            draft.edit(vpc, |vpc| {
                vpc.main_route_table_association = Default::default()
            });
        }
        for subnet in region.subnets.values() {
            draft.edit(subnet, |subnet| {
                subnet.network_acl = SubnetNetworkAcl::default();
                subnet.attributes = SubnetAttributes::default();
            });
        }
        let record = region.region.clone().ok_or(Error::TooManyRivals)?;
        let old = RegionRecord {
            outfit: 0,
            ..RegionRecord::clone(&record)
        };
        draft.replace("", record.revision, Record::Region(old));
        Ok(())
    }

    #[tokio::test]
    async fn a_region_of_the_first_version_gets_what_it_lacks() {
        let (control, caller) = (control(), caller());
        let other = crate::CreateVpc {
            cidr_block: "10.0.0.0/16".to_owned(),
            ..crate::CreateVpc::default()
        };
        let other = control.create_vpc(&caller, &other).await;
        let other = other.expect("a VPC").id;
        let before = control.read(&caller).await.expect("a region");
        control.transact(&caller, age).await.expect("an old region");
        let after = control.see(&caller).await.expect("a region");
        assert!(is_awake(&after));
        let findings = enid_model::check::check(&control.store().state());
        assert_eq!(findings, Vec::new());
        assert_eq!(after.dhcp_options.len(), 1);
        for (vpc, routes) in [(other, 0), (default_vpc_id(&before), 1)] {
            let vpc = after.vpcs.get(&vpc).expect("the VPC");
            let table = after.route_tables.get(&vpc.main_route_table);
            let table = table.expect("its main table");
            assert_eq!(table.routes.len(), routes);
            for route in &table.routes {
                assert!(crate::is_active(&after, vpc.id, route.target));
            }
            let acl = after.network_acls.get(&vpc.default_network_acl);
            assert!(acl.is_some_and(|acl| acl.is_default && acl.entries.len() == 2));
        }
        for subnet in after.subnets.values() {
            let vpc = after.vpcs.get(&subnet.vpc).expect("its VPC");
            assert_eq!(subnet.network_acl.acl, vpc.default_network_acl);
            assert!(subnet.attributes.map_public_ip_on_launch);
        }
        // Done once.
        let again = control.read(&caller).await.expect("a region");
        assert_eq!(again.region, after.region.region);
    }

    fn default_vpc_id(region: &RegionState) -> VpcId {
        crate::default_vpc(region).expect("a default VPC").id
    }
}
