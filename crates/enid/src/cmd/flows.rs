//! `enid flows`: live flows with verdicts, dropped ones too. It reads the kernel's tables and needs
//! no daemon, but for the names of load balancers and what belongs to them.

mod balancers;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use enid_host::Installation;
use enid_host::flows::{FlowTables, monotonic_ns};
use enid_model::id::{EniId, NatGatewayId, SecurityGroupRuleId};
use enid_pipeline::Reason;
use enid_pipeline::drops::DropRecord;
use enid_pipeline::flow::{AclEntries, FlowKey, FlowRecord, flag};
use enid_pipeline::table::{OUTSIDE, protocol};
use serde::Serialize;

pub(crate) use self::balancers::Balancers;
use crate::cli::{Common, FlowFilter};

/// A flow in one direction: what left one interface for one 5-tuple.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Flow {
    /// `forward` or `drop`.
    verdict: &'static str,
    /// Why it was dropped.
    reason: Option<&'static str>,
    /// An interface, or `outside`.
    source_eni: Option<String>,
    destination_eni: Option<String>,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// For ICMP queries the identifier.
    source_port: u16,
    /// For ICMP type × 256 + code.
    destination_port: u16,
    /// The rules that admitted the connection that the flow belongs to.
    egress_rule: Option<String>,
    ingress_rule: Option<String>,
    /// The numbers of the network ACL entries that let it cross the edges of subnets, in their order;
    /// 0 where an ACL allows everything.
    acl_entries: Vec<u16>,
    /// What its packets go on with, if that is something else.
    translation: Option<Translated>,
    /// The NAT gateway that it passes.
    nat_gateway: Option<String>,
    /// The interface of the load balancer's node that it passes.
    load_balancer_eni: Option<String>,
    /// The load balancer, if a daemon runs that knows it,
    load_balancer: Option<String>,
    /// the target group that the flow belongs to,
    target_group: Option<String>,
    /// and its target there: an instance or an address.
    target: Option<String>,
    /// Whether these packets answer the other direction's.
    reply: bool,
    /// Whether a change of rules leaves it alone, at the two interfaces.
    tracked_at_source: bool,
    tracked_at_destination: bool,
    packets: u64,
    bytes: u64,
    /// How long the other side took to answer in the connection's handshake; TCP alone, if it was seen.
    rtt_us: Option<u32>,
    /// Those of the packets that were sent again; TCP alone.
    retransmits: Option<u32>,
    age_ms: u64,
    idle_ms: u64,
}

/// The ends of a packet after its translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Translated {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
}

