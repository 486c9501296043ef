//! VPCs.
//!
//! A VPC comes with its default security group and goes with it, and its peering connections end
//! with it. Everything else that is in a VPC must be gone before it can go.

use std::net::Ipv4Addr;

use enid_model::id::VpcId;
use enid_model::key::Kind;
use enid_model::state::{RegionState, Stored};
use enid_model::vpc::Vpc;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::draft::group_name_key;
use crate::internet_gateway::check_gateway_quota;
use crate::region::NewVpc;
use crate::vpc_cidr_block::WantedIpv6Block;
use crate::{
    AddressingError, Caller, Control, Draft, Error, TagSpecification, region, tag,
    vpc_peering_connection,
};

/// What CreateVpc takes.
#[derive(Debug, Clone, Default)]
pub struct CreateVpc {
    /// The primary block, as the client writes it.
    pub cidr_block: String,
    /// An IPv6 block.
    pub ipv6: Option<WantedIpv6Block>,
    /// `default`, which is also what none means.
    pub instance_tenancy: Option<String>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// What ModifyVpcAttribute takes: exactly one change.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModifyVpcAttribute {
    /// Whether instances get public DNS names.
    pub enable_dns_hostnames: Option<bool>,
    /// Whether the resolver answers.
    pub enable_dns_support: Option<bool>,
    /// Whether the use of its addresses is measured.
    pub enable_network_address_usage_metrics: Option<bool>,
}

/// The region's default VPC, if it still has one.
#[must_use]
pub fn default_vpc(region: &RegionState) -> Option<&Stored<Vpc>> {
    region.vpcs.values().find(|vpc| vpc.is_default)
}

impl Control {
    /// CreateVpc.
    pub async fn create_vpc(&self, caller: &Caller, input: &CreateVpc) -> Result<Vpc, Error> {
        let tags = tag::specified(&input.tag_specifications, "vpc")?;
        let cidr = vpc_block(&input.cidr_block)?;
        check_tenancy(input.instance_tenancy.as_deref())?;
        self.transact(caller, |draft| {
            check_quota(draft)?;
            let dhcp_options = region::default_dhcp_options(draft)?;
            let ipv6_cidr = match &input.ipv6 {
                Some(wanted) => Some(wanted.choose(draft)?),
                None => None,
            };
            let new = NewVpc {
                cidr,
                ipv6_cidr,
                is_default: false,
                dhcp_options: Some(dhcp_options),
                routes: Vec::new(),
                tags: tags.clone(),
            };
            Ok(region::new_vpc(draft, new))
        })
        .await
    }

    /// DeleteVpc.
    pub async fn delete_vpc(&self, caller: &Caller, id: VpcId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let vpc = draft.require::<Vpc>(id)?;
            let region = std::sync::Arc::clone(&draft.region);
            if has_dependencies(&region, &vpc) {
                return Err(Error::VpcInUse { id });
            }
            for kind in DEPENDENT_KINDS {
                draft.demand_unnamed(kind, id);
            }
            if let Some(table) = region.route_tables.get(&vpc.main_route_table) {
                draft.delete(table);
            }
            if let Some(acl) = region.network_acls.get(&vpc.default_network_acl) {
                draft.delete(acl);
            }
            if let Some(group) = region.security_groups.get(&vpc.default_group) {
                let name = group_name_key(group);
                if let Some(claim) = region.group_names.get(&*name) {
                    draft.release(Kind::GroupName, name, claim.revision);
                }
                draft.delete(group);
            }
            for block in &vpc.ipv6_cidrs {
                draft.release_public(block.cidr.network().into());
            }
            vpc_peering_connection::end_of_vpc(draft, id);
            draft.delete(&vpc);
            Ok(())
        })
        .await
    }

    /// CreateDefaultVpc.
    pub async fn create_default_vpc(&self, caller: &Caller) -> Result<Vpc, Error> {
        self.transact(caller, |draft| {
            if default_vpc(&draft.region).is_some() {
                return Err(Error::DefaultVpcExists);
            }
            check_quota(draft)?;
            // It comes with an internet gateway.
            check_gateway_quota(draft)?;
            let dhcp_options = region::default_dhcp_options(draft)?;
            Ok(region::new_default_vpc(draft, dhcp_options))
        })
        .await
    }

    /// ModifyVpcAttribute.
    pub async fn modify_vpc_attribute(
        &self,
        caller: &Caller,
        id: VpcId,
        input: ModifyVpcAttribute,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| modify(draft, id, input))
            .await
    }
}

/// The region has room for one more VPC; also at the commit.
fn check_quota(draft: &mut Draft<'_>) -> Result<(), Error> {
    draft.demand_none_new(Kind::Vpc);
    if draft.region.vpcs.len() >= draft.quotas.vpcs {
        return Err(Error::VpcLimitExceeded);
    }
    Ok(())
}

