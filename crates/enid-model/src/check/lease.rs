//! Claims of addresses within subnets: each has a holder that knows of it.

use std::fmt::Display;

use super::Report;
use crate::id::{EniId, SubnetId};
use crate::network_interface::NetworkInterface;

const HELD: &str = "its holder has what it claims";

impl Report<'_> {
    pub(super) fn address_leases(&mut self) {
        for ((subnet, address), lease) in &self.region.leases {
            self.lease(address, *subnet, lease.eni, |eni| {
                let mut prefixes = eni.ipv4_prefixes.iter();
                eni.addresses.contains(address) || prefixes.any(|block| block.contains(address))
            });
        }
    }

    pub(super) fn ipv6_leases(&mut self) {
        for ((subnet, address), lease) in &self.region.ipv6_leases {
            self.lease(address, *subnet, lease.eni, |eni| {
                eni.ipv6_addresses.contains(address)
            });
            // A prefix claims all its addresses, so that none of them is claimed alone.
            let first = self
                .region
                .ipv6_prefix_leases
                .get_prev(&(*subnet, *address));
            let mask = !0_u128 << 48;
            let covered = first.is_some_and(|((of, first), _)| {
                of == subnet && u128::from(*first) == u128::from(*address) & mask
            });
            let invariant = "no prefix claims the address as well";
            self.need(!covered, address, invariant, subnet);
        }
    }

    pub(super) fn ipv6_prefix_leases(&mut self) {
        for ((subnet, first), lease) in &self.region.ipv6_prefix_leases {
            self.lease(first, *subnet, lease.eni, |eni| {
                let mut prefixes = eni.ipv6_prefixes.iter();
                prefixes.any(|block| block.network() == *first)
            });
        }
    }

    fn lease(
        &mut self,
        claimed: &dyn Display,
        subnet: SubnetId,
        eni: EniId,
        is_held: impl Fn(&NetworkInterface) -> bool,
    ) {
        let record = format!("{subnet}/{claimed}");
        let Some(holder) = self.eni(&record, eni) else {
            return;
        };
        let same = holder.subnet == subnet;
        self.need(same, &record, "its holder is in the subnet", &holder.subnet);
        self.need(is_held(holder), &record, HELD, &eni);
    }
}
