//! Attributes of an instance.

use enid_control::ModifyInstance;
use enid_model::id::InstanceId;
use enid_model::volume::ROOT_DEVICE;

use super::describe::{ENA_SUPPORT, block_devices};
use super::ids;
use super::launch::{terminates, user_data};
use crate::context::Context;
use crate::ec2::network_interface::describe::View;
use crate::ec2::{Ec2, id};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeInstanceAttributeRequest, InstanceBlockDeviceMappingSpecification,
    ModifyInstanceAttributeRequest, MonitorInstancesRequest, ResetInstanceAttributeRequest,
    UnmonitorInstancesRequest,
};
use crate::generated::ec2::response::{
    AttributeBooleanValue, AttributeValue, DescribeInstanceAttributeResponse, InstanceMonitoring,
    ModifyInstanceAttributeResponse, MonitorInstancesResponse, Monitoring,
    ResetInstanceAttributeResponse, UnmonitorInstancesResponse,
};
use crate::wire::params::to_base64;
use crate::wire::text::Text;

/// DescribeInstanceAttribute. The support table lists the attributes.
pub(in crate::ec2) async fn describe_instance_attribute(
    ec2: &Ec2,
    context: &Context,
    request: DescribeInstanceAttributeRequest,
) -> Result<DescribeInstanceAttributeResponse, ApiError> {
    let id: InstanceId = id::parse(&request.instance_id)?;
    let caller = context.caller();
    let instance = ec2.control.instance(&caller, id).await?;
    let region = ec2.control.see(&caller).await?;
    let view = View::new(context, &region);
    let primary = region.enis_of_instance(id).next();
    let flag = |value| Some(AttributeBooleanValue { value: Some(value) });
    let text = |value: &str| {
        Some(AttributeValue {
            value: Some(value.into()),
        })
    };
    let mut response = DescribeInstanceAttributeResponse {
        instance_id: Some(Text::display(id)),
        ..DescribeInstanceAttributeResponse::default()
    };
    match request.attribute.as_str() {
        "blockDeviceMapping" => {
            response.block_device_mappings = Some(block_devices(&instance));
        }
        "disableApiStop" => response.disable_api_stop = flag(instance.disable_api_stop),
        "disableApiTermination" => {
            response.disable_api_termination = flag(instance.disable_api_termination);
        }
        "ebsOptimized" => response.ebs_optimized = flag(instance.recorded.ebs_optimized),
        "enaSupport" => response.ena_support = flag(ENA_SUPPORT),
        "groupSet" => response.groups = Some(primary.map_or_else(Vec::new, |eni| view.groups(eni))),
        "instanceInitiatedShutdownBehavior" => {
            let behavior = if instance.terminate_on_shutdown {
                "terminate"
            } else {
                "stop"
            };
            response.instance_initiated_shutdown_behavior = text(behavior);
        }
        "instanceType" => response.instance_type = text(&instance.instance_type),
        "rootDeviceName" => response.root_device_name = text(ROOT_DEVICE),
        "sourceDestCheck" => {
            response.source_dest_check = flag(primary.is_none_or(|eni| eni.source_dest_check));
        }
        "userData" => {
            let value = instance.user_data.as_deref().map(to_base64);
            let value = value.map(Text::from);
            response.user_data = Some(AttributeValue { value });
        }
        other => {
            let name = "Attribute";
            return Err(ApiError::invalid_parameter_value(other, name, ""));
        }
    }
    Ok(response)
}

/// ModifyInstanceAttribute.
pub(in crate::ec2) async fn modify_instance_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ModifyInstanceAttributeRequest,
) -> Result<ModifyInstanceAttributeResponse, ApiError> {
    let id = id::parse(&request.instance_id)?;
    let groups = id::parse_all(&request.groups)?;
    let behavior = request.instance_initiated_shutdown_behavior;
    let behavior = behavior.map(|behavior| behavior.value.unwrap_or_default());
    let devices = request.block_device_mappings.into_iter().map(device);
    let devices: Vec<(String, bool)> = devices.collect::<Result<_, _>>()?;
    let mut input = ModifyInstance {
        block_devices: (!devices.is_empty()).then_some(devices),
        disable_api_stop: request.disable_api_stop.and_then(|v| v.value),
        disable_api_termination: request.disable_api_termination.and_then(|v| v.value),
        ebs_optimized: request.ebs_optimized.and_then(|v| v.value),
        groups: (!groups.is_empty()).then_some(groups),
        instance_type: request.instance_type.and_then(|v| v.value),
        source_dest_check: request.source_dest_check.and_then(|v| v.value),
        terminate_on_shutdown: behavior.as_deref().map(terminates).transpose()?,
        user_data: request.user_data.map(|v| v.value.unwrap_or_default().0),
    };
    if let Some(attribute) = request.attribute.as_deref() {
        set(&mut input, attribute, request.value)?;
    }
    let caller = context.caller();
    ec2.control.modify_instance(&caller, id, input).await?;
    Ok(ModifyInstanceAttributeResponse {})
}

