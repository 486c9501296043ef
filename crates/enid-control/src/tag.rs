//! Tags: AWS's rules for them, and the operations that change them on any kind of resource.
//!
//! Every create takes its tags through [`specified`], so the rules are in one place.

use std::collections::BTreeMap;

use enid_model::Tags;
use enid_model::address::ElasticIp;
use enid_model::gateway::{EgressOnlyInternetGateway, InternetGateway};
use enid_model::id::{
    AllocationId, EgressOnlyInternetGatewayId, EniId, InstanceId, InternetGatewayId, KeyPairId,
    LaunchTemplateId, NatGatewayId, Parsed, PrefixListId, ResourceId, SecurityGroupId,
    SecurityGroupRuleId, SubnetId, VpcId,
};
use enid_model::instance::Instance;
use enid_model::key_pair::KeyPair;
use enid_model::launch_template::LaunchTemplate;
use enid_model::nat_gateway::NatGateway;
use enid_model::network_interface::NetworkInterface;
use enid_model::prefix_list::PrefixList;
use enid_model::security_group::SecurityGroup;
use enid_model::state::{RegionState, Stored};
use enid_model::subnet::Subnet;
use enid_model::vpc::Vpc;

use crate::draft::Resource;
use crate::{Caller, Control, Draft, Error};

/// A tag as a client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value; empty if the client gives none.
    pub value: String,
}

/// Tags for the resources of one type that a request creates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSpecification {
    /// Such as `subnet`.
    pub resource_type: Option<String>,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// A tag that DeleteTags names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSelector {
    /// Its key.
    pub key: String,
    /// Its value. Without one the tag goes whatever its value; with one it goes if they are equal.
    pub value: Option<String>,
}

/// A resource that can have tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taggable {
    /// An egress-only internet gateway.
    EgressOnlyInternetGateway(EgressOnlyInternetGatewayId),
    /// An Elastic IP address.
    ElasticIp(AllocationId),
    /// An instance.
    Instance(InstanceId),
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// A key pair.
    KeyPair(KeyPairId),
    /// A launch template.
    LaunchTemplate(LaunchTemplateId),
    /// A network interface.
    NetworkInterface(EniId),
    /// A managed prefix list.
    PrefixList(PrefixListId),
    /// A security group.
    SecurityGroup(SecurityGroupId),
    /// A rule of a security group.
    SecurityGroupRule(SecurityGroupRuleId),
    /// A subnet.
    Subnet(SubnetId),
    /// A VPC.
    Vpc(VpcId),
}

impl Taggable {
    /// Reads a client's text: an id of any kind that can have tags.
    pub fn parse(text: &str) -> Result<Self, Error> {
        fn read<I: ResourceId>(text: &str, wrap: fn(I) -> Taggable) -> Result<Taggable, Error> {
            match I::parse(text) {
                Ok(Parsed::Native(id)) => Ok(wrap(id)),
                Ok(Parsed::Foreign) => Err(Error::not_found_text(I::PREFIX, text)),
                Err(_) => Err(Error::ResourceNotFound { id: text.into() }),
            }
        }
        match text.split_once('-').map(|(prefix, _)| prefix) {
            Some(AllocationId::PREFIX) => read(text, Self::ElasticIp),
            Some(EgressOnlyInternetGatewayId::PREFIX) => {
                read(text, Self::EgressOnlyInternetGateway)
            }
            Some(EniId::PREFIX) => read(text, Self::NetworkInterface),
            Some(InstanceId::PREFIX) => read(text, Self::Instance),
            Some(PrefixListId::PREFIX) => read(text, Self::PrefixList),
            Some(InternetGatewayId::PREFIX) => read(text, Self::InternetGateway),
            Some(NatGatewayId::PREFIX) => read(text, Self::NatGateway),
            Some(KeyPairId::PREFIX) => read(text, Self::KeyPair),
            Some(LaunchTemplateId::PREFIX) => read(text, Self::LaunchTemplate),
            Some(SecurityGroupId::PREFIX) => read(text, Self::SecurityGroup),
            Some(SecurityGroupRuleId::PREFIX) => read(text, Self::SecurityGroupRule),
            Some(SubnetId::PREFIX) => read(text, Self::Subnet),
            Some(VpcId::PREFIX) => read(text, Self::Vpc),
            _ => Err(Error::ResourceNotFound { id: text.into() }),
        }
    }

