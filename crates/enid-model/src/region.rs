//! The regions that AWS names, their partitions and zones, and the record that one is alive.

use serde::{Deserialize, Serialize};

use crate::id::{DhcpOptionsId, VpcId};
use crate::instance_metadata::MetadataDefaults;

/// That an account's region has come to life: written with its default VPC at its first use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionRecord {
    /// The default VPC that was made then; it may have been deleted since.
    pub first_default_vpc: VpcId,
    /// The region's default DHCP option set.
    pub dhcp_options: DhcpOptionsId,
    /// What new instances get of metadata options.
    #[serde(default)]
    pub metadata_defaults: MetadataDefaults,
    /// Which version of Enid's first steps the region has seen: one that came to life under an
    /// older version gets what it lacks.
    #[serde(default)]
    pub outfit: u32,
}

/// A region of AWS. Source: the EC2 User Guide's page on regions and zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its name, such as `eu-west-1`.
    pub name: &'static str,
    /// What its zone ids start with, such as `euw1`.
    pub short: &'static str,
    /// Its zones as (letter, number of the zone id).
    pub zones: &'static [(char, u8)],
    /// Whether an account must opt in to it.
    pub opt_in: bool,
}

impl Region {
    /// The region with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        REGIONS
            .binary_search_by(|region| region.name.cmp(name))
            .ok()
            .and_then(|at| REGIONS.get(at))
    }

    /// All of them, by name.
    #[must_use]
    pub fn all() -> &'static [Self] {
        REGIONS
    }

    /// `aws`, `aws-cn` or `aws-us-gov`: the second part of its ARNs.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        match self.name {
            name if name.starts_with("cn-") => "aws-cn",
            name if name.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// What messages of CloudWatch call it, such as `EU (Ireland)`.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self.name {
            "af-south-1" => "Africa (Cape Town)",
            "ap-east-1" => "Asia Pacific (Hong Kong)",
            "ap-east-2" => "Asia Pacific (Taipei)",
            "ap-northeast-1" => "Asia Pacific (Tokyo)",
            "ap-northeast-2" => "Asia Pacific (Seoul)",
            "ap-northeast-3" => "Asia Pacific (Osaka)",
            "ap-south-1" => "Asia Pacific (Mumbai)",
            "ap-south-2" => "Asia Pacific (Hyderabad)",
            "ap-southeast-1" => "Asia Pacific (Singapore)",
            "ap-southeast-2" => "Asia Pacific (Sydney)",
            "ap-southeast-3" => "Asia Pacific (Jakarta)",
            "ap-southeast-4" => "Asia Pacific (Melbourne)",
            "ap-southeast-5" => "Asia Pacific (Malaysia)",
            "ap-southeast-6" => "Asia Pacific (New Zealand)",
            "ap-southeast-7" => "Asia Pacific (Thailand)",
            "ca-central-1" => "Canada (Central)",
            "ca-west-1" => "Canada West (Calgary)",
            "cn-north-1" => "China (Beijing)",
            "cn-northwest-1" => "China (Ningxia)",
            "eu-central-1" => "EU (Frankfurt)",
            "eu-central-2" => "Europe (Zurich)",
            "eu-north-1" => "EU (Stockholm)",
            "eu-south-1" => "Europe (Milan)",
            "eu-south-2" => "Europe (Spain)",
            "eu-west-1" => "EU (Ireland)",
            "eu-west-2" => "EU (London)",
            "eu-west-3" => "EU (Paris)",
            "il-central-1" => "Israel (Tel Aviv)",
            "me-central-1" => "Middle East (UAE)",
            "me-south-1" => "Middle East (Bahrain)",
            "mx-central-1" => "Mexico (Central)",
            "sa-east-1" => "South America (Sao Paulo)",
            "us-east-1" => "US East (N. Virginia)",
            "us-east-2" => "US East (Ohio)",
            "us-gov-east-1" => "AWS GovCloud (US-East)",
            "us-gov-west-1" => "AWS GovCloud (US-West)",
            "us-west-1" => "US West (N. California)",
            "us-west-2" => "US West (Oregon)",
            name => name,
        }
    }

    /// What its service names end with.
    #[must_use]
    pub fn dns_suffix(&self) -> &'static str {
        match self.partition() {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        }
    }

    /// The domain of private DNS names: `ec2.internal` in us-east-1, else `<region>.compute.internal`.
    #[must_use]
    pub fn private_domain(&self) -> String {
        match self.name {
            "us-east-1" => "ec2.internal".to_owned(),
            name => format!("{name}.compute.internal"),
        }
    }

    /// What public DNS names end with: `compute-1.amazonaws.com` in us-east-1, else
    /// `<region>.compute.amazonaws.com`.
    #[must_use]
    pub fn public_domain(&self) -> String {
        match self.name {
            "us-east-1" => format!("compute-1.{}", self.dns_suffix()),
            name => format!("{name}.compute.{}", self.dns_suffix()),
        }
    }

    /// Its zones as (name, id), such as (`us-east-1a`, `use1-az1`), by name.
    pub fn zones(&self) -> impl Iterator<Item = (String, String)> {
        let (name, short) = (self.name, self.short);
        self.zones
            .iter()
            .map(move |(letter, number)| (format!("{name}{letter}"), format!("{short}-az{number}")))
    }
}

