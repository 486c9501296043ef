//! Operations at the same time on the same few resources, then the region must be whole.
//!
//! The operations are drawn from a seed. Which ones fail depends on how they meet; what is left
//! behind may not.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enid_control::{
    AssignPrivateAddresses, AttachNetworkInterface, Caller, Control, CreateNetworkInterface,
    CreateSubnet, CreateVpc, Error, Ipv6Addresses, ModifyNetworkInterface, RunInstances,
    WantedAddresses, WantedIpv6Addresses, WantedIpv6Block, available_addresses,
};
use enid_model::id::{AttachmentId, EniId, InstanceId, SubnetId};
use enid_model::instance::DesiredState;
use enid_model::instance_type::InstanceType;
use enid_model::key::AccountId;
use enid_model::network_interface::ConnectionTracking;
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use ipnet::Ipv6Net;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_000)
    }
}

const RIVALS: u64 = 8;
const OPERATIONS: usize = 250;
const SEED: u64 = 20_260_102;

fn caller() -> Caller {
    Caller {
        account: AccountId::DEFAULT,
        region: Region::named("eu-west-1").unwrap(),
        dry_run: false,
        asked: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_region_stays_whole() {
    println!("seed {SEED}");
    let random = StdRng::seed_from_u64(SEED);
    let control = Control::new(Store::in_memory().unwrap(), Arc::new(Frozen), random);
    let control = Arc::new(control);
    let vpc = CreateVpc {
        cidr_block: "10.0.0.0/24".to_owned(),
        ipv6: Some(WantedIpv6Block::AmazonProvided),
        instance_tenancy: None,
        tag_specifications: Vec::new(),
    };
    let vpc = control.create_vpc(&caller(), &vpc).await.unwrap();
    // So few addresses that the rivals are in each other's way.
    let mut subnet = CreateSubnet::new(vpc.id, "10.0.0.0/26");
    let block = vpc.ipv6_cidrs[0].cidr.network();
    subnet.ipv6_cidr_block = Some(format!("{block}/64"));
    let subnet = control.create_subnet(&caller(), &subnet).await.unwrap().id;
    let rivals: Vec<_> = (0..RIVALS)
        .map(|rival| {
            let control = Arc::clone(&control);
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(SEED + 1 + rival);
                let mut done = 0;
                for _ in 0..OPERATIONS {
                    match operate(&control, subnet, &mut random).await {
                        Ok(()) => done += 1,
                        Err(error) => assert_ne!(error.code(), "InternalError", "{error}"),
                    }
                    check(&control.read(&caller()).await.unwrap(), subnet);
                }
                done
            })
        })
        .collect();
    for rival in rivals {
        let done = rival.await.unwrap();
        assert!(done > OPERATIONS / 10, "too little was done: {done}");
    }
}

/// Any of what the region holds.
struct Any<'a> {
    region: &'a RegionState,
    random: &'a mut StdRng,
}

impl Any<'_> {
    fn of<T: Clone>(&mut self, all: Vec<T>) -> Option<T> {
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        let at = usize::try_from(self.random.next_u64() % count).ok()?;
        all.get(at).cloned()
    }

    fn eni(&mut self) -> EniId {
        let all = self.region.network_interfaces.keys().copied().collect();
        self.of(all).unwrap_or(EniId(1))
    }

    fn instance(&mut self) -> InstanceId {
        let all = self.region.instances.keys().copied().collect();
        self.of(all).unwrap_or(InstanceId(1))
    }

    fn ipv6_block(&self, subnet: SubnetId) -> Ipv6Net {
        let subnet = self.region.subnets.get(&subnet).unwrap();
        subnet.ipv6_cidr.unwrap().cidr
    }

    fn attachment(&mut self) -> AttachmentId {
        let enis = self.region.network_interfaces.values();
        let all = enis.filter_map(|eni| eni.attachment.as_ref().map(|a| a.id));
        let all = all.collect();
        self.of(all).unwrap_or(AttachmentId(1))
    }
}

