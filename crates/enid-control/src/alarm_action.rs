//! What alarms do when their states become others: which actions an alarm may have, when they are owed,
//! and that each is done once.
//!
//! An action is recorded in the commit that changes the state, so that no crash loses it, and its record
//! goes in the commit that tells of it in the history. Whoever does it must bear to be told of one twice:
//! messages have an id for that.

use std::str::FromStr as _;
use std::sync::Arc;

use enid_model::alarm::{
    Alarm, AlarmAction, AlarmHistory, AlarmRule, AlarmState, HistoryItem, SuppressedBy,
    Suppression, Watched,
};
use enid_model::id::InstanceId;
use enid_model::key::Kind;
use enid_model::record::Record;
use enid_model::time::Timestamp;
use enid_model::topic::TopicArn;
use enid_model::uuid::Uuid;
use serde_json::json;

use crate::alarm_message::{Change, Words};
use crate::{AlarmError, Caller, Control, Draft, Error, PutAlarm};

/// Actions of one state.
const ACTIONS_MAX: usize = 5;

/// What an action is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionTarget {
    /// A message to a topic.
    Topic(TopicArn),
    /// What is done to the instance that the alarm watches.
    Instance(InstanceAction),
}

/// What can be done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceAction {
    /// It boots again.
    Reboot,
    /// It stops.
    Stop,
    /// It is terminated.
    Terminate,
}

impl ActionTarget {
    /// What an ARN stands for; `None` for what Enid does not do.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        if let Some(topic) = TopicArn::parse(arn) {
            return Some(Self::Topic(topic));
        }
        let parts: Vec<&str> = arn.split(':').collect();
        match parts.as_slice() {
            ["arn", _, "automate", _, "ec2", what] => Some(Self::Instance(match *what {
                "reboot" => InstanceAction::Reboot,
                "stop" => InstanceAction::Stop,
                "terminate" => InstanceAction::Terminate,
                _ => return None,
            })),
            _ => None,
        }
    }
}

impl Control {
    /// An action was done, or failed for good. Its record goes, and the history tells of it.
    pub async fn alarm_action_ended(
        &self,
        caller: &Caller,
        key: &str,
        outcome: Result<(), String>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let Some(action) = region.alarm_actions.get(key) else {
                return Ok(());
            };
            draft.release(Kind::AlarmAction, key, action.revision);
            let item = history(action, draft.now, &outcome);
            record(draft, item);
            Ok(())
        })
        .await
    }

    /// Has composite alarms do what they waited with, if that time is over.
    pub async fn end_alarm_suppressions(&self, caller: &Caller) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let mut edits = crate::alarm_state::Edits::new(draft);
            edits.settle();
            edits.write();
            Ok(())
        })
        .await
    }
}

/// Whether a composite alarm of a region waits no longer.
#[must_use]
pub fn has_overdue_suppression(region: &enid_model::state::RegionState, now: Timestamp) -> bool {
    let mut alarms = region.alarms.values();
    alarms.any(|alarm| {
        let until = alarm.suppression.as_ref().and_then(|own| own.until);
        until.is_some_and(|until| until <= now)
    })
}

/// Holds the actions of an alarm against what Enid does.
pub(crate) fn check(caller: &Caller, input: &PutAlarm) -> Result<(), Error> {
    for (member, actions) in [
        ("OKActions", &input.ok_actions),
        ("AlarmActions", &input.alarm_actions),
        ("InsufficientDataActions", &input.insufficient_data_actions),
    ] {
        if actions.len() > ACTIONS_MAX {
            return Err(AlarmError::TooManyActions { member }.into());
        }
        for action in actions {
            check_one(caller, input, action)?;
        }
    }
    Ok(())
}

fn check_one(caller: &Caller, input: &PutAlarm, action: &str) -> Result<(), Error> {
    let short = || action.chars().take(200).collect::<String>().into();
    let not_implemented = || AlarmError::ActionNotImplemented { action: short() };
    let region = action.split(':').nth(3).unwrap_or_default();
    let own = caller.region.name;
    match ActionTarget::parse(action) {
        None => Err(not_implemented().into()),
        Some(_) if region != own => {
            let region = region.chars().take(100).collect::<String>().into();
            Err(AlarmError::ActionRegion { region, own }.into())
        }
        // Nobody can let others publish: topics have no policies.
        Some(ActionTarget::Topic(topic)) if topic.scope.account != caller.account => {
            Err(not_implemented().into())
        }
        Some(ActionTarget::Topic(_)) => Ok(()),
        Some(ActionTarget::Instance(_)) => match instance(&input.rule) {
            Some(_) => Ok(()),
            None => Err(AlarmError::ActionInstance { action: short() }.into()),
        },
    }
}

