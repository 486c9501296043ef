//! The network configuration. What is not known is refused by name.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{CniError, Code};
use crate::runtime::{Attachment, refused_mac};

/// The versions of the specification that the plugin speaks.
pub(crate) const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", LATEST];
/// The latest of them.
pub(crate) const LATEST: &str = "1.1.0";

/// A network: what its containers are as instances.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) version: String,
    pub(crate) name: String,
    /// The subnet that they are in.
    pub(crate) subnet: String,
    /// Their security groups; the VPC's own if there are none.
    pub(crate) security_groups: Vec<String>,
    /// Their type: how many interfaces and addresses they may have.
    pub(crate) instance_type: String,
    pub(crate) region: String,
    /// The daemon's data directory.
    pub(crate) data: PathBuf,
    /// Where the daemon answers, if not where it says itself.
    pub(crate) endpoint: Option<String>,
    /// A file with the access key, if not the daemon's own.
    pub(crate) credentials: Option<PathBuf>,
    /// The addresses that the runtime asks for.
    pub(crate) addresses: Vec<IpAddr>,
    /// What the plugins before this one said, or this one when the container was added.
    pub(crate) previous: Option<Value>,
    /// What GC shall leave alone.
    pub(crate) valid: Option<Vec<Attachment>>,
}

impl Config {
    /// Reads the configuration.
    pub(crate) fn read(input: &[u8]) -> Result<Self, CniError> {
        let decoding = |error: serde_json::Error| {
            CniError::new(Code::Decode, format!("read the configuration: {error}"))
        };
        let mut members: Map<String, Value> = serde_json::from_slice(input).map_err(decoding)?;
        let version = text(&mut members, "cniVersion")?.unwrap_or_else(|| "0.1.0".to_owned());
        if !VERSIONS.contains(&version.as_str()) {
            let known = VERSIONS.join(", ");
            let words = format!("version {version} is not supported, only {known} are");
            return Err(CniError::new(Code::Version, words));
        }
        let previous = members.remove("prevResult");
        let mut addresses = Vec::new();
        if let Some(asked) = members.remove("runtimeConfig") {
            addresses = runtime_config(asked)?;
        }
        let valid = match members.remove("cni.dev/valid-attachments") {
            Some(list) => Some(valid_attachments(list)?),
            None => None,
        };
        let config = Self {
            version,
            name: required(&mut members, "name")?,
            subnet: required(&mut members, "subnet")?,
            security_groups: match members.remove("securityGroups") {
                Some(list) => serde_json::from_value(list).map_err(|error| {
                    CniError::new(Code::Config, format!("securityGroups: {error}"))
                })?,
                None => Vec::new(),
            },
            instance_type: text(&mut members, "instanceType")?
                .unwrap_or_else(|| "m5.large".to_owned()),
            region: text(&mut members, "region")?.unwrap_or_else(|| "us-east-1".to_owned()),
            data: text(&mut members, "data")?
                .unwrap_or_else(|| "/var/lib/enid".to_owned())
                .into(),
            endpoint: text(&mut members, "endpoint")?,
            credentials: text(&mut members, "credentials")?.map(PathBuf::from),
            addresses,
            previous,
            valid,
        };
        let unknown = members
            .iter()
            .find(|(name, _)| !OTHERS.contains(&name.as_str()));
        match unknown {
            Some((name, value)) => Err(unsupported(name, value)),
            None => Ok(config),
        }
    }
}

/// Members that are the runtime's business, or that plugins may ignore.
const OTHERS: [&str; 7] = [
    "args",
    "capabilities",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "type",
];

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, CniError> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(other) => Err(CniError::new(
            Code::Config,
            format!("{name} is {other}, and shall be a text"),
        )),
    }
}

fn required(members: &mut Map<String, Value>, name: &str) -> Result<String, CniError> {
    let value = text(members, name)?;
    value.ok_or_else(|| CniError::new(Code::Config, format!("the configuration lacks {name}")))
}

fn unsupported(name: &str, value: &Value) -> CniError {
    CniError::new(
        Code::Unsupported,
        format!("{name}={value} is not supported"),
    )
}

