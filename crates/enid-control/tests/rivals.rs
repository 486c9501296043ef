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
    CreateSubnet, CreateVpc, Error, ModifyNetworkInterface, RunInstances, WantedAddresses,
    available_addresses,
};
use enid_model::id::{AttachmentId, EniId, InstanceId, SubnetId};
use enid_model::instance::DesiredState;
use enid_model::instance_type::InstanceType;
use enid_model::key::AccountId;
use enid_model::region::Region;
use enid_model::state::RegionState;
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
const OPERATIONS: usize = 250;
const SEED: u64 = 20_260_102;

fn caller() -> Caller {
    Caller {
        account: AccountId::DEFAULT,
        region: Region::named("eu-west-1").unwrap(),
        dry_run: false,
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
        ipv6: None,
        instance_tenancy: None,
        tag_specifications: Vec::new(),
    };
    let vpc = control.create_vpc(&caller(), &vpc).await.unwrap();
    // So few addresses that the rivals are in each other's way.
    let subnet = CreateSubnet::new(vpc.id, "10.0.0.0/27");
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
    let (what, how) = (random.next_u64() % 12, random.next_u64());
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
                    secondary_count: Some(u32::try_from(how % 3).unwrap_or(0)),
                    ..WantedAddresses::default()
                },
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
                .unassign_private_addresses(&caller, eni, &going)
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
        assert!(eni.addresses.len() <= usize::from(limits.ipv4_per_eni));
    }
    let leases = region.leases.iter().map(|(at, lease)| (*at, lease.eni));
    assert_eq!(held, leases.collect(), "leases and addresses are the same");
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
