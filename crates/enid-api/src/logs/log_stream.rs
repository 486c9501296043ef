//! Streams of log groups.

use std::cmp::Ordering;
use std::sync::Arc;

use enid_model::log_group::LogUid;

use super::{DESCRIBED_MAX, Logs, group_arn, invalid, limit, named, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    CreateLogStreamRequest, DeleteLogStreamRequest, DescribeLogStreamsRequest,
};
use crate::generated::logs::response::{
    CreateLogStreamResponse, DeleteLogStreamResponse, DescribeLogStreamsResponse, LogStream,
};
use crate::wire::text::Text;

/// CreateLogStream.
pub(super) async fn create_log_stream(
    logs: &Logs,
    context: &Context,
    request: CreateLogStreamRequest,
) -> Result<CreateLogStreamResponse, ApiError> {
    let (caller, stream) = (context.caller(), &request.log_stream_name);
    let control = &logs.control;
    control
        .create_log_stream(&caller, &request.log_group_name, stream)
        .await?;
    Ok(CreateLogStreamResponse {})
}

/// DeleteLogStream.
pub(super) async fn delete_log_stream(
    logs: &Logs,
    context: &Context,
    request: DeleteLogStreamRequest,
) -> Result<DeleteLogStreamResponse, ApiError> {
    let (caller, stream) = (context.caller(), &request.log_stream_name);
    let control = &logs.control;
    control
        .delete_log_stream(&caller, &request.log_group_name, stream)
        .await?;
    Ok(DeleteLogStreamResponse {})
}

/// DescribeLogStreams.
pub(super) async fn describe_log_streams(
    logs: &Logs,
    context: &Context,
    request: DescribeLogStreamsRequest,
) -> Result<DescribeLogStreamsResponse, ApiError> {
    let limit = limit(request.limit, DESCRIBED_MAX)?;
    let is_by_time = request.order_by.as_deref() == Some("LastEventTime");
    let prefix = request.log_stream_name_prefix.unwrap_or_default();
    if is_by_time && !prefix.is_empty() {
        return Err(invalid(
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ));
    }
    let region = logs.region(context).await?;
    let (name, identifier) = (request.log_group_name, request.log_group_identifier);
    let (group_name, group) = named(context, &region, name.as_deref(), identifier.as_deref())?;
    let streams = region.log_streams_from(group.uid, &prefix);
    let streams: Vec<_> = streams
        .take_while(|(name, _)| name.starts_with(&*prefix))
        .collect();
    let counts = {
        let uids: Vec<LogUid> = region
            .log_streams_from(group.uid, "")
            .map(|(_, stream)| stream.uid)
            .collect();
        let group = Arc::clone(group.record());
        let counts = logs.blocking(move |events| events.stream_counts(&group, &uids));
        counts.await?
    };
    // What they are ordered by is the key of the page, so that a token says it.
    let mut keyed: Vec<_> = streams
        .into_iter()
        .map(|(name, stream)| {
            let counts = counts.get(&stream.uid);
            let time = counts.map_or(0, |counts| counts.last.0);
            let key = match is_by_time {
                true => format!("{time:020}/{name}"),
                false => name.to_owned(),
            };
            (key, (name, stream, counts))
        })
        .collect();
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let is_descending = request.descending == Some(true);
    let order = if is_descending {
        keyed.reverse();
        Ordering::Less
    } else {
        Ordering::Greater
    };
    let token = request.next_token.as_deref();
    let (streams, next_token) = page::take_ordered(keyed.into_iter(), token, limit, order)?;
    let arn = group_arn(context, group_name);
    let streams = streams.into_iter().map(|(name, stream, counts)| LogStream {
        log_stream_name: Some(name.into()),
        creation_time: Some(stream.created_at.0),
        first_event_timestamp: counts.map(|counts| counts.first.0),
        last_event_timestamp: counts.map(|counts| counts.last.0),
        last_ingestion_time: counts.map(|counts| counts.ingested.0),
        upload_sequence_token: Some(sequence_token(stream.uid)),
        arn: Some(Text::display(format_args!("{arn}:log-stream:{name}"))),
        // Always so since 2019.
        stored_bytes: Some(0),
    });
    Ok(DescribeLogStreamsResponse {
        log_streams: streams.collect(),
        next_token,
    })
}

/// A token that clients from before 2023 send with the next events. It says nothing.
pub(super) fn sequence_token(stream: LogUid) -> Text {
    Text::display(format_args!("{:056}", stream.0))
}