async fn operate(control: &Control, subnet: SubnetId, random: &mut StdRng) -> Result<(), Error> {
    let caller = caller();
    let region = control.read(&caller).await?;
    let (what, how) = (random.next_u64() % 14, random.next_u64());
    let mut any = Any {
        region: &region,
        random,
    };
    match what {
        0..=2 => {
            let input = CreateNetworkInterface {
                subnet,
                description: String::new(),
                groups: Vec::new(),
                addresses: WantedAddresses {
                    secondary_count: (how % 4 > 0).then(|| u32::try_from(how % 3).unwrap_or(0)),
                    prefix_count: (how % 4 == 0).then_some(1),
                    ..WantedAddresses::default()
                },
                ipv6: WantedIpv6Addresses {
                    count: Some(u32::try_from(how % 2).unwrap_or(0)),
                    ..WantedIpv6Addresses::default()
                },
                connection_tracking: ConnectionTracking::default(),
                client_token: (how % 2 == 0).then(|| (how % 64).to_string()),
                tags: Vec::new(),
            };
            control.create_network_interface(&caller, input).await?;
        }
        3 => control.delete_network_interface(&caller, any.eni()).await?,
        4 | 5 => {
            let input = AttachNetworkInterface {
                eni: any.eni(),
                instance: any.instance(),
                device_index: i32::try_from(how % 3).unwrap_or(0),
                network_card_index: 0,
            };
            control.attach_network_interface(&caller, input).await?;
        }
        6 => {
            let attachment = any.attachment();
            control
                .detach_network_interface(&caller, attachment)
                .await?;
        }
        7 => {
            // An address that another interface has, so that it moves.
            let holder = region.network_interfaces.get(&any.eni());
            let addresses = holder.map_or_else(Vec::new, |eni| eni.addresses.clone());
            let input = AssignPrivateAddresses {
                eni: any.eni(),
                addresses: addresses.last().copied().into_iter().collect(),
                count: None,
                prefixes: Vec::new(),
                prefix_count: None,
                allow_reassignment: true,
            };
            control.assign_private_addresses(&caller, input).await?;
        }
        8 => {
            let eni = any.eni();
            let known = region.network_interfaces.get(&eni);
            let going = known.and_then(|eni| eni.addresses.last().copied());
            let going: Vec<_> = going.into_iter().collect();
            control
                .unassign_private_addresses(&caller, eni, &going, &[])
                .await?;
        }
        12 => {
            // The same prefixes and addresses for all rivals: one of them gets each.
            let base = u128::from(any.ipv6_block(subnet).network());
            let prefix = base + (u128::from(1 + how % 4) << 48);
            let mut wanted = WantedIpv6Addresses::default();
            if how % 8 < 4 {
                let prefix = Ipv6Net::new_assert(prefix.into(), 80);
                wanted.prefixes.push(prefix);
            } else {
                wanted.addresses.push((prefix + 7).into());
            }
            let eni = any.eni();
            control.assign_ipv6_addresses(&caller, eni, &wanted).await?;
        }
        13 => {
            let eni = any.eni();
            let known = region.network_interfaces.get(&eni);
            let going = Ipv6Addresses {
                addresses: known.map_or_else(Vec::new, |eni| eni.ipv6_addresses.clone()),
                prefixes: known.map_or_else(Vec::new, |eni| eni.ipv6_prefixes.clone()),
            };
            control
                .unassign_ipv6_addresses(&caller, eni, &going)
                .await?;
        }
        9 => {
            let input = RunInstances {
                image: "ami-12345678".to_owned(),
                instance_type: Some("t3.micro".to_owned()),
                min_count: 1,
                max_count: 2,
                subnet: Some(subnet),
                ..RunInstances::default()
            };
            control.run_instances(&caller, input).await?;
        }
        10 => {
            let instance = any.instance();
            control.terminate_instances(&caller, &[instance]).await?;
        }
        _ => {
            let eni = any.eni();
            let known = region.network_interfaces.get(&eni);
            let attachment = known.and_then(|eni| eni.attachment.as_ref());
            let input = ModifyNetworkInterface {
                attachment: attachment.map(|a| (a.id, how % 2 == 0)),
                ..ModifyNetworkInterface::default()
            };
            control
                .modify_network_interface(&caller, eni, input)
                .await?;
        }
    }
    Ok(())
}

