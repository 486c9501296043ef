//! What conditions may ask of a resource: where it is, its tags, an instance's type.

use enid_control::{Taggable, tags_of};
use enid_model::id::{ResourceId, SubnetId, VpcId};
use enid_model::state::{Map, Stored};

use super::Facts;
use super::resource::{Asked, Target, words};
use crate::context::Context;

impl<'a> Asked<'a> {
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// Where what the request makes will be.
    pub(super) fn place(&self) -> Place {
        let named = |wanted: &str| {
            let mut parameters = self.parameters.iter();
            let found = parameters.find(|(name, _)| words(name).last() == Some(&wanted));
            found.map(|(_, value)| *value)
        };
        let subnet: Option<SubnetId> = named("SubnetId").and_then(|id| id.parse().ok());
        let zone = named("AvailabilityZone");
        let subnet = subnet.or_else(|| {
            let launches = self.operation == "RunInstances";
            let found = launches.then(|| enid_control::default_subnet(self.region, zone));
            found.flatten().map(|subnet| subnet.id)
        });
        let found = subnet.and_then(|id| self.region.subnets.get(&id));
        let vpc: Option<VpcId> = named("VpcId").and_then(|id| id.parse().ok());
        Place {
            subnet,
            vpc: vpc.or_else(|| found.map(|subnet| subnet.vpc)),
            zone: found
                .map(|subnet| subnet.zone.clone())
                .or_else(|| zone.map(str::to_owned)),
        }
    }

    /// What conditions may ask of a resource, beside what holds for the whole request.
    pub(super) fn describe(&self, target: &Target, context: &Context, facts: &mut Facts) {
        let Some(kind) = target.kind else {
            facts.set("ec2:region", context.region.name);
            return;
        };
        facts.set("ec2:region", context.region.name);
        let place = match &target.id {
            Some(id) => {
                self.describe_tags(id, facts);
                self.place_of(kind, id, facts)
            }
            None => {
                for (key, name) in OF_NEW_INSTANCES.iter().filter(|_| kind == "instance") {
                    if let Some(value) = self.value(name) {
                        facts.set(key, value);
                    }
                }
                self.place()
            }
        };
        let Place { subnet, vpc, zone } = place;
        if let Some(subnet) = subnet.filter(|_| kind == "network-interface") {
            facts.set("ec2:subnet", context.arn("subnet", subnet).as_str());
        }
        if let Some(vpc) = vpc.filter(|_| !matches!(kind, "instance" | "volume" | "vpc")) {
            facts.set("ec2:vpc", context.arn("vpc", vpc).as_str());
        }
        if let Some(zone) = zone {
            facts.set("ec2:availabilityzone", zone);
        }
    }

    fn describe_tags(&self, id: &str, facts: &mut Facts) {
        let resource = Taggable::parse(id).ok();
        let tags = resource.and_then(|resource| tags_of(self.region, resource));
        for (key, value) in tags.into_iter().flatten() {
            facts.add_tag("aws:resourcetag/", key, value);
            facts.add_tag("ec2:resourcetag/", key, value);
        }
    }

    /// Where a resource is. Of an instance, its type is told as well.
    fn place_of(&self, kind: &str, id: &str, facts: &mut Facts) -> Place {
        let region = self.region;
        let in_subnet = |id: SubnetId| {
            let subnet = region.subnets.get(&id);
            Place {
                subnet: Some(id),
                vpc: subnet.map(|subnet| subnet.vpc),
                zone: subnet.map(|subnet| subnet.zone.clone()),
            }
        };
        let in_vpc = |vpc: VpcId| Place {
            vpc: Some(vpc),
            ..Place::default()
        };
        let found = match kind {
            "egress-only-internet-gateway" => {
                find(&region.egress_only_internet_gateways, id).map(|own| in_vpc(own.vpc))
            }
            "instance" => {
                let instance = find(&region.instances, id);
                instance.map(|own| {
                    facts.set("ec2:instancetype", own.instance_type.as_str());
                    in_subnet(own.subnet)
                })
            }
            "internet-gateway" => find(&region.internet_gateways, id)
                .and_then(|own| own.vpc)
                .map(in_vpc),
            "natgateway" => find(&region.nat_gateways, id).map(|own| in_subnet(own.subnet)),
            "network-acl" => find(&region.network_acls, id).map(|own| in_vpc(own.vpc)),
            "network-interface" => {
                find(&region.network_interfaces, id).map(|own| in_subnet(own.subnet))
            }
            "route-table" => find(&region.route_tables, id).map(|own| in_vpc(own.vpc)),
            "security-group" => find(&region.security_groups, id).map(|own| in_vpc(own.vpc)),
            "subnet" => id.parse().ok().map(in_subnet),
            _ => None,
        };
        found.unwrap_or_default()
    }
}

/// What conditions may ask of instances that a request makes, and the parameter that says it.
const OF_NEW_INSTANCES: [(&str, &str); 4] = [
    ("ec2:instancetype", "InstanceType"),
    ("ec2:metadatahttpendpoint", "MetadataOptions.HttpEndpoint"),
    (
        "ec2:metadatahttpputresponsehoplimit",
        "MetadataOptions.HttpPutResponseHopLimit",
    ),
    ("ec2:metadatahttptokens", "MetadataOptions.HttpTokens"),
];

/// The resource that a text names.
fn find<'a, I: ResourceId + std::str::FromStr, T>(
    map: &'a Map<I, Stored<T>>,
    id: &str,
) -> Option<&'a Stored<T>> {
    let id: I = id.parse().ok()?;
    map.get(&id)
}

/// Where a resource is.
#[derive(Debug, Default)]
pub(super) struct Place {
    subnet: Option<SubnetId>,
    pub(super) vpc: Option<VpcId>,
    zone: Option<String>,
}