/// A device, and whether it shall go with its instance.
fn device(request: InstanceBlockDeviceMappingSpecification) -> Result<(String, bool), ApiError> {
    let name = request.device_name;
    let name = name.ok_or_else(|| ApiError::missing_parameter("DeviceName"))?;
    let goes = request.ebs.and_then(|ebs| ebs.delete_on_termination);
    let goes = goes.ok_or_else(|| ApiError::missing_parameter("DeleteOnTermination"))?;
    Ok((name, goes))
}

/// The older form of a change: an attribute by its name, beside a value as text.
fn set(input: &mut ModifyInstance, attribute: &str, value: Option<String>) -> Result<(), ApiError> {
    fn once<T>(member: &mut Option<T>, value: T) -> Result<(), ApiError> {
        match member.replace(value) {
            None => Ok(()),
            Some(_) => Err(ApiError::invalid_combination(
                "An attribute may be given by name or by its own parameter, not both",
            )),
        }
    }
    let value = value.ok_or_else(|| ApiError::missing_parameter("Value"))?;
    let flag = || match value.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => {
            let hint = "Expected true or false.";
            Err(ApiError::invalid_parameter_value(other, "Value", hint))
        }
    };
    match attribute {
        "disableApiTermination" => once(&mut input.disable_api_termination, flag()?),
        "ebsOptimized" => once(&mut input.ebs_optimized, flag()?),
        "instanceInitiatedShutdownBehavior" => {
            once(&mut input.terminate_on_shutdown, terminates(&value)?)
        }
        "instanceType" => once(&mut input.instance_type, value),
        "sourceDestCheck" => once(&mut input.source_dest_check, flag()?),
        "userData" => once(&mut input.user_data, user_data(&value)?),
        // The support table lets no other pass.
        other => Err(ApiError::invalid_parameter_value(other, "Attribute", "")),
    }
}

/// ResetInstanceAttribute. The support table lists the one attribute that can be reset.
pub(in crate::ec2) async fn reset_instance_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ResetInstanceAttributeRequest,
) -> Result<ResetInstanceAttributeResponse, ApiError> {
    let id = id::parse(&request.instance_id)?;
    let caller = context.caller();
    ec2.control
        .reset_instance_source_dest_check(&caller, id)
        .await?;
    Ok(ResetInstanceAttributeResponse {})
}

/// MonitorInstances.
pub(in crate::ec2) async fn monitor_instances(
    ec2: &Ec2,
    context: &Context,
    request: MonitorInstancesRequest,
) -> Result<MonitorInstancesResponse, ApiError> {
    let ids = ids(&request.instance_ids)?;
    let caller = context.caller();
    ec2.control.set_monitoring(&caller, &ids, true).await?;
    Ok(MonitorInstancesResponse {
        instance_monitorings: monitorings(&ids, "enabled"),
    })
}

/// UnmonitorInstances.
pub(in crate::ec2) async fn unmonitor_instances(
    ec2: &Ec2,
    context: &Context,
    request: UnmonitorInstancesRequest,
) -> Result<UnmonitorInstancesResponse, ApiError> {
    let ids = ids(&request.instance_ids)?;
    let caller = context.caller();
    ec2.control.set_monitoring(&caller, &ids, false).await?;
    Ok(UnmonitorInstancesResponse {
        instance_monitorings: monitorings(&ids, "disabled"),
    })
}

fn monitorings(ids: &[InstanceId], state: &str) -> Vec<InstanceMonitoring> {
    let monitoring = |id| InstanceMonitoring {
        instance_id: Some(Text::display(id)),
        monitoring: Some(Monitoring {
            state: Some(state.into()),
        }),
    };
    ids.iter().map(monitoring).collect()
}
