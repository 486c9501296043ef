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
    CreateVpc, CreateVpcPeeringConnection, Error, Quotas, WantedDestination, WantedTarget,
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
            let subnet = region.subnets.get(&subnet);
            let association = subnet.map(|subnet| subnet.network_acl.association);
            let association = association.unwrap_or_default();
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
            control
                .associate_route_table(&caller, table, subnet)
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
