//! Reading points in time as requests write them.

use enid_model::time::Timestamp;

/// Reads ISO 8601 in UTC, `2026-01-02T03:04:05Z` with or without a fraction, or with an offset.
#[must_use]
pub fn parse_iso(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once('T')?;
    let (time, offset) = split_offset(rest)?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (
        digits(date.next()?, 4)?,
        digits(date.next()?, 2)?,
        digits(date.next()?, 2)?,
    );
    let (time, millis) = match time.split_once('.') {
        Some((time, fraction)) => (time, millis(fraction)?),
        None => (time, 0),
    };
    let mut time = time.splitn(3, ':');
    let hour = digits(time.next()?, 2)?;
    let minute = digits(time.next()?, 2)?;
    let second = digits(time.next()?, 2)?;
    let seconds = seconds(year, month, day, hour, minute, second)?;
    Some(Timestamp((seconds - offset) * 1000 + millis))
}

/// Reads the basic form that signatures use: `20260102T030405Z`.
#[must_use]
pub fn parse_basic(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let seconds = seconds(
        digits(date.get(..4)?, 4)?,
        digits(date.get(4..6)?, 2)?,
        digits(date.get(6..)?, 2)?,
        digits(time.get(..2)?, 2)?,
        digits(time.get(2..4)?, 2)?,
        digits(time.get(4..)?, 2)?,
    )?;
    Some(Timestamp(seconds * 1000))
}

/// Reads the form of HTTP's `Date`: `Mon, 09 Sep 2011 23:36:00 GMT`.
#[must_use]
pub fn parse_http(text: &str) -> Option<Timestamp> {
    let (_weekday, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day = digits(words.next()?, 2)?;
    let month = words.next()?;
    let month = (1..).zip(MONTHS).find(|(_, name)| ***name == *month)?.0;
    let year = digits(words.next()?, 4)?;
    let mut time = words.next()?.splitn(3, ':');
    let hour = digits(time.next()?, 2)?;
    let minute = digits(time.next()?, 2)?;
    let second = digits(time.next()?, 2)?;
    (words.next()? == "GMT" && words.next().is_none()).then_some(())?;
    Some(Timestamp(
        seconds(year, month, day, hour, minute, second)? * 1000,
    ))
}

/// Writes the basic form that signatures use.
#[must_use]
pub fn basic(time: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

const MONTHS: &[&str] = &[
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Exactly so many decimal digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn millis(fraction: &str) -> Option<i64> {
    let plain = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let mut padded: String = fraction.chars().take(3).collect();
    while padded.len() < 3 {
        padded.push('0');
    }
    plain.then(|| padded.parse().ok())?
}

/// The time without its zone, and the zone in seconds east.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (time, zone) = text.split_at_checked(at)?;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some((time, sign * (hours * 3600 + minutes * 60)))
}

fn seconds(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A leap second is the last one of its minute.
    let valid = (1..=length).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !valid {
        return None;
    }
    // Days are counted from 0000-03-01 so that a leap day ends its year:
    // http://howardhinnant.github.io/date_algorithms.html#days_from_civil
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second.min(59))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let time = Timestamp(1_767_323_045_000);
        assert_eq!(parse_iso("2026-01-02T03:04:05Z"), Some(time));
        assert_eq!(
            parse_iso("2026-01-02T03:04:05.006Z"),
            Some(Timestamp(time.0 + 6))
        );
        assert_eq!(parse_iso("2026-01-02T05:04:05+02:00"), Some(time));
        assert_eq!(parse_basic("20260102T030405Z"), Some(time));
        assert_eq!(parse_http("Fri, 02 Jan 2026 03:04:05 GMT"), Some(time));
        assert_eq!(basic(time), "20260102T030405Z");
    }

    #[test]
    fn every_day_comes_back() {
        for day in (-200_000..200_000).step_by(37) {
            let time = Timestamp(day * 86_400_000);
            let (year, ..) = time.civil();
            if (1000..10_000).contains(&year) {
                assert_eq!(parse_iso(&time.to_string()), Some(time));
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "T",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "+026-01-02T03:04:05Z",
            "2026-01-02T03:04:05+2:00",
            "ä",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
        for text in [
            "20260102T030405",
            "2026010T0304055Z",
            "ääääT000000Z",
            "20260132T030405Z",
        ] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
        assert_eq!(parse_http("Fri, 02 Foo 2026 03:04:05 GMT"), None);
    }
}
