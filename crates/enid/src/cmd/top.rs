//! `enid top`: the interfaces of this host by what they carry, again and again. It reads the kernel's tables and
//! needs no daemon.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use enid_host::Installation;
use enid_host::flows::{EniTotals, FlowTables, Totals, monotonic_ns};
use enid_model::id::{EniId, InstanceId};
use serde::Serialize;

use crate::cli::Common;

/// What one interface carries, per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    eni: String,
    instance: Option<String>,
    bytes_in_per_s: f64,
    bytes_out_per_s: f64,
    packets_in_per_s: f64,
    packets_out_per_s: f64,
    drops_per_s: f64,
    /// How long others took on average to answer in handshakes, of those since the last look.
    rtt_us: Option<f64>,
    /// Packets of TCP that it sent again.
    retransmits_per_s: f64,
    /// Flows of what it sends that are in the table.
    flows: u64,
    /// Why most of its dropped packets were, of those since the last look.
    reason: Option<&'static str>,
}

/// What clears a terminal (ECMA-48: erase the page, go to its beginning).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Prints tables for ever, or so many of them.
pub(crate) fn run(
    common: &Common,
    every_s: f64,
    count: Option<u64>,
    lines: usize,
) -> anyhow::Result<ExitCode> {
    ensure!(
        (0.1..=3600.0).contains(&every_s),
        "--every: 0.1 to 3600 seconds are expected"
    );
    let data = common.data_dir()?.serving();
    let failed = |error| anyhow::anyhow!("read the counters: {}", enid_host::chain(&error));
    let tables = FlowTables::open(Installation::of(data.path())).map_err(failed)?;
    let mut before = (monotonic_ns(), tables.totals().map_err(failed)?);
    let mut left = count;
    while left != Some(0) {
        std::thread::sleep(Duration::from_secs_f64(every_s));
        let now = (monotonic_ns(), tables.totals().map_err(failed)?);
        let instances = tables.instances().map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
        let seconds = (now.0.saturating_sub(before.0) as f64 / 1e9).max(f64::MIN_POSITIVE);
        let rows = rows(&before.1, &now.1, &instances, seconds);
        // On a terminal each table takes the last one's place.
        let place = match std::io::stdout().is_terminal() {
            true => CLEAR,
            false => "",
        };
        let table = |rows: &Vec<Row>| format!("{place}{}", words(rows, lines));
        common.printer().print(&rows, table)?;
        before = now;
        left = left.map(|left| left - 1);
    }
    Ok(ExitCode::SUCCESS)
}

/// What changed between two looks, the busiest first.
fn rows(before: &Totals, now: &Totals, instances: &BTreeMap<u64, u64>, seconds: f64) -> Vec<Row> {
    let nothing = EniTotals::default();
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let mut rows: Vec<Row> = instances
        .iter()
        .map(|(eni, instance)| {
            let old = before.enis.get(eni).unwrap_or(&nothing);
            let new = now.enis.get(eni).unwrap_or(&nothing);
            let dropped = new.drops.iter().map(|(reason, packets)| {
                let more = packets.saturating_sub(old.dropped_for(*reason));
                (more, reason.label())
            });
            let dropped: Vec<(u64, &'static str)> = dropped.filter(|(more, _)| *more > 0).collect();
            let drops: u64 = dropped.iter().map(|(more, _)| more).sum();
            Row {
                eni: EniId(*eni).to_string(),
                instance: (*instance != 0).then(|| InstanceId(*instance).to_string()),
                bytes_in_per_s: rate(new.bytes_in, old.bytes_in),
                bytes_out_per_s: rate(new.bytes_out, old.bytes_out),
                packets_in_per_s: rate(new.packets_in, old.packets_in),
                packets_out_per_s: rate(new.packets_out, old.packets_out),
                drops_per_s: rate(drops, 0),
                rtt_us: mean(
                    new.handshake_us.saturating_sub(old.handshake_us),
                    new.handshakes.saturating_sub(old.handshakes),
                ),
                retransmits_per_s: rate(new.retransmits, old.retransmits),
                flows: new.active,
                reason: dropped.into_iter().max().map(|(_, reason)| reason),
            }
        })
        .collect();
    let traffic = |row: &Row| row.bytes_in_per_s + row.bytes_out_per_s;
    rows.sort_by(|one, other| {
        let by_traffic = traffic(other).total_cmp(&traffic(one));
        let by_drops = other.drops_per_s.total_cmp(&one.drops_per_s);
        by_traffic.then(by_drops)
    });
    rows
}

/// A mean, if there was anything.
fn mean(sum: u64, count: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "means for people")]
    let mean = sum as f64 / count as f64;
    (count > 0).then_some(mean)
}

