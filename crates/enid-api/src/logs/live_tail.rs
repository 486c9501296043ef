//! StartLiveTail: events as they are stored, in a stream that goes on until its client has enough.

use std::collections::VecDeque;
use std::time::Duration;

use enid_model::uuid::Uuid;
use enid_telemetry::log::pattern::FilterPattern;
use enid_telemetry::log::tail::{Streams, Tail, TooManyTails, Update, Wanted};
use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Logs, group_arn, identified, invalid, named};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::logs::request::StartLiveTailRequest;
use crate::generated::logs::response::{
    LiveTailSessionLogEvent, LiveTailSessionMetadata, LiveTailSessionStart, LiveTailSessionUpdate,
    StartLiveTailResponse,
};
use crate::wire::event_stream::{self, EventStream};
use crate::wire::text::Text;

// Source of all: CloudWatch Logs API Reference, StartLiveTail.
const GROUPS_MAX: usize = 10;
const STREAMS_MAX: usize = 100;
const PATTERN_MAX: usize = 1024;
/// An update comes every second, with or without events.
const UPDATE_EVERY: Duration = Duration::from_secs(1);
/// A session is over after three hours.
const SESSION: Duration = Duration::from_secs(3 * 3600);
/// Updates that wait for a slow client; of more, the oldest is given up.
const WAITING_MAX: usize = 10;

/// StartLiveTail.
pub(super) async fn start_live_tail(
    logs: &Logs,
    context: &Context,
    request: StartLiveTailRequest,
) -> Result<StartLiveTailResponse, ApiError> {
    let identifiers = &request.log_group_identifiers;
    count(identifiers.len(), GROUPS_MAX, "logGroupIdentifiers")?;
    let (names, prefixes) = (&request.log_stream_names, &request.log_stream_name_prefixes);
    count(names.len().max(1), STREAMS_MAX, "logStreamNames")?;
    count(prefixes.len().max(1), STREAMS_MAX, "logStreamNamePrefixes")?;
    let streams = match (names.is_empty(), prefixes.is_empty()) {
        (true, true) => Streams::All,
        (false, false) => {
            return Err(invalid(
                "logStreamNames and logStreamNamePrefixes cannot both be specified.",
            ));
        }
        _ if identifiers.len() > 1 => {
            return Err(invalid(
                "logStreamNames and logStreamNamePrefixes can be specified with one log group only.",
            ));
        }
        (false, true) => Streams::Named(names.clone()),
        (true, false) => Streams::Prefixed(prefixes.clone()),
    };
    let pattern = request.log_event_filter_pattern.clone().unwrap_or_default();
    if pattern.chars().count() > PATTERN_MAX {
        return Err(invalid(format!(
            "logEventFilterPattern must not be longer than {PATTERN_MAX} characters."
        )));
    }
    let pattern = FilterPattern::parse(&pattern).map_err(|error| invalid(error.to_string()))?;
    let region = logs.region(context).await?;
    let mut groups = Vec::new();
    for identifier in identifiers {
        if !identifier.starts_with("arn:") || identifier.ends_with('*') {
            return Err(invalid(format!(
                "The log group identifier {identifier} is not the ARN of a log group without an asterisk at its end."
            )));
        }
        let name = identified(context, identifier)?;
        named(context, &region, Some(name), None)?;
        groups.push(name.to_owned());
    }
    let wanted = Wanted {
        scope: context.caller().scope(),
        groups: groups.into_iter().collect(),
        streams,
        pattern,
    };
    let session = Sha256::digest(format!("live tail {}", context.request_id));
    let part = |at: usize| {
        let bytes = session.get(at..at + 8);
        u64::from_be_bytes(
            bytes
                .and_then(|part| part.try_into().ok())
                .unwrap_or_default(),
        )
    };
    let tail = logs.tails.start(wanted, part(16));
    let tail = tail.map_err(|TooManyTails| {
        let words = "The maximum number of concurrent Live Tail sessions has been reached.";
        ApiError::new("LimitExceededException", 400, words.to_owned())
    })?;
    let start = LiveTailSessionStart {
        request_id: Some(Text::display(context.request_id)),
        session_id: Some(Text::display(Uuid::from_random(part(0), part(8)))),
        log_group_identifiers: identifiers.iter().map(Text::from).collect(),
        log_stream_names: names.iter().map(Text::from).collect(),
        log_stream_name_prefixes: prefixes.iter().map(Text::from).collect(),
        log_event_filter_pattern: request.log_event_filter_pattern.map(Text::from),
    };
    let (sender, messages) = mpsc::channel(1);
    let first = [
        event_stream::initial_response(),
        event_stream::event("sessionStart", &start),
    ];
    let session = Session {
        tail,
        context: context.clone(),
        waiting: VecDeque::new(),
    };
    tokio::spawn(session.run(first, sender));
    Ok(StartLiveTailResponse {
        response_stream: EventStream::new(messages),
    })
}

fn count(number: usize, most: usize, member: &str) -> Result<(), ApiError> {
    match (1..=most).contains(&number) {
        true => Ok(()),
        false => Err(invalid(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: \
             Member must have length between 1 and {most}"
        ))),
    }
}

/// A session under way.
struct Session {
    tail: Tail,
    context: Context,
    /// Messages that the client has not taken.
    waiting: VecDeque<Bytes>,
}

impl Session {
    /// Sends what comes until the client goes away or the time is over.
    async fn run(mut self, first: [Bytes; 2], sender: mpsc::Sender<Bytes>) {
        for message in first {
            if sender.send(message).await.is_err() {
                return;
            }
        }
        let begun = Instant::now();
        let mut ticks = interval_at(begun + UPDATE_EVERY, UPDATE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                permit = sender.reserve(), if !self.waiting.is_empty() => match (permit, self.waiting.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(message),
                    _ => return,
                },
                () = sender.closed() => return,
                now = ticks.tick() => {
                    if now - begun >= SESSION {
                        let words = "The Live Tail session has been open for three hours.";
                        self.waiting.push_back(event_stream::exception("SessionTimeoutException", words));
                        break;
                    }
                    let update = self.update();
                    self.wait(update);
                }
            }
        }
        for message in self.waiting {
            if sender.send(message).await.is_err() {
                return;
            }
        }
    }

    /// Has an update wait.
    fn wait(&mut self, message: Bytes) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
    }

    fn update(&self) -> Bytes {
        let Update { events, is_sampled } = self.tail.take();
        let events = events.into_iter().map(|event| LiveTailSessionLogEvent {
            log_stream_name: Some(event.stream.into()),
            log_group_identifier: Some(group_arn(&self.context, &event.group).into()),
            message: Some(event.message.into()),
            timestamp: Some(event.at.0),
            ingestion_time: Some(event.ingested.0),
        });
        let update = LiveTailSessionUpdate {
            session_metadata: Some(LiveTailSessionMetadata {
                sampled: Some(is_sampled),
            }),
            session_results: events.collect(),
        };
        event_stream::event("sessionUpdate", &update)
    }
}
