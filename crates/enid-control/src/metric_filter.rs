//! Metric filters of log groups. Patterns come here parsed; what is kept is their text.

use enid_model::log_group::{LogGroup, MetricFilter, MetricTransformation};

use crate::log_group::{check_text, constraint};
use crate::{Caller, Control, Error, LogsError, check_group_name};

/// What PutMetricFilter takes.
#[derive(Debug, Clone)]
pub struct PutMetricFilter {
    /// The group's name.
    pub group: String,
    /// The filter's name, unique in the group.
    pub name: String,
    /// A valid pattern.
    pub pattern: String,
    /// What an event that matches becomes.
    pub transformation: MetricTransformation,
}

impl Control {
    /// PutMetricFilter: makes a filter or replaces it.
    pub async fn put_metric_filter(
        &self,
        caller: &Caller,
        input: &PutMetricFilter,
    ) -> Result<(), Error> {
        check_group_name(&input.group)?;
        check_filter_name(&input.name)?;
        check_transformation(&input.transformation)?;
        self.edit_log_group(caller, &input.group, |group, draft| {
            let before = group.metric_filters.remove(&input.name);
            if group.metric_filters.len() >= FILTERS_MAX {
                return Err(LogsError::LimitExceeded.into());
            }
            check_regexes(group, &input.pattern)?;
            let filter = MetricFilter {
                pattern: input.pattern.clone(),
                transformation: input.transformation.clone(),
                created_at: before.map_or(draft.now, |before| before.created_at),
            };
            group.metric_filters.insert(input.name.clone(), filter);
            Ok(())
        })
        .await
    }

    /// DeleteMetricFilter.
    pub async fn delete_metric_filter(
        &self,
        caller: &Caller,
        group: &str,
        name: &str,
    ) -> Result<(), Error> {
        check_group_name(group)?;
        check_filter_name(name)?;
        self.edit_log_group(caller, group, |group, _| {
            let gone = group.metric_filters.remove(name);
            let what = "metric";
            let missing = || LogsError::FilterNotFound { what }.into();
            gone.map(|_| ()).ok_or_else(missing)
        })
        .await
    }
}

/// Checks the name of a filter.
pub(crate) fn check_filter_name(name: &str) -> Result<(), Error> {
    check_text(name, "filterName", NAME_MAX, "[^:*]*", |c| {
        !matches!(c, ':' | '*')
    })
}

/// A group has five filters with regular expressions at most, of both sorts together.
pub(crate) fn check_regexes(others: &LogGroup, pattern: &str) -> Result<(), Error> {
    let metric = others.metric_filters.values().map(|it| &it.pattern);
    let subscription = others.subscription_filters.values().map(|it| &it.pattern);
    let others = metric.chain(subscription).filter(|it| has_regex(it));
    if has_regex(pattern) && others.count() >= REGEX_FILTERS_MAX {
        return Err(LogsError::RegexFiltersTooMany.into());
    }
    Ok(())
}

/// Whether a valid pattern has a regular expression: a percent sign that is not in quotes.
fn has_regex(pattern: &str) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    pattern.chars().any(|character| {
        let is_percent = character == '%' && !is_quoted;
        if character == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = character == '\\' && !is_escaped;
        is_percent
    })
}

fn check_transformation(transformation: &MetricTransformation) -> Result<(), Error> {
    let is_allowed = |c| !matches!(c, ':' | '*' | '$');
    let check = |value: &str, member| check_text(value, member, METRIC_MAX, "[^:*$]*", is_allowed);
    let member = |name: &str| format!("metricTransformations.1.member.{name}");
    check(
        &transformation.namespace,
        "metricTransformations.1.member.metricNamespace",
    )?;
    check(
        &transformation.name,
        "metricTransformations.1.member.metricName",
    )?;
    if transformation.value.chars().count() > VALUE_MAX {
        let rule = format!("Member must have length less than or equal to {VALUE_MAX}");
        let value = &transformation.value;
        return Err(constraint(value, &member("metricValue"), rule.into()));
    }
    if transformation.dimensions.len() > DIMENSIONS_MAX {
        let rule = format!("Member must have length less than or equal to {DIMENSIONS_MAX}");
        let count = transformation.dimensions.len().to_string();
        return Err(constraint(&count, &member("dimensions"), rule.into()));
    }
    for (name, value) in &transformation.dimensions {
        for text in [name, value] {
            check_text(
                text,
                "metricTransformations.1.member.dimensions",
                METRIC_MAX,
                "",
                |_| true,
            )?;
        }
    }
    if transformation.default_value.is_some() && !transformation.dimensions.is_empty() {
        return Err(LogsError::DefaultWithDimensions.into());
    }
    Ok(())
}