fn words(rows: &[Row], lines: usize) -> String {
    let mut text = format!(
        "{:21} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} why\n",
        "interface", "in/s", "out/s", "pkts in", "pkts out", "rtt", "again/s", "drops/s", "flows"
    );
    for row in rows.iter().take(lines) {
        text.push_str(&format!(
            "{:21} {:>10} {:>10} {:>9.0} {:>9.0} {:>9} {:>9.0} {:>9.0} {:>8} {}\n",
            row.eni,
            bytes(row.bytes_in_per_s),
            bytes(row.bytes_out_per_s),
            row.packets_in_per_s,
            row.packets_out_per_s,
            row.rtt_us.map_or_else(|| "-".to_owned(), time),
            row.retransmits_per_s,
            row.drops_per_s,
            row.flows,
            row.reason.unwrap_or("-"),
        ));
    }
    text
}

/// Microseconds in the largest unit of which there is one.
fn time(microseconds: f64) -> String {
    let units = [(1e6, "s"), (1e3, "ms")];
    let unit = units.into_iter().find(|(size, _)| microseconds >= *size);
    match unit {
        Some((size, name)) => format!("{:.1} {name}", microseconds / size),
        None => format!("{microseconds:.0} us"),
    }
}

/// Bytes in the largest unit of which there is one.
fn bytes(amount: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.into_iter().find(|(size, _)| amount >= *size);
    match unit {
        Some((size, name)) => format!("{:.1} {name}", amount / size),
        None => format!("{amount:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use enid_pipeline::Reason;

    use super::*;

    #[test]
    fn the_busiest_is_first_and_says_why_it_drops() {
        let of = |bytes_in, drops: &[(Reason, u64)]| EniTotals {
            bytes_in,
            drops: drops.iter().copied().collect(),
            ..EniTotals::default()
        };
        let old = Totals {
            enis: BTreeMap::from([(1, of(100, &[(Reason::NoRoute, 9)])), (2, of(0, &[]))]),
        };
        let drops = [(Reason::NoRoute, 10), (Reason::EgressRule, 4)];
        let mut new = Totals {
            enis: BTreeMap::from([(1, of(100, &drops)), (2, of(5_000, &[]))]),
        };
        if let Some(second) = new.enis.get_mut(&2) {
            (second.handshakes, second.handshake_us, second.retransmits) = (4, 6_000, 5);
        }
        let instances = BTreeMap::from([(1, 7), (2, 0), (3, 0)]);
        let rows = rows(&old, &new, &instances, 2.0);
        assert_eq!(rows.len(), 3);
        assert_eq!(
            (rows[0].bytes_in_per_s, rows[0].instance.clone()),
            (2_500.0, None)
        );
        assert_eq!(
            (rows[1].drops_per_s, rows[1].reason),
            (2.5, Some("egress-rule"))
        );
        assert_eq!((rows[2].drops_per_s, rows[2].reason), (0.0, None));
        assert_eq!(
            (rows[0].rtt_us, rows[0].retransmits_per_s),
            (Some(1_500.0), 2.5)
        );
        assert_eq!((rows[1].rtt_us, rows[1].retransmits_per_s), (None, 0.0));
        let text = words(&rows, 2);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("2.5 kB"), "{text}");
        assert!(text.contains("1.5 ms"), "{text}");
    }
}
