//! Addresses of a NAT gateway on their way out: they keep the connections that they have, get no new
//! ones, and go when nobody uses them any more or their time is up, whichever is first. Who sees the
//! connections says when nobody does ([`Control::release_nat_gateway_addresses`]).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_model::address::ElasticIp;
use enid_model::id::NatGatewayId;
use enid_model::nat_gateway::{NatGateway, NatGatewayAddress};
use enid_model::network_interface::NetworkInterface;
use enid_model::state::Stored;

use crate::address_lease::give_back;
use crate::{Caller, Control, Draft, Error};

/// For how long connections through an address that goes are kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSeconds(u16);

impl DrainSeconds {
    /// AWS's, where a call says nothing.
    pub const DEFAULT: Self = Self(350);
    const MAX: u16 = 4000;

    /// What MaxDrainDurationSeconds says; AWS's default without it.
    pub fn new(wanted: Option<i32>) -> Result<Self, Error> {
        let Some(wanted) = wanted else {
            return Ok(Self::DEFAULT);
        };
        match u16::try_from(wanted) {
            Ok(seconds @ 1..=Self::MAX) => Ok(Self(seconds)),
            _ => Err(Error::InvalidValue {
                name: "maxDrainDurationSeconds",
                value: wanted.to_string().into(),
                why: "It must be between 1 and 4000.".into(),
            }),
        }
    }
}

/// Refuses a change of addresses while others are still going.
pub(crate) fn require_settled(gateway: &NatGateway) -> Result<(), Error> {
    let going = gateway.addresses.iter();
    let going = going.filter(|address| address.drain_until.is_some());
    let names: Vec<String> = going
        .map(|address| match address.public {
            Some(public) => public.allocation.to_string(),
            None => address.private_ip.to_string(),
        })
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::NatGatewayAddressesGoing {
        doing: if gateway.is_public {
            "DISASSOCIATING the following EIPs"
        } else {
            "UNASSIGNING the following private IPs"
        },
        names: names.join(", ").into(),
    })
}

/// Sends addresses of a gateway on their way out.
pub(crate) fn begin(
    draft: &mut Draft<'_>,
    gateway: &Stored<NatGateway>,
    going: &BTreeSet<Ipv4Addr>,
    drain: DrainSeconds,
) -> Result<Vec<NatGatewayAddress>, Error> {
    let primary = gateway.addresses.first().map(|address| address.private_ip);
    if primary.is_some_and(|primary| going.contains(&primary)) {
        return Err(Error::NatGatewayPrimaryAddress);
    }
    let mut until = draft.now;
    until.0 += i64::from(drain.0) * 1000;
    let mut sent = Vec::new();
    draft.edit(gateway, |gateway| {
        for address in &mut gateway.addresses {
            if going.contains(&address.private_ip) {
                address.drain_until = Some(until);
                sent.push(*address);
            }
        }
    });
    Ok(sent)
}

impl Control {
    /// Takes addresses that are on their way out from a gateway and its interface; their Elastic IPs are free
    /// from then on. Others of those named, and a gateway that is gone, are left alone.
    pub async fn release_nat_gateway_addresses(
        &self,
        caller: &Caller,
        gateway: NatGatewayId,
        private_ips: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let gateway = draft.require::<NatGateway>(gateway)?;
            let goes = |address: &NatGatewayAddress| {
                address.drain_until.is_some() && private_ips.contains(&address.private_ip)
            };
            let going: Vec<NatGatewayAddress> =
                gateway.addresses.iter().copied().filter(goes).collect();
            if !gateway.is_available() || going.is_empty() {
                return Ok(());
            }
            let eni = draft.require::<NetworkInterface>(gateway.eni)?;
            for address in &going {
                give_back(draft, gateway.subnet, address.private_ip);
                if let Some(public) = address.public {
                    let elastic_ip = draft.require::<ElasticIp>(public.allocation)?;
                    draft.edit(&elastic_ip, |elastic_ip| elastic_ip.association = None);
                }
            }
            let is_gone = |own: &Ipv4Addr| going.iter().any(|address| address.private_ip == *own);
            draft.edit(&eni, |eni| eni.addresses.retain(|own| !is_gone(own)));
            draft.edit(&gateway, |gateway| {
                gateway.addresses.retain(|address| !goes(address));
            });
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_between_a_second_and_4000() {
        assert_eq!(DrainSeconds::new(None), Ok(DrainSeconds(350)));
        assert_eq!(DrainSeconds::new(Some(1)), Ok(DrainSeconds(1)));
        assert_eq!(DrainSeconds::new(Some(4000)), Ok(DrainSeconds(4000)));
        for wanted in [-1, 0, 4001, 70_000] {
            let refused = DrainSeconds::new(Some(wanted)).map_err(|error| error.code());
            assert_eq!(refused, Err("InvalidParameterValue"));
        }
    }
}
