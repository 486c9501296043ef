//! Route tables of internet gateways: what such a table may hold.
//!
//! They lead what comes in, and nowhere but on into the VPC: to whoever has the destination, or to an
//! interface that takes packets for others (VPC User Guide, "Gateway route tables").

use enid_model::gateway::{GatewayRouteTable, InternetGateway};
use enid_model::id::{InternetGatewayId, RouteTableAssociationId, RouteTableId};
use enid_model::key::Kind;
use enid_model::route_table::{Route, RouteDestination, RouteTable, RouteTarget};
use enid_model::state::RegionState;
use enid_model::vpc::Vpc;

use crate::route::{check_inside, in_words};
use crate::{Draft, Error, RoutingError};

/// Gives an internet gateway a route table of its own.
pub(crate) fn associate(
    draft: &mut Draft<'_>,
    table: &RouteTable,
    gateway: InternetGatewayId,
) -> Result<RouteTableAssociationId, Error> {
    if !draft.region.internet_gateways.contains_key(&gateway) {
        let id = gateway.to_string().into();
        return Err(RoutingError::GatewayNotFound { id }.into());
    }
    let gateway = draft.require::<InternetGateway>(gateway)?;
    match gateway.route_table {
        Some(own) if own.table == table.id => return Ok(own.association),
        Some(_) => return Err(RoutingError::AlreadyAssociated { table: table.id }.into()),
        None => {}
    }
    let association = draft.mint();
    give(draft, table, gateway.id, association)?;
    Ok(association)
}

/// Makes a table that of a gateway, whichever it had before.
pub(crate) fn give(
    draft: &mut Draft<'_>,
    table: &RouteTable,
    gateway: InternetGatewayId,
    association: RouteTableAssociationId,
) -> Result<(), Error> {
    let gateway = draft.require::<InternetGateway>(gateway)?;
    if gateway.vpc != Some(table.vpc) {
        let other = format!("network gateway {}", gateway.id);
        return Err(RoutingError::table_and(table.id, other).into());
    }
    let vpc = draft.require::<Vpc>(table.vpc)?;
    for route in &table.routes {
        check(&draft.region, &vpc, table.id, route)?;
    }
    let table = table.id;
    let new = GatewayRouteTable { association, table };
    draft.edit(&gateway, |gateway| gateway.route_table = Some(new));
    Ok(())
}

/// Takes its table from a gateway.
pub(crate) fn take(draft: &mut Draft<'_>, gateway: InternetGatewayId) -> Result<(), Error> {
    let gateway = draft.require::<InternetGateway>(gateway)?;
    draft.edit(&gateway, |gateway| gateway.route_table = None);
    Ok(())
}

/// The gateway with this association.
pub(crate) fn gateway_with(
    region: &RegionState,
    association: RouteTableAssociationId,
) -> Option<InternetGatewayId> {
    let mut gateways = region.internet_gateways.values();
    let found = gateways.find(|gateway| {
        let own = gateway.route_table.as_ref();
        own.is_some_and(|own| own.association == association)
    });
    found.map(|gateway| gateway.id)
}

/// Checks a route that a table shall have, if a gateway uses the table; if none does, none may have come
/// to use it at the commit.
pub(crate) fn check_new(
    draft: &mut Draft<'_>,
    vpc: &Vpc,
    table: &RouteTable,
    route: &Route,
) -> Result<(), Error> {
    if draft
        .region
        .internet_gateways_of_table(table.id)
        .next()
        .is_some()
    {
        return check(&draft.region, vpc, table.id, route);
    }
    draft.demand_unnamed(Kind::InternetGateway, table.id);
    Ok(())
}

fn check(region: &RegionState, vpc: &Vpc, table: RouteTableId, route: &Route) -> Result<(), Error> {
    let wrong = |why| {
        let destination = in_words(route.destination).1;
        Err(Error::from(RoutingError::EdgeRoute {
            table,
            destination,
            why,
        }))
    };
    let RouteDestination::Cidr(cidr) = route.destination else {
        return wrong("The destination must not be a prefix list.");
    };
    if !matches!(route.target, RouteTarget::NetworkInterface(_)) {
        return wrong("The target must be local or a network interface.");
    }
    match check_inside(region, vpc, cidr) {
        Some(true) => Ok(()),
        _ => {
            wrong("The destination must be a whole CIDR block of the VPC or of one of its subnets.")
        }
    }
}

#[cfg(test)]
mod tests {
    use enid_model::id::VpcId;

    use crate::fixture::{Place, caller, control, internet, new_eni, place};
    use crate::{
        Control, CreateRouteTable, Error, RouteTableUser, WantedDestination, WantedTarget,
    };

    use super::*;

