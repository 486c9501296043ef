//! Alarms: made, changed, deleted, tagged. What their states are is [`alarm_state`](crate::alarm_state)'s
//! matter.

use enid_model::Tags;
use enid_model::alarm::{Alarm, AlarmRule, AlarmState, HistoryItem, Suppressor};
use enid_model::key::Kind;
use enid_model::state::{RegionState, Stored};

use crate::alarm_action;
use crate::alarm_rule::Rule;
use crate::alarm_state::Edits;
use crate::{AlarmError, Caller, Control, Draft, Error};

/// What PutMetricAlarm and PutCompositeAlarm take.
#[derive(Debug, Clone)]
pub struct PutAlarm {
    /// Its name, unique in the region.
    pub name: String,
    /// What is said of it.
    pub description: Option<String>,
    /// Whether a change of state has its actions carried out.
    pub actions_enabled: bool,
    /// What is done when it becomes OK.
    pub ok_actions: Vec<String>,
    /// What is done when it goes off.
    pub alarm_actions: Vec<String>,
    /// What is done when there are too few data.
    pub insufficient_data_actions: Vec<String>,
    /// What keeps it from doing that.
    pub suppressor: Option<Suppressor>,
    /// What it watches.
    pub rule: AlarmRule,
    /// Its tags; those of an alarm that is there stay as they are.
    pub tags: Tags,
}

/// Alarms of a region.
const ALARMS_MAX: usize = 5000;
/// Characters of a name.
const NAME_MAX: usize = 255;
/// Tags of an alarm.
const TAGS_MAX: usize = 50;

impl Control {
    /// PutMetricAlarm and PutCompositeAlarm. An alarm that is there is changed and keeps its state.
    pub async fn put_alarm(&self, caller: &Caller, input: &PutAlarm) -> Result<(), Error> {
        check_name(&input.name)?;
        check_tags(&input.tags)?;
        alarm_action::check(caller, input)?;
        self.transact(caller, |draft| put(draft, input)).await
    }

    /// DeleteAlarms: all of them or none.
    pub async fn delete_alarms(&self, caller: &Caller, names: &[String]) -> Result<(), Error> {
        self.transact(caller, |draft| {
            require(&draft.region, names)?;
            let region = std::sync::Arc::clone(&draft.region);
            for parent in region.alarms.values() {
                let AlarmRule::Composite(rule) = &parent.rule else {
                    continue;
                };
                let children = Rule::parse(rule).map(|rule| rule.children());
                let children = children.unwrap_or_default();
                let child = names.iter().find(|name| children.contains(*name));
                if let Some(child) = child
                    && !names.contains(&parent.name)
                {
                    return Err(AlarmError::IsChild {
                        name: child.as_str().into(),
                        parent: parent.name.as_str().into(),
                    }
                    .into());
                }
            }
            let mut edits = Edits::new(draft);
            let unique: std::collections::BTreeSet<&String> = names.iter().collect();
            for name in unique {
                if let Some(alarm) = region.alarms.get(name.as_str()) {
                    let summary = format!("Alarm \"{name}\" deleted");
                    edits.tell(alarm, HistoryItem::ConfigurationUpdate, summary, "Delete");
                    edits.delete(alarm);
                }
            }
            edits.write();
            Ok(())
        })
        .await
    }

