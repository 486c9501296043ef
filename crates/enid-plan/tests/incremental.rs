//! A planner that took many states holds what one that took only the last of them holds, and the
//! differences that it gave lead from the first tables to the last.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module"
)]

mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use enid_model::id::EniId;
use enid_model::network_interface::NetworkInterface;
use enid_model::record::Record;
use enid_model::state::State;
use enid_pipeline::table::{EniRecord, Route};
use enid_plan::tables::Tables;
use enid_plan::{Planner, PublicPools};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use self::region::step::{Step, step};
use self::region::{apply, first, scope};

/// As the leases have it, an address is one interface's. It can move in one commit.
fn take_address(state: &mut State, winner: &NetworkInterface) {
    let region = state.region(&scope()).cloned();
    let others = region
        .iter()
        .flat_map(|region| region.network_interfaces.values());
    for other in others.filter(|other| other.id != winner.id) {
        if other.addresses == winner.addresses {
            let own = 100 + u8::try_from(other.id.0).expect("few interfaces");
            let [a, b, c, _] = winner.primary_address().octets();
            let mut loser = NetworkInterface::clone(other);
            loser.addresses = vec![Ipv4Addr::new(a, b, c, own)];
            apply(state, Record::NetworkInterface(loser), true);
        }
    }
}

/// What a planner is told beside the state, by interface.
#[derive(Default)]
struct Told {
    bound: BTreeMap<EniId, u32>,
    captured: BTreeMap<EniId, u32>,
}

fn take(state: &mut State, told: &mut Told, step: &Step) {
    let keep = |map: &mut BTreeMap<EniId, u32>, eni: u64, value: Option<u32>| {
        match value {
            Some(value) => map.insert(EniId(eni), value),
            None => map.remove(&EniId(eni)),
        };
    };
    match step {
        Step::Put(record) => {
            if let Record::NetworkInterface(eni) = &**record {
                take_address(state, eni);
            }
            apply(state, Record::clone(record), true);
        }
        Step::Delete(record) => apply(state, Record::clone(record), false),
        Step::Bind { eni, ifindex } => keep(&mut told.bound, *eni, *ifindex),
        Step::Capture { eni, snaplen } => keep(&mut told.captured, *eni, *snaplen),
    }
}

fn pools() -> PublicPools {
    PublicPools {
        ipv4: "198.18.0.0/19".parse().expect("a literal block"),
        ipv6: "2001:db8::/40".parse().expect("a literal block"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_way_does_not_matter(steps in proptest::collection::vec(step(), 1..60)) {
        let mut state = State::default();
        let mut told = Told::default();
        for record in first() {
            apply(&mut state, record, true);
        }
        let mut planner = Planner::new(BTreeMap::new()).with_outside(&pools());
        let mut kernel = planner.tables();
        kernel.apply(&planner.advance(Arc::new(state.clone())).tables);
        for step in &steps {
            take(&mut state, &mut told, step);
            let diff = match step {
                Step::Bind { eni, ifindex } => planner.bind(EniId(*eni), *ifindex),
                Step::Capture { eni, snaplen } => planner.capture(EniId(*eni), *snaplen),
                _ => planner.advance(Arc::new(state.clone())).tables,
            };
            kernel.apply(&diff);
        }
        let mut fresh = Planner::new(told.bound).with_outside(&pools());
        fresh.advance(Arc::new(state));
        for (eni, snaplen) in told.captured {
            let _ = fresh.capture(eni, Some(snaplen));
        }
        let is_watched = |eni: &EniRecord| eni.flags & EniRecord::WATCHED != 0;
        let is_watching = fresh.tables().enis.values().any(is_watched);
        prop_assert_eq!(planner.is_watching(), is_watching);
        prop_assert_eq!(fresh.is_watching(), is_watching);
        prop_assert_eq!(planner.tables(), fresh.tables());
        prop_assert_eq!(&kernel, &fresh.tables());
        prop_assert_eq!(planner.devices(), fresh.devices());
        prop_assert_eq!(planner.instances(), fresh.instances());
    }
}

/// The steps are worth something: somewhere among them every table is filled, and there is a route of
/// every kind.
#[test]
fn the_steps_fill_every_table() {
    let mut runner = TestRunner::deterministic();
    let mut state = State::default();
    let mut told = Told::default();
    for record in first() {
        apply(&mut state, record, true);
    }
    let mut planner = Planner::new(BTreeMap::new()).with_outside(&pools());
    let mut seen = Tables::default();
    let mut kinds = BTreeSet::new();
    for _ in 0..2_000 {
        let tree = step().new_tree(&mut runner).expect("a step");
        take(&mut state, &mut told, &tree.current());
        if let Step::Capture { eni, snaplen } = tree.current() {
            planner.capture(EniId(eni), snaplen);
        }
        planner.advance(Arc::new(state.clone()));
        let tables = planner.tables();
        kinds.extend(tables.routes.values().map(|route| route.kind));
        seen.extend(&tables);
    }
    let sizes = [
        seen.enis.len(),
        seen.endpoints.len(),
        seen.prefixes.len(),
        seen.nats.len(),
        seen.publics.len(),
        seen.public_of.len(),
        seen.pools.len(),
        seen.gate_remotes.len(),
        seen.gate_groups.len(),
        seen.mirrors.len(),
        seen.mirror_filters.len(),
        seen.captures.len(),
    ];
    assert!(!sizes.contains(&0), "{sizes:?}");
    for kind in 0..=Route::EGRESS_ONLY {
        assert!(kinds.contains(&kind), "{kind}");
    }
}
