//! The commands of the specification.

use serde_json::Value;

use crate::agent::Agent;
use crate::config::Config;
use crate::ec2::Ec2;
use crate::error::{CniError, Code};
use crate::outcome;
use crate::runtime::{Attachment, Runtime};
use crate::sigv4::digest;

/// ADD: the container becomes an instance. The same again answers the same.
pub(crate) fn add(runtime: &Runtime, config: &Config) -> Result<Value, CniError> {
    let attachment = runtime.attachment()?;
    let netns = runtime.netns()?;
    let mut addresses = config.addresses.clone();
    addresses.extend(runtime.addresses()?);
    let ec2 = Ec2::of(config)?;
    let agent = Agent(&config.data);
    // Before an instance is launched that nobody could adopt.
    agent.is_there()?;
    let known = ec2.instances(&config.name, Some(&attachment))?;
    let stale: Vec<String> = known
        .iter()
        .filter(|instance| instance.is_left() && !instance.is_running())
        .map(|instance| instance.id.clone())
        .collect();
    // The container's last life ended without a DEL.
    ec2.terminate(&stale)?;
    let instance = match known.iter().find(|instance| instance.is_running()) {
        Some(instance) => instance.id.clone(),
        None => {
            // A token names one instance for ever; a container that comes back is another one.
            let lives = known.len();
            let Attachment { container, ifname } = &attachment;
            let token = digest(&format!("{}/{container}/{ifname}/{lives}", config.name));
            ec2.run_instance(config, &attachment, &addresses, &token)?
        }
    };
    let added = agent
        .adopt(&instance, &netns, &attachment.ifname)
        .and_then(|guest| {
            let previous = config.previous.as_ref();
            outcome::result(
                &config.version,
                &guest,
                &netns,
                &attachment.ifname,
                previous,
            )
        });
    if added.is_err() {
        // The first failure is the one to report; what is left is the next DEL's or GC's.
        let _ = ec2.terminate(&[instance]);
    }
    added
}

/// DEL: the instance goes. One that is gone, or a namespace that is, is as it should be.
pub(crate) fn delete(runtime: &Runtime, config: &Config) -> Result<(), CniError> {
    let attachment = runtime.attachment()?;
    let ec2 = Ec2::of(config)?;
    let known = ec2.instances(&config.name, Some(&attachment))?;
    let left = known.into_iter().filter(|instance| instance.is_left());
    let left: Vec<String> = left.map(|instance| instance.id).collect();
    ec2.terminate(&left)
}

/// CHECK: the container is as ADD said.
pub(crate) fn check(runtime: &Runtime, config: &Config) -> Result<(), CniError> {
    let attachment = runtime.attachment()?;
    let netns = runtime.netns()?;
    let previous = config
        .previous
        .as_ref()
        .ok_or_else(|| CniError::new(Code::Config, "CHECK needs prevResult"))?;
    let known = Ec2::of(config)?.instances(&config.name, Some(&attachment))?;
    let instance = known.iter().find(|instance| instance.is_running());
    let instance = instance.ok_or_else(|| {
        let words = format!(
            "container {} has no instance that runs",
            attachment.container
        );
        CniError::new(Code::Container, words)
    })?;
    let guest = Agent(&config.data).inspect(&instance.id)?;
    outcome::compare(&guest, &netns, &attachment.ifname, previous)
}

/// GC: instances of this network go whose containers the runtime does not know.
pub(crate) fn collect(config: &Config) -> Result<(), CniError> {
    // Without the list nothing would be valid, and every container would lose its interfaces.
    let valid = config
        .valid
        .as_ref()
        .ok_or_else(|| CniError::new(Code::Config, "GC needs cni.dev/valid-attachments"))?;
    let ec2 = Ec2::of(config)?;
    let known = ec2.instances(&config.name, None)?;
    let left = known
        .into_iter()
        .filter(|instance| instance.is_left() && !valid.contains(&instance.attachment));
    let left: Vec<String> = left.map(|instance| instance.id).collect();
    ec2.terminate(&left)
}

/// STATUS: an ADD could be served.
pub(crate) fn status(config: &Config) -> Result<(), CniError> {
    let ready = || {
        Agent(&config.data).is_there()?;
        Ec2::of(config)?.require_subnet(&config.subnet)
    };
    ready().map_err(|error| error.into_code(Code::Unavailable))
}
