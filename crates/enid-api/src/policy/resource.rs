//! Which resources a request of EC2 is about, and what conditions may ask of each.
//!
//! AWS's page of actions, resources and condition keys for EC2 says which resources each action is
//! checked against. Nearly all of it follows from names: a parameter whose name ends in `Id` names
//! a resource whose type its prefix tells ([`TYPES`]). What an operation makes is in [`CREATES`];
//! where AWS looks at less than is named, [`UNCHECKED`] says so. Operations that only read are
//! about everything (`*`), but for those about one resource ([`reads_one`]).
//!
//! Invariant: every supported operation whose name starts with `Create` is in [`CREATES`]; a test
//! holds the table against what code generation knows.

use enid_control::{Taggable, group_named, tags_of};
use enid_model::id::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_model::state::RegionState;

use super::Facts;
use crate::context::Context;

/// One resource that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its type, as in ARNs; `None`: everything.
    pub(super) kind: Option<&'static str>,
    /// Its id; `None`: one that is not there yet, or any.
    pub(super) id: Option<String>,
}

/// A request, as far as resources go.
pub(super) struct Asked<'a> {
    pub(super) operation: &'a str,
    /// Its parameters by name.
    pub(super) parameters: Vec<(&'a str, &'a str)>,
    pub(super) region: &'a RegionState,
}

/// The type of a resource by the prefix of its id.
const TYPES: &[(&str, &str)] = &[
    ("acl", "network-acl"),
    ("ami", "image"),
    ("dopt", "dhcp-options"),
    ("eigw", "egress-only-internet-gateway"),
    ("eipalloc", "elastic-ip"),
    ("eni", "network-interface"),
    ("fl", "vpc-flow-log"),
    ("i", "instance"),
    ("igw", "internet-gateway"),
    ("key", "key-pair"),
    ("lt", "launch-template"),
    ("nat", "natgateway"),
    ("pcx", "vpc-peering-connection"),
    ("pl", "prefix-list"),
    ("rtb", "route-table"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("vgw", "vpn-gateway"),
    ("vpc", "vpc"),
];

/// What operations make: each type is checked as a resource that is not there yet.
const CREATES: &[(&str, &[&str])] = &[
    ("AllocateAddress", &["elastic-ip"]),
    ("CreateDefaultSubnet", &[]),
    ("CreateDefaultVpc", &[]),
    ("CreateDhcpOptions", &["dhcp-options"]),
    (
        "CreateEgressOnlyInternetGateway",
        &["egress-only-internet-gateway"],
    ),
    ("CreateFlowLogs", &["vpc-flow-log"]),
    ("CreateInternetGateway", &["internet-gateway"]),
    ("CreateKeyPair", &["key-pair"]),
    ("CreateLaunchTemplate", &["launch-template"]),
    ("CreateLaunchTemplateVersion", &[]),
    ("CreateManagedPrefixList", &["prefix-list"]),
    ("CreateNatGateway", &["natgateway"]),
    ("CreateNetworkAcl", &["network-acl"]),
    ("CreateNetworkAclEntry", &[]),
    ("CreateNetworkInterface", &["network-interface"]),
    ("CreateNetworkInterfacePermission", &[]),
    ("CreateRoute", &[]),
    ("CreateRouteTable", &["route-table"]),
    ("CreateSecurityGroup", &["security-group"]),
    ("CreateSubnet", &["subnet"]),
    ("CreateSubnetCidrReservation", &[]),
    ("CreateTags", &[]),
    ("CreateVpc", &["vpc"]),
    ("CreateVpcPeeringConnection", &["vpc-peering-connection"]),
    ("ImportKeyPair", &["key-pair"]),
    ("RunInstances", &["instance", "network-interface", "volume"]),
];

/// Parameters that name a resource which AWS does not check: operation, and how the name starts.
const UNCHECKED: &[(&str, &str)] = &[
    ("CreateRoute", "Carrier"),
    ("CreateRoute", "Destination"),
    ("CreateRoute", "EgressOnly"),
    ("CreateRoute", "Gateway"),
    ("CreateRoute", "Instance"),
    ("CreateRoute", "Nat"),
    ("CreateRoute", "NetworkInterface"),
    ("CreateRoute", "VpcPeering"),
    ("DeleteRoute", "Destination"),
    ("ReplaceRoute", "Destination"),
    ("ReplaceRoute", "EgressOnly"),
    ("ReplaceRoute", "Gateway"),
    ("ReplaceRoute", "Instance"),
    ("ReplaceRoute", "Nat"),
    ("ReplaceRoute", "NetworkInterface"),
    ("ReplaceRoute", "VpcPeering"),
    ("RevokeSecurityGroupEgress", "SecurityGroupRule"),
    ("RevokeSecurityGroupIngress", "SecurityGroupRule"),
];

/// Whether an operation that reads is about the one resource that it names.
fn reads_one(operation: &str) -> bool {
    operation.ends_with("Attribute")
        || matches!(
            operation,
            "GetConsoleOutput" | "GetManagedPrefixListEntries"
        )
}

impl Target {
    fn named(kind: &'static str, id: &str) -> Self {
        Self {
            kind: Some(kind),
            id: Some(id.to_owned()),
        }
    }

    fn any(kind: &'static str) -> Self {
        Self {
            kind: Some(kind),
            id: None,
        }
    }

    /// What the id names, by its prefix.
    fn of_id(id: &str) -> Option<Self> {
        Some(Self::named(kind_of(id)?, id))
    }

    /// Its ARN; `*` for everything.
    pub(super) fn arn(&self, context: &Context) -> String {
        let Some(kind) = self.kind else {
            return "*".to_owned();
        };
        let id = self.id.as_deref().unwrap_or("*");
        match kind {
            // Images belong to whoever made them, so that their ARNs name no account.
            "image" => {
                let (partition, region) = (context.region.partition(), context.region.name);
                format!("arn:{partition}:ec2:{region}::image/{id}")
            }
            kind => context.arn(kind, id).as_str().to_owned(),
        }
    }
}

/// The type with this name, if what it names can be made here.
pub(super) fn kind_named(name: &str) -> Option<&'static str> {
    let kinds = TYPES.iter().map(|(_, kind)| *kind);
    kinds.chain(["volume"]).find(|kind| *kind == name)
}

