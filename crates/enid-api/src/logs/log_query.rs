//! Queries of Logs Insights.

use std::collections::HashMap;
use std::sync::Arc;

use enid_model::log_group::LogPlace;
use enid_model::time::Timestamp;
use enid_telemetry::log::query::plan::Plan;
use enid_telemetry::log::query::registry::{Query, Question, Status};

use super::{Logs, group_arn, identified, invalid, limit, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::{
    DescribeQueriesRequest, GetQueryResultsRequest, StartQueryRequest, StopQueryRequest,
};
use crate::generated::logs::response::{
    DescribeQueriesResponse, GetQueryResultsResponse, QueryInfo, QueryStatistics, ResultField,
    StartQueryResponse, StopQueryResponse,
};
use crate::wire::text::Text;

/// StartQuery.
pub(super) async fn start_query(
    logs: &Logs,
    context: &Context,
    request: StartQueryRequest,
) -> Result<StartQueryResponse, ApiError> {
    let limit = match request.limit {
        Some(wanted) => Some(limit(Some(wanted), ROWS_MAX)?),
        None => None,
    };
    if request.start_time > request.end_time || request.start_time < 0 {
        return Err(invalid(
            "The query's start time must not be after its end time, nor negative.",
        ));
    }
    let now = logs.events.now();
    let plan = Plan::parse(&request.query_string, now).map_err(|error| {
        // The JSON of AWS has the place beside the message, which SDKs do not show.
        let (start, end) = (error.start, error.end);
        let message = format!("{error} (characters {start} to {end})");
        ApiError::new("MalformedQueryException", 400, message)
    })?;
    let names = groups_of(context, &request)?;
    let region = logs.region(context).await?;
    let (mut from, mut streams) = (Timestamp(i64::MAX), HashMap::new());
    for name in &names {
        let (_, group) = super::named(context, &region, Some(name), None)?;
        from = from.min(logs.events.span(group, [], None, None).from);
        for (stream, found) in region.log_streams_from(group.uid, "") {
            let place = LogPlace {
                group: group.uid,
                stream: found.uid,
            };
            let log = format!("{}:{name}", context.account);
            streams.insert(place.to_string(), (stream.to_owned(), log));
        }
    }
    let second = |seconds: i64| seconds.saturating_mul(1000);
    let last = Timestamp(now.0.saturating_add(DAY_MS));
    let question = Question {
        scope: context.caller().scope(),
        text: request.query_string,
        plan,
        groups: names,
        streams,
        from: from.max(Timestamp(second(request.start_time))),
        // The end's own second is asked for, too.
        to: last.min(Timestamp(second(request.end_time.saturating_add(1)))),
        limit,
    };
    let id = context.request_id.to_string();
    let query = logs.queries.start(id, question, now).map_err(|_too_many| {
        let words = "Account maximum query concurrency limit of 30 reached.";
        ApiError::new("LimitExceededException", 400, words.to_owned())
    })?;
    let id = Text::from(&*query.id);
    let events = Arc::clone(&logs.events);
    tokio::task::spawn_blocking(move || query.run(&events));
    Ok(StartQueryResponse { query_id: Some(id) })
}

/// Rows of an outcome, groups of a query.
/// Source: CloudWatch Logs API Reference, StartQuery.
const ROWS_MAX: u16 = 10_000;
const GROUPS_MAX: usize = 50;
/// No event is later than that.
const DAY_MS: i64 = 86_400_000;

/// The names of the groups that a query is of, which a request tells in one of three ways.
fn groups_of(context: &Context, request: &StartQueryRequest) -> Result<Vec<String>, ApiError> {
    let name = request.log_group_name.iter();
    let mut names: Vec<String> = name.chain(&request.log_group_names).cloned().collect();
    let ways = [
        request.log_group_name.is_some(),
        !request.log_group_names.is_empty(),
        !request.log_group_identifiers.is_empty(),
    ];
    if ways.into_iter().filter(|is_used| *is_used).count() != 1 {
        return Err(invalid(
            "Exactly one of logGroupName, logGroupNames and logGroupIdentifiers must be specified.",
        ));
    }
    for identifier in &request.log_group_identifiers {
        names.push(identified(context, identifier)?.to_owned());
    }
    names.sort_unstable();
    names.dedup();
    if names.len() > GROUPS_MAX {
        return Err(invalid(format!(
            "A query is of {GROUPS_MAX} log groups at most."
        )));
    }
    Ok(names)
}

/// The ARNs of the groups, for the policy of the key.
pub(super) fn arns(context: &Context, request: &StartQueryRequest) -> Vec<String> {
    let names = groups_of(context, request).unwrap_or_default();
    let arns = names.iter().map(|name| group_arn(context, name));
    arns.map(|arn| format!("{arn}:log-stream:")).collect()
}

fn find(logs: &Logs, context: &Context, id: &str) -> Result<Arc<Query>, ApiError> {
    let found = logs.queries.find(&context.caller().scope(), id);
    found.ok_or_else(|| {
        let words = "The specified query does not exist.";
        ApiError::new("ResourceNotFoundException", 400, words.to_owned())
    })
}

/// StopQuery.
pub(super) async fn stop_query(
    logs: &Logs,
    context: &Context,
    request: StopQueryRequest,
) -> Result<StopQueryResponse, ApiError> {
    let query = find(logs, context, &request.query_id)?;
    if !query.stop() {
        return Err(invalid(format!(
            "Query with ID {} is not running.",
            query.id
        )));
    }
    Ok(StopQueryResponse {
        success: Some(true),
    })
}

/// GetQueryResults.
pub(super) async fn get_query_results(
    logs: &Logs,
    context: &Context,
    request: GetQueryResultsRequest,
) -> Result<GetQueryResultsResponse, ApiError> {
    let query = find(logs, context, &request.query_id)?;
    let progress = query.progress();
    let rows = progress.outcome.rows.into_iter().map(|row| {
        let fields = row.into_iter().map(|(field, value)| ResultField {
            field: Some(Text::from(field)),
            value: Some(Text::from(value)),
        });
        fields.collect()
    });
    Ok(GetQueryResultsResponse {
        query_language: Some(LANGUAGE.into()),
        results: rows.collect(),
        statistics: Some(QueryStatistics {
            records_matched: Some(float(progress.outcome.matched)),
            records_scanned: Some(float(progress.scanned)),
            bytes_scanned: Some(float(progress.bytes)),
            log_groups_scanned: Some(float(query.question.groups.len() as u64)),
        }),
        status: Some(word(progress.status).into()),
    })
}

/// DescribeQueries.
pub(super) async fn describe_queries(
    logs: &Logs,
    context: &Context,
    request: DescribeQueriesRequest,
) -> Result<DescribeQueriesResponse, ApiError> {
    let limit = limit(request.max_results, DESCRIBED_MAX)?;
    let queries = logs.queries.list(&context.caller().scope());
    let shown = queries.into_iter().filter_map(|query| {
        let progress = query.progress();
        let (group, status) = (&request.log_group_name, &request.status);
        let is_shown = group
            .as_ref()
            .is_none_or(|it| query.question.groups.contains(it))
            && status.as_ref().is_none_or(|it| it == word(progress.status));
        is_shown.then(|| QueryInfo {
            query_language: Some(LANGUAGE.into()),
            query_id: Some(Text::from(&*query.id)),
            query_string: Some(Text::from(&*query.question.text)),
            status: Some(word(progress.status).into()),
            create_time: Some(query.started_at.0),
            log_group_name: query.question.groups.first().map(|it| Text::from(&**it)),
            query_duration: Some(progress.duration_ms),
            bytes_scanned: Some(float(progress.bytes)),
        })
    });
    // The latest first, so a place in the list is not the same for long; it is as good as AWS's.
    let keyed = (0..).map(|place: u32| format!("{place:08}")).zip(shown);
    let (queries, next_token) = page::take(keyed, request.next_token.as_deref(), limit)?;
    Ok(DescribeQueriesResponse {
        queries,
        next_token,
    })
}

const DESCRIBED_MAX: u16 = 1000;
const LANGUAGE: &str = "CWLI";

fn word(status: Status) -> &'static str {
    match status {
        Status::Cancelled => "Cancelled",
        Status::Complete => "Complete",
        Status::Failed => "Failed",
        Status::Running => "Running",
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
