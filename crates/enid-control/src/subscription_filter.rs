//! Subscription filters of log groups. Patterns and destinations come here parsed; what is kept is
//! their text.

use enid_model::log_group::SubscriptionFilter;

use crate::metric_filter::{check_filter_name, check_regexes};
use crate::{Caller, Control, Error, LogsError, check_group_name};

/// What PutSubscriptionFilter takes.
#[derive(Debug, Clone)]
pub struct PutSubscriptionFilter {
    /// The group's name.
    pub group: String,
    /// The filter's name, unique in the group.
    pub name: String,
    /// A valid pattern.
    pub pattern: String,
    /// Where events go, which can be reached.
    pub destination: String,
}

impl Control {
    /// PutSubscriptionFilter: makes a filter or replaces it.
    pub async fn put_subscription_filter(
        &self,
        caller: &Caller,
        input: &PutSubscriptionFilter,
    ) -> Result<(), Error> {
        check_group_name(&input.group)?;
        check_filter_name(&input.name)?;
        self.edit_log_group(caller, &input.group, |group, draft| {
            let before = group.subscription_filters.remove(&input.name);
            if group.subscription_filters.len() >= FILTERS_MAX {
                return Err(LogsError::LimitExceeded.into());
            }
            check_regexes(group, &input.pattern)?;
            let filter = SubscriptionFilter {
                pattern: input.pattern.clone(),
                destination: input.destination.clone(),
                created_at: before.map_or(draft.now, |before| before.created_at),
            };
            let name = input.name.clone();
            group.subscription_filters.insert(name, filter);
            Ok(())
        })
        .await
    }

    /// DeleteSubscriptionFilter.
    pub async fn delete_subscription_filter(
        &self,
        caller: &Caller,
        group: &str,
        name: &str,
    ) -> Result<(), Error> {
        check_group_name(group)?;
        check_filter_name(name)?;
        self.edit_log_group(caller, group, |group, _| {
            let gone = group.subscription_filters.remove(name);
            let what = "subscription";
            let missing = || LogsError::FilterNotFound { what }.into();
            gone.map(|_| ()).ok_or_else(missing)
        })
        .await
    }
}

/// Subscription filters of a group.
/// Source: CloudWatch Logs API Reference, PutSubscriptionFilter.
const FILTERS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CreateLogGroup;
    use crate::fixture::{caller, control};

    #[tokio::test]
    async fn a_group_has_two_subscriptions() {
        let (control, caller) = (control(), caller());
        let group = CreateLogGroup {
            name: "g".to_owned(),
            ..CreateLogGroup::default()
        };
        control
            .create_log_group(&caller, &group)
            .await
            .expect("a group");
        let put = async |name: &str| {
            let input = PutSubscriptionFilter {
                group: "g".to_owned(),
                name: name.to_owned(),
                pattern: String::new(),
                destination: "http://127.0.0.1:1/".to_owned(),
            };
            let put = control.put_subscription_filter(&caller, &input).await;
            put.err().map(|error| error.code())
        };
        for name in ["a", "b", "b"] {
            assert_eq!(put(name).await, None);
        }
        assert_eq!(put("c").await, Some("LimitExceededException"));
        let delete = async |name: &str| {
            let gone = control.delete_subscription_filter(&caller, "g", name).await;
            gone.err().map(|error| (error.code(), error.to_string()))
        };
        assert_eq!(delete("a").await, None);
        let text = "The specified subscription filter does not exist.".to_owned();
        assert_eq!(delete("a").await, Some(("ResourceNotFoundException", text)));
        assert_eq!(put("c").await, None);
    }
}
