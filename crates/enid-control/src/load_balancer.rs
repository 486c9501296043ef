//! Network load balancers: making, changing and deleting them. Their nodes are in
//! `load_balancer_node`, what can be set of them in `load_balancer_attribute`.
//!
//! In AWS a load balancer is provisioned for minutes, and may fail then. Here it is active when the
//! call is answered; what would fail it later fails the call, and nothing appears.

use std::sync::Arc;

use enid_model::Tags;
use enid_model::balancer_arn::{BalancerArn, BalancerResource};
use enid_model::id::{LoadBalancerId, ResourceId as _, SecurityGroupId};
use enid_model::key::Kind;
use enid_model::load_balancer::{
    IpAddressType, LoadBalancer, LoadBalancerAttributes, LoadBalancerZone, Scheme,
};
use enid_model::network_interface::NetworkInterface;
use enid_model::record::{NameClaim, Record};
use enid_model::security_group::SecurityGroup;
use enid_model::state::{RegionState, Stored};

use crate::balancer_tag::checked_tags;
use crate::listener::check_addresses;
use crate::load_balancer_node::{NodeMaker, WantedNode, narrow, remove_node, wanted_nodes};
use crate::target_health::forget_health;
use crate::{BalancingError, Caller, Control, Draft, Error, SubnetMapping, Tag};

/// What CreateLoadBalancer takes.
#[derive(Debug, Clone)]
pub struct CreateLoadBalancer {
    /// Its name, unique in the region.
    pub name: String,
    /// From where it is reached.
    pub scheme: Scheme,
    /// By which addresses.
    pub ip_address_type: IpAddressType,
    /// A subnet of each of its zones, and the node's addresses there.
    pub subnets: Vec<SubnetMapping>,
    /// Its security groups.
    pub security_groups: Vec<SecurityGroupId>,
    /// Tags for it.
    pub tags: Vec<Tag>,
}

impl Control {
    /// CreateLoadBalancer. One of this name that is as it is asked for is the answer as well.
    pub async fn create_load_balancer(
        &self,
        caller: &Caller,
        input: &CreateLoadBalancer,
    ) -> Result<LoadBalancer, Error> {
        check_name("Load balancer", &input.name)?;
        if input.name.starts_with("internal-") {
            let why = format!(
                "Load balancer name '{}' cannot begin with 'internal-'",
                input.name
            );
            return Err(BalancingError::validation(why).into());
        }
        let tags = checked_tags(&input.tags)?;
        self.transact(caller, |draft| {
            let known = load_balancer_named(&draft.region, &input.name).cloned();
            if let Some(known) = known {
                draft.depend(&known);
                let same = is_same(draft, &known, input, &tags)?;
                return match same {
                    true => Ok(LoadBalancer::clone(&known)),
                    false => Err(BalancingError::LoadBalancerNameTaken {
                        name: (*input.name).into(),
                    }
                    .into()),
                };
            }
            create(draft, input, &tags)
        })
        .await
    }

