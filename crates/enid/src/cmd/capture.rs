//! `enid capture`: every packet of an interface, dropped ones too, with what became of it.
//!
//! Packets are shown, or written to a pcapng file whose comments have the verdicts. The daemon tells them; a
//! capture that its end cuts short is whole up to there.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::net::{IpAddr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use enid_advise::explain::route_word;
use enid_model::id::{EniId, NatGatewayId, NetworkAclId, SecurityGroupRuleId};
use enid_pipeline::Reason;
use enid_pipeline::capture::{SNAPLEN_MAX, Seen};
use enid_pipeline::copy::kind;
use enid_pipeline::table::OUTSIDE;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Common;
use crate::cmd::USAGE;
use crate::cmd::flows::acl_entries;
use crate::pcapng::{self, Direction, Writer};
use crate::wiring::capture::{Message, decode};
use crate::wiring::socket::{Capturing, Request, ask_on};

/// What to capture, and how much of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Capture {
    /// The interface's id
    eni: String,
    /// Write a pcapng file instead of lines; `-` is the standard output
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep so many bytes of each packet
    #[arg(long, value_name = "BYTES", default_value_t = SNAPLEN_MAX,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SNAPLEN_MAX)))]
    snaplen: u32,
    /// End after this time, such as 30s, 5m or 500ms
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
}

pub(crate) fn run(common: &Common, wanted: &Capture) -> anyhow::Result<ExitCode> {
    let Ok(eni) = wanted.eni.parse::<EniId>() else {
        eprintln!("enid: {} is no id of an interface", wanted.eni);
        return Ok(ExitCode::from(USAGE));
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listen for signals")?;
    }
    let request = Request::Capture {
        eni,
        snaplen: wanted.snaplen,
    };
    let (granted, told): (Capturing, _) = ask_on(&common.data_dir()?.socket(), &request)?;
    let sink = Sink::open(common, wanted, granted.eni)?;
    let already = told.buffer().to_vec();
    let mut run = Run {
        stream: told.into_inner(),
        read: already,
        sink,
        packets: 0,
        lost: 0,
        until: wanted.time.map(|time| monotonic() + time),
        count: wanted.count,
        stop,
    };
    let is_whole = run.until_enough()?;
    let (packets, lost) = (run.packets, run.lost);
    run.sink.end(packets, lost)?;
    let words = match lost {
        0 => format!("{packets} packets"),
        _ => format!("{packets} packets, {lost} more were lost"),
    };
    if is_whole {
        eprintln!("enid: {words}");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("enid: {words}; the daemon has ended");
    Ok(ExitCode::FAILURE)
}

/// A capture that goes on.
struct Run {
    stream: UnixStream,
    /// What was read and is no whole message yet.
    read: Vec<u8>,
    sink: Sink,
    packets: u64,
    lost: u64,
    /// When to end, by the monotonic clock.
    until: Option<Duration>,
    count: Option<u64>,
    stop: Arc<AtomicBool>,
}

impl Run {
    /// Takes packets until it is enough. False if the daemon ended first.
    fn until_enough(&mut self) -> anyhow::Result<bool> {
        self.stream.set_read_timeout(Some(LOOK_EVERY))?;
        let mut bytes = [0; 1 << 16];
        // Set once nothing new is wanted: what was captured by then is still on its way.
        let mut end_by = None;
        loop {
            while let Some(message) = decode(&mut self.read)? {
                if self.take(message)? {
                    return Ok(true);
                }
            }
            self.sink.flush()?;
            let is_over = self.until.is_some_and(|until| monotonic() >= until);
            if end_by.is_none() && (is_over || self.stop.load(Ordering::Relaxed)) {
                // A daemon that has gone is noticed below.
                let _ = self.stream.shutdown(Shutdown::Write);
                end_by = Some(monotonic() + END_PATIENCE);
            }
            if end_by.is_some_and(|by| monotonic() >= by) {
                return Ok(true);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(end_by.is_some()),
                Ok(count) => self.read.extend(&bytes[..count]),
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error).context("read from the daemon"),
            }
        }
    }

    /// Takes one message, and says whether that is enough.
    fn take(&mut self, message: Message) -> anyhow::Result<bool> {
        match message {
            Message::Lost(lost) => self.lost = lost,
            Message::Packet(seen, bytes) => {
                self.sink.packet(&seen, &bytes)?;
                self.packets += 1;
            }
        }
        Ok(self.count.is_some_and(|count| self.packets >= count))
    }
}