/// The instance that an alarm on one metric is about.
fn instance(rule: &AlarmRule) -> Option<InstanceId> {
    let AlarmRule::Metric(rule) = rule else {
        return None;
    };
    let Watched::Stat(stat) = &rule.watched else {
        return None;
    };
    let mut dimensions = stat.dimensions.iter();
    let (_, id) = dimensions.find(|(name, _)| name == "InstanceId")?;
    InstanceId::from_str(id).ok()
}

/// What an alarm does because its state became another one.
pub(crate) fn owed(
    draft: &mut Draft<'_>,
    alarm: &Alarm,
    before: AlarmState,
    children: Vec<&Alarm>,
) -> Vec<AlarmAction> {
    let actions = alarm.actions_for(alarm.state);
    if !alarm.actions_enabled || actions.is_empty() || before == alarm.state {
        return Vec::new();
    }
    let Words {
        subject,
        text,
        letter,
    } = Change {
        caller: draft.caller,
        alarm,
        before,
        children,
    }
    .words();
    let region = Arc::clone(&draft.region);
    let actions = actions.iter().map(|action| AlarmAction {
        alarm: alarm.name.clone(),
        is_composite: alarm.rule.is_composite(),
        action: action.clone(),
        instance: about(alarm, action),
        boot: about(alarm, action).and_then(|id| Some(region.instances.get(&id)?.boot)),
        at: draft.now,
        message_id: Uuid::from_random(draft.random(), draft.random()),
        subject: subject.clone(),
        text: text.clone(),
        letter: letter.clone(),
    });
    actions.collect()
}

/// The instance that an action is done to.
fn about(alarm: &Alarm, action: &str) -> Option<InstanceId> {
    match ActionTarget::parse(action)? {
        ActionTarget::Instance(_) => instance(&alarm.rule),
        ActionTarget::Topic(_) => None,
    }
}

/// What becomes of a composite alarm that another one may keep from its actions. Answers the state that
/// it did its actions in last, if it does those of its present one now.
pub(crate) fn suppress(
    alarm: &mut Alarm,
    before: AlarmState,
    suppressor: Option<AlarmState>,
    now: Timestamp,
) -> Option<AlarmState> {
    let after = |seconds: u32| Timestamp(now.0 + i64::from(seconds) * 1000);
    let has_changed = before != alarm.state;
    // Whoever has nothing to do waits with nothing.
    let may_wait = has_changed && !alarm.actions_for(alarm.state).is_empty();
    let old = alarm.suppression.take();
    let owed_from = old.as_ref().and_then(|old| old.owed_from);
    let owed_from = owed_from.or_else(|| has_changed.then_some(before));
    let is_off = suppressor == Some(AlarmState::Alarm);
    let next = match (&alarm.suppressor, &old) {
        (None, _) => None,
        (Some(_), _) if is_off => Some((SuppressedBy::Alarm, None)),
        (Some(own), Some(old)) if old.by == SuppressedBy::Alarm => (own.extension_s > 0)
            .then(|| (SuppressedBy::ExtensionPeriod, Some(after(own.extension_s)))),
        (Some(_), Some(old)) => {
            let is_over = old.until.is_none_or(|until| until <= now);
            (!is_over).then_some((old.by, old.until))
        }
        (Some(own), None) => (may_wait && own.wait_s > 0)
            .then(|| (SuppressedBy::WaitPeriod, Some(after(own.wait_s)))),
    };
    match next {
        Some((by, until)) => {
            alarm.suppression = Some(Suppression {
                by,
                until,
                owed_from: owed_from.filter(|from| *from != alarm.state),
            });
            None
        }
        None => owed_from.filter(|from| *from != alarm.state),
    }
}

/// The key of something that happens at a time: in the order of time; random, because several may happen
/// at once.
pub(crate) fn timed_key(draft: &mut Draft<'_>, at: Timestamp) -> String {
    let at = u64::try_from(at.0).unwrap_or(0);
    format!("{at:016}-{:016x}", draft.random())
}

fn record(draft: &mut Draft<'_>, item: AlarmHistory) {
    let key = timed_key(draft, item.at);
    draft.claim(key, Record::AlarmHistory(item));
}

