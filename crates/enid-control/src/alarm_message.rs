//! What alarms say when their states become others: the subject, the message in AWS's JSON, and the words
//! for readers of mail.
//!
//! Members and their order are AWS's, as programs that take messages of CloudWatch expect them.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html>

use std::fmt::Write as _;

use enid_model::alarm::{Alarm, AlarmQuery, AlarmRule, AlarmStat, AlarmState, MetricRule, Watched};
use enid_model::time::Timestamp;
use serde::Serialize;

use crate::{Caller, alarm_arn};

/// A message about an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) letter: String,
}

/// What is told.
pub(crate) struct Change<'a> {
    pub(crate) caller: &'a Caller,
    /// The alarm in its new state.
    pub(crate) alarm: &'a Alarm,
    /// The state before.
    pub(crate) before: AlarmState,
    /// The alarms that a composite one follows, of those that changed with it.
    pub(crate) children: Vec<&'a Alarm>,
}

/// Children that are told of at most.
const CHILDREN_MAX: usize = 10;
/// Characters of a subject, as SNS has it.
const SUBJECT_MAX: usize = 100;

impl Change<'_> {
    /// All of the message.
    pub(crate) fn words(&self) -> Words {
        let (alarm, region) = (self.alarm, self.caller.region.words());
        let subject = format!("{}: \"{}\" in {region}", alarm.state, alarm.name);
        let plain = subject.chars().map(|letter| match letter {
            letter if letter.is_ascii_graphic() || letter == ' ' => letter,
            _ => '_',
        });
        Words {
            subject: plain.take(SUBJECT_MAX).collect(),
            text: self.text(),
            letter: self.letter(),
        }
    }

    fn text(&self) -> String {
        let alarm = self.alarm;
        let is_composite = alarm.rule.is_composite();
        let text = Text {
            alarm_name: &alarm.name,
            alarm_description: alarm.description.as_deref(),
            account: self.caller.account.to_string(),
            configured: (!is_composite).then(|| iso(alarm.configured)),
            new_state: alarm.state.as_str(),
            reason: &alarm.reason,
            at: iso(alarm.state_transitioned),
            region: self.caller.region.words(),
            arn: alarm_arn(self.caller, &alarm.name),
            // Messages of composite alarms have the old state behind the actions.
            old_state: (!is_composite).then(|| self.before.as_str()),
            ok_actions: &alarm.ok_actions,
            alarm_actions: &alarm.alarm_actions,
            insufficient_data_actions: &alarm.insufficient_data_actions,
            composite_old_state: is_composite.then(|| self.before.as_str()),
            trigger: match &alarm.rule {
                AlarmRule::Metric(rule) => Some(trigger(rule)),
                AlarmRule::Composite(_) => None,
            },
            alarm_rule: match &alarm.rule {
                AlarmRule::Composite(rule) => Some(rule),
                AlarmRule::Metric(_) => None,
            },
            children: is_composite.then(|| {
                let children = self.children.iter().take(CHILDREN_MAX);
                children.map(|child| self.child(child)).collect()
            }),
        };
        // Unwrap: there is no map in it whose keys are not text.
        serde_json::to_string(&text).expect("messages serialize")
    }

    fn child(&self, child: &Alarm) -> Child {
        Child {
            arn: alarm_arn(self.caller, &child.name),
            state: ChildState {
                value: child.state.as_str(),
                at: iso(child.state_transitioned),
            },
        }
    }

    fn letter(&self) -> String {
        let (alarm, region) = (self.alarm, self.caller.region.words());
        let at = long(alarm.state_transitioned);
        let (before, after) = (self.before, alarm.state);
        let mut letter = format!(
            "You are receiving this email because your Amazon CloudWatch Alarm \"{}\" in the {region} region has entered the {after} state, because \"{}\" at \"{at}\".\n\nAlarm Details:\n",
            alarm.name, alarm.reason
        );
        let mut line = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(letter, "- {:27} {value}", format!("{name}:"));
        };
        line("Name", &alarm.name);
        line("Description", alarm.description.as_deref().unwrap_or(""));
        line("State Change", &format!("{before} -> {after}"));
        if let AlarmRule::Composite(rule) = &alarm.rule {
            line("Alarm Rule", rule);
        }
        line("Reason for State Change", &alarm.reason);
        line("Timestamp", &at);
        line("AWS Account", &self.caller.account.to_string());
        line("Alarm Arn", &alarm_arn(self.caller, &alarm.name));
        if let AlarmRule::Metric(rule) = &alarm.rule {
            letter.push_str(&threshold(rule));
        }
        letter.push_str("\nState Change Actions:\n");
        for (state, actions) in [
            ("OK", &alarm.ok_actions),
            ("ALARM", &alarm.alarm_actions),
            ("INSUFFICIENT_DATA", &alarm.insufficient_data_actions),
        ] {
            let actions: Vec<String> = actions.iter().map(|action| format!("[{action}]")).collect();
            let _ = writeln!(letter, "- {state}: {}", actions.join(" "));
        }
        letter
    }
}