/// Whether nothing came for a while, or a signal did.
fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// How long the rest may take at the end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How often is looked whether it is enough, where no packets come.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where packets go.
enum Sink {
    File(Writer<Box<dyn Write>>),
    Lines(Common),
}

impl Sink {
    fn open(common: &Common, wanted: &Capture, eni: EniId) -> anyhow::Result<Self> {
        let Some(path) = &wanted.write else {
            return Ok(Self::Lines(common.clone()));
        };
        let out: Box<dyn Write> = match path.as_os_str() == "-" {
            true => Box::new(io::stdout()),
            false => Box::new(File::create(path).with_context(|| path.display().to_string())?),
        };
        let application = concat!("enid ", env!("CARGO_PKG_VERSION"));
        let out: Box<dyn Write> = Box::new(BufWriter::new(out));
        let mut writer = Writer::begin(out, application, &eni.to_string(), wanted.snaplen)?;
        // A reader sees at once that there will be something.
        writer.flush()?;
        Ok(Self::File(writer))
    }

    fn packet(&mut self, seen: &Seen, bytes: &[u8]) -> anyhow::Result<()> {
        let line = Line::of(seen, bytes);
        match self {
            Self::Lines(common) => common.printer().print(&line, Line::words),
            Self::File(writer) => {
                let is_ingress = seen.note.kind & kind::INGRESS != 0;
                let packet = pcapng::Packet {
                    time_ns: seen.time_ns,
                    length: seen.length,
                    bytes,
                    direction: match is_ingress {
                        true => Direction::Inbound,
                        false => Direction::Outbound,
                    },
                    verdict: match seen.note.reason {
                        0 => REDIRECTED,
                        _ => DROPPED,
                    },
                    comment: &line.comment(),
                };
                Ok(writer.packet(&packet)?)
            }
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::File(writer) => Ok(writer.flush()?),
        }
    }

    fn end(self, packets: u64, lost: u64) -> anyhow::Result<()> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::File(writer) => Ok(writer.end(nanoseconds(ClockId::Realtime), packets, lost)?),
        }
    }
}

