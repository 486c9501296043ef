//! CloudWatch: each operation's request becomes a call of the control plane or of the telemetry
//! store, and what that returns its answer. One file per resource.

mod data;
mod metric;
mod page;

use std::sync::Arc;

use enid_control::Control;
use enid_telemetry::metric::database::Metrics;

use crate::context::Context;
use crate::error::ApiError;
use crate::handlers::handlers;
use crate::policy::elsewhere::Asked;

/// The operations of CloudWatch.
pub struct Monitoring {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
}

impl Monitoring {
    /// CloudWatch with these alarms and metrics.
    #[must_use]
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>) -> Self {
        Self { control, metrics }
    }

    /// What a request is about, for the policy of its key.
    #[must_use]
    pub fn asked(&self, _context: &Context, request: &Request) -> Asked {
        match request {
            Request::PutMetricData(request) => Asked {
                resources: Vec::new(),
                facts: vec![("cloudwatch:namespace", request.namespace.clone())],
            },
            _ => Asked::default(),
        }
    }

    /// Does what blocks where it may, and waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Metrics) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let metrics = Arc::clone(&self.metrics);
        let done = tokio::task::spawn_blocking(move || work(&metrics)).await;
        done.map_err(internal)
    }
}

/// CloudWatch's own word for an internal error.
fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> ApiError {
    ApiError::internal_as("InternalServiceError", cause)
}

handlers! {
    Monitoring in crate::generated::cloudwatch::operations {
        GetMetricData => data::get_metric_data,
        GetMetricStatistics => metric::get_metric_statistics,
        ListMetrics => metric::list_metrics,
        PutMetricData => metric::put_metric_data,
    }
}
