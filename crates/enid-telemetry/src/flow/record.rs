//! Records: rows of one window put together, as a flow log tells them.

use std::collections::BTreeMap;
use std::sync::Arc;

use enid_model::flow_log::{Field, FlowLog, LogFormat};

use super::row::Told;

/// What rows share that are one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    eni: String,
    is_egress: bool,
    is_accepted: bool,
    source: String,
    target: String,
    packet_source: String,
    packet_target: String,
    source_port: i32,
    target_port: i32,
    protocol: i32,
    /// Enid's own fields, of formats that have any.
    own: [Option<String>; 4],
}

/// Whether a record tells of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    NoData,
    Ok,
    SkipData,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NoData => "NODATA",
            Self::Ok => "OK",
            Self::SkipData => "SKIPDATA",
        }
    }
}

/// What is said of the interface of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) account: String,
    pub(super) region: String,
    pub(super) vpc: String,
    pub(super) subnet: String,
    pub(super) instance: Option<String>,
    pub(super) zone_id: String,
}

impl Facts {
    fn of(row: &Told<'_>) -> Self {
        let text = |column| row.text(column).unwrap_or("-").to_owned();
        Self {
            account: text("account"),
            region: text("region"),
            vpc: text("vpc"),
            subnet: text("subnet"),
            instance: row.text("instance").map(str::to_owned),
            zone_id: text("zone_id"),
        }
    }

    fn are_of(&self, row: &Told<'_>) -> bool {
        let is = |own: &str, column| row.text(column).unwrap_or("-") == own;
        self.instance.as_deref() == row.text("instance")
            && is(&self.account, "account")
            && is(&self.region, "region")
            && is(&self.vpc, "vpc")
            && is(&self.subnet, "subnet")
            && is(&self.zone_id, "zone_id")
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) eni: String,
    pub(super) facts: Arc<Facts>,
    pub(super) status: Status,
    /// What of the packets it tells, if it tells of any.
    pub(super) packets: Option<Packets>,
    pub(super) start_s: i64,
    pub(super) end_s: i64,
}

/// What a record tells of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packets {
    pub(super) is_egress: bool,
    pub(super) is_accepted: bool,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) packet_source: String,
    pub(super) packet_target: String,
    pub(super) source_port: i32,
    pub(super) target_port: i32,
    pub(super) protocol: i32,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) tcp_flags: i32,
    pub(super) traffic_path: Option<i32>,
    /// The rule of a security group, the entry of a network ACL, the route, and why it was dropped.
    pub(super) own: [Option<String>; 4],
    pub(super) rtt_us: Option<i32>,
    pub(super) retransmits: Option<i64>,
}

/// What rows of one flow add up to.
#[derive(Debug)]
struct Sum {
    facts: Arc<Facts>,
    packets: u64,
    bytes: u64,
    tcp_flags: i32,
    traffic_path: Option<i32>,
    rtt_us: Option<i32>,
    retransmits: Option<i64>,
    start_ms: i64,
    end_ms: i64,
}

/// The records of one window, for one flow log.
pub(super) struct Window<'a> {
    flow_log: &'a FlowLog,
    has_own: bool,
    begins_ms: i64,
    ends_ms: i64,
    sums: BTreeMap<Flow, Sum>,
    skipped: BTreeMap<String, Arc<Facts>>,
    /// What was said of the interface of the last row: rows of one often follow each other.
    latest: Arc<Facts>,
}

impl<'a> Window<'a> {
    pub(super) fn new(flow_log: &'a FlowLog, begins_ms: i64, ends_ms: i64) -> Self {
        Self {
            has_own: has_own(&flow_log.format),
            flow_log,
            begins_ms,
            ends_ms,
            sums: BTreeMap::new(),
            skipped: BTreeMap::new(),
            latest: Arc::default(),
        }
    }

