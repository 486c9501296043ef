//! Times of widgets: absolute ones, and durations from now.

use enid_model::time::Timestamp;

use crate::wire::instant;

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// `2026-01-02T03:04:05.000Z`, or `-PT3H`: so long before now. A month has thirty days.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    match duration(text) {
        Some(before) => Some(Timestamp(now.0.checked_sub(before)?)),
        None => instant::parse_iso(text).filter(|time| time.0 >= 0),
    }
}

/// `-P1DT12H` and `P1DT12H` mean the same: there is nothing to show of what comes.
fn duration(text: &str) -> Option<i64> {
    let rest = text.strip_prefix('-').unwrap_or(text).strip_prefix('P')?;
    let (days, clock) = match rest.split_once('T') {
        Some((days, clock)) => (days, clock),
        None => (rest, ""),
    };
    if days.is_empty() && clock.is_empty() {
        return None;
    }
    let units = [
        ('Y', 365 * DAY),
        ('M', 30 * DAY),
        ('W', 7 * DAY),
        ('D', DAY),
    ];
    let clock_units = [('H', HOUR), ('M', 60 * SECOND), ('S', SECOND)];
    parts(days, &units)?.checked_add(parts(clock, &clock_units)?)
}

/// `1D12H`: each unit at most once, in its order.
fn parts(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut sum: i64 = 0;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|letter: char| !letter.is_ascii_digit())?;
        let (digits, rest) = text.split_at_checked(end)?;
        let unit = rest.chars().next()?;
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(digits.parse::<i64>().ok()?.checked_mul(*length)?)?;
        text = rest.strip_prefix(unit)?;
    }
    Some(sum)
}

/// `+0130`: what clocks show beyond Greenwich.
pub(super) fn offset_ms(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+')?),
    };
    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let (hours, minutes) = (number / 100, number % 100);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * HOUR + minutes * 60 * SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    #[test]
    fn durations_are_before_now() {
        for (text, wanted) in [
            ("-PT3H", Some(3 * HOUR)),
            ("PT0H", Some(0)),
            ("-P1D", Some(DAY)),
            ("-P1W", Some(7 * DAY)),
            ("-P1M", Some(30 * DAY)),
            ("-PT1M", Some(60_000)),
            ("-P1DT12H30M5S", Some(DAY + 12 * HOUR + 1_805_000)),
            ("P", None),
            ("-PT", None),
            ("-P1H", None),
            ("-PT1H1H", None),
            ("-P99999999999999999999D", None),
            ("x", None),
            ("", None),
        ] {
            let found = parse(text, NOW).map(|time| NOW.0 - time.0);
            assert_eq!(found, wanted, "{text}");
        }
        let absolute = parse("2026-01-02T03:04:05.000Z", NOW);
        assert_eq!(absolute, Some(NOW));
    }

    #[test]
    fn offsets() {
        for (text, wanted) in [
            ("+0130", Some(90 * 60_000)),
            ("-0800", Some(-8 * HOUR)),
            ("0130", None),
            ("+1", None),
            ("+0160", None),
            ("+2500", None),
        ] {
            assert_eq!(offset_ms(text), wanted, "{text}");
        }
    }
}
