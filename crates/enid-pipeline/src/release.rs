//! The end of a flow's entry, and how the agent orders it.
//!
//! What an entry holds, room in the table and perhaps a port of a NAT gateway, must be given back in the same
//! moment as it goes, and what it has counted kept, so a program does all of it. The flow sweep runs it on a
//! frame that says which entry.

use crate::{
    bytes::{Addr, Be16},
    connection, counter,
    flow::{Age, FlowKey},
    room,
    stage::nat_port,
    tables::Tables,
};

/// Removes a flow's entry whose connection has ended, or which `is_lost` because the device of an end is
/// gone, with what it holds at a NAT gateway. False if it goes on, or is not there. One that only a NAT gateway
/// knows any more, or that a load balancer was rid of, is tracked by nobody from now on.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, order: &ReleaseOrder, now_ns: u64) -> bool {
    let Some(entry) = tables.flow(&order.key) else {
        return false;
    };
    if !order.is_lost {
        match connection::age(tables, &order.key, &entry, now_ns) {
            Age::Live => return false,
            Age::Forgotten | Age::Lapsed => {
                room::untrack(tables, &entry);
                return false;
            }
            Age::Ended => {}
        }
    }
    nat_port::let_go(tables, &order.key, &entry, !order.is_lost);
    room::remove(tables, &order.key);
    // Counted when it is out of the table: nobody finds it there and here.
    counter::over(tables, order.key.protocol, &entry);
    true
}

/// Which entry to remove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReleaseOrder {
    /// Its key.
    pub key: FlowKey,
    /// Whether to remove it though its connection has not ended.
    pub is_lost: bool,
}

impl ReleaseOrder {
    /// Where an order lies in its frame, behind an Ethernet header that says nothing.
    pub const OFFSET: u32 = 14;
    /// Its length.
    pub const LENGTH: usize = 48;
    /// What the program returns if the entry is gone.
    pub const GONE: u32 = 1;
    /// What it returns if the entry is still there, or was not.
    pub const KEPT: u32 = 0;

    /// As the program reads it.
    pub const fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let key = &self.key;
        let (index, source, target) = (
            key.ifindex.to_ne_bytes(),
            key.source.octets(),
            key.target.octets(),
        );
        let mut at = 0;
        while at < 4 {
            bytes[at] = index[at];
            at += 1;
        }
        let mut at = 0;
        while at < 16 {
            bytes[4 + at] = source[at];
            bytes[20 + at] = target[at];
            at += 1;
        }
        [bytes[36], bytes[37]] = key.source_port.bytes();
        [bytes[38], bytes[39]] = key.target_port.bytes();
        bytes[40] = key.protocol;
        bytes[41] = self.is_lost as u8;
        bytes
    }

    /// From the bytes.
    #[inline(always)]
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        let b = bytes;
        let mut addrs = [[0; 16]; 2];
        for (at, addr) in addrs.iter_mut().enumerate() {
            for (octet, byte) in addr.iter_mut().zip(b.iter().skip(4 + at * 16)) {
                *octet = *byte;
            }
        }
        Self {
            key: FlowKey {
                ifindex: u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                protocol: b[40],
                pad: [0; 3],
                source: Addr::v6(addrs[0]),
                target: Addr::v6(addrs[1]),
                source_port: Be16::from_bytes([b[36], b[37]]),
                target_port: Be16::from_bytes([b[38], b[39]]),
            },
            is_lost: b[41] != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::protocol;

    #[test]
    fn an_order_comes_back_from_its_bytes() {
        let order = ReleaseOrder {
            key: FlowKey {
                ifindex: 0x0102_0304,
                protocol: protocol::TCP,
                pad: [0; 3],
                source: Addr::v4([10, 0, 0, 1]),
                target: Addr::v6([7; 16]),
                source_port: Be16::new(40_000),
                target_port: Be16::new(80),
            },
            is_lost: true,
        };
        assert_eq!(ReleaseOrder::from_bytes(&order.to_bytes()), order);
        let ended = ReleaseOrder {
            is_lost: false,
            ..order
        };
        assert_eq!(ReleaseOrder::from_bytes(&ended.to_bytes()), ended);
    }
}
