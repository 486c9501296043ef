//! DHCP (RFC 2131, RFC 2132): an interface's host is given the interface's primary address, whatever it
//! asks for, and what the VPC's option set says.
//!
//! There are no leases to keep: the address is the interface's for life. A host that renews hears what is
//! said by then, so a changed option set reaches it within half an hour.

use std::net::{IpAddr, Ipv4Addr};

use enid_model::network_interface::Mac;
use enid_pipeline::service::port;

use super::frame;
use super::told::Told;
use crate::device::MTU;

/// What a message has before its options, the cookie that tells them included.
const HEAD: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Clients that know only BOOTP expect no less.
const LENGTH_MIN: usize = 300;
const ASKS: u8 = 1;
const ANSWERS: u8 = 2;
/// Ethernet, with six bytes of address.
const HARDWARE: [u8; 2] = [1, 6];
/// The flag of who cannot take packets to an address that it does not have yet.
const BROADCAST: u8 = 0x80;

/// Offsets in the head.
mod at {
    pub(super) const FLAGS: usize = 10;
    pub(super) const CLIENT: usize = 12;
    pub(super) const YOURS: usize = 16;
    pub(super) const RELAY: usize = 24;
    pub(super) const HARDWARE: usize = 28;
    pub(super) const COOKIE: usize = 236;
}

/// Kinds of messages.
mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
    pub(super) const INFORM: u8 = 8;
}

/// Codes of options.
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN_NAME: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const BROADCAST: u8 = 28;
    pub(super) const NTP: u8 = 42;
    pub(super) const NETBIOS_NAME_SERVERS: u8 = 44;
    pub(super) const NETBIOS_NODE_TYPE: u8 = 46;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const RENEWAL: u8 = 58;
    pub(super) const REBINDING: u8 = 59;
    pub(super) const END: u8 = 255;
}

/// How long an address holds, and when it is to be renewed, and of anybody.
const LEASE_S: u32 = 3600;
const RENEWAL_S: u32 = LEASE_S / 2;
const REBINDING_S: u32 = LEASE_S / 8 * 7;

/// A question, as far as it matters.
struct Asked<'a> {
    head: &'a [u8; HEAD],
    kind: u8,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

/// The frame that answers a message of the host with this MAC address, which the frame below it has shown.
pub(super) fn answer(told: &Told, mac: Mac, message: &[u8]) -> Option<Vec<u8>> {
    let asked = read(message, mac)?;
    let own = told.address?;
    let router = told.router();
    let held = address_at(asked.head, at::CLIENT);
    let kind = match asked.kind {
        kind::DISCOVER => kind::OFFER,
        // It took somebody else's offer, or asks somebody else.
        kind::REQUEST if asked.server.is_some_and(|server| server != router) => return None,
        kind::REQUEST => {
            // Which address: said in an option unless it is in use.
            let wanted = asked
                .requested
                .or(Some(held))
                .filter(|it| !it.is_unspecified());
            if wanted? == own { kind::ACK } else { kind::NAK }
        }
        kind::INFORM if held == own => kind::ACK,
        _ => return None,
    };
    let mut reply = asked.head.to_vec();
    reply[0] = ANSWERS;
    // Hops and seconds are not answered; file and server names are not told.
    reply[3] = 0;
    reply[8..10].fill(0);
    reply[at::YOURS..at::RELAY].fill(0);
    reply[at::HARDWARE + 16..at::COOKIE].fill(0);
    let is_inform = asked.kind == kind::INFORM;
    if kind == kind::NAK {
        reply[at::CLIENT..at::YOURS].fill(0);
    } else if !is_inform {
        reply[at::YOURS..at::YOURS + 4].copy_from_slice(&own.octets());
    }
    put(&mut reply, option::KIND, &[kind]);
    put(&mut reply, option::SERVER, &router.octets());
    if kind != kind::NAK {
        if !is_inform {
            put(&mut reply, option::LEASE, &LEASE_S.to_be_bytes());
            put(&mut reply, option::RENEWAL, &RENEWAL_S.to_be_bytes());
            put(&mut reply, option::REBINDING, &REBINDING_S.to_be_bytes());
        }
        tell(&mut reply, told);
    }
    reply.push(option::END);
    if reply.len() < LENGTH_MIN {
        reply.resize(LENGTH_MIN, option::PAD);
    }
    // RFC 2131, section 4.1. The frame is to the host alone in any case.
    let to = if kind == kind::NAK {
        Ipv4Addr::BROADCAST
    } else if !held.is_unspecified() {
        held
    } else if asked.head[at::FLAGS] & BROADCAST != 0 {
        Ipv4Addr::BROADCAST
    } else {
        own
    };
    let (from, to) = ((router, port::DHCP_SERVER), (to, port::DHCP_CLIENT));
    Some(frame::udp_v4(mac, from, to, &reply))
}

