//! What passes the interface of a NAT gateway: it comes to it under one pair of addresses and leaves it under
//! another one.

use std::net::IpAddr;

use enid_pipeline::Reason;
use enid_pipeline::flow::{FlowKey, FlowRecord, flag};
use enid_pipeline::strays::{PASSED, Refusal, StrayRecord};

use super::words::has_ports;
use crate::flow::watch::{EniFacts, Gateway};

/// Addresses and ports of a packet in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) source: IpAddr,
    pub(super) target: IpAddr,
    pub(super) ports: (u16, u16),
}

/// The addresses of a flow's packets as they come to a gateway's interface, and as they leave it.
pub(super) fn of_flow(
    gateway: &Gateway,
    record: &FlowRecord,
    number: u8,
    key: Ends,
) -> (Ends, Ends) {
    // Of IPv4, which needs no key.
    let new = record.translation(&FlowKey::default());
    let new_ports = match has_ports(number) {
        true => (new.source_port.value(), new.target_port.value()),
        false => (0, 0),
    };
    if record.flags & flag::REPLY == 0 {
        // What lies beyond the gateway may translate the destination as well.
        let left = Ends {
            source: gateway.private(IpAddr::from(new.source)),
            target: key.target,
            ports: (new_ports.0, key.ports.1),
        };
        return (key, left);
    }
    let came = Ends {
        source: IpAddr::from(new.source),
        target: gateway.private(key.target),
        ports: (new_ports.0, key.ports.1),
    };
    let left = Ends {
        source: came.source,
        target: IpAddr::from(new.target),
        ports: new_ports,
    };
    (came, left)
}

/// The same of packets without a flow. What they leave with is known only as far as the interfaces tell.
pub(super) fn of_stray(
    gateway: &Gateway,
    own: &EniFacts,
    receiver: Option<&EniFacts>,
    key: Ends,
) -> (Ends, Ends) {
    if gateway.has(key.target) {
        let came = Ends {
            target: gateway.private(key.target),
            ..key
        };
        let target = receiver.map_or(came.target, |receiver| receiver.own(key.target));
        return (came, Ends { target, ..key });
    }
    let left = Ends {
        source: own.own(key.source),
        ..key
    };
    (key, left)
}

/// Which way a flow's packets take behind a gateway, by the numbers of `traffic-path`.
pub(super) fn traffic_path(record: &FlowRecord, key: Ends) -> u8 {
    let new = record.translation(&FlowKey::default());
    let is_out = record.flags & flag::REPLY == 0;
    let is_internet =
        record.flags & flag::TO_OUTSIDE != 0 || IpAddr::from(new.target) != key.target;
    if is_out && is_internet { 8 } else { 1 }
}

/// The places on a packet's way at which interfaces tell of it, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Station {
    /// Out of the sender's interface.
    Source,
    /// Into a NAT gateway's.
    GatewayIn,
    /// Out of it.
    GatewayOut,
    /// Into the receiver's.
    Target,
}

/// How far packets without a flow got, and where they were refused, if they were.
pub(super) fn reached(reason: u32, record: &StrayRecord) -> (Station, Option<Station>) {
    if reason == PASSED {
        return (Station::Target, None);
    }
    let Some(reason) = Reason::from_number(reason) else {
        return (Station::Source, None);
    };
    let refused = match (Refusal::of(reason), record.is_refused_at_gateway()) {
        (Refusal::AtSource, true) => Station::GatewayOut,
        (Refusal::AtSource, false) => Station::Source,
        (Refusal::AtTarget, true) => Station::GatewayIn,
        (Refusal::AtTarget, false) => Station::Target,
        (Refusal::OnTheWay, _) if record.via != 0 && !is_limit(reason) => {
            return (Station::GatewayIn, None);
        }
        (Refusal::OnTheWay | Refusal::Unjudged, _) => return (Station::Source, None),
    };
    (refused, Some(refused))
}

/// Whether a reason is a limit of the ends, which is asked when the way is known.
fn is_limit(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BandwidthInAllowance
            | Reason::BandwidthOutAllowance
            | Reason::ConntrackAllowance
            | Reason::FlowAllowance
            | Reason::FlowShare
            | Reason::FlowTableFull
            | Reason::PacketAllowance
    )
}

#[cfg(test)]
mod tests {
    use enid_pipeline::bytes::{Addr, Be16};
    use enid_pipeline::flow::Translation;

