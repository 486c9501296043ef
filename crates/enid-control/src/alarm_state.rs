//! The states of alarms: what evaluation finds, what SetAlarmState says, and what both make of composite
//! alarms. A change and its history are one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enid_model::alarm::{Alarm, AlarmAction, AlarmHistory, AlarmRule, AlarmState, HistoryItem};
use enid_model::key::Kind;
use enid_model::record::Record;
use enid_model::state::{RegionState, Revision, Stored};
use enid_model::time::Timestamp;
use serde_json::json;

use crate::alarm_rule::Rule;
use crate::{Caller, Control, Draft, Error, alarm, alarm_action};

/// What evaluation found of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// When what was evaluated was configured: an alarm that has changed since is not judged by it.
    pub configured: Timestamp,
    /// Its state.
    pub state: AlarmState,
    /// Why, in words.
    pub reason: String,
    /// Why, in JSON.
    pub reason_data: Option<String>,
}

/// How long history is kept: 14 days.
const KEPT_MS: i64 = 14 * 24 * 3_600_000;
/// Rounds in which composite alarms settle. Those that go in circles stop somewhere.
const ROUNDS_MAX: usize = 32;

impl Control {
    /// SetAlarmState: until the next evaluation finds otherwise.
    pub async fn set_alarm_state(
        &self,
        caller: &Caller,
        name: &str,
        state: AlarmState,
        reason: &str,
        reason_data: Option<&str>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            alarm::require(&draft.region, &[name.to_owned()])?;
            let region = Arc::clone(&draft.region);
            let mut edits = Edits::new(draft);
            if let Some(alarm) = region.alarms.get(name) {
                edits.become_state(alarm, state, reason, reason_data);
            }
            edits.settle();
            edits.write();
            Ok(())
        })
        .await
    }

    /// Takes what evaluation found. Answers the alarms whose state became another, with their states before.
    pub async fn judge_alarms(
        &self,
        caller: &Caller,
        judged: &[Judged],
    ) -> Result<Vec<(AlarmState, Alarm)>, Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let mut edits = Edits::new(draft);
            for found in judged {
                let alarm = region.alarms.get(found.name.as_str());
                let alarm = alarm.filter(|alarm| {
                    alarm.configured == found.configured && alarm.state != found.state
                });
                if let Some(alarm) = alarm {
                    let data = found.reason_data.as_deref();
                    edits.become_state(alarm, found.state, &found.reason, data);
                }
            }
            edits.settle();
            let changed = edits.transitions(&region);
            edits.write();
            Ok(changed)
        })
        .await
    }
}

/// Removes history that is too old.
pub(crate) fn sweep(draft: &mut Draft<'_>) {
    let region = Arc::clone(&draft.region);
    // Keys are in the order of time.
    let old = region.alarm_history.iter();
    let old = old.take_while(|(_, item)| item.at.0 < draft.now.0 - KEPT_MS);
    let old: Vec<_> = old
        .map(|(key, item)| (key.clone(), item.revision))
        .collect();
    for (key, revision) in old {
        draft.release(Kind::AlarmHistory, key, revision);
    }
}

/// Changes to several alarms, of which some follow from others.
pub(crate) struct Edits<'a, 'b> {
    draft: &'a mut Draft<'b>,
    /// Alarms as they shall be, each with the revision that was read; `None` for a new one.
    alarms: BTreeMap<String, (Option<Revision>, Alarm)>,
    deleted: BTreeMap<String, Revision>,
    history: Vec<AlarmHistory>,
}