fn read(message: &[u8], mac: Mac) -> Option<Asked<'_>> {
    let (head, mut rest) = message.split_first_chunk::<HEAD>()?;
    let is_own = head[at::HARDWARE..at::HARDWARE + 6] == mac.0;
    let is_relayed = !address_at(head, at::RELAY).is_unspecified();
    if head[0] != ASKS
        || head[1..3] != HARDWARE
        || !is_own
        || is_relayed
        || head[at::COOKIE..] != COOKIE
    {
        return None;
    }
    let mut asked = Asked {
        head,
        kind: 0,
        requested: None,
        server: None,
    };
    // An option is longer than nothing, so this ends.
    while let Some((code, after)) = rest.split_first() {
        if *code == option::END {
            break;
        }
        if *code == option::PAD {
            rest = after;
            continue;
        }
        let (length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        let address = || value.try_into().ok().map(|octets: [u8; 4]| octets.into());
        match *code {
            option::KIND => asked.kind = *value.first()?,
            option::REQUESTED => asked.requested = Some(address()?),
            option::SERVER => asked.server = Some(address()?),
            _ => {}
        }
    }
    Some(asked)
}

fn address_at(head: &[u8; HEAD], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3])
}

/// What there is to tell, whether it is asked for or not: clients take what they know.
fn tell(reply: &mut Vec<u8>, told: &Told) {
    put(reply, option::SUBNET_MASK, &told.subnet.netmask().octets());
    put(reply, option::ROUTER, &told.router().octets());
    put(reply, option::BROADCAST, &told.subnet.broadcast().octets());
    // Unwrap: 9,001.
    let mtu = u16::try_from(MTU).unwrap_or(u16::MAX);
    put(reply, option::MTU, &mtu.to_be_bytes());
    put(reply, option::HOST_NAME, told.host_name.as_bytes());
    if let Some(domain) = &told.domain_name {
        put(reply, option::DOMAIN_NAME, domain.as_bytes());
    }
    put(reply, option::DNS, &addresses(&told.resolvers));
    put(reply, option::NTP, &addresses(&told.ntp_servers));
    let netbios: Vec<u8> = told
        .netbios_name_servers
        .iter()
        .flat_map(Ipv4Addr::octets)
        .collect();
    put(reply, option::NETBIOS_NAME_SERVERS, &netbios);
    if let Some(node_type) = told.netbios_node_type {
        put(reply, option::NETBIOS_NODE_TYPE, &[node_type]);
    }
}

fn addresses(all: &[IpAddr]) -> Vec<u8> {
    let ipv4 = all.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    ipv4.flatten().collect()
}

