//! What an instance of each type may use of the network.
//!
//! Bandwidth is AWS's own, from the table of instance types: a peak, and a baseline that holds when the
//! credits to burst are used up. AWS publishes neither the credits, nor packets a second, nor tracked
//! connections for any type: [`Estimates`] stand for them, each a single rule over all types, and a type can
//! be given other figures ([`Override`]).

use std::collections::BTreeMap;

use enid_model::instance_type::InstanceType;
use enid_pipeline::allowance::Allowance;
use enid_pipeline::bucket::Rate;

/// The rules for what AWS does not publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimates {
    /// How long an instance with full credits goes at its peak, in seconds. AWS says 5 to 60 minutes.
    pub burst_s: u64,
    /// Packets a second for each Gbit/s of peak bandwidth: packets of 1,250 bytes fill it.
    pub packets_per_gbps: u64,
    /// Tracked connections for each virtual CPU. The one figure in AWS's documentation, 136,812 still
    /// available, is taken for a type with two.
    pub tracked_per_vcpu: u64,
}

impl Default for Estimates {
    fn default() -> Self {
        Self {
            burst_s: 300,
            packets_per_gbps: 100_000,
            tracked_per_vcpu: 68_406,
        }
    }
}

/// Other figures for a type; what is absent is as for any type.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Override {
    /// Gbit/s in each direction, for long.
    pub baseline_gbps: Option<f64>,
    /// Gbit/s in each direction, at most.
    pub peak_gbps: Option<f64>,
    /// Gbit/s of one flow.
    pub flow_gbps: Option<f64>,
    /// Packets a second, both directions together.
    pub packets_per_second: Option<u64>,
    /// Connections that can be tracked.
    pub tracked_connections: Option<u64>,
}

/// The allowances of all types.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allowances {
    /// Where AWS publishes nothing.
    pub estimates: Estimates,
    /// By the type's name.
    pub overrides: BTreeMap<String, Override>,
}

/// One flow, outside of a cluster placement group.
/// Source: EC2 User Guide, instance network bandwidth.
const FLOW_GBPS: f64 = 5.0;
/// Through an internet gateway: what small instances may, and large ones at least.
const GATEWAY_GBPS: f64 = 5.0;
/// From so many virtual CPUs on an instance may send half of its bandwidth through an internet gateway.
const LARGE_VCPUS: u32 = 32;
/// Virtual CPUs of a type of which they are not known.
const UNKNOWN_VCPUS: u32 = 2;
/// A bucket holds what its rate gives in this time. A TCP sender whose packets are all dropped waits for at
/// least 200 ms; a bucket that is full before would lose what comes in the rest.
const DEPTH_MS: u64 = 220;
/// The smallest bucket: two of the largest frames.
const DEPTH_MIN: u64 = 131_072;

impl Allowances {
    /// The allowance of a type. Where no bandwidth is known, none is enforced.
    #[must_use]
    pub fn of(&self, name: &str) -> Allowance {
        let known = InstanceType::named(name);
        let chosen = self.overrides.get(name).copied().unwrap_or_default();
        let sum = |gbps: fn(&enid_model::instance_type::NetworkCard) -> Option<f64>| {
            let cards: Vec<f64> = known?.each_card().filter_map(gbps).collect();
            let stated = known?.network_performance.as_deref().and_then(stated_gbps);
            let sum: f64 = cards.iter().sum();
            (!cards.is_empty()).then(|| stated.map_or(sum, |stated| sum.min(stated)))
        };
        let peak = chosen.peak_gbps.or_else(|| sum(|card| card.peak_gbps));
        let baseline = chosen
            .baseline_gbps
            .or_else(|| sum(|card| card.baseline_gbps));
        let peak = peak.or(baseline);
        let vcpus = known.and_then(|known| known.vcpus).unwrap_or(UNKNOWN_VCPUS);
        let gateway = match peak {
            Some(peak) if vcpus >= LARGE_VCPUS => GATEWAY_GBPS.max(peak / 2.0),
            _ => GATEWAY_GBPS,
        };
        let Estimates {
            burst_s,
            packets_per_gbps,
            tracked_per_vcpu,
        } = self.estimates;
        let credits = match (baseline, peak) {
            (Some(baseline), Some(peak)) if baseline < peak => {
                let beyond = bytes_per_s(peak - baseline).saturating_mul(burst_s);
                let shallow = shallow(bytes_per_s(baseline), DEPTH_MIN);
                Rate::new(bytes_per_s(baseline), beyond.max(shallow))
            }
            _ => Rate::UNLIMITED,
        };
        let packets = chosen.packets_per_second.or_else(|| {
            let gbps = peak?.max(1.0);
            Some(scaled(gbps, packets_per_gbps))
        });
        Allowance {
            bandwidth: peak.map_or(Rate::UNLIMITED, bandwidth),
            credits,
            gateway: bandwidth(gateway),
            flow: bandwidth(chosen.flow_gbps.unwrap_or(FLOW_GBPS)),
            packets: packets.map_or(Rate::UNLIMITED, |rate| Rate::new(rate, shallow(rate, 64))),
            tracked: chosen
                .tracked_connections
                .unwrap_or_else(|| tracked_per_vcpu.saturating_mul(vcpus.into())),
        }
    }
}

