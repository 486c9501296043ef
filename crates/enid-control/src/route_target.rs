//! The targets of routes: as clients name them, and whether they lead anywhere.

use enid_model::id::{
    EgressOnlyInternetGatewayId, EniId, InstanceId, InternetGatewayId, NatGatewayId, VpcId,
    VpcPeeringConnectionId,
};
use enid_model::instance::DesiredState;
use enid_model::route_table::{RouteTable, RouteTarget};
use enid_model::vpc_peering_connection::PeeringStatus;
use ipnet::IpNet;

use crate::attachment::attached;
use crate::{Draft, Error, RoutingError, Seen};

/// A route's target as a client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedTarget {
    /// An egress-only internet gateway.
    EgressOnlyInternetGateway(EgressOnlyInternetGatewayId),
    /// The only interface of an instance.
    Instance(InstanceId),
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// The VPC itself: gives a local route its own target back.
    Local,
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// An interface.
    NetworkInterface(EniId),
    /// A peering connection.
    VpcPeeringConnection(VpcPeeringConnectionId),
}

/// Whether a route of a VPC's table leads anywhere. If not, it is a blackhole: packets are dropped,
/// and no shorter prefix is tried.
#[must_use]
pub fn is_active(seen: &Seen, vpc: VpcId, target: RouteTarget) -> bool {
    let region = &seen.region;
    match target {
        RouteTarget::EgressOnlyInternetGateway(id) => {
            region.egress_only_internet_gateways.contains_key(&id)
        }
        RouteTarget::InternetGateway(id) => {
            let gateway = region.internet_gateways.get(&id);
            gateway.is_some_and(|gateway| gateway.vpc == Some(vpc))
        }
        RouteTarget::NatGateway(id) => {
            let gateway = region.nat_gateways.get(&id);
            gateway.is_some_and(|gateway| gateway.is_available())
        }
        RouteTarget::NetworkInterface(id) => {
            let eni = region.network_interfaces.get(&id);
            let instance = eni.and_then(|eni| seen.state.instance_of(&seen.scope, eni));
            instance.is_some_and(|instance| instance.desired == DesiredState::Running)
        }
        RouteTarget::VpcPeeringConnection(id) => {
            let connection = region.vpc_peering_connections.get(&id);
            connection.is_some_and(|connection| connection.status == PeeringStatus::Active)
        }
    }
}

/// The target that a client names, of the table's VPC.
pub(crate) fn target(
    draft: &Draft<'_>,
    table: &RouteTable,
    wanted: WantedTarget,
) -> Result<RouteTarget, Error> {
    let region = &draft.region;
    let check = |vpc: Option<VpcId>, what: String| match vpc == Some(table.vpc) {
        true => Ok(()),
        false => Err(Error::from(RoutingError::table_and(table.id, what))),
    };
    match wanted {
        WantedTarget::EgressOnlyInternetGateway(id) => {
            let gateway = region.egress_only_internet_gateways.get(&id);
            let gateway = gateway.ok_or_else(|| gateway_not_found(id))?;
            check(Some(gateway.vpc), format!("network gateway {id}"))?;
            Ok(RouteTarget::EgressOnlyInternetGateway(id))
        }
        WantedTarget::Instance(id) => {
            let enis = attached(draft, id);
            let eni = match (region.instances.contains_key(&id), enis.as_slice()) {
                (true, [eni]) => eni,
                (true, [_, _, ..]) => return Err(Error::SeveralInterfaces { id }),
                _ => return Err(Error::not_found(id)),
            };
            check(Some(eni.vpc), format!("instance {id}"))?;
            Ok(RouteTarget::NetworkInterface(eni.id))
        }
        WantedTarget::InternetGateway(id) => {
            let gateway = region.internet_gateways.get(&id);
            let gateway = gateway.ok_or_else(|| gateway_not_found(id))?;
            check(gateway.vpc, format!("network gateway {id}"))?;
            Ok(RouteTarget::InternetGateway(id))
        }
        // Only the target of a local route can be this: `replace_route` looks at it before.
        WantedTarget::Local => Err(RoutingError::LocalTargetElsewhere.into()),
        WantedTarget::NatGateway(id) => {
            let gateway = region.nat_gateways.get(&id);
            let gateway = gateway.filter(|gateway| gateway.is_available());
            let not_found = || RoutingError::NatGatewayNotFound {
                id: id.to_string().into(),
            };
            let gateway = gateway.ok_or_else(not_found)?;
            check(Some(gateway.vpc), format!("nat gateway {id}"))?;
            Ok(RouteTarget::NatGateway(id))
        }
        WantedTarget::NetworkInterface(id) => {
            let eni = region.network_interfaces.get(&id);
            let eni = eni.ok_or_else(|| Error::not_found(id))?;
            check(Some(eni.vpc), format!("interface {id}"))?;
            Ok(RouteTarget::NetworkInterface(id))
        }
        WantedTarget::VpcPeeringConnection(id) => {
            let connection = region.vpc_peering_connections.get(&id);
            let connection = connection.ok_or_else(|| Error::not_found(id))?;
            let sides = [connection.requester.vpc, connection.accepter.vpc];
            let own = sides.into_iter().find(|vpc| *vpc == table.vpc);
            check(own, format!("vpc peering connection {id}"))?;
            match connection.status {
                PeeringStatus::Active | PeeringStatus::PendingAcceptance => {
                    Ok(RouteTarget::VpcPeeringConnection(id))
                }
                _ => Err(RoutingError::PeeringNotRoutable { id }.into()),
            }
        }
    }
}

fn gateway_not_found(id: impl std::fmt::Display) -> Error {
    RoutingError::GatewayNotFound {
        id: id.to_string().into(),
    }
    .into()
}

/// Which families a target can take.
pub(crate) fn check_family(cidr: IpNet, target: RouteTarget) -> Result<(), Error> {
    match (cidr, target) {
        (IpNet::V4(_), RouteTarget::EgressOnlyInternetGateway(_)) => {
            Err(RoutingError::EgressOnlyTakesIpv6 { cidr }.into())
        }
        // In AWS, only NAT64 sends IPv6 to a NAT gateway.
        (IpNet::V6(_), RouteTarget::NatGateway(_)) => Err(Error::Unsupported {
            what: "a NAT gateway as the target of an IPv6 route (NAT64)",
        }),
        _ => Ok(()),
    }
}
