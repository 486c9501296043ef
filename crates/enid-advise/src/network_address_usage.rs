//! How large a VPC is, in AWS's units of network address usage.
//!
//! What counts how much is the table of "Network Address Usage for your VPC" in the VPC User Guide: each
//! private or public IPv4 address and each IPv6 address of an instance's interface one unit, each
//! delegated prefix one, each interface of an instance beside its primary one another; what a service of
//! the region keeps in a zone six. Interfaces that are attached to nothing do not count.

use std::collections::BTreeSet;

use enid_model::id::VpcId;
use enid_model::network_interface::{InterfaceType, NetworkInterface};
use enid_model::state::RegionState;
use enid_model::vpc_peering_connection::PeeringStatus;

/// The units of a VPC.
#[must_use]
pub fn network_address_usage(region: &RegionState, vpc: VpcId) -> u64 {
    let enis = region.enis_of_vpc(vpc);
    let enis = enis.filter_map(|id| region.network_interfaces.get(&id));
    enis.map(|eni| units(region, eni)).sum()
}

/// The units of a VPC and of all VPCs that are peered with it.
#[must_use]
pub fn peered_network_address_usage(region: &RegionState, vpc: VpcId) -> u64 {
    let connections = region.peerings_of_vpc(vpc);
    let connections = connections.filter_map(|id| region.vpc_peering_connections.get(&id));
    let active = connections.filter(|connection| connection.status == PeeringStatus::Active);
    let sides = active.flat_map(|connection| [connection.requester.vpc, connection.accepter.vpc]);
    // Two VPCs have one active connection at most, but a side of each is the VPC itself.
    let all: BTreeSet<VpcId> = sides.chain([vpc]).collect();
    let all = all.into_iter();
    all.map(|vpc| network_address_usage(region, vpc)).sum()
}

fn units(region: &RegionState, eni: &NetworkInterface) -> u64 {
    if eni.interface_type != InterfaceType::Interface {
        return OF_SERVICE;
    }
    let Some(attachment) = &eni.attachment else {
        return 0;
    };
    let is_primary = (attachment.network_card_index, attachment.device_index) == (0, 0);
    let given = usize::from(eni.public_address.is_some());
    let own = eni.addresses.len() + eni.ipv6_addresses.len();
    let prefixes = eni.ipv4_prefixes.len() + eni.ipv6_prefixes.len();
    let public = region.elastic_ips_of_eni(eni.id).count() + given;
    let additional = usize::from(!is_primary);
    u64::try_from(own + prefixes + public + additional).unwrap_or(u64::MAX)
}

/// The units of an interface that a service keeps: a NAT gateway, a load balancer in a zone.
const OF_SERVICE: u64 = 6;

#[cfg(test)]
mod tests {
    use enid_model::id::{EniId, InstanceId};
    use enid_model::key::{AccountId, Key, Kind, RegionName, Scope};
    use enid_model::record::Record;
    use enid_model::state::{Revision, State};
    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("us-east-1"),
        }
    }

    /// A state with one more record, in its stored form.
    fn put(state: &mut State, kind: Kind, name: &str, mut record: serde_json::Value) {
        record["v"] = 1.into();
        let record = Record::from_bytes(kind, record.to_string().as_bytes());
        let key = Key {
            scope: scope(),
            kind,
            name: name.into(),
        };
        state.apply(Revision(1), &key, Some(record.expect("a record")));
    }

    fn put_eni(state: &mut State, id: u64, vpc: u64, changes: &serde_json::Value) {
        let id = EniId(id);
        let mut eni = json!({
            "id": id, "subnet": enid_model::id::SubnetId(1), "vpc": VpcId(vpc),
            "mac": "02:00:00:00:00:01", "description": "", "groups": [], "addresses": ["10.0.0.9"],
            "source_dest_check": true, "requester_id": null, "tags": {}, "attachment": null,
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            eni[name] = value.clone();
        }
        put(state, Kind::NetworkInterface, &id.to_string(), eni);
    }

    fn attached(device_index: u8) -> serde_json::Value {
        json!({
            "id": enid_model::id::AttachmentId(1), "instance": InstanceId(1),
            "device_index": device_index, "network_card_index": 0, "attach_time": 0,
            "delete_on_termination": false,
        })
    }

    fn usage(state: &State, vpc: u64) -> (u64, u64) {
        let region = state.region(&scope()).expect("a region");
        let (own, vpc) = (network_address_usage, VpcId(vpc));
        (own(region, vpc), peered_network_address_usage(region, vpc))
    }

    #[test]
    fn each_kind_of_thing_has_its_units() {
        let mut state = State::default();
        // Nothing yet uses its addresses.
        put_eni(&mut state, 1, 1, &json!({}));
        assert_eq!(usage(&state, 1), (0, 0));
        put_eni(&mut state, 1, 1, &json!({"attachment": attached(0)}));
        assert_eq!(usage(&state, 1).0, 1);
        // A second address, an IPv6 one, a public one, and a prefix of each family.
        let more = json!({
            "attachment": attached(0), "addresses": ["10.0.0.9", "10.0.0.10"],
            "ipv6_addresses": ["2600:1f10::9"], "public_address": "198.18.0.1",
            "ipv4_prefixes": ["10.0.0.16/28"], "ipv6_prefixes": ["2600:1f10::/80"],
        });
        put_eni(&mut state, 1, 1, &more);
        assert_eq!(usage(&state, 1).0, 6);
        // One more interface, with its address.
        put_eni(&mut state, 2, 1, &json!({"attachment": attached(1)}));
        assert_eq!(usage(&state, 1).0, 8);
        put_eni(&mut state, 3, 1, &json!({"interface_type": "nat_gateway"}));
        assert_eq!(usage(&state, 1), (14, 14));
        assert_eq!(usage(&state, 2), (0, 0));
    }

    #[test]
    fn peers_count_together_while_they_are_connected() {
        let mut state = State::default();
        for vpc in 1..=3 {
            put_eni(&mut state, vpc, vpc, &json!({"attachment": attached(0)}));
        }
        let connection = |id: u64, accepter: u64, status: &str| {
            let side = |vpc: u64| {
                json!({
                    "vpc": VpcId(vpc), "cidrs": [], "ipv6_cidrs": [],
                    "allow_dns_resolution": false,
                })
            };
            json!({
                "id": enid_model::id::VpcPeeringConnectionId(id), "requester": side(1),
                "accepter": side(accepter), "status": status, "create_time": 0, "status_time": 0,
                "tags": {},
            })
        };
        for (id, accepter, status) in [(1, 2, "active"), (2, 3, "pending_acceptance")] {
            let name = enid_model::id::VpcPeeringConnectionId(id).to_string();
            let record = connection(id, accepter, status);
            put(&mut state, Kind::VpcPeeringConnection, &name, record);
        }
        assert_eq!(usage(&state, 1), (1, 2));
        assert_eq!(usage(&state, 2), (1, 2));
        assert_eq!(usage(&state, 3), (1, 1));
    }
}
