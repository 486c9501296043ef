//! DHCP by IPv6 (RFC 8415): an interface's host is given all IPv6 addresses of the interface, and what the
//! VPC's option set says.
//!
//! As by IPv4 there are no leases to keep. Prefixes are delegated by the API and not from here.

use std::net::{IpAddr, Ipv6Addr};

use enid_model::network_interface::Mac;
use enid_pipeline::service::port;
use enid_pipeline::table::ROUTER_LINK_LOCAL;

use super::frame;
use super::told::Told;

/// Kinds of messages.
mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const CONFIRM: u8 = 4;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const DECLINE: u8 = 9;
    pub(super) const INFORMATION_REQUEST: u8 = 11;
}

/// Codes of options.
mod option {
    pub(super) const CLIENT_ID: u16 = 1;
    pub(super) const SERVER_ID: u16 = 2;
    pub(super) const ADDRESSES: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const STATUS: u16 = 13;
    pub(super) const RAPID_COMMIT: u16 = 14;
    pub(super) const DNS: u16 = 23;
    pub(super) const DOMAINS: u16 = 24;
    pub(super) const PREFIXES: u16 = 25;
    pub(super) const NTP: u16 = 56;
}

/// Codes of a status.
mod status {
    pub(super) const SUCCESS: u16 = 0;
    pub(super) const NO_ADDRESSES: u16 = 2;
    pub(super) const NOT_ON_LINK: u16 = 4;
    pub(super) const NO_PREFIXES: u16 = 6;
}

/// Kind and transaction.
const HEAD: usize = 4;
/// The head of an option: code and length.
const OPTION_HEAD: usize = 4;
/// The head of a set of addresses or prefixes: its number, and two times.
const SET_HEAD: usize = 12;
/// An address, and how long it is preferred and valid.
const ADDRESS: usize = 24;
/// How much longer than preferred an address is valid, in seconds.
const VALID_LONGER_S: u32 = 310;
/// Sets in one question that are answered; a host has one.
const SETS_MAX: usize = 8;

/// A question, as far as it matters.
#[derive(Default)]
struct Asked<'a> {
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    is_rapid: bool,
    /// Kind of set, its number, and the addresses that the host thinks it has.
    sets: Vec<(u16, [u8; 4], Vec<Ipv6Addr>)>,
}

/// The frame that answers a message of the host with this MAC address, which came from this address.
pub(super) fn answer(told: &Told, mac: Mac, from: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
    told.ipv6_subnet?;
    let (head, options) = message.split_first_chunk::<HEAD>()?;
    let asked = read(options)?;
    let own_id = server_id(told.router_mac);
    let names_this = asked.server.is_some_and(|server| server == own_id);
    // RFC 8415, section 16: who must and who must not name a server.
    let is_heard = match head[0] {
        kind::SOLICIT | kind::CONFIRM | kind::REBIND => {
            asked.client.is_some() && asked.server.is_none()
        }
        kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => {
            asked.client.is_some() && names_this
        }
        kind::INFORMATION_REQUEST => asked.server.is_none() || names_this,
        _ => false,
    };
    if !is_heard {
        return None;
    }
    let is_offer = head[0] == kind::SOLICIT && !asked.is_rapid;
    let mut reply = vec![
        if is_offer {
            kind::ADVERTISE
        } else {
            kind::REPLY
        },
        head[1],
        head[2],
        head[3],
    ];
    if let Some(client) = asked.client {
        put(&mut reply, option::CLIENT_ID, client);
    }
    put(&mut reply, option::SERVER_ID, &own_id);
    match head[0] {
        kind::CONFIRM => {
            let mut claimed = asked
                .sets
                .iter()
                .flat_map(|(_, _, addresses)| addresses)
                .peekable();
            // Without an address there is nothing to confirm.
            claimed.peek()?;
            let is_right = claimed.all(|address| told.ipv6_addresses.contains(address));
            let code = if is_right {
                status::SUCCESS
            } else {
                status::NOT_ON_LINK
            };
            put(&mut reply, option::STATUS, &code.to_be_bytes());
        }
        // Addresses stay what they are.
        kind::RELEASE | kind::DECLINE => {
            put(&mut reply, option::STATUS, &status::SUCCESS.to_be_bytes());
        }
        kind::INFORMATION_REQUEST => tell(&mut reply, told),
        _ => {
            if head[0] == kind::SOLICIT && asked.is_rapid {
                put(&mut reply, option::RAPID_COMMIT, &[]);
            }
            for set in &asked.sets {
                give(&mut reply, told, set);
            }
            tell(&mut reply, told);
        }
    }
    let router = Ipv6Addr::from(ROUTER_LINK_LOCAL.octets());
    let from_router = (router, port::DHCP_V6_SERVER);
    let to = (from, port::DHCP_V6_CLIENT);
    Some(frame::udp_v6(mac, from_router, to, &reply))
}