/// What stands in the way of a VPC's end. What was made with it goes with it.
fn has_dependencies(region: &RegionState, vpc: &Vpc) -> bool {
    let id = vpc.id;
    let other_group = region
        .groups_of_vpc(id)
        .any(|group| group != vpc.default_group);
    let other_table = region
        .route_tables_of_vpc(id)
        .any(|table| table != vpc.main_route_table);
    let other_acl = region
        .acls_of_vpc(id)
        .any(|acl| acl != vpc.default_network_acl);
    // Interfaces and NAT gateways are in a subnet, so the subnets stand for them as well.
    other_group
        || other_table
        || other_acl
        || region.subnets_of_vpc(id).next().is_some()
        || region.internet_gateways_of_vpc(id).next().is_some()
        || region.egress_only_gateways_of_vpc(id).next().is_some()
        || region.groups_associated_with_vpc(id).next().is_some()
}

/// The kinds that [`has_dependencies`] looks for.
const DEPENDENT_KINDS: [Kind; 6] = [
    Kind::EgressOnlyInternetGateway,
    Kind::InternetGateway,
    Kind::NetworkAcl,
    Kind::RouteTable,
    Kind::SecurityGroup,
    Kind::Subnet,
];

fn modify(draft: &mut Draft<'_>, id: VpcId, input: ModifyVpcAttribute) -> Result<(), Error> {
    let vpc = draft.require::<Vpc>(id)?;
    let metrics = input.enable_network_address_usage_metrics;
    let named = [
        ("enableDnsHostnames", input.enable_dns_hostnames),
        ("enableDnsSupport", input.enable_dns_support),
        ("enableNetworkAddressUsageMetrics", metrics),
    ];
    let named = named.into_iter().filter(|(_, flag)| flag.is_some());
    let names: Vec<&str> = named.map(|(name, _)| name).collect();
    if names.len() > 1 {
        let names = names.join(", ").into();
        return Err(Error::SeveralAttributes { names });
    }
    match (input.enable_dns_hostnames, input.enable_dns_support) {
        (None, None) if metrics.is_none() => {
            return Err(Error::MissingParameter { name: "attribute" });
        }
        (Some(true), None) if !vpc.enable_dns_support => {
            return Err(Error::DnsHostnamesWithoutSupport);
        }
        (Some(hostnames), None) => draft.edit(&vpc, |vpc| vpc.enable_dns_hostnames = hostnames),
        (None, None) => draft.edit(&vpc, |vpc| {
            vpc.network_address_usage_metrics = metrics.unwrap_or(false);
        }),
        (_, Some(support)) => draft.edit(&vpc, |vpc| vpc.enable_dns_support = support),
    }
    Ok(())
}

fn check_tenancy(tenancy: Option<&str>) -> Result<(), Error> {
    match tenancy {
        None | Some("default") => Ok(()),
        Some("dedicated" | "host") => Err(Error::Unsupported {
            what: "an InstanceTenancy other than default",
        }),
        Some(other) => Err(Error::InvalidValue {
            value: other.into(),
            name: "instanceTenancy",
            why: "A tenancy is default, dedicated or host.".into(),
        }),
    }
}

/// Reads a client's IPv4 block; host bits are cleared as AWS clears them.
pub(crate) fn block(text: &str) -> Result<Ipv4Net, Error> {
    let Ok(block) = text.parse::<Ipv4Net>() else {
        return Err(Error::InvalidValue {
            value: text.into(),
            name: "cidrBlock",
            why: "This is not a valid CIDR block.".into(),
        });
    };
    Ok(block.trunc())
}

/// The same for an IPv6 block.
pub(crate) fn ipv6_block(text: &str) -> Result<Ipv6Net, Error> {
    let Ok(block) = text.parse::<Ipv6Net>() else {
        return Err(Error::InvalidValue {
            value: text.into(),
            name: "ipv6CidrBlock",
            why: "This is not a valid CIDR block.".into(),
        });
    };
    Ok(block.trunc())
}

/// A block of a VPC: of a size that AWS has, and of addresses that can be an instance's.
pub(crate) fn vpc_block(text: &str) -> Result<Ipv4Net, Error> {
    let cidr = block(text)?;
    let usable = FORBIDDEN
        .iter()
        .all(|(base, length)| !Ipv4Net::new_assert(*base, *length).contains(&cidr.network()));
    if SIZES.contains(&cidr.prefix_len()) && usable {
        Ok(cidr)
    } else {
        Err(AddressingError::VpcRange { cidr: text.into() }.into())
    }
}

/// The prefix lengths of VPC and subnet blocks.
pub(crate) const SIZES: std::ops::RangeInclusive<u8> = 16..=28;

