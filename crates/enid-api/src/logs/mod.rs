//! CloudWatch Logs: each operation's request becomes a call of the control plane or of the telemetry
//! store, and what that returns its answer. One file per resource.

use crate::context::Context;
use crate::error::ApiError;
use crate::handlers::handlers;
use crate::policy::elsewhere::Asked;

/// The operations of CloudWatch Logs.
#[derive(Debug, Default)]
pub struct Logs {}

impl Logs {
    /// What a request is about, for the policy of its key.
    #[must_use]
    pub fn asked(&self, _context: &Context, request: &Request) -> Asked {
        match *request {}
    }
}

handlers! {
    Logs in crate::generated::logs::operations {
    }
}
