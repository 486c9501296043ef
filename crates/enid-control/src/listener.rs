//! Listeners: the ports of load balancers, and the target groups that they lead to.

use std::collections::BTreeSet;
use std::sync::Arc;

use enid_model::Tags;
use enid_model::id::{ListenerId, LoadBalancerId, TargetGroupId};
use enid_model::listener::{
    FORWARDS_MAX, Forward, GroupStickiness, Listener, usual_idle_timeout_s,
};
use enid_model::load_balancer::{IpAddressType, LoadBalancer};
use enid_model::state::RegionState;
use enid_model::target_group::{BalancedProtocol, TargetGroup};

use crate::balancer_tag::checked_tags;
use crate::listener_tls::WantedTls;
use crate::load_balancer_attribute::{Attribute, check_once, number};
use crate::target_group::{checked_port, target_group_arn};
use crate::target_health::forget_health;
use crate::target_quota::check_groups;
use crate::{BalancingError, Caller, Control, Draft, Error, Tag};

/// What a listener does with new flows, as a client says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAction {
    /// The target groups.
    pub groups: Vec<Forward>,
    /// What was said of the groups that a client's flows go to.
    pub stickiness: Option<GroupStickiness>,
    /// The action's place among others, if it was said.
    pub order: Option<u16>,
}

/// What CreateListener takes.
#[derive(Debug, Clone)]
pub struct CreateListener {
    /// The load balancer.
    pub load_balancer: LoadBalancerId,
    /// What it speaks.
    pub protocol: Option<BalancedProtocol>,
    /// Its port.
    pub port: Option<i32>,
    /// Where new flows go.
    pub action: ForwardAction,
    /// How it ends TLS.
    pub tls: WantedTls,
    /// Tags for it.
    pub tags: Vec<Tag>,
}

/// What ModifyListener takes; what is absent stays.
#[derive(Debug, Clone)]
pub struct ModifyListener {
    /// The listener.
    pub id: ListenerId,
    /// What it speaks.
    pub protocol: Option<BalancedProtocol>,
    /// Its port.
    pub port: Option<i32>,
    /// Where new flows go.
    pub action: Option<ForwardAction>,
    /// How it ends TLS.
    pub tls: WantedTls,
}

impl Control {
    /// CreateListener. One at this port that is as it is asked for is the answer as well.
    pub async fn create_listener(
        &self,
        caller: &Caller,
        input: &CreateListener,
    ) -> Result<Listener, Error> {
        let missing =
            |what: &str| BalancingError::validation(format!("A listener {what} must be specified"));
        let port = input.port.ok_or_else(|| missing("port"))?;
        let port = checked_port("port", port)?;
        let protocol = input.protocol.ok_or_else(|| missing("protocol"))?;
        let tags = checked_tags(&input.tags)?;
        self.transact(caller, |draft| create(draft, input, protocol, port, &tags))
            .await
    }

    /// ModifyListener.
    pub async fn modify_listener(
        &self,
        caller: &Caller,
        input: &ModifyListener,
    ) -> Result<Listener, Error> {
        let port = input.port.map(|port| checked_port("port", port));
        let port = port.transpose()?;
        self.transact(caller, |draft| {
            let listener = draft.require::<Listener>(input.id)?;
            let balancer = draft.require::<LoadBalancer>(listener.load_balancer)?;
            let mut new = Listener::clone(&listener);
            new.protocol = input.protocol.unwrap_or(new.protocol);
            new.port = port.unwrap_or(new.port);
            if let Some(action) = &input.action {
                new.forward.clone_from(&action.groups);
                new.stickiness = action.stickiness;
                new.order = action.order;
            }
            new.tls = input
                .tls
                .apply(draft, new.protocol, listener.tls.as_ref())?;
            if new.protocol != listener.protocol {
                new.tcp_idle_timeout_s = usual_idle_timeout_s();
            }
            let other = draft.region.listener_at(balancer.id, new.port);
            if other.is_some_and(|other| other.id != new.id) {
                return Err(BalancingError::PortTaken.into());
            }
            check_forwards(draft, &balancer, &new)?;
            // Of two that come to one port at the same time, the second finds the first.
            draft.update(&balancer, LoadBalancer::clone(&balancer));
            draft.edit(&listener, |listener| *listener = new.clone());
            for forward in &listener.forward {
                let stays = new.forward.iter().any(|own| own.group == forward.group);
                if !stays && is_last(&draft.region, forward.group, listener.id) {
                    forget_health(draft, forward.group);
                }
            }
            Ok(new)
        })
        .await
    }