/// How often `--follow` looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(common: &Common, follow: bool, wanted: &FlowFilter) -> anyhow::Result<ExitCode> {
    if let Some(reason) = &wanted.reason {
        let mut known = Reason::ALL.iter().map(|reason| reason.label());
        anyhow::ensure!(
            known.any(|label| label == reason),
            "--reason {reason}: there is no such reason (see docs/reasons.md)"
        );
    }
    let data = common.data_dir()?.serving();
    let tables = FlowTables::open(Installation::of(data.path()))
        .map_err(|error| anyhow::anyhow!("read the flows: {}", enid_host::chain(&error)))?;
    if !follow {
        let flows = read(common, &tables, wanted)?;
        common.printer().print(&flows, |flows| {
            let lines: Vec<String> = flows.iter().map(words).collect();
            lines.join("\n")
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut seen: HashMap<String, u64> = HashMap::new();
    loop {
        for flow in read(common, &tables, wanted)? {
            let name = name(&flow);
            if seen.insert(name, flow.packets) != Some(flow.packets) {
                common.printer().print(&flow, words)?;
            }
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}

fn read(common: &Common, tables: &FlowTables, wanted: &FlowFilter) -> anyhow::Result<Vec<Flow>> {
    let failed = |error| anyhow::anyhow!("read the flows: {}", enid_host::chain(&error));
    let now = monotonic_ns();
    let forwarded = tables.flows().map_err(failed)?;
    let dropped = tables.drops().map_err(failed)?;
    let mut flows: Vec<Flow> = forwarded
        .iter()
        .map(|(key, record)| forward(key, record, now))
        .chain(
            dropped
                .iter()
                .map(|(key, record)| drop_of(key, record, now)),
        )
        .collect();
    // Whoever asks for a name needs it; all others see what the kernel knows.
    let is_named = wanted.load_balancer.is_some() || wanted.target_group.is_some();
    if is_named || flows.iter().any(is_balanced) {
        match Balancers::ask(common) {
            Ok(balancers) => flows.iter_mut().for_each(|flow| balancers.name(flow)),
            Err(error) if is_named => return Err(error.context("find the load balancers")),
            Err(_) => {}
        }
    }
    let enis = match wanted.instance {
        None => None,
        Some(instance) => {
            let all = tables.instances().map_err(failed)?.into_iter();
            let own = all.filter(|(_, of)| *of == instance.0);
            Some(own.map(|(eni, _)| EniId(eni).to_string()).collect())
        }
    };
    flows.retain(|flow| is_wanted(flow, wanted, enis.as_ref()));
    flows.sort_by_key(|flow| flow.idle_ms);
    Ok(flows)
}

/// Whether a flow passes the node of a load balancer, or was dropped by one.
fn is_balanced(flow: &Flow) -> bool {
    let mut reasons = Reason::ALL.iter().filter(|it| it.is_of_balancer());
    flow.load_balancer_eni.is_some() || reasons.any(|it| flow.reason == Some(it.label()))
}

/// Whether a flow is one of those that are asked for; `enis` are those of the instance that is named.
fn is_wanted(flow: &Flow, wanted: &FlowFilter, enis: Option<&BTreeSet<String>>) -> bool {
    let ends = || {
        [&flow.source_eni, &flow.destination_eni]
            .into_iter()
            .flatten()
    };
    let has_ports = matches!(flow.protocol, protocol::TCP | protocol::UDP);
    let ports = [flow.source_port, flow.destination_port];
    enis.is_none_or(|enis| ends().any(|end| enis.contains(end)))
        && wanted
            .eni
            .is_none_or(|eni| ends().any(|end| *end == eni.to_string()))
        && wanted
            .port
            .is_none_or(|port| has_ports && ports.contains(&port))
        && wanted
            .verdict
            .as_deref()
            .is_none_or(|it| it == flow.verdict)
        && wanted
            .reason
            .as_deref()
            .is_none_or(|it| flow.reason == Some(it))
        && is_name(wanted.load_balancer.as_ref(), flow.load_balancer.as_ref())
        && is_name(wanted.target_group.as_ref(), flow.target_group.as_ref())
}

fn is_name(wanted: Option<&String>, own: Option<&String>) -> bool {
    wanted.is_none() || wanted == own
}

fn forward(key: &FlowKey, record: &FlowRecord, now: u64) -> Flow {
    let has = |bit| record.flags & bit != 0;
    // An entry has the rule at each of its own ends; what answers was admitted the other way round.
    let reply = has(flag::REPLY);
    let (egress, ingress) = match reply {
        true => (record.ingress_rule, record.egress_rule),
        false => (record.egress_rule, record.ingress_rule),
    };
    let is_tcp = key.protocol == protocol::TCP;
    Flow {
        verdict: "forward",
        reason: None,
        rtt_us: record.round_trip_us().filter(|_| is_tcp),
        retransmits: is_tcp.then(|| record.retransmits()),
        egress_rule: rule(egress),
        ingress_rule: rule(ingress),
        acl_entries: acl_entries(record.acl_entries),
        translation: has(flag::TRANSLATED).then(|| translated(key, record)),
        nat_gateway: (record.via != 0 && !has(flag::BALANCED))
            .then(|| NatGatewayId(record.via).to_string()),
        load_balancer_eni: has(flag::BALANCED).then(|| EniId(record.via).to_string()),
        reply,
        tracked_at_source: has(flag::TRACKED_AT_SOURCE),
        tracked_at_destination: has(flag::TRACKED_AT_TARGET),
        packets: record.packets,
        bytes: record.bytes,
        age_ms: since_ms(record.first_seen_ns, now),
        idle_ms: since_ms(record.last_seen_ns, now),
        ..ends(key, record.source_eni, record.target_eni)
    }
}

fn drop_of(key: &FlowKey, record: &DropRecord, now: u64) -> Flow {
    let number = u32::try_from(record.reason).ok();
    let reason = number.and_then(Reason::from_number);
    Flow {
        verdict: "drop",
        reason: Some(reason.map_or("unknown", Reason::label)),
        packets: record.packets,
        bytes: record.bytes,
        age_ms: since_ms(record.first_seen_ns, now),
        idle_ms: since_ms(record.last_seen_ns, now),
        ..ends(key, record.source_eni, record.target_eni)
    }
}

fn ends(key: &FlowKey, source_eni: u64, target_eni: u64) -> Flow {
    let eni = |bits| match bits {
        0 => None,
        OUTSIDE => Some("outside".to_owned()),
        _ => Some(EniId(bits).to_string()),
    };
    Flow {
        verdict: "",
        reason: None,
        source_eni: eni(source_eni),
        destination_eni: eni(target_eni),
        source: IpAddr::from(key.source.octets()).to_canonical(),
        destination: IpAddr::from(key.target.octets()).to_canonical(),
        protocol: key.protocol,
        source_port: key.source_port.value(),
        destination_port: key.target_port.value(),
        egress_rule: None,
        ingress_rule: None,
        acl_entries: Vec::new(),
        translation: None,
        nat_gateway: None,
        load_balancer_eni: None,
        load_balancer: None,
        target_group: None,
        target: None,
        reply: false,
        tracked_at_source: false,
        tracked_at_destination: false,
        packets: 0,
        bytes: 0,
        rtt_us: None,
        retransmits: None,
        age_ms: 0,
        idle_ms: 0,
    }
}

fn rule(bits: u64) -> Option<String> {
    (bits != 0).then(|| SecurityGroupRuleId(bits).to_string())
}

/// The word of a flow as the entries that it lists; the edges that it did not cross are left out.
pub(crate) fn acl_entries(word: AclEntries) -> Vec<u16> {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    let mut entries: Vec<u16> = [[a, b], [c, d], [e, f], [g, h]]
        .into_iter()
        .map(u16::from_le_bytes)
        .collect();
    while entries.last() == Some(&0) {
        entries.pop();
    }
    entries
}

fn translated(key: &FlowKey, record: &FlowRecord) -> Translated {
    let new = record.translation(key);
    Translated {
        source: new.source.into(),
        destination: new.target.into(),
        source_port: new.source_port.value(),
        destination_port: new.target_port.value(),
    }
}

fn since_ms(then: u64, now: u64) -> u64 {
    now.saturating_sub(then) / 1_000_000
}

fn name(flow: &Flow) -> String {
    format!(
        "{} {:?} {} {} {} {} {}",
        flow.verdict,
        flow.source_eni,
        flow.protocol,
        flow.source,
        flow.source_port,
        flow.destination,
        flow.destination_port
    )
}

fn words(flow: &Flow) -> String {
    let protocol = match flow.protocol {
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMP_V6 => "icmpv6".to_owned(),
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        other => format!("protocol {other}"),
    };
    let has_ports = matches!(flow.protocol, protocol::TCP | protocol::UDP);
    let end = |address: IpAddr, port: u16| match (has_ports, address) {
        (true, IpAddr::V6(address)) => format!("[{address}]:{port}"),
        (true, address) => format!("{address}:{port}"),
        (false, address) => address.to_string(),
    };
    let mut ends = format!(
        "{} -> {}",
        end(flow.source, flow.source_port),
        end(flow.destination, flow.destination_port)
    );
    if let Some(new) = &flow.translation {
        let source = end(new.source, new.source_port);
        let destination = end(new.destination, new.destination_port);
        ends.push_str(&format!(" as {source} -> {destination}"));
    }
    let names = [
        &flow.nat_gateway,
        &flow.load_balancer,
        &flow.load_balancer_eni,
    ];
    if let Some(through) = names.into_iter().flatten().next() {
        ends.push_str(&format!(" through {through}"));
    }
    if let Some(target) = &flow.target {
        ends.push_str(&format!(" to {target}"));
    }
    if let Some(group) = &flow.target_group {
        ends.push_str(&format!(" of {group}"));
    }
    let why = match (flow.reason, &flow.egress_rule, &flow.ingress_rule) {
        (Some(reason), ..) => reason.to_owned(),
        (None, egress, ingress) => {
            let or_none = |rule: &Option<String>| rule.clone().unwrap_or_else(|| "-".to_owned());
            format!("egress {} ingress {}", or_none(egress), or_none(ingress))
        }
    };
    let mut quality = String::new();
    if let Some(microseconds) = flow.rtt_us {
        quality.push_str(&format!(" rtt {microseconds} us"));
    }
    if let Some(again @ 1..) = flow.retransmits {
        quality.push_str(&format!(" retransmits {again}"));
    }
    format!(
        "{:7} {protocol} {ends} packets {} bytes {}{quality} idle {} ms {why}{}",
        flow.verdict,
        flow.packets,
        flow.bytes,
        flow.idle_ms,
        if flow.reply { " (reply)" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use enid_pipeline::bytes::{Addr, Be16};
    use enid_pipeline::flow::{RETRANSMIT, Translation};

    use super::*;

    #[test]
    fn a_flow_is_shown_if_all_that_is_asked_for_holds() {
        let key = FlowKey {
            protocol: protocol::TCP,
            source_port: Be16::new(40_000),
            target_port: Be16::new(443),
            ..FlowKey::default()
        };
        let record = DropRecord {
            reason: Reason::EgressRule as u64,
            source_eni: 7,
            target_eni: 8,
            ..DropRecord::default()
        };
        let flow = drop_of(&key, &record, 0);
        let enis = BTreeSet::from([EniId(8).to_string()]);
        let wanted = |change: &dyn Fn(&mut FlowFilter)| {
            let mut filter = FlowFilter::default();
            change(&mut filter);
            is_wanted(&flow, &filter, None)
        };
        assert!(wanted(&|_| {}));
        assert!(wanted(&|it| it.eni = Some(EniId(8))) && !wanted(&|it| it.eni = Some(EniId(9))));
        assert!(wanted(&|it| it.port = Some(443)) && !wanted(&|it| it.port = Some(80)));
        let (drop, forward) = (Some("drop".to_owned()), Some("forward".to_owned()));
        assert!(wanted(&|it| it.verdict.clone_from(&drop)));
        assert!(!wanted(&|it| it.verdict.clone_from(&forward)));
        let reason = |text: &str| Some(text.to_owned());
        assert!(wanted(&|it| it.reason = reason("egress-rule")));
        assert!(!wanted(&|it| it.reason = reason("no-route")));
        assert!(!wanted(&|it| it.target_group = Some("web".to_owned())));
        let nobody = FlowFilter::default();
        assert!(is_wanted(&flow, &nobody, Some(&enis)));
        assert!(!is_wanted(&flow, &nobody, Some(&BTreeSet::new())));
    }

    #[test]
    fn a_translated_flow_says_both_sides() {
        let key = FlowKey {
            ifindex: 3,
            protocol: protocol::TCP,
            pad: [0; 3],
            source: Addr::v4([10, 0, 0, 5]),
            target: Addr::v4([203, 0, 113, 9]),
            source_port: Be16::new(40_000),
            target_port: Be16::new(443),
        };
        let new = Translation {
            source: Addr::v4([198, 18, 0, 7]),
            target: Addr::v4([203, 0, 113, 9]),
            source_port: Be16::new(1_025),
            target_port: Be16::new(443),
        };
        let new = new.words(&key.source, &key.target);
        let record = FlowRecord {
            source_eni: 7,
            target_eni: OUTSIDE,
            flags: flag::TRANSLATED,
            new_addresses: new.addresses,
            new_ports: new.ports,
            begun: 412 << 32,
            troubles: 2 * RETRANSMIT,
            via: 9,
            acl_entries: 100 | 32_766 << 16,
            ..FlowRecord::default()
        };
        let flow = forward(&key, &record, 0);
        assert_eq!(flow.destination_eni.as_deref(), Some("outside"));
        assert_eq!(flow.acl_entries, [100, 32_766]);
        let line = words(&flow);
        let ends = "10.0.0.5:40000 -> 203.0.113.9:443 as 198.18.0.7:1025 -> 203.0.113.9:443";
        assert!(line.contains(ends), "{line}");
        assert!(line.contains("through nat-00000000000000009"), "{line}");
        assert!(line.contains(" rtt 412 us retransmits 2 idle "), "{line}");
        let plain = FlowRecord {
            flags: 0,
            begun: 0,
            troubles: 7,
            via: 0,
            ..record
        };
        let line = words(&forward(&key, &plain, 0));
        assert!(
            !line.contains(" as ") && !line.contains("through"),
            "{line}"
        );
        assert!(
            !line.contains("rtt") && !line.contains("retransmits"),
            "{line}"
        );
    }
}