/// Adds an option, unless it has no value. A value of more than 255 bytes is several options of one code
/// (RFC 3396).
fn put(reply: &mut Vec<u8>, code: u8, value: &[u8]) {
    for part in value.chunks(255) {
        reply.push(code);
        reply.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        reply.extend(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::told::fixture::told;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    /// A message of a host that has the address `held` in use.
    fn message(kind: u8, held: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; HEAD];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[4..8].copy_from_slice(&[0xaa, 0xbb, 0xcc, 0xdd]);
        message[at::CLIENT..at::YOURS].copy_from_slice(&held);
        message[at::HARDWARE..at::HARDWARE + 6].copy_from_slice(&MAC.0);
        message[at::COOKIE..].copy_from_slice(&COOKIE);
        put(&mut message, option::KIND, &[kind]);
        for (code, value) in options {
            message.push(option::PAD);
            put(&mut message, *code, value);
        }
        message.push(option::END);
        message
    }

    type Options = Vec<(u8, Vec<u8>)>;

    /// Where an answer goes, the address that it gives, and its options.
    fn answered(message: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, Options)> {
        let frame = answer(&told(), MAC, message)?;
        assert_eq!(frame[..6], MAC.0);
        assert_eq!(frame[26..30], [10, 0, 0, 1]);
        assert_eq!(frame[34..38], [0, 67, 0, 68]);
        let to = Ipv4Addr::new(frame[30], frame[31], frame[32], frame[33]);
        let reply = &frame[42..];
        assert_eq!(reply[..8], [2, 1, 6, 0, 0xaa, 0xbb, 0xcc, 0xdd]);
        assert!(reply.len() >= LENGTH_MIN);
        let head = reply.first_chunk().expect("a head");
        let mut options = Vec::new();
        let mut rest = &reply[HEAD..];
        while rest[0] != option::END {
            let length = usize::from(rest[1]);
            options.push((rest[0], rest[2..2 + length].to_vec()));
            rest = &rest[2 + length..];
        }
        Some((to, address_at(head, at::YOURS), options))
    }

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const ROUTER: &[u8] = &[10, 0, 0, 1];

    #[test]
    fn a_host_is_offered_its_address_and_told_the_option_set() {
        let (to, yours, options) =
            answered(&message(kind::DISCOVER, [0; 4], &[])).expect("an offer");
        assert_eq!((to, yours), (OWN, OWN));
        let expected: [(u8, &[u8]); 15] = [
            (53, &[2]),
            (54, ROUTER),
            (51, &[0, 0, 14, 16]),
            (58, &[0, 0, 7, 8]),
            (59, &[0, 0, 12, 78]),
            (1, &[255, 255, 255, 0]),
            (3, ROUTER),
            (28, &[10, 0, 0, 255]),
            (26, &[0x23, 0x29]),
            (12, b"ip-10-0-0-9"),
            (15, b"corp.example"),
            (6, &[10, 0, 0, 2]),
            (42, &[169, 254, 169, 123]),
            (44, &[10, 0, 0, 5]),
            (46, &[2]),
        ];
        let options: Vec<(u8, &[u8])> = options
            .iter()
            .map(|(code, value)| (*code, &**value))
            .collect();
        assert_eq!(options, expected);
    }

    #[test]
    fn another_address_is_refused() {
        for (held, options, kind) in [
            (
                [0; 4],
                &[
                    (option::REQUESTED, &[10, 0, 0, 9][..]),
                    (option::SERVER, ROUTER),
                ][..],
                5,
            ),
            ([0; 4], &[(option::REQUESTED, &[10, 0, 0, 9])], 5),
            ([10, 0, 0, 9], &[], 5),
            ([0; 4], &[(option::REQUESTED, &[10, 0, 0, 8])], 6),
            ([10, 0, 0, 8], &[], 6),
        ] {
            let (to, yours, said) =
                answered(&message(kind::REQUEST, held, options)).expect("an answer");
            assert_eq!(said[0], (option::KIND, vec![kind]), "{options:?}");
            assert_eq!(said[1], (option::SERVER, ROUTER.to_vec()));
            match kind {
                5 => assert_eq!((to, yours), (OWN, OWN)),
                _ => assert_eq!(
                    (to, yours, said.len()),
                    (Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, 2)
                ),
            }
        }
    }

    #[test]
    fn who_has_an_address_is_informed_without_a_lease() {
        let (to, yours, options) =
            answered(&message(kind::INFORM, [10, 0, 0, 9], &[])).expect("an answer");
        assert_eq!((to, yours), (OWN, Ipv4Addr::UNSPECIFIED));
        assert!(options.iter().all(|(code, _)| ![51, 58, 59].contains(code)));
        assert!(options.contains(&(option::DNS, vec![10, 0, 0, 2])));
    }

    #[test]
    fn who_cannot_take_packets_yet_is_answered_by_broadcast() {
        let mut discover = message(kind::DISCOVER, [0; 4], &[]);
        discover[at::FLAGS] = BROADCAST;
        assert_eq!(
            answered(&discover).expect("an offer").0,
            Ipv4Addr::BROADCAST
        );
    }

    #[test]
    fn nobody_else_is_answered() {
        let discover = message(kind::DISCOVER, [0; 4], &[]);
        // An answer, another kind of hardware, another host's, a relay's, no cookie.
        for (at, value) in [
            (0, 2),
            (1, 6),
            (2, 7),
            (at::HARDWARE, 4),
            (at::RELAY, 10),
            (at::COOKIE, 0),
        ] {
            let mut other = discover.clone();
            other[at] = value;
            assert_eq!(answered(&other), None, "{at}");
        }
        let to_other = [
            (option::REQUESTED, &[10, 0, 0, 9][..]),
            (option::SERVER, &[10, 0, 0, 7]),
        ];
        assert_eq!(answered(&message(kind::REQUEST, [0; 4], &to_other)), None);
        // A request for nothing; a decline, a release; one informed of another's address.
        assert_eq!(answered(&message(kind::REQUEST, [0; 4], &[])), None);
        for kind in [0, 4, 7, 9] {
            assert_eq!(answered(&message(kind, [0; 4], &[])), None);
        }
        assert_eq!(answered(&message(kind::INFORM, [10, 0, 0, 8], &[])), None);
        for length in 0..discover.len() - 1 {
            let _ = answer(&told(), MAC, &discover[..length]);
        }
    }

    #[test]
    fn a_host_without_ipv4_gets_no_address() {
        let mut told = told();
        told.address = None;
        assert_eq!(
            answer(&told, MAC, &message(kind::DISCOVER, [0; 4], &[])),
            None
        );
    }
}