    /// AWS's word for the kind, as in tag specifications.
    #[must_use]
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::EgressOnlyInternetGateway(_) => "egress-only-internet-gateway",
            Self::ElasticIp(_) => "elastic-ip",
            Self::Instance(_) => "instance",
            Self::InternetGateway(_) => "internet-gateway",
            Self::NatGateway(_) => "natgateway",
            Self::KeyPair(_) => "key-pair",
            Self::LaunchTemplate(_) => "launch-template",
            Self::NetworkInterface(_) => "network-interface",
            Self::PrefixList(_) => "prefix-list",
            Self::SecurityGroup(_) => "security-group",
            Self::SecurityGroupRule(_) => "security-group-rule",
            Self::Subnet(_) => "subnet",
            Self::Vpc(_) => "vpc",
        }
    }
}

impl std::fmt::Display for Taggable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EgressOnlyInternetGateway(id) => id.fmt(f),
            Self::ElasticIp(id) => id.fmt(f),
            Self::Instance(id) => id.fmt(f),
            Self::InternetGateway(id) => id.fmt(f),
            Self::NatGateway(id) => id.fmt(f),
            Self::KeyPair(id) => id.fmt(f),
            Self::LaunchTemplate(id) => id.fmt(f),
            Self::NetworkInterface(id) => id.fmt(f),
            Self::PrefixList(id) => id.fmt(f),
            Self::SecurityGroup(id) => id.fmt(f),
            Self::SecurityGroupRule(id) => id.fmt(f),
            Self::Subnet(id) => id.fmt(f),
            Self::Vpc(id) => id.fmt(f),
        }
    }
}

/// Every tagged resource of a region with its tags.
pub fn tagged(region: &RegionState) -> impl Iterator<Item = (Taggable, &Tags)> {
    let enis = region.network_interfaces.iter();
    let enis = enis.map(|(id, found)| (Taggable::NetworkInterface(*id), &found.tags));
    tagged_others(region).chain(enis.filter(|(_, tags)| !tags.is_empty()))
}

/// The same without network interfaces, of which there may be many more than of all else. Theirs are
/// found through [`RegionState::enis_with_term_from`].
pub fn tagged_others(region: &RegionState) -> impl Iterator<Item = (Taggable, &Tags)> {
    let egress_only = region.egress_only_internet_gateways.iter();
    let elastic_ips = region.elastic_ips.iter();
    let instances = region.instances.iter();
    let internet_gateways = region.internet_gateways.iter();
    let key_pairs = region.key_pairs.iter();
    let templates = region.launch_templates.iter();
    let nat_gateways = region.nat_gateways.iter();
    let prefix_lists = region.prefix_lists.iter();
    let groups = region.security_groups.iter();
    let rules = region
        .security_groups
        .values()
        .flat_map(|group| group.rules.values());
    let subnets = region.subnets.iter();
    let vpcs = region.vpcs.iter();
    instances
        .map(|(id, found)| (Taggable::Instance(*id), &found.tags))
        .chain(key_pairs.map(|(id, found)| (Taggable::KeyPair(*id), &found.tags)))
        .chain(templates.map(|(id, found)| (Taggable::LaunchTemplate(*id), &found.tags)))
        .chain(prefix_lists.map(|(id, found)| (Taggable::PrefixList(*id), &found.tags)))
        .chain(groups.map(|(id, found)| (Taggable::SecurityGroup(*id), &found.tags)))
        .chain(rules.map(|rule| (Taggable::SecurityGroupRule(rule.id), &rule.tags)))
        .chain(subnets.map(|(id, found)| (Taggable::Subnet(*id), &found.tags)))
        .chain(vpcs.map(|(id, found)| (Taggable::Vpc(*id), &found.tags)))
        .chain(egress_only.map(|(id, found)| {
            let resource = Taggable::EgressOnlyInternetGateway(*id);
            (resource, &found.tags)
        }))
        .chain(elastic_ips.map(|(id, found)| (Taggable::ElasticIp(*id), &found.tags)))
        .chain(internet_gateways.map(|(id, found)| (Taggable::InternetGateway(*id), &found.tags)))
        .chain(nat_gateways.map(|(id, found)| (Taggable::NatGateway(*id), &found.tags)))
        .filter(|(_, tags)| !tags.is_empty())
}

