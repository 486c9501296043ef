//! Flow logs.

use std::future::{Future, ready};
use std::pin::Pin;

use enid_control::{
    BucketRefusal, CreateFlowLogs, Error, FileOptions, FlowLogOutcomes, FlowLogResourceType,
};
use enid_model::flow_log::{FlowLog, FlowLogDestination, TrafficType};
use enid_model::id::FlowLogId;

use super::filter::Filters;
use super::page::Page;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateFlowLogsRequest, DeleteFlowLogsRequest, DescribeFlowLogsRequest,
    DestinationOptionsRequest,
};
use crate::generated::ec2::response::{
    self, CreateFlowLogsResponse, DeleteFlowLogsResponse, DescribeFlowLogsResponse,
    DestinationOptionsResponse, UnsuccessfulItem, UnsuccessfulItemError,
};
use crate::wire::text::Text;

/// Whether the records of flow logs come to where they go.
pub trait Deliveries: Send + Sync {
    /// Why the latest records of a flow log did not, in AWS's words; `None` if they did.
    fn failure(&self, id: FlowLogId) -> Option<&'static str>;

    /// Asks whether a bucket takes files, as far as it can be asked.
    fn refusal<'a>(&'a self, _bucket: &'a str) -> Asking<'a> {
        Box::pin(ready(None))
    }
}

/// Why a bucket takes nothing, when it has been asked; `None` if it does, or does not say.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Option<BucketRefusal>> + Send + 'a>>;

/// Where nothing is delivered, nothing fails.
pub(in crate::ec2) struct NoDeliveries;

impl Deliveries for NoDeliveries {
    fn failure(&self, _id: FlowLogId) -> Option<&'static str> {
        None
    }
}

/// CreateFlowLogs.
pub(super) async fn create_flow_logs(
    ec2: &Ec2,
    context: &Context,
    request: CreateFlowLogsRequest,
) -> Result<CreateFlowLogsResponse, ApiError> {
    let client_token = request.client_token.clone();
    let traffic = match request.traffic_type.as_deref() {
        Some("ACCEPT") => TrafficType::Accept,
        Some("REJECT") => TrafficType::Reject,
        Some(_) => TrafficType::All,
        None => {
            let name = "TrafficType";
            return Err(Error::MissingParameter { name }.into());
        }
    };
    let mut input = CreateFlowLogs {
        resources: request.resource_ids,
        // The parser lets no other words pass, here and below.
        resource_type: match &*request.resource_type {
            "NetworkInterface" => FlowLogResourceType::NetworkInterface,
            "Subnet" => FlowLogResourceType::Subnet,
            _ => FlowLogResourceType::Vpc,
        },
        traffic,
        is_to_bucket: request.log_destination_type.as_deref() == Some(TO_BUCKET),
        destination: request.log_destination,
        log_group: request.log_group_name,
        role: request.deliver_logs_permission_arn,
        format: request.log_format,
        interval_s: request.max_aggregation_interval,
        options: request.destination_options.as_ref().map(options),
        client_token: request.client_token,
        tags: tag::specifications(request.tag_specifications),
        refused: None,
    };
    let caller = context.caller();
    if let Some(bucket) = input.bucket()
        && !caller.dry_run
    {
        input.refused = ec2.deliveries.refusal(&bucket).await;
    }
    let outcomes = ec2.control.create_flow_logs(&caller, &input).await?;
    let ids = outcomes.done.iter().map(Text::display).collect();
    Ok(CreateFlowLogsResponse {
        client_token: client_token.map(Text::from),
        flow_log_ids: ids,
        unsuccessful: unsuccessful(&outcomes),
    })
}

/// AWS's words for the two types of destinations.
const TO_BUCKET: &str = "s3";
const TO_LOG_GROUP: &str = "cloud-watch-logs";

/// The word for files of Parquet.
const PARQUET: &str = "parquet";

fn options(request: &DestinationOptionsRequest) -> FileOptions {
    FileOptions {
        is_parquet: request.file_format.as_deref() == Some(PARQUET),
        is_hive_compatible: request.hive_compatible_partitions == Some(true),
        is_per_hour: request.per_hour_partition == Some(true),
    }
}

fn unsuccessful<T>(outcomes: &FlowLogOutcomes<T>) -> Vec<UnsuccessfulItem> {
    let failed = outcomes.failed.iter();
    let failed = failed.map(|(id, error)| UnsuccessfulItem {
        error: Some(UnsuccessfulItemError {
            code: Some(error.code().into()),
            message: Some(Text::display(error)),
        }),
        resource_id: Some(Text::from(&**id)),
    });
    failed.collect()
}

