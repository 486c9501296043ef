//! Axes: what range they show, and what is written beside them.

use enid_model::time::Timestamp;

/// A range of values with the values that are written beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub least: f64,
    pub greatest: f64,
    pub ticks: Vec<f64>,
}

/// About how many values are written beside an axis.
const TICKS: f64 = 5.0;

impl Scale {
    /// A scale of these values, whose ends may be given.
    pub(super) fn of(
        values: impl Iterator<Item = f64>,
        least: Option<f64>,
        greatest: Option<f64>,
    ) -> Self {
        let mut range: Option<(f64, f64)> = None;
        for value in values.filter(|value| value.is_finite()) {
            let (low, high) = range.unwrap_or((value, value));
            range = Some((low.min(value), high.max(value)));
        }
        let (low, high) = range.unwrap_or((0.0, 1.0));
        // What is almost level is shown as level.
        let room = match high - low > f64::max(high.abs(), low.abs()) * 1e-9 {
            true => 0.0,
            false => f64::max(high.abs() / 10.0, 0.5),
        };
        let (low, high) = (least.unwrap_or(low - room), greatest.unwrap_or(high + room));
        let high = if high > low { high } else { low + 1.0 };
        let step = step((high - low) / TICKS);
        let mut scale = Self {
            least: least.unwrap_or_else(|| (low / step).floor() * step),
            greatest: greatest
                .filter(|greatest| *greatest > low)
                .unwrap_or_else(|| (high / step).ceil() * step),
            ticks: Vec::new(),
        };
        let mut tick = (scale.least / step).ceil() * step;
        while tick <= scale.greatest + step * 1e-6 && scale.ticks.len() < 32 {
            // Ten times a tenth is not one.
            let clean = (tick / step).round() * step;
            scale.ticks.push(if clean == 0.0 { 0.0 } else { clean });
            tick += step;
        }
        scale
    }

    /// Where a value lies: 0 is the least, 1 the greatest.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.least) / (self.greatest - self.least)
    }
}

/// The least step of 1, 2 or 5 times a power of ten that is not shorter.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let fits = steps.into_iter().find(|step| *step >= least * 0.999_999);
    fits.filter(|step| step.is_finite() && *step > 0.0)
        .unwrap_or(1.0)
}

/// `1.5k`, `20M`, `0.003`: a value beside an axis.
pub(super) fn shown(value: f64) -> String {
    let size = value.abs();
    let (divisor, unit) = match size {
        1e12.. => (1e12, "T"),
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e3.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = value / divisor;
    let digits = match size {
        _ if scaled.abs() >= 100.0 => 0,
        0.0 => 0,
        1.0.. => 2,
        0.01.. => 3,
        _ => return format!("{value:.1e}"),
    };
    let text = format!("{scaled:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text.as_str(),
    };
    format!("{text}{unit}")
}

/// Times to be written below an axis, so many at most, with what is written. The offset is what clocks
/// show beyond Greenwich.
pub(super) fn times(
    start: Timestamp,
    end: Timestamp,
    offset_ms: i64,
    most: i64,
) -> Vec<(Timestamp, String)> {
    const MINUTE: i64 = 60_000;
    const STEPS: [i64; 16] = [
        1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, 20_160, 43_200,
    ];
    let span = end.0 - start.0;
    let steps = STEPS.map(|minutes| minutes * MINUTE);
    let mut steps = steps.into_iter();
    let step = steps.find(|step| span / step < most.max(1));
    let step = step.unwrap_or_else(|| span.max(1));
    let first = (start.0 + offset_ms).div_euclid(step) * step + step - offset_ms;
    let mut told = Vec::new();
    let mut time = first;
    while time < end.0 && told.len() < 64 {
        let (_, month, day, hour, minute, _) = Timestamp(time + offset_ms).civil();
        let text = match step >= 1440 * MINUTE {
            true => format!("{month:02}/{day:02}"),
            false if span > 1440 * MINUTE => format!("{month:02}/{day:02} {hour:02}:{minute:02}"),
            false => format!("{hour:02}:{minute:02}"),
        };
        told.push((Timestamp(time), text));
        time += step;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_round_ends() {
        for (values, wanted) in [
            (&[0.0, 100.0][..], (0.0, 100.0, 6)),
            (&[3.0, 97.0], (0.0, 100.0, 6)),
            (&[0.12, 0.34], (0.1, 0.35, 6)),
            (&[5.0, 5.0], (4.4, 5.6, 7)),
            (&[], (0.0, 1.0, 6)),
            (&[f64::NAN, 1.0, 2.0], (1.0, 2.0, 6)),
        ] {
            let scale = Scale::of(values.iter().copied(), None, None);
            let (least, greatest, ticks) = wanted;
            assert!((scale.least - least).abs() < 1e-9, "{scale:?}");
            assert!((scale.greatest - greatest).abs() < 1e-9, "{scale:?}");
            assert_eq!(scale.ticks.len(), ticks, "{scale:?}");
        }
        let given = Scale::of([3.0, 7.0].into_iter(), Some(0.0), Some(10.0));
        assert_eq!((given.least, given.greatest), (0.0, 10.0));
        assert_eq!(given.share(2.5), 0.25);
        let odd = Scale::of([3.0].into_iter(), Some(10.0), Some(5.0));
        assert!(odd.greatest > odd.least);
    }

    #[test]
    fn values_are_short() {
        for (value, wanted) in [
            (0.0, "0"),
            (5.0, "5"),
            (0.25, "0.25"),
            (-1500.0, "-1.5k"),
            (200.0, "200"),
            (100_000.0, "100k"),
            (2e7, "20M"),
            (3e9, "3G"),
            (0.000_2, "2.0e-4"),
        ] {
            assert_eq!(shown(value), wanted);
        }
    }

    #[test]
    fn times_are_round() {
        let start = Timestamp(1_767_323_045_000);
        let hours = |count: i64| Timestamp(start.0 + count * 3_600_000);
        let texts = |told: Vec<(Timestamp, String)>| {
            let texts = told.into_iter().map(|(_, text)| text);
            texts.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            texts(times(start, hours(3), 0, 8)),
            "03:30 04:00 04:30 05:00 05:30 06:00"
        );
        assert_eq!(
            texts(times(start, hours(3), 3_600_000, 4)),
            "05:00 06:00 07:00"
        );
        assert_eq!(texts(times(start, hours(72), 0, 4)), "01/03 01/04 01/05");
        assert_eq!(
            texts(times(start, hours(36), 0, 4)),
            "01/02 12:00 01/03 00:00 01/03 12:00"
        );
    }
}
