//! Faults that somebody injects: they begin and end as asked, and end with the agent unless they are to be
//! kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enid_plan::fault::Fault;

use super::{Agent, AgentError};
use crate::datapath::DatapathError;

/// A fault that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What fails.
    pub fault: Fault,
    /// For how long still; `None` is until it is lifted.
    pub rest: Option<Duration>,
    /// Whether it goes on after a restart of the daemon.
    pub is_kept: bool,
}

/// Why a fault cannot be injected or lifted.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The kernel's tables cannot be changed.
    #[error("change the kernel's tables")]
    Datapath(#[from] DatapathError),
    /// The faults that are kept cannot be written.
    #[error("write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is no such thing.
    #[error("there is no {0}")]
    Missing(Fault),
}

/// What fails, and how it ends.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<Fault, End>);

/// How a fault ends.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Option<Instant>,
    is_kept: bool,
}

/// The file in the data directory with the faults that are kept.
const FILE: &str = "faults.json";

impl Faults {
    /// Those that an earlier agent was told to keep.
    fn read(data_dir: &Path) -> io::Result<Self> {
        let text = match fs::read(data_dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text?,
        };
        let kept: Vec<Fault> = serde_json::from_slice(&text)?;
        let end = End {
            at: None,
            is_kept: true,
        };
        Ok(Self(kept.into_iter().map(|fault| (fault, end)).collect()))
    }

    fn write(&self, data_dir: &Path) -> Result<(), FaultError> {
        let path = data_dir.join(FILE);
        let kept = self.0.iter().filter(|(_, end)| end.is_kept);
        let kept: Vec<&Fault> = kept.map(|(fault, _)| fault).collect();
        let written = if kept.is_empty() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        } else {
            let text = serde_json::to_vec(&kept).map_err(io::Error::other);
            text.and_then(|text| fs::write(&path, text))
        };
        written.map_err(|source| FaultError::File { path, source })
    }

    fn all(&self) -> BTreeSet<Fault> {
        self.0.keys().cloned().collect()
    }

    fn zones(&self) -> Vec<String> {
        let zones = self.0.keys().filter_map(|fault| match fault {
            Fault::Zone(zone) => Some(zone.clone()),
            _ => None,
        });
        zones.collect()
    }

    /// Forgets those whose time is up, and says whether there were any.
    fn forget_over(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        self.0.retain(|_, end| end.at.is_none_or(|at| at > now));
        self.0.len() < before
    }

    fn standing(&self, now: Instant) -> Vec<Standing> {
        let all = self.0.iter().map(|(fault, end)| Standing {
            fault: fault.clone(),
            rest: end.at.map(|at| at.saturating_duration_since(now)),
            is_kept: end.is_kept,
        });
        all.collect()
    }
}

impl Agent {
    /// Takes up the faults that are kept. The tables are not settled yet.
    pub(super) fn adopt_faults(&mut self) -> Result<(), AgentError> {
        self.faults = Faults::read(&self.config.data_dir).map_err(AgentError::DataDir)?;
        let _ = self.planner.set_faults(self.faults.all());
        self.services.set_failing(self.faults.zones());
        Ok(())
    }

    /// Injects a fault. It is in force when this returns.
    pub(super) fn inject(
        &mut self,
        fault: Fault,
        span: Option<Duration>,
        is_kept: bool,
    ) -> Result<Vec<Standing>, FaultError> {
        if !fault.has_object(self.planner.state()) {
            return Err(FaultError::Missing(fault));
        }
        let now = Instant::now();
        let at = span.and_then(|span| now.checked_add(span));
        tracing::warn!(%fault, ?span, "a fault is injected");
        self.faults.0.insert(fault, End { at, is_kept });
        self.enforce_faults()?;
        Ok(self.faults.standing(now))
    }

    /// Lifts a fault, or all of them.
    pub(super) fn lift(&mut self, fault: Option<&Fault>) -> Result<Vec<Standing>, FaultError> {
        match fault {
            Some(fault) => {
                if self.faults.0.remove(fault).is_none() {
                    return Err(FaultError::Missing(fault.clone()));
                }
            }
            None => self.faults.0.clear(),
        }
        tracing::warn!("faults are lifted");
        self.enforce_faults()?;
        Ok(self.faults.standing(Instant::now()))
    }

    /// The faults that go on.
    pub(super) fn standing_faults(&self) -> Vec<Standing> {
        self.faults.standing(Instant::now())
    }

    /// Lifts those whose time is up.
    pub(super) fn lift_if_due(&mut self) {
        if !self.faults.forget_over(Instant::now()) {
            return;
        }
        tracing::warn!("the time of faults is up: they are lifted");
        if let Err(error) = self.enforce_faults() {
            let error = crate::chain(&error);
            tracing::error!(error, "a fault was not lifted; it is tried again");
        }
    }

    fn enforce_faults(&mut self) -> Result<(), FaultError> {
        let diff = self.planner.set_faults(self.faults.all());
        self.settle(&diff)?;
        self.services.set_failing(self.faults.zones());
        self.faults.write(&self.config.data_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_to_be_kept_outlives_the_agent_and_time_lifts_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let zone = |name: &str| Fault::Zone(name.to_owned());
        let now = Instant::now();
        let mut faults = Faults::default();
        for (name, span, is_kept) in [
            ("a", None, false),
            ("b", None, true),
            ("c", Some(Duration::from_secs(30)), false),
        ] {
            let at = span.map(|span| now + span);
            faults.0.insert(zone(name), End { at, is_kept });
        }
        faults.write(dir.path()).unwrap();
        let kept = Faults::read(dir.path()).unwrap();
        assert_eq!(kept.all(), BTreeSet::from([zone("b")]));
        assert!(!faults.forget_over(now + Duration::from_secs(29)));
        assert!(faults.forget_over(now + Duration::from_secs(30)));
        assert_eq!(faults.all(), BTreeSet::from([zone("a"), zone("b")]));
        let rest: Vec<_> = faults.standing(now).into_iter().map(|it| it.rest).collect();
        assert_eq!(rest, [None, None]);
        faults.0.clear();
        faults.write(dir.path()).unwrap();
        assert!(Faults::read(dir.path()).unwrap().all().is_empty());
    }
}
