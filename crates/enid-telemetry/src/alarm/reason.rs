//! Why an alarm is in its state, in AWS's words and in JSON.

use enid_model::alarm::{AlarmState, MetricRule, Watched};
use enid_model::time::Timestamp;
use serde_json::json;

use super::evaluate::Quorum;

/// A period with a value, and what the value is compared with: a threshold, which is both bounds, or a
/// band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub time: Timestamp,
    pub value: f64,
    pub bounds: (f64, f64),
}

impl Seen {
    pub(super) fn is_breaching(&self, rule: &MetricRule) -> bool {
        rule.comparison.is_breached(self.value, self.bounds)
    }
}

/// In words. The newest period is the first.
pub(super) fn words(
    from: AlarmState,
    to: AlarmState,
    rule: &MetricRule,
    quorum: Quorum,
    newest: &[Seen],
) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let unknown = quorum.of.saturating_sub(newest.len());
    if to == AlarmState::InsufficientData {
        return format!(
            "Insufficient Data: {unknown} datapoint{} {} unknown.",
            plural(unknown),
            if unknown == 1 { "was" } else { "were" }
        );
    }
    let is_alarm = to == AlarmState::Alarm;
    let told: Vec<&Seen> = newest
        .iter()
        .filter(|seen| seen.is_breaching(rule) == is_alarm)
        .collect();
    let transition = match is_alarm {
        true => format!(
            " (minimum {} datapoint{} for OK -> ALARM transition)",
            quorum.breaching,
            plural(quorum.breaching)
        ),
        false => {
            let least = quorum.of - quorum.breaching + 1;
            format!(
                " (minimum {least} datapoint{} for ALARM -> OK transition)",
                plural(least)
            )
        }
    };
    let crossed = match rule.comparison.is_of_band() {
        true => "Thresholds Crossed",
        false => "Threshold Crossed",
    };
    if told.is_empty() {
        let kind = match is_alarm {
            true => "Breaching",
            false => "NonBreaching",
        };
        return format!(
            "{crossed}: no datapoints were received for {} period{} and {unknown} missing datapoint{} {} treated as [{kind}].",
            quorum.of,
            plural(quorum.of),
            plural(unknown),
            if unknown == 1 { "was" } else { "were" },
        );
    }
    // An alarm that was never OK has nothing to go back to; its transition is told all the same.
    let transition = if from == to {
        String::new()
    } else {
        transition
    };
    let values: Vec<String> = told
        .iter()
        .map(|seen| format!("{:?} ({})", seen.value, stamp(seen.time)))
        .collect();
    format!(
        "{crossed}: {} out of the last {} datapoint{} [{}] {} {}{}{transition}.",
        told.len(),
        quorum.of,
        plural(quorum.of),
        values.join(", "),
        if told.len() == 1 { "was" } else { "were" },
        if is_alarm { "" } else { "not " },
        compared(rule, &told),
    )
}

/// What the values are told to be, compared with what.
fn compared(rule: &MetricRule, told: &[&Seen]) -> String {
    use enid_model::alarm::Comparison as C;
    let bounds = |of: fn(&Seen) -> f64| {
        let bounds = told.iter().map(|seen| format!("{:?}", of(seen)));
        bounds.collect::<Vec<_>>().join(", ")
    };
    let below = || {
        format!(
            "less than the lower thresholds [{}]",
            bounds(|seen| seen.bounds.0)
        )
    };
    let above = || {
        format!(
            "greater than the upper thresholds [{}]",
            bounds(|seen| seen.bounds.1)
        )
    };
    match rule.comparison {
        C::GreaterThanUpperThreshold => above(),
        C::LessThanLowerThreshold => below(),
        C::LessThanLowerOrGreaterThanUpperThreshold => format!("{} or {}", below(), above()),
        _ => format!(
            "{} the threshold ({:?})",
            rule.comparison.words(),
            rule.threshold
        ),
    }
}

/// In JSON. The newest period is the first.
pub(super) fn data(rule: &MetricRule, newest: &[Seen], now: Timestamp) -> String {
    let statistic = match &rule.watched {
        Watched::Stat(stat) => Some(stat.statistic.as_str()),
        Watched::Queries(_) => None,
    };
    let oldest_first = |of: fn(&Seen) -> f64| newest.iter().rev().map(of).collect::<Vec<f64>>();
    let mut data = json!({
        "version": "1.0",
        "queryDate": iso(now),
        "startDate": newest.last().map(|seen| iso(seen.time)),
        "statistic": statistic,
        "period": rule.period_s,
        "recentDatapoints": oldest_first(|seen| seen.value),
        "evaluatedDatapoints": newest
            .iter()
            .map(|seen| json!({"timestamp": iso(seen.time), "value": seen.value}))
            .collect::<Vec<_>>(),
    });
    match rule.comparison.is_of_band() {
        true => {
            data["recentLowerThresholds"] = json!(oldest_first(|seen| seen.bounds.0));
            data["recentUpperThresholds"] = json!(oldest_first(|seen| seen.bounds.1));
        }
        false => data["threshold"] = json!(rule.threshold),
    }
    data.to_string()
}

/// `2026-01-02T03:04:05.000+0000`
fn iso(time: Timestamp) -> String {
    time.to_string().replace('Z', "+0000")
}

/// `02/01/26 03:04:05`
fn stamp(time: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!(
        "{day:02}/{month:02}/{:02} {hour:02}:{minute:02}:{second:02}",
        year % 100
    )
}
