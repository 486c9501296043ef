//! `enid-cni`: the CNI plugin (specification 1.1.0). A container is an instance of a VPC.
//!
//! ADD launches an instance from the image `enid-netns` and has the daemon adopt the container's
//! namespace with it; DEL terminates it; GC terminates those that no runtime knows. What the plugin
//! made it finds again by tags, so that it keeps nothing itself. Everything else, such as further
//! addresses, interfaces or rules, is done to that instance through the AWS API.
//!
//! The runtime's words are environment variables and a network configuration on standard input; the
//! answer is JSON on standard output, and so is an error.

#![forbid(unsafe_code)]

mod agent;
mod command;
mod config;
mod ec2;
mod error;
mod outcome;
mod runtime;
mod sigv4;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::{LATEST, VERSIONS};
use crate::error::{CniError, Code};
use crate::runtime::Runtime;

fn main() -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut input);
    let read = read.map_err(|error| CniError::new(Code::Io, format!("read the input: {error}")));
    let runtime = Runtime::of_environment();
    let (answer, code) = match read.and_then(|_| answer(&runtime, &input)) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => (Some(error.to_json(version_of(&input))), ExitCode::FAILURE),
    };
    if let Some(answer) = answer {
        // A runtime that does not read any more has given up.
        let _ = writeln!(std::io::stdout(), "{answer}");
    }
    code
}

/// What the runtime is told; nothing if it is only told that it is done.
fn answer(runtime: &Runtime, input: &[u8]) -> Result<Option<Value>, CniError> {
    let name = runtime.command()?;
    if name == "VERSION" {
        return Ok(Some(json!({
            "cniVersion": version_of(input),
            "supportedVersions": VERSIONS,
        })));
    }
    let config = config::Config::read(input)?;
    match name {
        "ADD" => command::add(runtime, &config).map(Some),
        "CHECK" => command::check(runtime, &config).map(|()| None),
        "DEL" => command::delete(runtime, &config).map(|()| None),
        "GC" => command::collect(&config).map(|()| None),
        "STATUS" => command::status(&config).map(|()| None),
        _ => Err(CniError::new(
            Code::Environment,
            format!("CNI_COMMAND={name} is no command of this plugin"),
        )),
    }
}

/// The version that a configuration is in, as far as it can be read: errors are in it as well.
fn version_of(input: &[u8]) -> String {
    let config = serde_json::from_slice::<Value>(input).unwrap_or_default();
    let version = config.get("cniVersion").and_then(Value::as_str);
    version.unwrap_or(LATEST).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_without_a_network() {
        let runtime = Runtime::of([("CNI_COMMAND", "VERSION")]);
        let told = answer(&runtime, br#"{"cniVersion":"1.0.0"}"#).unwrap();
        let told = told.unwrap();
        assert_eq!(told["cniVersion"], "1.0.0");
        assert_eq!(
            told["supportedVersions"],
            json!(["0.4.0", "1.0.0", "1.1.0"])
        );
    }

    #[test]
    fn a_command_that_is_none_is_refused() {
        let input = br#"{"cniVersion":"1.1.0","name":"n","type":"enid-cni","subnet":"subnet-1"}"#;
        let refused = answer(&Runtime::of([("CNI_COMMAND", "UP")]), input);
        assert_eq!(refused.unwrap_err().code, Code::Environment);
        let missing = answer(&Runtime::of([]), input);
        assert_eq!(missing.unwrap_err().code, Code::Environment);
    }
}
