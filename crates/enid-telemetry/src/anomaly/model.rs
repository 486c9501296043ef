//! A model of a metric's past: what is expected at a time, and how far values stray from it.
//!
//! Robust throughout: medians instead of means, so that an outage or a spike in the past moves nothing.

use std::collections::BTreeMap;

use super::Settings;
use super::knots::Knots;

/// How much of its metric a model has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Training {
    /// Too little to expect anything.
    Pending,
    /// Something, but not yet what a day looks like.
    Insufficient,
    /// Enough.
    Trained,
}

/// What is expected of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    settings: Settings,
    period_ms: i64,
    training: Training,
    level: f64,
    /// By the time of the day, if enough days were seen.
    day: Option<Knots>,
    /// What the time of the week adds to it, if weeks were seen and it tells more.
    week: Option<Knots>,
    /// How far values stray in each hour of the day; one for all if days do not count.
    spread: Vec<f64>,
    /// How far spikes that come again reach below and above in each hour of the day.
    spikes: Vec<(f64, f64)>,
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
const DAY_HOURS: usize = 24;
const WEEK_HOURS: usize = 168;

/// Fewer values tell nothing.
const VALUES_MIN: usize = 10;
/// So long a past tells what a day is like; AWS calls a model trained from then on.
const DAYS_MIN_MS: i64 = 2 * DAY_MS;
const TRAINED_MS: i64 = 3 * DAY_MS;
/// And so long a one what a week is like: all of it twice, or nearly.
const WEEKS_MIN_MS: i64 = 13 * DAY_MS;
/// The week counts if values stray so much less from what it says.
const WEEK_GAIN: f64 = 0.8;
/// Values of an hour and its neighbours that tell how far the hour's values stray.
const SPREAD_MIN: usize = 8;
/// From the median of what normal values stray to their standard deviation.
const MEDIAN_TO_DEVIATION: f64 = 1.4826;
/// The same from the mean.
const MEAN_TO_DEVIATION: f64 = 1.2533;
/// A metric that hardly moves may stray by this share of what it is.
const SPREAD_SHARE_MIN: f64 = 0.01;

/// A value with the places of its period's middle in the day and in the week, in hours.
struct Seen {
    local_ms: i64,
    value: f64,
}

impl Model {
    /// The model of the past: values by the start of their period, in milliseconds.
    #[must_use]
    pub fn train(points: &BTreeMap<i64, f64>, period_s: i64, settings: &Settings) -> Self {
        let period_ms = period_s * 1000;
        let is_excluded = |time: i64| {
            let excluded = settings.excluded.iter();
            let mut hits = excluded.filter(|(from, to)| time < to.0 && time + period_ms > from.0);
            hits.next().is_some()
        };
        let mut model = Self {
            settings: settings.clone(),
            period_ms,
            training: Training::Pending,
            level: 0.0,
            day: None,
            week: None,
            spread: Vec::new(),
            spikes: Vec::new(),
        };
        let seen: Vec<Seen> = points
            .iter()
            .filter(|(time, _)| !is_excluded(**time))
            .map(|(time, value)| Seen {
                local_ms: model.local_middle_ms(*time),
                value: *value,
            })
            .collect();
        if seen.len() < VALUES_MIN {
            return model;
        }
        let first = seen.iter().map(|seen| seen.local_ms).min().unwrap_or(0);
        let last = seen.iter().map(|seen| seen.local_ms).max().unwrap_or(0);
        let span = last - first + period_ms;
        model.training = match span >= TRAINED_MS {
            true => Training::Trained,
            false => Training::Insufficient,
        };
        model.level = median(seen.iter().map(|seen| seen.value).collect()).unwrap_or(0.0);
        if span >= DAYS_MIN_MS {
            model.day = day(&seen);
        }
        if span >= WEEKS_MIN_MS && period_ms <= DAY_MS {
            model.add_week(&seen);
        }
        model.learn_spread(&seen);
        model
    }

    /// How much the model has seen.
    #[must_use]
    pub fn training(&self) -> Training {
        self.training
    }

    /// The bounds that a value of the period from a time on is expected between.
    #[must_use]
    pub fn band(&self, time: i64, deviations: f64) -> Option<(f64, f64)> {
        if self.training == Training::Pending {
            return None;
        }
        let local_ms = self.local_middle_ms(time);
        let expected = self.expected(local_ms);
        let hour = match self.day {
            Some(_) => hour_of(local_ms, DAY_MS),
            None => 0,
        };
        let stray = self.spread.get(hour).copied().unwrap_or(0.0) * deviations;
        let (below, above) = self.spikes.get(hour).copied().unwrap_or((0.0, 0.0));
        Some((expected + below - stray, expected + above + stray))
    }

    fn local_middle_ms(&self, time: i64) -> i64 {
        self.settings.zone.local_ms(time + self.period_ms / 2)
    }

