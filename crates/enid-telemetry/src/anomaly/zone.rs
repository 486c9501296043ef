//! Time zones by the names of the tz database.

use chrono::{Offset as _, TimeZone as _};
use chrono_tz::Tz;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl Zone {
    /// The zone of a name such as `Europe/Berlin`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    /// What clocks show at a time in milliseconds, counted as if they were in Greenwich.
    #[must_use]
    pub fn local_ms(self, time_ms: i64) -> i64 {
        let Some(utc) = chrono::DateTime::from_timestamp_millis(time_ms) else {
            return time_ms;
        };
        let offset = self.0.offset_from_utc_datetime(&utc.naive_utc()).fix();
        time_ms + i64::from(offset.local_minus_utc()) * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_in_spring() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2026-03-29 00:59:59 and 01:00:00 UTC.
        for (time, hours) in [(1_774_745_999_000, 1), (1_774_746_000_000, 2)] {
            assert_eq!(berlin.local_ms(time) - time, hours * 3_600_000);
            assert_eq!(Zone::default().local_ms(time), time);
        }
        assert_eq!(Zone::named("Europe/Atlantis"), None);
    }
}
