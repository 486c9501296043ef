//! Samples of a duration, and their quantiles.

use std::time::Duration;

/// Samples in nanoseconds.
#[derive(Default)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(crate) fn push(&mut self, sample: Duration) {
        self.0
            .push(u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The given per mille of the samples, in microseconds; sorts, hence by value.
    pub(crate) fn quantiles_us<const N: usize>(mut self, per_mille: [usize; N]) -> [f64; N] {
        self.0.sort_unstable();
        per_mille.map(|part| {
            let last = self.0.len().saturating_sub(1);
            let index = (self.0.len() * part / 1_000).min(last);
            self.0
                .get(index)
                .map_or(f64::NAN, |&ns| Duration::from_nanos(ns).as_secs_f64() * 1e6)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        for us in (1..=100).rev() {
            samples.push(Duration::from_micros(us));
        }
        assert_eq!(
            samples.quantiles_us([500, 990, 1_000]),
            [51.0, 100.0, 100.0]
        );
        assert!(Samples::default().quantiles_us([500])[0].is_nan());
    }
}
