//! A token bucket in one word, which all CPUs share.
//!
//! The word is not the number of tokens but the moment at which the bucket will be full again, if nobody
//! takes any more (the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371). Then
//! there is nothing to fill, no second word that says when it was last filled, and what it takes to admit
//! a packet is a comparison and a sum:
//!
//! ```text
//!   missing tokens, as time:  debt = full_at - now      (0 if that is past: the bucket is full)
//!   a packet of n tokens:     passes if debt < depth,   then full_at = max(full_at, now) + n * cost
//! ```
//!
//! `cost` is the time in which one token comes, `depth` the time in which an empty bucket gets full. A
//! packet passes while the bucket is not empty, and may overdraw it: what is large has no worse odds
//! than what is small, and what is larger than the bucket is not stuck for ever.
//!
//! Units: time is counted in sixteenths of a nanosecond, here called ticks. A 64-byte packet takes 41 of
//! them at 200 Gbit/s, so rounding to whole ticks is an error of 1 % there and less below; the word lasts
//! for 36 years of uptime. The cost of a token has 16 more bits behind the point: one byte at 200 Gbit/s
//! is 41,943 of them. Amounts are below 2^20 (a packet's bytes, or its segments), and rates are 64 tokens
//! a second or more, so that the product fits 64 bits: 2^20 * 2^44.
//!
//! Clock: any that does not run backwards. One that stands still between timer ticks is fine as long as
//! the bucket is deeper than a tick.
//!
//! Several CPUs: sums are atomic, so nothing that is charged gets lost and the rate over any longer time
//! is exact. Between the comparison and the sum others may pass as well, so that the bucket is overdrawn
//! by at most one packet of each CPU, once; the debt stays, and those after it wait longer. A bucket that
//! has been full for a while is brought to the present by a compare-and-swap; who loses that race adds to
//! what the winner wrote.

use core::cell::Cell;

use crate::tables::Tables;

/// Ticks of a nanosecond.
const TICKS_PER_NS: u64 = 16;
/// Ticks of a second.
const TICKS_PER_S: u64 = 1_000_000_000 * TICKS_PER_NS;
/// Bits behind the point of [`Rate::cost`].
const COST_SHIFT: u32 = 16;
/// The slowest rate.
const PER_S_MIN: u64 = 64;

/// How fast a bucket fills, and how much it holds. All zero is [`Rate::UNLIMITED`].
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rate {
    /// Ticks in which one token comes, with [`COST_SHIFT`] bits behind the point.
    cost: u64,
    /// Ticks in which an empty bucket gets full.
    depth: u64,
}

impl Rate {
    /// Everything passes.
    pub const UNLIMITED: Self = Self { cost: 0, depth: 0 };

    /// So many tokens a second, 64 at least, and so many at once, one at least.
    pub const fn new(per_s: u64, burst: u64) -> Self {
        let per_s = if per_s < PER_S_MIN { PER_S_MIN } else { per_s };
        let burst = if burst == 0 { 1 } else { burst };
        let cost = (TICKS_PER_S << COST_SHIFT) / per_s;
        // Whole seconds apart from the rest, so that hours of burst do not overflow.
        let depth = burst / per_s * TICKS_PER_S + ((burst % per_s * cost) >> COST_SHIFT);
        Self {
            cost: if cost == 0 { 1 } else { cost },
            depth: if depth == 0 { 1 } else { depth },
        }
    }

    /// Whether everything passes.
    #[inline(always)]
    pub const fn is_unlimited(&self) -> bool {
        self.depth == 0
    }

    /// What an amount costs, in ticks, rounded to the nearest.
    #[inline(always)]
    const fn ticks(&self, amount: u64) -> u64 {
        (amount * self.cost + (1 << (COST_SHIFT - 1))) >> COST_SHIFT
    }