fn history(action: &AlarmAction, now: Timestamp, outcome: &Result<(), String>) -> AlarmHistory {
    let published = json!({
        "default": action.text,
        "sms": action.subject,
        "email": action.letter,
    });
    let arn = &action.action;
    let (state, summary) = match outcome {
        Ok(()) => ("Succeeded", format!("Successfully executed action {arn}")),
        Err(why) => (
            "Failed",
            format!("Failed to execute action {arn}. Reason: {why}"),
        ),
    };
    let data = json!({
        "actionState": state,
        "stateUpdateTimestamp": action.at.0,
        "notificationResource": arn,
        "publishedMessage": action.instance.is_none().then(|| published.to_string()),
        "error": outcome.as_ref().err(),
    });
    AlarmHistory {
        alarm: action.alarm.clone(),
        is_composite: action.is_composite,
        at: now,
        what: HistoryItem::Action,
        summary,
        data: data.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use enid_model::alarm::Suppressor;

    use super::*;
    use crate::alarm::tests::{composite, metric};
    use crate::fixture::{caller, control};

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:t";

    fn acting(name: &str) -> PutAlarm {
        PutAlarm {
            alarm_actions: vec![TOPIC.to_owned()],
            ..metric(name)
        }
    }

    async fn set(control: &Control, name: &str, state: AlarmState) {
        let caller = caller();
        let set = control.set_alarm_state(&caller, name, state, "test", None);
        set.await.unwrap();
    }

    async fn waiting(control: &Control) -> Vec<(String, AlarmAction)> {
        let region = control.read(&caller()).await.unwrap();
        let actions = region.alarm_actions.iter();
        actions
            .map(|(key, action)| (key.to_string(), AlarmAction::clone(action)))
            .collect()
    }

    #[tokio::test]
    async fn a_change_of_state_is_recorded_with_what_is_to_be_done() {
        let (control, caller) = (control(), caller());
        control.put_alarm(&caller, &acting("a")).await.unwrap();
        // Only a change counts, and only one to a state with actions.
        set(&control, "a", AlarmState::Ok).await;
        assert!(waiting(&control).await.is_empty());
        set(&control, "a", AlarmState::Alarm).await;
        set(&control, "a", AlarmState::Alarm).await;
        let found = waiting(&control).await;
        assert_eq!(found.len(), 1);
        let (key, action) = &found[0];
        assert_eq!(action.action, TOPIC);
        assert_eq!(action.subject, "ALARM: \"a\" in EU (Ireland)");
        let ended = control.alarm_action_ended(&caller, key, Ok(()));
        ended.await.unwrap();
        // Told twice, it is in the history once.
        let again = control.alarm_action_ended(&caller, key, Ok(()));
        again.await.unwrap();
        assert!(waiting(&control).await.is_empty());
        let region = control.read(&caller).await.unwrap();
        let told = region.alarm_history.values();
        let told: Vec<_> = told
            .filter(|item| item.what == HistoryItem::Action)
            .collect();
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].summary,
            format!("Successfully executed action {TOPIC}")
        );
        let data: serde_json::Value = serde_json::from_str(&told[0].data).unwrap();
        assert_eq!(data["actionState"], "Succeeded");
    }

    #[tokio::test]
    async fn disabled_actions_are_not_done() {
        let (control, caller) = (control(), caller());
        control.put_alarm(&caller, &acting("a")).await.unwrap();
        let names = ["a".to_owned()];
        let disabled = control.enable_alarm_actions(&caller, &names, false);
        disabled.await.unwrap();
        set(&control, "a", AlarmState::Alarm).await;
        assert!(waiting(&control).await.is_empty());
    }

    #[test]
    fn other_actions_are_refused_by_name() {
        let with = |action: &str| PutAlarm {
            ok_actions: vec![action.to_owned()],
            ..metric("a")
        };
        for (action, wanted) in [
            (
                "arn:aws:sns:us-east-1:123456789012:t",
                "Invalid region us-east-1 specified. Only eu-west-1 is supported.",
            ),
            (
                "arn:aws:sns:eu-west-1:210987654321:t",
                "Enid does not implement the action arn:aws:sns:eu-west-1:210987654321:t.",
            ),
            (
                "arn:aws:lambda:eu-west-1:123456789012:function:f",
                "Enid does not implement the action arn:aws:lambda:eu-west-1:123456789012:function:f.",
            ),
            (
                "arn:aws:automate:eu-west-1:ec2:recover",
                "Enid does not implement the action arn:aws:automate:eu-west-1:ec2:recover.",
            ),
            (
                "arn:aws:automate:eu-west-1:ec2:stop",
                "The action arn:aws:automate:eu-west-1:ec2:stop needs an alarm on one metric that has the dimension InstanceId.",
            ),
        ] {
            let refused = check(&caller(), &with(action)).unwrap_err();
            assert_eq!(refused.to_string(), wanted);
        }
        let many = PutAlarm {
            ok_actions: vec![TOPIC.to_owned(); 6],
            ..metric("a")
        };
        assert!(check(&caller(), &many).is_err());
        assert!(check(&caller(), &with(TOPIC)).is_ok());
    }

    #[test]
    fn an_instance_of_the_metric_can_be_stopped() {
        let mut input = PutAlarm {
            alarm_actions: vec!["arn:aws:automate:eu-west-1:ec2:stop".to_owned()],
            ..metric("a")
        };
        let AlarmRule::Metric(rule) = &mut input.rule else {
            panic!("a metric alarm");
        };
        let Watched::Stat(stat) = &mut rule.watched else {
            panic!("of one metric");
        };
        let id = InstanceId(7).to_string();
        stat.dimensions = vec![("InstanceId".to_owned(), id)];
        assert!(check(&caller(), &input).is_ok());
        assert_eq!(instance(&input.rule), Some(InstanceId(7)));
    }

    #[tokio::test]
    async fn a_suppressor_holds_back_and_lets_go() {
        let (control, caller) = (control(), caller());
        for name in ["child", "off"] {
            control.put_alarm(&caller, &metric(name)).await.unwrap();
        }
        let suppressor = Suppressor {
            alarm: "off".to_owned(),
            given: "off".to_owned(),
            wait_s: 0,
            extension_s: 0,
        };
        let parent = PutAlarm {
            alarm_actions: vec![TOPIC.to_owned()],
            suppressor: Some(suppressor),
            ..composite("parent", "ALARM(child)")
        };
        control.put_alarm(&caller, &parent).await.unwrap();
        set(&control, "off", AlarmState::Alarm).await;
        set(&control, "child", AlarmState::Alarm).await;
        assert!(waiting(&control).await.is_empty());
        let region = control.read(&caller).await.unwrap();
        let suppression = region.alarms["parent"].suppression.clone().unwrap();
        assert_eq!(suppression.by, SuppressedBy::Alarm);
        set(&control, "off", AlarmState::Ok).await;
        let done = waiting(&control).await;
        assert_eq!(done.len(), 1);
        assert!(done[0].1.text.contains("\"OldStateValue\":\"OK\""));
        set(&control, "off", AlarmState::Alarm).await;
        set(&control, "off", AlarmState::Ok).await;
        assert_eq!(waiting(&control).await.len(), 1);
    }

    #[test]
    fn periods_run_out() {
        let mut alarm = crate::alarm::tests::stored(&composite("p", "TRUE"));
        alarm.alarm_actions = vec![TOPIC.to_owned()];
        alarm.suppressor = Some(Suppressor {
            alarm: "off".to_owned(),
            given: "off".to_owned(),
            wait_s: 10,
            extension_s: 20,
        });
        let (ok, off) = (Some(AlarmState::Ok), Some(AlarmState::Alarm));
        let at = |seconds: i64| Timestamp(seconds * 1000);
        let by = |alarm: &Alarm| {
            let own = alarm.suppression.as_ref();
            own.map(|own| (own.by, own.until))
        };
        // It goes off, waits, and does what it owes.
        alarm.state = AlarmState::Alarm;
        assert_eq!(suppress(&mut alarm, AlarmState::Ok, ok, at(0)), None);
        assert_eq!(by(&alarm), Some((SuppressedBy::WaitPeriod, Some(at(10)))));
        assert_eq!(suppress(&mut alarm, AlarmState::Alarm, ok, at(9)), None);
        let owed = suppress(&mut alarm, AlarmState::Alarm, ok, at(10));
        assert_eq!((owed, by(&alarm)), (Some(AlarmState::Ok), None));
        // The suppressor goes off: what happens meanwhile is done when it has been calm for a while.
        assert_eq!(suppress(&mut alarm, AlarmState::Alarm, off, at(20)), None);
        alarm.state = AlarmState::Ok;
        assert_eq!(suppress(&mut alarm, AlarmState::Alarm, off, at(21)), None);
        assert_eq!(suppress(&mut alarm, AlarmState::Ok, ok, at(30)), None);
        assert_eq!(
            by(&alarm),
            Some((SuppressedBy::ExtensionPeriod, Some(at(50))))
        );
        let owed = suppress(&mut alarm, AlarmState::Ok, ok, at(50));
        assert_eq!(owed, Some(AlarmState::Alarm));
        // There and back while it waits is nothing to tell.
        alarm.state = AlarmState::Alarm;
        assert_eq!(suppress(&mut alarm, AlarmState::Ok, ok, at(60)), None);
        alarm.state = AlarmState::Ok;
        assert_eq!(suppress(&mut alarm, AlarmState::Alarm, ok, at(61)), None);
        assert_eq!(suppress(&mut alarm, AlarmState::Ok, ok, at(70)), None);
        assert_eq!(by(&alarm), None);
    }
}