    fn expected(&self, local_ms: i64) -> f64 {
        let day = self.day.as_ref().map(|day| day.at(place(local_ms, DAY_MS)));
        let week = self.week.as_ref().map(|week| week.at(week_place(local_ms)));
        day.unwrap_or(self.level) + week.unwrap_or(0.0)
    }

    /// Adds what the time of the week tells beyond the time of the day, if it does.
    fn add_week(&mut self, seen: &[Seen]) {
        let strays: Vec<(usize, f64)> = seen
            .iter()
            .map(|seen| {
                let hour = hour_of(week_ms(seen.local_ms), WEEK_MS);
                (hour, seen.value - self.expected(seen.local_ms))
            })
            .collect();
        let mut hours: Vec<Vec<f64>> = vec![Vec::new(); WEEK_HOURS];
        for (hour, stray) in &strays {
            // An hour of the week was seen twice or so: its neighbours tell of it as well, so that what
            // happened once is not taken for what always happens.
            for near in [hour + WEEK_HOURS - 1, *hour, hour + 1] {
                if let Some(values) = hours.get_mut(near % WEEK_HOURS) {
                    values.push(*stray);
                }
            }
        }
        let knots = hours
            .into_iter()
            .enumerate()
            .filter_map(|(hour, values)| Some((to_float(hour) + 0.5, median(values)?)));
        let before = mean(strays.iter().map(|(_, stray)| stray.abs()));
        self.week = Knots::new(to_float(WEEK_HOURS), knots.collect());
        let after = mean(
            seen.iter()
                .map(|seen| (seen.value - self.expected(seen.local_ms)).abs()),
        );
        if after > before * WEEK_GAIN {
            self.week = None;
        }
    }

    fn learn_spread(&mut self, seen: &[Seen]) {
        let least = median(seen.iter().map(|seen| seen.value.abs()).collect()).unwrap_or(0.0);
        let least = least * SPREAD_SHARE_MIN;
        let count = match self.day {
            Some(_) => DAY_HOURS,
            None => 1,
        };
        let mut hours: Vec<Vec<f64>> = vec![Vec::new(); count];
        // Of each hour, the least and the greatest of each day.
        let mut reach: Vec<BTreeMap<i64, (f64, f64)>> = vec![BTreeMap::new(); count];
        for seen in seen {
            let stray = seen.value - self.expected(seen.local_ms);
            let hour = hour_of(seen.local_ms, DAY_MS) % count;
            if let Some(values) = hours.get_mut(hour) {
                values.push(stray.abs());
            }
            if let Some(days) = reach.get_mut(hour) {
                let day = days.entry(seen.local_ms.div_euclid(DAY_MS));
                let (least, greatest) = day.or_insert((stray, stray));
                *least = least.min(stray);
                *greatest = greatest.max(stray);
            }
        }
        let all = deviation(hours.iter().flatten().copied().collect()).unwrap_or(0.0);
        self.spread = (0..count)
            .map(|hour| {
                let near = [hour + count - 1, hour, hour + 1].map(|near| near % count);
                let near = near.iter().filter_map(|near| hours.get(*near)).flatten();
                let near: Vec<f64> = near.copied().collect();
                let own = match near.len() >= SPREAD_MIN {
                    true => deviation(near).unwrap_or(all),
                    false => all,
                };
                // What an hour showed may be luck: half of what all show is the least.
                own.max(all / 2.0).max(least)
            })
            .collect();
        if self.settings.periodic_spikes {
            self.spikes = reach.into_iter().map(again).collect();
        }
    }
}

/// The curve of a day: the median of each hour, where its values lie.
fn day(seen: &[Seen]) -> Option<Knots> {
    let mut hours: Vec<Vec<(f64, f64)>> = vec![Vec::new(); DAY_HOURS];
    for seen in seen {
        if let Some(values) = hours.get_mut(hour_of(seen.local_ms, DAY_MS)) {
            values.push((place(seen.local_ms, DAY_MS), seen.value));
        }
    }
    let knots = hours.into_iter().filter_map(|values| {
        let middle = mean(values.iter().map(|(place, _)| *place));
        let value = median(values.into_iter().map(|(_, value)| value).collect())?;
        Some((middle, value))
    });
    Knots::new(to_float(DAY_HOURS), knots.collect())
}

/// How far values reached below and above on at least two days.
fn again(days: BTreeMap<i64, (f64, f64)>) -> (f64, f64) {
    let mut below: Vec<f64> = days.values().map(|(least, _)| *least).collect();
    let mut above: Vec<f64> = days.into_values().map(|(_, greatest)| greatest).collect();
    below.sort_by(f64::total_cmp);
    above.sort_by(|a, b| b.total_cmp(a));
    let second = |sorted: &[f64]| sorted.get(1).copied().unwrap_or(0.0);
    (second(&below).min(0.0), second(&above).max(0.0))
}