    /// How many tokens a bucket has whose word is `full_at`: for people, not for packets.
    pub const fn tokens(&self, full_at: u64, now_ns: u64) -> u64 {
        if self.is_unlimited() {
            return u64::MAX;
        }
        let left = self.depth.saturating_sub(debt(full_at, now_ns));
        // The point is moved in two steps: the depth of hours times 2^16 would overflow.
        ((left / self.cost) << COST_SHIFT) + ((left % self.cost) << COST_SHIFT) / self.cost
    }
}

/// The missing tokens, as ticks.
#[inline(always)]
const fn debt(full_at: u64, now_ns: u64) -> u64 {
    full_at.saturating_sub(now_ns * TICKS_PER_NS)
}

/// Whether a bucket lets the next packet pass, of whatever size.
#[inline(always)]
pub const fn has_room(full_at: &Cell<u64>, rate: Rate, now_ns: u64) -> bool {
    rate.is_unlimited() || debt(full_at.get(), now_ns) < rate.depth
}

/// Takes tokens out of a bucket, whether it has them or not.
#[inline(always)]
pub fn charge<T: Tables>(tables: &T, full_at: &Cell<u64>, rate: Rate, amount: u64, now_ns: u64) {
    if rate.is_unlimited() {
        return;
    }
    let now = now_ns * TICKS_PER_NS;
    let ticks = rate.ticks(amount);
    let seen = full_at.get();
    if seen < now && tables.replace(full_at, seen, now + ticks) {
        return;
    }
    tables.add(full_at, ticks);
}

