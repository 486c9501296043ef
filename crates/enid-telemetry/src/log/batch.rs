//! What a call of PutLogEvents may hold, and what of it is kept.

use std::ops::Range;

use enid_model::time::Timestamp;

/// An event as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub message: String,
}

/// Why nothing of a batch is kept, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// An event without a message.
    #[error(
        "1 validation error detected: Value '' at 'logEvents.{}.member.message' failed to satisfy constraint: Member must have length greater than or equal to 1",
        .0 + 1
    )]
    Empty(usize),
    /// A batch has an event at least.
    #[error(
        "1 validation error detected: Value '[]' at 'logEvents' failed to satisfy constraint: Member must have length greater than or equal to 1"
    )]
    EventsNone,
    /// A batch has 10,000 events at most.
    #[error(
        "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length less than or equal to {EVENTS_MAX}"
    )]
    EventsTooMany,
    /// A time before 1970.
    #[error(
        "1 validation error detected: Value '{time}' at 'logEvents.{}.member.timestamp' failed to satisfy constraint: Member must have value greater than or equal to 0",
        .index + 1
    )]
    NegativeTime {
        /// Which event has it.
        index: usize,
        /// The time.
        time: i64,
    },
    /// Events are in the order of their times.
    #[error("Log events in a single PutLogEvents request must be in chronological order.")]
    Order,
    /// The events that are kept are of 24 hours at most.
    #[error(
        "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
    )]
    Span,
    /// One event is too large.
    #[error("Log event too large: {0} bytes exceeds limit of {EVENT_BYTES_MAX}")]
    TooLargeEvent(usize),
    /// All together are too large.
    #[error("Upload too large: {0} bytes exceeds limit of {BATCH_BYTES_MAX}")]
    TooLarge(usize),
}

/// Which events of a batch are not kept because of their times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejected {
    /// The first event that is too far in the future.
    pub too_new_start: Option<usize>,
    /// The first event that is not too old for any group.
    pub too_old_end: Option<usize>,
    /// The first event that is not older than the group keeps events.
    pub expired_end: Option<usize>,
}

/// Checks a batch. Answers which events are kept, and which are not.
pub fn check(
    events: &[InputEvent],
    now: Timestamp,
    retention_days: Option<u16>,
) -> Result<(Range<usize>, Rejected), BatchError> {
    if events.is_empty() {
        return Err(BatchError::EventsNone);
    }
    if events.len() > EVENTS_MAX {
        return Err(BatchError::EventsTooMany);
    }
    let mut bytes = 0;
    for (index, event) in events.iter().enumerate() {
        if event.message.is_empty() {
            return Err(BatchError::Empty(index));
        }
        if event.at.0 < 0 {
            let time = event.at.0;
            return Err(BatchError::NegativeTime { index, time });
        }
        let own = size(&event.message);
        if own > EVENT_BYTES_MAX {
            return Err(BatchError::TooLargeEvent(own));
        }
        bytes += own;
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge(bytes));
    }
    if !events.is_sorted_by_key(|event| event.at) {
        return Err(BatchError::Order);
    }
    let before = |time: i64| events.partition_point(|event| event.at.0 < time);
    let too_old = before(now.0 - AGE_MAX_MS);
    let expired = retention_days.map_or(0, |days| before(now.0 - i64::from(days) * DAY_MS));
    let too_new = before(now.0 + FUTURE_MAX_MS + 1);
    let kept = too_old.max(expired).min(too_new)..too_new;
    if let [first, .., last] = &events[kept.clone()]
        && last.at.0 - first.at.0 > DAY_MS
    {
        return Err(BatchError::Span);
    }
    let rejected = Rejected {
        too_new_start: (too_new < events.len()).then_some(too_new),
        too_old_end: (too_old > 0).then_some(too_old),
        expired_end: (expired > too_old).then_some(expired),
    };
    Ok((kept, rejected))
}

/// What an event counts for: its message and 26 bytes.
#[must_use]
pub fn size(message: &str) -> usize {
    message.len() + EVENT_OVERHEAD
}

/// Source: CloudWatch Logs API Reference, PutLogEvents.
const EVENTS_MAX: usize = 10_000;
const EVENT_OVERHEAD: usize = 26;
const EVENT_BYTES_MAX: usize = 1_048_576;
const BATCH_BYTES_MAX: usize = 1_048_576;
const FUTURE_MAX_MS: i64 = 2 * 3_600_000;
pub(super) const AGE_MAX_MS: i64 = 14 * DAY_MS;
pub(super) const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);
    const HOUR: i64 = 3_600_000;

    fn at(offsets: &[i64]) -> Vec<InputEvent> {
        let events = offsets.iter().map(|offset| InputEvent {
            at: Timestamp(NOW.0 + offset),
            message: "m".to_owned(),
        });
        events.collect()
    }

    #[test]
    fn what_is_out_of_range_is_told_and_the_rest_is_kept() {
        let none = Rejected::default();
        for (offsets, retention, kept, rejected) in [
            (&[-DAY_MS, 0][..], None, 0..2, none),
            (&[-AGE_MAX_MS, -AGE_MAX_MS + DAY_MS], None, 0..2, none),
            (
                &[-AGE_MAX_MS - 1, -1, 0],
                None,
                1..3,
                Rejected {
                    too_old_end: Some(1),
                    ..none
                },
            ),
            (
                &[0, 2 * HOUR, 2 * HOUR + 1],
                None,
                0..2,
                Rejected {
                    too_new_start: Some(2),
                    ..none
                },
            ),
            (
                &[-20 * DAY_MS, -4 * DAY_MS, -DAY_MS, 0, 3 * HOUR],
                Some(3),
                2..4,
                Rejected {
                    too_old_end: Some(1),
                    expired_end: Some(2),
                    too_new_start: Some(4),
                },
            ),
            (
                &[-20 * DAY_MS, 3 * HOUR],
                Some(30),
                1..1,
                Rejected {
                    too_old_end: Some(1),
                    too_new_start: Some(1),
                    ..none
                },
            ),
        ] {
            let checked = check(&at(offsets), NOW, retention);
            assert_eq!(checked, Ok((kept, rejected)), "{offsets:?}");
        }
    }

    #[test]
    fn a_batch_has_limits() {
        let one = |message: String| vec![InputEvent { at: NOW, message }];
        let largest = "x".repeat(EVENT_BYTES_MAX - EVENT_OVERHEAD);
        assert!(check(&one(largest.clone()), NOW, None).is_ok());
        let half = "x".repeat(BATCH_BYTES_MAX / 2);
        let two = [one(half.clone()), one(half)].concat();
        for (events, error) in [
            (vec![], BatchError::EventsNone),
            (at(&[0; 10_001]), BatchError::EventsTooMany),
            (one(String::new()), BatchError::Empty(0)),
            (one(largest + "x"), BatchError::TooLargeEvent(1_048_577)),
            (two, BatchError::TooLarge(1_048_628)),
            (at(&[0, -1]), BatchError::Order),
            (at(&[-DAY_MS - 1, 0]), BatchError::Span),
            (
                at(&[-NOW.0 - 5, 0]),
                BatchError::NegativeTime { index: 0, time: -5 },
            ),
        ] {
            assert_eq!(check(&events, NOW, None), Err(error));
        }
        assert!(check(&at(&[0; 10_000]), NOW, None).is_ok());
        let text = BatchError::TooLarge(1_048_628).to_string();
        assert_eq!(
            text,
            "Upload too large: 1048628 bytes exceeds limit of 1048576"
        );
    }
}
