//! DHCP option sets: what instances are told of domains, resolvers, time and NetBIOS.
//!
//! A set never changes; a VPC changes its set.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use enid_model::dhcp_options::{DhcpOptions, NameServer};
use enid_model::id::{DhcpOptionsId, VpcId};
use enid_model::key::Kind;
use enid_model::vpc::Vpc;

use crate::{Caller, Control, Error, RoutingError, TagSpecification, tag};

/// What CreateDhcpOptions takes.
#[derive(Debug, Clone, Default)]
pub struct CreateDhcpOptions {
    /// Each option with its values, as the client writes them.
    pub options: Vec<(String, Vec<String>)>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// The value of `domain-name-servers` that means the VPC's own resolver.
pub const AMAZON_PROVIDED_DNS: &str = "AmazonProvidedDNS";

impl Control {
    /// CreateDhcpOptions.
    pub async fn create_dhcp_options(
        &self,
        caller: &Caller,
        input: &CreateDhcpOptions,
    ) -> Result<DhcpOptions, Error> {
        let tags = tag::specified(&input.tag_specifications, "dhcp-options")?;
        let read = read(&input.options)?;
        self.transact(caller, |draft| {
            let options = DhcpOptions {
                id: draft.mint(),
                tags: tags.clone(),
                ..read.clone()
            };
            draft.create(options.clone());
            Ok(options)
        })
        .await
    }

    /// DeleteDhcpOptions.
    pub async fn delete_dhcp_options(
        &self,
        caller: &Caller,
        id: DhcpOptionsId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let options = draft.require::<DhcpOptions>(id)?;
            if draft.region.vpcs_of_dhcp_options(id).next().is_some() {
                return Err(RoutingError::DhcpOptionsInUse { id }.into());
            }
            draft.demand_unnamed(Kind::Vpc, id);
            draft.delete(&options);
            Ok(())
        })
        .await
    }

    /// AssociateDhcpOptions; none is the set named `default`, which tells instances nothing.
    pub async fn associate_dhcp_options(
        &self,
        caller: &Caller,
        vpc: VpcId,
        options: Option<DhcpOptionsId>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let vpc = draft.require::<Vpc>(vpc)?;
            if let Some(id) = options {
                draft.require::<DhcpOptions>(id)?;
            }
            draft.edit(&vpc, |vpc| vpc.dhcp_options = options);
            Ok(())
        })
        .await
    }
}

/// The options of a request, each at most once, at least one.
fn read(options: &[(String, Vec<String>)]) -> Result<DhcpOptions, Error> {
    if options.is_empty() {
        return Err(Error::MissingParameter {
            name: "dhcpConfiguration",
        });
    }
    let mut read = DhcpOptions::default();
    for (position, (key, values)) in options.iter().enumerate() {
        match key.as_str() {
            DOMAIN_NAME => read.domain_name = Some(domain_name(values)?),
            NAME_SERVERS => read.domain_name_servers = name_servers(values)?,
            IPV6_LEASE => read.ipv6_preferred_lease_s = Some(ipv6_lease(values)?),
            NETBIOS_SERVERS => read.netbios_name_servers = netbios_servers(values)?,
            NETBIOS_TYPE => read.netbios_node_type = Some(netbios_type(values)?),
            NTP_SERVERS => read.ntp_servers = ntp_servers(values)?,
            other => {
                let key = other.into();
                return Err(RoutingError::DhcpOptionUnknown { key }.into());
            }
        }
        let mut earlier = options.iter().take(position);
        if earlier.any(|(other, _)| other == key) {
            let key = key.as_str().into();
            return Err(RoutingError::DhcpOptionTwice { key }.into());
        }
    }
    Ok(read)
}

const DOMAIN_NAME: &str = "domain-name";
const NAME_SERVERS: &str = "domain-name-servers";
const IPV6_LEASE: &str = "ipv6-address-preferred-lease-time";
const NETBIOS_SERVERS: &str = "netbios-name-servers";
const NETBIOS_TYPE: &str = "netbios-node-type";
const NTP_SERVERS: &str = "ntp-servers";