/// Answers a set of addresses, with those of the interface, or of prefixes, of which there are none. An
/// address that the host has and the interface does not is said to hold no longer.
fn give(reply: &mut Vec<u8>, told: &Told, (code, number, held): &(u16, [u8; 4], Vec<Ipv6Addr>)) {
    let mut set = Vec::from(number);
    if *code == option::PREFIXES {
        set.extend([0; SET_HEAD - 4]);
        put(&mut set, option::STATUS, &status::NO_PREFIXES.to_be_bytes());
        put(reply, *code, &set);
        return;
    }
    let preferred_s = told.ipv6_preferred_s;
    set.extend((preferred_s / 2).to_be_bytes());
    set.extend((preferred_s / 5 * 4).to_be_bytes());
    if told.ipv6_addresses.is_empty() {
        put(
            &mut set,
            option::STATUS,
            &status::NO_ADDRESSES.to_be_bytes(),
        );
    }
    let gone = held.iter().filter(|it| !told.ipv6_addresses.contains(it));
    let own = told.ipv6_addresses.iter();
    let valid_s = preferred_s.saturating_add(VALID_LONGER_S);
    for (address, preferred_s, valid_s) in own
        .map(|address| (address, preferred_s, valid_s))
        .chain(gone.map(|address| (address, 0, 0)))
    {
        let mut value = Vec::from(address.octets());
        value.extend(preferred_s.to_be_bytes());
        value.extend(valid_s.to_be_bytes());
        put(&mut set, option::ADDRESS, &value);
    }
    put(reply, *code, &set);
}

/// What there is to tell, whether it is asked for or not.
fn tell(reply: &mut Vec<u8>, told: &Told) {
    let ipv6 = |all: &[IpAddr]| -> Vec<[u8; 16]> {
        let ipv6 = all.iter().filter_map(|address| match address {
            IpAddr::V6(address) => Some(address.octets()),
            IpAddr::V4(_) => None,
        });
        ipv6.collect()
    };
    let resolvers = ipv6(&told.resolvers).concat();
    if !resolvers.is_empty() {
        put(reply, option::DNS, &resolvers);
    }
    if let Some(domains) = &told.domain_name {
        let domains: Vec<u8> = domains.split(' ').flat_map(labels).collect();
        put(reply, option::DOMAINS, &domains);
    }
    for server in ipv6(&told.ntp_servers) {
        // RFC 5908, section 4.1: the address of a server.
        let mut value = vec![0, 1, 0, 16];
        value.extend(server);
        put(reply, option::NTP, &value);
    }
}

/// A domain as DNS messages have it. The control plane has checked lengths.
fn labels(domain: &str) -> Vec<u8> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let mut bytes = Vec::with_capacity(domain.len() + 2);
    for label in domain.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// The server's identifier: of the kind that is made from a MAC address, its router's.
fn server_id(router_mac: Mac) -> [u8; 10] {
    let [a, b, c, d, e, f] = router_mac.0;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

fn read(options: &[u8]) -> Option<Asked<'_>> {
    let mut asked = Asked::default();
    for option in split(options) {
        let (code, value) = option?;
        match code {
            option::CLIENT_ID => asked.client = Some(value),
            option::SERVER_ID => asked.server = Some(value),
            option::RAPID_COMMIT => asked.is_rapid = true,
            option::ADDRESSES | option::PREFIXES if asked.sets.len() < SETS_MAX => {
                let (head, inner) = value.split_first_chunk::<SET_HEAD>()?;
                let mut addresses = Vec::new();
                for option in split(inner) {
                    let (code, value) = option?;
                    if code == option::ADDRESS && value.len() >= ADDRESS {
                        addresses.push(Ipv6Addr::from(*value.first_chunk::<16>()?));
                    }
                }
                asked.sets.push((code, *head.first_chunk()?, addresses));
            }
            _ => {}
        }
    }
    // An identifier is 130 bytes long at most (RFC 8415, section 11.1).
    asked
        .client
        .is_none_or(|id| id.len() <= 130)
        .then_some(asked)
}

/// Options with their codes; `None` is one that is cut short, and the last.
fn split(options: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let mut rest = options;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let option = rest
            .split_first_chunk::<OPTION_HEAD>()
            .and_then(|(head, after)| {
                let code = u16::from_be_bytes([head[0], head[1]]);
                let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
                let (value, after) = after.split_at_checked(length)?;
                rest = after;
                Some((code, value))
            });
        if option.is_none() {
            rest = &[];
        }
        Some(option)
    })
}

