//! The most that somebody carried a second: an average of ten seconds, the highest of a minute.

use std::collections::{BTreeMap, VecDeque};

/// What those who carry had carried at the last glances.
#[derive(Debug, Default)]
pub(super) struct Peaks {
    /// What each had carried at the last glance.
    carried: BTreeMap<u64, Carried>,
    /// Rates between glances of the last minute, the latest last. Whoever carried nothing then has none.
    rates: BTreeMap<u64, VecDeque<(f64, f64)>>,
    /// When the last glance was, and how many there were one after the other.
    glanced: Option<(u64, usize)>,
}

/// What was carried since somebody began to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) bytes: u64,
    pub(super) packets: u64,
}

/// Glances of a minute.
const GLANCES: usize = 6;

impl Peaks {
    /// Takes what everybody has carried until now.
    pub(super) fn note(&mut self, carried: BTreeMap<u64, Carried>, at_ns: u64) {
        self.rates.retain(|id, _| carried.contains_key(id));
        if let Some((last_ns, _)) = self.glanced {
            // Whom nothing went through has no counts.
            let nothing = Carried {
                bytes: 0,
                packets: 0,
            };
            for (id, now) in &carried {
                let before = self.carried.get(id).unwrap_or(&nothing);
                let rates = self.rates.entry(*id).or_default();
                rates.push_back(rate(before, now, at_ns.saturating_sub(last_ns)));
                while rates.len() > GLANCES {
                    rates.pop_front();
                }
            }
        }
        let count = self.glanced.map_or(0, |(_, count)| count + 1);
        self.glanced = Some((at_ns, count));
        self.carried = carried;
    }

    /// The most bytes and packets a second that these carried together, if the whole minute was looked at.
    pub(super) fn of(&self, ids: &[u64]) -> Option<(f64, f64)> {
        self.glanced.filter(|(_, count)| *count >= GLANCES)?;
        let rates: Vec<_> = ids.iter().filter_map(|id| self.rates.get(id)).collect();
        let mut most = (0.0_f64, 0.0_f64);
        for ago in 0..GLANCES {
            let at = rates.iter().filter_map(|rates| rates.iter().rev().nth(ago));
            let together = at.fold((0.0, 0.0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1));
            most = (most.0.max(together.0), most.1.max(together.1));
        }
        Some(most)
    }

    /// Forgets everything: a peak that was not seen is not told.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Bytes and packets a second.
#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn rate(before: &Carried, now: &Carried, spent_ns: u64) -> (f64, f64) {
    let seconds = spent_ns.max(1) as f64 / 1e9;
    let bytes = now.bytes.saturating_sub(before.bytes) as f64;
    let packets = now.packets.saturating_sub(before.packets) as f64;
    (bytes / seconds, packets / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn of(bytes: u64, packets: u64) -> Carried {
        Carried { bytes, packets }
    }

    #[test]
    fn a_rate_is_of_the_time_between() {
        let now = of(5_100, 60);
        assert_eq!(rate(&of(100, 10), &now, 10 * SECOND_NS), (500.0, 5.0));
        // A counter that began anew has carried nothing.
        assert_eq!(rate(&of(9_000, 90), &now, 10 * SECOND_NS), (0.0, 0.0));
    }

    #[test]
    fn a_peak_is_the_most_of_a_whole_minute_of_all_together() {
        let mut peaks = Peaks::default();
        for (glance, (one, two)) in [(0, 0), (10, 0), (10, 80), (50, 80), (50, 80), (50, 80)]
            .into_iter()
            .enumerate()
        {
            let carried = BTreeMap::from([(1, of(one, 1)), (2, of(two, 1))]);
            peaks.note(carried, glance as u64 * 10 * SECOND_NS);
        }
        assert_eq!(peaks.of(&[1]), None, "not a whole minute");
        let last = BTreeMap::from([(1, of(50, 1)), (2, of(80, 1))]);
        peaks.note(last.clone(), 60 * SECOND_NS);
        assert_eq!(peaks.of(&[1]).map(|peak| peak.0), Some(4.0));
        assert_eq!(peaks.of(&[2]).map(|peak| peak.0), Some(8.0));
        // Not at the same time.
        assert_eq!(peaks.of(&[1, 2]).map(|peak| peak.0), Some(8.0));
        assert_eq!(peaks.of(&[3]), Some((0.0, 0.0)));
        for glance in 7..12 {
            peaks.note(last.clone(), glance * 10 * SECOND_NS);
        }
        assert_eq!(peaks.of(&[1, 2]), Some((0.0, 0.0)), "a minute ago");
    }
}
