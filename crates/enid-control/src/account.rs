//! What DescribeAccountAttributes tells.

use enid_model::state::RegionState;

use crate::Quotas;
use crate::vpc::default_vpc;

/// The attributes of an account in a region, by name.
#[must_use]
pub fn attributes(region: &RegionState, quotas: &Quotas) -> Vec<(&'static str, String)> {
    let default_vpc = default_vpc(region).map(|vpc| vpc.id.to_string());
    vec![
        (
            "default-vpc",
            default_vpc.unwrap_or_else(|| "none".to_owned()),
        ),
        ("max-elastic-ips", ADDRESSES_MAX.to_owned()),
        ("max-instances", INSTANCES_MAX.to_owned()),
        ("supported-platforms", "VPC".to_owned()),
        ("vpc-max-elastic-ips", ADDRESSES_MAX.to_owned()),
        (
            "vpc-max-security-groups-per-interface",
            quotas.groups_per_interface.to_string(),
        ),
    ]
}

/// AWS's default quota of Elastic IP addresses.
const ADDRESSES_MAX: &str = "5";
/// AWS answers this to everyone; it says itself that the value means nothing any more.
const INSTANCES_MAX: &str = "20";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    #[tokio::test]
    async fn the_default_vpc_is_named_while_it_is_there() {
        let region = control().read(&caller()).await.expect("a region");
        let value = |region: &RegionState, name| {
            let mut all = attributes(region, &Quotas::default()).into_iter();
            all.find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        let vpc = default_vpc(&region).map(|vpc| vpc.id.to_string());
        assert_eq!(value(&region, "default-vpc"), vpc);
        let none = value(&RegionState::default(), "default-vpc");
        assert_eq!(none.as_deref(), Some("none"));
        let groups = value(&region, "vpc-max-security-groups-per-interface");
        assert_eq!(groups.as_deref(), Some("5"));
    }
}