/// The tags of one resource, if it is there.
#[must_use]
pub fn tags_of(region: &RegionState, resource: Taggable) -> Option<&Tags> {
    Some(match resource {
        Taggable::EgressOnlyInternetGateway(id) => {
            &region.egress_only_internet_gateways.get(&id)?.tags
        }
        Taggable::ElasticIp(id) => &region.elastic_ips.get(&id)?.tags,
        Taggable::Instance(id) => &region.instances.get(&id)?.tags,
        Taggable::InternetGateway(id) => &region.internet_gateways.get(&id)?.tags,
        Taggable::NatGateway(id) => &region.nat_gateways.get(&id)?.tags,
        Taggable::KeyPair(id) => &region.key_pairs.get(&id)?.tags,
        Taggable::LaunchTemplate(id) => &region.launch_templates.get(&id)?.tags,
        Taggable::NetworkInterface(id) => &region.network_interfaces.get(&id)?.tags,
        Taggable::PrefixList(id) => &region.prefix_lists.get(&id)?.tags,
        Taggable::SecurityGroup(id) => &region.security_groups.get(&id)?.tags,
        Taggable::SecurityGroupRule(id) => &region.group_of_rule(id)?.rules.get(&id)?.tags,
        Taggable::Subnet(id) => &region.subnets.get(&id)?.tags,
        Taggable::Vpc(id) => &region.vpcs.get(&id)?.tags,
    })
}

/// The tags that a create's specifications give to the one type of resource that it makes.
pub(crate) fn specified(
    specifications: &[TagSpecification],
    resource_type: &str,
) -> Result<Tags, Error> {
    let mut by_type = specified_by_type(specifications, &[resource_type])?;
    Ok(by_type.remove(resource_type).unwrap_or_default())
}

/// The same for a create that makes resources of several types.
pub(crate) fn specified_by_type<'a>(
    specifications: &[TagSpecification],
    resource_types: &[&'a str],
) -> Result<BTreeMap<&'a str, Tags>, Error> {
    let mut by_type = BTreeMap::new();
    for specification in specifications {
        let named = specification.resource_type.as_deref().unwrap_or_default();
        if named.is_empty() {
            return Err(Error::TagSpecificationWithoutType);
        }
        let known = resource_types.iter().find(|known| **known == named);
        let known = known.ok_or_else(|| Error::TagSpecificationType {
            named: named.into(),
        })?;
        if specification.tags.is_empty() {
            return Err(Error::TagSpecificationWithoutTags);
        }
        if by_type
            .insert(*known, checked(&specification.tags)?)
            .is_some()
        {
            return Err(Error::TagSpecificationTwice {
                named: named.into(),
            });
        }
    }
    Ok(by_type)
}

/// A client's tags, if they keep AWS's rules.
fn checked(tags: &[Tag]) -> Result<Tags, Error> {
    let mut checked = Tags::new();
    for Tag { key, value } in tags {
        check_key(key)?;
        if value.chars().count() > VALUE_CHARACTERS_MAX {
            return Err(Error::TagValueTooLong);
        }
        if checked.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::TagKeyTwice {
                key: (**key).into(),
            });
        }
    }
    if checked.len() > TAGS_MAX {
        return Err(Error::TagLimitExceeded);
    }
    Ok(checked)
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::TagKeyEmpty);
    }
    if key.chars().count() > KEY_CHARACTERS_MAX {
        return Err(Error::TagKeyTooLong);
    }
    let reserved = key
        .get(..RESERVED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
    if reserved {
        return Err(Error::TagKeyReserved);
    }
    Ok(())
}

