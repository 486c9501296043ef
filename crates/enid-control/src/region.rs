//! A region comes to life: its default VPC with a subnet in every zone.

use std::net::Ipv4Addr;

use enid_model::Tags;
use enid_model::id::VpcId;
use enid_model::record::Record;
use enid_model::region::RegionRecord;
use enid_model::security_group::{Direction, Matcher, Peer, Rule, SecurityGroup, Service};
use enid_model::subnet::Subnet;
use enid_model::vpc::Vpc;
use ipnet::Ipv4Net;

use crate::{Draft, Error};

/// The default VPC's block, in every region.
const DEFAULT_VPC: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 0);
const DEFAULT_VPC_PREFIX: u8 = 16;
const DEFAULT_SUBNET_PREFIX: u8 = 20;

/// Makes the default VPC of a region that has none, and marks the region as alive.
pub(crate) fn wake(draft: &mut Draft<'_>) -> Result<(), Error> {
    let block = Ipv4Net::new_assert(DEFAULT_VPC, DEFAULT_VPC_PREFIX);
    let dhcp_options = draft.mint();
    let vpc = new_vpc(draft, block, true, dhcp_options, Tags::new());
    let region = draft.caller.region;
    for (number, (zone, zone_id)) in (0_u32..).zip(region.zones()) {
        let size = 1 << (32 - DEFAULT_SUBNET_PREFIX);
        let base = Ipv4Addr::from(u32::from(DEFAULT_VPC) + number * size);
        let subnet = Subnet {
            id: draft.mint(),
            vpc: vpc.id,
            cidr: Ipv4Net::new_assert(base, DEFAULT_SUBNET_PREFIX),
            zone,
            zone_id,
            default_for_az: true,
            tags: Tags::new(),
        };
        draft.create(subnet);
    }
    let record = RegionRecord {
        first_default_vpc: vpc.id,
        dhcp_options,
    };
    draft.claim("", Record::Region(record));
    Ok(())
}

/// Creates a VPC with its default security group. The name claim of the group is made as well.
pub(crate) fn new_vpc(
    draft: &mut Draft<'_>,
    cidr: Ipv4Net,
    is_default: bool,
    dhcp_options: enid_model::id::DhcpOptionsId,
    tags: Tags,
) -> Vpc {
    let id = draft.mint();
    let group = default_group(draft, id);
    let vpc = Vpc {
        id,
        cidr,
        cidr_association: draft.mint(),
        is_default,
        default_group: group.id,
        main_route_table: draft.mint(),
        default_network_acl: draft.mint(),
        dhcp_options,
        enable_dns_support: true,
        enable_dns_hostnames: is_default,
        tags,
    };
    draft.claim_group_name(&group);
    draft.create(group);
    draft.create(vpc.clone());
    vpc
}

/// The group named `default`: everything from itself, everything out.
fn default_group(draft: &mut Draft<'_>, vpc: VpcId) -> SecurityGroup {
    let id = draft.mint();
    let from_itself = Matcher {
        direction: Direction::Ingress,
        service: Service::All,
        peer: Peer::Group(id),
    };
    let rules = [from_itself, everything_out()]
        .into_iter()
        .map(|matcher| {
            let rule = Rule {
                id: draft.mint(),
                matcher,
                description: None,
                tags: Tags::new(),
            };
            (rule.id, rule)
        })
        .collect();
    SecurityGroup {
        id,
        vpc,
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        rules,
        tags: Tags::new(),
    }
}

/// The one rule of a new group: all protocols to 0.0.0.0/0.
pub(crate) fn everything_out() -> Matcher {
    Matcher {
        direction: Direction::Egress,
        service: Service::All,
        peer: Peer::Ipv4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    }
}

#[cfg(test)]
mod tests {
    use enid_model::region::Region;

    use crate::Caller;
    use crate::fixture::{caller, control};

    #[tokio::test]
    async fn each_region_has_a_default_vpc_of_its_own() -> Result<(), Box<dyn std::error::Error>> {
        let control = control();
        let mut vpcs = std::collections::BTreeSet::new();
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
}
