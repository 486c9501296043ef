//! Operations on what routes and judges a VPC's packets, at the same time on the same few resources:
//! nothing may ever be named that is gone.
//!
//! The operations are drawn from a seed. Which ones fail depends on how they meet; what is left
//! behind may not.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::sync::Arc;

use enid_control::{
    Caller, Control, CreateDhcpOptions, CreateNetworkAcl, CreateRouteTable, CreateSubnet,
    CreateVpc, CreateVpcPeeringConnection, Error, Quotas, RouteTableUser, WantedDestination,
    WantedTarget,
};
use enid_model::check::check;
use enid_model::key::AccountId;
use enid_model::region::Region;
use enid_model::state::{Map, RegionState, Stored};
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_000)
    }
}

const RIVALS: u64 = 8;
const OPERATIONS: usize = 200;
const SEED: u64 = 20_260_103;

fn caller() -> Caller {
    Caller {
        account: AccountId::DEFAULT,
        region: Region::named("eu-west-1").unwrap(),
        dry_run: false,
        asked: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_named_that_is_gone() {
    println!("seed {SEED}");
    let random = StdRng::seed_from_u64(SEED);
    // So few that the rivals are in each other's way.
    let control = Control::new(Store::in_memory().unwrap(), Arc::new(Frozen), random);
    let control = Arc::new(control.with_quotas(Quotas {
        network_acls_per_vpc: 3,
        route_tables_per_vpc: 3,
        vpcs: 4,
        ..Quotas::default()
    }));
    let rivals: Vec<_> = (0..RIVALS)
        .map(|rival| {
            let control = Arc::clone(&control);
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(SEED + 1 + rival);
                let mut done = 0;
                for _ in 0..OPERATIONS {
                    match operate(&control, &mut random).await {
                        Ok(()) => done += 1,
                        Err(error) => assert_ne!(error.code(), "InternalError", "{error}"),
                    }
                    assert_eq!(check(&control.store().state()), Vec::new());
                }
                done
            })
        })
        .collect();
    for rival in rivals {
        let done = rival.await.unwrap();
        assert!(done > OPERATIONS / 5, "too little was done: {done}");
    }
}

/// Fails when a deletion does not depend on nobody having come to use what goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acl_or_table_never_goes_from_under_a_subnet() {
    let random = StdRng::seed_from_u64(SEED);
    let control = Control::new(Store::in_memory().unwrap(), Arc::new(Frozen), random);
    let control = Arc::new(control.with_quotas(Quotas {
        network_acls_per_vpc: 1_000,
        route_tables_per_vpc: 1_000,
        ..Quotas::default()
    }));
    let region = control.read(&caller()).await.unwrap();
    let vpc = *region.vpcs.keys().next().unwrap();
    let subnet = *region.subnets.keys().next().unwrap();
    let (mut went, mut stayed) = (0, 0);
    for _ in 0..200 {
        let (client_token, tag_specifications) = (None, Vec::new());
        let acl = CreateNetworkAcl {
            vpc,
            client_token: client_token.clone(),
            tag_specifications: tag_specifications.clone(),
        };
        let acl = control.create_network_acl(&caller(), &acl).await;
        let table = CreateRouteTable {
            vpc,
            client_token,
            tag_specifications,
        };
        let table = control.create_route_table(&caller(), &table).await;
        let (acl, table) = (acl.unwrap().id, table.unwrap().id);
        let region = control.read(&caller()).await.unwrap();
        let known = region.subnets.get(&subnet).unwrap();
        if let Some(own) = known.route_table {
            let association = own.association;
            let freed = control
                .disassociate_route_table(&caller(), association)
                .await;
            freed.unwrap();
        }
        let association = known.network_acl.association;
        let user = Arc::clone(&control);
        let use_both = tokio::spawn(async move {
            let caller = caller();
            let replaced = user.replace_network_acl_association(&caller, association, acl);
            let replaced = replaced.await.is_ok();
            let given = user
                .associate_route_table(&caller, table, RouteTableUser::Subnet(subnet))
                .await;
            (replaced, given.is_ok())
        });
        let remover = Arc::clone(&control);
        let remove_both = tokio::spawn(async move {
            let acl = remover.delete_network_acl(&caller(), acl).await;
            let table = remover.delete_route_table(&caller(), table).await;
            (acl.is_ok(), table.is_ok())
        });
        let (used, removed) = (use_both.await.unwrap(), remove_both.await.unwrap());
        assert_ne!(used.0, removed.0);
        assert_ne!(used.1, removed.1);
        assert_eq!(check(&control.store().state()), Vec::new());
        for removed in [removed.0, removed.1] {
            went += u32::from(removed);
            stayed += u32::from(!removed);
        }
    }
    assert!(went > 0 && stayed > 0, "{went} went, {stayed} stayed");
}

/// Any of the region's records of a kind, or an id that names none.
fn any<K: Ord + Copy + Default, T>(random: &mut StdRng, map: &Map<K, Stored<T>>) -> K {
    let count = u64::try_from(map.len()).unwrap();
    if count == 0 {
        return K::default();
    }
    let at = usize::try_from(random.next_u64() % count).unwrap();
    map.keys().nth(at).copied().unwrap_or_default()
}

