//! Which resources a request of EC2 is about, and what conditions may ask of each.
//!
//! AWS's page of actions, resources and condition keys for EC2 says which resources each action is
//! checked against. Nearly all of it follows from names: a parameter whose name ends in `Id` names
//! a resource whose type its prefix tells ([`TYPES`]), or an association of two
//! ([`super::association`]). What an operation makes is in [`CREATES`];
//! where AWS looks at less than is named, [`UNCHECKED`] says so. Operations that only read are
//! about everything (`*`), but for those about one resource ([`reads_one`]).
//!
//! Invariant: every supported operation whose name starts with `Create` is in [`CREATES`]; a test
//! holds the table against what code generation knows.

use std::net::Ipv4Addr;

use enid_control::group_named;
use enid_model::id::{EniId, KeyPairId};
use enid_model::key::AccountId;
use enid_model::state::RegionState;

use crate::context::Context;

/// One resource that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its type, as in ARNs; `None`: everything.
    pub(super) kind: Option<&'static str>,
    /// Its id; `None`: one that is not there yet, or any.
    pub(super) id: Option<String>,
    /// Whose it is, if not the caller's: an interface that another account lent.
    pub(super) owner: Option<AccountId>,
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
    ("scr", "subnet-cidr-reservation"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("tmf", "traffic-mirror-filter"),
    ("tmfr", "traffic-mirror-filter-rule"),
    ("tms", "traffic-mirror-session"),
    ("tmt", "traffic-mirror-target"),
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
    ("CreateTrafficMirrorFilter", &["traffic-mirror-filter"]),
    (
        "CreateTrafficMirrorFilterRule",
        &["traffic-mirror-filter-rule"],
    ),
    ("CreateTrafficMirrorSession", &["traffic-mirror-session"]),
    ("CreateTrafficMirrorTarget", &["traffic-mirror-target"]),
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
    pub(super) fn named(kind: &'static str, id: impl ToString) -> Self {
        Self {
            kind: Some(kind),
            id: Some(id.to_string()),
            owner: None,
        }
    }

    pub(super) fn any(kind: &'static str) -> Self {
        Self {
            kind: Some(kind),
            id: None,
            owner: None,
        }
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
            kind => {
                let account = self.owner.unwrap_or(context.account);
                context.arn_of(account, kind, id).as_str().to_owned()
            }
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

impl<'a> Asked<'a> {
    /// A request with what its launch template adds to it.
    pub(super) fn new(
        operation: &'a str,
        parameters: impl Iterator<Item = (&'a str, &'a str)>,
        region: &'a RegionState,
    ) -> Self {
        let mut asked = Self {
            operation,
            parameters: parameters.collect(),
            region,
        };
        if operation == "RunInstances" {
            let more = asked.of_template();
            asked.parameters.extend(more);
        }
        asked
    }

    /// The resources that the request is about, each once; at least one.
    pub(super) fn targets(&self) -> Vec<Target> {
        let reads = ["Describe", "Get", "List", "Search"];
        let everything = vec![Target {
            kind: None,
            id: None,
            owner: None,
        }];
        if reads.iter().any(|start| self.operation.starts_with(start)) && !reads_one(self.operation)
        {
            return everything;
        }
        let made = CREATES.iter().find(|(name, _)| *name == self.operation);
        let made = made.map(|(_, kinds)| *kinds).unwrap_or_default();
        let mut targets: Vec<Target> = made.iter().map(|kind| Target::any(kind)).collect();
        // A refusal names the first that is not allowed: AWS what is made, but for CreateSubnet.
        match self.operation {
            "CreateSubnet" => targets.splice(..0, self.named()).for_each(drop),
            _ => targets.extend(self.named()),
        }
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
                // What a launch is made from and its interfaces are resources of the launch.
                ["LaunchTemplate" | "NetworkInterface", word]
                    if self.operation == "RunInstances" =>
                {
                    *word
                }
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
                "LaunchTemplateName" if self.operation != "CreateLaunchTemplate" => {
                    targets.push(self.template_by_name(value));
                }
                "PublicIp" => targets.push(self.elastic_ip_by_address(value)),
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

    /// The resources that an id names: those that it joins for an association.
    fn by_id(&self, id: &str) -> Vec<Target> {
        match kind_of(id) {
            // The ARN of a key pair has its name.
            Some("key-pair") => {
                let key: Option<KeyPairId> = id.parse().ok();
                let pair = key.and_then(|key| self.region.key_pairs.get(&key));
                vec![match pair {
                    Some(pair) => Target::named("key-pair", &pair.name),
                    None => Target::any("key-pair"),
                }]
            }
            Some(kind) => vec![self.owned(kind, id)],
            None => self.joined(id),
        }
    }

    /// The resource of a kind with an id, with its owner.
    pub(super) fn owned(&self, kind: &'static str, id: &str) -> Target {
        let eni: Option<EniId> = id.parse().ok();
        let lent = eni.and_then(|eni| self.region.lent_interfaces.get(&eni));
        Target {
            owner: lent.map(|lent| lent.owner),
            ..Target::named(kind, id)
        }
    }

    fn group_by_name(&self, name: &str) -> Target {
        match group_named(self.region, name) {
            Ok(group) => Target::named("security-group", group.id),
            Err(_) => Target::any("security-group"),
        }
    }

    fn elastic_ip_by_address(&self, address: &str) -> Target {
        let address: Option<Ipv4Addr> = address.parse().ok();
        let mut all = self.region.elastic_ips.values();
        match all.find(|elastic| Some(elastic.public_ip) == address) {
            Some(elastic) => Target::named("elastic-ip", elastic.id),
            None => Target::any("elastic-ip"),
        }
    }
}

/// The words of a parameter's name, numbers left out.
pub(super) fn words(name: &str) -> Vec<&str> {
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').filter(|word| !is_number(word)).collect()
}

#[cfg(test)]
mod tests {
    use enid_model::key::{Key, Kind, RegionName, Scope};
    use enid_model::record::Record;
    use enid_model::state::{Revision, State};
    use serde_json::json;

    use super::*;
    use crate::generated::ec2::operations::OPERATIONS;

    fn asked<'a>(
        region: &'a RegionState,
        operation: &'a str,
        parameters: &[(&'a str, &'a str)],
    ) -> Vec<String> {
        let asked = Asked::new(operation, parameters.iter().copied(), region);
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

    /// A region with these records, in their stored form.
    fn region(records: &[(Kind, &str, serde_json::Value)]) -> RegionState {
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        };
        let mut state = State::default();
        for (kind, name, record) in records {
            let mut record = record.clone();
            record["v"] = 1.into();
            let record = Record::from_bytes(*kind, record.to_string().as_bytes()).unwrap();
            let key = Key {
                scope: scope.clone(),
                kind: *kind,
                name: (*name).into(),
            };
            state.apply(Revision(1), &key, Some(record));
        }
        RegionState::clone(state.region(&scope).unwrap())
    }

    #[test]
    fn associations_addresses_and_names_are_looked_up() {
        let (eni, lt) = ("eni-00000000000000001", "lt-00000000000000001");
        let elastic = json!({
            "id": "eipalloc-00000000000000001", "public_ip": "198.18.0.1", "pool": "amazon",
            "network_border_group": "eu-west-1", "ptr_record": null, "tags": {}, "association":
            {"id": "eipassoc-00000000000000001", "eni": eni, "private_ip": "10.0.0.5"},
        });
        let version = |subnet: &str| {
            json!({
                "description": null, "create_time": 0, "created_by": "",
                "parameters": {"ImageId": "ami-1", "NetworkInterface.1.SubnetId": subnet},
            })
        };
        let template = json!({
            "id": lt, "name": "web", "create_time": 0, "created_by": "", "default_version": 1,
            "latest_version": 2, "tags": {},
            "versions": {"1": version("subnet-1"), "2": version("subnet-2")},
        });
        let pair = json!({
            "id": "key-00000000000000001", "name": "alice", "key_type": "rsa", "fingerprint": "",
            "public_key": "", "create_time": 0, "tags": {},
        });
        let region = region(&[
            (Kind::ElasticIp, "eipalloc-00000000000000001", elastic),
            (Kind::LaunchTemplate, lt, template),
            (Kind::NameClaim, "lt/web", json!({"holder": lt})),
            (Kind::KeyPair, "key-00000000000000001", pair),
        ]);
        let both = [
            "elastic-ip/eipalloc-00000000000000001",
            "network-interface/eni-00000000000000001",
        ];
        let association = ("AssociationId", "eipassoc-00000000000000001");
        assert_eq!(asked(&region, "DisassociateAddress", &[association]), both);
        let unknown = ("AssociationId", "eipassoc-00000000000000002");
        assert_eq!(
            asked(&region, "DisassociateAddress", &[unknown]),
            ["elastic-ip/*"]
        );
        let address = ("PublicIp", "198.18.0.1");
        assert_eq!(asked(&region, "ReleaseAddress", &[address]), both[..1]);
        let key = ("KeyPairId", "key-00000000000000001");
        assert_eq!(asked(&region, "DeleteKeyPair", &[key]), ["key-pair/alice"]);

        let launch = |more: &[(&str, &str)]| {
            let named = ("LaunchTemplate.LaunchTemplateName", "web");
            let all = [&[named][..], more].concat();
            let targets = asked(&region, "RunInstances", &all);
            let subnet = |target: &String| target.starts_with("subnet/");
            assert!(
                targets.contains(&format!("launch-template/{lt}")),
                "{targets:?}"
            );
            assert!(targets.contains(&"image/ami-1".to_owned()), "{targets:?}");
            targets.into_iter().filter(subnet).collect::<Vec<_>>()
        };
        assert_eq!(launch(&[]), ["subnet/subnet-1"]);
        let latest = ("LaunchTemplate.Version", "$Latest");
        assert_eq!(launch(&[latest]), ["subnet/subnet-2"]);
        let own = ("NetworkInterface.1.SubnetId", "subnet-3");
        assert_eq!(launch(&[own]), ["subnet/subnet-3"]);
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