const TAGS_MAX: usize = 50;
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;
/// What keys of AWS's own tags start with.
const RESERVED: &str = "aws:";

impl Control {
    /// CreateTags: sets tags on every resource named, or on none.
    pub async fn create_tags(
        &self,
        caller: &Caller,
        resources: &[Taggable],
        tags: &[Tag],
    ) -> Result<(), Error> {
        if tags.is_empty() {
            return Err(Error::MissingParameter { name: "tagSet" });
        }
        self.retag(caller, resources, |before| {
            let mut after = before.clone();
            after.extend(checked(tags)?);
            let own = after.keys().filter(|key| !key.starts_with(RESERVED));
            if own.count() > TAGS_MAX {
                return Err(Error::TagLimitExceeded);
            }
            Ok(after)
        })
        .await
    }

    /// DeleteTags: takes tags from every resource named. No tag named means all of them.
    pub async fn delete_tags(
        &self,
        caller: &Caller,
        resources: &[Taggable],
        tags: &[TagSelector],
    ) -> Result<(), Error> {
        for selector in tags {
            check_key(&selector.key)?;
        }
        self.retag(caller, resources, |before| {
            let mut after = before.clone();
            // AWS's own tags do not go with a client's.
            after.retain(|key, value| {
                let goes = |selector: &TagSelector| {
                    selector.key == *key && selector.value.as_ref().is_none_or(|v| v == value)
                };
                key.starts_with(RESERVED) || !(tags.is_empty() || tags.iter().any(goes))
            });
            Ok(after)
        })
        .await
    }

    async fn retag(
        &self,
        caller: &Caller,
        resources: &[Taggable],
        change: impl Fn(&Tags) -> Result<Tags, Error>,
    ) -> Result<(), Error> {
        if resources.is_empty() {
            return Err(Error::MissingParameter {
                name: "resourceIdSet",
            });
        }
        self.transact(caller, |draft| {
            let mut changes = Changes::default();
            for resource in resources {
                changes.retag(draft, *resource, &change)?;
            }
            changes.write(draft);
            Ok(())
        })
        .await
    }
}

/// New versions of tagged records. A record that is named twice, or as a group and through its
/// rules, is still written once.
#[derive(Default)]
struct Changes {
    egress_only_internet_gateways: Versions<EgressOnlyInternetGateway>,
    elastic_ips: Versions<ElasticIp>,
    instances: Versions<Instance>,
    internet_gateways: Versions<InternetGateway>,
    nat_gateways: Versions<NatGateway>,
    key_pairs: Versions<KeyPair>,
    launch_templates: Versions<LaunchTemplate>,
    network_interfaces: Versions<NetworkInterface>,
    prefix_lists: Versions<PrefixList>,
    security_groups: Versions<SecurityGroup>,
    subnets: Versions<Subnet>,
    vpcs: Versions<Vpc>,
}

