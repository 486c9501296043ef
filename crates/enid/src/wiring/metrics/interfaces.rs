//! What interfaces count: for themselves, and for the instances that they are attached to.
//!
//! A counter belongs to the instance that had the interface while it counted. The kernel knows interfaces
//! only, so before an interface goes to another instance its counters are read.

use std::collections::{BTreeMap, BTreeSet};

use enid_host::Installation;
use enid_host::flows::{EniTotals, FlowError, FlowTables, Totals};
use enid_model::id::{EniId, InstanceId, ResourceId as _};
use enid_model::instance::{DesiredState, Instance};
use enid_model::key::Scope;
use enid_model::state::State;
use enid_pipeline::Reason;
use enid_pipeline::room::WHOLE;
use enid_telemetry::meanings;
use enid_telemetry::source::{Meaning, Pace, Post, Reading, Role, Source, SourceError};

const EC2: Option<&str> = Some("AWS/EC2");
const ENID: Option<&str> = Some("Enid");

meanings! {
    NETWORK_IN = EC2, "NetworkIn", BYTES, Counter, None, "Bytes that all interfaces of the instance got";
    NETWORK_OUT = EC2, "NetworkOut", BYTES, Counter, None, "Bytes that all interfaces of the instance sent";
    NETWORK_PACKETS_IN = EC2, "NetworkPacketsIn", COUNT, Counter, None, "Packets that all interfaces of the instance got";
    NETWORK_PACKETS_OUT = EC2, "NetworkPacketsOut", COUNT, Counter, None, "Packets that all interfaces of the instance sent";
    BYTES_IN = ENID, "BytesIn", BYTES, Counter, Some("enid_eni_receive_bytes_total"), "Bytes that the interface got, from the IP header on";
    BYTES_OUT = ENID, "BytesOut", BYTES, Counter, Some("enid_eni_transmit_bytes_total"), "Bytes that the interface sent, from the IP header on";
    PACKETS_IN = ENID, "PacketsIn", COUNT, Counter, Some("enid_eni_receive_packets_total"), "Packets that the interface got";
    PACKETS_OUT = ENID, "PacketsOut", COUNT, Counter, Some("enid_eni_transmit_packets_total"), "Packets that the interface sent";
    FLOWS_NEW = ENID, "FlowsNew", COUNT, Counter, Some("enid_eni_flows_total"), "Flows of what the interface sends that began";
    FLOWS_ACTIVE = ENID, "FlowsActive", COUNT, Gauge, Some("enid_eni_flows_active"), "Flows of what the interface sends that are in the flow table";
    PACKETS_DROPPED = ENID, "PacketsDropped", COUNT, Counter, None, "Packets that were dropped at the interface";
    PACKETS_DROPPED_FOR = ENID, "PacketsDropped", COUNT, Counter, Some("enid_eni_dropped_packets_total"), "Packets that were dropped at the interface for one reason";
    HANDSHAKES = ENID, "TcpHandshakes", COUNT, Counter, Some("enid_eni_tcp_handshakes_total"), "TCP handshakes in which the answer to the interface was timed";
    HANDSHAKE_SECONDS = None, "", SECONDS, Counter, Some("enid_eni_tcp_handshake_seconds_total"), "Seconds that the answers in these handshakes took";
    ROUND_TRIP = ENID, "TcpRoundTripTime", MICROSECONDS, Gauge, None, "Time that the other side took to answer in a TCP handshake, on average of the minute's handshakes";
    TCP_PACKETS_OUT = ENID, "TcpPacketsOut", COUNT, Counter, Some("enid_eni_tcp_transmit_packets_total"), "TCP packets that the interface sent";
    RETRANSMITS = ENID, "TcpRetransmits", COUNT, Counter, Some("enid_eni_tcp_retransmitted_packets_total"), "TCP packets that the interface sent again";
    RETRANSMISSION_RATE = ENID, "TcpRetransmissionRate", PERCENT, Gauge, None, "How many of the minute's TCP packets were sent again";
    BYTES_MIRRORED = ENID, "BytesMirrored", BYTES, Counter, Some("enid_eni_mirrored_bytes_total"), "Bytes that the mirror sessions of the interface sent";
    PACKETS_MIRRORED = ENID, "PacketsMirrored", COUNT, Counter, Some("enid_eni_mirrored_packets_total"), "Packets that the mirror sessions of the interface sent";
    COPIES_LOST = ENID, "CopiesLost", COUNT, Counter, Some("enid_eni_copies_lost_total"), "Copies of the interface's packets that could not be made";
    BW_IN = ENID, "ethtool_bw_in_allowance_exceeded", COUNT, Counter, Some("enid_eni_bw_in_allowance_exceeded_total"), "Packets dropped because the instance got more than its inbound bandwidth";
    BW_OUT = ENID, "ethtool_bw_out_allowance_exceeded", COUNT, Counter, Some("enid_eni_bw_out_allowance_exceeded_total"), "Packets dropped because the instance sent more than its outbound bandwidth";
    PPS = ENID, "ethtool_pps_allowance_exceeded", COUNT, Counter, Some("enid_eni_pps_allowance_exceeded_total"), "Packets dropped because the instance had more packets a second than it may";
    CONNTRACK = ENID, "ethtool_conntrack_allowance_exceeded", COUNT, Counter, Some("enid_eni_conntrack_allowance_exceeded_total"), "Packets dropped because the instance tracked as many connections as it may";
    LINKLOCAL = ENID, "ethtool_linklocal_allowance_exceeded", COUNT, Counter, Some("enid_eni_linklocal_allowance_exceeded_total"), "Packets to link-local services dropped beyond 1,024 a second";
    CONNTRACK_AVAILABLE = ENID, "ethtool_conntrack_allowance_available", COUNT, Gauge, Some("enid_instance_conntrack_allowance_available"), "Connections that the instance can track still";
    CONNECTIONS = ENID, "ConnectionsTracked", COUNT, Gauge, Some("enid_instance_connections_tracked"), "Connections that the instance tracks";
    TABLE_ENTRIES = None, "", COUNT, Gauge, Some("enid_flow_table_entries"), "Entries of the host's flow table";
    TABLE_ENTRIES_MAX = None, "", COUNT, Gauge, Some("enid_flow_table_entries_max"), "Entries that the host's flow table can hold";
    DROPPED = None, "", COUNT, Counter, Some("enid_dropped_packets_total"), "Packets that this host dropped, at whatever interface, by reason";
}

