//! Every engine against the in-memory one, and what a commit promises.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module"
)]

use std::sync::Arc;

use enid_model::id::{EniId, SubnetId, VpcId};
use enid_model::key::{AccountId, Key, Kind, RegionName, Scope};
use enid_model::record::{Record, Token};
use enid_model::reference::Reference;
use enid_model::state::{Revision, State};
use enid_model::subnet::{AddressLease, Subnet};
use enid_model::time::Timestamp;
use enid_store::{CommitError, Condition, OpenError, Store, Transaction};
use proptest::prelude::*;

fn scope(region: &str) -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new(region),
    }
}

fn token(name: &str) -> Key {
    Key {
        scope: scope("eu-west-1"),
        kind: Kind::Token,
        name: name.into(),
    }
}

fn record(made: &str) -> Record {
    Record::Token(Token {
        parameters: String::new(),
        made: vec![made.to_owned()],
        at: Timestamp(0),
    })
}

fn put(name: &str, made: &str) -> Transaction {
    Transaction {
        puts: vec![(token(name), record(made))],
        ..Transaction::default()
    }
}

fn only(condition: Condition) -> Transaction {
    Transaction {
        conditions: vec![condition],
        ..put("marker", "x")
    }
}

/// What a store holds, in a form that can be compared.
fn tokens(state: &State) -> Vec<(String, Vec<String>, Revision)> {
    let region = state.region(&scope("eu-west-1"));
    let tokens = region.into_iter().flat_map(|region| region.tokens.iter());
    tokens
        .map(|(name, token)| (name.to_string(), token.made.clone(), token.revision))
        .collect()
}

#[tokio::test]
async fn a_condition_that_does_not_hold_stores_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::in_memory()?;
    let first = store.commit(put("a", "1")).await?;
    let second = store.commit(put("a/b", "1")).await?;
    let third = store.commit(subnet_in(VpcId(1))?).await?;
    let here = scope("eu-west-1");
    let holds = [
        Condition::Absent(token("b")),
        Condition::Unchanged(token("a"), first),
        Condition::Empty(here.clone(), Kind::Token, "b".into()),
        Condition::Empty(scope("us-east-1"), Kind::Token, "".into()),
        Condition::NoneWrittenSince(here.clone(), Kind::Token, second),
        Condition::NoneWrittenSince(here.clone(), Kind::Vpc, Revision(0)),
        Condition::UnnamedSince(here.clone(), Kind::Subnet, named(2), second),
        Condition::UnnamedSince(here.clone(), Kind::Subnet, named(1), third),
        Condition::UnnamedSince(here.clone(), Kind::Token, named(1), Revision(0)),
    ];
    let fails = [
        Condition::Absent(token("a")),
        Condition::Unchanged(token("a"), second),
        Condition::Unchanged(token("b"), first),
        Condition::Empty(here.clone(), Kind::Token, "a/".into()),
        Condition::NoneWrittenSince(here.clone(), Kind::Token, first),
        Condition::UnnamedSince(here, Kind::Subnet, named(1), second),
    ];
    for condition in fails {
        let before = tokens(&store.state());
        let outcome = store.commit(only(condition.clone())).await;
        assert_eq!(outcome, Err(CommitError::Conflict), "{condition:?}");
        assert_eq!(tokens(&store.state()), before, "{condition:?}");
    }
    for condition in holds {
        let undo = Transaction {
            deletes: vec![token("marker")],
            ..Transaction::default()
        };
        let at = only(condition.clone());
        // Each is tried on the same records: what a success wrote is of another kind of key.
        let at = Transaction {
            puts: vec![(lease_key(), lease())],
            ..at
        };
        assert!(store.commit(at).await.is_ok(), "{condition:?}");
        store.commit(undo).await?;
    }
    Ok(())
}

fn named(vpc: u64) -> Reference {
    Reference::to(VpcId(vpc))
}

fn subnet_in(vpc: VpcId) -> Result<Transaction, Box<dyn std::error::Error>> {
    let id = SubnetId(1);
    let subnet = Subnet {
        id,
        vpc,
        cidr: "10.0.0.0/24".parse()?,
        zone: String::new(),
        zone_id: String::new(),
        default_for_az: false,
        ipv6_cidr: None,
        route_table: None,
        network_acl: Default::default(),
        attributes: Default::default(),
        tags: enid_model::Tags::new(),
    };
    let key = Key {
        scope: scope("eu-west-1"),
        kind: Kind::Subnet,
        name: id.to_string().into(),
    };
    Ok(Transaction {
        puts: vec![(key, Record::Subnet(subnet))],
        ..Transaction::default()
    })
}