    /// Adds a row of the window, which the flow log covers.
    pub(super) fn add(&mut self, row: &Told<'_>) {
        let eni = row.eni();
        if row.flag("is_skipped") {
            self.skipped
                .insert(eni.to_owned(), Arc::new(Facts::of(row)));
            return;
        }
        let is_accepted = row.flag("is_accepted");
        if !self.flow_log.traffic.tells(is_accepted) {
            return;
        }
        let text = |column| row.text(column).unwrap_or("-").to_owned();
        let number = |column| row.number(column).unwrap_or(0);
        let own = match self.has_own {
            false => [const { None }; 4],
            true => [
                row.text("sg_rule").map(str::to_owned),
                row.number("nacl_entry").map(|entry| entry.to_string()),
                row.text("route").map(str::to_owned),
                row.text("drop_reason").map(str::to_owned),
            ],
        };
        let flow = Flow {
            eni: eni.to_owned(),
            is_egress: row.flag("is_egress"),
            is_accepted,
            source: text("source"),
            target: text("target"),
            packet_source: text("packet_source"),
            packet_target: text("packet_target"),
            source_port: number("source_port"),
            target_port: number("target_port"),
            protocol: number("protocol"),
            own,
        };
        if !self.latest.are_of(row) {
            self.latest = Arc::new(Facts::of(row));
        }
        let sum = self.sums.entry(flow).or_insert_with(|| Sum {
            facts: Arc::clone(&self.latest),
            packets: 0,
            bytes: 0,
            tcp_flags: 0,
            traffic_path: row.number("traffic_path"),
            rtt_us: None,
            retransmits: None,
            start_ms: i64::MAX,
            end_ms: i64::MIN,
        });
        sum.packets += row.count("packets");
        sum.bytes += row.count("bytes");
        sum.tcp_flags |= number("tcp_flags");
        // Of two connections on the same ports in one window the later one's.
        sum.rtt_us = row.number("rtt_us").or(sum.rtt_us);
        if let Some(retransmits) = row.number("retransmits") {
            *sum.retransmits.get_or_insert(0) += i64::from(retransmits);
        }
        sum.start_ms = sum.start_ms.min(row.start_ms());
        sum.end_ms = sum.end_ms.max(row.end_ms());
    }

    /// The record of an interface that tells of no packets.
    pub(super) fn without_packets(&self, eni: String, facts: Arc<Facts>, status: Status) -> Record {
        Record {
            eni,
            facts,
            status,
            packets: None,
            start_s: self.begins_ms.div_euclid(1000),
            end_s: (self.ends_ms - 1).div_euclid(1000),
        }
    }

    /// The records of all rows that were added.
    pub(super) fn records(mut self) -> impl Iterator<Item = Record> {
        let skipped = std::mem::take(&mut self.skipped).into_iter();
        let skipped: Vec<Record> = skipped
            .map(|(eni, facts)| self.without_packets(eni, facts, Status::SkipData))
            .collect();
        self.sums
            .into_iter()
            .map(|(flow, sum)| Record {
                eni: flow.eni,
                facts: sum.facts,
                status: Status::Ok,
                start_s: sum.start_ms.div_euclid(1000),
                end_s: sum.end_ms.div_euclid(1000),
                packets: Some(Packets {
                    is_egress: flow.is_egress,
                    is_accepted: flow.is_accepted,
                    source: flow.source,
                    target: flow.target,
                    packet_source: flow.packet_source,
                    packet_target: flow.packet_target,
                    source_port: flow.source_port,
                    target_port: flow.target_port,
                    protocol: flow.protocol,
                    packets: sum.packets,
                    bytes: sum.bytes,
                    tcp_flags: sum.tcp_flags,
                    traffic_path: sum.traffic_path,
                    own: flow.own,
                    rtt_us: sum.rtt_us,
                    retransmits: sum.retransmits,
                }),
            })
            .chain(skipped)
    }
}

/// Whether a format has fields of Enid's own: packets that differ in these are different records then.
fn has_own(format: &LogFormat) -> bool {
    let own = [
        Field::SgRuleId,
        Field::NaclEntry,
        Field::Route,
        Field::DropReason,
    ];
    format.fields().iter().any(|field| own.contains(field))
}
