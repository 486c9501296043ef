//! Injected faults, as the agent's socket tells them.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use enid_host::agent::{FaultError, Input, StandingFault};
use enid_plan::fault::Fault;
use serde::{Deserialize, Serialize};

use super::host::Inquiry;

/// A fault that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// What fails, as the command line says it.
    pub(crate) fault: String,
    /// For how long still; without it until it is lifted.
    pub(crate) rest_ms: Option<u64>,
    /// Whether it goes on after a restart.
    pub(crate) keep: bool,
}

impl Standing {
    /// For people.
    pub(crate) fn words(&self) -> String {
        let end = match (self.rest_ms, self.keep) {
            (Some(ms), _) => format!("for {} s more", ms.div_ceil(1000)),
            (None, true) => "until it is cleared".to_owned(),
            (None, false) => "until it is cleared or the daemon ends".to_owned(),
        };
        format!("{} {end}", self.fault)
    }
}

impl From<StandingFault> for Standing {
    fn from(standing: StandingFault) -> Self {
        let ms = |rest: Duration| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        Self {
            fault: standing.fault.to_string(),
            rest_ms: standing.rest.map(ms),
            keep: standing.is_kept,
        }
    }
}

/// Injects a fault. Blocks until it is in force.
pub(super) fn inject(
    agent: &Inquiry,
    fault: Fault,
    for_ms: Option<u64>,
    is_kept: bool,
) -> Result<Vec<Standing>, String> {
    asked(agent, |answer| Input::Inject {
        fault,
        span: for_ms.map(Duration::from_millis),
        is_kept,
        answer,
    })
}

/// Lifts all faults. Blocks until they are.
pub(super) fn lift(agent: &Inquiry) -> Result<Vec<Standing>, String> {
    asked(agent, |answer| Input::Lift {
        fault: None,
        answer,
    })
}

/// The faults that go on.
pub(super) fn list(agent: &Inquiry) -> Result<Vec<Standing>, String> {
    let (answer, answered) = channel();
    let sent = agent.send(Input::Faults(answer));
    let found = sent.then(|| answered.recv().ok()).flatten();
    let found = found.ok_or_else(|| GONE.to_owned())?;
    Ok(found.into_iter().map(Standing::from).collect())
}

fn asked(
    agent: &Inquiry,
    input: impl FnOnce(Sender<Result<Vec<StandingFault>, FaultError>>) -> Input,
) -> Result<Vec<Standing>, String> {
    let (answer, answered) = channel();
    let sent = agent.send(input(answer));
    match sent.then(|| answered.recv().ok()).flatten() {
        Some(Ok(standing)) => Ok(standing.into_iter().map(Standing::from).collect()),
        Some(Err(error)) => Err(enid_host::chain(&error)),
        None => Err(GONE.to_owned()),
    }
}

const GONE: &str = "the agent is gone";