/// This host's interfaces.
pub(crate) struct Interfaces {
    tables: FlowTables,
    owners: BTreeMap<u64, Owner>,
}

/// To whom the counters of an interface belong.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    scope: Scope,
    /// The instance that it is attached to, or was last,
    instance: Option<InstanceId>,
    /// and where that is: it may be another account's.
    instance_scope: Scope,
    /// Whether there is no such interface any more; its last gains are still to be read.
    is_gone: bool,
}

impl Interfaces {
    const NAME: &str = "interfaces";

    /// The interfaces of an installation.
    pub(crate) fn open(installation: Installation) -> Result<Self, FlowError> {
        Ok(Self {
            tables: FlowTables::open(installation)?,
            owners: BTreeMap::new(),
        })
    }

    fn readings(&self, state: &State) -> Result<Vec<Reading>, FlowError> {
        let life = self.tables.life();
        let totals = self.tables.totals()?;
        let attached = self.tables.instances()?;
        let mut readings = Vec::new();
        for (eni, counted) in &with_quiet(totals, attached.keys()).enis {
            if let Some(owner) = self.owners.get(eni) {
                readings.extend(of_interface(&life, *eni, counted, owner, state));
            }
        }
        // One that several interfaces are of is one.
        let instances: BTreeSet<u64> = attached.into_values().collect();
        for instance in instances.into_iter().filter(|instance| *instance != 0) {
            let Some(scope) = scope_of(state, InstanceId(instance)) else {
                continue;
            };
            let held = self.tables.usage(instance)?.tracked;
            let allowed = self.tables.allowance(instance)?;
            let levels = [
                (&CONNECTIONS, Some(held)),
                (
                    &CONNTRACK_AVAILABLE,
                    allowed.map(|allowed| allowed.tracked.saturating_sub(held)),
                ),
            ];
            let id = InstanceId(instance).to_string();
            for (meaning, level) in levels {
                let Some(level) = level else { continue };
                let key = format!("{id}/{}", meaning.name);
                let post = Post::new(meaning, &scope, vec![("InstanceId", id.clone())]);
                readings.push(Reading::level(key, whole(level), vec![post]));
            }
        }
        readings.extend(self.of_host()?);
        Ok(readings)
    }

    fn of_host(&self) -> Result<Vec<Reading>, FlowError> {
        let level = |meaning: &'static Meaning, level| {
            let post = Post::own(meaning, Vec::new());
            Reading::level(meaning.exposed.unwrap_or("").to_owned(), level, vec![post])
        };
        let mut readings = vec![
            level(&TABLE_ENTRIES, whole(self.tables.usage(WHOLE)?.entries)),
            level(&TABLE_ENTRIES_MAX, self.tables.flow_entries_max().into()),
        ];
        for (reason, packets) in self.tables.reasons()? {
            let labels = vec![("reason", reason.label().to_owned())];
            let key = format!("dropped/{}", reason.label());
            let post = Post::own(&DROPPED, labels);
            readings.push(Reading::count(key, packets, vec![post]));
        }
        Ok(readings)
    }
}