/// What must hold in every state of a region.
fn check(region: &RegionState, subnet: SubnetId) {
    let mut held = BTreeMap::new();
    let (mut held_ipv6, mut held_prefixes) = (BTreeMap::new(), BTreeMap::new());
    let mut places: BTreeMap<InstanceId, BTreeSet<(u8, u8)>> = BTreeMap::new();
    for eni in region.network_interfaces.values() {
        assert!(region.subnets.contains_key(&eni.subnet));
        assert!(!eni.addresses.is_empty() && !eni.groups.is_empty());
        for group in &eni.groups {
            assert!(region.security_groups.contains_key(group));
        }
        for address in &eni.addresses {
            let taken = held.insert((eni.subnet, *address), eni.id);
            assert_eq!(taken, None, "{address} is held twice");
        }
        for address in eni
            .ipv4_prefixes
            .iter()
            .flat_map(|p| p.subnets(32).unwrap())
        {
            let taken = held.insert((eni.subnet, address.network()), eni.id);
            assert_eq!(taken, None, "{address} is held twice");
        }
        for address in &eni.ipv6_addresses {
            let taken = held_ipv6.insert((eni.subnet, *address), eni.id);
            assert_eq!(taken, None, "{address} is held twice");
        }
        for prefix in &eni.ipv6_prefixes {
            let taken = held_prefixes.insert((eni.subnet, prefix.network()), eni.id);
            assert_eq!(taken, None, "{prefix} is held twice");
        }
        let Some(attachment) = &eni.attachment else {
            continue;
        };
        let instance = region.instances.get(&attachment.instance);
        let instance = instance.expect("an attachment has an instance");
        assert_ne!(instance.desired, DesiredState::Terminated);
        let place = (attachment.network_card_index, attachment.device_index);
        let taken = places.entry(attachment.instance).or_default();
        assert!(taken.insert(place), "two interfaces at one place");
        let limits = InstanceType::named(&instance.instance_type).unwrap();
        assert!(taken.len() <= usize::from(limits.max_enis));
        let ipv4 = eni.addresses.len() + eni.ipv4_prefixes.len();
        assert!(ipv4 <= usize::from(limits.ipv4_per_eni));
        let ipv6 = eni.ipv6_addresses.len() + eni.ipv6_prefixes.len();
        assert!(ipv6 <= usize::from(limits.ipv6_per_eni.unwrap()));
    }
    let leases = region.leases.iter().map(|(at, lease)| (*at, lease.eni));
    assert_eq!(held, leases.collect(), "leases and addresses are the same");
    let leases = region
        .ipv6_leases
        .iter()
        .map(|(at, lease)| (*at, lease.eni));
    assert_eq!(held_ipv6, leases.collect());
    let leases = region.ipv6_prefix_leases.iter();
    let leases = leases.map(|(at, lease)| (*at, lease.eni));
    assert_eq!(held_prefixes, leases.collect());
    for (_, address) in held_ipv6.keys() {
        let prefix = Ipv6Net::new_assert(*address, 80).network();
        let both = held_prefixes.keys().any(|(_, held)| *held == prefix);
        assert!(!both, "{address} is held with its prefix");
    }
    for instance in region.instances.values() {
        if instance.desired != DesiredState::Terminated {
            let places = places.get(&instance.id);
            assert!(places.is_some_and(|places| places.contains(&(0, 0))));
        }
    }
    let subnet = region.subnets.get(&subnet).unwrap();
    let free = subnet.capacity() - u32::try_from(held.len()).unwrap();
    assert_eq!(available_addresses(region, subnet), free);
}

/// A reset takes away what every region has; whoever calls then finds a new region, not a part of
/// one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reset_is_no_failure_of_other_calls() {
    let random = StdRng::seed_from_u64(SEED);
    let control = Control::new(Store::in_memory().unwrap(), Arc::new(Frozen), random);
    let control = Arc::new(control);
    let calls = (0..RIVALS).map(|_| {
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            for _ in 0..OPERATIONS {
                let vpc = CreateVpc {
                    cidr_block: "10.0.0.0/24".to_owned(),
                    ..CreateVpc::default()
                };
                match control.create_vpc(&caller(), &vpc).await {
                    Ok(_) | Err(Error::VpcLimitExceeded) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    while calls.iter().any(|call| !call.is_finished()) {
        control.store().reset().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for call in calls {
        call.await.unwrap();
    }
    let findings = enid_model::check::check(&control.store().state());
    assert_eq!(findings, Vec::new());
}
