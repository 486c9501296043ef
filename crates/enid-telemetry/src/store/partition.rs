//! Where files are and what their names say: a directory per kind, day and hour, and in it files named by
//! the first and the last frame whose rows they hold.
//!
//! `flow/day=2026-11-23/hour=14/0000000000000001-000000000000000f-123.parquet` has 123 rows of the hour from
//! 14:00 of frames 1 to 15. The frames of two files of one hour never overlap, but for a file that was put
//! together from others: it holds all of theirs, and they are obsolete from then on.

use enid_model::time::Timestamp;
use object_store::path::Path;

/// Milliseconds of an hour.
pub(super) const HOUR_MS: i64 = 3_600_000;

/// The hour of a time, in hours since the epoch.
pub(super) fn hour_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(HOUR_MS)
}

/// What the path of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: String,
    /// Hours since the epoch.
    pub(super) hour: i64,
    /// The first frame whose rows it may hold.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: u64,
    pub(super) rows: u64,
}

impl Place {
    pub(super) fn path(&self) -> Path {
        let (year, month, day, hour, ..) = Timestamp(self.hour.saturating_mul(HOUR_MS)).civil();
        Path::from(format!(
            "{}/day={year:04}-{month:02}-{day:02}/hour={hour:02}/{:016x}-{:016x}-{}.parquet",
            self.kind, self.first, self.last, self.rows
        ))
    }

    pub(super) fn parse(path: &Path) -> Option<Self> {
        let parts: Vec<_> = path.parts().collect();
        let [kind, day, hour, file] = parts.as_slice() else {
            return None;
        };
        let mut date = day.as_ref().strip_prefix("day=")?.splitn(3, '-');
        let mut number = || date.next()?.parse::<i64>().ok();
        let days = days_of(number()?, number()?, number()?);
        let hour: i64 = hour.as_ref().strip_prefix("hour=")?.parse().ok()?;
        let mut names = file.as_ref().strip_suffix(".parquet")?.split('-');
        let first = u64::from_str_radix(names.next()?, 16).ok()?;
        let last = u64::from_str_radix(names.next()?, 16).ok()?;
        let rows = names.next()?.parse().ok()?;
        Some(Self {
            kind: kind.as_ref().to_owned(),
            hour: days * 24 + hour,
            first,
            last,
            rows,
        })
    }

    /// Whether all that another file holds is in this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.hour == other.hour
            && self.first <= other.first
            && other.last <= self.last
            && (self.first, self.last) != (other.first, other.last)
    }
}

/// Days since the epoch of a date: the inverse of [`Timestamp::civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(time_ms: i64, first: u64, last: u64) -> Place {
        Place {
            kind: "flow".to_owned(),
            hour: hour_of(time_ms),
            first,
            last,
            rows: 123,
        }
    }

    #[test]
    fn a_place_comes_back_from_its_path() {
        let place_now = place(1_795_442_400_000, 1, 15);
        assert_eq!(
            place_now.path().as_ref(),
            "flow/day=2026-11-23/hour=14/0000000000000001-000000000000000f-123.parquet"
        );
        for time in [0, 951_782_399_999, 951_782_400_000, 1_795_442_400_000] {
            let place = place(time, 3, u64::MAX);
            assert_eq!(Place::parse(&place.path()), Some(place));
        }
        assert_eq!(Place::parse(&Path::from("flow/other")), None);
        assert_eq!(Place::parse(&Path::from("wal/0000.wal")), None);
    }

    #[test]
    fn a_file_covers_those_that_it_was_put_together_from() {
        let whole = place(0, 1, 9);
        assert!(whole.covers(&place(0, 1, 4)) && whole.covers(&place(0, 5, 9)));
        assert!(!whole.covers(&whole.clone()));
        assert!(!whole.covers(&place(0, 5, 10)) && !whole.covers(&place(HOUR_MS, 5, 9)));
    }
}
