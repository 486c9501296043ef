//! How large VPCs are, as metrics of those whose users ask for it (`EnableNetworkAddressUsageMetrics`): once
//! a day, as AWS has it. The first datapoint comes when the metrics are switched on, or the daemon starts.
//! Prometheus is told whenever it asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use enid_advise::network_address_usage::{network_address_usage, peered_network_address_usage};
use enid_model::id::VpcId;
use enid_model::key::Scope;
use enid_model::state::{Revision, State};
use enid_model::time::Timestamp;
use enid_store::Store;
use enid_telemetry::metric::aggregate::Aggregate;
use enid_telemetry::metric::database::Metrics;
use enid_telemetry::metric::datum::Sample;
use enid_telemetry::metric::identity::Identity;
use enid_telemetry::source::{Meaning, Pace, Post, Reading, Source, SourceError};
use enid_telemetry::{meanings, metric::unit::Unit};

/// How often the region's state is looked at while it changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

const EC2: Option<&str> = Some("AWS/EC2");

meanings! {
    OWN = EC2, "NetworkAddressUsage", COUNT, Gauge, Some("enid_vpc_network_address_usage"), "Units of network address usage of the VPC";
    PEERED = EC2, "NetworkAddressUsagePeered", COUNT, Gauge, Some("enid_vpc_network_address_usage_peered"), "The same of the VPC and of all that are peered with it";
}

/// How large VPCs are, for whoever scrapes: their datapoints go by the day and not by the minute.
#[derive(Default)]
pub(crate) struct AddressUsage {
    /// What was reckoned last, and of which state.
    reckoned: Option<(Revision, Vec<Reading>)>,
}

impl Source for AddressUsage {
    fn name(&self) -> &'static str {
        "address-usage"
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        if let Some((revision, readings)) = &self.reckoned
            && *revision == state.revision
        {
            return Ok(readings.clone());
        }
        let mut readings = Vec::new();
        for (scope, region) in state.regions() {
            let vpcs = region.vpcs.values();
            for vpc in vpcs.filter(|vpc| vpc.network_address_usage_metrics) {
                let usages: [(&'static Meaning, u64); 2] = [
                    (&OWN, network_address_usage(region, vpc.id)),
                    (&PEERED, peered_network_address_usage(region, vpc.id)),
                ];
                for (meaning, units) in usages {
                    let post = Post::new(meaning, scope, Vec::new())
                        .with_labels(vec![("vpc_id", vpc.id.to_string())])
                        .at(Pace::Never);
                    let key = format!("{}/{}", vpc.id, meaning.name);
                    readings.push(Reading::level(key, whole(units), vec![post]));
                }
            }
        }
        self.reckoned = Some((state.revision, readings.clone()));
        Ok(readings)
    }

    fn clear(&mut self) {
        self.reckoned = None;
    }
}

/// Publishes from now on.
pub(crate) fn publish(store: &Store, metrics: &Arc<Metrics>) {
    let (store, metrics) = (store.clone(), Arc::clone(metrics));
    tokio::spawn(async move {
        let mut told = Told::default();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let due = told.due(&store.state(), metrics.now());
            if due.is_empty() {
                continue;
            }
            let metrics = Arc::clone(&metrics);
            let put = move || {
                for (scope, samples) in due {
                    if let Err(error) = metrics.put(&scope, samples) {
                        let error = enid_host::chain(&error);
                        tracing::warn!(error, "the size of VPCs was not published");
                    }
                }
            };
            if tokio::task::spawn_blocking(put).await.is_err() {
                tracing::error!("publishing the size of VPCs panicked");
            }
        }
    });
}

/// When each VPC was told last.
#[derive(Default)]
struct Told {
    vpcs: BTreeMap<(Scope, VpcId), Timestamp>,
    /// The next time that somebody is due, and the state that was looked at.
    next: Option<(Timestamp, Arc<State>)>,
}

