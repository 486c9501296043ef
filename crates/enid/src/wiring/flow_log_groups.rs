//! Flow logs that go to log groups: groups and streams are made as they are needed, and events are stored as any
//! others are, so that filters, subscriptions and queries see them.

use std::sync::Arc;

use enid_control::{Caller, Control, CreateLogGroup, Error};
use enid_model::Tags;
use enid_model::key::Scope;
use enid_model::log_group::{LogGroup, LogPlace, LogUid};
use enid_model::region::Region;
use enid_telemetry::flow::sink::{LogDelivery, LogSink, LogSinkError};
use enid_telemetry::log::batch::InputEvent;
use enid_telemetry::log::logs::{Logs, Target};
use enid_telemetry::store::Write;
use tokio::runtime::Handle;

/// The log groups of this daemon.
pub(crate) struct LogGroups {
    control: Arc<Control>,
    logs: Arc<Logs>,
    /// Where operations of the control plane run: flow logs have a thread of their own.
    runtime: Handle,
}

impl LogGroups {
    pub(crate) fn new(control: Arc<Control>, logs: Arc<Logs>, runtime: Handle) -> Self {
        Self {
            control,
            logs,
            runtime,
        }
    }

    /// The group and the stream, if they are there.
    fn find(&self, delivery: &LogDelivery) -> Option<(LogGroup, LogUid)> {
        let state = self.control.store().state();
        let region = state.region(&scope(delivery))?;
        let group = region.log_groups.get(&*delivery.group)?;
        let mut streams = region.log_streams_from(group.uid, &delivery.stream);
        let (name, stream) = streams.next()?;
        (name == delivery.stream).then(|| (LogGroup::clone(group), stream.uid))
    }

    /// Makes what is missing of the group and the stream.
    fn make(&self, delivery: &LogDelivery) -> Result<(), LogSinkError> {
        let region = Region::named(delivery.region.as_str()).ok_or(LogSinkError::AccessError)?;
        let caller = Caller {
            account: delivery.account,
            region,
            dry_run: false,
            asked: None,
        };
        let group = CreateLogGroup {
            name: delivery.group.clone(),
            is_protected: false,
            tags: Tags::default(),
        };
        let made = self
            .runtime
            .block_on(self.control.create_log_group(&caller, &group));
        done_or_there(made)?;
        let (group, stream) = (&delivery.group, &delivery.stream);
        let made = self.control.create_log_stream(&caller, group, stream);
        done_or_there(self.runtime.block_on(made))
    }
}

impl LogSink for LogGroups {
    fn prepare(&self, delivery: &LogDelivery) -> Result<Write, LogSinkError> {
        let found = match self.find(delivery) {
            Some(found) => found,
            None => {
                self.make(delivery)?;
                self.find(delivery).ok_or(LogSinkError::AccessError)?
            }
        };
        let place = LogPlace {
            group: found.0.uid,
            stream: found.1,
        };
        let prepared = self.logs.prepare(place, &events(delivery), self.logs.now());
        prepared.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "records of flow logs cannot be log events"
            );
            LogSinkError::Unknown
        })
    }

    fn stored(&self, delivery: &LogDelivery, first_arrival: u64) {
        // A group that was deleted meanwhile has no filters either.
        let Some((group, stream)) = self.find(delivery) else {
            return;
        };
        let target = Target {
            scope: &scope(delivery),
            group_name: &delivery.group,
            group: &group,
            stream_name: &delivery.stream,
            stream,
        };
        self.logs
            .tell(target, &events(delivery), self.logs.now(), first_arrival);
    }
}

fn scope(delivery: &LogDelivery) -> Scope {
    Scope {
        account: delivery.account,
        region: delivery.region.clone(),
    }
}

fn events(delivery: &LogDelivery) -> Vec<InputEvent> {
    let events = delivery.events.iter();
    let events = events.map(|(at, message)| InputEvent {
        at: *at,
        message: message.clone(),
    });
    events.collect()
}

/// Somebody else may have made it just now.
fn done_or_there(made: Result<(), Error>) -> Result<(), LogSinkError> {
    match made {
        Ok(()) => Ok(()),
        Err(error) => match error.code() {
            "ResourceAlreadyExistsException" => Ok(()),
            "LimitExceededException" => Err(LogSinkError::RateLimited),
            _ => Err(LogSinkError::AccessError),
        },
    }
}
