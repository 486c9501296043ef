//! How many addresses of each subnet are leased, and where the next free one is.
//!
//! Leased addresses are kept as runs without a gap, so that neither question goes through the
//! leases: a subnet that is nearly full has few runs, one that is nearly empty short ones.
//!
//! Invariant: the runs of a subnet neither overlap nor touch, and its count is their length.

use std::net::Ipv4Addr;

use imbl::OrdMap;

use crate::id::SubnetId;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leased {
    counts: OrdMap<SubnetId, u32>,
    /// The first address of each run to its last one.
    runs: OrdMap<(SubnetId, u32), u32>,
}

impl Leased {
    /// How many addresses of a subnet are leased.
    pub(super) fn count(&self, subnet: SubnetId) -> u32 {
        self.counts.get(&subnet).copied().unwrap_or(0)
    }

    /// The first address from this one on that is not leased in a subnet, if there is any.
    pub(super) fn next_free(&self, subnet: SubnetId, from: Ipv4Addr) -> Option<Ipv4Addr> {
        let from = u32::from(from);
        match self.run_at(subnet, from) {
            Some((_, last)) => last.checked_add(1).map(Ipv4Addr::from),
            None => Some(from.into()),
        }
    }

    /// Notes a lease of an address that was free.
    pub(super) fn insert(&mut self, subnet: SubnetId, address: Ipv4Addr) {
        let address = u32::from(address);
        let (mut first, mut last) = (address, address);
        let below = address.checked_sub(1);
        if let Some((start, _)) = below.and_then(|below| self.run_at(subnet, below)) {
            first = start;
        }
        let above = address.checked_add(1).map(|above| (subnet, above));
        if let Some(end) = above.and_then(|above| self.runs.remove(&above)) {
            last = end;
        }
        self.runs.insert((subnet, first), last);
        *self.counts.entry(subnet).or_default() += 1;
    }

    /// Notes that a leased address is free again.
    pub(super) fn remove(&mut self, subnet: SubnetId, address: Ipv4Addr) {
        let address = u32::from(address);
        let Some((first, last)) = self.run_at(subnet, address) else {
            return;
        };
        self.runs.remove(&(subnet, first));
        if first < address {
            self.runs.insert((subnet, first), address - 1);
        }
        if address < last {
            self.runs.insert((subnet, address + 1), last);
        }
        let count = self.count(subnet).saturating_sub(1);
        match count {
            0 => self.counts.remove(&subnet),
            _ => self.counts.insert(subnet, count),
        };
    }

    /// The run that an address is in.
    fn run_at(&self, subnet: SubnetId, address: u32) -> Option<(u32, u32)> {
        let ((of, first), last) = self.runs.get_prev(&(subnet, address))?;
        (*of == subnet && *last >= address).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A few addresses at the end of all, so that runs join, split and meet the last one.
        #[test]
        fn runs_say_what_a_set_says(steps in proptest::collection::vec((0..2_u64, 0..12_u32), 1..80)) {
            let mut set = BTreeSet::new();
            let mut leased = Leased::default();
            for (subnet, offset) in steps {
                let (subnet, number) = (SubnetId(subnet), u32::MAX - 11 + offset);
                if set.insert((subnet, number)) {
                    leased.insert(subnet, number.into());
                } else {
                    set.remove(&(subnet, number));
                    leased.remove(subnet, number.into());
                }
                for subnet in [SubnetId(0), SubnetId(1)] {
                    let count = set.iter().filter(|(of, _)| *of == subnet).count();
                    prop_assert_eq!(usize::try_from(leased.count(subnet)).ok(), Some(count));
                    for from in u32::MAX - 12..=u32::MAX {
                        let free = (from..=u32::MAX).find(|at| !set.contains(&(subnet, *at)));
                        prop_assert_eq!(leased.next_free(subnet, from.into()), free.map(Ipv4Addr::from));
                    }
                }
            }
            for (subnet, number) in set {
                leased.remove(subnet, number.into());
            }
            prop_assert!(leased.runs.is_empty() && leased.counts.is_empty());
        }
    }
}
