//! Addresses of NAT gateways on their way out: the control plane knows until when, the programs know which of
//! them connections still use, and here one is told of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use enid_control::{Caller, Control};
use enid_host::Installation;
use enid_host::nat_counts::NatTables;
use enid_model::id::{NatGatewayId, ResourceId as _};
use enid_model::nat_gateway::NatGatewayAddress;
use enid_pipeline::nat_counts::{NatPortsKey, NatPortsRecord};

use super::host::owners;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Releases addresses from now on that no connection uses, or whose time is up. Without a datapath there are
/// no connections.
pub(crate) fn release_in_time(control: Arc<Control>, installation: Option<Installation>) {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        let mut idle = BTreeSet::new();
        loop {
            ticks.tick().await;
            let draining = draining(&control);
            if draining.is_empty() {
                idle.clear();
                continue;
            }
            let ports = tokio::task::spawn_blocking(move || ports(installation)).await;
            // What cannot be read is taken for used, until the time is up.
            let used = ports.ok().flatten().map(|ports| used(&ports));
            let is_used = |gateway: NatGatewayId, address: &NatGatewayAddress| match &used {
                Some(used) => {
                    addresses_of(address).any(|own| used.contains(&(gateway.bits(), own.octets())))
                }
                None => true,
            };
            let before = std::mem::take(&mut idle);
            for (gateway, (caller, addresses)) in draining {
                let mut over = BTreeSet::new();
                for address in addresses {
                    // A connection that began in the very moment may not be seen the first time.
                    let place = (gateway, address.private_ip);
                    let is_idle = !is_used(gateway, &address);
                    if is_idle {
                        idle.insert(place);
                    }
                    let is_due = address
                        .drain_until
                        .is_some_and(|until| until <= control.now());
                    if is_due || is_idle && before.contains(&place) {
                        over.insert(address.private_ip);
                    }
                }
                if over.is_empty() {
                    continue;
                }
                let released = control.release_nat_gateway_addresses(&caller, gateway, &over);
                if let Err(error) = released.await {
                    tracing::warn!(%gateway, %error, "addresses that are over were not released");
                }
            }
        }
    });
}

/// The gateways that have addresses on their way out, with these.
fn draining(control: &Control) -> BTreeMap<NatGatewayId, (Caller, Vec<NatGatewayAddress>)> {
    let state = control.store().state();
    let mut found = BTreeMap::new();
    for caller in owners(&state) {
        let regions = state.regions().iter();
        let mut own = regions.filter(|(scope, _)| {
            scope.account == caller.account && scope.region.as_str() == caller.region.name
        });
        let Some((_, region)) = own.next() else {
            continue;
        };
        for gateway in region.nat_gateways.values() {
            let going = gateway.addresses.iter().copied();
            let going: Vec<_> = going.filter(|own| own.drain_until.is_some()).collect();
            if gateway.is_available() && !going.is_empty() {
                found.insert(gateway.id, (caller.clone(), going));
            }
        }
    }
    found
}

/// The ports that connections have; `None` if nobody can tell.
fn ports(installation: Option<Installation>) -> Option<Vec<(NatPortsKey, NatPortsRecord)>> {
    let Some(installation) = installation else {
        return Some(Vec::new());
    };
    NatTables::open(installation).ok()?.ports().ok()
}

/// The gateways' addresses that connections have ports of.
fn used(ports: &[(NatPortsKey, NatPortsRecord)]) -> BTreeSet<(u64, [u8; 4])> {
    let taken = ports
        .iter()
        .filter(|(_, record)| record.taken.cast_signed() > 0);
    taken.map(|(key, _)| (key.nat, key.address)).collect()
}

/// The addresses that packets leave with under one of a gateway's.
fn addresses_of(address: &NatGatewayAddress) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let public = address.public.map(|public| public.public_ip);
    std::iter::once(address.private_ip).chain(public)
}

#[cfg(test)]
mod tests {
    use enid_pipeline::bytes::Be16;

    use super::*;

    #[test]
    fn an_address_is_used_as_long_as_a_port_of_it_is_taken() {
        let of = |last, taken| {
            let key = NatPortsKey {
                nat: 7,
                address: [198, 18, 0, last],
                target: [203, 0, 113, 9],
                port: Be16::new(80),
                protocol: 6,
                pad: [0; 5],
            };
            (key, NatPortsRecord { taken, taken_ns: 1 })
        };
        // Less than none is none.
        let found = used(&[of(1, 0), of(2, 3), of(3, u64::MAX)]);
        assert_eq!(found, BTreeSet::from([(7, [198, 18, 0, 2])]));
    }

    #[test]
    fn without_a_datapath_nothing_is_used() {
        assert_eq!(ports(None), Some(Vec::new()));
    }
}