/// DeleteFlowLogs.
pub(super) async fn delete_flow_logs(
    ec2: &Ec2,
    context: &Context,
    request: DeleteFlowLogsRequest,
) -> Result<DeleteFlowLogsResponse, ApiError> {
    let ids: Vec<FlowLogId> = id::parse_all(&request.flow_log_ids)?;
    let caller = context.caller();
    let outcomes = ec2.control.delete_flow_logs(&caller, &ids).await?;
    Ok(DeleteFlowLogsResponse {
        unsuccessful: unsuccessful(&outcomes),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    DeliverStatus,
    DestinationType,
    Id,
    LogGroup,
    Resource,
    Traffic,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "deliver-log-status" => Field::DeliverStatus,
        "flow-log-id" => Field::Id,
        "log-destination-type" => Field::DestinationType,
        "log-group-name" => Field::LogGroup,
        "resource-id" => Field::Resource,
        "traffic-type" => Field::Traffic,
        _ => return None,
    })
}

/// DescribeFlowLogs.
pub(super) async fn describe_flow_logs(
    ec2: &Ec2,
    context: &Context,
    request: DescribeFlowLogsRequest,
) -> Result<DescribeFlowLogsResponse, ApiError> {
    let DescribeFlowLogsRequest {
        filter,
        flow_log_ids,
        max_results,
        next_token,
    } = request;
    let ids = (!flow_log_ids.is_empty()).then_some("flowLogIds");
    let token = next_token.as_deref();
    let page = Page::read("DescribeFlowLogs", 1..=1000, max_results, token, ids)?;
    let filters = Filters::compile(&filter, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<FlowLogId> = page.after()?;
    let named = id::find(&flow_log_ids, &region.flow_logs)?;
    let all = region.flow_logs.values().filter(|_| ids.is_none());
    let flow_logs = named.into_values().chain(all).map(|it| &**it);
    let flow_logs = flow_logs.filter(|flow_log: &&FlowLog| {
        after.is_none_or(|after| flow_log.id > after)
            && filters.match_resource(&flow_log.tags, |field, test| match field {
                Field::DeliverStatus => test.text(status(ec2, flow_log)),
                Field::DestinationType => test.text(destination_type(flow_log)),
                Field::Id => test.display(flow_log.id),
                Field::LogGroup => {
                    if let FlowLogDestination::LogGroup { name, .. } = &flow_log.destination {
                        test.text(name);
                    }
                }
                Field::Resource => test.display(flow_log.resource),
                Field::Traffic => test.text(flow_log.traffic.word()),
            })
    });
    let (flow_logs, next_token) = page.take(flow_logs, |flow_log| flow_log.id.to_string());
    let flow_logs = flow_logs.into_iter();
    let flow_logs = flow_logs.map(|flow_log| answer(ec2, context, flow_log));
    Ok(DescribeFlowLogsResponse {
        flow_logs: flow_logs.collect(),
        next_token,
    })
}

fn status(ec2: &Ec2, flow_log: &FlowLog) -> &'static str {
    match ec2.deliveries.failure(flow_log.id) {
        None => "SUCCESS",
        Some(_) => "FAILED",
    }
}

fn destination_type(flow_log: &FlowLog) -> &'static str {
    match flow_log.destination {
        FlowLogDestination::Bucket { .. } => TO_BUCKET,
        FlowLogDestination::LogGroup { .. } => TO_LOG_GROUP,
    }
}

fn answer(ec2: &Ec2, context: &Context, flow_log: &FlowLog) -> response::FlowLog {
    let mut answer = response::FlowLog {
        creation_time: Some(flow_log.created),
        deliver_logs_error_message: ec2.deliveries.failure(flow_log.id).map(Text::from),
        deliver_logs_permission_arn: None,
        deliver_logs_status: Some(status(ec2, flow_log).into()),
        flow_log_id: Some(Text::display(flow_log.id)),
        flow_log_status: Some("ACTIVE".into()),
        log_group_name: None,
        resource_id: Some(Text::display(flow_log.resource)),
        traffic_type: Some(flow_log.traffic.word().into()),
        log_destination_type: Some(destination_type(flow_log).into()),
        log_destination: None,
        log_format: Some(Text::display(&flow_log.format)),
        tags: tag::answer(&flow_log.tags),
        max_aggregation_interval: i32::try_from(flow_log.interval_s).ok(),
        destination_options: None,
    };
    match &flow_log.destination {
        FlowLogDestination::Bucket {
            bucket,
            folder,
            is_parquet,
            is_hive_compatible,
            is_per_hour,
        } => {
            let arn = format!("arn:aws:s3:::{bucket}/{folder}");
            let arn = arn.trim_end_matches(|it| folder.is_empty() && it == '/');
            answer.log_destination = Some(Text::from(arn));
            answer.destination_options = Some(DestinationOptionsResponse {
                file_format: Some(if *is_parquet { PARQUET } else { "plain-text" }.into()),
                hive_compatible_partitions: Some(*is_hive_compatible),
                per_hour_partition: Some(*is_per_hour),
            });
        }
        FlowLogDestination::LogGroup { name, as_arn, role } => {
            answer.deliver_logs_permission_arn = Some(Text::from(&**role));
            answer.log_group_name = Some(Text::from(&**name));
            if *as_arn {
                let (region, account) = (context.region.name, context.account);
                let arn = format!("arn:aws:logs:{region}:{account}:log-group:{name}");
                answer.log_destination = Some(Text::from(&*arn));
            }
        }
    }
    answer
}