impl Told {
    /// What is to be told now.
    fn due(&mut self, state: &Arc<State>, now: Timestamp) -> BTreeMap<Scope, Vec<Sample>> {
        let mut due: BTreeMap<Scope, Vec<Sample>> = BTreeMap::new();
        if let Some((next, seen)) = &self.next
            && Arc::ptr_eq(seen, state)
            && now < *next
        {
            return due;
        }
        let before = std::mem::take(&mut self.vpcs);
        for (scope, region) in state.regions() {
            let vpcs = region.vpcs.values();
            for vpc in vpcs.filter(|vpc| vpc.network_address_usage_metrics) {
                let at = (scope.clone(), vpc.id);
                let last = before.get(&at).copied();
                let last = last.filter(|last| now.0 - last.0 < DAY_MS);
                if last.is_none() {
                    let own = network_address_usage(region, vpc.id);
                    let peered = peered_network_address_usage(region, vpc.id);
                    let samples = due.entry(scope.clone()).or_default();
                    samples.extend(sample(OWN.name, vpc.id, own, now));
                    samples.extend(sample(PEERED.name, vpc.id, peered, now));
                }
                self.vpcs.insert(at, last.unwrap_or(now));
            }
        }
        let first = self.vpcs.values().min();
        let next = first.map_or(Timestamp(i64::MAX), |first| Timestamp(first.0 + DAY_MS));
        self.next = Some((next, Arc::clone(state)));
        due
    }
}

fn sample(name: &str, vpc: VpcId, units: u64, time: Timestamp) -> Option<Sample> {
    let dimensions = vec![("Per-VPC Metrics".to_owned(), vpc.to_string())];
    Some(Sample {
        // One dimension is there once.
        metric: Identity::new("AWS/EC2", name, dimensions).ok()?,
        time,
        unit: Unit::COUNT,
        aggregate: Aggregate::value(whole(units)),
        high_resolution: false,
    })
}

#[expect(clippy::cast_precision_loss, reason = "no VPC is that large")]
fn whole(units: u64) -> f64 {
    units as f64
}

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, Key, Kind, RegionName};
    use enid_model::record::Record;
    use enid_model::state::Revision;
    use serde_json::json;

    use super::*;

    /// A state with one VPC, which is measured or not.
    fn state(measured: bool) -> Arc<State> {
        let vpc = json!({
            "v": 1, "id": VpcId(1), "cidr": "10.0.0.0/16", "is_default": false, "tags": {},
            "cidr_association": enid_model::id::VpcCidrAssociationId(1),
            "default_group": enid_model::id::SecurityGroupId(1), "dhcp_options": null,
            "main_route_table": enid_model::id::RouteTableId(1), "enable_dns_support": true,
            "default_network_acl": enid_model::id::NetworkAclId(1), "enable_dns_hostnames": false,
            "network_address_usage_metrics": measured,
        });
        let key = Key {
            scope: Scope {
                account: AccountId::DEFAULT,
                region: RegionName::new("us-east-1"),
            },
            kind: Kind::Vpc,
            name: VpcId(1).to_string().into(),
        };
        let record = Record::from_bytes(Kind::Vpc, vpc.to_string().as_bytes());
        let mut state = State::default();
        state.apply(Revision(1), &key, Some(record.expect("a VPC")));
        Arc::new(state)
    }

    #[test]
    fn whoever_scrapes_is_told_of_those_that_are_measured() {
        let mut usage = AddressUsage::default();
        assert_eq!(usage.read(&state(false)).expect("readings"), []);
        // What was reckoned is of that state.
        assert_eq!(usage.read(&state(true)).expect("readings"), []);
        usage.clear();
        let readings = usage.read(&state(true)).expect("readings");
        let posts = readings.iter().flat_map(|reading| &reading.posts);
        let told: Vec<_> = posts
            .map(|post| (post.meaning.exposed, post.pace, &post.labels[0].1))
            .collect();
        let vpc = VpcId(1).to_string();
        assert_eq!(
            told,
            [
                (OWN.exposed, Pace::Never, &vpc),
                (PEERED.exposed, Pace::Never, &vpc)
            ]
        );
    }

    #[test]
    fn a_vpc_is_told_at_once_and_then_once_a_day() {
        let mut told = Told::default();
        let mut at = |state: &Arc<State>, time| -> Vec<String> {
            let due = told.due(state, Timestamp(time)).into_values().flatten();
            due.map(|sample| sample.metric.name).collect()
        };
        let (off, on) = (state(false), state(true));
        let both = ["NetworkAddressUsage", "NetworkAddressUsagePeered"];
        assert!(at(&off, 1).is_empty());
        assert_eq!(at(&on, 2), both);
        assert!(at(&on, 3).is_empty());
        // Another state of the same VPC is no reason.
        assert!(at(&state(true), 4).is_empty());
        assert!(at(&on, 1 + DAY_MS).is_empty());
        assert_eq!(at(&on, 2 + DAY_MS), both);
        assert!(at(&off, 3 + DAY_MS).is_empty());
        assert_eq!(at(&on, 4 + DAY_MS), both);
    }
}