    /// DeleteLoadBalancer, with its listeners. That there is none is no error.
    pub async fn delete_load_balancer(
        &self,
        caller: &Caller,
        id: LoadBalancerId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let Some(balancer) = draft.region.load_balancers.get(&id).cloned() else {
                return Ok(());
            };
            draft.depend(&balancer);
            if balancer.attributes.deletion_protection {
                return Err(BalancingError::DeletionProtected {
                    arn: load_balancer_arn(draft.caller, &balancer).into(),
                }
                .into());
            }
            let region = Arc::clone(&draft.region);
            draft.demand_unnamed(Kind::Listener, id);
            let mut led_to = std::collections::BTreeSet::new();
            for listener in region.listeners_of_load_balancer(id) {
                if let Some(found) = region.listeners.get(&listener) {
                    led_to.extend(found.forward.iter().map(|forward| forward.group));
                    draft.delete(found);
                }
            }
            for group in led_to {
                forget_health(draft, group);
            }
            for own in &balancer.zones {
                remove_node(draft, own)?;
            }
            release_name(draft, LoadBalancerId::PREFIX, &balancer.name);
            draft.delete(&balancer);
            Ok(())
        })
        .await
    }

    /// SetSubnets: which zones it has, and perhaps by which addresses. A zone that it had keeps its node.
    pub async fn set_load_balancer_subnets(
        &self,
        caller: &Caller,
        id: LoadBalancerId,
        subnets: &[SubnetMapping],
        addresses: Option<IpAddressType>,
    ) -> Result<LoadBalancer, Error> {
        self.transact(caller, |draft| {
            let balancer = draft.require::<LoadBalancer>(id)?;
            let addresses = addresses.unwrap_or(balancer.ip_address_type);
            let wanted = wanted_nodes(draft, balancer.scheme, addresses, subnets)?;
            let mut new = LoadBalancer::clone(&balancer);
            let stays = |own: &LoadBalancerZone| wanted.iter().any(|it| it.zone() == own.zone);
            new.zones.retain(stays);
            if addresses != balancer.ip_address_type {
                set_addresses(draft, &mut new, addresses)?;
            }
            let zones = std::mem::take(&mut new.zones);
            let had = |name: &str| zones.iter().find(|own| own.zone == name);
            let mut maker = NodeMaker::new(&new);
            for node in &wanted {
                if node.vpc() != balancer.vpc {
                    return Err(BalancingError::SubnetsOfSeveralVpcs.into());
                }
                let zone = match had(node.zone()) {
                    Some(own) => kept(own, node)?,
                    None => maker.make(draft, node)?,
                };
                new.zones.push(zone);
            }
            for own in &balancer.zones {
                if new.zone(&own.zone).is_none() {
                    remove_node(draft, own)?;
                }
            }
            draft.edit(&balancer, |balancer| *balancer = new.clone());
            Ok(new)
        })
        .await
    }

    /// SetIpAddressType: by which addresses it is reached.
    pub async fn set_load_balancer_ip_address_type(
        &self,
        caller: &Caller,
        id: LoadBalancerId,
        addresses: IpAddressType,
    ) -> Result<LoadBalancer, Error> {
        self.transact(caller, |draft| {
            let balancer = draft.require::<LoadBalancer>(id)?;
            let mut new = LoadBalancer::clone(&balancer);
            if addresses != balancer.ip_address_type {
                set_addresses(draft, &mut new, addresses)?;
                draft.edit(&balancer, |balancer| *balancer = new.clone());
            }
            Ok(new)
        })
        .await
    }

    /// SetSecurityGroups, on the balancer and on its nodes' interfaces.
    pub async fn set_load_balancer_security_groups(
        &self,
        caller: &Caller,
        id: LoadBalancerId,
        groups: &[SecurityGroupId],
    ) -> Result<LoadBalancer, Error> {
        self.transact(caller, |draft| {
            let balancer = draft.require::<LoadBalancer>(id)?;
            if balancer.security_groups.is_empty() {
                return Err(BalancingError::SecurityGroupsFixed.into());
            }
            if groups.is_empty() {
                return Err(BalancingError::SecurityGroupsNeeded.into());
            }
            let groups = checked_groups(draft, &balancer, groups)?;
            for own in &balancer.zones {
                let eni = draft.require::<NetworkInterface>(own.eni)?;
                draft.edit(&eni, |eni| eni.groups.clone_from(&groups));
            }
            let mut new = LoadBalancer::clone(&balancer);
            new.security_groups = groups;
            draft.edit(&balancer, |balancer| *balancer = new.clone());
            Ok(new)
        })
        .await
    }
}

/// The load balancer of a name, if there is one.
#[must_use]
pub fn load_balancer_named<'a>(
    region: &'a RegionState,
    name: &str,
) -> Option<&'a Stored<LoadBalancer>> {
    let claim = region
        .names
        .get(&*claim_name(LoadBalancerId::PREFIX, name))?;
    let id: LoadBalancerId = claim.holder.parse().ok()?;
    region.load_balancers.get(&id)
}

/// The ARN of a load balancer.
#[must_use]
pub fn load_balancer_arn(caller: &Caller, balancer: &LoadBalancer) -> String {
    let arn = BalancerArn {
        scope: caller.scope(),
        resource: BalancerResource::LoadBalancer {
            name: balancer.name.clone(),
            id: balancer.id,
        },
    };
    arn.to_string()
}

