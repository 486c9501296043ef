//! Dashboards: PutDashboard, GetDashboard, ListDashboards and DeleteDashboards.

use std::ops::Bound;

use enid_control::dashboard_arn;
use serde_json::json;

use super::dashboard_body::{Findings, Remark};
use super::{Monitoring, failed, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::cloudwatch::request::{
    DeleteDashboardsRequest, GetDashboardRequest, ListDashboardsRequest, PutDashboardRequest,
};
use crate::generated::cloudwatch::response::{
    DashboardEntry, DashboardValidationMessage, DeleteDashboardsResponse, GetDashboardResponse,
    ListDashboardsResponse, PutDashboardResponse,
};

/// Dashboards of one page.
const PAGE: usize = 1_000;
/// Dashboards of one DeleteDashboards.
const NAMES_MAX: usize = 100;

/// PutDashboard. What the body has and nobody reads is told, and kept.
pub(super) async fn put_dashboard(
    monitoring: &Monitoring,
    context: &Context,
    request: PutDashboardRequest,
) -> Result<PutDashboardResponse, ApiError> {
    let found = Findings::of(&request.dashboard_body);
    if !found.problems.is_empty() {
        return Err(refused(&found.problems));
    }
    let (caller, name) = (context.caller(), &request.dashboard_name);
    let put = monitoring
        .control
        .put_dashboard(&caller, name, &request.dashboard_body);
    put.await.map_err(failed)?;
    let messages = found.doubts.into_iter().map(|doubt| {
        let Remark { path, message } = doubt;
        DashboardValidationMessage {
            data_path: Some(path.into()),
            message: Some(message.into()),
        }
    });
    Ok(PutDashboardResponse {
        dashboard_validation_messages: messages.collect(),
    })
}

/// GetDashboard.
pub(super) async fn get_dashboard(
    monitoring: &Monitoring,
    context: &Context,
    request: GetDashboardRequest,
) -> Result<GetDashboardResponse, ApiError> {
    let (caller, name) = (context.caller(), request.dashboard_name);
    let found = monitoring.control.dashboard(&caller, &name).await;
    let found = found.map_err(failed)?;
    Ok(GetDashboardResponse {
        dashboard_arn: Some(dashboard_arn(&caller, &name).into()),
        dashboard_body: Some(found.body.as_str().into()),
        dashboard_name: Some(name.into()),
    })
}

/// ListDashboards: by name.
pub(super) async fn list_dashboards(
    monitoring: &Monitoring,
    context: &Context,
    request: ListDashboardsRequest,
) -> Result<ListDashboardsResponse, ApiError> {
    const OPERATION: &str = "ListDashboards";
    let caller = context.caller();
    let prefix = request.dashboard_name_prefix.unwrap_or_default();
    let after = page::open(OPERATION, request.next_token.as_deref())?;
    let region = monitoring.control.dashboards(&caller).await;
    let region = region.map_err(failed)?;
    let start: Bound<Box<str>> = match &after {
        Some(after) => Bound::Excluded(after.as_str().into()),
        None => Bound::Included(prefix.as_str().into()),
    };
    let named = region.dashboards.range((start, Bound::Unbounded));
    let named = named.skip_while(|(name, _)| ***name < *prefix);
    let mut named = named.take_while(|(name, _)| name.starts_with(prefix.as_str()));
    let entries: Vec<DashboardEntry> = named
        .by_ref()
        .take(PAGE)
        .map(|(name, dashboard)| DashboardEntry {
            dashboard_arn: Some(dashboard_arn(&caller, name).into()),
            dashboard_name: Some((&**name).into()),
            last_modified: Some(dashboard.modified),
            size: i64::try_from(dashboard.body.len()).ok(),
        })
        .collect();
    let last = entries
        .last()
        .and_then(|entry| entry.dashboard_name.clone());
    let next_token = match named.next() {
        Some(_) => last.map(|last| page::close(OPERATION, &last)),
        None => None,
    };
    Ok(ListDashboardsResponse {
        dashboard_entries: entries,
        next_token,
    })
}

/// DeleteDashboards.
pub(super) async fn delete_dashboards(
    monitoring: &Monitoring,
    context: &Context,
    request: DeleteDashboardsRequest,
) -> Result<DeleteDashboardsResponse, ApiError> {
    let names = request.dashboard_names;
    if names.len() > NAMES_MAX {
        let message =
            format!("The collection DashboardNames must not have a size greater than {NAMES_MAX}.");
        return Err(ApiError::new("InvalidParameterValue", 400, message));
    }
    let caller = context.caller();
    let deleted = monitoring.control.delete_dashboards(&caller, &names);
    deleted.await.map_err(failed)?;
    Ok(DeleteDashboardsResponse {})
}

/// The error of a body that is no dashboard.
fn refused(problems: &[Remark]) -> ApiError {
    let told: Vec<_> = problems
        .iter()
        .map(|problem| json!({"dataPath": problem.path, "message": problem.message}))
        .collect();
    let (count, told) = (told.len(), json!(told));
    let message =
        format!("The dashboard body is invalid, there are {count} validation errors: {told}");
    ApiError::new("InvalidParameterInput", 400, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_every_place() {
        let error = refused(&Findings::of(r#"{"widgets": [1]}"#).problems);
        assert_eq!(error.code(), "InvalidParameterInput");
        assert_eq!(
            error.message(),
            "The dashboard body is invalid, there are 1 validation errors: \
             [{\"dataPath\":\"/widgets/0\",\"message\":\"Should be object\"}]"
        );
    }
}