    struct Bench {
        control: Control,
        place: Place,
        vpc: VpcId,
        gateway: InternetGatewayId,
        table: RouteTableId,
    }

    async fn table(control: &Control, vpc: VpcId) -> RouteTableId {
        let input = CreateRouteTable {
            vpc,
            client_token: None,
            tag_specifications: Vec::new(),
        };
        let made = control.create_route_table(&caller(), &input).await;
        made.expect("a table").id
    }

    async fn bench() -> Bench {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let gateway = internet(&control, &place).await;
        let region = control.read(&caller()).await.expect("a region");
        let vpc = region.subnets.get(&place.subnet).expect("a subnet").vpc;
        let table = table(&control, vpc).await;
        Bench {
            control,
            place,
            vpc,
            gateway,
            table,
        }
    }

    impl Bench {
        async fn associate(&self, table: RouteTableId) -> Result<RouteTableAssociationId, Error> {
            let user = RouteTableUser::Gateway(self.gateway);
            self.control
                .associate_route_table(&caller(), table, user)
                .await
        }

        async fn route(&self, cidr: &str, target: WantedTarget) -> Result<(), &'static str> {
            let to = WantedDestination {
                cidr: Some(cidr.to_owned()),
                ..WantedDestination::default()
            };
            let caller = caller();
            let made = self.control.create_route(&caller, self.table, &to, target);
            made.await.map_err(|error| error.code())
        }

        async fn interface(&self) -> WantedTarget {
            let eni = new_eni(&self.place);
            let eni = self.control.create_network_interface(&caller(), eni).await;
            WantedTarget::NetworkInterface(eni.expect("an interface").id)
        }
    }

    #[tokio::test]
    async fn a_gateway_has_one_table_of_its_vpc() {
        let bench = bench().await;
        let caller = caller();
        let first = bench.associate(bench.table).await.expect("associated");
        assert_eq!(bench.associate(bench.table).await, Ok(first), "again");
        let second = table(&bench.control, bench.vpc).await;
        let taken = RoutingError::AlreadyAssociated { table: second };
        assert_eq!(bench.associate(second).await, Err(taken.into()));
        let in_use = RoutingError::RouteTableInUse { id: bench.table };
        let deleted = bench.control.delete_route_table(&caller, bench.table).await;
        assert_eq!(deleted, Err(in_use.into()));

        let replaced = bench
            .control
            .replace_route_table_association(&caller, first, second);
        let new = replaced.await.expect("replaced");
        assert_ne!(new, first);
        let deleted = bench.control.delete_route_table(&caller, bench.table).await;
        assert_eq!(deleted, Ok(()));
        let freed = bench.control.disassociate_route_table(&caller, new).await;
        assert_eq!(freed, Ok(()));
        let region = bench.control.read(&caller).await.expect("a region");
        assert_eq!(region.internet_gateways[&bench.gateway].route_table, None);
        // A table of another VPC.
        let other = region.subnets[&bench.place.foreign_subnet].vpc;
        let foreign = table(&bench.control, other).await;
        let refused = bench
            .associate(foreign)
            .await
            .map_err(|error| error.to_string());
        let (gateway, table) = (bench.gateway, foreign);
        let words = "belong to different networks";
        let words = format!("route table {table} and network gateway {gateway} {words}");
        assert_eq!(refused, Err(words));
    }

    #[tokio::test]
    async fn the_table_of_a_gateway_leads_into_the_vpc_only() {
        let bench = bench().await;
        let eni = bench.interface().await;
        bench.associate(bench.table).await.expect("associated");
        assert_eq!(bench.route("10.0.0.0/24", eni).await, Ok(()));
        for (cidr, target) in [
            ("0.0.0.0/0", eni),
            ("192.168.0.0/24", eni),
            ("0.0.0.0/0", WantedTarget::InternetGateway(bench.gateway)),
        ] {
            let refused = bench.route(cidr, target).await;
            assert_eq!(refused, Err("InvalidParameterValue"), "{cidr}");
        }
    }

    #[tokio::test]
    async fn a_table_that_leads_elsewhere_is_none_for_a_gateway() {
        let bench = bench().await;
        let eni = bench.interface().await;
        assert_eq!(bench.route("192.168.0.0/24", eni).await, Ok(()));
        let refused = bench.associate(bench.table).await;
        let refused = refused.map_err(|error| error.code());
        assert_eq!(refused, Err("InvalidParameterValue"));
        let to = WantedDestination {
            cidr: Some("192.168.0.0/24".to_owned()),
            ..WantedDestination::default()
        };
        let deleted = bench
            .control
            .delete_route(&caller(), bench.table, &to)
            .await;
        assert_eq!(deleted, Ok(()));
        assert!(bench.associate(bench.table).await.is_ok());
    }
}