const NAME_MAX: usize = 512;
const METRIC_MAX: usize = 255;
const VALUE_MAX: usize = 100;
const DIMENSIONS_MAX: usize = 3;
/// Metric filters of a group.
/// Source: CloudWatch Logs User Guide, "CloudWatch Logs quotas".
const FILTERS_MAX: usize = 100;
/// Source: CloudWatch Logs User Guide, "Supported regular expressions".
const REGEX_FILTERS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateLogGroup, log_group_named};

    fn input(name: &str, pattern: &str) -> PutMetricFilter {
        PutMetricFilter {
            group: "g".to_owned(),
            name: name.to_owned(),
            pattern: pattern.to_owned(),
            transformation: MetricTransformation {
                namespace: "App".to_owned(),
                name: "Errors".to_owned(),
                value: "1".to_owned(),
                default_value: Some(0.0),
                dimensions: std::collections::BTreeMap::new(),
                unit: None,
            },
        }
    }

    #[tokio::test]
    async fn filters_are_made_replaced_and_deleted() {
        let (control, caller) = (control(), caller());
        let code = |result: Result<(), Error>| result.err().map(|error| error.code());
        let missing = control.put_metric_filter(&caller, &input("f", "a")).await;
        assert_eq!(code(missing), Some("ResourceNotFoundException"));
        let group = CreateLogGroup {
            name: "g".to_owned(),
            ..CreateLogGroup::default()
        };
        control
            .create_log_group(&caller, &group)
            .await
            .expect("a group");
        for pattern in ["a", "b"] {
            let made = control
                .put_metric_filter(&caller, &input("f", pattern))
                .await;
            made.expect("a filter");
        }
        let region = control.read(&caller).await.expect("the region");
        let filters = &log_group_named(&region, "g")
            .expect("the group")
            .metric_filters;
        let patterns: Vec<_> = filters.values().map(|it| &*it.pattern).collect();
        assert_eq!(patterns, ["b"]);
        for _ in 0..1 {
            let gone = control.delete_metric_filter(&caller, "g", "f").await;
            assert_eq!(code(gone), None);
        }
        let gone = control.delete_metric_filter(&caller, "g", "f").await;
        assert_eq!(code(gone), Some("ResourceNotFoundException"));
    }

    #[tokio::test]
    async fn a_group_has_five_filters_with_regular_expressions() {
        let (control, caller) = (control(), caller());
        let group = CreateLogGroup {
            name: "g".to_owned(),
            ..CreateLogGroup::default()
        };
        control
            .create_log_group(&caller, &group)
            .await
            .expect("a group");
        for name in ["1", "2", "3", "4", "5"] {
            let made = control
                .put_metric_filter(&caller, &input(name, "%x%"))
                .await;
            made.expect("a filter");
        }
        // Replacing one is no sixth, and other patterns are not counted.
        for (name, pattern, is_made) in [
            ("5", "%y%", true),
            ("6", "\"100 %\"", true),
            ("7", "{ $.a = %z% }", false),
        ] {
            let made = control
                .put_metric_filter(&caller, &input(name, pattern))
                .await;
            assert_eq!(made.is_ok(), is_made, "{pattern}");
        }
    }

    #[test]
    fn transformations_are_those_of_the_model() {
        let good = input("f", "a").transformation;
        assert!(check_transformation(&good).is_ok());
        let refused = |change: fn(&mut MetricTransformation)| {
            let mut bad = good.clone();
            change(&mut bad);
            let error = check_transformation(&bad).err();
            error.map(|error| error.code())
        };
        let invalid = Some("InvalidParameterException");
        assert_eq!(refused(|it| it.namespace.clear()), invalid);
        assert_eq!(refused(|it| it.name = "a:b".to_owned()), invalid);
        assert_eq!(refused(|it| it.value = "1".repeat(101)), invalid);
        let dimension = |it: &mut MetricTransformation| {
            it.dimensions.insert("d".to_owned(), "$.d".to_owned());
        };
        assert_eq!(refused(dimension), invalid);
        let four = |it: &mut MetricTransformation| {
            it.default_value = None;
            for name in ["a", "b", "c", "d"] {
                it.dimensions.insert(name.to_owned(), "$.d".to_owned());
            }
        };
        assert_eq!(refused(four), invalid);
    }
}
