//! Instances: what changes their state. Launching, attributes, and what there is to tell about
//! them are in the modules.

pub(super) mod attribute;
pub(super) mod console;
pub(super) mod credit;
pub(super) mod describe;
pub(super) mod filter;
pub(super) mod launch;
pub(super) mod status;

use enid_control::{InstanceState, StateChange};
use enid_model::id::InstanceId;

use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    RebootInstancesRequest, StartInstancesRequest, StopInstancesRequest, TerminateInstancesRequest,
};
use crate::generated::ec2::response::{
    self, InstanceStateChange, RebootInstancesResponse, StartInstancesResponse,
    StopInstancesResponse, TerminateInstancesResponse,
};
use crate::wire::text::Text;

/// StopInstances. A sandbox that does not stop in time is killed, forced or not.
pub(super) async fn stop_instances(
    ec2: &Ec2,
    context: &Context,
    request: StopInstancesRequest,
) -> Result<StopInstancesResponse, ApiError> {
    let ids = ids(&request.instance_ids)?;
    let changes = ec2.control.stop_instances(&context.caller(), &ids).await?;
    Ok(StopInstancesResponse {
        stopping_instances: answers(&changes),
    })
}

/// StartInstances.
pub(super) async fn start_instances(
    ec2: &Ec2,
    context: &Context,
    request: StartInstancesRequest,
) -> Result<StartInstancesResponse, ApiError> {
    let ids = ids(&request.instance_ids)?;
    let changes = ec2.control.start_instances(&context.caller(), &ids).await?;
    Ok(StartInstancesResponse {
        starting_instances: answers(&changes),
    })
}

/// RebootInstances.
pub(super) async fn reboot_instances(
    ec2: &Ec2,
    context: &Context,
    request: RebootInstancesRequest,
) -> Result<RebootInstancesResponse, ApiError> {
    let ids = ids(&request.instance_ids)?;
    let caller = context.caller();
    ec2.control.reboot_instances(&caller, &ids).await?;
    Ok(RebootInstancesResponse {})
}

/// TerminateInstances.
pub(super) async fn terminate_instances(
    ec2: &Ec2,
    context: &Context,
    request: TerminateInstancesRequest,
) -> Result<TerminateInstancesResponse, ApiError> {
    let ids = ids(&request.instance_ids)?;
    let caller = context.caller();
    let changes = ec2.control.terminate_instances(&caller, &ids).await?;
    Ok(TerminateInstancesResponse {
        terminating_instances: answers(&changes),
    })
}

/// The instances that an operation is about: at least one.
fn ids(texts: &[String]) -> Result<Vec<InstanceId>, ApiError> {
    if texts.is_empty() {
        return Err(ApiError::missing_parameter("InstanceId"));
    }
    id::parse_all(texts)
}

fn answers(changes: &[StateChange]) -> Vec<InstanceStateChange> {
    let answers = changes.iter().map(|change| InstanceStateChange {
        instance_id: Some(Text::display(change.id)),
        current_state: Some(state(change.current)),
        previous_state: Some(state(change.previous)),
    });
    answers.collect()
}

/// A state as answers carry it.
fn state(state: InstanceState) -> response::InstanceState {
    response::InstanceState {
        code: Some(state.code()),
        name: Some(state.name().into()),
    }
}
