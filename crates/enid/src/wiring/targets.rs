//! Targets of load balancers that have been draining for long enough are forgotten, and those whose
//! instance is.

use std::sync::Arc;
use std::time::Duration;

use enid_control::{Control, is_over};

use super::host::owners;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Forgets targets from now on when it is time.
pub(crate) fn forget_in_time(control: Arc<Control>) {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let (state, now) = (control.store().state(), control.now());
            for caller in owners(&state) {
                let Some(region) = state.region(&caller.scope()) else {
                    continue;
                };
                let mut targets = region.targets.values();
                if !targets.any(|target| is_over(region, target, now)) {
                    continue;
                }
                if let Err(error) = control.forget_targets(&caller).await {
                    tracing::warn!(%error, "targets that are over were not forgotten");
                }
            }
        }
    });
}