/// The key under which the name of a load balancer or of a target group is claimed.
pub(crate) fn claim_name(prefix: &str, name: &str) -> String {
    format!("{prefix}/{name}")
}

/// Claims a name in the region.
pub(crate) fn claim(draft: &mut Draft<'_>, prefix: &str, name: &str, holder: String) {
    let record = Record::NameClaim(NameClaim { holder });
    draft.claim(claim_name(prefix, name), record);
}

/// Gives a name back.
pub(crate) fn release_name(draft: &mut Draft<'_>, prefix: &str, name: &str) {
    let name = claim_name(prefix, name);
    if let Some(revision) = draft.region.names.get(&*name).map(|claim| claim.revision) {
        draft.release(Kind::NameClaim, name, revision);
    }
}

/// Up to 32 letters, digits and hyphens, the latter not at an end.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), BalancingError> {
    let why = if name.chars().count() > NAME_MAX {
        format!("{what} name '{name}' cannot be longer than '{NAME_MAX}' characters")
    } else if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)"
        )
    } else if name.starts_with('-') || name.ends_with('-') {
        format!("{what} name '{name}' cannot begin or end with '-'")
    } else {
        return Ok(());
    };
    Err(BalancingError::validation(why))
}

const NAME_MAX: usize = 32;

/// Whether a load balancer is as it is asked for.
fn is_same(
    draft: &mut Draft<'_>,
    known: &LoadBalancer,
    input: &CreateLoadBalancer,
    tags: &Tags,
) -> Result<bool, Error> {
    let mut wanted = input.security_groups.clone();
    let mut groups = known.security_groups.clone();
    wanted.sort();
    wanted.dedup();
    groups.sort();
    let alike = known.scheme == input.scheme
        && known.ip_address_type == input.ip_address_type
        && groups == wanted
        && known.tags == *tags;
    let nodes = wanted_nodes(draft, input.scheme, input.ip_address_type, &input.subnets)?;
    let kept = |node: &WantedNode| {
        let own = known.zone(node.zone());
        own.is_some_and(|own| node.is_as(own))
    };
    Ok(alike && nodes.len() == known.zones.len() && nodes.iter().all(kept))
}

fn create(
    draft: &mut Draft<'_>,
    input: &CreateLoadBalancer,
    tags: &Tags,
) -> Result<LoadBalancer, Error> {
    if draft.region.load_balancers.len() >= draft.quotas.network_load_balancers {
        return Err(BalancingError::TooManyLoadBalancers.into());
    }
    let nodes = wanted_nodes(draft, input.scheme, input.ip_address_type, &input.subnets)?;
    let Some(first) = nodes.first() else {
        let why = "At least one subnet must be specified";
        return Err(BalancingError::validation(why).into());
    };
    if nodes.iter().any(|node| node.vpc() != first.vpc()) {
        return Err(BalancingError::SubnetsOfSeveralVpcs.into());
    }
    let mut balancer = LoadBalancer {
        id: draft.mint(),
        name: input.name.clone(),
        vpc: first.vpc(),
        scheme: input.scheme,
        ip_address_type: input.ip_address_type,
        zones: Vec::new(),
        security_groups: Vec::new(),
        attributes: LoadBalancerAttributes::default(),
        create_time: draft.now,
        tags: tags.clone(),
    };
    balancer.security_groups = checked_groups(draft, &balancer, &input.security_groups)?;
    let mut maker = NodeMaker::new(&balancer);
    let made: Result<Vec<_>, Error> = nodes.iter().map(|node| maker.make(draft, node)).collect();
    balancer.zones = made?;
    let holder = balancer.id.to_string();
    claim(draft, LoadBalancerId::PREFIX, &balancer.name, holder);
    draft.create(balancer.clone());
    Ok(balancer)
}

