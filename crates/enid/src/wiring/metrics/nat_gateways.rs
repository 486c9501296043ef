//! What NAT gateways count, by the names of AWS's metrics.

use std::collections::{BTreeMap, VecDeque};

use enid_host::Installation;
use enid_host::flows::{FlowError, monotonic_ns};
use enid_host::nat_counts::{NatTables, metrics};
use enid_model::id::ResourceId as _;
use enid_model::state::State;
use enid_pipeline::nat_counts::NatCountsRecord;
use enid_telemetry::meanings;
use enid_telemetry::source::{Meaning, Pace, Post, Reading, Shape, Source, SourceError};

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
    /// What gateways had carried at the last glance, and when.
    carried: BTreeMap<u64, Carried>,
    /// Rates between glances of the last minute, the latest last. Whoever carried nothing then has none.
    rates: BTreeMap<u64, VecDeque<(f64, f64)>>,
    /// When the last glance was, and how many there were one after the other.
    glanced: Option<(u64, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Carried {
    at_ns: u64,
    bytes: u64,
    packets: u64,
}

/// Glances of a minute.
const GLANCES: usize = 6;

impl NatGateways {
    const NAME: &str = "nat-gateways";

    /// The NAT gateways of an installation.
    pub(crate) fn open(installation: Installation) -> Result<Self, FlowError> {
        Ok(Self {
            tables: NatTables::open(installation)?,
            carried: BTreeMap::new(),
            rates: BTreeMap::new(),
            glanced: None,
        })
    }

    /// Takes what gateways have carried until now.
    fn note(&mut self, counts: &BTreeMap<u64, NatCountsRecord>, at_ns: u64) {
        let carried = counts.iter().map(|(id, counts)| {
            let carried = Carried {
                at_ns,
                bytes: counts.out_bytes + counts.back_bytes,
                packets: counts.out_packets + counts.back_packets,
            };
            (*id, carried)
        });
        let carried: BTreeMap<u64, Carried> = carried.collect();
        self.rates.retain(|id, _| carried.contains_key(id));
        if let Some((last_ns, _)) = self.glanced {
            // A gateway that nothing went through has no counts.
            let nothing = Carried {
                at_ns: last_ns,
                bytes: 0,
                packets: 0,
            };
            for (id, now) in &carried {
                let before = self.carried.get(id).unwrap_or(&nothing);
                let rates = self.rates.entry(*id).or_default();
                rates.push_back(rate(before, now));
                while rates.len() > GLANCES {
                    rates.pop_front();
                }
            }
        }
        let count = self.glanced.map_or(0, |(_, count)| count + 1);
        self.glanced = Some((at_ns, count));
        self.carried = carried;
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
                if self.glanced.is_none_or(|(_, count)| count < GLANCES) {
                    continue;
                }
                let rates = self.rates.get(&bits).into_iter().flatten();
                let (bytes, packets) = rates.fold((0.0, 0.0), |most: (f64, f64), rate| {
                    (most.0.max(rate.0), most.1.max(rate.1))
                });
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
            Ok(counts) => self.note(&counts, monotonic_ns()),
            // A peak that was not seen is not told.
            Err(_) => self.clear(),
        }
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        let counts = self.tables.all_counts();
        let counts = counts.map_err(|error| SourceError::new(Self::NAME, error))?;
        Ok(self.readings(&self.tables.life(), &counts, state))
    }

    fn clear(&mut self) {
        self.carried.clear();
        self.rates.clear();
        self.glanced = None;
    }
}

/// Bytes and packets a second.
#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn rate(before: &Carried, now: &Carried) -> (f64, f64) {
    let seconds = now.at_ns.saturating_sub(before.at_ns).max(1) as f64 / 1e9;
    let bytes = now.bytes.saturating_sub(before.bytes) as f64;
    let packets = now.packets.saturating_sub(before.packets) as f64;
    (bytes / seconds, packets / seconds)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of connections are far below 2^53"
)]
fn whole(count: u64) -> f64 {
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

    #[test]
    fn a_peak_is_the_most_of_a_whole_minute() {
        let second = 1_000_000_000;
        let of = |bytes, packets| Carried {
            at_ns: 0,
            bytes,
            packets,
        };
        let now = Carried {
            at_ns: 10 * second,
            ..of(5_100, 60)
        };
        assert_eq!(rate(&of(100, 10), &now), (500.0, 5.0));
        // A counter that began anew has carried nothing.
        assert_eq!(rate(&of(9_000, 90), &now), (0.0, 0.0));
    }
}
