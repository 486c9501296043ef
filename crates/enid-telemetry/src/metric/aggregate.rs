//! What is kept of the values of one period: enough for every statistic, and it can be merged.

/// The values of a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
    /// Which values, each with its count, in ascending order. `None`: nobody knows, or some are negative;
    /// AWS has no percentiles for those.
    pub values: Option<Vec<(f64, f64)>>,
}

/// How many different values are told apart exactly. Beyond, they are told apart to 0.4 % of their size,
/// of which there are at most 256 for each power of two.
const EXACT_MAX: usize = 1024;

impl Aggregate {
    /// One value.
    #[must_use]
    pub fn value(value: f64) -> Self {
        Self::values(&[(value, 1.0)])
    }

    /// Values with their counts; those with a count of zero do not count.
    #[must_use]
    pub fn values(pairs: &[(f64, f64)]) -> Self {
        let mut values: Vec<(f64, f64)> = pairs
            .iter()
            .copied()
            .filter(|(_, count)| *count > 0.0)
            .collect();
        values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let count = values.iter().map(|(_, count)| count).sum();
        let sum = values.iter().map(|(value, count)| value * count).sum();
        let minimum = values.first().map_or(0.0, |(value, _)| *value);
        let maximum = values.last().map_or(0.0, |(value, _)| *value);
        let mut made = Self {
            count,
            sum,
            minimum,
            maximum,
            values: (minimum >= 0.0).then_some(values),
        };
        made.compact();
        made
    }

    /// A set of statistics. It tells its values only if they are all the same.
    #[must_use]
    pub fn statistics(count: f64, sum: f64, minimum: f64, maximum: f64) -> Self {
        #[expect(
            clippy::float_cmp,
            reason = "values that are the same are exactly the same"
        )]
        let same = minimum == maximum && (sum == minimum * count) && minimum >= 0.0;
        Self {
            count,
            sum,
            minimum,
            maximum,
            values: same.then(|| vec![(minimum, count)]),
        }
    }

    /// Adds the values of another part of the same period.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other.clone();
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        self.values = match (self.values.take(), &other.values) {
            (Some(mut values), Some(others)) => {
                values.extend_from_slice(others);
                values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                Some(values)
            }
            _ => None,
        };
        self.compact();
    }

    /// Gives each value one entry, and keeps them within bounds.
    fn compact(&mut self) {
        let Some(values) = &mut self.values else {
            return;
        };
        unite(values);
        if values.len() > EXACT_MAX {
            for (value, _) in values.iter_mut() {
                *value = rounded(*value);
            }
            unite(values);
        }
    }
}

/// Adds up the counts of equal neighbours.
fn unite(values: &mut Vec<(f64, f64)>) {
    values.dedup_by(|next, kept| {
        #[expect(
            clippy::float_cmp,
            reason = "values that are the same are exactly the same"
        )]
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// The value to eight bits of its fraction, rounded to the nearest.
fn rounded(value: f64) -> f64 {
    const DROPPED: u32 = 52 - 8;
    let half = 1_u64 << (DROPPED - 1);
    f64::from_bits((value.to_bits() + half) >> DROPPED << DROPPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_period_add_up() {
        let mut whole = Aggregate::value(3.0);
        whole.merge(&Aggregate::values(&[(1.0, 2.0), (3.0, 1.0), (9.0, 0.0)]));
        assert_eq!(whole, Aggregate::values(&[(3.0, 2.0), (1.0, 2.0)]));
        assert_eq!((whole.count, whole.sum), (4.0, 8.0));
        assert_eq!((whole.minimum, whole.maximum), (1.0, 3.0));
        let mut nothing = Aggregate::values(&[]);
        nothing.merge(&whole);
        assert_eq!(nothing, whole);
        whole.merge(&Aggregate::values(&[]));
        assert_eq!(nothing, whole);
    }

    #[test]
    fn what_a_set_of_statistics_tells_of_its_values() {
        for (set, wanted) in [
            (
                Aggregate::statistics(1.0, 5.0, 5.0, 5.0),
                Some(vec![(5.0, 1.0)]),
            ),
            (
                Aggregate::statistics(3.0, 6.0, 2.0, 2.0),
                Some(vec![(2.0, 3.0)]),
            ),
            (Aggregate::statistics(2.0, 6.0, 2.0, 4.0), None),
            (Aggregate::statistics(1.0, -5.0, -5.0, -5.0), None),
            (Aggregate::value(-1.0), None),
        ] {
            assert_eq!(set.values, wanted);
        }
        let mut mixed = Aggregate::value(1.0);
        mixed.merge(&Aggregate::statistics(2.0, 6.0, 2.0, 4.0));
        assert_eq!(mixed.values, None);
    }

    #[test]
    fn many_values_stay_within_bounds() {
        let many: Vec<(f64, f64)> = (0..200_000).map(|n| (f64::from(n), 1.0)).collect();
        let all = Aggregate::values(&many);
        let values = all.values.unwrap();
        assert!(values.len() < 256 * 19, "{}", values.len());
        let total: f64 = values.iter().map(|(_, count)| count).sum();
        assert_eq!(total, 200_000.0);
        assert_eq!(all.sum, 200_000.0 * 199_999.0 / 2.0);
        assert!((rounded(1001.0) / 1001.0 - 1.0).abs() < 0.004);
        assert_eq!(rounded(0.0), 0.0);
    }
}
