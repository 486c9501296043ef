//! A curve over a circle of time, such as a day or a week, by some of its points.

/// A curve that goes straight from knot to knot, and from the last one around to the first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Knots {
    /// How long a round is.
    round: f64,
    /// Places and values, by place; never none.
    knots: Vec<(f64, f64)>,
}

impl Knots {
    /// The curve through these places and values. `None` if there are none.
    pub(super) fn new(round: f64, mut knots: Vec<(f64, f64)>) -> Option<Self> {
        knots.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        (!knots.is_empty()).then_some(Self { round, knots })
    }

    /// The value at a place.
    pub(super) fn at(&self, place: f64) -> f64 {
        let after = self.knots.partition_point(|(at, _)| *at <= place);
        let first = self.knots.first().copied().unwrap_or_default();
        let last = self.knots.last().copied().unwrap_or_default();
        let (left, before) = match after.checked_sub(1).and_then(|at| self.knots.get(at)) {
            Some(knot) => *knot,
            None => (last.0 - self.round, last.1),
        };
        let (right, next) = match self.knots.get(after) {
            Some(knot) => *knot,
            None => (first.0 + self.round, first.1),
        };
        let width = right - left;
        match width > 0.0 {
            true => before + (next - before) * (place - left) / width,
            false => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_around() {
        let curve = Knots::new(24.0, vec![(18.0, 10.0), (6.0, 0.0)]).unwrap();
        for (place, wanted) in [
            (6.0, 0.0),
            (12.0, 5.0),
            (18.0, 10.0),
            (0.0, 5.0),
            (24.0, 5.0),
            (21.0, 7.5),
            (3.0, 2.5),
        ] {
            assert_eq!(curve.at(place), wanted, "{place}");
        }
        let flat = Knots::new(24.0, vec![(3.0, 7.0)]).unwrap();
        assert_eq!((flat.at(0.0), flat.at(3.0), flat.at(20.0)), (7.0, 7.0, 7.0));
        assert_eq!(Knots::new(24.0, Vec::new()), None);
    }
}