fn put(reply: &mut Vec<u8>, code: u16, value: &[u8]) {
    reply.extend(code.to_be_bytes());
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    reply.extend(length.to_be_bytes());
    reply.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::told::fixture::told;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const CLIENT: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 9];
    const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

    fn own() -> Ipv6Addr {
        "2001:db8:0:1::9".parse().unwrap()
    }

    /// A set with a number of 7, with these addresses.
    fn set(code: u16, addresses: &[Ipv6Addr]) -> (u16, Vec<u8>) {
        let mut value = vec![0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        for address in addresses {
            let mut held = address.octets().to_vec();
            held.extend([0; 8]);
            put(&mut value, option::ADDRESS, &held);
        }
        (code, value)
    }

    fn message(kind: u8, options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = vec![kind, 1, 2, 3];
        for (code, value) in options {
            put(&mut message, *code, value);
        }
        message
    }

    type Options = Vec<(u16, Vec<u8>)>;

    /// Kind and options of the answer.
    fn answered(message: &[u8]) -> Option<(u8, Options)> {
        let from: Ipv6Addr = "fe80::9".parse().unwrap();
        let frame = answer(&told(), MAC, from, message)?;
        assert_eq!(frame[38..54], from.octets());
        assert_eq!(frame[54..58], [2, 35, 2, 34]);
        let reply = &frame[62..];
        assert_eq!(reply[1..4], [1, 2, 3]);
        let options = split(&reply[HEAD..]).map(|option| option.expect("a whole option"));
        let options = options.map(|(code, value)| (code, value.to_vec()));
        Some((reply[0], options.collect()))
    }

    fn client() -> (u16, Vec<u8>) {
        (option::CLIENT_ID, CLIENT.to_vec())
    }

    fn server() -> (u16, Vec<u8>) {
        (option::SERVER_ID, SERVER.to_vec())
    }

    #[test]
    fn a_host_is_given_its_addresses_and_told_the_option_set() {
        let solicit = message(kind::SOLICIT, &[client(), set(option::ADDRESSES, &[])]);
        let (kind, options) = answered(&solicit).expect("an answer");
        assert_eq!(kind, kind::ADVERTISE);
        assert_eq!(options[..2], [client(), server()]);
        let mut expected = vec![0, 0, 0, 7, 0, 0, 0, 70, 0, 0, 0, 112, 0, 5, 0, 24];
        expected.extend(own().octets());
        expected.extend([0, 0, 0, 140, 0, 0, 1, 194]);
        assert_eq!(options[2], (option::ADDRESSES, expected));
        let resolver: Ipv6Addr = "fd00:ec2::253".parse().unwrap();
        assert_eq!(options[3], (option::DNS, resolver.octets().to_vec()));
        assert_eq!(
            options[4],
            (option::DOMAINS, b"\x04corp\x07example\0".to_vec())
        );
        assert_eq!(options[5].0, option::NTP);
        let request = message(
            kind::REQUEST,
            &[client(), server(), set(option::ADDRESSES, &[])],
        );
        let (kind, again) = answered(&request).expect("an answer");
        assert_eq!((kind, again), (kind::REPLY, options));
    }

    #[test]
    fn an_address_that_is_gone_holds_no_longer() {
        let other: Ipv6Addr = "2001:db8:0:1::8".parse().unwrap();
        let renew = message(
            kind::RENEW,
            &[client(), server(), set(option::ADDRESSES, &[other])],
        );
        let (_, options) = answered(&renew).expect("an answer");
        let mut gone = other.octets().to_vec();
        gone.extend([0; 8]);
        assert!(options[2].1.ends_with(&gone));
        let confirm = |address| {
            message(
                kind::CONFIRM,
                &[client(), set(option::ADDRESSES, &[address])],
            )
        };
        let code = |address| {
            answered(&confirm(address)).expect("an answer").1[2]
                .1
                .clone()
        };
        assert_eq!((code(own()), code(other)), (vec![0, 0], vec![0, 4]));
    }

    #[test]
    fn prefixes_are_not_had_here() {
        let solicit = message(kind::SOLICIT, &[client(), set(option::PREFIXES, &[])]);
        let (_, options) = answered(&solicit).expect("an answer");
        assert!(options[2].1.ends_with(&[0, 13, 0, 2, 0, 6]));
    }

    #[test]
    fn a_host_in_a_hurry_and_one_with_addresses_are_answered_at_once() {
        let rapid = (option::RAPID_COMMIT, Vec::new());
        let solicit = message(kind::SOLICIT, &[client(), rapid.clone()]);
        let (kind, options) = answered(&solicit).expect("an answer");
        assert_eq!((kind, &options[2]), (kind::REPLY, &rapid));
        let (_, options) = answered(&message(kind::INFORMATION_REQUEST, &[])).expect("an answer");
        assert_eq!(options[1].0, option::DNS);
    }

    #[test]
    fn nobody_else_is_answered() {
        let other = (option::SERVER_ID, CLIENT.to_vec());
        for message in [
            message(kind::SOLICIT, &[]),
            message(kind::SOLICIT, &[client(), server()]),
            message(kind::REQUEST, &[client()]),
            message(kind::REQUEST, &[client(), other]),
            message(kind::CONFIRM, &[client()]),
            message(kind::REPLY, &[client()]),
            message(kind::SOLICIT, &[client(), (option::ADDRESSES, vec![0; 11])]),
            vec![1, 0, 0],
        ] {
            assert_eq!(answered(&message), None, "{message:?}");
        }
        let solicit = message(kind::SOLICIT, &[client(), set(option::ADDRESSES, &[own()])]);
        for length in 0..solicit.len() {
            let _ = answered(&solicit[..length]);
        }
    }
}
