//! One target: its rounds of checks, and what becomes of its state.

use std::sync::Arc;
use std::time::Duration;

use enid_model::key::Scope;
use enid_model::state::State;
use enid_model::target::{HealthFailure, HealthState, TargetKey};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Seen;
use super::probe::Prober;
use super::wanted::Check;
use crate::netns::NetNs;

/// A target that is checked.
pub(super) struct Target {
    pub(super) scope: Scope,
    pub(super) key: TargetKey,
    /// The namespaces of the nodes that check it, and what they say as the host.
    pub(super) nodes: Vec<(Arc<NetNs>, String)>,
    pub(super) check: Check,
    pub(super) states: watch::Receiver<Arc<State>>,
}

impl Target {
    /// Checks it for good. The first round comes at once.
    pub(super) async fn watch(self, prober: Arc<Prober>, say: Arc<dyn Fn(Seen) + Send + Sync>) {
        let Some(stored) = self.stored() else { return };
        let settings = &self.check.settings;
        let mut tally = Tally::new(
            stored,
            settings.healthy_threshold,
            settings.unhealthy_threshold,
        );
        let every = Duration::from_secs(settings.interval_s.max(1).into());
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let passed = self.round(&prober).await;
            let state = tally.note(passed);
            if self.stored().is_some_and(|stored| stored != state) {
                say(Seen {
                    scope: self.scope.clone(),
                    key: self.key,
                    uid: self.check.uid,
                    state,
                });
            }
        }
    }

    /// What is known of its health by now; `None` if it is registered no more.
    fn stored(&self) -> Option<HealthState> {
        let state = self.states.borrow();
        let region = state.region(&self.scope)?;
        let target = region.targets.get(&self.key)?;
        (target.uid == self.check.uid).then_some(target.health.state)
    }

    /// Asks it from all nodes. It passes if one of them gets through, and fails as the last of them did.
    async fn round(&self, prober: &Arc<Prober>) -> Result<(), HealthFailure> {
        let mut probes = JoinSet::new();
        for (namespace, host) in &self.nodes {
            let (namespace, host) = (Arc::clone(namespace), host.clone());
            let (prober, check) = (Arc::clone(prober), self.check.clone());
            probes.spawn(async move { prober.probe(&namespace, &check, &host).await });
        }
        let mut failure = HealthFailure::Connection;
        while let Some(ended) = probes.join_next().await {
            match ended {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => failure = why,
                Err(_aborted) => {}
            }
        }
        Err(failure)
    }
}

/// Counts rounds until there are enough of them for another state.
struct Tally {
    state: HealthState,
    healthy_threshold: u8,
    unhealthy_threshold: u8,
    /// Rounds in a row that speak against the state.
    against: u8,
}

impl Tally {
    fn new(state: HealthState, healthy_threshold: u8, unhealthy_threshold: u8) -> Self {
        Self {
            state,
            healthy_threshold,
            unhealthy_threshold,
            against: 0,
        }
    }

    /// Takes a round into account, and says the state.
    fn note(&mut self, round: Result<(), HealthFailure>) -> HealthState {
        let needed = match (self.state, &round) {
            (HealthState::Healthy, Ok(())) => {
                self.against = 0;
                return self.state;
            }
            // The first one that passes is enough, whatever the threshold is.
            (HealthState::Initial, Ok(())) => 1,
            (HealthState::Unhealthy(_), Ok(())) => self.healthy_threshold,
            (HealthState::Unhealthy(_), Err(why)) => {
                self.against = 0;
                self.state = HealthState::Unhealthy(*why);
                return self.state;
            }
            (HealthState::Healthy | HealthState::Initial, Err(_)) => self.unhealthy_threshold,
        };
        self.against += 1;
        if self.against >= needed {
            self.against = 0;
            self.state = match round {
                Ok(()) => HealthState::Healthy,
                Err(why) => HealthState::Unhealthy(why),
            };
        }
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Result<(), HealthFailure> = Err(HealthFailure::Timeout);
    const UNHEALTHY: HealthState = HealthState::Unhealthy(HealthFailure::Timeout);

    #[test]
    fn the_first_round_that_passes_makes_a_new_target_healthy() {
        let mut tally = Tally::new(HealthState::Initial, 5, 2);
        assert_eq!(tally.note(FAILED), HealthState::Initial);
        assert_eq!(tally.note(Ok(())), HealthState::Healthy);
    }

    #[test]
    fn so_many_rounds_in_a_row_change_a_state() {
        let mut tally = Tally::new(HealthState::Initial, 3, 2);
        assert_eq!(tally.note(FAILED), HealthState::Initial);
        assert_eq!(tally.note(FAILED), UNHEALTHY);
        for expected in [UNHEALTHY, UNHEALTHY] {
            assert_eq!(tally.note(Ok(())), expected);
        }
        // One that fails begins the row anew, and says why now.
        let refused = Err(HealthFailure::Connection);
        let state = HealthState::Unhealthy(HealthFailure::Connection);
        assert_eq!(tally.note(refused), state);
        for expected in [state, state, HealthState::Healthy] {
            assert_eq!(tally.note(Ok(())), expected);
        }
        for (round, expected) in [
            (FAILED, HealthState::Healthy),
            (Ok(()), HealthState::Healthy),
            (FAILED, HealthState::Healthy),
            (FAILED, UNHEALTHY),
        ] {
            assert_eq!(tally.note(round), expected);
        }
    }
}