/// One value; several domains in it are separated by spaces.
fn domain_name(values: &[String]) -> Result<String, Error> {
    let [value] = values else {
        let why = "Exactly one value is expected.";
        return Err(invalid(DOMAIN_NAME, values, why));
    };
    let is_domain = |domain: &str| {
        domain.len() <= DOMAIN_BYTES_MAX
            && domain.split('.').all(|label| {
                let letters = label.bytes();
                (1..=LABEL_BYTES_MAX).contains(&label.len())
                    && letters
                        .clone()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            })
    };
    let mut domains = value
        .split(' ')
        .map(|domain| domain.strip_suffix('.').unwrap_or(domain));
    if !domains.all(is_domain) {
        return Err(invalid(DOMAIN_NAME, values, "This is not a domain name."));
    }
    Ok(value.clone())
}

/// RFC 1035, section 2.3.4.
const DOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Up to four, as several values or with commas in one.
fn name_servers(values: &[String]) -> Result<Vec<NameServer>, Error> {
    let servers = list(NAME_SERVERS, values, |value| {
        if value.eq_ignore_ascii_case(AMAZON_PROVIDED_DNS) {
            return Ok(NameServer::AmazonProvidedDns);
        }
        let address = value.parse();
        address
            .map(NameServer::Address)
            .map_err(|_malformed| "This is neither an IP address nor AmazonProvidedDNS.")
    })?;
    if servers.len() > SERVERS_MAX {
        return Err(invalid(NAME_SERVERS, values, FOUR));
    }
    Ok(servers)
}

/// Up to four of each family, likewise.
fn ntp_servers(values: &[String]) -> Result<Vec<IpAddr>, Error> {
    let servers: Vec<IpAddr> = list(NTP_SERVERS, values, |value| {
        value
            .parse()
            .map_err(|_malformed| "This is not an IP address.")
    })?;
    let ipv4 = servers.iter().filter(|server| server.is_ipv4()).count();
    if ipv4 > SERVERS_MAX || servers.len() - ipv4 > SERVERS_MAX {
        let why = "At most four IPv4 and four IPv6 addresses are expected.";
        return Err(invalid(NTP_SERVERS, values, why));
    }
    Ok(servers)
}

/// Up to four, likewise.
fn netbios_servers(values: &[String]) -> Result<Vec<Ipv4Addr>, Error> {
    let servers = list(NETBIOS_SERVERS, values, |value| {
        value
            .parse()
            .map_err(|_malformed| "This is not an IPv4 address.")
    })?;
    if servers.len() > SERVERS_MAX {
        return Err(invalid(NETBIOS_SERVERS, values, FOUR));
    }
    Ok(servers)
}

/// Of the types that NetBIOS has (RFC 2132, section 8.7).
fn netbios_type(values: &[String]) -> Result<u8, Error> {
    let node_type = number(values).filter(|it| [1, 2, 4, 8].contains(it));
    node_type.ok_or_else(|| invalid(NETBIOS_TYPE, values, "One of 1, 2, 4 and 8 is expected."))
}

/// In seconds.
fn ipv6_lease(values: &[String]) -> Result<u32, Error> {
    let lease = number(values).filter(|it| (IPV6_LEASE_MIN..=IPV6_LEASE_MAX).contains(it));
    lease.ok_or_else(|| {
        let why = "A number of seconds from 140 to 2147483647 is expected.";
        invalid(IPV6_LEASE, values, why)
    })
}

fn number<N: FromStr>(values: &[String]) -> Option<N> {
    match values {
        [value] => value.parse().ok(),
        _ => None,
    }
}

