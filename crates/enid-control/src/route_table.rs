//! Route tables, and who uses them.
//!
//! A subnet without a table of its own uses its VPC's main table, so every association is in the
//! record of who uses the table: the subnet's, the internet gateway's or the VPC's.

use enid_model::id::{InternetGatewayId, RouteTableAssociationId, RouteTableId, SubnetId, VpcId};
use enid_model::key::Kind;
use enid_model::route_table::RouteTable;
use enid_model::state::RegionState;
use enid_model::subnet::{Subnet, SubnetRouteTable};
use enid_model::vpc::Vpc;

use crate::{Caller, Control, Draft, Error, RoutingError, TagSpecification, route_table_edge, tag};

/// What CreateRouteTable takes.
#[derive(Debug, Clone)]
pub struct CreateRouteTable {
    /// Its VPC.
    pub vpc: VpcId,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// Whom a route table can be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTableUser {
    /// An internet gateway, for what comes in.
    Gateway(InternetGatewayId),
    /// A subnet.
    Subnet(SubnetId),
}

/// Who uses a route table by an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// An internet gateway.
    Gateway(InternetGatewayId),
    /// A subnet that was given it.
    Subnet(SubnetId),
    /// The VPC, for the subnets without one.
    Vpc(VpcId),
}

impl Control {
    /// CreateRouteTable. It has the VPC's local routes, as every table has.
    pub async fn create_route_table(
        &self,
        caller: &Caller,
        input: &CreateRouteTable,
    ) -> Result<RouteTable, Error> {
        const OPERATION: &str = "CreateRouteTable";
        let tags = tag::specified(&input.tag_specifications, "route-table")?;
        let token = input.client_token.as_deref();
        let parameters = format!("{} {tags:?}", input.vpc);
        self.transact(caller, |draft| {
            if let Some(table) = draft.resource_made_before(OPERATION, token, &parameters)? {
                return Ok(table);
            }
            let vpc = draft.require::<Vpc>(input.vpc)?;
            let tables = draft.region.route_tables_of_vpc(vpc.id).count();
            if tables >= draft.quotas.route_tables_per_vpc {
                return Err(RoutingError::RouteTableLimitExceeded.into());
            }
            draft.demand_unnamed(Kind::RouteTable, vpc.id);
            let table = RouteTable {
                id: draft.mint(),
                vpc: vpc.id,
                routes: Vec::new(),
                tags: tags.clone(),
            };
            draft.create(table.clone());
            let made = vec![table.id.to_string()];
            draft.remember(OPERATION, token, &parameters, made);
            Ok(table)
        })
        .await
    }

    /// DeleteRouteTable.
    pub async fn delete_route_table(&self, caller: &Caller, id: RouteTableId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let table = draft.require::<RouteTable>(id)?;
            // The commit depends on the VPC, so the table cannot become its main one meanwhile.
            let vpc = draft.require::<Vpc>(table.vpc)?;
            let used = draft.region.subnets_of_route_table(id).next().is_some()
                || draft.region.internet_gateways_of_table(id).next().is_some();
            if vpc.main_route_table == id || used {
                return Err(RoutingError::RouteTableInUse { id }.into());
            }
            for kind in [Kind::InternetGateway, Kind::Subnet] {
                draft.demand_unnamed(kind, id);
            }
            draft.delete(&table);
            Ok(())
        })
        .await
    }

    /// AssociateRouteTable: gives a subnet or an internet gateway a table of its own. A repetition changes
    /// nothing.
    pub async fn associate_route_table(
        &self,
        caller: &Caller,
        table: RouteTableId,
        user: RouteTableUser,
    ) -> Result<RouteTableAssociationId, Error> {
        self.transact(caller, |draft| {
            let table = draft.require::<RouteTable>(table)?;
            let subnet = match user {
                RouteTableUser::Gateway(gateway) => {
                    return route_table_edge::associate(draft, &table, gateway);
                }
                RouteTableUser::Subnet(subnet) => subnet,
            };
            let subnet = draft.require::<Subnet>(subnet)?;
            check_same_network(&table, subnet.id, subnet.vpc)?;
            match &subnet.route_table {
                Some(own) if own.table == table.id => return Ok(own.association),
                Some(_) => return Err(RoutingError::AlreadyAssociated { table: table.id }.into()),
                None => {}
            }
            let new = SubnetRouteTable {
                association: draft.mint(),
                table: table.id,
            };
            draft.edit(&subnet, |subnet| subnet.route_table = Some(new));
            Ok(new.association)
        })
        .await
    }

    /// DisassociateRouteTable: a subnet uses the main table from then on, a gateway none.
    pub async fn disassociate_route_table(
        &self,
        caller: &Caller,
        association: RouteTableAssociationId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| match user(&draft.region, association)? {
            User::Gateway(gateway) => route_table_edge::take(draft, gateway),
            User::Vpc(_) => Err(RoutingError::MainAssociation { id: association }.into()),
            User::Subnet(subnet) => {
                let subnet = draft.require::<Subnet>(subnet)?;
                draft.edit(&subnet, |subnet| subnet.route_table = None);
                Ok(())
            }
        })
        .await
    }

    /// ReplaceRouteTableAssociation: a subnet's or a gateway's table, or a VPC's main table. The answer is
    /// the id of the new association.
    pub async fn replace_route_table_association(
        &self,
        caller: &Caller,
        association: RouteTableAssociationId,
        table: RouteTableId,
    ) -> Result<RouteTableAssociationId, Error> {
        self.transact(caller, |draft| {
            let user = user(&draft.region, association)?;
            let table = draft.require::<RouteTable>(table)?;
            let association = draft.mint();
            match user {
                User::Gateway(gateway) => {
                    route_table_edge::give(draft, &table, gateway, association)?;
                }
                User::Subnet(subnet) => {
                    let subnet = draft.require::<Subnet>(subnet)?;
                    check_same_network(&table, subnet.id, subnet.vpc)?;
                    let table = table.id;
                    let new = SubnetRouteTable { association, table };
                    draft.edit(&subnet, |subnet| subnet.route_table = Some(new));
                }
                User::Vpc(vpc) => replace_main(draft, vpc, &table, association)?,
            }
            Ok(association)
        })
        .await
    }
}

