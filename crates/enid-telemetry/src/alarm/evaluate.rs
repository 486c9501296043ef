//! The state that the values of periods make of an alarm.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html>
//!
//! More periods are looked at than an alarm is about, so that late values count. With enough real values
//! the newest of them decide, whatever is missing between; with fewer, the alarm says what a missing one
//! counts as.

use enid_model::alarm::{AlarmState, MissingData};

/// How many periods are looked at beyond those that an alarm is about.
pub const BEYOND: u32 = 2;

/// How many of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// So many must breach.
    pub breaching: usize,
    /// Of so many.
    pub of: usize,
}

/// The state that periods make of an alarm, oldest first: whether each breaches, or `None` where there is no
/// value. `None`: the state stays what it is.
#[must_use]
pub fn state(periods: &[Option<bool>], quorum: Quorum, missing: MissingData) -> Option<AlarmState> {
    let real: Vec<bool> = periods.iter().copied().flatten().collect();
    let newest = real.get(real.len().saturating_sub(quorum.of)..);
    let breaching = newest.unwrap_or_default().iter().filter(|it| **it).count();
    let alarm_if = |condition: bool| match condition {
        true => AlarmState::Alarm,
        false => AlarmState::Ok,
    };
    let short = quorum.of.saturating_sub(real.len());
    if short == 0 {
        return Some(alarm_if(breaching >= quorum.breaching));
    }
    match missing {
        MissingData::Breaching => Some(alarm_if(breaching + short >= quorum.breaching)),
        MissingData::NotBreaching => Some(alarm_if(breaching >= quorum.breaching)),
        MissingData::Missing | MissingData::Ignore if breaching >= quorum.breaching => {
            Some(AlarmState::Alarm)
        }
        MissingData::Missing | MissingData::Ignore if breaching < real.len() => {
            Some(AlarmState::Ok)
        }
        MissingData::Ignore => None,
        MissingData::Missing if real.is_empty() => Some(AlarmState::InsufficientData),
        MissingData::Missing => {
            // All that there is breaches, but it is too little. It counts once the oldest of it is as old as
            // the alarm's quorum: before, what comes next may show that all is well.
            let oldest = periods.iter().position(Option::is_some);
            let age = oldest.map_or(0, |at| periods.len() - at);
            (age >= quorum.breaching).then_some(AlarmState::Alarm)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn periods(text: &str) -> Vec<Option<bool>> {
        let points = text.split(' ').map(|point| match point {
            "0" => Some(false),
            "X" => Some(true),
            _ => None,
        });
        points.collect()
    }

    /// The rows of AWS's tables: points, how many of three, then missing, ignore, breaching, notBreaching.
    #[test]
    fn every_row_of_the_tables() {
        use AlarmState::{Alarm as A, InsufficientData as I, Ok as O};
        for (points, breaching, wanted) in [
            ("0 - X - X", 3, [Some(O), Some(O), Some(O), Some(O)]),
            ("0 - - - -", 3, [Some(O), Some(O), Some(O), Some(O)]),
            ("- - - - -", 3, [Some(I), None, Some(A), Some(O)]),
            ("0 X X - X", 3, [Some(A), Some(A), Some(A), Some(A)]),
            ("- - X - -", 3, [Some(A), None, Some(A), Some(O)]),
            ("0 - X - X", 2, [Some(A), Some(A), Some(A), Some(A)]),
            ("0 0 X 0 X", 2, [Some(A), Some(A), Some(A), Some(A)]),
            ("0 - X - -", 2, [Some(O), Some(O), Some(A), Some(O)]),
            ("- - - - 0", 2, [Some(O), Some(O), Some(A), Some(O)]),
            ("- - - X -", 2, [Some(A), None, Some(A), Some(O)]),
        ] {
            let quorum = Quorum { breaching, of: 3 };
            let found = [
                MissingData::Missing,
                MissingData::Ignore,
                MissingData::Breaching,
                MissingData::NotBreaching,
            ]
            .map(|missing| state(&periods(points), quorum, missing));
            assert_eq!(found, wanted, "{points}, {breaching} of 3");
        }
    }

    #[test]
    fn an_alarm_does_not_go_off_early() {
        for (points, wanted) in [
            ("- - X - -", Some(AlarmState::Alarm)),
            ("- - - X -", None),
            ("- - - - X", None),
            ("- X - - -", Some(AlarmState::Alarm)),
        ] {
            let quorum = Quorum {
                breaching: 3,
                of: 3,
            };
            let found = state(&periods(points), quorum, MissingData::Missing);
            assert_eq!(found, wanted, "{points}");
        }
    }

    #[test]
    fn only_the_newest_values_count() {
        let quorum = Quorum {
            breaching: 1,
            of: 1,
        };
        for (points, wanted) in [
            ("X X 0", AlarmState::Ok),
            ("0 0 X", AlarmState::Alarm),
            ("0 X -", AlarmState::Alarm),
            ("- - 0", AlarmState::Ok),
        ] {
            let found = state(&periods(points), quorum, MissingData::Missing);
            assert_eq!(found, Some(wanted), "{points}");
        }
    }
}