impl Changes {
    fn retag(
        &mut self,
        draft: &mut Draft<'_>,
        resource: Taggable,
        change: impl Fn(&Tags) -> Result<Tags, Error>,
    ) -> Result<(), Error> {
        let tags = match resource {
            Taggable::EgressOnlyInternetGateway(id) => {
                &mut self.egress_only_internet_gateways.of(draft, id)?.tags
            }
            Taggable::ElasticIp(id) => &mut self.elastic_ips.of(draft, id)?.tags,
            Taggable::Instance(id) => &mut self.instances.of(draft, id)?.tags,
            Taggable::InternetGateway(id) => &mut self.internet_gateways.of(draft, id)?.tags,
            Taggable::NatGateway(id) => &mut self.nat_gateways.of(draft, id)?.tags,
            Taggable::KeyPair(id) => &mut self.key_pairs.of(draft, id)?.tags,
            Taggable::LaunchTemplate(id) => &mut self.launch_templates.of(draft, id)?.tags,
            Taggable::NetworkInterface(id) => &mut self.network_interfaces.of(draft, id)?.tags,
            Taggable::PrefixList(id) => &mut self.prefix_lists.of(draft, id)?.tags,
            Taggable::SecurityGroup(id) => &mut self.security_groups.of(draft, id)?.tags,
            Taggable::SecurityGroupRule(id) => {
                let group = draft.region.group_of_rule(id).map(|group| group.id);
                let group = group.ok_or_else(|| Error::not_found(id))?;
                let group = self.security_groups.of(draft, group)?;
                let rule = group.rules.get_mut(&id);
                &mut rule.ok_or_else(|| Error::not_found(id))?.tags
            }
            Taggable::Subnet(id) => &mut self.subnets.of(draft, id)?.tags,
            Taggable::Vpc(id) => &mut self.vpcs.of(draft, id)?.tags,
        };
        *tags = change(tags)?;
        Ok(())
    }

    fn write(self, draft: &mut Draft<'_>) {
        self.egress_only_internet_gateways.write(draft);
        self.elastic_ips.write(draft);
        self.instances.write(draft);
        self.internet_gateways.write(draft);
        self.nat_gateways.write(draft);
        self.key_pairs.write(draft);
        self.launch_templates.write(draft);
        self.network_interfaces.write(draft);
        self.prefix_lists.write(draft);
        self.security_groups.write(draft);
        self.subnets.write(draft);
        self.vpcs.write(draft);
    }
}

/// Records as read, and as they shall be.
struct Versions<T: Resource>(BTreeMap<T::Id, (Stored<T>, T)>);