impl Source for Interfaces {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn is_overtaken(&self, state: &State) -> bool {
        let now = owners(state, &self.owners);
        let differs = |(eni, owner): (&u64, &Owner)| {
            let before = self.owners.get(eni).and_then(|before| before.instance);
            before.is_some() && before != owner.instance
        };
        now.iter().any(differs)
    }

    fn follow(&mut self, state: &State) {
        self.owners = owners(state, &self.owners);
    }

    fn read(&mut self, state: &State) -> Result<Vec<Reading>, SourceError> {
        let readings = self.readings(state);
        readings.map_err(|error| SourceError::new(Self::NAME, error))
    }

    fn clear(&mut self) {
        self.owners.clear();
    }
}

/// Everybody's interfaces by a state. What was there before and is gone is kept as long as its counters
/// may be.
fn owners(state: &State, before: &BTreeMap<u64, Owner>) -> BTreeMap<u64, Owner> {
    let mut owners = BTreeMap::new();
    for (scope, region) in state.regions() {
        for eni in region.network_interfaces.values() {
            let last = before.get(&eni.id.bits());
            let owner = match (&eni.attachment, last) {
                (Some(own), _) => Owner {
                    scope: scope.clone(),
                    instance: Some(own.instance),
                    instance_scope: own.scope_of_instance(scope),
                    is_gone: false,
                },
                (None, Some(last)) => last.clone(),
                (None, None) => Owner {
                    scope: scope.clone(),
                    instance: None,
                    instance_scope: scope.clone(),
                    is_gone: false,
                },
            };
            owners.insert(eni.id.bits(), owner);
        }
    }
    for (eni, owner) in before {
        owners.entry(*eni).or_insert_with(|| Owner {
            is_gone: true,
            ..owner.clone()
        });
    }
    owners
}

/// Interfaces that packets reach have counters, if only of nothing.
fn with_quiet<'a>(mut totals: Totals, attached: impl Iterator<Item = &'a u64>) -> Totals {
    for eni in attached {
        totals.enis.entry(*eni).or_default();
    }
    totals
}

/// Whose an instance is.
fn scope_of(state: &State, id: InstanceId) -> Option<Scope> {
    let mut regions = state.regions().iter();
    let (scope, _) = regions.find(|(_, region)| region.instances.contains_key(&id))?;
    Some(scope.clone())
}

