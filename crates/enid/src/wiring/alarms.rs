//! Looking at alarms in time, and keeping what metrics have added up.

use std::sync::Arc;
use std::time::Duration;

use enid_control::{Caller, Control, Judged};
use enid_model::alarm::{Alarm, AlarmRule};
use enid_model::time::Timestamp;
use enid_telemetry::alarm::watch::look;
use enid_telemetry::metric::database::Metrics;

use crate::wiring::host;
use crate::wiring::metrics::Meters;

/// How often alarms with periods below a minute are looked at; all others every minute.
const LOOK_EVERY_MS: i64 = 10_000;
const MINUTE_MS: i64 = 60_000;
/// How often what was added up is kept.
const ROLL_UP_EVERY: Duration = Duration::from_secs(300);

/// Looks at all alarms and rolls metrics up from now on. What this host observed in a minute is published
/// before alarms are looked at.
pub(crate) fn watch(control: &Arc<Control>, metrics: &Arc<Metrics>, meters: &Arc<Meters>) {
    let meters = Arc::clone(meters);
    let (control, looked_at) = (Arc::clone(control), Arc::clone(metrics));
    tokio::spawn(async move {
        loop {
            let now = looked_at.now();
            let next = next_look(now);
            let wait = u64::try_from(next.0 - now.0).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            meters.until_published(next).await;
            let is_minute = next.0 % MINUTE_MS == 0;
            for caller in host::owners(&control.store().state()) {
                look_at_region(&control, &looked_at, &caller, is_minute).await;
            }
        }
    });
    let rolled_up = Arc::clone(metrics);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(ROLL_UP_EVERY);
        loop {
            ticks.tick().await;
            let metrics = Arc::clone(&rolled_up);
            let done = tokio::task::spawn_blocking(move || metrics.roll_up()).await;
            if let Ok(Err(error)) = done {
                tracing::warn!(
                    error = enid_host::chain(&error),
                    "metrics were not rolled up"
                );
            }
        }
    });
}

/// The next whole ten seconds.
fn next_look(now: Timestamp) -> Timestamp {
    Timestamp((now.0.div_euclid(LOOK_EVERY_MS) + 1) * LOOK_EVERY_MS)
}

async fn look_at_region(
    control: &Arc<Control>,
    metrics: &Arc<Metrics>,
    caller: &Caller,
    is_minute: bool,
) {
    let state = control.store().state();
    let Some(region) = state.region(&caller.scope()).cloned() else {
        return;
    };
    let (metrics, scope) = (Arc::clone(metrics), caller.scope());
    let looked = tokio::task::spawn_blocking(move || {
        let alarms = region.alarms.values();
        let due = alarms.filter_map(|alarm| match &alarm.rule {
            AlarmRule::Metric(rule) if is_minute || rule.period_s < 60 => Some((alarm, rule)),
            _ => None,
        });
        let judged =
            due.filter_map(
                |(alarm, rule)| match look(&metrics, &scope, &*region, alarm, rule) {
                    Ok(verdict) => verdict.map(|verdict| judged(alarm, verdict)),
                    Err(error) => {
                        let error = enid_host::chain(&error);
                        tracing::warn!(alarm = alarm.name, error, "an alarm was not evaluated");
                        None
                    }
                },
            );
        judged.collect::<Vec<Judged>>()
    });
    let judged = looked.await.unwrap_or_default();
    let is_news = |found: &Judged| {
        let state = control.store().state();
        let region = state.region(&caller.scope());
        let alarm = region.and_then(|region| region.alarms.get(found.name.as_str()));
        alarm.is_some_and(|alarm| alarm.state != found.state)
    };
    let news: Vec<Judged> = judged.into_iter().filter(is_news).collect();
    if news.is_empty() {
        return;
    }
    match control.judge_alarms(caller, &news).await {
        Ok(changed) => {
            for (before, alarm) in changed {
                let (before, state) = (before.as_str(), alarm.state.as_str());
                tracing::info!(alarm = alarm.name, before, state, "alarm changed");
            }
        }
        Err(error) => tracing::warn!(%error, "states of alarms were not recorded"),
    }
}

fn judged(alarm: &Alarm, verdict: enid_telemetry::alarm::watch::Verdict) -> Judged {
    Judged {
        name: alarm.name.clone(),
        configured: alarm.configured,
        state: verdict.state,
        reason: verdict.reason,
        reason_data: Some(verdict.reason_data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_looked_at_on_whole_tens() {
        for (now, wanted) in [(0, 10_000), (9_999, 10_000), (10_000, 20_000)] {
            assert_eq!(next_look(Timestamp(now)), Timestamp(wanted));
        }
    }
}
