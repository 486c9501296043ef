//! What NAT gateways count, by the names of AWS's metrics.

use std::collections::BTreeMap;

use enid_host::Installation;
use enid_host::flows::{FlowError, monotonic_ns};
use enid_host::nat_counts::{NatTables, metrics};
use enid_model::id::ResourceId as _;
use enid_model::state::State;
use enid_pipeline::nat_counts::NatCountsRecord;
use enid_telemetry::meanings;
use enid_telemetry::source::{Meaning, Pace, Post, Reading, Shape, Source, SourceError};

use super::peaks::{Carried, Peaks};

const NAT: Option<&str> = Some("AWS/NATGateway");

// By name, as `metrics` answers them; the peaks last.
meanings! {
    ACTIVE = NAT, "ActiveConnectionCount", COUNT, Gauge, Some("enid_nat_active_connections"), "TCP connections through the NAT gateway that are open";
    BYTES_IN_DESTINATION = NAT, "BytesInFromDestination", BYTES, Counter, Some("enid_nat_bytes_in_from_destination_total"), "Bytes that the NAT gateway got from destinations";
    BYTES_IN_SOURCE = NAT, "BytesInFromSource", BYTES, Counter, Some("enid_nat_bytes_in_from_source_total"), "Bytes that the NAT gateway got from instances";
    BYTES_OUT_DESTINATION = NAT, "BytesOutToDestination", BYTES, Counter, Some("enid_nat_bytes_out_to_destination_total"), "Bytes that the NAT gateway sent to destinations";
    BYTES_OUT_SOURCE = NAT, "BytesOutToSource", BYTES, Counter, Some("enid_nat_bytes_out_to_source_total"), "Bytes that the NAT gateway sent to instances";
    ATTEMPTS = NAT, "ConnectionAttemptCount", COUNT, Counter, Some("enid_nat_connection_attempts_total"), "TCP connections through the NAT gateway that began";
    ESTABLISHED = NAT, "ConnectionEstablishedCount", COUNT, Counter, Some("enid_nat_connections_established_total"), "TCP connections through the NAT gateway that destinations accepted";
    PORT_ERRORS = NAT, "ErrorPortAllocation", COUNT, Counter, Some("enid_nat_port_allocation_errors_total"), "Times that the NAT gateway had no port for a new connection";
    IDLE = NAT, "IdleTimeoutCount", COUNT, Counter, Some("enid_nat_idle_timeouts_total"), "Connections that the NAT gateway forgot because they were idle for 350 seconds";
    DROPPED = NAT, "PacketsDropCount", COUNT, Counter, Some("enid_nat_dropped_packets_total"), "Packets that the NAT gateway dropped";
    PACKETS_IN_DESTINATION = NAT, "PacketsInFromDestination", COUNT, Counter, Some("enid_nat_packets_in_from_destination_total"), "Packets that the NAT gateway got from destinations";
    PACKETS_IN_SOURCE = NAT, "PacketsInFromSource", COUNT, Counter, Some("enid_nat_packets_in_from_source_total"), "Packets that the NAT gateway got from instances";
    PACKETS_OUT_DESTINATION = NAT, "PacketsOutToDestination", COUNT, Counter, Some("enid_nat_packets_out_to_destination_total"), "Packets that the NAT gateway sent to destinations";
    PACKETS_OUT_SOURCE = NAT, "PacketsOutToSource", COUNT, Counter, Some("enid_nat_packets_out_to_source_total"), "Packets that the NAT gateway sent to instances";
    PEAK_BYTES = NAT, "PeakBytesPerSecond", COUNT, Gauge, None, "The most bytes a second, in ten seconds of the minute, that the NAT gateway got and sent";
    PEAK_PACKETS = NAT, "PeakPacketsPerSecond", COUNT, Gauge, None, "The most packets a second, in ten seconds of the minute, that the NAT gateway got and sent";
}

/// The NAT gateways of this host.
pub(crate) struct NatGateways {
    tables: NatTables,
    peaks: Peaks,
}

impl NatGateways {
    const NAME: &str = "nat-gateways";

    /// The NAT gateways of an installation.
    pub(crate) fn open(installation: Installation) -> Result<Self, FlowError> {
        Ok(Self {
            tables: NatTables::open(installation)?,
            peaks: Peaks::default(),
        })
    }

    fn readings(
        &self,
        life: &str,
        counts: &BTreeMap<u64, NatCountsRecord>,
        state: &State,
    ) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (scope, region) in state.regions() {
            for gateway in region.nat_gateways.values() {
                let bits = gateway.id.bits();
                let known = counts.get(&bits);
                let is_there = gateway.is_available();
                if known.is_none() && !is_there {
                    continue;
                }
                let id = gateway.id.to_string();
                let pace = match is_there {
                    true => Pace::Minute,
                    false => Pace::IfAny,
                };
                let post = |meaning: &'static Meaning| {
                    Post::new(meaning, scope, vec![("NatGatewayId", id.clone())]).at(pace)
                };
                let counted = metrics(&known.copied().unwrap_or_default());
                for (meaning, (name, amount)) in ALL.iter().zip(counted) {
                    debug_assert_eq!(meaning.name, name, "in the same order");
                    let posts = vec![post(meaning)];
                    readings.push(match meaning.shape {
                        Shape::Counter => {
                            Reading::count(format!("{life}/{id}/{name}"), amount, posts)
                        }
                        Shape::Gauge => {
                            Reading::level(format!("{id}/{name}"), whole(amount), posts)
                        }
                    });
                }
                // Whoever has not looked for a whole minute does not know its peak.
                let Some((bytes, packets)) = self.peaks.of(&[bits]) else {
                    continue;
                };
                for (meaning, peak) in [(&PEAK_BYTES, bytes), (&PEAK_PACKETS, packets)] {
                    let key = format!("{id}/{}", meaning.name);
                    readings.push(Reading::level(key, peak, vec![post(meaning)]));
                }
            }
        }
        readings
    }
}

impl Source for NatGateways {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn glance(&mut self) {
        match self.tables.all_counts() {
            Ok(counts) => self.peaks.note(carried(&counts), monotonic_ns()),
            Err(_) => self.peaks.clear(),
        }
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        let counts = self.tables.all_counts();
        let counts = counts.map_err(|error| SourceError::new(Self::NAME, error))?;
        Ok(self.readings(&self.tables.life(), &counts, state))
    }

    fn clear(&mut self) {
        self.peaks.clear();
    }
}

/// What gateways and nodes have carried, both ways.
pub(super) fn carried(counts: &BTreeMap<u64, NatCountsRecord>) -> BTreeMap<u64, Carried> {
    let carried = counts.iter().map(|(id, counts)| {
        let carried = Carried {
            bytes: counts.out_bytes + counts.back_bytes,
            packets: counts.out_packets + counts.back_packets,
        };
        (*id, carried)
    });
    carried.collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of connections are far below 2^53"
)]
pub(super) fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_are_in_the_order_of_the_counts() {
        let counted = metrics(&NatCountsRecord::default());
        assert_eq!(ALL.len(), counted.len() + 2);
        for (meaning, (name, _)) in ALL.iter().zip(counted) {
            assert_eq!(meaning.name, name);
        }
    }
}