    /// EnableAlarmActions and DisableAlarmActions. AWS takes no notice of names that are none's.
    pub async fn enable_alarm_actions(
        &self,
        caller: &Caller,
        names: &[String],
        enabled: bool,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let region = std::sync::Arc::clone(&draft.region);
            let now = draft.now;
            let mut edits = Edits::new(draft);
            for alarm in names
                .iter()
                .filter_map(|name| region.alarms.get(name.as_str()))
            {
                if alarm.actions_enabled != enabled {
                    edits.change(alarm, |alarm| {
                        alarm.actions_enabled = enabled;
                        alarm.configured = now;
                    });
                    let summary = format!("Alarm \"{}\" updated", alarm.name);
                    edits.tell(alarm, HistoryItem::ConfigurationUpdate, summary, "Update");
                }
            }
            edits.write();
            Ok(())
        })
        .await
    }

    /// TagResource and UntagResource of an alarm.
    pub async fn tag_alarm(
        &self,
        caller: &Caller,
        arn: &str,
        tags: &Tags,
        removed: &[String],
    ) -> Result<(), Error> {
        check_tags(tags)?;
        self.transact(caller, |draft| {
            let alarm = alarm_named_by_arn(&draft.region, caller, arn)?.clone();
            let mut new = alarm.tags.clone();
            new.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            new.retain(|key, _| !removed.contains(key));
            check_tags(&new)?;
            let mut edits = Edits::new(draft);
            edits.change(&alarm, |alarm| alarm.tags.clone_from(&new));
            edits.write();
            Ok(())
        })
        .await
    }
}

/// The ARN of an alarm.
#[must_use]
pub fn alarm_arn(caller: &Caller, name: &str) -> String {
    let (partition, region) = (caller.region.partition(), caller.region.name);
    let account = caller.account;
    format!("arn:{partition}:cloudwatch:{region}:{account}:alarm:{name}")
}

/// The alarm of an ARN.
pub fn alarm_named_by_arn<'a>(
    region: &'a RegionState,
    caller: &Caller,
    arn: &str,
) -> Result<&'a Stored<Alarm>, Error> {
    let name = arn.strip_prefix(alarm_arn(caller, "").as_str());
    let alarm = name.and_then(|name| region.alarms.get(name));
    alarm.ok_or_else(|| {
        let arn = arn.chars().take(200).collect::<String>().into();
        AlarmError::ArnNotFound { arn }.into()
    })
}

/// All of these alarms must be there.
pub(crate) fn require(region: &RegionState, names: &[String]) -> Result<(), Error> {
    let missing = names
        .iter()
        .filter(|name| !region.alarms.contains_key(name.as_str()));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let names = missing.join(", ").chars().take(1000).collect::<String>();
            Err(AlarmError::NotFound {
                names: names.into(),
            }
            .into())
        }
    }
}

fn put(draft: &mut Draft<'_>, input: &PutAlarm) -> Result<(), Error> {
    let region = std::sync::Arc::clone(&draft.region);
    let known = region.alarms.get(input.name.as_str());
    if let AlarmRule::Composite(text) = &input.rule {
        let refused = |why: String| AlarmError::Rule { why: why.into() };
        let rule = Rule::parse(text).map_err(|error| refused(error.to_string()))?;
        for child in rule.children() {
            if !region.alarms.contains_key(child.as_str()) || child == input.name {
                return Err(refused(format!("alarm {child} does not exist")).into());
            }
        }
        // What the rule names must still be there when it is stored.
        draft.demand_none_new(Kind::Alarm);
    }
    if let Some(suppressor) = &input.suppressor {
        let is_there = region.alarms.contains_key(suppressor.alarm.as_str());
        if !is_there || suppressor.alarm == input.name {
            let name = suppressor
                .given
                .chars()
                .take(200)
                .collect::<String>()
                .into();
            return Err(AlarmError::NoSuppressor { name }.into());
        }
    }
    let now = draft.now;
    let make = |alarm: &mut Alarm| {
        alarm.description.clone_from(&input.description);
        alarm.actions_enabled = input.actions_enabled;
        alarm.ok_actions.clone_from(&input.ok_actions);
        alarm.alarm_actions.clone_from(&input.alarm_actions);
        alarm
            .insufficient_data_actions
            .clone_from(&input.insufficient_data_actions);
        alarm.suppressor.clone_from(&input.suppressor);
        alarm.rule.clone_from(&input.rule);
        alarm.configured = now;
    };
    let mut edits = Edits::new(draft);
    match known {
        Some(known) if known.rule.is_composite() != input.rule.is_composite() => {
            return Err(AlarmError::OtherKind.into());
        }
        Some(known) => {
            edits.change(known, make);
            let summary = format!("Alarm \"{}\" updated", input.name);
            edits.tell(known, HistoryItem::ConfigurationUpdate, summary, "Update");
        }
        None => {
            if region.alarms.len() >= ALARMS_MAX {
                return Err(AlarmError::TooMany.into());
            }
            let mut alarm = Alarm {
                name: input.name.clone(),
                description: None,
                actions_enabled: true,
                ok_actions: Vec::new(),
                alarm_actions: Vec::new(),
                insufficient_data_actions: Vec::new(),
                suppressor: None,
                suppression: None,
                rule: input.rule.clone(),
                state: AlarmState::InsufficientData,
                reason: "Unchecked: Initial alarm creation".to_owned(),
                reason_data: None,
                state_updated: now,
                state_transitioned: now,
                configured: now,
                tags: input.tags.clone(),
            };
            make(&mut alarm);
            let summary = format!("Alarm \"{}\" created", input.name);
            edits.tell(&alarm, HistoryItem::ConfigurationUpdate, summary, "Create");
            edits.create(alarm);
        }
    }
    edits.settle();
    edits.write();
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    let fits = (1..=NAME_MAX).contains(&length) && !name.chars().any(char::is_control);
    match fits {
        true => Ok(()),
        false => Err(AlarmError::Name.into()),
    }
}