/// Takes tokens out of a bucket if it is not empty; false if it is.
#[inline(always)]
#[must_use]
pub fn take<T: Tables>(
    tables: &T,
    full_at: &Cell<u64>,
    rate: Rate,
    amount: u64,
    now_ns: u64,
) -> bool {
    let passes = has_room(full_at, rate, now_ns);
    if passes {
        charge(tables, full_at, rate, amount, now_ns);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::table_set::TableSet;

    const SECOND_NS: u64 = 1_000_000_000;
    /// A machine that has been up for ten days.
    const START_NS: u64 = 864_000 * SECOND_NS;

    /// How much of what is offered passes: `amount` every `every_ns`, for so many seconds.
    fn passed(rate: Rate, amount: u64, every_ns: u64, seconds: u64) -> u64 {
        let memory = Memory::new(TableSet::default());
        let bucket = Cell::new(0);
        let mut passed = 0;
        for step in 0..seconds * SECOND_NS / every_ns {
            if take(&memory, &bucket, rate, amount, START_NS + step * every_ns) {
                passed += amount;
            }
        }
        passed
    }

    #[test]
    fn a_full_bucket_lets_its_burst_pass_at_once_and_no_more() {
        let memory = Memory::new(TableSet::default());
        let rate = Rate::new(1024, 1024);
        let bucket = Cell::new(0);
        let admitted = (0..5000)
            .filter(|_| take(&memory, &bucket, rate, 1, START_NS))
            .count();
        assert_eq!(admitted, 1024);
        // A quarter of a second later there is a quarter of a second's tokens.
        let later = START_NS + SECOND_NS / 4;
        let admitted = (0..5000)
            .filter(|_| take(&memory, &bucket, rate, 1, later))
            .count();
        assert_eq!(admitted, 256);
    }

    #[test]
    fn what_keeps_to_the_rate_is_never_refused() {
        let rate = Rate::new(1000, 10);
        assert_eq!(passed(rate, 1, 1_000_000, 10), 10_000);
    }

    #[test]
    fn the_rate_over_seconds_is_exact_for_slow_and_fast_ones() {
        // (bytes a second, packet size, interval): offered is a multiple of the rate.
        for (per_s, amount, every_ns) in [
            (4_000_000, 1_500, 100_000),
            (125_000_000, 65_000, 50_000),
            (625_000_000, 1_500, 1_000),
            (25_000_000_000, 64, 1),
        ] {
            let (seconds, burst) = (1, per_s / 100);
            if every_ns == 1 {
                // A tenth of a millisecond in the middle is enough.
                let memory = Memory::new(TableSet::default());
                let (bucket, rate) = (Cell::new(0), Rate::new(per_s, 6400));
                let mut sum = 0;
                for step in 0..400_000 {
                    if take(&memory, &bucket, rate, amount, START_NS + step / 4) {
                        sum += amount;
                    }
                }
                let expected = per_s / 10_000;
                assert!(sum.abs_diff(expected) * 100 < expected * 2, "{sum}");
                continue;
            }
            let sum = passed(Rate::new(per_s, burst), amount, every_ns, seconds);
            let expected = per_s * seconds + burst;
            let error = sum.abs_diff(expected);
            assert!(
                error <= amount + expected / 1000,
                "{per_s}: {sum}, {expected}"
            );
        }
    }

    #[test]
    fn a_clock_that_ticks_rarely_changes_nothing_over_seconds() {
        let rate = Rate::new(100_000, 5_000);
        let memory = Memory::new(TableSet::default());
        let bucket = Cell::new(0);
        let mut sum = 0;
        for step in 0..5_000_000_u64 {
            // A packet a microsecond, a clock of four milliseconds.
            let now_ns = START_NS + step / 4000 * 4_000_000;
            sum += u64::from(take(&memory, &bucket, rate, 1, now_ns));
        }
        assert!(sum.abs_diff(505_000) <= 400, "{sum}");
    }

    #[test]
    fn a_packet_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_for() {
        let memory = Memory::new(TableSet::default());
        let rate = Rate::new(1000, 10);
        let bucket = Cell::new(0);
        assert!(take(&memory, &bucket, rate, 500, START_NS));
        assert!(!take(
            &memory,
            &bucket,
            rate,
            1,
            START_NS + 489 * SECOND_NS / 1000
        ));
        assert!(take(
            &memory,
            &bucket,
            rate,
            1,
            START_NS + 491 * SECOND_NS / 1000
        ));
    }

    #[test]
    fn hours_of_burst_fit_and_are_counted() {
        // t3.nano: 0.032 Gbit/s, and five minutes at 5 Gbit/s.
        let (per_s, burst) = (4_000_000, 186_300_000_000);
        let rate = Rate::new(per_s, burst);
        let full = rate.tokens(0, START_NS);
        assert!(full.abs_diff(burst) < burst / 100_000, "{full}");
        let memory = Memory::new(TableSet::default());
        let bucket = Cell::new(0);
        charge(&memory, &bucket, rate, 1_000_000, START_NS);
        let left = rate.tokens(bucket.get(), START_NS);
        assert!((full - left).abs_diff(1_000_000) <= 1000, "{left}");
    }

    #[test]
    fn nothing_is_refused_without_a_limit() {
        let memory = Memory::new(TableSet::default());
        let bucket = Cell::new(0);
        assert!((0..10_000).all(|_| take(&memory, &bucket, Rate::UNLIMITED, 1 << 19, START_NS)));
        assert_eq!(bucket.get(), 0);
        assert!(Rate::default().is_unlimited());
        assert!(!Rate::new(u64::MAX >> 20, 0).is_unlimited());
    }

    #[test]
    fn who_loses_the_race_for_an_idle_bucket_is_charged_as_well() {
        let memory = Memory::new(TableSet::default());
        let rate = Rate::new(1_000_000_000, 1_000_000);
        let bucket = Cell::new(0);
        charge(&memory, &bucket, rate, 1000, START_NS);
        // The other CPU saw the bucket idle; its swap fails, and it adds.
        assert!(!memory.replace(&bucket, 0, START_NS));
        charge(&memory, &bucket, rate, 1000, START_NS);
        assert_eq!(rate.tokens(bucket.get(), START_NS), 1_000_000 - 2000);
    }
}