fn lease_key() -> Key {
    let name = "subnet-00000000000000001/10.0.0.4".into();
    Key {
        scope: scope("eu-west-1"),
        kind: Kind::AddressLease,
        name,
    }
}

fn lease() -> Record {
    Record::AddressLease(AddressLease { eni: EniId(1) })
}

#[tokio::test]
async fn who_is_answered_reads_his_own_write() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::in_memory()?;
    for round in 0..200 {
        let revision = store.commit(put("a", &round.to_string())).await?;
        let state = store.state();
        assert!(state.revision >= revision);
        assert_eq!(tokens(&state)[0].1, [round.to_string()]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_rivals_exactly_one_claims_a_key() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::in_memory()?;
    let mut rivals = Vec::new();
    for rival in 0..64 {
        let store = store.clone();
        rivals.push(tokio::spawn(async move {
            let mut claim = Transaction::default();
            claim.create(token("claimed"), record(&rival.to_string()));
            store.commit(claim).await
        }));
    }
    let mut won = 0;
    for rival in rivals {
        match rival.await? {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error, CommitError::Conflict),
        }
    }
    assert_eq!(won, 1);
    Ok(())
}

#[tokio::test]
async fn a_file_has_one_owner() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(directory.path())?;
    let second = Store::open(directory.path());
    assert!(matches!(second, Err(OpenError::InUse(_))));
    drop(store);
    Ok(())
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Claim(u8),
    Replace(u8, u64),
    Reopen,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..8_u8).prop_map(Step::Delete),
        3 => (0..8_u8).prop_map(Step::Claim),
        3 => (0..8_u8, 0..20_u64).prop_map(|(key, revision)| Step::Replace(key, revision)),
        2 => Just(Step::Reopen),
        1 => Just(Step::Reset),
    ]
}

fn transaction(step: &Step) -> Option<Transaction> {
    let mut transaction = Transaction::default();
    match step {
        Step::Put(key, value) => {
            transaction
                .puts
                .push((token(&key.to_string()), record(&value.to_string())));
        }
        Step::Delete(key) => transaction.deletes.push(token(&key.to_string())),
        Step::Claim(key) => transaction.create(token(&key.to_string()), record("claimed")),
        Step::Replace(key, read) => {
            transaction.update(token(&key.to_string()), Revision(*read), record("replaced"));
        }
        Step::Reopen | Step::Reset => return None,
    }
    Some(transaction)
}

/// Opens the file again; the writer of the store that was just dropped may take a moment to end.
fn reopen(path: &std::path::Path) -> Result<Store, OpenError> {
    loop {
        match Store::open(path) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            other => return other,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// A store that is closed and opened in between answers and holds what one that never was does.
    #[test]
    fn the_file_is_as_good_as_memory(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        runtime.block_on(async {
            let model = Store::in_memory().expect("memory");
            let mut store = Store::open(directory.path()).expect("a new file");
            for step in &steps {
                match step {
                    Step::Reopen => {
                        drop(store);
                        store = reopen(directory.path()).expect("the same file");
                    }
                    Step::Reset => {
                        let wanted = model.reset().await;
                        prop_assert_eq!(store.reset().await, wanted);
                    }
                    other => {
                        let wanted = model.commit(transaction(other).expect("a commit")).await;
                        let found = store.commit(transaction(other).expect("a commit")).await;
                        prop_assert_eq!(found, wanted);
                    }
                }
                prop_assert_eq!(tokens(&store.state()), tokens(&model.state()));
            }
            drop(store);
            let store = reopen(directory.path()).expect("the same file");
            prop_assert_eq!(tokens(&store.state()), tokens(&model.state()));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn followers_see_the_last_state() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::in_memory()?;
    let mut changes = store.watch();
    for round in 0..10 {
        store.commit(put("a", &round.to_string())).await?;
    }
    changes.changed().await?;
    let seen = Arc::clone(&changes.borrow_and_update());
    assert_eq!(tokens(&seen), tokens(&store.state()));
    Ok(())
}

#[tokio::test]
async fn a_closed_store_can_be_read_and_no_longer_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.commit(put("a", "x")).await.unwrap();
    assert!(matches!(
        Store::read(directory.path()),
        Err(OpenError::InUse(_))
    ));
    store.close().await;
    let read = Store::read(directory.path()).unwrap();
    let read = read.expect("closed in good order");
    assert_eq!(tokens(&read), tokens(&store.state()));
    assert_eq!(read.revision, store.state().revision);
    let refused = store.commit(put("b", "y")).await;
    assert_eq!(refused, Err(CommitError::Stopped));
    store.close().await;
}