/// A list of addresses, as several values or with commas in one. It is not empty.
fn list<T>(
    key: &'static str,
    values: &[String],
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, Error> {
    if values.is_empty() {
        return Err(invalid(key, values, FOUR));
    }
    let parts = values.iter().flat_map(|value| {
        let parts = value.split(',');
        parts.map(move |part| (value, part.trim()))
    });
    let read = parts.map(|(value, part)| {
        read(part).map_err(|why| invalid(key, std::slice::from_ref(value), why))
    });
    read.collect()
}

fn invalid(key: &'static str, values: &[String], why: &'static str) -> Error {
    let value = values.join(", ").into();
    RoutingError::DhcpOptionInvalid { value, key, why }.into()
}

/// Servers of one kind, and one family.
/// Source: VPC User Guide, "DHCP option sets".
const SERVERS_MAX: usize = 4;
const FOUR: &str = "One to four values are expected.";
const IPV6_LEASE_MIN: u32 = 140;
const IPV6_LEASE_MAX: u32 = 2_147_483_647;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CreateVpc;
    use crate::fixture::{caller, control};

    fn option(key: &str, values: &[&str]) -> (String, Vec<String>) {
        let values = values.iter().map(|value| (*value).to_owned());
        (key.to_owned(), values.collect())
    }

    #[test]
    fn options_are_read() {
        let read = read(&[
            option(
                "domain-name-servers",
                &["10.0.0.5,AmazonProvidedDNS", "fd00::5"],
            ),
            option("domain-name", &["corp.example. other_1.example"]),
            option("ntp-servers", &["169.254.169.123, fd00:ec2::123"]),
            option("netbios-name-servers", &["10.0.0.7", "10.0.0.6"]),
            option("netbios-node-type", &["2"]),
            option("ipv6-address-preferred-lease-time", &["140"]),
        ])
        .expect("options");
        let address = |text: &str| text.parse().expect("an address");
        let expected = DhcpOptions {
            domain_name: Some("corp.example. other_1.example".to_owned()),
            domain_name_servers: vec![
                NameServer::Address(address("10.0.0.5")),
                NameServer::AmazonProvidedDns,
                NameServer::Address(address("fd00::5")),
            ],
            ntp_servers: vec![address("169.254.169.123"), address("fd00:ec2::123")],
            netbios_name_servers: vec![Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 6)],
            netbios_node_type: Some(2),
            ipv6_preferred_lease_s: Some(140),
            ..DhcpOptions::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn other_options_and_values_are_refused() {
        let code = |options: &[(String, Vec<String>)]| read(options).map_err(|error| error.code());
        assert_eq!(code(&[]), Err("MissingParameter"));
        let five = ["1.1.1.1,1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5"];
        let twice = [option("domain-name", &["a"]), option("domain-name", &["b"])];
        let invalid = Err("InvalidParameterValue");
        assert_eq!(code(&twice), invalid);
        for (key, values) in [
            ("domain", &["a"][..]),
            ("domain-name", &[]),
            ("domain-name", &["a", "b"]),
            ("domain-name", &[""]),
            ("domain-name", &["a..b"]),
            ("domain-name", &["a\nnameserver 1.1.1.1"]),
            ("domain-name-servers", &[]),
            ("domain-name-servers", &["10.0.0"]),
            ("domain-name-servers", &["10.0.0.1,"]),
            ("domain-name-servers", &five),
            ("ntp-servers", &[]),
            ("ntp-servers", &["pool.ntp.org"]),
            ("ntp-servers", &["AmazonProvidedDNS"]),
            ("ntp-servers", &five),
            ("netbios-name-servers", &["fd00::5"]),
            ("netbios-name-servers", &five),
            ("netbios-node-type", &["3"]),
            ("netbios-node-type", &["2", "4"]),
            ("netbios-node-type", &[]),
            ("ipv6-address-preferred-lease-time", &["139"]),
            ("ipv6-address-preferred-lease-time", &["2147483648"]),
            ("ipv6-address-preferred-lease-time", &["1h"]),
        ] {
            assert_eq!(code(&[option(key, values)]), invalid, "{key} {values:?}");
        }
        // Four of each family are as many as there may be.
        let eight = ["1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,fd00::1,fd00::2,fd00::3,fd00::4"];
        assert!(code(&[option("ntp-servers", &eight)]).is_ok());
    }

    #[tokio::test]
    async fn a_set_in_use_stays_and_a_new_vpc_always_has_one() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = region.vpcs.values().next().expect("the default VPC");
        let (vpc, id) = (vpc.id, vpc.dhcp_options.expect("the region's set"));
        let used = control.delete_dhcp_options(&caller, id).await;
        assert_eq!(used, Err(RoutingError::DhcpOptionsInUse { id }.into()));
        let done = control.associate_dhcp_options(&caller, vpc, None).await;
        assert_eq!(done, Ok(()));
        assert_eq!(control.delete_dhcp_options(&caller, id).await, Ok(()));
        let again = control.associate_dhcp_options(&caller, vpc, Some(id)).await;
        assert_eq!(again, Err(Error::not_found(id)));

        // The region's own set is gone: the next VPC brings another, the one after that uses it.
        let mut sets = Vec::new();
        for cidr in ["10.0.0.0/16", "10.1.0.0/16"] {
            let input = CreateVpc {
                cidr_block: cidr.to_owned(),
                ..CreateVpc::default()
            };
            let vpc = control.create_vpc(&caller, &input).await.expect("a VPC");
            sets.extend(vpc.dhcp_options);
        }
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(sets.first(), sets.last());
        assert_eq!(sets.len(), 2);
        assert!(sets.iter().all(|id| region.dhcp_options.contains_key(id)));
    }
}
