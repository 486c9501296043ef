//! Who has an address: exact addresses first, delegated prefixes second. Who has a MAC address.

use crate::{
    bytes::{Addr, Mac},
    table::{ADDR_BITS, EndpointKey, EniRecord, MacKey, Pool, PoolKey, PrefixKey, trie_id},
    tables::Tables,
};

/// The ENI that has an address in a VPC; 0, which is nobody's id, if none has. One function of the kernel
/// program, so that the key is on no caller's stack.
#[inline(never)]
pub(crate) fn owner<T: Tables>(tables: &T, vpc: u64, addr: &Addr) -> u64 {
    if let Some(eni) = tables.endpoint(&EndpointKey { vpc, addr: *addr }) {
        return eni;
    }
    delegated(tables, vpc, addr)
}

/// The ENI of a subnet that has a MAC address; 0 if none has. That of a NAT gateway is nobody's next hop
/// but by a route.
#[inline(never)]
pub(crate) fn neighbour<T: Tables>(tables: &T, vpc: u64, subnet: u64, mac: Mac) -> u64 {
    let key = MacKey {
        vpc,
        mac,
        pad: [0; 2],
    };
    let eni = tables.mac(&key).unwrap_or(0);
    let is_there =
        |record: &EniRecord| record.subnet == subnet && record.flags & EniRecord::NAT_GATEWAY == 0;
    if tables.eni(eni).is_some_and(is_there) {
        eni
    } else {
        0
    }
}

/// The ENI that has an address, as an ENI of this VPC and subnet sees it. An IPv6 address on the link is
/// made from a MAC: whoever has that one in the subnet has the address, without being given it.
#[inline(never)]
pub(crate) fn owner_seen<T: Tables>(tables: &T, vpc: u64, subnet: u64, addr: &Addr) -> u64 {
    let mac = addr.link_mac();
    if mac == Mac([0; 6]) {
        owner(tables, vpc, addr)
    } else {
        neighbour(tables, vpc, subnet, mac)
    }
}

#[inline(never)]
fn delegated<T: Tables>(tables: &T, vpc: u64, addr: &Addr) -> u64 {
    let key = PrefixKey {
        prefix_len: ADDR_BITS,
        vpc: trie_id(vpc),
        addr: *addr,
    };
    tables.prefix(&key).unwrap_or(0)
}

/// The pool of this installation that an address belongs to.
#[inline(always)]
pub(crate) fn pool<'a, T: Tables>(tables: &'a T, addr: &Addr) -> Option<&'a Pool> {
    tables.pool(&PoolKey {
        prefix_len: 128,
        addr: *addr,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{A, B, Gate, World, addr};
    use crate::table::{Endpoint, TABLE_BITS};

    #[test]
    fn an_address_belongs_to_its_holder_before_the_holder_of_the_prefix() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        let key = PrefixKey {
            prefix_len: TABLE_BITS + 96 + 28,
            vpc: trie_id(1),
            addr: Addr::v4([10, 0, 0, 16]),
        };
        world
            .memory
            .tables
            .prefixes
            .insert(key, Endpoint { eni: A });
        let of = |vpc, octets| owner(&world.memory, vpc, &Addr::v4(octets));
        assert_eq!(of(1, [10, 0, 0, 17]), A);
        assert_eq!(of(1, addr(B).v4_octets()), B);
        assert_eq!(of(1, [10, 0, 0, 32]), 0);
        assert_eq!(of(2, [10, 0, 0, 17]), 0);
    }
}