/// What one interface has counted.
fn of_interface(
    life: &str,
    eni: u64,
    counted: &EniTotals,
    owner: &Owner,
    state: &State,
) -> Vec<Reading> {
    let id = EniId(eni).to_string();
    let instance = owner.instance.and_then(|id| {
        let instance: &Instance = state.region(&owner.instance_scope)?.instances.get(&id)?;
        Some(instance)
    });
    let labels = || match owner.instance {
        Some(instance) => vec![("instance_id", instance.to_string())],
        None => Vec::new(),
    };
    let pace = match owner.is_gone {
        true => Pace::IfAny,
        false => Pace::Minute,
    };
    let of_eni = |meaning| {
        let dimensions = vec![("NetworkInterfaceId", id.clone())];
        let post = Post::new(meaning, &owner.scope, dimensions);
        post.with_labels(labels()).at(pace)
    };
    let count =
        |name: &str, count, posts| Reading::count(format!("{life}/{id}/{name}"), count, posts);
    let mut readings = Vec::new();
    let both: [(_, _, &'static Meaning); 4] = [
        (&BYTES_IN, counted.bytes_in, &NETWORK_IN),
        (&BYTES_OUT, counted.bytes_out, &NETWORK_OUT),
        (&PACKETS_IN, counted.packets_in, &NETWORK_PACKETS_IN),
        (&PACKETS_OUT, counted.packets_out, &NETWORK_PACKETS_OUT),
    ];
    for (meaning, amount, of_instance) in both {
        let mut posts = vec![of_eni(meaning)];
        if let Some(instance) = instance {
            posts.extend(instance_posts(of_instance, &owner.instance_scope, instance));
        }
        readings.push(count(meaning.name, amount, posts));
    }
    let mut own = vec![
        (&FLOWS_NEW, counted.over + counted.active),
        (&LINKLOCAL, counted.dropped_for(Reason::LinkLocalAllowance)),
    ];
    let quiet = [
        (&BYTES_MIRRORED, counted.mirrored_bytes),
        (&PACKETS_MIRRORED, counted.mirrored_packets),
        (&COPIES_LOST, counted.copies_lost),
        (&BW_IN, counted.dropped_for(Reason::BandwidthInAllowance)),
        (&BW_OUT, counted.dropped_for(Reason::BandwidthOutAllowance)),
        (&PPS, counted.dropped_for(Reason::PacketAllowance)),
        (&CONNTRACK, counted.dropped_for(Reason::ConntrackAllowance)),
    ];
    // What only happens to some is told of those.
    own.extend(quiet.into_iter().filter(|(_, amount)| *amount > 0));
    for (meaning, amount) in own {
        readings.push(count(meaning.name, amount, vec![of_eni(meaning)]));
    }
    for (reason, packets) in &counted.drops {
        let word = reason.label().to_owned();
        let mut by_reason = of_eni(&PACKETS_DROPPED_FOR);
        by_reason.dimensions.push(("Reason", word.clone()));
        let posts = vec![of_eni(&PACKETS_DROPPED), by_reason];
        readings.push(count(&format!("dropped/{word}"), *packets, posts));
    }
    if counted.drops.is_empty() {
        readings.push(count("dropped", 0, vec![of_eni(&PACKETS_DROPPED)]));
    }
    if counted.tcp_packets_out > 0 {
        let of_tcp = |meaning: &'static Meaning| {
            let dimensions = instance.map(|it| vec![("InstanceId", it.id.to_string())]);
            let of_instance = dimensions
                .map(|dimensions| Post::new(meaning, &owner.instance_scope, dimensions).at(pace));
            [Some(of_eni(meaning)), of_instance].into_iter().flatten()
        };
        readings.extend(of_connections(counted, of_eni, of_tcp, count));
        let seconds = seconds(counted.handshake_us);
        let posts = vec![of_eni(&HANDSHAKE_SECONDS).at(Pace::Never)];
        readings.push(Reading::level(format!("{id}/handshake"), seconds, posts));
    }
    if !owner.is_gone {
        let key = format!("{id}/active");
        readings.push(Reading::level(
            key,
            whole(counted.active),
            vec![of_eni(&FLOWS_ACTIVE)],
        ));
    }
    readings
}