/// Addresses that no VPC can have: this network, loopback, link-local, multicast and reserved. No
/// block of a permitted size holds one of these whole, so looking at its base is enough.
const FORBIDDEN: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

#[cfg(test)]
mod tests {
    use enid_model::Tags;

    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateSecurityGroup, CreateSubnet, Quotas, Tag};

    fn create(cidr: &str) -> CreateVpc {
        CreateVpc {
            cidr_block: cidr.to_owned(),
            ..CreateVpc::default()
        }
    }

    #[test]
    fn blocks_are_read_as_aws_reads_them() {
        for (text, read) in [
            ("10.0.0.0/16", Ok("10.0.0.0/16")),
            ("100.68.0.18/18", Ok("100.68.0.0/18")),
            ("203.0.113.240/28", Ok("203.0.113.240/28")),
            ("10.0.0.0/15", Err("InvalidVpc.Range")),
            ("10.0.0.0/29", Err("InvalidVpc.Range")),
            ("169.254.0.0/16", Err("InvalidVpc.Range")),
            ("169.254.128.0/20", Err("InvalidVpc.Range")),
            ("127.0.0.0/16", Err("InvalidVpc.Range")),
            ("224.0.0.0/16", Err("InvalidVpc.Range")),
            ("255.255.0.0/16", Err("InvalidVpc.Range")),
            ("10.0.0.0", Err("InvalidParameterValue")),
            ("10.0.0.0/33", Err("InvalidParameterValue")),
            ("fd00::/56", Err("InvalidParameterValue")),
            ("", Err("InvalidParameterValue")),
        ] {
            let cidr = vpc_block(text).map(|cidr| cidr.to_string());
            let cidr = cidr.as_deref().map_err(Error::code);
            assert_eq!(cidr, read, "{text}");
        }
        assert_eq!(
            vpc_block("10.0.0.0/8").map_err(|error| error.to_string()),
            Err("The CIDR '10.0.0.0/8' is invalid.".to_owned())
        );
    }

    #[tokio::test]
    async fn a_vpc_comes_and_goes_with_its_default_group() {
        let (control, caller) = (control(), caller());
        let mut input = create("10.1.2.3/16");
        input.tag_specifications.push(TagSpecification {
            resource_type: Some("vpc".to_owned()),
            tags: vec![Tag {
                key: "Name".to_owned(),
                value: "a".to_owned(),
            }],
        });
        let before = control.read(&caller).await.expect("a region");
        let vpc = control.create_vpc(&caller, &input).await.expect("a VPC");
        assert_eq!(vpc.cidr.to_string(), "10.1.0.0/16");
        assert_eq!(vpc.tags, Tags::from([("Name".to_owned(), "a".to_owned())]));
        assert!(!vpc.is_default && vpc.enable_dns_support && !vpc.enable_dns_hostnames);
        let with = control.read(&caller).await.expect("a region");
        let group = with.security_groups.get(&vpc.default_group);
        assert_eq!(
            group.map(|group| (group.vpc, &*group.name)),
            Some((vpc.id, "default"))
        );

        assert_eq!(control.delete_vpc(&caller, vpc.id).await, Ok(()));
        let after = control.read(&caller).await.expect("a region");
        assert_eq!(after.vpcs, before.vpcs);
        assert_eq!(after.security_groups, before.security_groups);
        assert_eq!(after.group_names, before.group_names);
        let again = control.delete_vpc(&caller, vpc.id).await;
        assert_eq!(again.map_err(|e| e.code()), Err("InvalidVpcID.NotFound"));
    }

    #[tokio::test]
    async fn a_vpc_in_use_stays() {
        let (control, caller) = (control(), caller());
        let vpc = control.create_vpc(&caller, &create("10.0.0.0/16")).await;
        let vpc = vpc.expect("a VPC").id;
        let group = CreateSecurityGroup {
            name: "web".to_owned(),
            description: "web".to_owned(),
            vpc: Some(vpc),
            ..CreateSecurityGroup::default()
        };
        let group = control.create_security_group(&caller, &group).await;
        let in_use = control.delete_vpc(&caller, vpc).await;
        assert_eq!(in_use, Err(Error::VpcInUse { id: vpc }));
        let group = group.expect("a group").id.into();
        control
            .delete_security_group(&caller, &group)
            .await
            .expect("deleted");
        let subnet = CreateSubnet::new(vpc, "10.0.1.0/24");
        let subnet = control.create_subnet(&caller, &subnet).await;
        let in_use = control.delete_vpc(&caller, vpc).await;
        assert_eq!(
            in_use.map_err(|e| (e.code(), e.to_string())),
            Err((
                "DependencyViolation",
                format!("The vpc '{vpc}' has dependencies and cannot be deleted.")
            ))
        );
        let subnet = subnet.expect("a subnet").id;
        assert_eq!(control.delete_subnet(&caller, subnet).await, Ok(()));
        assert_eq!(control.delete_vpc(&caller, vpc).await, Ok(()));
    }

    #[tokio::test]
    async fn a_deleted_default_vpc_does_not_come_back() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = default_vpc(&region).expect("a default VPC").id;
        for subnet in region.subnets.keys() {
            assert_eq!(control.delete_subnet(&caller, *subnet).await, Ok(()));
        }
        let attached = control.delete_vpc(&caller, vpc).await;
        assert_eq!(attached, Err(Error::VpcInUse { id: vpc }));
        control
            .transact(&caller, |draft| {
                let region = std::sync::Arc::clone(&draft.region);
                region
                    .internet_gateways
                    .values()
                    .for_each(|gateway| draft.delete(gateway));
                Ok(())
            })
            .await
            .expect("no internet gateway");
        assert_eq!(control.delete_vpc(&caller, vpc).await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        assert!(default_vpc(&region).is_none());
        let subnet = control.create_default_subnet(&caller, "eu-west-1a").await;
        assert_eq!(subnet, Err(Error::DefaultVpcMissing));
        // Unless it is asked for, and there is room for its internet gateway.
        let quota = Quotas::default().internet_gateways;
        let mut gateways = Vec::new();
        for _ in 0..quota {
            let made = control.create_internet_gateway(&caller, &[]).await;
            gateways.push(made.expect("a gateway").id);
        }
        let full = control.create_default_vpc(&caller).await;
        assert_eq!(full, Err(Error::InternetGatewayLimitExceeded));
        let gone = control.delete_internet_gateway(&caller, gateways[0]).await;
        assert_eq!(gone, Ok(()));
        let new = control.create_default_vpc(&caller).await.expect("a VPC");
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(region.subnets_of_vpc(new.id).count(), 3);
        assert_eq!(region.internet_gateways_of_vpc(new.id).count(), 1);
        let again = control.create_default_vpc(&caller).await;
        assert_eq!(again, Err(Error::DefaultVpcExists));
    }

    #[tokio::test]
    async fn a_quota_counts_the_default_vpc() {
        let control = control().with_quotas(Quotas {
            vpcs: 2,
            ..Quotas::default()
        });
        let caller = caller();
        let first = control.create_vpc(&caller, &create("10.0.0.0/16")).await;
        assert!(first.is_ok());
        let second = control.create_vpc(&caller, &create("10.1.0.0/16")).await;
        assert_eq!(second.map_err(|e| e.code()), Err("VpcLimitExceeded"));
    }

    #[tokio::test]
    async fn attributes_change_one_at_a_time() {
        let (control, caller) = (control(), caller());
        let vpc = control.create_vpc(&caller, &create("10.0.0.0/16")).await;
        let vpc = vpc.expect("a VPC").id;
        let modify_all = async |enable_dns_hostnames, enable_dns_support, metrics| {
            let input = ModifyVpcAttribute {
                enable_dns_hostnames,
                enable_dns_support,
                enable_network_address_usage_metrics: metrics,
            };
            let done = control.modify_vpc_attribute(&caller, vpc, input).await;
            done.map_err(|error| error.code())
        };
        let modify = async |hostnames, support| modify_all(hostnames, support, None).await;
        assert_eq!(modify(Some(true), None).await, Ok(()));
        assert_eq!(modify_all(None, None, Some(true)).await, Ok(()));
        let two = modify_all(None, Some(true), Some(false)).await;
        assert_eq!(two, Err("InvalidParameterCombination"));
        assert_eq!(modify(None, None).await, Err("MissingParameter"));
        let both = modify(Some(true), Some(true)).await;
        assert_eq!(both, Err("InvalidParameterCombination"));
        assert_eq!(modify(None, Some(false)).await, Ok(()));
        assert_eq!(modify(Some(false), None).await, Ok(()));
        let without = modify(Some(true), None).await;
        assert_eq!(without, Err("InvalidParameterCombination"));
        let region = control.read(&caller).await.expect("a region");
        let vpc = region.vpcs.get(&vpc).expect("the VPC");
        assert!(!vpc.enable_dns_hostnames && !vpc.enable_dns_support);
        assert!(vpc.network_address_usage_metrics);
    }

    #[tokio::test]
    async fn only_default_tenancy_is_there() {
        let (control, caller) = (control(), caller());
        let mut codes = Vec::new();
        for tenancy in ["default", "dedicated", "shared"] {
            let mut input = create("10.0.0.0/16");
            input.instance_tenancy = Some(tenancy.to_owned());
            let made = control.create_vpc(&caller, &input).await;
            codes.push(made.err().map(|error| error.code()));
        }
        let refused = [Some("UnsupportedOperation"), Some("InvalidParameterValue")];
        assert_eq!(codes, [&[None], &refused[..]].concat());
    }
}