/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT`.
const DROPPED: u64 = 2;
const REDIRECTED: u64 = 7;

/// A packet in words, as `enid flows` and `enid explain` have them.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    time_ns: u64,
    /// `egress` or `ingress`, seen from the interface.
    direction: &'static str,
    eni: String,
    /// `forward` or `drop`.
    verdict: &'static str,
    /// Why it was dropped, and at which interface.
    reason: Option<&'static str>,
    dropped_at: Option<String>,
    /// Interfaces, `outside`, or `services`.
    source_eni: Option<String>,
    destination_eni: Option<String>,
    egress_rule: Option<String>,
    ingress_rule: Option<String>,
    acl_entries: Vec<u16>,
    /// The network ACL that refused it, and the number of its entry.
    acl: Option<String>,
    acl_entry: Option<u64>,
    /// What the route that decided leads to.
    route: Option<&'static str>,
    nat_gateway: Option<String>,
    /// The interface of the load balancer's node that it passes.
    load_balancer_eni: Option<String>,
    /// Whether a mirror session sent it.
    mirrored: bool,
    length: u32,
    /// How many packets of the wire it stands for.
    segments: u32,
    /// Addresses, protocol and ports; nothing of what is no IP packet.
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Option<u8>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Line {
    fn of(seen: &Seen, bytes: &[u8]) -> Self {
        let note = &seen.note;
        let is = |bit| note.kind & bit != 0;
        let is_ingress = is(kind::INGRESS);
        let reason = Reason::from_number(note.reason);
        let eni = EniId(note.eni).to_string();
        let (mut source, mut target) = (party(note.source_eni), party(note.target_eni));
        if is(kind::SERVICE) {
            let services = Some("services".to_owned());
            (source, target) = match is_ingress {
                true => (services, Some(eni.clone())),
                false => (Some(eni.clone()), services),
            };
        } else if is(kind::TO_OUTSIDE) {
            target = party(OUTSIDE);
        }
        let rule = |bits| (bits != 0).then(|| SecurityGroupRuleId(bits).to_string());
        let dropped_at = match is(kind::DROPPED_HERE) {
            true => Some(eni.clone()),
            false if is_ingress => source.clone(),
            false => target.clone(),
        };
        let found = Ends::of(bytes);
        let ports = found.as_ref().and_then(|ends| ends.ports);
        // The lower half of the word is the kind of the route.
        let [a, b, c, d, ..] = note.route.to_le_bytes();
        let route = u32::from_le_bytes([a, b, c, d]);
        Self {
            time_ns: seen.time_ns,
            direction: if is_ingress { "ingress" } else { "egress" },
            eni,
            verdict: match reason {
                Some(_) => "drop",
                None => "forward",
            },
            dropped_at: reason.and(dropped_at),
            reason: reason.map(Reason::label),
            source_eni: source,
            destination_eni: target,
            egress_rule: rule(note.egress_rule),
            ingress_rule: rule(note.ingress_rule),
            acl_entries: acl_entries(note.acl_entries),
            acl: (note.acl != 0).then(|| NetworkAclId(note.acl).to_string()),
            acl_entry: (note.acl != 0).then_some(note.acl_entry),
            route: (route != 0).then(|| route_word(route)),
            nat_gateway: (note.via != 0 && !is(kind::BALANCED))
                .then(|| NatGatewayId(note.via).to_string()),
            load_balancer_eni: is(kind::BALANCED).then(|| EniId(note.via).to_string()),
            mirrored: is(kind::MIRRORED),
            length: seen.length,
            segments: seen.segments.max(1),
            source: found.as_ref().map(|ends| ends.source),
            destination: found.as_ref().map(|ends| ends.destination),
            protocol: found.as_ref().map(|ends| ends.protocol),
            source_port: ports.map(|[source, _]| source),
            destination_port: ports.map(|[_, destination]| destination),
        }
    }

    /// What became of it: the comment in a file, and the end of a line.
    fn comment(&self) -> String {
        let mut words = self.verdict.to_owned();
        if let Some(reason) = self.reason {
            words.push_str(&format!(" {reason}"));
        }
        if let Some(at) = &self.dropped_at {
            words.push_str(&format!(" at {at}"));
        } else if let Some(target) = &self.destination_eni {
            words.push_str(&format!(" to {target}"));
        }
        if self.direction == "ingress"
            && let Some(source) = &self.source_eni
        {
            words.push_str(&format!(" from {source}"));
        }
        if let (Some(acl), Some(entry)) = (&self.acl, self.acl_entry) {
            words.push_str(&format!(" by {acl} entry {entry}"));
        }
        for (gate, rule) in [
            ("egress", &self.egress_rule),
            ("ingress", &self.ingress_rule),
        ] {
            if let Some(rule) = rule {
                words.push_str(&format!(" {gate} {rule}"));
            }
        }
        if !self.acl_entries.is_empty() {
            let entries: Vec<String> = self.acl_entries.iter().map(u16::to_string).collect();
            words.push_str(&format!(" acl-entries {}", entries.join(",")));
        }
        if let Some(route) = self.route {
            words.push_str(&format!(" route {route}"));
        }
        if let Some(through) = self
            .nat_gateway
            .as_ref()
            .or(self.load_balancer_eni.as_ref())
        {
            words.push_str(&format!(" through {through}"));
        }
        if self.mirrored {
            words.push_str(" mirrored");
        }
        if self.segments > 1 {
            words.push_str(&format!(" {} packets in one", self.segments));
        }
        words
    }

    fn words(&self) -> String {
        let (seconds, rest) = (self.time_ns / 1_000_000_000, self.time_ns % 1_000_000_000);
        let ends = match (self.source, self.destination) {
            (Some(source), Some(destination)) => {
                let source = end(source, self.source_port);
                let destination = end(destination, self.destination_port);
                format!("{source} -> {destination}")
            }
            _ => "no IP".to_owned(),
        };
        let protocol = match self.protocol {
            Some(1) => "icmp".to_owned(),
            Some(6) => "tcp".to_owned(),
            Some(17) => "udp".to_owned(),
            Some(58) => "icmpv6".to_owned(),
            Some(other) => format!("protocol {other}"),
            None => "-".to_owned(),
        };
        let (direction, length) = (self.direction, self.length);
        let comment = self.comment();
        format!("{seconds}.{rest:09} {direction:7} {protocol} {ends} length {length} {comment}")
    }
}

/// An interface, or the outside.
fn party(eni: u64) -> Option<String> {
    match eni {
        0 => None,
        OUTSIDE => Some("outside".to_owned()),
        eni => Some(EniId(eni).to_string()),
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (_, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

/// The ends of a packet, for a line: as far as they are there, and without extension headers.
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: Option<[u16; 2]>,
}

impl Ends {
    fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(14..)?;
        let (source, destination, protocol, rest, is_first): (IpAddr, IpAddr, _, _, _) =
            match frame.get(12..14)? {
                [0x08, 0x00] => {
                    let head = packet.get(..20)?;
                    let rest = packet.get(usize::from(head[0] & 15) * 4..);
                    let is_first = head[6] & 0x1f == 0 && head[7] == 0;
                    let address = |at: usize| head.get(at..)?.first_chunk::<4>();
                    let (source, destination) = (*address(12)?, *address(16)?);
                    (source.into(), destination.into(), head[9], rest, is_first)
                }
                [0x86, 0xdd] => {
                    let head = packet.get(..40)?;
                    let address = |at: usize| head.get(at..)?.first_chunk::<16>();
                    let (source, destination) = (*address(8)?, *address(24)?);
                    let rest = packet.get(40..);
                    (source.into(), destination.into(), head[6], rest, true)
                }
                _ => return None,
            };
        let ports = rest.filter(|_| is_first && matches!(protocol, 6 | 17));
        let ports = ports.and_then(|rest| {
            let [a, b, c, d] = *rest.first_chunk::<4>()?;
            Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
        });
        Some(Self {
            source,
            destination,
            protocol,
            ports,
        })
    }
}

/// A time such as `30s`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let words = || format!("{text} is no time such as 30s, 5m or 500ms");
    let number: u64 = number.parse().map_err(|_no_number| words())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis).ok_or_else(words)
}

fn monotonic() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::Monotonic))
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + rest
}

#[cfg(test)]
mod tests {
    use enid_pipeline::bytes::Addr;
    use enid_pipeline::copy::Note;
    use enid_pipeline::packet_builder::{PacketBuilder, Transport};

    use super::*;

    fn line(note: Note, transport: Transport) -> Line {
        let (source, target) = (Addr::v4([10, 0, 0, 5]), Addr::v4([10, 0, 1, 9]));
        let frame = PacketBuilder::new(source, target, transport).frame();
        let seen = Seen {
            time_ns: 1_700_000_000_000_000_042,
            length: 42,
            captured: 42,
            segments: 1,
            segment_size: 0,
            note,
        };
        Line::of(&seen, &frame)
    }

    #[test]
    fn a_line_says_what_became_of_a_packet() {
        let udp = Transport::Udp { from: 4000, to: 53 };
        let carried = Note {
            eni: 7,
            source_eni: 7,
            target_eni: 8,
            egress_rule: 21,
            ingress_rule: 22,
            acl_entries: 100 | 200 << 16,
            route: 1 | 112 << 32,
            ..Note::NONE
        };
        assert_eq!(
            line(carried, udp.clone()).words(),
            "1700000000.000000042 egress  udp 10.0.0.5:4000 -> 10.0.1.9:53 length 42 forward to \
             eni-00000000000000008 egress sgr-00000000000000015 ingress sgr-00000000000000016 \
             acl-entries 100,200 route local"
        );
        let dropped = Note {
            eni: 8,
            source_eni: 7,
            target_eni: 8,
            acl: 5,
            acl_entry: 100,
            reason: Reason::AclIngress as u32,
            kind: kind::INGRESS | kind::DROPPED_HERE,
            ..Note::NONE
        };
        assert_eq!(
            line(dropped, Transport::echo(1)).comment(),
            "drop acl-ingress at eni-00000000000000008 from eni-00000000000000007 by \
             acl-00000000000000005 entry 100"
        );
        // Who sent it sees where it was dropped.
        let there = Note {
            eni: 7,
            kind: 0,
            ..dropped
        };
        let words = line(there, udp.clone()).comment();
        assert!(
            words.starts_with("drop acl-ingress at eni-00000000000000008 by"),
            "{words}"
        );
        let asked = Note {
            eni: 7,
            kind: kind::SERVICE,
            ..Note::NONE
        };
        assert_eq!(line(asked, udp).comment(), "forward to services");
    }

    #[test]
    fn what_is_cut_short_or_no_ip_has_no_ends() {
        assert!(Ends::of(&[]).is_none());
        let arp = [&[0; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        assert!(Ends::of(&arp).is_none());
        let udp = Transport::Udp { from: 1, to: 2 };
        let packet = PacketBuilder::new(Addr::v4([10, 0, 0, 5]), Addr::v4([10, 0, 0, 6]), udp);
        let frame = packet.frame();
        assert_eq!(Ends::of(&frame).unwrap().ports, Some([1, 2]));
        assert_eq!(Ends::of(&frame[..34]).unwrap().ports, None);
        assert!(Ends::of(&frame[..33]).is_none());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "30", "s", "-1s", "1d", "99999999999999999999s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
