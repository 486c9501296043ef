//! `enid counters`: what was counted at interfaces, in the words of AWS's network driver where it has
//! some. It reads the kernel's tables and needs no daemon.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use enid_host::Installation;
use enid_host::flows::{EniTotals, FlowTables};
use enid_model::id::{EniId, InstanceId, ResourceId as _};
use enid_pipeline::Reason;
use enid_pipeline::room::WHOLE;
use serde::Serialize;

use crate::cli::Common;

/// Everything that is counted.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Counters {
    flow_table: FlowTable,
    interfaces: Vec<Interface>,
}

/// How full the flow table is.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FlowTable {
    entries: u64,
    entries_max: u32,
}

/// What was counted at one interface since it was attached first.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Interface {
    eni: String,
    instance: Option<String>,
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
    /// Of TCP: packets that it sent, those of them that it sent again, and of how many handshakes the answer
    /// to it was timed, with the sum of these times.
    tcp_packets_out: u64,
    tcp_retransmits: u64,
    tcp_handshakes: u64,
    tcp_handshake_us: u64,
    /// What its mirror sessions sent, and the copies of its packets that could not be made, or told of.
    mirrored_packets: u64,
    mirrored_bytes: u64,
    copies_lost: u64,
    /// Flows of what it sends: all that there were, those that are over, and those in the table.
    flows_new: u64,
    flows_expired: u64,
    flows_active: u64,
    bw_in_allowance_exceeded: u64,
    bw_out_allowance_exceeded: u64,
    pps_allowance_exceeded: u64,
    conntrack_allowance_exceeded: u64,
    linklocal_allowance_exceeded: u64,
    /// Of its instance, as all allowances; none if that is not enforced.
    conntrack_allowance_available: Option<u64>,
    /// Connections that its instance tracks, and entries of the flow table that it holds.
    conntrack_connections: u64,
    flow_entries: u64,
    /// All dropped packets, by reason.
    drops: BTreeMap<&'static str, u64>,
}

pub(crate) fn run(common: &Common, id: Option<&str>) -> anyhow::Result<ExitCode> {
    let data = common.data_dir()?.serving();
    let wanted = id.map(Wanted::parse).transpose()?;
    let counters = FlowTables::open(Installation::of(data.path()))
        .and_then(|tables| read(&tables, wanted))
        .map_err(|error| anyhow::anyhow!("read the counters: {}", enid_host::chain(&error)))?;
    if let Some(id) = id {
        anyhow::ensure!(
            !counters.interfaces.is_empty(),
            "nothing is counted for {id} on this host"
        );
    }
    common.printer().print(&counters, words)?;
    Ok(ExitCode::SUCCESS)
}

/// Whose counters are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Eni(EniId),
    Instance(InstanceId),
}

impl Wanted {
    fn parse(text: &str) -> anyhow::Result<Self> {
        if let Ok(eni) = text.parse() {
            return Ok(Self::Eni(eni));
        }
        text.parse()
            .map(Self::Instance)
            .ok()
            .with_context(|| format!("{text} is the id of neither an interface nor an instance"))
    }

    fn is(self, eni: u64, instance: u64) -> bool {
        match self {
            Self::Eni(id) => id.bits() == eni,
            Self::Instance(id) => id.bits() == instance,
        }
    }
}

fn read(
    tables: &FlowTables,
    wanted: Option<Wanted>,
) -> Result<Counters, enid_host::flows::FlowError> {
    let mut totals = tables.totals()?;
    let instances = tables.instances()?;
    for eni in instances.keys() {
        totals.enis.entry(*eni).or_default();
    }
    let mut interfaces = Vec::new();
    for (eni, counted) in &totals.enis {
        let instance = instances.get(eni).copied().unwrap_or(0);
        if wanted.is_some_and(|wanted| !wanted.is(*eni, instance)) {
            continue;
        }
        let mut interface = interface(*eni, instance, counted);
        if instance != 0 {
            let held = tables.usage(instance)?;
            interface.conntrack_connections = held.tracked;
            interface.flow_entries = held.entries;
            let allowance = tables.allowance(instance)?;
            interface.conntrack_allowance_available =
                allowance.map(|allowance| allowance.tracked.saturating_sub(held.tracked));
        }
        interfaces.push(interface);
    }
    Ok(Counters {
        flow_table: FlowTable {
            entries: tables.usage(WHOLE)?.entries,
            entries_max: tables.flow_entries_max(),
        },
        interfaces,
    })
}

