//! What the runtime is told of a container's interface, in the version that it speaks.

use std::path::Path;

use serde_json::{Value, json};

use crate::agent::{Guest, Interface};
use crate::error::{CniError, Code};

/// The result of ADD. What plugins before this one said stays in front.
pub(crate) fn result(
    version: &str,
    guest: &Guest,
    netns: &Path,
    ifname: &str,
    previous: Option<&Value>,
) -> Result<Value, CniError> {
    let interface = interface_of(guest, ifname)?;
    let list = |name: &str| {
        let before = previous.and_then(|previous| previous.get(name));
        before
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut interfaces = list("interfaces");
    let own = interfaces.len() + 1;
    interfaces.push(json!({"name": interface.device, "mac": interface.router_mac}));
    interfaces.push(json!({"name": ifname, "mac": interface.mac, "sandbox": netns}));
    if version == "1.1.0" {
        for interface_json in interfaces.iter_mut().skip(own - 1) {
            interface_json["mtu"] = interface.mtu.into();
        }
    }
    let mut ips = list("ips");
    for address in &interface.addresses {
        let is_ipv6 = address.contains(':');
        let mut ip = json!({"address": address, "interface": own});
        let gateway = match is_ipv6 {
            true => interface.ipv6_gateway.as_deref(),
            false => Some(interface.gateway.as_str()),
        };
        if let Some(gateway) = gateway {
            ip["gateway"] = gateway.into();
        }
        // Until 1.0.0 each address said its family.
        if version == "0.4.0" {
            ip["version"] = if is_ipv6 { "6" } else { "4" }.into();
        }
        ips.push(ip);
    }
    let mut routes = list("routes");
    routes.push(json!({"dst": "0.0.0.0/0", "gw": interface.gateway}));
    if let Some(gateway) = &interface.ipv6_gateway {
        routes.push(json!({"dst": "::/0", "gw": gateway}));
    }
    let mut dns = json!({"nameservers": guest.nameservers});
    if let Some(search) = &guest.search {
        let domains: Vec<&str> = search.split_whitespace().collect();
        dns["search"] = json!(domains);
    }
    Ok(json!({
        "cniVersion": version,
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": dns,
    }))
}

/// Whether the interface is what an earlier ADD said; in words if not.
pub(crate) fn compare(
    guest: &Guest,
    netns: &Path,
    ifname: &str,
    previous: &Value,
) -> Result<(), CniError> {
    let interface = interface_of(guest, ifname)?;
    let differs = |words: String| Err(CniError::new(Code::Container, words));
    if guest.netns.as_deref() != Some(netns) {
        return differs(format!("its interfaces are not in {}", netns.display()));
    }
    let list = |name: &str| previous.get(name).and_then(Value::as_array);
    let said = list("interfaces").into_iter().flatten().find(|it| {
        it.get("name").and_then(Value::as_str) == Some(ifname) && it.get("sandbox").is_some()
    });
    let Some(said) = said else {
        return differs(format!(
            "prevResult has no interface {ifname} in a container"
        ));
    };
    let mac = said.get("mac").and_then(Value::as_str).unwrap_or_default();
    if !mac.eq_ignore_ascii_case(&interface.mac) {
        return differs(format!("{ifname} has the MAC address {}", interface.mac));
    }
    for ip in list("ips").into_iter().flatten() {
        let address = ip
            .get("address")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let index = ip.get("interface").and_then(Value::as_u64);
        let of = index.and_then(|index| list("interfaces")?.get(usize::try_from(index).ok()?));
        if of == Some(said) && !interface.addresses.iter().any(|own| own == address) {
            return differs(format!("{ifname} does not have the address {address}"));
        }
    }
    Ok(())
}

fn interface_of<'a>(guest: &'a Guest, ifname: &str) -> Result<&'a Interface, CniError> {
    let mut interfaces = guest.interfaces.iter();
    let found = interfaces.find(|interface| interface.name.as_deref() == Some(ifname));
    found.ok_or_else(|| {
        let words = format!("the instance has no interface {ifname} in a namespace");
        CniError::new(Code::Container, words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> Guest {
        serde_json::from_value(json!({
            "netns": "/run/netns/a",
            "nameservers": ["10.0.0.2"],
            "search": "ec2.internal corp",
            "interfaces": [{
                "device": "eni0123", "name": "eth0", "mac": "02:00:00:00:00:01",
                "router_mac": "02:00:00:00:00:02", "mtu": 9001,
                "addresses": ["10.0.0.5/24", "2001:db8::5/128"],
                "gateway": "10.0.0.1", "ipv6_gateway": "fe80:ec2::1",
            }],
        }))
        .unwrap()
    }

    #[test]
    fn results_are_in_the_version_of_the_runtime() {
        let netns = Path::new("/run/netns/a");
        let of = |version| result(version, &guest(), netns, "eth0", None).unwrap();
        let (old, middle, new) = (of("0.4.0"), of("1.0.0"), of("1.1.0"));
        assert_eq!(old["ips"][0]["version"], "4");
        assert_eq!(old["ips"][1]["version"], "6");
        assert!(middle["ips"][0].get("version").is_none());
        assert!(middle["interfaces"][1].get("mtu").is_none());
        assert_eq!(new["interfaces"][1]["mtu"], 9001);
        assert_eq!(new["interfaces"][1]["sandbox"], "/run/netns/a");
        assert_eq!(new["ips"][0]["interface"], 1);
        assert_eq!(
            new["routes"][1],
            json!({"dst": "::/0", "gw": "fe80:ec2::1"})
        );
        assert_eq!(new["dns"]["search"], json!(["ec2.internal", "corp"]));
    }

    #[test]
    fn what_was_there_before_stays_in_front() {
        let before = json!({"interfaces": [{"name": "lo"}], "ips": [{"address": "127.0.0.1/8"}]});
        let netns = Path::new("/run/netns/a");
        let both = result("1.0.0", &guest(), netns, "eth0", Some(&before)).unwrap();
        assert_eq!(both["interfaces"].as_array().unwrap().len(), 3);
        assert_eq!(both["ips"][1]["interface"], 2);
    }

    #[test]
    fn what_differs_from_the_result_is_said() {
        let netns = Path::new("/run/netns/a");
        let said = result("1.0.0", &guest(), netns, "eth0", None).unwrap();
        compare(&guest(), netns, "eth0", &said).unwrap();
        let words = |guest: &Guest, netns: &str| {
            let differs = compare(guest, Path::new(netns), "eth0", &said);
            differs.unwrap_err().to_string()
        };
        assert!(words(&guest(), "/run/netns/b").contains("/run/netns/b"));
        let mut other = guest();
        other.interfaces[0].addresses.remove(0);
        assert!(words(&other, "/run/netns/a").contains("10.0.0.5/24"));
        let mut other = guest();
        other.interfaces[0].mac = "02:00:00:00:00:09".to_owned();
        assert!(words(&other, "/run/netns/a").contains("MAC"));
        assert!(compare(&guest(), netns, "eth9", &said).is_err());
    }
}