fn threshold(rule: &MetricRule) -> String {
    let of = rule.evaluation_periods;
    let mut text = format!(
        "\nThreshold:\n- The alarm is in the ALARM state when the metric is {} {:?} for at least {} of the last {of} period(s) of {} seconds.\n",
        rule.comparison,
        rule.threshold,
        rule.datapoints_to_alarm.unwrap_or(of),
        rule.period_s,
    );
    if let Watched::Stat(stat) = &rule.watched {
        let dimensions = stat.dimensions.iter();
        let dimensions: Vec<String> = dimensions
            .map(|(name, value)| format!("[{name} = {value}]"))
            .collect();
        let _ = write!(
            text,
            "\nMonitored Metric:\n- MetricNamespace: {}\n- MetricName: {}\n- Dimensions: {}\n- Period: {} seconds\n- Statistic: {}\n- Unit: {}\n- TreatMissingData: {}\n",
            stat.namespace,
            stat.name,
            dimensions.join(" "),
            rule.period_s,
            stat.statistic,
            stat.unit.as_deref().unwrap_or("not specified"),
            rule.missing,
        );
    }
    text
}

/// The message's members, in AWS's order.
#[derive(Serialize)]
struct Text<'a> {
    #[serde(rename = "AlarmName")]
    alarm_name: &'a str,
    #[serde(rename = "AlarmDescription")]
    alarm_description: Option<&'a str>,
    #[serde(rename = "AWSAccountId")]
    account: String,
    #[serde(
        rename = "AlarmConfigurationUpdatedTimestamp",
        skip_serializing_if = "Option::is_none"
    )]
    configured: Option<String>,
    #[serde(rename = "NewStateValue")]
    new_state: &'static str,
    #[serde(rename = "NewStateReason")]
    reason: &'a str,
    #[serde(rename = "StateChangeTime")]
    at: String,
    #[serde(rename = "Region")]
    region: &'static str,
    #[serde(rename = "AlarmArn")]
    arn: String,
    #[serde(rename = "OldStateValue", skip_serializing_if = "Option::is_none")]
    old_state: Option<&'static str>,
    #[serde(rename = "OKActions")]
    ok_actions: &'a [String],
    #[serde(rename = "AlarmActions")]
    alarm_actions: &'a [String],
    #[serde(rename = "InsufficientDataActions")]
    insufficient_data_actions: &'a [String],
    #[serde(rename = "OldStateValue", skip_serializing_if = "Option::is_none")]
    composite_old_state: Option<&'static str>,
    #[serde(rename = "Trigger", skip_serializing_if = "Option::is_none")]
    trigger: Option<Trigger<'a>>,
    #[serde(rename = "AlarmRule", skip_serializing_if = "Option::is_none")]
    alarm_rule: Option<&'a str>,
    #[serde(rename = "TriggeringChildren", skip_serializing_if = "Option::is_none")]
    children: Option<Vec<Child>>,
}

#[derive(Serialize)]
struct Child {
    #[serde(rename = "Arn")]
    arn: String,
    #[serde(rename = "State")]
    state: ChildState,
}

#[derive(Serialize)]
struct ChildState {
    #[serde(rename = "Value")]
    value: &'static str,
    #[serde(rename = "Timestamp")]
    at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Trigger<'a> {
    #[serde(flatten)]
    stat: Option<Stat<'a>>,
    period: i64,
    evaluation_periods: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    datapoints_to_alarm: Option<u32>,
    comparison_operator: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold_metric_id: Option<&'a str>,
    treat_missing_data: &'static str,
    evaluate_low_sample_count_percentile: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Vec<Query<'a>>>,
}

/// What an alarm on one metric says of it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stat<'a> {
    metric_name: &'a str,
    namespace: &'a str,
    statistic_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistic: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extended_statistic: Option<&'a str>,
    unit: Option<&'a str>,
    dimensions: Vec<Dimension<'a>>,
}

#[derive(Serialize)]
struct Dimension<'a> {
    value: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Query<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<&'a str>,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_stat: Option<QueryStat<'a>>,
    return_data: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct QueryStat<'a> {
    metric: QueryMetric<'a>,
    period: i64,
    stat: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct QueryMetric<'a> {
    dimensions: Vec<Dimension<'a>>,
    metric_name: &'a str,
    namespace: &'a str,
}

