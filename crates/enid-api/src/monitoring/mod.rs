//! CloudWatch: each operation's request becomes a call of the control plane or of the telemetry
//! store, and what that returns its answer. One file per resource.

mod alarm;
mod anomaly_detector;
mod dashboard;
mod dashboard_body;
mod data;
mod describe;
mod metric;
mod page;
mod tag;
mod widget;
mod widget_image;
mod widget_members;
mod widget_time;

use std::sync::Arc;

use enid_control::{Control, alarm_arn, dashboard_arn};
use enid_model::time::Timestamp;
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
    pub fn asked(&self, context: &Context, request: &Request) -> Asked {
        let caller = context.caller();
        let alarm = |name: &String| alarm_arn(&caller, name);
        let dashboard = |name: &String| dashboard_arn(&caller, name);
        let alarms = |names: &[String]| Asked::about(names.iter().map(alarm));
        match request {
            Request::DeleteAlarms(request) => alarms(&request.alarm_names),
            Request::DeleteDashboards(request) => {
                Asked::about(request.dashboard_names.iter().map(dashboard))
            }
            Request::DescribeAlarms(request) => alarms(&request.alarm_names),
            Request::DescribeAlarmHistory(request) => {
                Asked::about(request.alarm_name.iter().map(alarm))
            }
            Request::DisableAlarmActions(request) => alarms(&request.alarm_names),
            Request::EnableAlarmActions(request) => alarms(&request.alarm_names),
            Request::GetDashboard(request) => Asked::about([dashboard(&request.dashboard_name)]),
            Request::ListTagsForResource(request) => Asked::about([request.resource_arn.clone()]),
            Request::PutCompositeAlarm(request) => Asked::about([alarm(&request.alarm_name)]),
            Request::PutDashboard(request) => Asked::about([dashboard(&request.dashboard_name)]),
            Request::PutMetricAlarm(request) => Asked::about([alarm(&request.alarm_name)]),
            Request::PutMetricData(request) => Asked {
                resources: Vec::new(),
                facts: vec![("cloudwatch:namespace", request.namespace.clone())],
            },
            Request::SetAlarmState(request) => Asked::about([alarm(&request.alarm_name)]),
            Request::TagResource(request) => Asked::about([request.resource_arn.clone()]),
            Request::UntagResource(request) => Asked::about([request.resource_arn.clone()]),
            Request::DeleteAnomalyDetector(_)
            | Request::DescribeAlarmsForMetric(_)
            | Request::DescribeAnomalyDetectors(_)
            | Request::GetMetricData(_)
            | Request::GetMetricStatistics(_)
            | Request::GetMetricWidgetImage(_)
            | Request::ListDashboards(_)
            | Request::ListMetrics(_)
            | Request::PutAnomalyDetector(_) => Asked::default(),
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

/// Whether a text is a metric widget that is drawn, asked for at a time and in a region.
pub fn check_widget(text: &str, now: Timestamp, region: &str) -> Result<(), ApiError> {
    widget_image::check(text, now, region)
}

/// The places at which the body of a dashboard is wrong, each a JSON pointer.
#[must_use]
pub fn check_dashboard(body: &str) -> Vec<String> {
    let found = dashboard_body::Findings::of(body);
    let places = found.problems.into_iter();
    places.map(|problem| problem.path).collect()
}

/// An error of the control plane, with the status that CloudWatch has for it.
fn failed(error: enid_control::Error) -> ApiError {
    match error.code() {
        code @ ("ResourceNotFound" | "ResourceNotFoundException") => {
            ApiError::new(code, 404, error.to_string())
        }
        _ => error.into(),
    }
}

/// CloudWatch's own word for an internal error.
fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> ApiError {
    ApiError::internal_as("InternalServiceError", cause)
}

handlers! {
    Monitoring in crate::generated::cloudwatch::operations {
        DeleteAlarms => alarm::delete_alarms,
        DeleteAnomalyDetector => anomaly_detector::delete_anomaly_detector,
        DeleteDashboards => dashboard::delete_dashboards,
        DescribeAlarmHistory => describe::describe_alarm_history,
        DescribeAlarms => describe::describe_alarms,
        DescribeAlarmsForMetric => describe::describe_alarms_for_metric,
        DescribeAnomalyDetectors => anomaly_detector::describe_anomaly_detectors,
        DisableAlarmActions => alarm::disable_alarm_actions,
        EnableAlarmActions => alarm::enable_alarm_actions,
        GetDashboard => dashboard::get_dashboard,
        GetMetricData => data::get_metric_data,
        GetMetricStatistics => metric::get_metric_statistics,
        GetMetricWidgetImage => widget_image::get_metric_widget_image,
        ListDashboards => dashboard::list_dashboards,
        ListMetrics => metric::list_metrics,
        ListTagsForResource => tag::list_tags_for_resource,
        PutAnomalyDetector => anomaly_detector::put_anomaly_detector,
        PutCompositeAlarm => alarm::put_composite_alarm,
        PutDashboard => dashboard::put_dashboard,
        PutMetricAlarm => alarm::put_metric_alarm,
        PutMetricData => metric::put_metric_data,
        SetAlarmState => alarm::set_alarm_state,
        TagResource => tag::tag_resource,
        UntagResource => tag::untag_resource,
    }
}
