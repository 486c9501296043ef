//! The routes of route tables.
//!
//! A table holds each destination once. The local routes of the VPC's blocks are not in the record:
//! a route there to a whole block of the VPC stands for a local route whose target was replaced.
//! Targets may go; their routes stay and drop packets ([`is_active`](crate::is_active)).

use std::sync::Arc;

use enid_model::id::{PrefixListId, RouteTableId};
use enid_model::prefix_list::{AddressFamily, PrefixList};
use enid_model::route_table::{Route, RouteDestination, RouteTable, RouteTarget};
use enid_model::state::{RegionState, Stored};
use enid_model::vpc::Vpc;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::route_target::{WantedTarget, check_family, target};
use crate::{Caller, Control, Draft, Error, RoutingError, route_table_edge};

/// A route's destination as a client writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedDestination {
    /// An IPv4 block.
    pub cidr: Option<String>,
    /// Or an IPv6 block.
    pub ipv6_cidr: Option<String>,
    /// Or the blocks of a prefix list.
    pub prefix_list: Option<PrefixListId>,
}

impl Control {
    /// CreateRoute.
    pub async fn create_route(
        &self,
        caller: &Caller,
        table: RouteTableId,
        wanted: &WantedDestination,
        target: WantedTarget,
    ) -> Result<(), Error> {
        let destination = destination(wanted)?;
        self.transact(caller, |draft| {
            let (table, vpc) = table_and_vpc(draft, table)?;
            let place = find(&table, destination);
            let (Err(place), false) = (place, is_local(&vpc, destination)) else {
                let destination = in_words(destination).1;
                return Err(RoutingError::RouteExists { destination }.into());
            };
            let route = checked(draft, &vpc, &table, destination, target)?;
            let mut new = RouteTable::clone(&table);
            new.routes.insert(place, route);
            check_quota(draft, &vpc, &new)?;
            draft.update(&table, new);
            Ok(())
        })
        .await
    }

    /// ReplaceRoute: gives a route, or a local route, another target.
    pub async fn replace_route(
        &self,
        caller: &Caller,
        table: RouteTableId,
        wanted: &WantedDestination,
        target: WantedTarget,
    ) -> Result<(), Error> {
        let destination = destination(wanted)?;
        self.transact(caller, |draft| {
            let (table, vpc) = table_and_vpc(draft, table)?;
            let place = find(&table, destination);
            let is_local = is_local(&vpc, destination);
            if place.is_err() && !is_local {
                let destination = in_words(destination).1;
                return Err(RoutingError::RouteToReplaceNotFound { destination }.into());
            }
            let mut new = RouteTable::clone(&table);
            if target == WantedTarget::Local {
                if !is_local {
                    return Err(RoutingError::LocalTargetElsewhere.into());
                }
                new.routes.retain(|route| route.destination != destination);
            } else {
                let route = checked(draft, &vpc, &table, destination, target)?;
                match place {
                    Ok(place) => new.routes.splice(place..=place, [route]),
                    Err(place) => new.routes.splice(place..place, [route]),
                };
            }
            if new != **table.record() {
                draft.update(&table, new);
            }
            Ok(())
        })
        .await
    }

    /// DeleteRoute.
    pub async fn delete_route(
        &self,
        caller: &Caller,
        table: RouteTableId,
        wanted: &WantedDestination,
    ) -> Result<(), Error> {
        let destination = destination(wanted)?;
        self.transact(caller, |draft| {
            let (table, vpc) = table_and_vpc(draft, table)?;
            if let RouteDestination::Cidr(cidr) = destination
                && is_local(&vpc, destination)
            {
                let table = table.id;
                return Err(RoutingError::LocalRouteDeleted { cidr, table }.into());
            }
            let Ok(place) = find(&table, destination) else {
                let (kind, destination) = in_words(destination);
                let table = table.id;
                return Err(RoutingError::RouteNotFound {
                    kind,
                    destination,
                    table,
                }
                .into());
            };
            draft.edit(&table, |table| {
                table.routes.remove(place);
            });
            Ok(())
        })
        .await
    }
}

fn table_and_vpc(
    draft: &mut Draft<'_>,
    table: RouteTableId,
) -> Result<(Stored<RouteTable>, Stored<Vpc>), Error> {
    let table = draft.require::<RouteTable>(table)?;
    let vpc = draft.require::<Vpc>(table.vpc)?;
    Ok((table, vpc))
}

