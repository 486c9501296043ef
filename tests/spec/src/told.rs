//! What gateways say to senders, read plainly: RFC 1191 of packets that are too long, RFC 9293 of connections
//! that a NAT gateway does not know.

use enid_pipeline::Reason;
use enid_pipeline::flow::tcp;
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_pipeline::table::Direction;

use crate::gates::acls;
use crate::reading::{Case, Outcome, Sender};
use crate::tuple::{Tuple, error_quotes};
use crate::way::Trip;

/// What becomes of a packet that does not pass: some reasons are told to the sender, by a frame that comes
/// back to it.
pub(crate) fn refused(case: &Case<'_>, trip: &Trip<'_>, reason: Reason) -> Outcome {
    if reason == Reason::BalancerReset {
        let subnet = trip.reset_by.map(|node| node.subnet);
        return subnet.map_or(Err(reason), |subnet| reset(case, subnet));
    }
    let (Sender::Eni(sender), packet) = (case.sender, case.packet) else {
        return Err(reason);
    };
    let router = case.region.subnet_of(sender).router();
    let from = trip.nat.map_or(router, |(_, address)| address);
    let (source, transport) = match (reason, &packet.transport) {
        (Reason::TooBig, _) if !packet.source.is_v4() && error_quotes(packet).is_none() => {
            let [.., a, b, c, d] = u64::try_from(trip.mtu).unwrap_or(0).to_be_bytes();
            let transport = Transport::Icmp {
                kind: 2,
                code: 0,
                rest: [a, b, c, d],
                body: packet.packet()[..88].to_vec(),
            };
            (case.region.subnet_of(sender).v6(1), transport)
        }
        (Reason::TooBig, _) if error_quotes(packet).is_none() => {
            let [.., a, b] = u64::try_from(trip.mtu).unwrap_or(0).to_be_bytes();
            let transport = Transport::Icmp {
                kind: 3,
                code: 4,
                rest: [0, 0, a, b],
                body: packet.packet()[..68].to_vec(),
            };
            (from, transport)
        }
        (Reason::NatReset, Transport::Tcp { from, to, flags }) if flags & tcp::RST == 0 => {
            let flags = if flags & tcp::ACK == 0 {
                tcp::RST | tcp::ACK
            } else {
                tcp::RST
            };
            let (from, to) = (*to, *from);
            (packet.target, Transport::Tcp { from, to, flags })
        }
        _ => return Err(reason),
    };
    let answer =
        PacketBuilder::new(source, packet.source, transport).macs(packet.to_mac, packet.from_mac);
    let tuple = Tuple::of(&answer);
    if let Some((subnet, _)) = trip.nat
        && subnet != sender.subnet
    {
        let edges = [
            (subnet, Direction::Egress, tuple),
            (sender.subnet, Direction::Ingress, tuple),
        ];
        acls(case.region, &edges).map_err(|_refusal| reason)?;
    }
    // Without what Ethernet pads: it is the beginning of a longer frame.
    let mut frame = answer.frame();
    frame.truncate(14 + answer.packet().len());
    if reason == Reason::NatReset {
        // A reset offers no window. That of the builder is 0xffff, which sums up to the same.
        frame[48..50].fill(0);
    }
    Ok(frame)
}

/// A node that does not know a connection of TCP, or was rid of it, resets it. What it says crosses the network
/// ACLs between it and the sender.
pub(crate) fn reset(case: &Case<'_>, node_subnet: usize) -> Outcome {
    let refused = Err(Reason::BalancerReset);
    let packet = case.packet;
    let Transport::Tcp { from, to, flags } = packet.transport else {
        return refused;
    };
    if flags & tcp::RST != 0 {
        return refused;
    }
    let transport = Transport::Tcp {
        from: to,
        to: from,
        flags: match flags & tcp::ACK {
            0 => tcp::RST | tcp::ACK,
            _ => tcp::RST,
        },
    };
    let answer = PacketBuilder::new(packet.target, packet.source, transport)
        .macs(packet.to_mac, packet.from_mac);
    let tuple = Tuple::of(&answer);
    let out = (node_subnet, Direction::Egress, tuple);
    let edges = match case.sender {
        Sender::Outside => vec![out],
        Sender::Eni(sender) if sender.subnet == node_subnet => Vec::new(),
        Sender::Eni(sender) => vec![out, (sender.subnet, Direction::Ingress, tuple)],
    };
    if acls(case.region, &edges).is_err() {
        return refused;
    }
    let mut frame = answer.frame();
    frame.truncate(14 + answer.packet().len());
    // A reset offers no window. That of the builder is 0xffff, which sums up to the same.
    let window = frame.len() - 6;
    frame[window..window + 2].fill(0);
    Ok(frame)
}