fn kind_of(id: &str) -> Option<&'static str> {
    let (prefix, _) = id.rsplit_once('-')?;
    let found = TYPES.iter().find(|(known, _)| *known == prefix);
    found.map(|(_, kind)| *kind)
}

impl Asked<'_> {
    /// The resources that the request is about, each once; at least one.
    pub(super) fn targets(&self) -> Vec<Target> {
        let reads = ["Describe", "Get", "List", "Search"];
        let everything = vec![Target {
            kind: None,
            id: None,
        }];
        if reads.iter().any(|start| self.operation.starts_with(start)) && !reads_one(self.operation)
        {
            return everything;
        }
        let mut targets = self.named();
        let made = CREATES.iter().find(|(name, _)| *name == self.operation);
        let made = made.map(|(_, kinds)| *kinds).unwrap_or_default();
        targets.extend(made.iter().map(|kind| Target::any(kind)));
        if self.operation == "RunInstances" {
            self.complete_launch(&mut targets);
        }
        let mut once: Vec<Target> = Vec::with_capacity(targets.len());
        for target in targets {
            if !once.contains(&target) {
                once.push(target);
            }
        }
        if once.is_empty() { everything } else { once }
    }

    /// What parameters name.
    fn named(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for (name, value) in &self.parameters {
            let words = words(name);
            let word = match words.as_slice() {
                [word] => *word,
                // Interfaces of a launch are resources of the launch.
                ["NetworkInterface", word] if self.operation == "RunInstances" => *word,
                _ => continue,
            };
            let mut unchecked = UNCHECKED.iter();
            if unchecked
                .any(|(operation, start)| *operation == self.operation && word.starts_with(start))
            {
                continue;
            }
            match word {
                "SecurityGroup" if self.operation == "RunInstances" => {
                    targets.push(self.group_by_name(value));
                }
                "GroupName" if self.operation != "CreateSecurityGroup" => {
                    targets.push(self.group_by_name(value));
                }
                "KeyName"
                    if self.operation != "CreateKeyPair" && self.operation != "ImportKeyPair" =>
                {
                    targets.push(Target::named("key-pair", value));
                }
                word if word.ends_with("Id") => targets.extend(self.by_id(value)),
                _ => {}
            }
        }
        targets
    }

    /// The resources that an id names: two for an association of two.
    fn by_id(&self, id: &str) -> Vec<Target> {
        let Ok(attachment) = id.parse::<AttachmentId>() else {
            return Target::of_id(id).into_iter().collect();
        };
        let Some(eni) = self.region.eni_of_attachment(attachment) else {
            return vec![Target::any("network-interface")];
        };
        let mut targets = vec![Target::named("network-interface", &eni.id.to_string())];
        targets.extend(
            eni.attachment
                .as_ref()
                .map(|attachment| Target::named("instance", &attachment.instance.to_string())),
        );
        targets
    }

    fn group_by_name(&self, name: &str) -> Target {
        match group_named(self.region, name) {
            Ok(group) => Target::named("security-group", &group.id.to_string()),
            Err(_) => Target::any("security-group"),
        }
    }

    /// A launch that names no subnet or no group is about the default ones.
    fn complete_launch(&self, targets: &mut Vec<Target>) {
        let has = |targets: &[Target], kind: &str| {
            let mut targets = targets.iter();
            targets.any(|target| target.kind == Some(kind) && target.id.is_some())
        };
        // An interface that exists brings both with it.
        if has(targets, "network-interface") {
            return;
        }
        if !has(targets, "subnet") {
            let zone = self.value("Placement.AvailabilityZone");
            let subnet = enid_control::default_subnet(self.region, zone);
            targets.push(match subnet {
                Some(subnet) => Target::named("subnet", &subnet.id.to_string()),
                None => Target::any("subnet"),
            });
        }
        if !has(targets, "security-group") {
            let vpc = self.place().vpc;
            let group = vpc.and_then(|vpc| Some(self.region.vpcs.get(&vpc)?.default_group));
            targets.push(match group {
                Some(group) => Target::named("security-group", &group.to_string()),
                None => Target::any("security-group"),
            });
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// Where what the request makes will be.
    fn place(&self) -> Place {
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
                if kind == "instance"
                    && let Some(instance_type) = self.value("InstanceType")
                {
                    facts.set("ec2:instancetype", instance_type);
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
            "instance" => id.parse::<InstanceId>().ok().and_then(|id| {
                let instance = region.instances.get(&id)?;
                facts.set("ec2:instancetype", instance.instance_type.as_str());
                Some(in_subnet(instance.subnet))
            }),
            "network-interface" => id
                .parse::<EniId>()
                .ok()
                .and_then(|id| Some(in_subnet(region.network_interfaces.get(&id)?.subnet))),
            "security-group" => id
                .parse::<SecurityGroupId>()
                .ok()
                .and_then(|id| Some(in_vpc(region.security_groups.get(&id)?.vpc))),
            "subnet" => id.parse().ok().map(in_subnet),
            _ => None,
        };
        found.unwrap_or_default()
    }
}

/// Where a resource is.
#[derive(Debug, Default)]
struct Place {
    subnet: Option<SubnetId>,
    vpc: Option<VpcId>,
    zone: Option<String>,
}

/// The words of a parameter's name, numbers left out.
fn words(name: &str) -> Vec<&str> {
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').filter(|word| !is_number(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::ec2::operations::OPERATIONS;

    fn asked<'a>(
        region: &'a RegionState,
        operation: &'a str,
        parameters: &[(&'a str, &'a str)],
    ) -> Vec<String> {
        let asked = Asked {
            operation,
            parameters: parameters.to_vec(),
            region,
        };
        let targets = asked.targets().into_iter();
        let mut targets: Vec<String> = targets
            .map(|target| match (target.kind, target.id) {
                (None, _) => "*".to_owned(),
                (Some(kind), id) => format!("{kind}/{}", id.as_deref().unwrap_or("*")),
            })
            .collect();
        targets.sort();
        targets
    }

    #[test]
    fn what_an_operation_makes_is_known() {
        let made = |name: &&&str| CREATES.iter().any(|(known, _)| *known == **name);
        let creates = OPERATIONS.iter().filter(|name| name.starts_with("Create"));
        let missing: Vec<_> = creates.filter(|name| !made(name)).collect();
        assert!(missing.is_empty(), "not in CREATES: {missing:?}");
    }

    #[test]
    fn names_tell_the_resources() {
        let region = RegionState::default();
        for (operation, parameters, wanted) in [
            ("DescribeVpcs", &[("VpcId.1", "vpc-1")][..], &["*"][..]),
            (
                "DescribeVpcAttribute",
                &[("VpcId", "vpc-1")],
                &["vpc/vpc-1"],
            ),
            (
                "GetConsoleOutput",
                &[("InstanceId", "i-1")],
                &["instance/i-1"],
            ),
            ("CreateVpc", &[("CidrBlock", "10.0.0.0/16")], &["vpc/*"]),
            (
                "CreateSubnet",
                &[("VpcId", "vpc-1")],
                &["subnet/*", "vpc/vpc-1"],
            ),
            (
                "CreateNetworkInterface",
                &[
                    ("SubnetId", "subnet-1"),
                    ("SecurityGroupId.1", "sg-1"),
                    ("SecurityGroupId.2", "sg-2"),
                ],
                &[
                    "network-interface/*",
                    "security-group/sg-1",
                    "security-group/sg-2",
                    "subnet/subnet-1",
                ],
            ),
            (
                "CreateTags",
                &[
                    ("ResourceId.1", "vpc-1"),
                    ("ResourceId.2", "eni-1"),
                    ("Tag.1.Key", "a"),
                ],
                &["network-interface/eni-1", "vpc/vpc-1"],
            ),
            (
                "AuthorizeSecurityGroupIngress",
                &[
                    ("GroupId", "sg-1"),
                    ("IpPermissions.1.Groups.1.GroupId", "sg-2"),
                ],
                &["security-group/sg-1"],
            ),
            (
                "DetachNetworkInterface",
                &[("AttachmentId", "eni-attach-00000000000000001")],
                &["network-interface/*"],
            ),
            (
                "CreateRoute",
                &[("RouteTableId", "rtb-1"), ("GatewayId", "igw-1")],
                &["route-table/rtb-1"],
            ),
            (
                "DeleteSecurityGroup",
                &[("GroupName", "web")],
                &["security-group/*"],
            ),
            (
                "RunInstances",
                &[
                    ("ImageId", "ami-1"),
                    ("KeyName", "k"),
                    ("NetworkInterface.1.SubnetId", "subnet-1"),
                    ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
                ],
                &[
                    "image/ami-1",
                    "instance/*",
                    "key-pair/k",
                    "network-interface/*",
                    "security-group/sg-1",
                    "subnet/subnet-1",
                    "volume/*",
                ],
            ),
            (
                "RunInstances",
                &[("ImageId", "ami-1")],
                &[
                    "image/ami-1",
                    "instance/*",
                    "network-interface/*",
                    "security-group/*",
                    "subnet/*",
                    "volume/*",
                ],
            ),
        ] {
            assert_eq!(asked(&region, operation, parameters), wanted, "{operation}");
        }
    }
}
