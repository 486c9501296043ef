//! `enid adopt`: the interfaces of an instance, in a network namespace that somebody else made.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use enid_model::id::InstanceId;

use crate::cli::Common;
use crate::cmd::USAGE;
use crate::wiring::socket::{Guest, Request, ask};

pub(crate) fn run(
    common: &Common,
    instance: &str,
    netns: &Path,
    ifname: String,
) -> anyhow::Result<ExitCode> {
    let Some(instance) = instance_id(instance) else {
        return Ok(ExitCode::from(USAGE));
    };
    // A path is this program's, not the daemon's; a name is one of `ip netns` for both.
    let netns = match netns.components().count() {
        1 if !netns.is_absolute() => netns.to_owned(),
        _ => std::path::absolute(netns).with_context(|| format!("resolve {}", netns.display()))?,
    };
    let request = Request::Adopt {
        instance,
        netns,
        ifname,
    };
    let guest: Guest = ask(&common.data_dir()?.socket(), &request)?;
    common.printer().print(&guest, |guest| {
        let netns = guest.netns.as_deref().unwrap_or_else(|| Path::new("?"));
        let mut text = format!("{instance} is in {}", netns.display());
        for it in &guest.interfaces {
            let name = it.name.as_deref().unwrap_or("?");
            let (addresses, mac, mtu) = (it.addresses(), &it.mac, it.mtu);
            text.push_str(&format!(
                "\n  {name} {} {addresses} via {} mac {mac} mtu {mtu}",
                it.eni, it.gateway
            ));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The id of an instance, or a word to the user.
pub(crate) fn instance_id(text: &str) -> Option<InstanceId> {
    let id = text.parse().ok();
    if id.is_none() {
        eprintln!("enid: \"{text}\" is no instance id (i-… and 17 hexadecimal digits)");
    }
    id
}