async fn operate(control: &Control, random: &mut StdRng) -> Result<(), Error> {
    let caller = caller();
    let region = control.read(&caller).await?;
    let what = random.next_u64() % 20;
    let vpc = any(random, &region.vpcs);
    let subnet = any(random, &region.subnets);
    let acl = any(random, &region.network_acls);
    let table = any(random, &region.route_tables);
    let peering = any(random, &region.vpc_peering_connections);
    let options = any(random, &region.dhcp_options);
    match what {
        0 => {
            let input = CreateVpc {
                cidr_block: format!("10.{}.0.0/16", random.next_u64() % 4),
                ..CreateVpc::default()
            };
            control.create_vpc(&caller, &input).await?;
        }
        1 => control.delete_vpc(&caller, vpc).await?,
        2 | 3 => {
            let block = region.vpcs.get(&vpc).map(|vpc| vpc.cidr.network());
            let [a, b, ..] = block.map_or([10, 0, 0, 0], |block| block.octets());
            let block = format!("{a}.{b}.{}.0/24", random.next_u64() % 4 + 200);
            let input = CreateSubnet::new(vpc, &block);
            control.create_subnet(&caller, &input).await?;
        }
        4 => control.delete_subnet(&caller, subnet).await?,
        5 => {
            let input = CreateNetworkAcl {
                vpc,
                client_token: None,
                tag_specifications: Vec::new(),
            };
            control.create_network_acl(&caller, &input).await?;
        }
        6 => control.delete_network_acl(&caller, acl).await?,
        7 | 8 => {
            let Some(subnet) = region.subnets.get(&subnet) else {
                return Ok(());
            };
            // One of its VPC, so that rivals who delete it are met.
            let mut acls = region.acls_of_vpc(subnet.vpc);
            let young = acls.find(|acl| *acl != subnet.network_acl.acl);
            let (acl, association) = (young.unwrap_or(acl), subnet.network_acl.association);
            control
                .replace_network_acl_association(&caller, association, acl)
                .await?;
        }
        9 => {
            let input = CreateRouteTable {
                vpc,
                client_token: None,
                tag_specifications: Vec::new(),
            };
            control.create_route_table(&caller, &input).await?;
        }
        10 => control.delete_route_table(&caller, table).await?,
        11 => {
            let of = region.subnets.get(&subnet).map(|subnet| subnet.vpc);
            let young = of.and_then(|vpc| region.route_tables_of_vpc(vpc).last());
            let table = young.unwrap_or(table);
            control
                .associate_route_table(&caller, table, RouteTableUser::Subnet(subnet))
                .await?;
        }
        12 | 13 => replace_table(control, &region, random).await?,
        14 => {
            let destination = WantedDestination {
                cidr: Some(format!("192.168.{}.0/24", random.next_u64() % 4)),
                ..WantedDestination::default()
            };
            let target = WantedTarget::VpcPeeringConnection(peering);
            control
                .create_route(&caller, table, &destination, target)
                .await?;
        }
        15 => {
            let input = CreateVpcPeeringConnection {
                requester: vpc,
                accepter: any(random, &region.vpcs),
                tag_specifications: Vec::new(),
            };
            control
                .create_vpc_peering_connection(&caller, &input)
                .await?;
        }
        16 => {
            control
                .accept_vpc_peering_connection(&caller, peering)
                .await?;
        }
        17 => {
            control
                .delete_vpc_peering_connection(&caller, peering)
                .await?;
        }
        18 => {
            let name = "domain-name".to_owned();
            let input = CreateDhcpOptions {
                options: vec![(name, vec!["corp.example".to_owned()])],
                tag_specifications: Vec::new(),
            };
            let made = control.create_dhcp_options(&caller, &input).await?.id;
            control
                .associate_dhcp_options(&caller, vpc, Some(made))
                .await?;
        }
        _ => control.delete_dhcp_options(&caller, options).await?,
    }
    Ok(())
}

/// Another table for a subnet, or for a VPC as its main one; or none of its own for a subnet.
async fn replace_table(
    control: &Control,
    region: &RegionState,
    random: &mut StdRng,
) -> Result<(), Error> {
    let caller = caller();
    let vpc = any(random, &region.vpcs);
    let subnet = any(random, &region.subnets);
    let table = any(random, &region.route_tables);
    let own = region
        .subnets
        .get(&subnet)
        .and_then(|subnet| subnet.route_table);
    let main = region.vpcs.get(&vpc);
    let main = main.map(|vpc| vpc.main_route_table_association);
    match (own, random.next_u64() % 3) {
        (Some(own), 0) => {
            control
                .disassociate_route_table(&caller, own.association)
                .await
        }
        (Some(own), 1) => {
            let association = own.association;
            let replaced = control.replace_route_table_association(&caller, association, table);
            replaced.await.map(|_| ())
        }
        _ => {
            let association = main.unwrap_or_default();
            let replaced = control.replace_route_table_association(&caller, association, table);
            replaced.await.map(|_| ())
        }
    }
}