impl<T: Resource> Default for Versions<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Resource + PartialEq> Versions<T> {
    fn of(&mut self, draft: &mut Draft<'_>, id: T::Id) -> Result<&mut T, Error> {
        use std::collections::btree_map::Entry;
        let (_, new) = match self.0.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let read = draft.require::<T>(id)?;
                let new = T::clone(&read);
                place.insert((read, new))
            }
        };
        Ok(new)
    }

    fn write(self, draft: &mut Draft<'_>) {
        for (read, new) in self.0.into_values() {
            if new != *read {
                draft.update(&read, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    fn tag(key: &str, value: &str) -> Tag {
        Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    fn specification(resource_type: &str, tags: &[Tag]) -> TagSpecification {
        TagSpecification {
            resource_type: Some(resource_type.to_owned()),
            tags: tags.to_vec(),
        }
    }

    #[test]
    fn ids_of_every_kind_are_read() {
        let id = "sgr-00123456789abcdef";
        let parsed = Taggable::parse(id);
        assert_eq!(parsed.as_ref().map(|p| p.to_string()).as_deref(), Ok(id));
        assert_eq!(
            parsed.map(Taggable::resource_type),
            Ok("security-group-rule")
        );
        let code = |text| Taggable::parse(text).map_err(|error| error.code());
        assert_eq!(code("vpc-12345678"), Err("InvalidVpcID.NotFound"));
        assert_eq!(
            code("sgr-f0123456789abcdef"),
            Err("InvalidSecurityGroupRuleId.NotFound")
        );
        for text in ["", "vpc", "vpc-xyz", "planet-00123456789abcdef"] {
            assert_eq!(code(text), Err("InvalidID"), "{text}");
        }
    }

    #[test]
    fn a_specification_must_fit_what_is_created() {
        let fits = specified(&[specification("vpc", &[tag("Name", "a")])], "vpc");
        assert_eq!(
            fits.map(|tags| tags.get("Name").cloned()),
            Ok(Some("a".to_owned()))
        );
        let error = |specifications: &[TagSpecification]| {
            specified(specifications, "vpc").map_err(|error| error.to_string())
        };
        assert_eq!(
            error(&[specification("subnet", &[tag("a", "")])]),
            Err("'subnet' is not a valid taggable resource type for this operation.".to_owned())
        );
        assert!(error(&[specification("vpc", &[])]).is_err());
        let untyped = TagSpecification {
            resource_type: None,
            tags: vec![tag("a", "")],
        };
        assert!(error(&[untyped]).is_err());
        let one = specification("vpc", &[tag("a", "")]);
        assert!(error(&[one.clone(), one]).is_err());
    }

    #[test]
    fn tags_keep_the_rules() {
        let code = |tags: &[Tag]| checked(tags).map(|t| t.len()).map_err(|e| e.code());
        let longest = tag(&"k".repeat(128), &"é".repeat(256));
        assert_eq!(code(&[longest]), Ok(1));
        let invalid = Err("InvalidParameterValue");
        assert_eq!(code(&[tag(&"k".repeat(129), "")]), invalid);
        assert_eq!(code(&[tag("k", &"v".repeat(257))]), invalid);
        assert_eq!(code(&[tag("", "v")]), invalid);
        assert_eq!(code(&[tag("aws:name", "v")]), invalid);
        assert_eq!(code(&[tag("awsome", "v")]), Ok(1));
        assert_eq!(code(&[tag("k", "1"), tag("k", "2")]), invalid);
        let many = |count| {
            let tags = (0..count).map(|n: u32| tag(&n.to_string(), ""));
            tags.collect::<Vec<_>>()
        };
        assert_eq!(code(&many(50)), Ok(50));
        assert_eq!(code(&many(51)), Err("TagLimitExceeded"));
    }

    #[tokio::test]
    async fn tags_are_set_and_taken_together_or_not_at_all() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let group = region.security_groups.values().next().expect("a group");
        let rules = group.rules.keys().copied().map(Taggable::SecurityGroupRule);
        let mut all: Vec<_> = rules.collect();
        all.push(Taggable::SecurityGroup(group.id));
        all.extend(region.subnets.keys().copied().map(Taggable::Subnet));
        all.push(Taggable::SecurityGroup(group.id));
        let count = || async {
            let region = control.read(&caller).await.expect("a region");
            for (resource, tags) in tagged(&region) {
                assert_eq!(tags_of(&region, resource), Some(tags));
            }
            tagged(&region).map(|(_, tags)| tags.len()).sum::<usize>()
        };
        let tags = [tag("a", "1"), tag("b", "2")];
        let done = control.create_tags(&caller, &all, &tags).await;
        assert_eq!(done, Ok(()));
        assert_eq!(count().await, 2 * (all.len() - 1));

        // One unknown resource, and nothing changes.
        let mut unknown = all.clone();
        unknown.push(Taggable::Vpc(VpcId(7)));
        let done = control.delete_tags(&caller, &unknown, &[]).await;
        assert_eq!(done.map_err(|e| e.code()), Err("InvalidVpcID.NotFound"));
        assert_eq!(count().await, 2 * (all.len() - 1));

        let select = |key: &str, value: Option<&str>| TagSelector {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        let selectors = [select("a", Some("other")), select("b", None)];
        let done = control.delete_tags(&caller, &all, &selectors).await;
        assert_eq!(done, Ok(()));
        assert_eq!(count().await, all.len() - 1);
        assert_eq!(control.delete_tags(&caller, &all, &[]).await, Ok(()));
        assert_eq!(count().await, 0);
    }

    #[tokio::test]
    async fn a_resource_has_at_most_fifty_tags() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = region.vpcs.keys().copied().map(Taggable::Vpc);
        let vpc: Vec<_> = vpc.collect();
        let many: Vec<_> = (0..50).map(|n| tag(&n.to_string(), "")).collect();
        assert_eq!(control.create_tags(&caller, &vpc, &many).await, Ok(()));
        // A key that is there already is no further tag.
        let again = [tag("7", "new")];
        assert_eq!(control.create_tags(&caller, &vpc, &again).await, Ok(()));
        let further = [tag("fifty-one", "")];
        let done = control.create_tags(&caller, &vpc, &further).await;
        assert_eq!(done, Err(Error::TagLimitExceeded));
    }
}