    /// DeleteListener.
    pub async fn delete_listener(&self, caller: &Caller, id: ListenerId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let listener = draft.require::<Listener>(id)?;
            draft.delete(&listener);
            for forward in &listener.forward {
                if is_last(&draft.region, forward.group, id) {
                    forget_health(draft, forward.group);
                }
            }
            Ok(())
        })
        .await
    }

    /// ModifyListenerAttributes: all of them or none.
    pub async fn modify_listener_attributes(
        &self,
        caller: &Caller,
        id: ListenerId,
        attributes: &[Attribute],
    ) -> Result<Listener, Error> {
        check_once(attributes)?;
        self.transact(caller, |draft| {
            let listener = draft.require::<Listener>(id)?;
            let mut new = Listener::clone(&listener);
            for Attribute { key, value } in attributes {
                match &**key {
                    IDLE_TIMEOUT if listener.protocol == BalancedProtocol::Tcp => {
                        new.tcp_idle_timeout_s = number(key, value, 60..=6000)?;
                    }
                    _ => return Err(unknown(listener.protocol, key).into()),
                }
            }
            draft.edit(&listener, |listener| *listener = new.clone());
            Ok(new)
        })
        .await
    }
}

/// The attributes of a listener by name.
#[must_use]
pub fn listener_attributes(listener: &Listener) -> Vec<(&'static str, String)> {
    match listener.protocol {
        BalancedProtocol::Tcp => vec![(IDLE_TIMEOUT, listener.tcp_idle_timeout_s.to_string())],
        BalancedProtocol::TcpUdp | BalancedProtocol::Tls | BalancedProtocol::Udp => Vec::new(),
    }
}

const IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";

fn unknown(protocol: BalancedProtocol, key: &str) -> BalancingError {
    let short: String = key.chars().take(100).collect();
    if key == IDLE_TIMEOUT || key.starts_with("routing.http.") {
        let protocol = protocol.word();
        let why = format!(
            "Listener attribute key '{short}' is not supported on listeners with the {protocol} protocol"
        );
        return BalancingError::Attributes { why: why.into() };
    }
    BalancingError::validation(format!(
        "Listener attribute key '{short}' is not recognized"
    ))
}

fn create(
    draft: &mut Draft<'_>,
    input: &CreateListener,
    protocol: BalancedProtocol,
    port: u16,
    tags: &Tags,
) -> Result<Listener, Error> {
    let balancer = draft.require::<LoadBalancer>(input.load_balancer)?;
    let region = Arc::clone(&draft.region);
    let tls = input.tls.apply(draft, protocol, None)?;
    let mut listener = Listener {
        id: draft.mint(),
        load_balancer: balancer.id,
        protocol,
        port,
        forward: input.action.groups.clone(),
        stickiness: input.action.stickiness,
        order: input.action.order,
        tcp_idle_timeout_s: usual_idle_timeout_s(),
        tls,
        tags: tags.clone(),
    };
    if let Some(known) = region.listener_at(balancer.id, port) {
        draft.depend(known);
        listener.id = known.id;
        listener.tcp_idle_timeout_s = known.tcp_idle_timeout_s;
        if let (Some(tls), Some(known)) = (&mut listener.tls, &known.tls) {
            tls.others.clone_from(&known.others);
        }
        return match listener == **known.record() {
            true => Ok(listener),
            false => Err(BalancingError::PortTaken.into()),
        };
    }
    if region.listeners_of_load_balancer(balancer.id).count() >= LISTENERS_MAX {
        return Err(BalancingError::TooManyListeners.into());
    }
    check_forwards(draft, &balancer, &listener)?;
    // Of two that come to one port at the same time, the second finds the first.
    draft.update(&balancer, LoadBalancer::clone(&balancer));
    draft.create(listener.clone());
    Ok(listener)
}