    use super::*;
    use crate::flow::watch::fixture;

    const CLIENT: [u8; 4] = [10, 0, 1, 5];
    const OWN: [u8; 4] = [10, 0, 0, 220];
    const PUBLIC: [u8; 4] = [198, 18, 0, 9];
    const FAR: [u8; 4] = [203, 0, 113, 5];

    fn ends(source: [u8; 4], target: [u8; 4], ports: (u16, u16)) -> Ends {
        Ends {
            source: source.into(),
            target: target.into(),
            ports,
        }
    }

    fn record(flags: u64, source: [u8; 4], target: [u8; 4], ports: (u16, u16)) -> FlowRecord {
        let new = Translation {
            source: Addr::v4(source),
            target: Addr::v4(target),
            source_port: Be16::new(ports.0),
            target_port: Be16::new(ports.1),
        };
        let new = new.words(&Addr::UNSPECIFIED, &Addr::UNSPECIFIED);
        FlowRecord {
            flags: flags | flag::TRANSLATED,
            new_addresses: new.addresses,
            new_ports: new.ports,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn addresses_are_those_of_the_guide() {
        // The VPC User Guide's example, "Traffic through a NAT gateway".
        let gateway = fixture::gateway(7, OWN, PUBLIC);
        let out = record(flag::TO_OUTSIDE, PUBLIC, FAR, (1_024, 443));
        let key = ends(CLIENT, FAR, (40_000, 443));
        let (came, left) = of_flow(&gateway, &out, 6, key);
        assert_eq!((came, left), (key, ends(OWN, FAR, (1_024, 443))));
        assert_eq!(traffic_path(&out, key), 8);
        let back = record(flag::REPLY, FAR, CLIENT, (443, 40_000));
        let key = ends(FAR, PUBLIC, (443, 1_024));
        let (came, left) = of_flow(&gateway, &back, 6, key);
        assert_eq!(came, ends(FAR, OWN, (443, 1_024)));
        assert_eq!(left, ends(FAR, CLIENT, (443, 40_000)));
        assert_eq!(traffic_path(&back, key), 1);
        // Echoes have no ports.
        let (_, left) = of_flow(&gateway, &out, 1, ends(CLIENT, FAR, (0, 0)));
        assert_eq!(left.ports, (0, 0));
    }

    #[test]
    fn packets_without_a_flow_come_to_the_gateway_and_leave_it_as_far_as_is_known() {
        let gateway = fixture::gateway(7, OWN, PUBLIC);
        let (own, client) = (fixture::eni(7, OWN), fixture::eni(8, CLIENT));
        let key = ends(FAR, PUBLIC, (5, 6));
        let (came, left) = of_stray(&gateway, &own, Some(&client), key);
        assert_eq!(came, ends(FAR, OWN, (5, 6)));
        assert_eq!(left, ends(FAR, CLIENT, (5, 6)));
        let key = ends(CLIENT, FAR, (5, 6));
        let (came, left) = of_stray(&gateway, &own, None, key);
        assert_eq!((came, left), (key, ends(OWN, FAR, (5, 6))));
    }

    #[test]
    fn where_a_packet_is_refused_nobody_behind_hears_of_it() {
        let at = |reason: Reason, via, acl_entry| {
            let record = StrayRecord {
                via,
                acl: 1,
                acl_entry,
                ..StrayRecord::default()
            };
            reached(reason as u32, &record)
        };
        let gateways = 1 << 32 | 100;
        let refused = |station| (station, Some(station));
        assert_eq!(
            at(Reason::AclIngress, 7, gateways),
            refused(Station::GatewayIn)
        );
        assert_eq!(
            at(Reason::AclEgress, 7, gateways),
            refused(Station::GatewayOut)
        );
        assert_eq!(at(Reason::AclIngress, 7, 100), refused(Station::Target));
        assert_eq!(at(Reason::EgressRule, 7, 100), refused(Station::Source));
        assert_eq!(at(Reason::NatUnsolicited, 7, 0), (Station::GatewayIn, None));
        assert_eq!(at(Reason::NoRoute, 0, 0), (Station::Source, None));
        assert_eq!(at(Reason::PacketAllowance, 7, 0), (Station::Source, None));
        let passed = reached(PASSED, &StrayRecord::default());
        assert_eq!(passed, (Station::Target, None));
    }
}
