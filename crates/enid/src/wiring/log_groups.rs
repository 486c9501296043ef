//! Log groups of the control plane, for services of the region that log.

use std::sync::Arc;

use enid_control::{Caller, Control};
use enid_model::key::{AccountId, RegionName};
use enid_model::log_group::{LogGroup, LogPlace};
use enid_model::region::Region;
use enid_telemetry::flow::sink::LogSinkError;
use enid_telemetry::log::sink::Directory;
use tokio::runtime::Handle;

/// The groups of all accounts and regions. Whoever asks is on a thread that may block.
pub(crate) struct LogGroups {
    control: Arc<Control>,
    runtime: Handle,
}

impl LogGroups {
    pub(crate) fn new(control: Arc<Control>, runtime: Handle) -> Self {
        Self { control, runtime }
    }
}

impl Directory for LogGroups {
    fn find(
        &self,
        account: AccountId,
        region: &RegionName,
        group: &str,
        stream: &str,
    ) -> Result<(Arc<LogGroup>, LogPlace), LogSinkError> {
        let region = Region::named(region.as_str()).ok_or(LogSinkError::Unknown)?;
        let caller = Caller {
            account,
            region,
            dry_run: false,
            asked: None,
        };
        let found = async {
            loop {
                let place = self.control.log_stream_for(&caller, group, stream).await?;
                let state = self.control.read(&caller).await?;
                // It may have been deleted meanwhile.
                let found = state.log_groups.get(group);
                if let Some(found) = found.filter(|found| found.uid == place.group) {
                    return Ok((Arc::clone(found.record()), place));
                }
            }
        };
        let found: Result<_, enid_control::Error> = self.runtime.block_on(found);
        found.map_err(|error| {
            tracing::warn!(group, stream, %error, "a service cannot log");
            LogSinkError::AccessError
        })
    }
}
