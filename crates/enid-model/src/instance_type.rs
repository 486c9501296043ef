//! The network limits of every instance type, from a data file that this crate carries.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// One instance type. Field meanings are those of `data/instance-network-limits.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct InstanceType {
    /// Network interfaces over all cards.
    pub max_enis: u16,
    /// Network interfaces on card 0.
    pub max_enis_card0: u16,
    /// IPv4 addresses per interface, the primary one included.
    pub ipv4_per_eni: u16,
    /// IPv6 addresses per interface; 0 where there is no IPv6, absent where unknown.
    pub ipv6_per_eni: Option<u16>,
    /// AWS's words for its bandwidth.
    pub network_performance: Option<String>,
    /// Network cards.
    pub network_cards: Option<u16>,
    /// The cards' own limits; one entry can stand for several (`indexes` "0-3").
    #[serde(default)]
    pub cards: Vec<NetworkCard>,
    /// `unsupported`, `supported` or `required`.
    pub ena: Option<String>,
    /// Elastic Fabric Adapter.
    pub efa: Option<bool>,
    /// ENA Express.
    pub ena_express: Option<bool>,
    /// Encryption between instances.
    pub encryption_in_transit: Option<bool>,
    /// Idle timeouts in seconds: TCP established, UDP, UDP stream.
    pub conntrack_defaults_s: Option<[u32; 3]>,
    /// `nitro`, `xen`, or none for bare metal.
    pub hypervisor: Option<String>,
    /// Whether it is bare metal.
    pub bare_metal: Option<bool>,
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Processor architectures.
    #[serde(default)]
    pub arch: Vec<String>,
    /// Whether AWS still recommends it.
    pub current_generation: Option<bool>,
    /// Whether its CPU works on credits.
    pub burstable_cpu: Option<bool>,
    /// Whether it may be in a cluster placement group.
    pub cluster_placement: Option<bool>,
}

/// The processor architecture of an instance: this machine's, if the type has it.
#[must_use]
pub fn architecture(instance_type: &str) -> &'static str {
    let here = host_architecture();
    let of_type = InstanceType::named(instance_type).map_or(&[][..], |found| &found.arch);
    if of_type.iter().any(|arch| arch == here) {
        return here;
    }
    of_type.first().map_or(here, String::as_str)
}

/// AWS's name for this machine's architecture.
#[must_use]
pub fn host_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    }
}

/// The limits of a network card, or of several equal ones.
#[derive(Debug, Clone, Deserialize)]
pub struct NetworkCard {
    /// Network interfaces on the card.
    pub max_enis: u16,
    /// Sustained bandwidth in Gbit/s.
    pub baseline_gbps: Option<f64>,
    /// Burst bandwidth in Gbit/s.
    pub peak_gbps: Option<f64>,
    /// Default queues per interface.
    pub ena_queues_per_eni: Option<u16>,
    /// Which card, where the entry is of one.
    pub index: Option<u16>,
    /// Which cards, where the entry is of equal ones: "0" or "0-3".
    pub indexes: Option<String>,
}

impl InstanceType {
    /// The type with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TYPES.types.get(name)
    }

    /// All types, by name.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static Self)> {
        TYPES
            .types
            .iter()
            .map(|(name, found)| (name.as_str(), found))
    }

    /// The cards one by one.
    pub fn each_card(&self) -> impl Iterator<Item = &NetworkCard> {
        self.cards.iter().flat_map(|card| {
            let count = match card
                .indexes
                .as_deref()
                .and_then(|text| text.split_once('-'))
            {
                Some((first, last)) => {
                    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
                    number(last).saturating_sub(number(first)) + 1
                }
                None => 1,
            };
            std::iter::repeat_n(card, count)
        })
    }
}

#[derive(Deserialize)]
struct File {
    types: BTreeMap<String, InstanceType>,
}

static TYPES: LazyLock<File> = LazyLock::new(|| {
    let text = include_str!("../data/instance-network-limits.json");
    // Unwrap: the file is part of this crate and the test below reads it.
    serde_json::from_str(text).expect("the crate's own data file is well-formed")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_holds_the_known_limits() {
        let limits = |name| InstanceType::named(name).map(|t| (t.max_enis, t.ipv4_per_eni));
        assert_eq!(limits("t3.micro"), Some((2, 2)));
        assert_eq!(limits("m5.24xlarge"), Some((15, 50)));
        assert_eq!(limits("t9.micro"), None);
        assert_eq!(InstanceType::all().count(), 1391);
    }

    #[test]
    fn equal_cards_are_counted_one_by_one() {
        let cards = |name| InstanceType::named(name).map(|t| t.each_card().count());
        assert_eq!(cards("p5.48xlarge"), Some(32));
        assert_eq!(cards("p6-b300.48xlarge"), Some(17));
        assert_eq!(cards("t3.micro"), Some(1));
    }
}
