//! ARP: the virtual router answers for itself and for every endpoint of the subnet.
//!
//! An address that nobody has, and the sender's own, get no answer, as in a VPC. The answer is written
//! over the request and goes back through the device that it came from.

use crate::{
    bytes::{Addr, Mac, MacPair},
    frame::Frame,
    packet::Packet,
    reason::Reason,
    stage::parse::ETHERNET,
    table::EndpointKey,
    tables::Tables,
};

/// Ethernet and IPv4, six and four bytes: the only ARP there is.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: u8 = 2;

/// Rewrites a request into its answer.
#[inline(never)]
pub(crate) fn answer<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    ifindex: u32,
    packet: &Packet,
) -> Result<(), Reason> {
    let eni = tables.device(ifindex).ok_or(Reason::UnknownDevice)?;
    let record = tables.eni(eni).ok_or(Reason::Incomplete)?;
    let body = frame.load::<28>(ETHERNET).ok_or(Reason::Malformed)?.0;
    if [body[0], body[1], body[2], body[3], body[4], body[5]] != KIND {
        return Err(Reason::Malformed);
    }
    if [body[6], body[7]] != REQUEST {
        return Err(Reason::ArpNotRequest);
    }
    let sender_mac = Mac([body[8], body[9], body[10], body[11], body[12], body[13]]);
    if packet.source_mac() != record.mac {
        return Err(Reason::SourceMac);
    }
    let sender = Addr::v4([body[14], body[15], body[16], body[17]]);
    // A probe asks from 0.0.0.0 (RFC 5227).
    let is_probe = sender == Addr::v4([0; 4]);
    let endpoint = |addr| {
        tables.endpoint(&EndpointKey {
            vpc: record.vpc,
            addr,
        })
    };
    if sender_mac != record.mac || !(is_probe || endpoint(sender) == Some(eni)) {
        return Err(Reason::ArpSender);
    }
    let wanted = Addr::v4([body[24], body[25], body[26], body[27]]);
    let subnet = tables.subnet(record.subnet).ok_or(Reason::Incomplete)?;
    let mac = if wanted == subnet.router {
        subnet.router_mac
    } else {
        let owner = endpoint(wanted).filter(|owner| *owner != eni);
        let owner = owner.ok_or(Reason::ArpUnanswered)?;
        let owner = tables.eni(owner).ok_or(Reason::Incomplete)?;
        if owner.subnet != record.subnet {
            return Err(Reason::ArpUnanswered);
        }
        owner.mac
    };
    let (m, to) = (mac.0, record.mac.0);
    let reply = [
        REPLY, m[0], m[1], m[2], m[3], m[4], m[5], body[24], body[25], body[26], body[27], to[0],
        to[1], to[2], to[3], to[4], to[5], body[14], body[15], body[16], body[17],
    ];
    let is_written =
        frame.store(0, &MacPair::new(record.mac, mac).bytes()) && frame.store(ETHERNET + 7, &reply);
    if is_written {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}
