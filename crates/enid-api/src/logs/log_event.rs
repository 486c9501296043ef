//! Log events.

use std::sync::Arc;

use enid_control::{check_stream_name, log_stream_named};
use enid_model::log_group::{LogGroup, LogUid};
use enid_model::state::RegionState;
use enid_model::time::Timestamp;
use enid_telemetry::log::batch::{self, InputEvent, Rejected};
use enid_telemetry::log::event::Position;
use enid_telemetry::log::logs::Target;
use enid_telemetry::log::page::{Bounds, Direction};
use enid_telemetry::log::pattern::FilterPattern;
use enid_telemetry::log::token::Token;

use super::log_stream::sequence_token;
use super::page::bad_token;
use super::{Logs, invalid, limit, named};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    FilterLogEventsRequest, GetLogEventsRequest, PutLogEventsRequest,
};
use crate::generated::logs::response::{
    FilterLogEventsResponse, FilteredLogEvent, GetLogEventsResponse, OutputLogEvent,
    PutLogEventsResponse, RejectedLogEventsInfo,
};
use crate::wire::text::Text;

/// PutLogEvents.
pub(super) async fn put_log_events(
    logs: &Logs,
    context: &Context,
    request: PutLogEventsRequest,
) -> Result<PutLogEventsResponse, ApiError> {
    let (group_name, stream_name) = (request.log_group_name, request.log_stream_name);
    check_stream_name(&stream_name)?;
    let region = logs.region(context).await?;
    let (_, group) = named(context, &region, Some(&group_name), None)?;
    let place = log_stream_named(&region, &group_name, &stream_name)?;
    let events = request.log_events.into_iter().map(|event| InputEvent {
        at: Timestamp(event.timestamp),
        message: event.message,
    });
    let events: Vec<InputEvent> = events.collect();
    let now = logs.events.now();
    let (kept, rejected) = batch::check(&events, now, group.retention_days)
        .map_err(|error| invalid(error.to_string()))?;
    let group = Arc::clone(group.record());
    let scope = context.caller().scope();
    logs.blocking(move |logs| {
        let target = Target {
            scope: &scope,
            group_name: &group_name,
            group: &group,
            stream_name: &stream_name,
            stream: place.stream,
        };
        logs.put(target, events.get(kept).unwrap_or_default())
    })
    .await?;
    Ok(PutLogEventsResponse {
        next_sequence_token: Some(sequence_token(place.stream)),
        rejected_log_events_info: (rejected != Rejected::default()).then(|| told(rejected)),
    })
}

fn told(rejected: Rejected) -> RejectedLogEventsInfo {
    let index = |index: usize| i32::try_from(index).unwrap_or(i32::MAX);
    RejectedLogEventsInfo {
        too_new_log_event_start_index: rejected.too_new_start.map(index),
        too_old_log_event_end_index: rejected.too_old_end.map(index),
        expired_log_event_end_index: rejected.expired_end.map(index),
    }
}

/// GetLogEvents.
pub(super) async fn get_log_events(
    logs: &Logs,
    context: &Context,
    request: GetLogEventsRequest,
) -> Result<GetLogEventsResponse, ApiError> {
    let limit = limit(request.limit, EVENTS_MAX)?;
    check_stream_name(&request.log_stream_name)?;
    let token = request.next_token.as_deref().map(|token| {
        let token = Token::parse(token);
        token.ok_or_else(bad_token)
    });
    let token = token.transpose()?;
    let region = logs.region(context).await?;
    let (name, identifier) = (request.log_group_name, request.log_group_identifier);
    let (group_name, group) = named(context, &region, name.as_deref(), identifier.as_deref())?;
    let place = log_stream_named(&region, group_name, &request.log_stream_name)?;
    let from = request.start_time.map(Timestamp);
    let to = request.end_time.map(Timestamp);
    let span = logs.events.span(group, [place.stream], from, to);
    let bounds = match (token, request.start_from_head) {
        (Some(token), _) => Bounds {
            direction: token.direction,
            position: Some(token.position),
            limit,
        },
        (None, is_from_head) => Bounds {
            direction: match is_from_head {
                Some(true) => Direction::Forward,
                _ => Direction::Backward,
            },
            position: None,
            limit,
        },
    };
    let page = logs.blocking(move |logs| logs.page(&span, bounds, |_| true));
    let page = page.await?;
    let (forward, backward) = Token::after(&page, bounds);
    let events = page.events.into_iter().map(|event| OutputLogEvent {
        timestamp: Some(event.at().0),
        message: Some(Text::from(event.message)),
        ingestion_time: Some(event.ingested.0),
    });
    Ok(GetLogEventsResponse {
        events: events.collect(),
        next_forward_token: Some(Text::display(forward)),
        next_backward_token: Some(Text::display(backward)),
    })
}

