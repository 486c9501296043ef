//! What alarms do: messages to topics, and what is done to the instance that they watch.
//!
//! What is to be done is region state, so that a crash loses nothing of it. A message has the id that the
//! record gives it: one that was taken and not yet told of in the history is not published again.

use std::sync::Arc;
use std::time::Duration;

use enid_control::{ActionTarget, Caller, Control, InstanceAction, has_overdue_suppression};
use enid_model::alarm::AlarmAction;
use enid_model::topic::TopicArn;
use enid_telemetry::notify::message::Content;
use enid_telemetry::notify::{Notify, PublishError};

use crate::wiring::host;

/// How often is looked whether somebody has waited long enough, and what failed is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does from now on what alarms are to do.
pub(crate) fn carry_out(control: &Arc<Control>, notify: &Notify) {
    let (control, notify) = (Arc::clone(control), notify.clone());
    tokio::spawn(async move {
        let mut changes = control.store().watch();
        loop {
            for caller in host::owners(&control.store().state()) {
                end_suppressions(&control, &caller).await;
                act(&control, &notify, &caller).await;
            }
            // Either way there is something to look at.
            let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
        }
    });
}

async fn end_suppressions(control: &Control, caller: &Caller) {
    let state = control.store().state();
    let region = state.region(&caller.scope());
    if !region.is_some_and(|region| has_overdue_suppression(region, control.now())) {
        return;
    }
    if let Err(error) = control.end_alarm_suppressions(caller).await {
        tracing::warn!(%error, "composite alarms wait longer than they should");
    }
}

/// Does what is to be done in a region, in the order in which it came.
async fn act(control: &Arc<Control>, notify: &Notify, caller: &Caller) {
    let state = control.store().state();
    let Some(region) = state.region(&caller.scope()) else {
        return;
    };
    for (key, action) in &region.alarm_actions {
        let outcome = match ActionTarget::parse(&action.action) {
            Some(ActionTarget::Topic(topic)) => publish(notify, &topic, action).await,
            Some(ActionTarget::Instance(what)) => change(control, caller, action, what).await,
            // A newer version knew it.
            None => Outcome::Failed("Enid does not implement it".to_owned()),
        };
        let outcome = match outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed(why) => Err(why),
            Outcome::Later => continue,
        };
        if let Err(error) = control.alarm_action_ended(caller, key, outcome).await {
            let alarm = action.alarm.as_str();
            tracing::warn!(alarm, %error, "what an alarm did was not recorded");
        }
    }
}

enum Outcome {
    Done,
    Failed(String),
    Later,
}

async fn publish(notify: &Notify, topic: &TopicArn, action: &AlarmAction) -> Outcome {
    let by_protocol = [("email", &action.letter), ("sms", &action.subject)];
    let by_protocol = by_protocol.map(|(name, text)| (name.to_owned(), text.clone()));
    let content = Content {
        subject: Some(action.subject.clone()),
        text: action.text.clone(),
        by_protocol: by_protocol.into(),
        ..Content::default()
    };
    let (notify, topic, id) = (notify.clone(), topic.clone(), action.message_id);
    let published =
        tokio::task::spawn_blocking(move || notify.publish_once(id, &topic, content)).await;
    match published {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error @ (PublishError::Full | PublishError::Store(_)))) => {
            let error = enid_host::chain(&error);
            tracing::warn!(error, "an alarm's message waits");
            Outcome::Later
        }
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(error) => {
            tracing::error!(%error, "an alarm's message waits");
            Outcome::Later
        }
    }
}

/// Done twice, after a crash, it does nothing more: what has booted since is not made to again.
async fn change(
    control: &Control,
    caller: &Caller,
    action: &AlarmAction,
    what: InstanceAction,
) -> Outcome {
    let Some(id) = action.instance else {
        return Outcome::Failed("the alarm names no instance".to_owned());
    };
    let changed = match what {
        InstanceAction::Reboot => {
            let state = control.store().state();
            let region = state.region(&caller.scope());
            let boot = region.and_then(|region| Some(region.instances.get(&id)?.boot));
            match boot == action.boot {
                true => control.reboot_instances(caller, &[id]).await,
                false => Ok(()),
            }
        }
        InstanceAction::Stop => control.stop_instances(caller, &[id]).await.map(drop),
        InstanceAction::Terminate => control.terminate_instances(caller, &[id]).await.map(drop),
    };
    match changed {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