impl<'a, 'b> Edits<'a, 'b> {
    pub(crate) fn new(draft: &'a mut Draft<'b>) -> Self {
        Self {
            draft,
            alarms: BTreeMap::new(),
            deleted: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// A new alarm.
    pub(crate) fn create(&mut self, alarm: Alarm) {
        self.alarms.insert(alarm.name.clone(), (None, alarm));
    }

    pub(crate) fn delete(&mut self, alarm: &Stored<Alarm>) {
        self.alarms.remove(&alarm.name);
        self.deleted.insert(alarm.name.clone(), alarm.revision);
    }

    /// Changes an alarm, with what was changed of it before.
    pub(crate) fn change(&mut self, alarm: &Stored<Alarm>, change: impl FnOnce(&mut Alarm)) {
        let known = || (Some(alarm.revision), Alarm::clone(alarm));
        let (_, alarm) = self.alarms.entry(alarm.name.clone()).or_insert_with(known);
        change(alarm);
    }

    /// Puts an alarm into a state, and tells of it if it was in another.
    fn become_state(
        &mut self,
        alarm: &Stored<Alarm>,
        state: AlarmState,
        reason: &str,
        reason_data: Option<&str>,
    ) {
        let mut now = Alarm::clone(alarm);
        self.change(alarm, |alarm| now = alarm.clone());
        let item = self.moved(&mut now, state, reason, reason_data);
        self.change(alarm, |alarm| *alarm = now);
        self.history.extend(item);
    }

    fn moved(
        &self,
        alarm: &mut Alarm,
        state: AlarmState,
        reason: &str,
        reason_data: Option<&str>,
    ) -> Option<AlarmHistory> {
        let side = |alarm: &Alarm| {
            let data = alarm.reason_data.as_deref();
            let data = data.and_then(|data| serde_json::from_str::<serde_json::Value>(data).ok());
            json!({
                "stateValue": alarm.state.as_str(),
                "stateReason": alarm.reason,
                "stateReasonData": data,
            })
        };
        let (before, at) = (side(alarm), self.draft.now);
        let from = alarm.state;
        alarm.state = state;
        alarm.reason = reason.to_owned();
        alarm.reason_data = reason_data.map(str::to_owned);
        alarm.state_updated = at;
        if from == state {
            return None;
        }
        alarm.state_transitioned = at;
        let data = json!({ "version": "1.0", "oldState": before, "newState": side(alarm) });
        Some(AlarmHistory {
            alarm: alarm.name.clone(),
            is_composite: alarm.rule.is_composite(),
            at,
            what: HistoryItem::StateUpdate,
            summary: format!("Alarm updated from {from} to {state}"),
            data: data.to_string(),
        })
    }

    /// Tells what happened to an alarm.
    pub(crate) fn tell(
        &mut self,
        alarm: &Alarm,
        what: HistoryItem,
        summary: String,
        change: &'static str,
    ) {
        let data = json!({ "version": "1.0", "type": change });
        self.history.push(AlarmHistory {
            alarm: alarm.name.clone(),
            is_composite: alarm.rule.is_composite(),
            at: self.draft.now,
            what,
            summary,
            data: data.to_string(),
        });
    }

    /// Brings composite alarms to the states that follow from those of others.
    pub(crate) fn settle(&mut self) {
        let region = Arc::clone(&self.draft.region);
        for _ in 0..ROUNDS_MAX {
            let mut all: BTreeMap<&str, &Alarm> = BTreeMap::new();
            for (name, alarm) in &region.alarms {
                all.insert(name, alarm);
            }
            for (name, (_, alarm)) in &self.alarms {
                all.insert(name, alarm);
            }
            all.retain(|name, _| !self.deleted.contains_key(*name));
            let changed: Vec<(String, AlarmState, String)> = all
                .values()
                .filter_map(|alarm| {
                    let AlarmRule::Composite(text) = &alarm.rule else {
                        return None;
                    };
                    let rule = Rule::parse(text).ok()?;
                    let state = match rule.holds(&|name| all.get(name).map(|alarm| alarm.state)) {
                        true => AlarmState::Alarm,
                        false => AlarmState::Ok,
                    };
                    let children = rule.children();
                    let told = children.iter().filter_map(|name| {
                        let child = all.get(name.as_str())?;
                        Some(format!("{name} is {}", child.state))
                    });
                    let told: Vec<String> = told.collect();
                    let reason = match told.is_empty() {
                        true => format!("The alarm rule makes it {state}"),
                        false => format!("The alarm rule makes it {state}: {}", told.join(", ")),
                    };
                    let reason = reason.chars().take(1023).collect();
                    (alarm.state != state).then(|| (alarm.name.clone(), state, reason))
                })
                .collect();
            if changed.is_empty() {
                return;
            }
            for (name, state, reason) in changed {
                let known = region.alarms.get(name.as_str());
                let read = known.map(|known| known.revision);
                let edited = self.alarms.get(&name).map(|(_, alarm)| alarm.clone());
                let Some(mut alarm) = edited.or_else(|| known.map(|known| Alarm::clone(known)))
                else {
                    continue;
                };
                let item = self.moved(&mut alarm, state, &reason, None);
                self.history.extend(item);
                self.alarms.insert(name, (read, alarm));
            }
        }
    }

    /// The alarms whose state is another than before, with what it was.
    fn transitions(&self, region: &RegionState) -> Vec<(AlarmState, Alarm)> {
        let alarms = self.alarms.values().filter_map(|(_, alarm)| {
            let before = region.alarms.get(alarm.name.as_str())?.state;
            (before != alarm.state).then(|| (before, alarm.clone()))
        });
        alarms.collect()
    }

    /// What alarms do because of what was collected, those included that another one kept from it.
    fn act(&mut self) -> Vec<AlarmAction> {
        let region = Arc::clone(&self.draft.region);
        let now = self.draft.now;
        for (name, alarm) in &region.alarms {
            let is_known = self.alarms.contains_key(&**name);
            let is_deleted = self.deleted.contains_key(&**name);
            if alarm.suppressor.is_some() && !is_known && !is_deleted {
                let known = (Some(alarm.revision), Alarm::clone(alarm));
                self.alarms.insert(name.to_string(), known);
            }
        }
        let state = |alarms: &BTreeMap<String, (Option<Revision>, Alarm)>, name: &str| {
            let edited = alarms.get(name).map(|(_, alarm)| alarm.state);
            edited.or_else(|| region.alarms.get(name).map(|alarm| alarm.state))
        };
        let names: Vec<String> = self.alarms.keys().cloned().collect();
        let mut due = Vec::new();
        for name in names {
            let known = region.alarms.get(name.as_str());
            let before = known.map_or(AlarmState::InsufficientData, |known| known.state);
            let suppressor = self.alarms.get(&name).and_then(|(_, alarm)| {
                let suppressor = alarm.suppressor.as_ref()?;
                state(&self.alarms, &suppressor.alarm)
            });
            let Some((_, alarm)) = self.alarms.get_mut(&name) else {
                continue;
            };
            if let Some(from) = alarm_action::suppress(alarm, before, suppressor, now) {
                due.push((name, from));
            }
        }
        // What is as it was need not be written.
        self.alarms.retain(|name, (_, alarm)| {
            let known = region.alarms.get(name.as_str());
            known.is_none_or(|known| **known != *alarm)
        });
        let mut actions = Vec::new();
        for (name, from) in due {
            let known = region.alarms.get(name.as_str());
            let edited = self.alarms.get(&name).map(|(_, alarm)| alarm.clone());
            let Some(alarm) = edited.or_else(|| known.map(|known| Alarm::clone(known))) else {
                continue;
            };
            let children = match &alarm.rule {
                AlarmRule::Composite(text) => Rule::parse(text).map(|rule| rule.children()),
                AlarmRule::Metric(_) => Ok(BTreeSet::new()),
            };
            let children = children.unwrap_or_default();
            // Those that changed together with it.
            let children = children.iter().filter_map(|child| {
                let (_, edited) = self.alarms.get(child)?;
                let before = region.alarms.get(child.as_str())?.state;
                (before != edited.state).then_some(edited)
            });
            let children = children.collect();
            actions.extend(alarm_action::owed(self.draft, &alarm, from, children));
        }
        actions
    }

    /// Writes what was collected into the draft, and what follows from it.
    pub(crate) fn write(mut self) {
        let actions = self.act();
        let Self {
            draft,
            alarms,
            deleted,
            history,
        } = self;
        for action in actions {
            let key = alarm_action::timed_key(draft, action.at);
            draft.claim(key, Record::AlarmAction(action));
        }
        for (name, revision) in deleted {
            draft.release(Kind::Alarm, name, revision);
        }
        for (name, (read, alarm)) in alarms {
            match read {
                Some(revision) => draft.replace(name, revision, Record::Alarm(alarm)),
                None => draft.claim(name, Record::Alarm(alarm)),
            }
        }
        for item in history {
            let key = alarm_action::timed_key(draft, item.at);
            draft.claim(key, Record::AlarmHistory(item));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlarmError;
    use crate::alarm::tests::{composite, metric};
    use crate::fixture::{caller, control};

    fn found(control: &Control, name: &str, state: AlarmState) -> Judged {
        Judged {
            name: name.to_owned(),
            configured: control.now(),
            state,
            reason: "because".to_owned(),
            reason_data: Some("{\"a\":1}".to_owned()),
        }
    }

    #[tokio::test]
    async fn parents_follow_their_children() {
        let (control, caller) = (control(), caller());
        control.put_alarm(&caller, &metric("a")).await.unwrap();
        control.put_alarm(&caller, &metric("b")).await.unwrap();
        let both = composite("both", "ALARM(a) AND ALARM(b)");
        control.put_alarm(&caller, &both).await.unwrap();
        let over = composite("over", "ALARM(both)");
        control.put_alarm(&caller, &over).await.unwrap();
        let one = [found(&control, "a", AlarmState::Alarm)];
        let changed = control.judge_alarms(&caller, &one).await.unwrap();
        assert_eq!(changed.len(), 1);
        // What is so already changes nothing.
        assert!(
            control
                .judge_alarms(&caller, &one)
                .await
                .unwrap()
                .is_empty()
        );
        control
            .set_alarm_state(&caller, "b", AlarmState::Alarm, "test", None)
            .await
            .unwrap();
        let region = control.read(&caller).await.unwrap();
        for name in ["both", "over"] {
            assert_eq!(region.alarms[name].state, AlarmState::Alarm, "{name}");
        }
        assert!(
            region.alarms["both"]
                .reason
                .contains("a is ALARM, b is ALARM")
        );
        let calm = [found(&control, "b", AlarmState::Ok)];
        let changed = control.judge_alarms(&caller, &calm).await.unwrap();
        let names: Vec<&str> = changed
            .iter()
            .map(|(_, alarm)| alarm.name.as_str())
            .collect();
        assert_eq!(names, ["b", "both", "over"]);
        let region = control.read(&caller).await.unwrap();
        let history = region.alarm_history.values();
        let mut of_over = history.filter(|item| {
            item.alarm == "over" && item.summary == "Alarm updated from ALARM to OK"
        });
        assert!(of_over.next().is_some_and(|item| item.is_composite));
    }

    #[tokio::test]
    async fn an_alarm_that_changed_meanwhile_is_not_judged() {
        let (control, caller) = (control(), caller());
        control.put_alarm(&caller, &metric("a")).await.unwrap();
        let old = Judged {
            configured: Timestamp(0),
            ..found(&control, "a", AlarmState::Alarm)
        };
        assert!(
            control
                .judge_alarms(&caller, &[old])
                .await
                .unwrap()
                .is_empty()
        );
        let none = control
            .set_alarm_state(&caller, "x", AlarmState::Ok, "test", None)
            .await;
        let names = "x".into();
        assert_eq!(none.unwrap_err(), AlarmError::NotFound { names }.into());
    }
}
