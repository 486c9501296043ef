//! ARP: the virtual router answers for itself and for every endpoint of the subnet.
//!
//! An address that nobody has, and the sender's own, get no answer, as in a VPC. The answer is written
//! over the request and goes back through the device that it came from.

use crate::{
    bytes::{Addr, Mac, MacPair},
    frame::Frame,
    owner::{owner, pool},
    packet::Packet,
    reason::Reason,
    stage::{parse::ETHERNET, service},
    table::Pool,
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
    if sender_mac != record.mac || !(is_probe || owner(tables, record.vpc, &sender) == eni) {
        return Err(Reason::ArpSender);
    }
    let wanted = Addr::v4([body[24], body[25], body[26], body[27]]);
    let subnet = tables.subnet(record.subnet).ok_or(Reason::Incomplete)?;
    let mac = if wanted == subnet.router || service::has_address(tables, record.vpc, &wanted) {
        subnet.router_mac
    } else {
        let owner = owner(tables, record.vpc, &wanted);
        if owner == 0 || owner == eni {
            return Err(Reason::ArpUnanswered);
        }
        let owner = tables.eni(owner).ok_or(Reason::Incomplete)?;
        if owner.subnet != record.subnet {
            return Err(Reason::ArpUnanswered);
        }
        owner.mac
    };
    write(frame, &body, mac, record.mac)
}

/// Rewrites a request from the outside into the answer of the device that leads there: it stands for all
/// public addresses of this installation.
#[inline(never)]
pub(crate) fn answer_outside<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    packet: &Packet,
) -> Result<(), Reason> {
    let outside = tables.outside().ok_or(Reason::NoOutside)?;
    let body = frame.load::<28>(ETHERNET).ok_or(Reason::Malformed)?.0;
    if [body[0], body[1], body[2], body[3], body[4], body[5]] != KIND {
        return Err(Reason::Malformed);
    }
    if [body[6], body[7]] != REQUEST {
        return Err(Reason::ArpNotRequest);
    }
    let wanted = Addr::v4([body[24], body[25], body[26], body[27]]);
    match pool(tables, &wanted) {
        Some(pool) if pool.flags & Pool::HOST == 0 => {
            write(frame, &body, outside.near_mac, packet.source_mac())
        }
        _ => Err(Reason::ArpUnanswered),
    }
}

/// Writes the answer over the request.
#[inline(always)]
fn write<F: Frame>(frame: &mut F, body: &[u8; 28], mac: Mac, to: Mac) -> Result<(), Reason> {
    let (m, t) = (mac.0, to.0);
    let reply = [
        REPLY, m[0], m[1], m[2], m[3], m[4], m[5], body[24], body[25], body[26], body[27], t[0],
        t[1], t[2], t[3], t[4], t[5], body[14], body[15], body[16], body[17],
    ];
    let is_written =
        frame.store(0, &MacPair::new(to, mac).bytes()) && frame.store(ETHERNET + 7, &reply);
    if is_written {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::ledger::{A, B, C, Change, D, Gate, World, addr, mac, router_mac};
    use crate::packet_builder::arp_request;

    /// Asks from A; no gate filters ARP.
    #[track_caller]
    fn ask(sender: Addr, wanted: Addr, expected: Result<Mac, Reason>) {
        let world = World::new(Gate::Closed, Gate::Closed);
        let mut frame = arp_request(mac(A), sender, wanted);
        match expected {
            Ok(answer) => {
                let verdict = world.send(A, &mut frame, &Change::default());
                assert_eq!(verdict, Verdict::Reply);
                assert_eq!(frame[..6], mac(A).0);
                assert_eq!(frame[6..12], answer.0);
                assert_eq!(frame[20..22], [0, 2]);
                assert_eq!(frame[22..28], answer.0);
                assert_eq!(frame[28..32], wanted.v4_octets());
                assert_eq!(frame[32..38], mac(A).0);
            }
            Err(reason) => {
                let _ = world.send(A, &mut frame, &Change::dropped_again(reason));
            }
        }
    }

    #[test]
    fn the_router_and_the_neighbours_are_answered_for() {
        ask(addr(A), Addr::v4([10, 0, 0, 1]), Ok(router_mac(11)));
        // C has the same address in another VPC.
        assert_eq!(addr(B), addr(C));
        ask(addr(A), addr(B), Ok(mac(B)));
        let probe = Addr::v4([0; 4]);
        ask(probe, addr(B), Ok(mac(B)));
    }

    #[test]
    fn nobody_else_is() {
        for wanted in [
            addr(A),
            addr(D),
            Addr::v4([10, 0, 0, 99]),
            Addr::v4([10, 0, 1, 1]),
        ] {
            ask(addr(A), wanted, Err(Reason::ArpUnanswered));
        }
    }

    #[test]
    fn only_the_eni_itself_asks() {
        ask(addr(B), Addr::v4([10, 0, 0, 1]), Err(Reason::ArpSender));
        let world = World::new(Gate::Everybody, Gate::Everybody);
        let mut frame = arp_request(mac(B), addr(A), addr(B));
        let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::SourceMac));
        // The Ethernet header is right, the message is not.
        let mut frame = arp_request(mac(A), addr(A), addr(B));
        frame[27] = 9;
        let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::ArpSender));
    }

    #[test]
    fn what_is_no_request_is_not_answered() {
        let world = World::new(Gate::Everybody, Gate::Everybody);
        let mut frame = arp_request(mac(A), addr(A), addr(B));
        frame[21] = 2;
        let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::ArpNotRequest));
        let mut frame = arp_request(mac(A), addr(A), addr(B));
        frame[14] = 9;
        let _ = world.send(A, &mut frame, &Change::dropped_again(Reason::Malformed));
    }
}
