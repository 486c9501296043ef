//! How many addresses and prefixes an interface may have: by the type of its instance, or as many as
//! any type allows while it is attached to none. A prefix takes the slot of one address.

use std::sync::LazyLock;

use enid_model::instance_type::InstanceType;
use enid_model::network_interface::NetworkInterface;
use enid_model::subnet::Subnet;

use crate::address_lease::Wish;
use crate::attachment::Limits;
use crate::ipv6_lease::Ipv6Wish;
use crate::{AddressingError, Draft, Error};

/// The slots that an interface takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    ipv4: usize,
    ipv6: usize,
    has_prefixes: bool,
}

impl Slots {
    /// Those of an interface as it is.
    pub(crate) fn held(eni: &NetworkInterface) -> Self {
        Self {
            ipv4: eni.addresses.len() + eni.ipv4_prefixes.len(),
            ipv6: eni.ipv6_addresses.len() + eni.ipv6_prefixes.len(),
            has_prefixes: !eni.ipv4_prefixes.is_empty() || !eni.ipv6_prefixes.is_empty(),
        }
    }

    /// Those of an interface that shall be made in a subnet.
    pub(crate) fn wanted(ipv4: &Wish, ipv6: &Ipv6Wish, subnet: &Subnet) -> Self {
        Self {
            ipv4: ipv4.slots(),
            ipv6: ipv6.slots(subnet),
            has_prefixes: ipv4.prefix_count() > 0 || ipv6.prefix_count() > 0,
        }
    }

    /// With more IPv4 addresses and prefixes.
    pub(crate) fn add_ipv4(&mut self, addresses: usize, prefixes: usize) {
        self.ipv4 = self.ipv4.saturating_add(addresses).saturating_add(prefixes);
        self.has_prefixes |= prefixes > 0;
    }

    /// With more IPv6 addresses and prefixes.
    pub(crate) fn add_ipv6(&mut self, addresses: usize, prefixes: usize) {
        self.ipv6 = self.ipv6.saturating_add(addresses).saturating_add(prefixes);
        self.has_prefixes |= prefixes > 0;
    }

    /// An interface of an instance of this type may have them; of none, if it is attached to none.
    pub(crate) fn check(self, limits: Option<Limits<'_>>) -> Result<(), Error> {
        let (ipv4, ipv6) = match limits {
            Some(limits) => of_type(limits.found()),
            None => *LARGEST,
        };
        if self.ipv4 > usize::from(ipv4) {
            return Err(Error::PrivateAddressLimitExceeded);
        }
        if self.ipv6 > usize::from(ipv6) {
            return Err(AddressingError::Ipv6AddressLimitExceeded.into());
        }
        match limits {
            Some(limits) if self.has_prefixes && !is_nitro(limits.found()) => {
                let instance_type = limits.name().into();
                Err(AddressingError::PrefixesNeedNitro { instance_type }.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// This interface, where it is attached now, may have them; also at the commit.
    pub(crate) fn check_attached(
        self,
        draft: &mut Draft<'_>,
        eni: &NetworkInterface,
    ) -> Result<(), Error> {
        let Some(attachment) = &eni.attachment else {
            return self.check(None);
        };
        let instance = draft.require_instance_of(attachment)?;
        self.check(Some(Limits::of(&instance.instance_type)?))
    }
}

/// The limits of a type: IPv4, IPv6. Where the second is not known it is the first, as it is for
/// nearly all types.
fn of_type(found: &InstanceType) -> (u16, u16) {
    (
        found.ipv4_per_eni,
        found.ipv6_per_eni.unwrap_or(found.ipv4_per_eni),
    )
}

fn is_nitro(found: &InstanceType) -> bool {
    found.hypervisor.as_deref() == Some("nitro") || found.bare_metal == Some(true)
}

/// The most that any type allows.
static LARGEST: LazyLock<(u16, u16)> = LazyLock::new(|| {
    let limits = InstanceType::all().map(|(_, found)| of_type(found));
    limits.fold((1, 0), |(a, b), (ipv4, ipv6)| (a.max(ipv4), b.max(ipv6)))
});

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, ipv4: usize, ipv6: usize, has_prefixes: bool) -> Result<(), &'static str> {
        let slots = Slots {
            ipv4,
            ipv6,
            has_prefixes,
        };
        let limits = Limits::of(name).expect("a type of AWS");
        slots.check(Some(limits)).map_err(|error| match error {
            Error::PrivateAddressLimitExceeded => "IPv4",
            Error::AddressingError(AddressingError::Ipv6AddressLimitExceeded) => "IPv6",
            Error::AddressingError(AddressingError::PrefixesNeedNitro { .. }) => "Nitro",
            other => panic!("{other}"),
        })
    }

    #[test]
    fn a_type_limits_each_family_and_older_ones_have_no_prefixes() {
        assert_eq!(check("t3.micro", 2, 2, true), Ok(()));
        assert_eq!(check("t3.micro", 3, 0, false), Err("IPv4"));
        assert_eq!(check("t3.micro", 1, 3, false), Err("IPv6"));
        // t2.micro runs on Xen, c5.metal on nothing.
        assert_eq!(check("t2.micro", 2, 2, false), Ok(()));
        assert_eq!(check("t2.micro", 2, 0, true), Err("Nitro"));
        assert_eq!(check("c5.metal", 2, 0, true), Ok(()));
        // m1.small has no IPv6.
        assert_eq!(check("m1.small", 1, 1, false), Err("IPv6"));
    }

    #[test]
    fn an_interface_that_is_attached_to_none_may_have_what_any_type_allows() {
        let free = |ipv4| {
            let slots = Slots {
                ipv4,
                ipv6: 0,
                has_prefixes: true,
            };
            slots.check(None)
        };
        assert_eq!(free(50), Ok(()));
        let refused = free(usize::MAX);
        assert_eq!(refused, Err(Error::PrivateAddressLimitExceeded));
    }
}