fn trigger(rule: &MetricRule) -> Trigger<'_> {
    let (stat, metrics) = match &rule.watched {
        Watched::Stat(stat) => (Some(self::stat(stat)), None),
        Watched::Queries(queries) => {
            let count = queries.len();
            let queries = queries
                .iter()
                .map(|query| self::query(query, rule.period_s, count));
            (None, Some(queries.collect()))
        }
    };
    Trigger {
        stat,
        period: rule.period_s,
        evaluation_periods: rule.evaluation_periods,
        datapoints_to_alarm: rule.datapoints_to_alarm,
        comparison_operator: rule.comparison.as_str(),
        threshold: rule.threshold_metric.is_none().then_some(rule.threshold),
        threshold_metric_id: rule.threshold_metric.as_deref(),
        treat_missing_data: rule.missing.as_str(),
        evaluate_low_sample_count_percentile: match rule.ignores_low_samples {
            None => "",
            Some(false) => "evaluate",
            Some(true) => "ignore",
        },
        metrics,
    }
}

fn stat(stat: &AlarmStat) -> Stat<'_> {
    let simple = match stat.statistic.as_str() {
        "Average" => Some("AVERAGE"),
        "Maximum" => Some("MAXIMUM"),
        "Minimum" => Some("MINIMUM"),
        "SampleCount" => Some("SAMPLE_COUNT"),
        "Sum" => Some("SUM"),
        _ => None,
    };
    Stat {
        metric_name: &stat.name,
        namespace: &stat.namespace,
        statistic_type: match simple {
            Some(_) => "Statistic",
            None => "ExtendedStatistic",
        },
        statistic: simple,
        extended_statistic: match simple {
            Some(_) => None,
            None => Some(&stat.statistic),
        },
        unit: stat.unit.as_deref(),
        dimensions: dimensions(stat),
    }
}

fn query(query: &AlarmQuery, period_s: i64, count: usize) -> Query<'_> {
    Query {
        expression: query.expression.as_deref(),
        id: &query.id,
        label: query.label.as_deref(),
        metric_stat: query.stat.as_ref().map(|stat| QueryStat {
            metric: QueryMetric {
                dimensions: dimensions(stat),
                metric_name: &stat.name,
                namespace: &stat.namespace,
            },
            period: query.period_s.unwrap_or(period_s),
            stat: &stat.statistic,
            unit: stat.unit.as_deref(),
        }),
        return_data: query.return_data.unwrap_or(count == 1),
    }
}

fn dimensions(stat: &AlarmStat) -> Vec<Dimension<'_>> {
    let pairs = stat.dimensions.iter();
    pairs
        .map(|(name, value)| Dimension { value, name })
        .collect()
}

/// `2026-01-02T03:04:05.000+0000`
fn iso(time: Timestamp) -> String {
    time.to_string().replace('Z', "+0000")
}