/// The standard deviation that absolute strays speak of.
fn deviation(strays: Vec<f64>) -> Option<f64> {
    let mean = mean(strays.iter().copied());
    let median = median(strays)?;
    Some(match median > 0.0 {
        true => median * MEDIAN_TO_DEVIATION,
        // More than half do not stray at all.
        false => mean * MEAN_TO_DEVIATION,
    })
}

/// The hour of a round that a time lies in.
fn hour_of(local_ms: i64, round_ms: i64) -> usize {
    usize::try_from(local_ms.rem_euclid(round_ms) / HOUR_MS).unwrap_or(0)
}

/// The place of a time in a round, in hours.
fn place(local_ms: i64, round_ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a week has few milliseconds")]
    let ms = local_ms.rem_euclid(round_ms) as f64;
    #[expect(clippy::cast_precision_loss, reason = "as few")]
    let hour = HOUR_MS as f64;
    ms / hour
}

fn week_place(local_ms: i64) -> f64 {
    place(week_ms(local_ms), WEEK_MS)
}

/// The same time in weeks that start on Mondays: 1970 began on a Thursday.
fn week_ms(local_ms: i64) -> i64 {
    local_ms + 3 * DAY_MS
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(match values.len() % 2 {
        0 => f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper),
        _ => upper,
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    match count > 0.0 {
        true => sum / count,
        false => 0.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "hours of a week")]
fn to_float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use enid_model::time::Timestamp;

    use super::super::Zone;
    use super::*;

    /// A Monday, midnight in Greenwich.
    const MONDAY: i64 = 1_767_571_200_000;
    const STEP_S: i64 = 300;

    /// Values of so many days; the function is told the hours since Monday.
    fn past(days: i64, value: impl Fn(f64) -> f64) -> BTreeMap<i64, f64> {
        let steps = days * DAY_MS / (STEP_S * 1000);
        let points = (0..steps).map(|step| {
            let time = MONDAY + step * STEP_S * 1000;
            (time, value(hours_at(time)) + noise(step))
        });
        points.collect()
    }

    fn hours_at(time: i64) -> f64 {
        place(time - MONDAY, 1000 * WEEK_MS)
    }

    /// From -1 to 1, as good as random, and the same each time.
    fn noise(step: i64) -> f64 {
        let mixed = step.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed());
        place(mixed.rotate_left(29), HOUR_MS) * 2.0 - 1.0
    }

    fn swing(hours: f64) -> f64 {
        100.0 + 50.0 * (hours / 24.0 * std::f64::consts::TAU).sin()
    }

    fn is_inside(model: &Model, time: i64, value: f64) -> bool {
        let (lower, upper) = model.band(time, 3.0).unwrap();
        (lower..=upper).contains(&value)
    }

    fn share_inside(model: &Model, from: i64, days: i64, value: impl Fn(f64) -> f64) -> f64 {
        let steps = days * DAY_MS / (STEP_S * 1000);
        let inside = (0..steps).filter(|step| {
            let time = from + step * STEP_S * 1000;
            is_inside(model, time, value(hours_at(time)) + noise(step + 7))
        });
        to_float(inside.count()) / to_float(usize::try_from(steps).unwrap())
    }

    #[test]
    fn a_daily_swing_is_inside_and_a_spike_is_not() {
        let model = Model::train(&past(14, swing), STEP_S, &Settings::default());
        assert_eq!(model.training(), Training::Trained);
        let next = MONDAY + 14 * DAY_MS;
        assert!(share_inside(&model, next, 1, swing) > 0.99);
        // What is normal at noon is not at six, although other hours know it.
        let six = next + 6 * HOUR_MS;
        assert!(is_inside(&model, six, swing(6.0)));
        for value in [swing(6.0) + 20.0, swing(6.0) - 20.0, 100.0, 1000.0, 0.0] {
            assert!(!is_inside(&model, six, value), "{value}");
        }
    }

    #[test]
    fn an_outage_in_the_past_does_not_make_the_band_wider() {
        let calm = Model::train(&past(14, swing), STEP_S, &Settings::default());
        let mut points = past(14, swing);
        for (time, value) in &mut points {
            let hours = hours_at(*time);
            if (100.0..104.0).contains(&hours) {
                *value = 0.0;
            }
            if (200.0..201.0).contains(&hours) {
                *value = 5000.0;
            }
        }
        let model = Model::train(&points, STEP_S, &Settings::default());
        for hour in 0..24 {
            let time = MONDAY + 14 * DAY_MS + hour * HOUR_MS;
            let width = |model: &Model| {
                let (lower, upper) = model.band(time, 2.0).unwrap();
                upper - lower
            };
            assert!(width(&model) < 1.5 * width(&calm), "{hour}");
        }
    }

    #[test]
    fn weekends_are_learned_in_two_weeks() {
        let work = |hours: f64| match hours.rem_euclid(168.0) < 120.0 {
            true => swing(hours),
            false => 10.0,
        };
        let model = Model::train(&past(14, work), STEP_S, &Settings::default());
        let monday = MONDAY + 14 * DAY_MS;
        assert!(share_inside(&model, monday, 7, work) > 0.97);
        let saturday_noon = monday + 5 * DAY_MS + 12 * HOUR_MS;
        assert!(!is_inside(&model, saturday_noon, swing(12.0)));
        assert!(!is_inside(&model, monday + 12 * HOUR_MS, 10.0));
    }

    #[test]
    fn a_short_past_has_one_level() {
        let points: BTreeMap<i64, f64> = past(1, |_| 50.0).into_iter().take(24).collect();
        let model = Model::train(&points, STEP_S, &Settings::default());
        assert_eq!(model.training(), Training::Insufficient);
        let later = MONDAY + 12 * HOUR_MS;
        assert!(is_inside(&model, later, 50.0) && !is_inside(&model, later, 60.0));
        let few = points.into_iter().take(9).collect();
        let model = Model::train(&few, STEP_S, &Settings::default());
        assert_eq!(model.training(), Training::Pending);
        assert_eq!(model.band(later, 2.0), None);
    }

    #[test]
    fn a_constant_may_stray_a_little() {
        let points = (0..100)
            .map(|step| (MONDAY + step * 60_000, 200.0))
            .collect();
        let model = Model::train(&points, 60, &Settings::default());
        assert_eq!(model.band(MONDAY, 2.0), Some((196.0, 204.0)));
    }

    #[test]
    fn days_are_those_of_the_zone() {
        // Open from 9 to 17 in New York, over the change of clocks on 2026-03-08.
        let zone = Zone::named("America/New_York").unwrap();
        let start = 1_771_804_800_000;
        let open = |time: i64| match zone.local_ms(time).rem_euclid(DAY_MS) / HOUR_MS {
            9..17 => 100.0,
            _ => 5.0,
        };
        let points: BTreeMap<i64, f64> = (0..14 * 24)
            .map(|hour| (start + hour * HOUR_MS, open(start + hour * HOUR_MS)))
            .collect();
        let of = |zone| Settings {
            zone,
            ..Settings::default()
        };
        // Three days after the change, a quarter past four in the afternoon.
        let time = start + 16 * DAY_MS + 20 * HOUR_MS;
        assert_eq!(open(time), 100.0);
        let with = Model::train(&points, 3600, &of(zone));
        assert!(is_inside(&with, time, 100.0) && !is_inside(&with, time, 5.0));
        let eight = start + 16 * DAY_MS + 13 * HOUR_MS;
        assert_eq!(open(eight), 100.0);
        let without = Model::train(&points, 3600, &Settings::default());
        assert!(is_inside(&with, eight, 100.0));
        assert!(!is_inside(&without, eight, 100.0));
    }

    #[test]
    fn what_is_excluded_is_not_learned() {
        let doubled = |hours: f64| match hours < 48.0 {
            true => 10.0,
            false => 500.0,
        };
        let points = past(4, doubled);
        let excluded = (Timestamp(MONDAY), Timestamp(MONDAY + 2 * DAY_MS));
        let settings = Settings {
            excluded: vec![excluded],
            ..Settings::default()
        };
        let model = Model::train(&points, STEP_S, &settings);
        let later = MONDAY + 4 * DAY_MS;
        assert!(is_inside(&model, later, 500.0) && !is_inside(&model, later, 10.0));
        let all = Model::train(&points, STEP_S, &Settings::default());
        assert!(is_inside(&all, later, 10.0));
    }

    #[test]
    fn spikes_that_come_again_may_be_normal() {
        // Each day at three, for five minutes.
        let spiky = |hours: f64| match (hours.rem_euclid(24.0) - 3.0).abs() < 0.01 {
            true => 900.0,
            false => 100.0,
        };
        let points = past(7, spiky);
        let settings = Settings {
            periodic_spikes: true,
            ..Settings::default()
        };
        let next = MONDAY + 7 * DAY_MS + 3 * HOUR_MS;
        let strict = Model::train(&points, STEP_S, &Settings::default());
        let lenient = Model::train(&points, STEP_S, &settings);
        assert!(!is_inside(&strict, next, 900.0));
        assert!(is_inside(&lenient, next, 900.0));
        // At another time it is a spike as any other.
        assert!(!is_inside(&lenient, next + 5 * HOUR_MS, 900.0));
    }

    #[test]
    fn the_same_past_gives_the_same_model() {
        let points = past(14, swing);
        let train = || Model::train(&points, STEP_S, &Settings::default());
        assert_eq!(train(), train());
    }
}
