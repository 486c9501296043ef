//! DHCP option sets: what instances are told of domains and resolvers.
//!
//! A set never changes; a VPC changes its set. What Enid does not tell instances cannot be set.

use std::net::IpAddr;

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
        let (domain_name, domain_name_servers) = read(&input.options)?;
        self.transact(caller, |draft| {
            let options = DhcpOptions {
                id: draft.mint(),
                domain_name: domain_name.clone(),
                domain_name_servers: domain_name_servers.clone(),
                tags: tags.clone(),
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
fn read(options: &[(String, Vec<String>)]) -> Result<(Option<String>, Vec<NameServer>), Error> {
    if options.is_empty() {
        return Err(Error::MissingParameter {
            name: "dhcpConfiguration",
        });
    }
    let (mut domain, mut servers) = (None, None);
    for (key, values) in options {
        let is_new = match key.as_str() {
            DOMAIN_NAME => domain.replace(domain_name(values)?).is_none(),
            NAME_SERVERS => servers.replace(name_servers(values)?).is_none(),
            other => {
                let key = other.into();
                return Err(match UNSUPPORTED.contains(&other) {
                    true => RoutingError::DhcpOptionUnsupported { key },
                    false => RoutingError::DhcpOptionUnknown { key },
                }
                .into());
            }
        };
        if !is_new {
            let key = key.as_str().into();
            return Err(RoutingError::DhcpOptionTwice { key }.into());
        }
    }
    Ok((domain, servers.unwrap_or_default()))
}

const DOMAIN_NAME: &str = "domain-name";
const NAME_SERVERS: &str = "domain-name-servers";

/// What AWS has as well.
const UNSUPPORTED: [&str; 4] = [
    "ipv6-address-preferred-lease-time",
    "netbios-name-servers",
    "netbios-node-type",
    "ntp-servers",
];

/// One value; several domains in it are separated by spaces.
fn domain_name(values: &[String]) -> Result<String, Error> {
    let invalid = |value: &str, why| {
        let (value, key) = (value.into(), DOMAIN_NAME);
        RoutingError::DhcpOptionInvalid { value, key, why }
    };
    let [value] = values else {
        let values = values.join(", ");
        return Err(invalid(&values, "Exactly one value is expected.").into());
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
        return Err(invalid(value, "This is not a domain name.").into());
    }
    Ok(value.clone())
}

/// RFC 1035, section 2.3.4.
const DOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Up to four, as several values or with commas in one.
fn name_servers(values: &[String]) -> Result<Vec<NameServer>, Error> {
    let invalid = |value: &str, why| {
        let (value, key) = (value.into(), NAME_SERVERS);
        RoutingError::DhcpOptionInvalid { value, key, why }
    };
    let mut servers = Vec::new();
    for value in values.iter().flat_map(|value| value.split(',')) {
        let value = value.trim();
        let server = if value.eq_ignore_ascii_case(AMAZON_PROVIDED_DNS) {
            NameServer::AmazonProvidedDns
        } else {
            let address: Result<IpAddr, _> = value.parse();
            let why = "This is neither an IP address nor AmazonProvidedDNS.";
            NameServer::Address(address.map_err(|_malformed| invalid(value, why))?)
        };
        servers.push(server);
    }
    if servers.is_empty() || servers.len() > NAME_SERVERS_MAX {
        let why = "One to four values are expected.";
        return Err(invalid(&values.join(", "), why).into());
    }
    Ok(servers)
}

const NAME_SERVERS_MAX: usize = 4;

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
        let (domain, servers) = read(&[
            option(
                "domain-name-servers",
                &["10.0.0.5,AmazonProvidedDNS", "fd00::5"],
            ),
            option("domain-name", &["corp.example. other_1.example"]),
        ])
        .expect("options");
        assert_eq!(domain.as_deref(), Some("corp.example. other_1.example"));
        let address = |text: &str| NameServer::Address(text.parse().expect("an address"));
        assert_eq!(
            servers,
            [
                address("10.0.0.5"),
                NameServer::AmazonProvidedDns,
                address("fd00::5")
            ]
        );
    }

    #[test]
    fn other_options_and_values_are_refused() {
        let code = |options: &[(String, Vec<String>)]| read(options).map_err(|error| error.code());
        assert_eq!(code(&[]), Err("MissingParameter"));
        for key in UNSUPPORTED {
            let said = code(&[option(key, &["1"])]);
            assert_eq!(said, Err("UnsupportedOperation"), "{key}");
        }
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
        ] {
            assert_eq!(code(&[option(key, values)]), invalid, "{key} {values:?}");
        }
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