/// How good the connections of an interface are: what is told of it alone, and what its instance has as
/// well.
fn of_connections<P: Iterator<Item = Post>>(
    counted: &EniTotals,
    of_eni: impl Fn(&'static Meaning) -> Post,
    of_both: impl Fn(&'static Meaning) -> P,
    count: impl Fn(&str, u64, Vec<Post>) -> Reading,
) -> [Reading; 4] {
    let posts = |own: Option<&'static Meaning>, mean: &'static Meaning, role| -> Vec<Post> {
        let parts = of_both(mean).map(|post| post.role(role));
        own.map(&of_eni).into_iter().chain(parts).collect()
    };
    let (trip, rate) = (&ROUND_TRIP, &RETRANSMISSION_RATE);
    [
        count(
            HANDSHAKES.name,
            counted.handshakes,
            posts(Some(&HANDSHAKES), trip, Role::Divisor),
        ),
        count(
            ROUND_TRIP.name,
            counted.handshake_us,
            posts(None, trip, Role::Dividend),
        ),
        count(
            TCP_PACKETS_OUT.name,
            counted.tcp_packets_out,
            posts(Some(&TCP_PACKETS_OUT), rate, Role::Divisor),
        ),
        count(
            RETRANSMITS.name,
            counted.retransmits,
            posts(Some(&RETRANSMITS), rate, Role::Dividend),
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "what Prometheus knows")]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

/// An instance has its metrics every five minutes; with detailed monitoring every minute, and then they
/// count to those of its image, its type and all instances as well.
fn instance_posts(meaning: &'static Meaning, scope: &Scope, instance: &Instance) -> Vec<Post> {
    let is_detailed = instance.recorded.monitoring;
    let pace = match instance.desired {
        DesiredState::Running if is_detailed => Pace::Minute,
        DesiredState::Running => Pace::FiveMinutes,
        // What it carried last is still told; of an instance that does not run there is nothing to tell.
        DesiredState::Stopped | DesiredState::Terminated => Pace::IfAny,
    };
    let id = instance.id.to_string();
    let post = |dimensions| Post::new(meaning, scope, dimensions).at(pace);
    let mut posts = vec![post(vec![("InstanceId", id.clone())])];
    if is_detailed {
        let of_many = [
            vec![("ImageId", instance.image.clone())],
            vec![("InstanceType", instance.instance_type.clone())],
            Vec::new(),
        ];
        posts.extend(of_many.map(|dimensions| post(dimensions).part(&id)));
    }
    posts
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of entries are far below 2^53"
)]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use enid_telemetry::source::Value;

    use super::*;

    fn owner(instance: Option<u64>) -> Owner {
        let scope = Scope {
            account: enid_model::key::AccountId::DEFAULT,
            region: enid_model::key::RegionName::new("eu-west-1"),
        };
        Owner {
            scope: scope.clone(),
            instance_scope: scope,
            instance: instance.map(InstanceId),
            is_gone: false,
        }
    }

    fn counts(readings: &[Reading], name: &str) -> Vec<(String, Pace)> {
        let posts = readings.iter().flat_map(|reading| &reading.posts);
        let named = posts.filter(|post| post.meaning.name == name);
        named
            .map(|post| {
                let dimensions = post.dimensions.iter();
                let words: Vec<String> = dimensions
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                (words.join(","), post.pace)
            })
            .collect()
    }

    #[test]
    fn an_interface_tells_what_it_counted_and_nothing_that_it_cannot_know() {
        let mut counted = EniTotals {
            bytes_in: 7,
            active: 2,
            ..EniTotals::default()
        };
        counted.drops.insert(Reason::IngressRule, 3);
        let state = State::default();
        let readings = of_interface("life", 0xab, &counted, &owner(None), &state);
        let of = |name| counts(&readings, name);
        let eni = "NetworkInterfaceId=eni-000000000000000ab";
        assert_eq!(of("BytesIn"), [(eni.to_owned(), Pace::Minute)]);
        assert_eq!(
            of("PacketsDropped"),
            [
                (eni.to_owned(), Pace::Minute),
                (format!("{eni},Reason=ingress-rule"), Pace::Minute)
            ]
        );
        // Without an instance there is none to tell of, and what never happened has no name.
        assert!(of("NetworkIn").is_empty());
        assert!(of("BytesMirrored").is_empty());
        let keys: BTreeSet<&String> = readings.iter().map(|reading| &reading.key).collect();
        assert_eq!(keys.len(), readings.len());
    }

    #[test]
    fn connections_are_told_of_by_who_has_some() {
        let quiet = EniTotals {
            packets_out: 3,
            ..EniTotals::default()
        };
        let busy = EniTotals {
            tcp_packets_out: 40,
            retransmits: 2,
            handshakes: 4,
            handshake_us: 1_000,
            ..EniTotals::default()
        };
        let of = |counted| of_interface("l", 0xab, counted, &owner(None), &State::default());
        assert!(counts(&of(&quiet), "TcpRetransmits").is_empty());
        assert!(counts(&of(&quiet), "TcpRoundTripTime").is_empty());
        let told = of(&busy);
        let roles = |name: &str| -> Vec<(Role, Value)> {
            let posts = told.iter().flat_map(|reading| {
                let posts = reading.posts.iter();
                posts.map(|post| (post.meaning.name, post.role, reading.value.clone()))
            });
            let named = posts.filter(|(its, ..)| *its == name);
            named.map(|(_, role, value)| (role, value)).collect()
        };
        let counted = [
            ("TcpHandshakes", vec![(Role::Amount, Value::Count(4))]),
            (
                "TcpRoundTripTime",
                vec![
                    (Role::Divisor, Value::Count(4)),
                    (Role::Dividend, Value::Count(1_000)),
                ],
            ),
            (
                "TcpRetransmissionRate",
                vec![
                    (Role::Divisor, Value::Count(40)),
                    (Role::Dividend, Value::Count(2)),
                ],
            ),
        ];
        for (name, wanted) in counted {
            assert_eq!(roles(name), wanted, "{name}");
        }
        let keys: BTreeSet<&String> = told.iter().map(|reading| &reading.key).collect();
        assert_eq!(keys.len(), told.len());
    }

    #[test]
    fn what_is_gone_keeps_its_owner_until_it_was_read() {
        let before = BTreeMap::from([(1, owner(Some(7)))]);
        let after = owners(&State::default(), &before);
        assert!(after[&1].is_gone);
        assert_eq!(after[&1].instance, Some(InstanceId(7)));
        let readings = of_interface("l", 1, &EniTotals::default(), &after[&1], &State::default());
        assert!(counts(&readings, "FlowsActive").is_empty());
        assert_eq!(counts(&readings, "BytesIn")[0].1, Pace::IfAny);
    }
}
