//! What the runtime says in environment variables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::{CniError, Code};

/// The variables that count.
#[derive(Debug, Default)]
pub(crate) struct Runtime(BTreeMap<String, String>);

/// Which interface of which container it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) container: String,
    pub(crate) ifname: String,
}

impl Runtime {
    pub(crate) fn of_environment() -> Self {
        let names = ["COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS"];
        let names = names.map(|name| format!("CNI_{name}"));
        let set = names.into_iter().filter_map(|name| {
            let value = std::env::var(&name).ok()?;
            Some((name, value))
        });
        Self(set.collect())
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(variables.into_iter().collect())
    }

    fn value(&self, name: &str) -> Result<&str, CniError> {
        match self.0.get(name).map(String::as_str) {
            None | Some("") => Err(CniError::new(
                Code::Environment,
                format!("{name} is not set"),
            )),
            Some(value) => Ok(value),
        }
    }

    /// What the plugin shall do.
    pub(crate) fn command(&self) -> Result<&str, CniError> {
        self.value("CNI_COMMAND")
    }

    /// Which container it shall do that to.
    pub(crate) fn attachment(&self) -> Result<Attachment, CniError> {
        let container = self.value("CNI_CONTAINERID")?;
        let ifname = self.value("CNI_IFNAME")?;
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !container.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !container.chars().all(is_id)
        {
            let words = format!("CNI_CONTAINERID={container} is no id of a container");
            return Err(CniError::new(Code::Environment, words));
        }
        Ok(Attachment {
            container: container.to_owned(),
            ifname: ifname.to_owned(),
        })
    }

    /// The container's network namespace.
    pub(crate) fn netns(&self) -> Result<PathBuf, CniError> {
        self.value("CNI_NETNS").map(PathBuf::from)
    }

    /// The addresses that are asked for in `CNI_ARGS`, the older way.
    pub(crate) fn addresses(&self) -> Result<Vec<IpAddr>, CniError> {
        let text = self.0.get("CNI_ARGS").map_or("", String::as_str);
        let mut pairs = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let pair = pair.split_once('=').ok_or_else(|| {
                CniError::new(
                    Code::Environment,
                    format!("CNI_ARGS: \"{pair}\" has no value"),
                )
            })?;
            pairs.push(pair);
        }
        let ignores = pairs.iter().any(|(key, value)| {
            *key == "IgnoreUnknown" && matches!(*value, "1" | "true" | "True" | "TRUE")
        });
        let mut addresses = Vec::new();
        for (key, value) in pairs {
            match key {
                "IgnoreUnknown" => {}
                "IP" => addresses.push(value.parse().map_err(|_not_an_address| {
                    let words = format!("CNI_ARGS: IP={value} is no address");
                    CniError::new(Code::Environment, words)
                })?),
                "MAC" => return Err(CniError::new(Code::Environment, refused_mac(value))),
                _ if ignores => {}
                _ => {
                    let words = format!("CNI_ARGS: {key}={value} is not supported");
                    return Err(CniError::new(Code::Environment, words));
                }
            }
        }
        Ok(addresses)
    }
}

/// Why no MAC address can be asked for.
pub(crate) fn refused_mac(mac: &str) -> String {
    format!("mac={mac} is not supported: a network interface has the MAC address that it is given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_by_two_variables() {
        let runtime = Runtime::of([("CNI_CONTAINERID", "a1_b.c-d"), ("CNI_IFNAME", "eth0")]);
        assert_eq!(runtime.attachment().unwrap().container, "a1_b.c-d");
        for id in ["", "-a", "a/b"] {
            let runtime = Runtime::of([("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")]);
            let refused = runtime.attachment().unwrap_err();
            assert_eq!(refused.code, Code::Environment, "{id}");
        }
        assert!(
            Runtime::of([("CNI_CONTAINERID", "a")])
                .attachment()
                .is_err()
        );
    }

    #[test]
    fn arguments_are_known_ignored_or_refused() {
        let asked = |text| Runtime::of([("CNI_ARGS", text)]).addresses();
        assert_eq!(asked("").unwrap(), Vec::<IpAddr>::new());
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        assert_eq!(
            asked("IgnoreUnknown=1;K8S_POD_NAME=p;IP=10.0.0.9").unwrap(),
            [address]
        );
        assert!(asked("K8S_POD_NAME=p").is_err());
        assert!(asked("IgnoreUnknown=1;MAC=02:00:00:00:00:01").is_err());
        assert!(asked("IP=ten").is_err());
    }
}