/// The groups of a listener: there, of the load balancer's VPC, of a protocol that goes with the
/// listener's, and led to by no other load balancer.
fn check_forwards(
    draft: &mut Draft<'_>,
    balancer: &LoadBalancer,
    listener: &Listener,
) -> Result<(), Error> {
    if listener.forward.len() > FORWARDS_MAX {
        let limit = FORWARDS_MAX;
        return Err(BalancingError::TooManyGroupsPerAction { limit }.into());
    }
    if listener.protocol == BalancedProtocol::Tls && listener.has_sticky_groups() {
        let why = "Target group stickiness is not supported for listeners with the TLS protocol";
        return Err(BalancingError::Action { why: why.into() }.into());
    }
    for forward in &listener.forward {
        draft.require::<TargetGroup>(forward.group)?;
    }
    check_addresses(&draft.region, balancer, listener)?;
    let mut seen = BTreeSet::new();
    for forward in &listener.forward {
        let group = draft.require::<TargetGroup>(forward.group)?;
        let name = group.path();
        if !seen.insert(group.id) {
            let why = format!("The target group '{name}' was specified more than once");
            return Err(BalancingError::validation(why).into());
        }
        if group.vpc != balancer.vpc {
            return Err(BalancingError::GroupOfOtherVpc {
                group: name.into(),
                vpc: balancer.vpc.to_string().into(),
            }
            .into());
        }
        if !goes_with(listener.protocol, group.protocol) {
            return Err(BalancingError::IncompatibleProtocols {
                listener: listener.protocol.word(),
                group: name.into(),
                protocol: group.protocol.word(),
            }
            .into());
        }
        // Of two load balancers that come to one group at the same time, the second finds the first.
        draft.update(&group, TargetGroup::clone(&group));
        let mut others = draft.region.load_balancers_of_group(group.id);
        if others.any(|other| other.id != balancer.id) {
            let arn = target_group_arn(draft.caller, &group).into();
            return Err(BalancingError::TargetGroupAssociationLimit { arn }.into());
        }
    }
    Ok(check_groups(&draft.region, balancer, &seen, None)?)
}

/// Whether a listener goes with the addresses of its load balancer. Limit: a dualstack one has no UDP, for which
/// AWS wants a prefix of IPv6 for each node.
pub(crate) fn check_addresses(
    region: &RegionState,
    balancer: &LoadBalancer,
    listener: &Listener,
) -> Result<(), BalancingError> {
    let is_dualstack = balancer.ip_address_type == IpAddressType::Dualstack;
    if is_dualstack && listener.protocol.has_udp() {
        let word = listener.protocol.word();
        let why = format!(
            "Listeners with the {word} protocol need EnablePrefixForIpv6SourceNat on dualstack load balancers, which is not supported"
        );
        return Err(BalancingError::configuration(why));
    }
    for forward in &listener.forward {
        let group = region.target_groups.get(&forward.group);
        if let Some(group) = group.filter(|group| group.is_ipv6() && !is_dualstack) {
            let name = group.path();
            let why = format!(
                "Target group '{name}' has the IP address type ipv6, which needs a dualstack load balancer"
            );
            return Err(BalancingError::configuration(why));
        }
    }
    Ok(())
}

/// Whether a listener's flows can go to a group.
fn goes_with(listener: BalancedProtocol, group: BalancedProtocol) -> bool {
    match listener {
        BalancedProtocol::Tcp => {
            matches!(group, BalancedProtocol::Tcp | BalancedProtocol::TcpUdp)
        }
        BalancedProtocol::TcpUdp => group == BalancedProtocol::TcpUdp,
        BalancedProtocol::Tls => matches!(group, BalancedProtocol::Tcp | BalancedProtocol::Tls),
        BalancedProtocol::Udp => {
            matches!(group, BalancedProtocol::Udp | BalancedProtocol::TcpUdp)
        }
    }
}

/// Whether no other listener leads to a group.
fn is_last(region: &RegionState, group: TargetGroupId, listener: ListenerId) -> bool {
    let mut others = region.listeners_of_target_group(group);
    others.all(|other| other == listener)
}

