//! Capacity units of load balancers (NLCU), as AWS bills them: of each protocol the highest of three dimensions,
//! new flows, flows that go on, and bytes. What a load balancer has used of an hour adds up over its minutes.
//!
//! Source: Elastic Load Balancing pricing, "Network Load Balancer"; the gigabyte is the decimal one
//! ("1 LCU to 2.2 Mbps", Network Load Balancers, "Capacity unit reservation").

use std::collections::BTreeMap;

/// What nodes had carried of each protocol when the last minute ended.
#[derive(Debug)]
pub(super) struct Capacity {
    /// When that was, and by node.
    ended: (u64, BTreeMap<u64, Carried>),
    /// What was read last.
    read: Option<(u64, BTreeMap<u64, Carried>)>,
}

/// What a node carries, by protocol: TCP, TLS, UDP.
pub(super) type Carried = [OfProtocol; 3];

/// What a node carries of one protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OfProtocol {
    /// Flows that have begun.
    pub(super) new: u64,
    /// Flows that go on.
    pub(super) active: u64,
    /// Bytes, both ways.
    pub(super) bytes: u64,
}

/// What one unit carries.
struct Unit {
    new_per_second: u64,
    active: u64,
    bytes_per_hour: u64,
}

const GIGABYTE: u64 = 1_000_000_000;
const UNITS: [Unit; 3] = [
    Unit {
        new_per_second: 800,
        active: 100_000,
        bytes_per_hour: GIGABYTE,
    },
    Unit {
        new_per_second: 50,
        active: 3_000,
        bytes_per_hour: GIGABYTE,
    },
    Unit {
        new_per_second: 400,
        active: 50_000,
        bytes_per_hour: GIGABYTE,
    },
];
const SECONDS_PER_HOUR: f64 = 3600.0;

impl Capacity {
    /// The first minute begins when nodes have carried this.
    pub(super) const fn begin(now_ns: u64, carried: BTreeMap<u64, Carried>) -> Self {
        Self {
            ended: (now_ns, carried),
            read: None,
        }
    }

    /// Takes what all nodes have carried until now.
    pub(super) fn note(&mut self, now_ns: u64, carried: BTreeMap<u64, Carried>) {
        self.read = Some((now_ns, carried));
    }

    /// A minute ends with what was read last; it goes on if nothing was.
    pub(super) fn end(&mut self) {
        if let Some(read) = self.read.take() {
            self.ended = read;
        }
    }

    /// Hours of a unit, by protocol, that these nodes have used together since the minute began.
    pub(super) fn used(&self, nodes: &[u64]) -> Option<[f64; 3]> {
        let (began_ns, before) = &self.ended;
        let (now_ns, now) = self.read.as_ref()?;
        let seconds = seconds(now_ns.saturating_sub(*began_ns));
        let mut all = Carried::default();
        for node in nodes {
            let before = before.get(node).copied().unwrap_or_default();
            let now = now.get(node).copied().unwrap_or_default();
            for (sum, (before, now)) in all.iter_mut().zip(before.into_iter().zip(now)) {
                sum.new += now.new.saturating_sub(before.new);
                sum.active += now.active;
                sum.bytes += now.bytes.saturating_sub(before.bytes);
            }
        }
        let mut units = UNITS.iter().zip(all);
        Some([(); 3].map(|()| {
            units
                .next()
                .map_or(0.0, |(unit, own)| unit.hours(own, seconds))
        }))
    }
}

impl Unit {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are enough")]
    fn hours(&self, used: OfProtocol, seconds: f64) -> f64 {
        let per_hour = self.new_per_second as f64 * SECONDS_PER_HOUR;
        let new = used.new as f64 / per_hour;
        let active = used.active as f64 / self.active as f64 * (seconds / SECONDS_PER_HOUR);
        let bytes = used.bytes as f64 / self.bytes_per_hour as f64;
        new.max(active).max(bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a minute")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;

    fn tcp(new: u64, active: u64, bytes: u64) -> Carried {
        let tcp = OfProtocol { new, active, bytes };
        [tcp, OfProtocol::default(), OfProtocol::default()]
    }

    fn used(before: [(u64, Carried); 2], now: [(u64, Carried); 2]) -> [f64; 3] {
        let mut capacity = Capacity::begin(0, BTreeMap::new());
        assert_eq!(capacity.used(&[1, 2]), None, "nobody has looked");
        capacity.note(MINUTE_NS, before.into());
        capacity.end();
        // A minute that could not be written goes on.
        capacity.end();
        capacity.note(2 * MINUTE_NS, now.into());
        capacity.used(&[1, 2]).expect("units")
    }

    #[test]
    fn the_highest_dimension_of_all_zones_together_counts() {
        let none = [(1, tcp(0, 0, 0)), (2, tcp(0, 0, 0))];
        // A unit for a minute: its rate of new flows, half of it in each zone.
        let minute = 1.0 / 60.0;
        let close = |told: [f64; 3], wanted: f64| (told[0] - wanted).abs() < 1e-9;
        let [one, two] = [(1, tcp(24_000, 10, 1_000)), (2, tcp(24_000, 10, 1_000))];
        assert!(close(used(none, [one, two]), minute));
        // Flows that go on, though no new one came; what was there before counts as well.
        let old = [(1, tcp(5, 0, 7)), (2, tcp(5, 0, 7))];
        let [one, two] = [(1, tcp(5, 150_000, 7)), (2, tcp(5, 50_000, 7))];
        assert!(close(used(old, [one, two]), 2.0 * minute));
        // A gigabyte is an hour's unit, however short the time.
        let [one, two] = [(1, tcp(6, 1, GIGABYTE + 7)), (2, tcp(5, 1, 7))];
        assert!(close(used(old, [one, two]), 1.0));
        // A counter that began anew has counted nothing.
        assert!(close(used(old, none), 0.0));
    }

    #[test]
    fn protocols_have_units_of_their_own() {
        let of = |new| OfProtocol {
            new,
            ..OfProtocol::default()
        };
        let none = [(1, Carried::default()), (2, Carried::default())];
        let now = [(1, [of(800), of(800), of(800)]), (2, Carried::default())];
        let told = used(none, now);
        let wanted = [1.0, 16.0, 2.0].map(|times| times / 3600.0);
        let is_close = |(told, wanted): (f64, f64)| (told - wanted).abs() < 1e-9;
        assert!(told.into_iter().zip(wanted).all(is_close), "{told:?}");
    }
}
