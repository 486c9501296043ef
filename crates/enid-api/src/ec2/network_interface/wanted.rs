//! What requests ask for an interface: addresses, prefixes and timeouts, in the words of the model.

use std::net::Ipv6Addr;

use enid_control::{
    Error, ListedAddress, WantedAddresses, WantedIpv6Addresses, parse_address, parse_ipv6_address,
    parse_ipv6_prefix, parse_prefix,
};
use enid_model::network_interface::ConnectionTracking;

use crate::error::ApiError;
use crate::generated::ec2::request::{
    ConnectionTrackingSpecificationRequest, InstanceIpv6Address, Ipv4PrefixSpecificationRequest,
    Ipv6PrefixSpecificationRequest, PrivateIpAddressSpecification,
};

/// The ways of naming the private addresses of a new interface.
pub(in crate::ec2) struct Ipv4<'a> {
    pub(in crate::ec2) primary: Option<&'a str>,
    pub(in crate::ec2) listed: &'a [PrivateIpAddressSpecification],
    pub(in crate::ec2) secondary_count: Option<i32>,
    pub(in crate::ec2) prefixes: &'a [Ipv4PrefixSpecificationRequest],
    pub(in crate::ec2) prefix_count: Option<i32>,
}

impl Ipv4<'_> {
    /// Reads them; the control plane checks how they go together.
    pub(in crate::ec2) fn read(&self) -> Result<WantedAddresses, ApiError> {
        let listed = self.listed.iter().map(|specification| {
            let text = specification.private_ip_address.as_deref();
            let missing = || ApiError::missing_parameter("PrivateIpAddresses.PrivateIpAddress");
            Ok(ListedAddress {
                address: parse_address(text.ok_or_else(missing)?)?,
                primary: specification.primary.unwrap_or(false),
            })
        });
        let prefixes = self.prefixes.iter().map(|prefix| {
            let text = prefix.ipv4_prefix.as_deref();
            let missing = || ApiError::missing_parameter("Ipv4Prefix");
            Ok(parse_prefix(text.ok_or_else(missing)?)?)
        });
        Ok(WantedAddresses {
            primary: self.primary.map(parse_address).transpose()?,
            listed: listed.collect::<Result<_, ApiError>>()?,
            secondary_count: count(self.secondary_count, "SecondaryPrivateIpAddressCount")?,
            prefixes: prefixes.collect::<Result<_, ApiError>>()?,
            prefix_count: count(self.prefix_count, "Ipv4PrefixCount")?,
        })
    }
}

/// The ways of naming the IPv6 addresses of a new interface.
pub(in crate::ec2) struct Ipv6<'a> {
    pub(in crate::ec2) listed: &'a [InstanceIpv6Address],
    pub(in crate::ec2) count: Option<i32>,
    pub(in crate::ec2) prefixes: &'a [Ipv6PrefixSpecificationRequest],
    pub(in crate::ec2) prefix_count: Option<i32>,
    pub(in crate::ec2) primary: Option<bool>,
}

impl Ipv6<'_> {
    /// Reads them, likewise. An address that is marked as the primary one comes first.
    pub(in crate::ec2) fn read(&self) -> Result<WantedIpv6Addresses, ApiError> {
        let read = |address: &InstanceIpv6Address| -> Result<(bool, Ipv6Addr), ApiError> {
            let text = address.ipv6_address.as_deref();
            let text = text.ok_or_else(|| ApiError::missing_parameter("Ipv6Address"))?;
            let is_primary = address.is_primary_ipv6.unwrap_or(false);
            Ok((is_primary, parse_ipv6_address(text)?))
        };
        let listed = self.listed.iter().map(read);
        let mut listed = listed.collect::<Result<Vec<_>, _>>()?;
        // Stable: among the others the order stays.
        listed.sort_by_key(|(is_primary, _)| !is_primary);
        let marked = listed.iter().filter(|(is_primary, _)| *is_primary).count();
        if marked > 1 {
            return Err(Error::SeveralPrimaryAddresses.into());
        }
        let prefixes = self.prefixes.iter().map(|prefix| {
            let text = prefix.ipv6_prefix.as_deref();
            let missing = || ApiError::missing_parameter("Ipv6Prefix");
            Ok(parse_ipv6_prefix(text.ok_or_else(missing)?)?)
        });
        Ok(WantedIpv6Addresses {
            addresses: listed.into_iter().map(|(_, address)| address).collect(),
            count: count(self.count, "Ipv6AddressCount")?,
            prefixes: prefixes.collect::<Result<_, ApiError>>()?,
            prefix_count: count(self.prefix_count, "Ipv6PrefixCount")?,
            primary: self.primary.unwrap_or(marked > 0),
        })
    }
}

/// Addresses or prefixes that are a list of texts.
pub(in crate::ec2) fn read_all<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, Error>,
) -> Result<Vec<T>, ApiError> {
    texts.iter().map(|text| Ok(parse(text)?)).collect()
}

/// A number of addresses or prefixes.
pub(in crate::ec2) fn count(count: Option<i32>, name: &str) -> Result<Option<u32>, ApiError> {
    let Some(count) = count else { return Ok(None) };
    let negative = |_| ApiError::invalid_parameter_value(&count.to_string(), name, "");
    u32::try_from(count).map(Some).map_err(negative)
}

/// Idle timeouts, if the request has any.
pub(in crate::ec2) fn timeouts(
    request: Option<ConnectionTrackingSpecificationRequest>,
) -> Result<Option<ConnectionTracking>, ApiError> {
    let Some(request) = request else {
        return Ok(None);
    };
    Ok(Some(ConnectionTracking {
        tcp_established_timeout: count(request.tcp_established_timeout, "TcpEstablishedTimeout")?,
        udp_stream_timeout: count(request.udp_stream_timeout, "UdpStreamTimeout")?,
        udp_timeout: count(request.udp_timeout, "UdpTimeout")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(addresses: &[(&str, bool)], primary: Option<bool>) -> Result<Vec<String>, ApiError> {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(address, is_primary)| InstanceIpv6Address {
                ipv6_address: Some((*address).to_owned()),
                is_primary_ipv6: is_primary.then_some(true),
            })
            .collect();
        let wanted = Ipv6 {
            listed: &addresses,
            count: None,
            prefixes: &[],
            prefix_count: None,
            primary,
        };
        let wanted = wanted.read()?;
        let all = wanted.addresses.iter().map(ToString::to_string);
        Ok(all
            .chain(wanted.primary.then(|| "primary".to_owned()))
            .collect())
    }

    #[test]
    fn a_marked_address_is_the_first() {
        let plain = listed(&[("::1", false), ("::2", false)], None);
        assert_eq!(plain.ok(), Some(vec!["::1".to_owned(), "::2".to_owned()]));
        let marked = listed(&[("::1", false), ("::2", true), ("::3", false)], None);
        let wanted = ["::2", "::1", "::3", "primary"].map(str::to_owned);
        assert_eq!(marked.ok(), Some(wanted.to_vec()));
        let code = |read: Result<_, ApiError>| read.err().map(|error| error.code().to_owned());
        let two = listed(&[("::1", true), ("::2", true)], None);
        assert_eq!(code(two).as_deref(), Some("InvalidParameterCombination"));
        let bad = listed(&[("10.0.0.1", false)], None);
        assert_eq!(code(bad).as_deref(), Some("InvalidParameterValue"));
    }

    #[test]
    fn numbers_are_not_negative() {
        assert!(matches!(count(Some(0), "X"), Ok(Some(0))));
        assert!(matches!(count(None, "X"), Ok(None)));
        assert!(count(Some(-1), "X").is_err());
    }
}