fn replace_main(
    draft: &mut Draft<'_>,
    vpc: VpcId,
    table: &RouteTable,
    association: RouteTableAssociationId,
) -> Result<(), Error> {
    let vpc = draft.require::<Vpc>(vpc)?;
    if table.vpc != vpc.id {
        let other = format!("vpc {}", vpc.id);
        return Err(RoutingError::table_and(table.id, other).into());
    }
    draft.edit(&vpc, |vpc| {
        vpc.main_route_table = table.id;
        vpc.main_route_table_association = association;
    });
    Ok(())
}

fn check_same_network(table: &RouteTable, subnet: SubnetId, vpc: VpcId) -> Result<(), Error> {
    if table.vpc == vpc {
        return Ok(());
    }
    Err(RoutingError::table_and(table.id, format!("subnet {subnet}")).into())
}

/// Whose association this is.
fn user(region: &RegionState, association: RouteTableAssociationId) -> Result<User, Error> {
    let of_subnet = region.subnets.values().find(|subnet| {
        let own = subnet.route_table.as_ref();
        own.is_some_and(|own| own.association == association)
    });
    if let Some(subnet) = of_subnet {
        return Ok(User::Subnet(subnet.id));
    }
    if let Some(gateway) = route_table_edge::gateway_with(region, association) {
        return Ok(User::Gateway(gateway));
    }
    let mut vpcs = region.vpcs.values();
    let of_vpc = vpcs.find(|vpc| vpc.main_route_table_association == association);
    of_vpc
        .map(|vpc| User::Vpc(vpc.id))
        .ok_or_else(|| Error::not_found(association))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, place};

    async fn table(control: &Control, vpc: VpcId) -> RouteTableId {
        let input = CreateRouteTable {
            vpc,
            client_token: None,
            tag_specifications: Vec::new(),
        };
        let made = control.create_route_table(&caller(), &input).await;
        made.expect("a table").id
    }

    #[tokio::test]
    async fn a_table_in_use_stays() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller).await.expect("a region");
        let home = region.subnets.get(&place.subnet).expect("a subnet").vpc;
        let old = region.vpcs.get(&home).expect("the VPC").clone();
        let own = table(&control, home).await;
        let associate =
            control.associate_route_table(&caller, own, RouteTableUser::Subnet(place.subnet));
        let association = associate.await.expect("associated");
        let in_use = |id| Err(RoutingError::RouteTableInUse { id }.into());
        assert_eq!(control.delete_route_table(&caller, own).await, in_use(own));
        let main = old.main_route_table;
        let deleted = control.delete_route_table(&caller, main).await;
        assert_eq!(deleted, in_use(main));

        // Another main table sets the old one free, and its association is of the past.
        let association_of_main = old.main_route_table_association;
        let new = control.replace_route_table_association(&caller, association_of_main, own);
        let new = new.await.expect("replaced");
        assert_eq!(control.delete_route_table(&caller, main).await, Ok(()));
        let gone = control.disassociate_route_table(&caller, association_of_main);
        let gone = gone.await.map_err(|error| error.code());
        assert_eq!(gone, Err("InvalidAssociationID.NotFound"));
        let stays = control.disassociate_route_table(&caller, new).await;
        assert_eq!(stays, Err(RoutingError::MainAssociation { id: new }.into()));
        let freed = control.disassociate_route_table(&caller, association).await;
        assert_eq!(freed, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        let subnet = region.subnets.get(&place.subnet).expect("the subnet");
        assert_eq!(subnet.route_table, None);
    }

    #[tokio::test]
    async fn tables_stay_in_their_vpc() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller).await.expect("a region");
        let vpc = |subnet| region.subnets.get(subnet).expect("a subnet").vpc;
        let home = region.vpcs.get(&vpc(&place.subnet)).expect("the VPC");
        let foreign = table(&control, vpc(&place.foreign_subnet)).await;
        let code = |done: Result<_, Error>| {
            done.map(|_: RouteTableAssociationId| ())
                .map_err(|error| error.to_string())
        };
        let done = control
            .associate_route_table(&caller, foreign, RouteTableUser::Subnet(place.subnet))
            .await;
        let subnet = place.subnet;
        assert_eq!(
            code(done),
            Err(format!(
                "route table {foreign} and subnet {subnet} belong to different networks"
            ))
        );
        let main = home.main_route_table_association;
        let done = control
            .replace_route_table_association(&caller, main, foreign)
            .await;
        let home = home.id;
        assert_eq!(
            code(done),
            Err(format!(
                "route table {foreign} and vpc {home} belong to different networks"
            ))
        );
    }
}
