//! Whole sessions: calls of EC2, one a line, that are signed and sent to a region of their own.
//!
//! A line is a form without `Version`. `$vpc` in it is the newest id of that kind that an answer has had,
//! `$vpc0` the first one, and so on for each prefix of ids; `$next` is the newest page token.

use std::collections::BTreeMap;

use enid_model::id::EniId;
use enid_model::record::Record;
use enid_model::state::{RegionState, State};
use enid_plan::Planner;
use roxmltree::Document;

use crate::front::Door;

/// More calls than this show nothing new.
const CALLS_MAX: usize = 40;

/// Every call is answered well; what is stored fits together and can be read again; and the plan
/// that followed every change is the plan that is made of the end.
pub fn session(data: &[u8]) {
    let door = Door::new();
    let mut planner = Planner::new(BTreeMap::new());
    let mut seen = Seen::default();
    for line in data.split(|byte| *byte == b'\n').take(CALLS_MAX) {
        if line.is_empty() {
            continue;
        }
        let mut body = b"Version=2016-11-15&".to_vec();
        seen.fill_in(line, &mut body);
        let answer = door.call(body);
        seen.note(&answer);
        let state = door.state();
        check_state(&state);
        let delta = planner.advance(state);
        for eni in delta.devices {
            planner.bind(eni, planner.device(eni).map(|_| device_of(eni)));
        }
    }
    let bound = planner.devices().keys().map(|eni| (*eni, device_of(*eni)));
    let mut fresh = Planner::new(bound.collect());
    fresh.advance(door.state());
    assert_eq!(planner.tables(), fresh.tables());
    assert_eq!(planner.devices(), fresh.devices());
    assert_eq!(planner.instances(), fresh.instances());
}

/// Any number that is the interface's own.
fn device_of(eni: EniId) -> u32 {
    let [a, b, c, d, ..] = eni.0.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1
}

/// The ids that answers have had, by prefix.
#[derive(Default)]
struct Seen(BTreeMap<String, Vec<String>>);

impl Seen {
    fn note(&mut self, answer: &str) {
        let Ok(document) = Document::parse(answer) else {
            return;
        };
        for node in document.descendants().filter(|node| node.is_element()) {
            let Some(text) = node.text() else {
                continue;
            };
            let prefix = match text.rsplit_once("-0") {
                _ if node.has_tag_name("nextToken") => "next",
                Some((prefix, digits)) if digits.len() == 16 => prefix,
                _ => continue,
            };
            let known = self.0.entry(prefix.to_owned()).or_default();
            if !known.iter().any(|id| id == text) {
                known.push(text.to_owned());
            }
        }
    }

    /// Copies a line with ids in the places of their names.
    fn fill_in(&self, line: &[u8], body: &mut Vec<u8>) {
        let mut rest = line;
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            if *byte != b'$' {
                body.push(*byte);
                continue;
            }
            let is_name = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'-';
            let length = rest.iter().take_while(|byte| is_name(byte)).count();
            let (name, behind) = rest.split_at(length);
            let known = std::str::from_utf8(name).ok();
            let Some(ids) = known.and_then(|name| self.0.get(name)) else {
                body.push(b'$');
                continue;
            };
            let id = match behind.first().filter(|byte| byte.is_ascii_digit()) {
                Some(digit) => {
                    rest = &behind[1..];
                    ids.get(usize::from(digit - b'0'))
                }
                None => {
                    rest = behind;
                    ids.last()
                }
            };
            let id = id.map(String::as_str).unwrap_or_default();
            body.extend(form_urlencoded::byte_serialize(id.as_bytes()).flat_map(str::bytes));
        }
    }
}

fn check_state(state: &State) {
    for region in state.regions().values() {
        check_region(region);
        check_records(region);
    }
}

/// What names another resource names one that is there.
fn check_region(region: &RegionState) {
    for eni in region.network_interfaces.values() {
        let subnet = region
            .subnets
            .get(&eni.subnet)
            .expect("the subnet is there");
        assert_eq!(eni.vpc, subnet.vpc);
        assert!(!eni.addresses.is_empty() && !eni.groups.is_empty());
        for address in &eni.addresses {
            assert!(subnet.cidr.contains(address), "{address} in {subnet:?}");
            let lease = region.leases.get(&(eni.subnet, *address));
            assert_eq!(lease.map(|lease| lease.eni), Some(eni.id), "{address}");
        }
        for group in &eni.groups {
            let group = region
                .security_groups
                .get(group)
                .expect("the group is there");
            assert_eq!(group.vpc, eni.vpc);
        }
        if let Some(attachment) = &eni.attachment {
            assert!(region.instances.contains_key(&attachment.instance));
        }
    }
    let addresses = region
        .network_interfaces
        .values()
        .map(|eni| eni.addresses.len());
    assert_eq!(
        addresses.sum::<usize>(),
        region.leases.len(),
        "a lease is left over"
    );
    for group in region.security_groups.values() {
        assert!(region.vpcs.contains_key(&group.vpc));
    }
    for subnet in region.subnets.values() {
        let vpc = region.vpcs.get(&subnet.vpc).expect("the VPC is there");
        assert!(vpc.cidr.contains(&subnet.cidr));
    }
}

fn check_records(region: &RegionState) {
    let mut records = Vec::new();
    macro_rules! add {
        ($($table:ident => $variant:ident,)+) => {$(
            let all = region.$table.values();
            records.extend(all.map(|stored| Record::$variant(stored.record().as_ref().clone())));
        )+};
    }
    add! {
        leases => AddressLease,
        group_names => GroupName,
        instances => Instance,
        network_interfaces => NetworkInterface,
        security_groups => SecurityGroup,
        subnets => Subnet,
        tokens => Token,
        vpcs => Vpc,
    }
    for record in records {
        let read = Record::from_bytes(record.kind(), &record.to_bytes());
        assert_eq!(read.ok(), Some(record));
    }
}
