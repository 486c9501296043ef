//! Who has an address: exact addresses first, delegated prefixes second.

use crate::{
    bytes::Addr,
    table::{ADDR_BITS, EndpointKey, Pool, PoolKey, PrefixKey, trie_id},
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