/// What AWS's words say for all cards together, such as "Up to 12.5 Gigabit" or "4x 100 Gigabit": some
/// types have cards that could do more than that.
fn stated_gbps(words: &str) -> Option<f64> {
    let (number, unit) = words.trim_start_matches("Up to ").rsplit_once(' ')?;
    if unit != "Gigabit" {
        return None;
    }
    let (times, number) = number.split_once("x ").unwrap_or(("1", number));
    Some(times.parse::<f64>().ok()? * number.parse::<f64>().ok()?)
}

fn bandwidth(gbps: f64) -> Rate {
    let per_s = bytes_per_s(gbps);
    Rate::new(per_s, shallow(per_s, DEPTH_MIN))
}

/// The tokens of a bucket without credits.
fn shallow(per_s: u64, least: u64) -> u64 {
    (per_s / 1000 * DEPTH_MS).max(least)
}

fn bytes_per_s(gbps: f64) -> u64 {
    scaled(gbps, 125_000_000)
}

/// So many units for each Gbit/s.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a bandwidth in Gbit/s is a small positive number"
)]
fn scaled(gbps: f64, units: u64) -> u64 {
    (gbps.max(0.0) * units as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(rate: Rate) -> u64 {
        rate.tokens(0, 1)
    }

    fn close(found: u64, expected: u64) {
        assert!(
            found.abs_diff(expected) <= expected / 1000,
            "{found} {expected}"
        );
    }

    #[test]
    fn a_type_that_bursts_has_credits_for_five_minutes() {
        let micro = Allowances::default().of("t3.micro");
        // 5 Gbit/s at most, 0.064 for long.
        close(tokens(micro.bandwidth), 625_000_000 * 220 / 1000);
        close(tokens(micro.credits), (625_000_000 - 8_000_000) * 300);
        assert_eq!(micro.packets, Rate::new(500_000, 110_000));
        assert_eq!(micro.tracked, 136_812);
    }

    #[test]
    fn a_type_without_a_burst_has_no_credits_to_use_up() {
        let large = Allowances::default().of("m5.24xlarge");
        assert!(large.credits.is_unlimited());
        close(tokens(large.bandwidth), 3_125_000_000 / 1000 * 220);
        // 96 virtual CPUs: half of 25 Gbit/s through an internet gateway.
        assert_eq!(large.gateway, bandwidth(12.5));
        assert_eq!(Allowances::default().of("m5.large").gateway, bandwidth(5.0));
    }

    #[test]
    fn the_bandwidth_is_that_of_all_cards_as_far_as_aws_states_it() {
        let of = |name| Allowances::default().of(name).bandwidth;
        assert_eq!(of("c6in.32xlarge"), bandwidth(200.0));
        assert_eq!(of("p4d.24xlarge"), bandwidth(400.0));
        assert_eq!(stated_gbps("Up to 12.5 Gigabit"), Some(12.5));
        assert_eq!(stated_gbps("Low to Moderate"), None);
    }

    #[test]
    fn where_nothing_is_known_no_bandwidth_is_enforced() {
        let old = Allowances::default().of("f1.2xlarge");
        assert!(old.bandwidth.is_unlimited() && old.packets.is_unlimited());
        assert_eq!(old.flow, bandwidth(FLOW_GBPS));
    }

    #[test]
    fn a_type_can_be_given_other_figures() {
        let chosen = Override {
            baseline_gbps: Some(0.1),
            peak_gbps: Some(0.1),
            packets_per_second: Some(1_000),
            tracked_connections: Some(10),
            ..Override::default()
        };
        let allowances = Allowances {
            overrides: [("t3.micro".to_owned(), chosen)].into(),
            ..Allowances::default()
        };
        let micro = allowances.of("t3.micro");
        assert_eq!(micro.bandwidth, bandwidth(0.1));
        assert!(micro.credits.is_unlimited());
        assert_eq!(micro.packets, Rate::new(1_000, 220));
        assert_eq!(micro.tracked, 10);
        assert_eq!(allowances.of("t3.small").tracked, 136_812);
    }
}