fn check_tags(tags: &Tags) -> Result<(), Error> {
    let fits = tags.len() <= TAGS_MAX
        && tags.iter().all(|(key, value)| {
            let length = key.chars().count();
            (1..=128).contains(&length)
                && value.chars().count() <= 256
                && !key.to_ascii_lowercase().starts_with("aws:")
        });
    match fits {
        true => Ok(()),
        false => Err(AlarmError::Tags.into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use enid_model::alarm::{AlarmStat, Comparison, MetricRule, MissingData, Watched};

    use super::*;
    use crate::fixture::{caller, control};

    pub(crate) fn metric(name: &str) -> PutAlarm {
        let stat = AlarmStat {
            namespace: "N".to_owned(),
            name: "m".to_owned(),
            dimensions: Vec::new(),
            statistic: "Sum".to_owned(),
            unit: None,
        };
        PutAlarm {
            name: name.to_owned(),
            description: None,
            actions_enabled: true,
            ok_actions: Vec::new(),
            alarm_actions: Vec::new(),
            insufficient_data_actions: Vec::new(),
            suppressor: None,
            rule: AlarmRule::Metric(MetricRule {
                watched: Watched::Stat(stat),
                period_s: 60,
                evaluation_periods: 1,
                datapoints_to_alarm: None,
                threshold: 1.0,
                threshold_metric: None,
                comparison: Comparison::GreaterThanThreshold,
                missing: MissingData::Missing,
                ignores_low_samples: None,
            }),
            tags: Tags::default(),
        }
    }

    /// An alarm as it is stored.
    pub(crate) fn stored(input: &PutAlarm) -> Alarm {
        let at = enid_model::time::Timestamp(0);
        Alarm {
            name: input.name.clone(),
            description: None,
            actions_enabled: true,
            ok_actions: Vec::new(),
            alarm_actions: Vec::new(),
            insufficient_data_actions: Vec::new(),
            suppressor: None,
            suppression: None,
            rule: input.rule.clone(),
            state: AlarmState::Ok,
            reason: String::new(),
            reason_data: None,
            state_updated: at,
            state_transitioned: at,
            configured: at,
            tags: Tags::default(),
        }
    }

    pub(crate) fn composite(name: &str, rule: &str) -> PutAlarm {
        PutAlarm {
            rule: AlarmRule::Composite(rule.to_owned()),
            ..metric(name)
        }
    }

    #[tokio::test]
    async fn an_alarm_is_made_changed_and_deleted() {
        let (control, caller) = (control(), caller());
        control.put_alarm(&caller, &metric("a")).await.unwrap();
        let changed = PutAlarm {
            description: Some("x".to_owned()),
            ..metric("a")
        };
        control.put_alarm(&caller, &changed).await.unwrap();
        let region = control.read(&caller).await.unwrap();
        let alarm = &region.alarms["a"];
        assert_eq!(alarm.description.as_deref(), Some("x"));
        assert_eq!(alarm.state, AlarmState::InsufficientData);
        let told: Vec<&str> = region
            .alarm_history
            .values()
            .map(|item| item.summary.as_str())
            .collect();
        assert_eq!(told.len(), 2);
        assert!(told.contains(&"Alarm \"a\" created") && told.contains(&"Alarm \"a\" updated"));
        let names = vec!["a".to_owned()];
        control.delete_alarms(&caller, &names).await.unwrap();
        let gone = control.delete_alarms(&caller, &names).await.unwrap_err();
        assert_eq!(gone.code(), "ResourceNotFound");
        assert!(control.read(&caller).await.unwrap().alarms.is_empty());
    }

    #[tokio::test]
    async fn a_child_outlives_its_parent() {
        let (control, caller) = (control(), caller());
        let missing = control
            .put_alarm(&caller, &composite("p", "ALARM(a)"))
            .await;
        assert_eq!(
            missing.unwrap_err().to_string(),
            "Error in AlarmRule: alarm a does not exist"
        );
        control.put_alarm(&caller, &metric("a")).await.unwrap();
        control
            .put_alarm(&caller, &composite("p", "ALARM(a)"))
            .await
            .unwrap();
        let region = control.read(&caller).await.unwrap();
        assert_eq!(region.alarms["p"].state, AlarmState::Ok);
        let child = vec!["a".to_owned()];
        let kept = control.delete_alarms(&caller, &child).await.unwrap_err();
        assert_eq!(kept.code(), "ValidationError");
        let other = control.put_alarm(&caller, &metric("p")).await.unwrap_err();
        assert_eq!(other, AlarmError::OtherKind.into());
        control
            .put_alarm(&caller, &composite("p", "FALSE"))
            .await
            .unwrap();
        control.delete_alarms(&caller, &child).await.unwrap();
    }

    #[tokio::test]
    async fn names_and_tags_have_bounds() {
        let (control, caller) = (control(), caller());
        for name in [String::new(), "x".repeat(256), "a\nb".to_owned()] {
            let refused = control.put_alarm(&caller, &metric(&name)).await;
            assert_eq!(refused.unwrap_err(), AlarmError::Name.into());
        }
        control.put_alarm(&caller, &metric("a")).await.unwrap();
        let arn = alarm_arn(&caller, "a");
        assert_eq!(arn, "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:a");
        let tags: Tags = [("k".to_owned(), "v".to_owned())].into();
        control.tag_alarm(&caller, &arn, &tags, &[]).await.unwrap();
        assert_eq!(control.read(&caller).await.unwrap().alarms["a"].tags, tags);
        let removed = ["k".to_owned()];
        control
            .tag_alarm(&caller, &arn, &Tags::default(), &removed)
            .await
            .unwrap();
        assert!(
            control.read(&caller).await.unwrap().alarms["a"]
                .tags
                .is_empty()
        );
        let reserved: Tags = [("aws:x".to_owned(), String::new())].into();
        assert!(
            control
                .tag_alarm(&caller, &arn, &reserved, &[])
                .await
                .is_err()
        );
        let gone = control
            .tag_alarm(&caller, "arn:x", &tags, &[])
            .await
            .unwrap_err();
        assert_eq!(gone.code(), "ResourceNotFoundException");
    }
}