fn interface(eni: u64, instance: u64, counted: &EniTotals) -> Interface {
    Interface {
        eni: EniId(eni).to_string(),
        instance: (instance != 0).then(|| InstanceId(instance).to_string()),
        packets_in: counted.packets_in,
        bytes_in: counted.bytes_in,
        packets_out: counted.packets_out,
        bytes_out: counted.bytes_out,
        tcp_packets_out: counted.tcp_packets_out,
        tcp_retransmits: counted.retransmits,
        tcp_handshakes: counted.handshakes,
        tcp_handshake_us: counted.handshake_us,
        mirrored_packets: counted.mirrored_packets,
        mirrored_bytes: counted.mirrored_bytes,
        copies_lost: counted.copies_lost,
        flows_new: counted.over + counted.active,
        flows_expired: counted.over,
        flows_active: counted.active,
        bw_in_allowance_exceeded: counted.dropped_for(Reason::BandwidthInAllowance),
        bw_out_allowance_exceeded: counted.dropped_for(Reason::BandwidthOutAllowance),
        pps_allowance_exceeded: counted.dropped_for(Reason::PacketAllowance),
        conntrack_allowance_exceeded: counted.dropped_for(Reason::ConntrackAllowance),
        linklocal_allowance_exceeded: counted.dropped_for(Reason::LinkLocalAllowance),
        conntrack_allowance_available: None,
        conntrack_connections: 0,
        flow_entries: 0,
        drops: counted
            .drops
            .iter()
            .map(|(reason, packets)| (reason.label(), *packets))
            .collect(),
    }
}

fn words(counters: &Counters) -> String {
    let FlowTable {
        entries,
        entries_max,
    } = &counters.flow_table;
    let mut text = format!("flow table: {entries} of {entries_max} entries");
    for interface in &counters.interfaces {
        let Interface {
            eni,
            instance,
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            flows_new,
            flows_expired,
            flows_active,
            tcp_packets_out,
            tcp_retransmits,
            tcp_handshakes,
            conntrack_connections,
            flow_entries,
            ..
        } = interface;
        let instance = instance.as_deref().unwrap_or("no instance");
        let rtt = interface.tcp_handshake_us.checked_div(*tcp_handshakes);
        let rtt = rtt.map_or_else(String::new, |mean| format!(", {mean} us on average"));
        text.push_str(&format!(
            "\n{eni} ({instance})\
             \n     in: {packets_in} packets, {bytes_in} bytes\
             \n     out: {packets_out} packets, {bytes_out} bytes\
             \n     tcp: {tcp_packets_out} packets out, {tcp_retransmits} of them again, {tcp_handshakes} timed \
             handshakes{rtt}\
             \n     flows: {flows_active} active, {flows_new} new, {flows_expired} expired\
             \n     instance: {conntrack_connections} tracked connections, {flow_entries} flow entries"
        ));
        let available = interface.conntrack_allowance_available;
        let named = [
            (
                "bw_in_allowance_exceeded",
                interface.bw_in_allowance_exceeded,
            ),
            (
                "bw_out_allowance_exceeded",
                interface.bw_out_allowance_exceeded,
            ),
            ("pps_allowance_exceeded", interface.pps_allowance_exceeded),
            (
                "conntrack_allowance_exceeded",
                interface.conntrack_allowance_exceeded,
            ),
            (
                "linklocal_allowance_exceeded",
                interface.linklocal_allowance_exceeded,
            ),
        ];
        for (name, count) in named {
            text.push_str(&format!("\n     {name}: {count}"));
        }
        if let Some(available) = available {
            text.push_str(&format!(
                "\n     conntrack_allowance_available: {available}"
            ));
        }
        if interface.mirrored_packets > 0 {
            let (packets, bytes) = (interface.mirrored_packets, interface.mirrored_bytes);
            text.push_str(&format!(
                "\n     mirrored: {packets} packets, {bytes} bytes"
            ));
        }
        if interface.copies_lost > 0 {
            text.push_str(&format!("\n     copies lost: {}", interface.copies_lost));
        }
        for (reason, packets) in &interface.drops {
            text.push_str(&format!("\n     dropped, {reason}: {packets}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_have_the_drivers_names_and_their_own() {
        let mut counted = EniTotals {
            over: 2,
            active: 5,
            handshakes: 2,
            handshake_us: 300,
            mirrored_packets: 7,
            ..EniTotals::default()
        };
        counted.drops.insert(Reason::BandwidthOutAllowance, 3);
        counted.drops.insert(Reason::IngressRule, 2);
        let shown = interface(0xab, 0, &counted);
        assert_eq!(shown.bw_out_allowance_exceeded, 3);
        assert_eq!(shown.bw_in_allowance_exceeded, 0);
        assert_eq!((shown.flows_active, shown.flows_expired), (5, 2));
        assert_eq!(shown.drops["ingress-rule"], 2);
        let text = words(&Counters {
            flow_table: FlowTable {
                entries: 5,
                entries_max: 64,
            },
            interfaces: vec![shown],
        });
        assert!(text.contains("bw_out_allowance_exceeded: 3"), "{text}");
        assert!(text.contains("dropped, ingress-rule: 2"), "{text}");
        assert!(text.contains("mirrored: 7 packets, 0 bytes"), "{text}");
        assert!(!text.contains("copies lost"), "{text}");
        assert!(text.contains("2 timed handshakes, 150 us on"), "{text}");
        assert!(!text.contains("conntrack_allowance_available"), "{text}");
    }

    #[test]
    fn an_interface_or_an_instance_can_be_asked_for() -> anyhow::Result<()> {
        let eni = Wanted::parse("eni-000000000000000ab")?;
        assert!(eni.is(0xab, 1) && !eni.is(0xac, 0xab));
        let instance = Wanted::parse("i-000000000000000ab")?;
        assert!(instance.is(1, 0xab) && !instance.is(0xab, 1));
        assert!(Wanted::parse("vpc-000000000000000ab").is_err());
        Ok(())
    }
}