fn find(table: &RouteTable, destination: RouteDestination) -> Result<usize, usize> {
    table
        .routes
        .binary_search_by_key(&destination, |route| route.destination)
}

/// Whether this is the destination of a local route.
fn is_local(vpc: &Vpc, destination: RouteDestination) -> bool {
    matches!(destination, RouteDestination::Cidr(cidr) if vpc.cidrs().any(|own| own == cidr))
}

/// What messages call a destination.
pub(crate) fn in_words(destination: RouteDestination) -> (&'static str, Box<str>) {
    match destination {
        RouteDestination::Cidr(IpNet::V4(cidr)) => {
            ("destination-cidr-block", cidr.to_string().into())
        }
        RouteDestination::Cidr(IpNet::V6(cidr)) => {
            ("destination-ipv6-cidr-block", cidr.to_string().into())
        }
        RouteDestination::PrefixList(list) => {
            ("destination-prefix-list-id", list.to_string().into())
        }
    }
}

fn destination(wanted: &WantedDestination) -> Result<RouteDestination, Error> {
    let malformed = |text: &str, name| Error::InvalidValue {
        value: text.into(),
        name,
        why: "This is not a valid CIDR block.".into(),
    };
    match (&wanted.cidr, &wanted.ipv6_cidr, wanted.prefix_list) {
        (Some(text), None, None) => match text.parse::<Ipv4Net>() {
            Ok(cidr) => Ok(RouteDestination::Cidr(IpNet::V4(cidr.trunc()))),
            Err(_) => Err(malformed(text, "destinationCidrBlock")),
        },
        (None, Some(text), None) => match text.parse::<Ipv6Net>() {
            Ok(cidr) => Ok(RouteDestination::Cidr(IpNet::V6(cidr.trunc()))),
            Err(_) => Err(malformed(text, "destinationIpv6CidrBlock")),
        },
        (None, None, Some(list)) => Ok(RouteDestination::PrefixList(list)),
        (None, None, None) => Err(RoutingError::RouteDestinationMissing.into()),
        _ => Err(RoutingError::RouteDestinationsSeveral.into()),
    }
}

/// A route that may stand in a table, also at the commit as far as the destination goes.
fn checked(
    draft: &mut Draft<'_>,
    vpc: &Vpc,
    table: &RouteTable,
    destination: RouteDestination,
    wanted: WantedTarget,
) -> Result<Route, Error> {
    let region = Arc::clone(&draft.region);
    let cidrs = match destination {
        RouteDestination::Cidr(cidr) => vec![cidr],
        RouteDestination::PrefixList(list) => {
            let list = draft.require::<PrefixList>(list)?;
            list.entries().iter().map(|entry| entry.cidr).collect()
        }
    };
    let target = target(draft, table, wanted)?;
    if let RouteDestination::Cidr(cidr) = destination {
        check_destination(&region, vpc, cidr, target)?;
    }
    for cidr in cidrs {
        check_family(cidr, target)?;
    }
    let route = Route {
        destination,
        target,
    };
    route_table_edge::check_new(draft, vpc, table, &route)?;
    Ok(route)
}

fn check_destination(
    region: &RegionState,
    vpc: &Vpc,
    cidr: IpNet,
    target: RouteTarget,
) -> Result<(), Error> {
    // Unwrap: both are literal blocks.
    let reserved: [IpNet; 2] = RESERVED.map(|text| text.parse().expect("a literal block parses"));
    if reserved.iter().any(|reserved| reserved.contains(&cidr)) {
        return Err(RoutingError::DestinationReserved { cidr }.into());
    }
    let Some(is_whole) = check_inside(region, vpc, cidr) else {
        return Ok(());
    };
    let is_inside = matches!(
        target,
        RouteTarget::NatGateway(_) | RouteTarget::NetworkInterface(_)
    );
    if !is_inside {
        return Err(RoutingError::RouteTargetNotSupported.into());
    }
    if !is_whole {
        return Err(RoutingError::SubnetBlockMissing { cidr }.into());
    }
    Ok(())
}

/// Whether a block inside a VPC's is a whole block of it or of one of its subnets; `None` if it is not
/// inside.
pub(crate) fn check_inside(region: &RegionState, vpc: &Vpc, cidr: IpNet) -> Option<bool> {
    let whole = vpc.cidrs().find(|own| own.contains(&cidr))?;
    let mut subnets = region.subnets_of_vpc(vpc.id);
    let is_subnet = subnets.any(|subnet| {
        region.subnets.get(&subnet).is_some_and(|subnet| {
            let v6 = subnet.ipv6_cidr.as_ref();
            cidr == IpNet::V4(subnet.cidr) || v6.is_some_and(|v6| cidr == IpNet::V6(v6.cidr))
        })
    });
    Some(cidr == whole || is_subnet)
}

