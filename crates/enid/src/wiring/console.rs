//! The consoles of this host's instances, for the front door.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use enid_api::ec2::{Console, ConsoleOutput};
use enid_host::sandbox::Sandbox;
use enid_model::id::InstanceId;
use enid_model::time::Timestamp;

use crate::paths::DataDir;

/// Reads consoles from the data directory.
pub(crate) struct HostConsole {
    data_dir: PathBuf,
}

impl HostConsole {
    pub(crate) fn new(own: &DataDir) -> Self {
        Self {
            data_dir: own.path().to_owned(),
        }
    }
}

impl Console for HostConsole {
    fn read(&self, id: InstanceId) -> Option<ConsoleOutput> {
        let sandbox = Sandbox::of(&self.data_dir, id);
        let bytes = enid_host::console::read(sandbox.dir()).ok()?;
        let written = enid_host::console::written(sandbox.dir()).ok()?;
        let at = written.duration_since(UNIX_EPOCH).ok()?;
        Some(ConsoleOutput {
            bytes,
            at: Timestamp(i64::try_from(at.as_millis()).ok()?),
        })
    }
}