const TWO: &[(char, u8)] = &[('a', 3), ('c', 1)];
const THREE: &[(char, u8)] = &[('a', 1), ('b', 2), ('c', 3)];
const FOUR: &[(char, u8)] = &[('a', 1), ('b', 2), ('c', 3), ('d', 4)];
const SIX: &[(char, u8)] = &[('a', 1), ('b', 2), ('c', 4), ('d', 6), ('e', 3), ('f', 5)];
const TOKYO: &[(char, u8)] = &[('a', 4), ('c', 1), ('d', 2)];
const MONTREAL: &[(char, u8)] = &[('a', 1), ('b', 2), ('d', 4)];

const fn open(name: &'static str, short: &'static str, zones: &'static [(char, u8)]) -> Region {
    let opt_in = false;
    Region {
        name,
        short,
        zones,
        opt_in,
    }
}

const fn opt_in(name: &'static str, short: &'static str) -> Region {
    let (zones, opt_in) = (THREE, true);
    Region {
        name,
        short,
        zones,
        opt_in,
    }
}

// By name: looked up by binary search.
const REGIONS: &[Region] = &[
    opt_in("af-south-1", "afs1"),
    opt_in("ap-east-1", "ape1"),
    opt_in("ap-east-2", "ape2"),
    open("ap-northeast-1", "apne1", TOKYO),
    open("ap-northeast-2", "apne2", FOUR),
    open("ap-northeast-3", "apne3", THREE),
    open("ap-south-1", "aps1", THREE),
    opt_in("ap-south-2", "aps2"),
    open("ap-southeast-1", "apse1", THREE),
    open("ap-southeast-2", "apse2", THREE),
    opt_in("ap-southeast-3", "apse3"),
    opt_in("ap-southeast-4", "apse4"),
    opt_in("ap-southeast-5", "apse5"),
    opt_in("ap-southeast-6", "apse6"),
    opt_in("ap-southeast-7", "apse7"),
    open("ca-central-1", "cac1", MONTREAL),
    opt_in("ca-west-1", "caw1"),
    open("cn-north-1", "cnn1", THREE),
    open("cn-northwest-1", "cnnw1", THREE),
    open("eu-central-1", "euc1", THREE),
    opt_in("eu-central-2", "euc2"),
    open("eu-north-1", "eun1", THREE),
    opt_in("eu-south-1", "eus1"),
    opt_in("eu-south-2", "eus2"),
    open("eu-west-1", "euw1", THREE),
    open("eu-west-2", "euw2", THREE),
    open("eu-west-3", "euw3", THREE),
    opt_in("il-central-1", "ilc1"),
    opt_in("me-central-1", "mec1"),
    opt_in("me-south-1", "mes1"),
    opt_in("mx-central-1", "mxc1"),
    open("sa-east-1", "sae1", THREE),
    open("us-east-1", "use1", SIX),
    open("us-east-2", "use2", THREE),
    open("us-gov-east-1", "usge1", THREE),
    open("us-gov-west-1", "usgw1", THREE),
    open("us-west-1", "usw1", TWO),
    open("us-west-2", "usw2", FOUR),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_found_by_its_name() {
        for region in Region::all() {
            assert_eq!(Region::named(region.name), Some(region));
            assert_ne!(region.words(), region.name);
        }
        assert_eq!(Region::named("eu-west-9"), None);
    }

    #[test]
    fn names_follow_the_partition() {
        let partition = |name| Region::named(name).map(Region::partition);
        assert_eq!(partition("us-gov-west-1"), Some("aws-us-gov"));
        assert_eq!(partition("cn-north-1"), Some("aws-cn"));
        assert_eq!(partition("eu-west-1"), Some("aws"));
        let domain = |name| Region::named(name).map(Region::private_domain);
        assert_eq!(domain("us-east-1").as_deref(), Some("ec2.internal"));
        assert_eq!(
            domain("eu-west-1").as_deref(),
            Some("eu-west-1.compute.internal")
        );
    }
}