/// What the runtime asks for by capabilities.
fn runtime_config(asked: Value) -> Result<Vec<IpAddr>, CniError> {
    let Value::Object(members) = asked else {
        return Err(CniError::new(Code::Config, "runtimeConfig is no object"));
    };
    let mut addresses = Vec::new();
    for (name, value) in members {
        let is_empty = match &value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        match name.as_str() {
            // Nothing is asked for.
            _ if is_empty => {}
            "ips" => {
                let ips: Vec<String> = serde_json::from_value(value)
                    .map_err(|error| CniError::new(Code::Config, format!("ips: {error}")))?;
                for ip in ips {
                    let address = ip.split('/').next().unwrap_or_default();
                    addresses.push(address.parse().map_err(|_not_an_address| {
                        CniError::new(Code::Config, format!("ips: {ip} is no address"))
                    })?);
                }
            }
            "mac" => {
                let mac = value.as_str().unwrap_or_default();
                return Err(CniError::new(Code::Unsupported, refused_mac(mac)));
            }
            _ => return Err(unsupported(&format!("runtimeConfig.{name}"), &value)),
        }
    }
    Ok(addresses)
}

fn valid_attachments(list: Value) -> Result<Vec<Attachment>, CniError> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "containerID")]
        container: String,
        ifname: String,
    }
    let entries: Vec<Entry> = serde_json::from_value(list).map_err(|error| {
        CniError::new(Code::Decode, format!("cni.dev/valid-attachments: {error}"))
    })?;
    let entries = entries.into_iter().map(|entry| Attachment {
        container: entry.container,
        ifname: entry.ifname,
    });
    Ok(entries.collect())
}

/// The families of addresses apart: the first IPv4 one is the primary.
pub(crate) fn by_family(addresses: &[IpAddr]) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let unique: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let mut ordered: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if unique.contains(address) && !ordered.contains(address) {
            ordered.push(*address);
        }
    }
    ordered.into_iter().partition(IpAddr::is_ipv4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<Config, CniError> {
        let text = format!(
            r#"{{"cniVersion":"1.1.0","name":"n","type":"enid-cni","subnet":"subnet-1"{more}}}"#
        );
        Config::read(text.as_bytes())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = read("").unwrap();
        assert_eq!(config.data, PathBuf::from("/var/lib/enid"));
        assert_eq!(config.region, "us-east-1");
        assert!(config.addresses.is_empty() && config.security_groups.is_empty());
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let code = |more| read(more).unwrap_err().code;
        assert_eq!(code(r#","bridge":"cni0""#), Code::Unsupported);
        assert!(
            read(r#","bridge":"cni0""#)
                .unwrap_err()
                .to_string()
                .contains("bridge")
        );
        assert_eq!(code(r#","ipam":{"type":"host-local"}"#), Code::Unsupported);
        assert_eq!(
            code(r#","runtimeConfig":{"mac":"02:00:00:00:00:01"}"#),
            Code::Unsupported
        );
        let ports = r#","runtimeConfig":{"portMappings":[{"hostPort":1}]}"#;
        assert_eq!(code(ports), Code::Unsupported);
        assert_eq!(code(r#","region":7"#), Code::Config);
        assert!(read(r#","runtimeConfig":{"portMappings":[]},"args":{"x":1}"#).is_ok());
    }

    #[test]
    fn versions_and_garbage() {
        let old = Config::read(br#"{"cniVersion":"0.3.1","name":"n","subnet":"s"}"#);
        assert_eq!(old.unwrap_err().code, Code::Version);
        assert_eq!(Config::read(b"{").unwrap_err().code, Code::Decode);
        let nameless = Config::read(br#"{"cniVersion":"1.0.0","subnet":"s"}"#);
        assert_eq!(nameless.unwrap_err().code, Code::Config);
    }

    #[test]
    fn addresses_and_attachments_are_read() {
        let config = read(concat!(
            r#","runtimeConfig":{"ips":["10.0.0.9/24","2001:db8::9","10.0.0.9"]}"#,
            r#","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]"#,
        ));
        let config = config.unwrap();
        let (ipv4, ipv6) = by_family(&config.addresses);
        assert_eq!(ipv4, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(ipv6, ["2001:db8::9".parse::<IpAddr>().unwrap()]);
        assert_eq!(config.valid.unwrap()[0].container, "a");
        assert!(read(r#","runtimeConfig":{"ips":["ten"]}"#).is_err());
    }
}
