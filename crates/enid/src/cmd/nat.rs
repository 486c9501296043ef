//! `enid nat`: what NAT gateways have carried and refused. It reads the kernel's tables and needs no
//! daemon.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use enid_host::Installation;
use enid_host::nat_counts::{NatTables, metrics};
use enid_model::id::NatGatewayId;
use enid_pipeline::nat_counts::{NatCountsRecord, NatPortsKey};
use enid_pipeline::table::{NatRecord, protocol};
use serde::Serialize;

use crate::cli::Common;

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Gateway {
    nat_gateway: String,
    addresses: Vec<Address>,
    /// By the names of AWS's metrics: sums since the gateway was made, and the connections that are open
    /// now.
    metrics: BTreeMap<&'static str, u64>,
    /// Destinations to which connections are open, those with the most first.
    destinations: Vec<Destination>,
}

/// An address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Address {
    private: Ipv4Addr,
    public: Option<Ipv4Addr>,
}

/// Connections from one address to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Destination {
    address: Ipv4Addr,
    destination: Ipv4Addr,
    /// 0 for ICMP.
    port: u16,
    protocol: u8,
    connections: u64,
}

pub(crate) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let failed = |error| anyhow::anyhow!("read the counts: {}", enid_host::chain(&error));
    let data = common.data_dir()?.serving();
    let tables = NatTables::open(Installation::of(data.path())).map_err(failed)?;
    let ports = tables.ports().map_err(failed)?;
    let ports: Vec<(NatPortsKey, u64)> = ports
        .into_iter()
        .map(|(key, record)| (key, record.taken))
        .collect();
    let mut gateways: Vec<Gateway> = tables
        .counts()
        .map_err(failed)?
        .iter()
        .map(|(id, record, counts)| gateway(*id, record, counts, &ports))
        .collect();
    gateways.sort_by(|a, b| a.nat_gateway.cmp(&b.nat_gateway));
    common.printer().print(&gateways, |gateways| {
        let lines: Vec<String> = gateways.iter().map(words).collect();
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn gateway(
    id: u64,
    record: &NatRecord,
    counts: &NatCountsRecord,
    ports: &[(NatPortsKey, u64)],
) -> Gateway {
    let count = usize::try_from(record.count).unwrap_or(0);
    let is_public = record.flags & NatRecord::PUBLIC != 0;
    let addresses = record.private.iter().zip(record.public).take(count);
    let mut destinations: Vec<Destination> = ports
        .iter()
        .filter(|(key, taken)| key.nat == id && taken.cast_signed() > 0)
        .map(|(key, taken)| Destination {
            address: key.address.into(),
            destination: key.target.into(),
            port: key.port.value(),
            protocol: key.protocol,
            connections: *taken,
        })
        .collect();
    destinations.sort_by_key(|it| (u64::MAX - it.connections, it.destination, it.port));
    Gateway {
        nat_gateway: NatGatewayId(id).to_string(),
        addresses: addresses
            .map(|(private, public)| Address {
                private: (*private).into(),
                public: is_public.then(|| public.into()),
            })
            .collect(),
        metrics: metrics(counts).into_iter().collect(),
        destinations,
    }
}

fn words(gateway: &Gateway) -> String {
    let addresses = gateway
        .addresses
        .iter()
        .map(|address| match address.public {
            Some(public) => format!("{} as {public}", address.private),
            None => address.private.to_string(),
        });
    let addresses: Vec<String> = addresses.collect();
    let mut lines = vec![format!("{} {}", gateway.nat_gateway, addresses.join(", "))];
    for (name, value) in &gateway.metrics {
        lines.push(format!("  {name:28} {value}"));
    }
    for it in &gateway.destinations {
        let name = match it.protocol {
            protocol::ICMP => "icmp",
            protocol::TCP => "tcp",
            _ => "udp",
        };
        lines.push(format!(
            "  {} -> {} {name} {} connections {}",
            it.address, it.destination, it.port, it.connections
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use enid_pipeline::bytes::Be16;

    use super::*;

    #[test]
    fn a_gateway_shows_its_addresses_metrics_and_destinations() {
        let mut record = NatRecord {
            vpc: 1,
            subnet: 2,
            eni: 3,
            flags: NatRecord::PUBLIC,
            count: 1,
            private: [[10, 0, 1, 5]; 8],
            public: [[198, 18, 0, 7]; 8],
            draining: 0,
        };
        let counts = NatCountsRecord {
            out_packets: 7,
            refused_out_packets: 2,
            active: 1,
            ..NatCountsRecord::default()
        };
        let key = |nat, port| NatPortsKey {
            nat,
            address: [198, 18, 0, 7],
            target: [203, 0, 113, 9],
            port: Be16::new(port),
            protocol: protocol::TCP,
            pad: [0; 5],
        };
        let ports = [
            (key(9, 80), 1),
            (key(9, 443), 4),
            (key(9, 22), 0),
            (key(8, 81), 5),
        ];
        let found = gateway(9, &record, &counts, &ports);
        assert_eq!(found.metrics["PacketsInFromSource"], 9);
        assert_eq!(found.metrics["PacketsOutToDestination"], 7);
        let most = found
            .destinations
            .iter()
            .map(|it| (it.port, it.connections));
        assert_eq!(most.collect::<Vec<_>>(), [(443, 4), (80, 1)]);
        let text = words(&found);
        assert!(text.contains("10.0.1.5 as 198.18.0.7"), "{text}");
        assert!(text.contains("203.0.113.9 tcp 443 connections 4"), "{text}");
        record.flags = 0;
        let text = words(&gateway(9, &record, &counts, &ports));
        assert!(!text.contains(" as "), "{text}");
    }
}