/// FilterLogEvents.
pub(super) async fn filter_log_events(
    logs: &Logs,
    context: &Context,
    request: FilterLogEventsRequest,
) -> Result<FilterLogEventsResponse, ApiError> {
    let limit = limit(request.limit, EVENTS_MAX)?;
    let pattern = request.filter_pattern.unwrap_or_default();
    let pattern = FilterPattern::parse(&pattern).map_err(|error| invalid(error.to_string()))?;
    let position = request.next_token.as_deref().map(|token| {
        let position = Position::parse(token);
        position.ok_or_else(bad_token)
    });
    let position = position.transpose()?;
    let region = logs.region(context).await?;
    let (name, identifier) = (request.log_group_name, request.log_group_identifier);
    let (group_name, group) = named(context, &region, name.as_deref(), identifier.as_deref())?;
    let prefix = request.log_stream_name_prefix;
    let streams = match (&*request.log_stream_names, prefix) {
        ([], prefix) => with_prefix(&region, group, &prefix.unwrap_or_default()),
        (_, Some(_)) => {
            return Err(invalid(
                "Either logStreamNames or logStreamNamePrefix can be specified, not both.",
            ));
        }
        (names, None) => {
            if names.len() > STREAMS_MAX {
                return Err(invalid(format!(
                    "1 validation error detected: Value at 'logStreamNames' failed to satisfy \
                     constraint: Member must have length less than or equal to {STREAMS_MAX}"
                )));
            }
            let places = names.iter().map(|name| {
                let place = log_stream_named(&region, group_name, name)?;
                Ok((name.clone(), place.stream))
            });
            places.collect::<Result<_, ApiError>>()?
        }
    };
    let from = request.start_time.map(Timestamp);
    // Events of the end itself are shown, other than by GetLogEvents.
    let to = request.end_time.map(|end| Timestamp(end.saturating_add(1)));
    let uids = streams.iter().map(|(_, uid)| *uid);
    let span = logs.events.span(group, uids, from, to);
    let bounds = Bounds {
        direction: Direction::Forward,
        position,
        limit,
    };
    let page =
        logs.blocking(move |logs| logs.page(&span, bounds, |message| pattern.matches(message)));
    let page = page.await?;
    let last = page.events.last().map(|event| event.position);
    let next_token = last.filter(|_| page.is_cut).map(Text::display);
    let names: std::collections::BTreeMap<LogUid, String> =
        streams.into_iter().map(|(name, uid)| (uid, name)).collect();
    let events = page.events.into_iter().map(|event| FilteredLogEvent {
        log_stream_name: names.get(&event.stream).map(|name| Text::from(&**name)),
        timestamp: Some(event.at().0),
        event_id: Some(Text::display(event.position)),
        message: Some(Text::from(event.message)),
        ingestion_time: Some(event.ingested.0),
    });
    Ok(FilterLogEventsResponse {
        events: events.collect(),
        // Always so since 2020.
        searched_log_streams: Vec::new(),
        next_token,
    })
}

/// The streams of a group whose names start so.
fn with_prefix(region: &RegionState, group: &LogGroup, prefix: &str) -> Vec<(String, LogUid)> {
    let streams = region.log_streams_from(group.uid, prefix);
    let streams = streams.take_while(|(name, _)| name.starts_with(prefix));
    streams
        .map(|(name, stream)| (name.to_owned(), stream.uid))
        .collect()
}

/// Events of a page, and streams that a request may name.
/// Source: CloudWatch Logs API Reference, FilterLogEvents.
const EVENTS_MAX: u16 = 10_000;
const STREAMS_MAX: usize = 100;