/// Gives each node an address of IPv6, or takes it. The listeners must go with that.
fn set_addresses(
    draft: &mut Draft<'_>,
    new: &mut LoadBalancer,
    addresses: IpAddressType,
) -> Result<(), Error> {
    new.ip_address_type = addresses;
    let region = Arc::clone(&draft.region);
    draft.demand_unnamed(Kind::Listener, new.id);
    for id in region.listeners_of_load_balancer(new.id) {
        if let Some(listener) = region.listeners.get(&id) {
            draft.depend(listener);
            check_addresses(&region, new, listener)?;
        }
    }
    let mut maker = NodeMaker::new(new);
    for own in &mut new.zones {
        match addresses {
            IpAddressType::Dualstack => maker.widen(draft, own)?,
            IpAddressType::Ipv4 => narrow(draft, own)?,
        }
    }
    Ok(())
}

/// Groups of the balancer's VPC, each once, not more than an interface may have.
fn checked_groups(
    draft: &mut Draft<'_>,
    balancer: &LoadBalancer,
    named: &[SecurityGroupId],
) -> Result<Vec<SecurityGroupId>, Error> {
    let mut groups: Vec<SecurityGroupId> = Vec::new();
    for id in named {
        let unknown = || BalancingError::SecurityGroup {
            id: id.to_string().into(),
        };
        let found = draft.require::<SecurityGroup>(*id);
        let found = found.map_err(|_not_found| unknown())?;
        if found.vpc != balancer.vpc && !found.associated_vpcs.contains(&balancer.vpc) {
            return Err(unknown().into());
        }
        if !groups.contains(id) {
            groups.push(*id);
        }
    }
    if groups.len() > draft.quotas.groups_per_interface {
        let why = "The maximum number of security groups per load balancer has been reached";
        return Err(BalancingError::configuration(why).into());
    }
    Ok(groups)
}

