//! Which hosts are live, which revision each obeys, and what each sees of its instances.
//!
//! A mutating call is answered when every live host obeys its revision. A host that is not live
//! does not hold it up: it catches up before it forwards again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_model::id::InstanceId;
use enid_model::state::Revision;
use enid_model::time::Timestamp;
use tokio::sync::watch;

/// The name of a host.
pub type HostName = Arc<str>;

/// What a host sees of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Which boot of the instance this is about.
    pub boot: u32,
    /// What it sees.
    pub state: Observation,
}

/// What a host can see of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Its first process has ended; its namespace and devices are being removed.
    Ending,
    /// It could not be made to run; the text says why.
    Failed(Arc<str>),
    /// It runs, and its interfaces are up.
    Running,
    /// It does not run.
    Stopped,
}

/// What the status checks of an instance that runs found last: what fails, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    /// What the host does for it.
    pub system_failed: Option<Timestamp>,
    /// What it does itself.
    pub instance_failed: Option<Timestamp>,
}

/// The register of hosts.
#[derive(Clone)]
pub struct Hosts {
    shared: Arc<Shared>,
}

struct Shared {
    register: Mutex<Register>,
    /// Counts changes of the register, to wake those who wait for one.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Register {
    live: BTreeMap<HostName, Revision>,
    instances: BTreeMap<InstanceId, Observed>,
    checks: BTreeMap<InstanceId, Checks>,
}

impl Default for Hosts {
    fn default() -> Self {
        let shared = Shared {
            register: Mutex::default(),
            changed: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Hosts {
    /// A host comes to life. It is live until the handle is dropped.
    #[must_use]
    pub fn join(&self, name: HostName) -> HostHandle {
        self.change(|register| {
            register.live.insert(Arc::clone(&name), Revision::default());
        });
        let hosts = self.clone();
        HostHandle { hosts, name }
    }

    /// Waits until every live host obeys a revision; at once if none is live.
    pub async fn obeyed(&self, revision: Revision) {
        self.until(|register| {
            let all = register.live.values().all(|obeyed| *obeyed >= revision);
            all.then_some(())
        })
        .await;
    }

    /// Whether any host is live.
    #[must_use]
    pub fn any_live(&self) -> bool {
        !self.lock().live.is_empty()
    }

    /// Waits until no live host has an instance run, or end.
    pub async fn idle(&self, id: InstanceId) {
        self.until(|register| {
            let seen = register.instances.get(&id).map(|seen| &seen.state);
            let there = matches!(seen, Some(Observation::Ending | Observation::Running));
            (!there || register.live.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until no live host has anything of an instance but those that are known. Who is asked may
    /// come to know more meanwhile.
    pub async fn others_gone(&self, is_known: impl Fn(InstanceId) -> bool) {
        self.until(|register| {
            let mut found = register.instances.keys();
            let gone = register.live.is_empty() || found.all(|id| is_known(*id));
            gone.then_some(())
        })
        .await;
    }

    /// What is seen of an instance.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<Observed> {
        self.lock().instances.get(&id).cloned()
    }

    /// What the checks of an instance found last. One that was not checked yet fails none.
    #[must_use]
    pub fn checks(&self, id: InstanceId) -> Checks {
        self.lock().checks.get(&id).copied().unwrap_or_default()
    }

    /// Notes what checks found, of all instances that run.
    pub fn note_checks(&self, checks: BTreeMap<InstanceId, Checks>) {
        // Nobody waits for them, so nobody is woken.
        self.lock().checks = checks;
    }

    /// Waits until a host has seen this boot of an instance (or a later one) and the test accepts
    /// what it saw. Returns `None` at once when no host is live.
    pub async fn seen(
        &self,
        id: InstanceId,
        boot: u32,
        accept: impl Fn(&Observation) -> bool,
    ) -> Option<Observation> {
        self.until(|register| {
            if register.live.is_empty() {
                return Some(None);
            }
            let observed = register.instances.get(&id);
            let found = observed.filter(|seen| seen.boot >= boot && accept(&seen.state));
            found.map(|seen| Some(seen.state.clone()))
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        // Every change leaves the register whole, so a panic elsewhere does not spoil it.
        self.shared
            .register
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, edit: impl FnOnce(&mut Register)) {
        edit(&mut self.lock());
        self.shared.changed.send_modify(|count| *count += 1);
    }

    async fn until<T>(&self, test: impl Fn(&Register) -> Option<T>) -> T {
        let mut changes = self.shared.changed.subscribe();
        loop {
            if let Some(found) = test(&self.lock()) {
                return found;
            }
            // The sender lives in `self`: it cannot be gone.
            let _ = changes.changed().await;
        }
    }
}

/// A live host's side of the register.
pub struct HostHandle {
    hosts: Hosts,
    name: HostName,
}

impl HostHandle {
    /// Says that this host's maps hold a revision.
    pub fn acknowledge(&self, revision: Revision) {
        self.hosts.change(|register| {
            if let Some(obeyed) = register.live.get_mut(&self.name) {
                *obeyed = revision;
            }
        });
    }

    /// Says what is seen of an instance.
    pub fn observe(&self, id: InstanceId, observed: Observed) {
        self.hosts.change(|register| {
            register.instances.insert(id, observed);
        });
    }

    /// Forgets an instance that is gone.
    pub fn forget(&self, id: InstanceId) {
        self.hosts.change(|register| {
            register.instances.remove(&id);
        });
    }
}

impl Drop for HostHandle {
    fn drop(&mut self) {
        self.hosts.change(|register| {
            register.live.remove(&self.name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_those_of_the_last_time() {
        let hosts = Hosts::default();
        let fails = Checks {
            instance_failed: Some(Timestamp(7)),
            ..Checks::default()
        };
        hosts.note_checks(BTreeMap::from([(InstanceId(1), fails)]));
        assert_eq!(hosts.checks(InstanceId(1)), fails);
        assert_eq!(hosts.checks(InstanceId(2)), Checks::default());
        hosts.note_checks(BTreeMap::new());
        assert_eq!(hosts.checks(InstanceId(1)), Checks::default());
    }

    #[tokio::test]
    async fn a_revision_is_obeyed_when_every_live_host_says_so() {
        let hosts = Hosts::default();
        hosts.obeyed(Revision(5)).await;
        let one = hosts.join("one".into());
        let two = hosts.join("two".into());
        one.acknowledge(Revision(5));
        let waiting = tokio::spawn({
            let hosts = hosts.clone();
            async move { hosts.obeyed(Revision(5)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        // A host that is gone does not hold anybody up.
        drop(two);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn an_older_boot_is_not_what_was_asked_for() {
        let hosts = Hosts::default();
        let id = InstanceId(1);
        let host = hosts.join("one".into());
        let running = |boot| Observed {
            boot,
            state: Observation::Running,
        };
        host.observe(id, running(1));
        let waiting = tokio::spawn({
            let hosts = hosts.clone();
            async move { hosts.seen(id, 2, |_| true).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        host.observe(id, running(2));
        assert_eq!(waiting.await.ok().flatten(), Some(Observation::Running));
    }

    #[tokio::test]
    async fn what_is_known_is_not_waited_for() {
        let hosts = Hosts::default();
        let host = hosts.join("one".into());
        let running = Observed {
            boot: 1,
            state: Observation::Running,
        };
        let (old, new) = (InstanceId(1), InstanceId(2));
        host.observe(old, running.clone());
        let waiting = tokio::spawn({
            let hosts = hosts.clone();
            async move { hosts.others_gone(|id| id == new).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        host.observe(new, running);
        host.forget(old);
        assert!(waiting.await.is_ok());
    }
}
