use super::*;
use crate::Tags;
use crate::key::{AccountId, RegionName};
use crate::network_interface::{Attachment, ConnectionTracking, InterfaceType, Mac};
use crate::time::Timestamp;

fn scope() -> Scope {
    Scope {
        account: AccountId::DEFAULT,
        region: RegionName::new("eu-west-1"),
    }
}

fn eni(groups: &[u64], instance: Option<u64>) -> (Key, Record) {
    let key = Key {
        scope: scope(),
        kind: Kind::NetworkInterface,
        name: EniId(7).to_string().into(),
    };
    let attachment = instance.map(|instance| Attachment {
        id: AttachmentId(instance + 100),
        instance: InstanceId(instance),
        instance_owner: None,
        device_index: 0,
        network_card_index: 0,
        attach_time: Timestamp(0),
        delete_on_termination: true,
    });
    let record = NetworkInterface {
        id: EniId(7),
        subnet: SubnetId(1),
        vpc: VpcId(1),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        description: String::new(),
        groups: groups.iter().copied().map(SecurityGroupId).collect(),
        addresses: vec![Ipv4Addr::new(10, 0, 0, 5)],
        ipv4_prefixes: Vec::new(),
        ipv6_addresses: Vec::new(),
        ipv6_prefixes: Vec::new(),
        primary_ipv6: false,
        public_address: None,
        associate_public_address: false,
        connection_tracking: ConnectionTracking::default(),
        interface_type: InterfaceType::default(),
        source_dest_check: true,
        requester_id: None,
        attachment,
        tags: Tags::new(),
    };
    (key, Record::NetworkInterface(record))
}

#[test]
fn an_index_follows_every_version_of_a_record() {
    let mut state = State::default();
    let (key, first) = eni(&[1, 2], Some(9));
    state.apply(Revision(1), &key, Some(first));
    let before = state.clone();
    let (_, second) = eni(&[2, 3], None);
    state.apply(Revision(2), &key, Some(second));

    let in_group = |state: &State, group| {
        let region = state.region(&scope()).map(Arc::as_ref);
        region.is_some_and(|r| r.enis_of_group(SecurityGroupId(group)).count() == 1)
    };
    assert_eq!([1, 2, 3].map(|g| in_group(&before, g)), [true, true, false]);
    assert_eq!([1, 2, 3].map(|g| in_group(&state, g)), [false, true, true]);
    let attached = |state: &State| {
        let region = state.region(&scope()).map(Arc::as_ref);
        region.is_some_and(|r| r.enis_of_instance(InstanceId(9)).count() == 1)
    };
    assert!(attached(&before) && !attached(&state));

    state.apply(Revision(3), &key, None);
    assert_eq!([1, 2, 3].map(|g| in_group(&state, g)), [false; 3]);
    assert_eq!(state.revision, Revision(3));
}

#[test]
fn an_interface_is_not_its_own_surroundings() {
    let mut state = State::default();
    let surroundings = |state: &State| state.region(&scope()).map(|r| r.surroundings);
    let (key, record) = eni(&[1], None);
    state.apply(Revision(1), &key, Some(record));
    assert_eq!(surroundings(&state), Some(Revision(0)));
    let group = Key {
        kind: Kind::GroupName,
        ..key
    };
    for (revision, record) in [
        (
            2,
            Some(GroupName {
                group: SecurityGroupId(1),
            }),
        ),
        (3, None),
    ] {
        state.apply(Revision(revision), &group, record.map(Record::GroupName));
        assert_eq!(surroundings(&state), Some(Revision(revision)));
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let (key, record) = eni(&[1], Some(3));
    let again = Record::from_bytes(key.kind, &record.to_bytes());
    assert_eq!(again.ok(), Some(record));
}

#[test]
fn a_newer_format_is_refused() {
    let read = Record::from_bytes(
        Kind::AddressLease,
        br#"{"v":2,"eni":"eni-00000000000000007"}"#,
    );
    assert!(matches!(
        read,
        Err(crate::record::UnreadableRecord::TooNew(2))
    ));
}