/// Where AWS's own services are: nothing inside can be a destination, larger blocks can.
const RESERVED: [&str; 2] = ["169.254.168.0/22", "fd00:ec2::/32"];

/// A prefix list counts as many routes as it may have entries; a replaced local route counts none.
fn check_quota(draft: &Draft<'_>, vpc: &Vpc, table: &RouteTable) -> Result<(), Error> {
    let (mut v4, mut v6) = (0, 0);
    for route in &table.routes {
        match route.destination {
            destination if is_local(vpc, destination) => {}
            RouteDestination::Cidr(IpNet::V4(_)) => v4 += 1,
            RouteDestination::Cidr(IpNet::V6(_)) => v6 += 1,
            RouteDestination::PrefixList(list) => {
                let list = draft.region.prefix_lists.get(&list);
                let count = |list: &PrefixList| usize::try_from(list.entries_max).unwrap_or(0);
                match list.map(|list| (list.family, count(list))) {
                    Some((AddressFamily::Ipv4, entries)) => v4 += entries,
                    Some((AddressFamily::Ipv6, entries)) => v6 += entries,
                    None => {}
                }
            }
        }
    }
    if v4 > draft.quotas.routes_per_table || v6 > draft.quotas.routes_per_table {
        return Err(RoutingError::RouteLimitExceeded.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use enid_model::Tags;
    use enid_model::gateway::EgressOnlyInternetGateway;
    use enid_model::id::{EgressOnlyInternetGatewayId, EniId, NatGatewayId, SubnetId, VpcId};
    use enid_model::nat_gateway::NatGateway;
    use enid_model::prefix_list::PrefixListEntry;
    use enid_model::time::Timestamp;

    use super::*;
    use crate::fixture::{caller, control, new_eni, new_instance, place};
    use crate::is_active;

    fn to(text: &str) -> WantedDestination {
        let text = Some(text.to_owned());
        match text.as_deref().is_some_and(|text| text.contains(':')) {
            true => WantedDestination {
                ipv6_cidr: text,
                ..WantedDestination::default()
            },
            false => WantedDestination {
                cidr: text,
                ..WantedDestination::default()
            },
        }
    }

    /// The main table of the VPC of the place's subnet.
    async fn bench() -> (Control, crate::fixture::Place, RouteTableId, VpcId) {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller()).await.expect("a region");
        let vpc = region.subnets.get(&place.subnet).expect("a subnet").vpc;
        let table = region.vpcs.get(&vpc).expect("the VPC").main_route_table;
        (control, place, table, vpc)
    }

    async fn only_route(control: &Control, table: RouteTableId) -> (Route, bool) {
        let region = control.see(&caller()).await.expect("a region");
        let table = region.route_tables.get(&table).expect("the table");
        let [route] = table.routes.as_slice() else {
            unreachable!("one route: {table:?}")
        };
        (*route, is_active(&region, table.vpc, route.target))
    }

    #[tokio::test]
    async fn a_route_to_an_interface_follows_its_instance() {
        let (control, place, table, _) = bench().await;
        let caller = caller();
        let eni = control.create_network_interface(&caller, new_eni(&place));
        let eni = eni.await.expect("an interface").id;
        let target = WantedTarget::NetworkInterface(eni);
        let made = control
            .create_route(&caller, table, &to("192.168.0.1/24"), target)
            .await;
        assert_eq!(made, Ok(()));
        let (route, active) = only_route(&control, table).await;
        assert_eq!(route.target, RouteTarget::NetworkInterface(eni));
        assert!(!active);
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let launched = launched.expect("a launch").instances;
        let instance = launched.first().expect("an instance").id;
        let target = WantedTarget::Instance(instance);
        let done = control
            .replace_route(&caller, table, &to("192.168.0.0/24"), target)
            .await;
        assert_eq!(done, Ok(()));
        assert!(only_route(&control, table).await.1);
        control
            .terminate_instances(&caller, &[instance])
            .await
            .expect("terminated");
        assert!(!only_route(&control, table).await.1);
    }

    #[tokio::test]
    async fn families_and_networks_of_gateways_are_checked() {
        let (control, _, table, vpc) = bench().await;
        let caller = caller();
        let eigw = EgressOnlyInternetGatewayId(7);
        let nat = NatGatewayId(8);
        let make = |draft: &mut Draft<'_>| {
            draft.create(EgressOnlyInternetGateway {
                id: eigw,
                vpc,
                tags: Tags::new(),
            });
            draft.create(NatGateway {
                id: nat,
                vpc,
                subnet: SubnetId(9),
                is_public: false,
                eni: EniId(9),
                addresses: Vec::new(),
                create_time: Timestamp(0),
                delete_time: None,
                tags: Tags::new(),
            });
            Ok(())
        };
        control.transact(&caller, make).await.expect("gateways");
        let create = async |destination: &str, target| {
            let made = control
                .create_route(&caller, table, &to(destination), target)
                .await;
            made.map_err(|error| error.code())
        };
        let eigw = WantedTarget::EgressOnlyInternetGateway(eigw);
        assert_eq!(
            create("0.0.0.0/0", eigw).await,
            Err("InvalidParameterValue")
        );
        assert_eq!(create("::/0", eigw).await, Ok(()));
        assert_eq!(
            create("64:ff9b::/96", WantedTarget::NatGateway(nat)).await,
            Err("UnsupportedOperation")
        );
        assert_eq!(
            create("0.0.0.0/0", WantedTarget::NatGateway(nat)).await,
            Ok(())
        );
        assert_eq!(create("::/0", eigw).await, Err("RouteAlreadyExists"));
        // A deleted gateway leaves a blackhole and is no target any more.
        let delete = |draft: &mut Draft<'_>| {
            let read = draft.require::<NatGateway>(nat)?;
            draft.edit(&read, |gateway| gateway.delete_time = Some(Timestamp(1)));
            Ok(())
        };
        control.transact(&caller, delete).await.expect("deleted");
        let region = control.see(&caller).await.expect("a region");
        let target = RouteTarget::NatGateway(nat);
        assert!(!is_active(&region, vpc, target));
        let again = create("192.168.0.0/16", WantedTarget::NatGateway(nat)).await;
        assert_eq!(again, Err("InvalidNatGatewayID.NotFound"));
        let foreign = region.internet_gateways.keys().next().copied();
        let foreign = foreign.expect("the default VPC's gateway");
        let target = WantedTarget::InternetGateway(foreign);
        let other = control
            .create_route(&caller, table, &to("1.0.0.0/8"), target)
            .await;
        assert_eq!(
            other.map_err(|error| error.to_string()),
            Err(format!(
                "route table {table} and network gateway {foreign} belong to different networks"
            ))
        );
    }

    #[tokio::test]
    async fn a_prefix_list_counts_as_many_routes_as_it_may_have_entries() {
        let control = control().with_quotas(crate::Quotas {
            routes_per_table: 10,
            ..crate::Quotas::default()
        });
        let caller = caller();
        let region = control.read(&caller).await.expect("a region");
        let table = region.route_tables.values().next().expect("a table");
        let (table, [route]) = (table.id, table.routes.as_slice()) else {
            unreachable!("the default VPC's table has one route")
        };
        let RouteTarget::InternetGateway(gateway) = route.target else {
            unreachable!("to the internet")
        };
        let list = |id: u64, entries_max| PrefixList {
            id: PrefixListId(id),
            name: String::new(),
            family: AddressFamily::Ipv4,
            entries_max,
            change: Default::default(),
            version: 1,
            versions: BTreeMap::from([(
                1,
                vec![PrefixListEntry {
                    cidr: IpNet::V4(Ipv4Net::default()),
                    description: None,
                }],
            )]),
            tags: Tags::new(),
        };
        let make = |draft: &mut Draft<'_>| {
            draft.create(list(1, 9));
            draft.create(list(2, 1));
            Ok(())
        };
        control.transact(&caller, make).await.expect("lists");
        let create = async |id: u64| {
            let destination = WantedDestination {
                prefix_list: Some(PrefixListId(id)),
                ..WantedDestination::default()
            };
            let target = WantedTarget::InternetGateway(gateway);
            let made = control
                .create_route(&caller, table, &destination, target)
                .await;
            made.map_err(|error| error.code())
        };
        assert!(create(3).await.is_err(), "there is no such list");
        assert_eq!(create(1).await, Ok(()));
        assert_eq!(create(1).await, Err("RouteAlreadyExists"));
        assert_eq!(create(2).await, Err("RouteLimitExceeded"));
    }
}
