//! GetConsoleOutput.

use enid_model::id::InstanceId;
use enid_model::time::Timestamp;

use crate::context::Context;
use crate::ec2::{Ec2, id};
use crate::error::ApiError;
use crate::generated::ec2::request::GetConsoleOutputRequest;
use crate::generated::ec2::response::GetConsoleOutputResponse;
use crate::wire::params::to_base64;
use crate::wire::text::Text;

/// Where the consoles of instances are read.
pub trait Console: Send + Sync {
    /// The end of what an instance has written to its console; `None` if it has none.
    fn read(&self, id: InstanceId) -> Option<ConsoleOutput>;
}

/// What an instance has written to its console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleOutput {
    /// The last 64 KiB.
    pub bytes: Vec<u8>,
    /// When it was last written to.
    pub at: Timestamp,
}

/// Where no host runs instances, there is nothing to read.
pub(in crate::ec2) struct NoConsole;

impl Console for NoConsole {
    fn read(&self, _id: InstanceId) -> Option<ConsoleOutput> {
        None
    }
}

/// GetConsoleOutput. What is read is always the latest.
pub(in crate::ec2) async fn get_console_output(
    ec2: &Ec2,
    context: &Context,
    request: GetConsoleOutputRequest,
) -> Result<GetConsoleOutputResponse, ApiError> {
    let id = id::parse(&request.instance_id)?;
    let instance = ec2.control.instance(&context.caller(), id).await?;
    let output = ec2.console.read(id);
    Ok(GetConsoleOutputResponse {
        instance_id: Some(Text::display(id)),
        timestamp: Some(
            output
                .as_ref()
                .map_or(instance.launch_time, |output| output.at),
        ),
        output: output.map(|output| to_base64(&output.bytes).into()),
    })
}