/// A zone that stays, if nothing about it shall change.
fn kept(own: &LoadBalancerZone, node: &WantedNode) -> Result<LoadBalancerZone, Error> {
    match node.is_kept_by(own) {
        true => Ok(own.clone()),
        false => Err(BalancingError::NodeFixed {
            subnet: own.subnet.to_string().into(),
        }
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use enid_model::network_interface::InterfaceType;

    use super::*;
    use crate::fixture::{
        balancer, caller, control, findings, internet, mapping, new_balancer, new_listener, place,
        target_group,
    };
    use crate::{AllocateAddress, Attribute, Quotas};
    use enid_model::target_group::BalancedProtocol;

    fn code<T>(done: Result<T, Error>) -> Result<(), &'static str> {
        done.map(|_| ()).map_err(|error| error.code())
    }

    #[tokio::test]
    async fn a_balancer_has_a_node_in_each_zone_and_takes_them_along() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let made = balancer(&control, &place, "web").await;
        assert_eq!(made, balancer(&control, &place, "web").await);
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(findings(&control), []);
        for own in &made.zones {
            let eni = region.network_interfaces.get(&own.eni).expect("a node");
            assert_eq!(eni.interface_type, InterfaceType::NetworkLoadBalancer);
            assert_eq!(eni.description, format!("ELB net/web/{}", made.id));
            assert!(eni.groups.is_empty() && eni.is_in_use() && own.public.is_none());
            let deleted = control.delete_network_interface(&caller, own.eni).await;
            assert_eq!(deleted, Err(Error::ManagedByService));
            let subnet = control.delete_subnet(&caller, own.subnet).await;
            assert!(matches!(subnet, Err(Error::SubnetInUse { .. })));
        }
        let group = target_group(&control, &place, "web", BalancedProtocol::Tcp).await;
        let listener = new_listener(made.id, 80, group.id);
        assert!(control.create_listener(&caller, &listener).await.is_ok());
        let delete = || control.delete_load_balancer(&caller, made.id);
        let protect = async |value: &str| {
            let attribute = Attribute {
                key: "deletion_protection.enabled".to_owned(),
                value: value.to_owned(),
            };
            let set = [attribute];
            let set = control.modify_load_balancer_attributes(&caller, made.id, &set);
            assert!(set.await.is_ok());
        };
        protect("true").await;
        assert_eq!(code(delete().await), Err("OperationNotPermitted"));
        protect("false").await;
        assert_eq!(delete().await, Ok(()));
        assert_eq!(delete().await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        assert!(region.network_interfaces.is_empty() && region.listeners.is_empty());
        assert!(region.leases.is_empty() && region.load_balancers.is_empty());
        assert!(load_balancer_named(&region, "web").is_none());
        assert_eq!(findings(&control), []);
    }

    #[tokio::test]
    async fn an_internet_facing_balancer_has_public_addresses() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let any = AllocateAddress::default();
        let made = control.allocate_address(&caller, &any).await;
        let elastic_ip = made.expect("an address");
        let mut input = CreateLoadBalancer {
            scheme: Scheme::InternetFacing,
            ..new_balancer(&place, "web")
        };
        input.subnets[0].allocation = Some(elastic_ip.id);
        let create = async |input: &CreateLoadBalancer| {
            let made = control.create_load_balancer(&caller, input).await;
            made.map_err(|error| (error.code(), error.to_string()))
        };
        let (code_of, words) = create(&input).await.expect_err("no internet gateway");
        assert_eq!(code_of, "InvalidSubnet");
        assert!(words.ends_with("has no internet gateway"), "{words}");
        internet(&control, &place).await;
        let made = create(&input).await.expect("a load balancer");
        let given = made.zones[0].public.expect("it is public");
        assert_eq!(given.allocation, Some(elastic_ip.id));
        assert_eq!(given.public_ip, elastic_ip.public_ip);
        let assigned = made.zones[1].public.expect("it is public");
        assert_eq!(assigned.allocation, None);
        assert_eq!(findings(&control), []);
        input.name = "other".to_owned();
        let again = create(&input).await.map(|_| ());
        assert_eq!(again.map_err(|(code, _)| code), Err("ResourceInUse"));
        input.subnets[0].allocation = None;
        input.subnets[0].private_ip = Some(Ipv4Addr::new(10, 0, 0, 9));
        let chosen = create(&input).await.map(|_| ());
        let refused = Err("InvalidConfigurationRequest");
        assert_eq!(chosen.map_err(|(code, _)| code), refused);
        assert_eq!(control.delete_load_balancer(&caller, made.id).await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        let left = region.elastic_ips.get(&elastic_ip.id);
        assert!(left.expect("it stays").association.is_none());
        assert_eq!(findings(&control), []);
    }

    #[tokio::test]
    async fn a_vpc_has_room_for_so_many_nodes() {
        let control = control().with_quotas(Quotas {
            load_balancer_nodes_per_vpc: 3,
            ..Quotas::default()
        });
        let caller = caller();
        let place = place(&control, "10.0.0.0/24").await;
        let create = async |name: &str, zones| {
            let mut input = new_balancer(&place, name);
            input.subnets.truncate(zones);
            code(control.create_load_balancer(&caller, &input).await)
        };
        assert_eq!(create("both", 2).await, Ok(()));
        let full = Err("InvalidConfigurationRequest");
        assert_eq!(create("too-many", 2).await, full);
        assert_eq!(create("one", 1).await, Ok(()));
        assert_eq!(create("more", 1).await, full);
        assert_eq!(findings(&control), []);
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_refused_in_awss_words() {
        let control = control().with_quotas(Quotas {
            network_load_balancers: 1,
            ..Quotas::default()
        });
        let caller = caller();
        let place = place(&control, "10.0.0.0/24").await;
        balancer(&control, &place, "web").await;
        let create = async |change: &dyn Fn(&mut CreateLoadBalancer)| {
            let mut input = new_balancer(&place, "web");
            change(&mut input);
            code(control.create_load_balancer(&caller, &input).await)
        };
        assert_eq!(create(&|_| ()).await, Ok(()));
        let other = create(&|it| it.scheme = Scheme::InternetFacing).await;
        assert_eq!(other, Err("DuplicateLoadBalancerName"));
        let fewer = create(&|it| it.subnets.truncate(1)).await;
        assert_eq!(fewer, Err("DuplicateLoadBalancerName"));
        let many = create(&|it| it.name = "other".to_owned()).await;
        assert_eq!(many, Err("TooManyLoadBalancers"));
        assert_eq!(
            control
                .delete_load_balancer(&caller, region_of(&control).await)
                .await,
            Ok(())
        );
        let validation = Err("ValidationError");
        for name in ["internal-a", "a-", "a_b", "", &"a".repeat(33)] {
            assert_eq!(
                create(&|it| it.name = name.to_owned()).await,
                validation,
                "{name}"
            );
        }
        assert_eq!(create(&|it| it.subnets.clear()).await, validation);
        let twice = create(&|it| it.subnets[1] = it.subnets[0].clone()).await;
        assert_eq!(twice, Err("InvalidConfigurationRequest"));
        let foreign = create(&|it| {
            it.subnets = vec![mapping(place.far_subnet), mapping(place.foreign_subnet)];
        })
        .await;
        assert_eq!(foreign, Err("InvalidSubnet"));
        let gone = create(&|it| it.subnets[0] = mapping(enid_model::id::SubnetId(7))).await;
        assert_eq!(gone, Err("SubnetNotFound"));
        let group = create(&|it| it.security_groups = vec![place.foreign_group]).await;
        assert_eq!(group, Err("InvalidSecurityGroup"));
        let reserved =
            create(&|it| it.subnets[0].private_ip = Some(Ipv4Addr::new(10, 0, 0, 1))).await;
        assert_eq!(reserved, Err("InvalidSubnet"));
        let region = control.read(&caller).await.expect("a region");
        assert!(region.leases.is_empty() && region.names.is_empty());
    }

    async fn region_of(control: &Control) -> LoadBalancerId {
        let region = control.read(&caller()).await.expect("a region");
        load_balancer_named(&region, "web").expect("it is there").id
    }

    #[tokio::test]
    async fn zones_come_and_go_and_groups_stay_groups() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mut input = new_balancer(&place, "web");
        input.subnets.truncate(1);
        input.security_groups = vec![place.groups[0]];
        let made = control.create_load_balancer(&caller, &input).await;
        let made = made.expect("a load balancer");
        let set = async |subnets: &[SubnetMapping]| {
            let done = control
                .set_load_balancer_subnets(&caller, made.id, subnets, None)
                .await;
            done.map_err(|error| error.code())
        };
        let both = [place.far_subnet, place.subnet].map(mapping);
        let wider = set(&both).await.expect("it has both");
        assert_eq!(wider.zones[0], made.zones[0]);
        assert_eq!(wider.zones.len(), 2);
        let far = set(&[mapping(place.far_subnet)]).await.expect("it has one");
        assert_eq!(far.zones, wider.zones[1..]);
        let moved = SubnetMapping {
            private_ip: Some(Ipv4Addr::new(10, 0, 255, 250)),
            ..mapping(place.far_subnet)
        };
        let moved = set(&[moved]).await.map(|_| ());
        assert_eq!(moved, Err("InvalidConfigurationRequest"));
        let foreign = set(&[mapping(place.foreign_subnet)]).await.map(|_| ());
        assert_eq!(foreign, Err("InvalidSubnet"));
        let groups = async |groups: &[SecurityGroupId]| {
            let done = control.set_load_balancer_security_groups(&caller, made.id, groups);
            let done = done.await.map(|balancer| balancer.security_groups);
            done.map_err(|error| error.code())
        };
        let two = [place.groups[1], place.groups[2]];
        assert_eq!(groups(&two).await, Ok(two.to_vec()));
        let refused = Err("InvalidConfigurationRequest");
        assert_eq!(groups(&[]).await, refused);
        assert_eq!(
            groups(&[place.foreign_group]).await,
            Err("InvalidSecurityGroup")
        );
        assert_eq!(groups(&place.groups).await, refused);
        let used = control.delete_security_group(&caller, &two[0].into()).await;
        assert_eq!(code(used), Err("DependencyViolation"));
        assert_eq!(findings(&control), []);
        let bare = balancer(&control, &place, "bare").await;
        let given = control.set_load_balancer_security_groups(&caller, bare.id, &two);
        assert_eq!(code(given.await), Err("InvalidConfigurationRequest"));
    }
}
