//! How fine datapoints are kept, and for how long: the older, the coarser.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html>

use enid_model::time::Timestamp;

/// A grain of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One second, for three hours; only of metrics of high resolution.
    Second,
    /// One minute, for 15 days.
    Minute,
    /// Five minutes, for 63 days.
    FiveMinutes,
    /// One hour, for 455 days.
    Hour,
}

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

impl Level {
    /// All of them, the finest first.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::FiveMinutes, Self::Hour];

    /// How long one grain is.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => HOUR_S,
        }
    }

    /// How long grains are kept.
    #[must_use]
    pub fn retention_s(self) -> i64 {
        match self {
            Self::Second => 3 * HOUR_S,
            Self::Minute => 15 * DAY_S,
            Self::FiveMinutes => 63 * DAY_S,
            Self::Hour => 455 * DAY_S,
        }
    }

    /// The start of the grain that a time lies in.
    #[must_use]
    pub fn floor(self, time: Timestamp) -> Timestamp {
        floor(time, self.seconds())
    }

    /// Which grains tell of which part of a window, oldest first. The parts do not overlap, and none
    /// reaches behind what is kept.
    #[must_use]
    pub fn parts(start: Timestamp, end: Timestamp, period_s: i64, now: Timestamp) -> Vec<Part> {
        let mut parts = Vec::new();
        let finest = match period_s < Self::Minute.seconds() {
            true => Self::Second,
            false => Self::Minute,
        };
        let mut until = end;
        for level in Self::ALL.into_iter().filter(|level| *level >= finest) {
            // Whole grains of the next level are told by it, so that none is told twice.
            let oldest = Timestamp(now.0 - level.retention_s() * 1000);
            let oldest = match Self::ALL.into_iter().find(|next| *next > level) {
                Some(coarser) => ceiling(oldest, coarser.seconds()),
                None => oldest,
            };
            let from = start.max(oldest);
            if from < until {
                parts.push(Part {
                    level,
                    from,
                    to: until,
                });
            }
            until = until.min(from);
        }
        parts.reverse();
        parts
    }
}

/// A part of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What tells of it.
    pub level: Level,
    /// Its start.
    pub from: Timestamp,
    /// Its end, exclusive.
    pub to: Timestamp,
}

/// The start of a window as AWS rounds it down: to the minute, for older data to what there is of it, and
/// for periods below a minute to a whole one.
#[must_use]
pub fn snapped_start(start: Timestamp, period_s: i64, now: Timestamp) -> Timestamp {
    let age_s = (now.0 - start.0) / 1000;
    let grain = if age_s > Level::FiveMinutes.retention_s() {
        HOUR_S
    } else if age_s > Level::Minute.retention_s() {
        300
    } else if period_s < 60 {
        period_s.max(1)
    } else {
        60
    };
    floor(start, grain)
}

/// Whether a period is one that AWS knows.
#[must_use]
pub fn is_period(seconds: i64) -> bool {
    matches!(seconds, 1 | 5 | 10 | 20 | 30) || seconds > 0 && seconds % 60 == 0
}

/// A time rounded down to a whole number of seconds.
#[must_use]
pub fn floor(time: Timestamp, seconds: i64) -> Timestamp {
    let step = seconds * 1000;
    Timestamp(time.0.div_euclid(step) * step)
}

fn ceiling(time: Timestamp, seconds: i64) -> Timestamp {
    floor(Timestamp(time.0 + seconds * 1000 - 1), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    fn ago(seconds: i64) -> Timestamp {
        Timestamp(NOW.0 - seconds * 1000)
    }

    #[test]
    fn a_window_is_told_by_what_is_kept_of_it() {
        let levels = |parts: Vec<Part>| parts.iter().map(|part| part.level).collect::<Vec<_>>();
        let parts = Level::parts(ago(500 * DAY_S), NOW, 60, NOW);
        assert_eq!(
            levels(parts.clone()),
            [Level::Hour, Level::FiveMinutes, Level::Minute]
        );
        assert_eq!(parts[0].from, ago(455 * DAY_S));
        for pair in parts.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
            // Where grains meet, no coarse one reaches into the fine part.
            assert_eq!(pair[0].level.floor(pair[0].to), pair[0].to);
        }
        assert_eq!(parts[2].to, NOW);
        let recent = Level::parts(ago(3600), NOW, 60, NOW);
        assert_eq!(levels(recent), [Level::Minute]);
        let fine = Level::parts(ago(4 * HOUR_S), NOW, 10, NOW);
        assert_eq!(levels(fine), [Level::Minute, Level::Second]);
        let old = Level::parts(ago(20 * DAY_S), ago(19 * DAY_S), 60, NOW);
        assert_eq!(levels(old), [Level::FiveMinutes]);
        assert!(Level::parts(NOW, NOW, 60, NOW).is_empty());
    }

    #[test]
    fn starts_are_rounded_down() {
        for (age_s, period_s, grain) in [
            (100, 60, 60),
            (100, 300, 60),
            (100, 10, 10),
            (100, 1, 1),
            (16 * DAY_S, 60, 300),
            (64 * DAY_S, 300, 3600),
        ] {
            let start = snapped_start(ago(age_s), period_s, NOW);
            assert_eq!(start, floor(ago(age_s), grain));
        }
    }

    #[test]
    fn periods_are_those_of_aws() {
        for (period, wanted) in [
            (1, true),
            (2, false),
            (30, true),
            (60, true),
            (90, false),
            (0, false),
            (-60, false),
        ] {
            assert_eq!(is_period(period), wanted, "{period}");
        }
    }
}