/// AWS's quota.
pub const LISTENERS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{balancer, caller, control, findings, new_listener, place, target_group};

    fn code<T>(done: Result<T, Error>) -> Result<(), &'static str> {
        done.map(|_| ()).map_err(|error| error.code())
    }

    #[tokio::test]
    async fn a_port_has_one_listener_and_a_group_one_balancer() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let web = balancer(&control, &place, "web").await;
        let other = balancer(&control, &place, "other").await;
        let tcp = target_group(&control, &place, "tcp", BalancedProtocol::Tcp).await;
        let udp = target_group(&control, &place, "udp", BalancedProtocol::Udp).await;
        let both = target_group(&control, &place, "both", BalancedProtocol::TcpUdp).await;
        let create = async |change: &dyn Fn(&mut CreateListener)| {
            let mut input = new_listener(web.id, 80, tcp.id);
            change(&mut input);
            control.create_listener(&caller, &input).await
        };
        let listener = create(&|_| ()).await.expect("a listener");
        assert_eq!(create(&|_| ()).await, Ok(listener.clone()));
        let to_both = |it: &mut CreateListener| it.action.groups[0].group = both.id;
        assert_eq!(code(create(&to_both).await), Err("DuplicateListener"));
        let speaks = |protocol, group| {
            move |it: &mut CreateListener| {
                it.port = Some(81);
                it.protocol = Some(protocol);
                it.action.groups[0].group = group;
            }
        };
        let wrong = Err("IncompatibleProtocols");
        let done = create(&speaks(BalancedProtocol::Tcp, udp.id)).await;
        assert_eq!(code(done), wrong);
        let done = create(&speaks(BalancedProtocol::TcpUdp, tcp.id)).await;
        assert_eq!(code(done), wrong);
        let done = create(&speaks(BalancedProtocol::Udp, both.id)).await;
        assert_eq!(code(done), Ok(()));
        let elsewhere = create(&|it| it.load_balancer = other.id).await;
        assert_eq!(code(elsewhere), Err("TargetGroupAssociationLimit"));
        let gone = create(&|it| {
            it.port = Some(82);
            it.action.groups[0].group = TargetGroupId(7);
        })
        .await;
        assert_eq!(code(gone), Err("TargetGroupNotFound"));
        let gone = create(&|it| it.load_balancer = LoadBalancerId(7)).await;
        assert_eq!(code(gone), Err("LoadBalancerNotFound"));
        let validation = Err("ValidationError");
        assert_eq!(code(create(&|it| it.port = None).await), validation);
        assert_eq!(code(create(&|it| it.port = Some(0)).await), validation);
        assert_eq!(code(create(&|it| it.protocol = None).await), validation);
        let used = control.delete_target_group(&caller, tcp.id).await;
        assert_eq!(code(used), Err("ResourceInUse"));
        assert_eq!(findings(&control), []);

        let delete = || control.delete_listener(&caller, listener.id);
        assert_eq!(delete().await, Ok(()));
        assert_eq!(code(delete().await), Err("ListenerNotFound"));
        let freed = control.delete_target_group(&caller, tcp.id).await;
        assert_eq!(freed, Ok(()));
    }

    #[tokio::test]
    async fn a_listener_changes_but_not_onto_another() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let web = balancer(&control, &place, "web").await;
        let group = target_group(&control, &place, "tcp", BalancedProtocol::Tcp).await;
        let next = target_group(&control, &place, "next", BalancedProtocol::Tcp).await;
        let create = |port| {
            let input = new_listener(web.id, port, group.id);
            let (control, caller) = (&control, &caller);
            async move { control.create_listener(caller, &input).await }
        };
        let listener = create(80).await.expect("a listener");
        assert!(create(81).await.is_ok());
        let modify = async |port, protocol, to: Option<TargetGroupId>| {
            let input = ModifyListener {
                id: listener.id,
                protocol,
                port,
                action: to.map(|group| ForwardAction {
                    groups: vec![Forward { group, weight: 1 }],
                    stickiness: None,
                    order: Some(1),
                }),
                tls: WantedTls::default(),
            };
            control.modify_listener(&caller, &input).await
        };
        let taken = modify(Some(81), None, None).await;
        assert_eq!(code(taken), Err("DuplicateListener"));
        let spoken = modify(None, Some(BalancedProtocol::Udp), None).await;
        assert_eq!(code(spoken), Err("IncompatibleProtocols"));
        let moved = modify(Some(82), None, Some(next.id)).await;
        let moved = moved.expect("it is moved");
        assert_eq!((moved.port, moved.forward[0].group), (82, next.id));
        let set = async |key: &str, value: &str| {
            let attribute = [Attribute {
                key: key.to_owned(),
                value: value.to_owned(),
            }];
            let done = control.modify_listener_attributes(&caller, listener.id, &attribute);
            done.await.map(|listener| listener_attributes(&listener))
        };
        let told = set(IDLE_TIMEOUT, "60").await;
        assert_eq!(told, Ok(vec![(IDLE_TIMEOUT, "60".to_owned())]));
        let wrong = set(IDLE_TIMEOUT, "59").await;
        assert_eq!(code(wrong), Err("InvalidConfigurationRequest"));
        let unknown = set("colour", "red").await;
        assert_eq!(code(unknown), Err("ValidationError"));
        assert_eq!(findings(&control), []);
    }
}