/// `Friday 02 January, 2026 03:04:05 UTC`
fn long(time: Timestamp) -> String {
    const DAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day, hour, minute, second) = time.civil();
    // 1970 began with a Thursday.
    let weekday = usize::try_from(time.seconds().div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let weekday = DAYS.get(weekday).copied().unwrap_or_default();
    let month = usize::try_from(month).unwrap_or(1).saturating_sub(1);
    let month = MONTHS.get(month).copied().unwrap_or_default();
    format!("{weekday} {day:02} {month}, {year} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use enid_model::alarm::{Comparison, MissingData};
    use enid_model::key::AccountId;
    use enid_model::region::Region;

    use super::*;

    fn caller() -> Caller {
        Caller {
            account: AccountId::DEFAULT,
            region: Region::named("eu-west-1").unwrap(),
            dry_run: false,
            asked: None,
        }
    }

    fn alarm(rule: AlarmRule) -> Alarm {
        let at = Timestamp(1_767_323_045_006);
        Alarm {
            name: "caf\u{e9} \"x\"".to_owned(),
            description: None,
            actions_enabled: true,
            ok_actions: Vec::new(),
            alarm_actions: vec!["arn:aws:sns:eu-west-1:123456789012:t".to_owned()],
            insufficient_data_actions: Vec::new(),
            suppressor: None,
            suppression: None,
            rule,
            state: AlarmState::Alarm,
            reason: "because".to_owned(),
            reason_data: None,
            state_updated: at,
            state_transitioned: at,
            configured: Timestamp(1_767_323_040_000),
            tags: enid_model::Tags::default(),
        }
    }

    fn stat() -> AlarmStat {
        AlarmStat {
            namespace: "AWS/EC2".to_owned(),
            name: "NetworkIn".to_owned(),
            dimensions: vec![("InstanceId".to_owned(), "i-1".to_owned())],
            statistic: "Sum".to_owned(),
            unit: None,
        }
    }

    fn rule(watched: Watched) -> AlarmRule {
        AlarmRule::Metric(MetricRule {
            watched,
            period_s: 60,
            evaluation_periods: 1,
            datapoints_to_alarm: Some(1),
            threshold: 5.0,
            threshold_metric: None,
            comparison: Comparison::GreaterThanThreshold,
            missing: MissingData::Missing,
            ignores_low_samples: None,
        })
    }

    fn words(alarm: &Alarm, children: Vec<&Alarm>) -> Words {
        Change {
            caller: &caller(),
            alarm,
            before: AlarmState::Ok,
            children,
        }
        .words()
    }

    #[test]
    fn a_message_is_awss_to_the_letter() {
        let words = words(&alarm(rule(Watched::Stat(stat()))), Vec::new());
        assert_eq!(words.subject, "ALARM: \"caf_ \"x\"\" in EU (Ireland)");
        assert_eq!(
            words.text,
            concat!(
                "{\"AlarmName\":\"caf\u{e9} \\\"x\\\"\",\"AlarmDescription\":null,\"AWSAccountId\":\"123456789012\",",
                "\"AlarmConfigurationUpdatedTimestamp\":\"2026-01-02T03:04:00.000+0000\",\"NewStateValue\":\"ALARM\",",
                "\"NewStateReason\":\"because\",\"StateChangeTime\":\"2026-01-02T03:04:05.006+0000\",",
                "\"Region\":\"EU (Ireland)\",",
                "\"AlarmArn\":\"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:caf\u{e9} \\\"x\\\"\",",
                "\"OldStateValue\":\"OK\",\"OKActions\":[],",
                "\"AlarmActions\":[\"arn:aws:sns:eu-west-1:123456789012:t\"],\"InsufficientDataActions\":[],",
                "\"Trigger\":{\"MetricName\":\"NetworkIn\",\"Namespace\":\"AWS/EC2\",\"StatisticType\":\"Statistic\",",
                "\"Statistic\":\"SUM\",\"Unit\":null,\"Dimensions\":[{\"value\":\"i-1\",\"name\":\"InstanceId\"}],",
                "\"Period\":60,\"EvaluationPeriods\":1,\"DatapointsToAlarm\":1,",
                "\"ComparisonOperator\":\"GreaterThanThreshold\",\"Threshold\":5.0,",
                "\"TreatMissingData\":\"missing\",\"EvaluateLowSampleCountPercentile\":\"\"}}"
            )
        );
        assert!(words.letter.contains("entered the ALARM state"));
        assert!(
            words
                .letter
                .contains("Friday 02 January, 2026 03:04:05 UTC")
        );
        assert!(
            words
                .letter
                .contains("- State Change:               OK -> ALARM\n")
        );
    }

    #[test]
    fn expressions_and_rules_are_told() {
        let query = |id: &str, expression: Option<&str>| AlarmQuery {
            id: id.to_owned(),
            label: None,
            return_data: Some(expression.is_some()),
            period_s: None,
            expression: expression.map(str::to_owned),
            stat: expression.is_none().then(stat),
        };
        let queries = vec![query("e", Some("m*2")), query("m", None)];
        let math = words(&alarm(rule(Watched::Queries(queries))), Vec::new());
        assert!(math.text.contains(concat!(
            "\"Metrics\":[{\"Expression\":\"m*2\",\"Id\":\"e\",\"ReturnData\":true},",
            "{\"Id\":\"m\",\"MetricStat\":{\"Metric\":{\"Dimensions\":",
            "[{\"value\":\"i-1\",\"name\":\"InstanceId\"}],\"MetricName\":\"NetworkIn\",",
            "\"Namespace\":\"AWS/EC2\"},\"Period\":60,\"Stat\":\"Sum\"},\"ReturnData\":false}]"
        )));
        let AlarmRule::Metric(mut band) = rule(Watched::Stat(stat())) else {
            panic!("a metric alarm");
        };
        band.threshold_metric = Some("ad1".to_owned());
        let band = words(&alarm(AlarmRule::Metric(band)), Vec::new());
        assert!(band.text.contains(",\"ThresholdMetricId\":\"ad1\","));
        assert!(!band.text.contains("\"Threshold\":"));
        let child = alarm(rule(Watched::Stat(stat())));
        let composite = alarm(AlarmRule::Composite("ALARM(x)".to_owned()));
        let told = words(&composite, vec![&child]);
        assert!(!told.text.contains("AlarmConfigurationUpdatedTimestamp"));
        assert!(told.text.contains("\"InsufficientDataActions\":[],\"OldStateValue\":\"OK\",\"AlarmRule\":\"ALARM(x)\",\"TriggeringChildren\":[{\"Arn\":"));
        assert!(told.text.ends_with(
            "\"State\":{\"Value\":\"ALARM\",\"Timestamp\":\"2026-01-02T03:04:05.006+0000\"}}]}"
        ));
    }
}
