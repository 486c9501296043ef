//! A capture on its way from the agent to `enid capture`, over the agent's socket.
//!
//! After the line that grants it come messages until one end closes the connection: a kind and a length,
//! four bytes each, and as many bytes. The daemon and the command are the same program.

use std::io::{self, BufWriter, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use enid_host::capture::Capture;
use enid_pipeline::capture::Seen;
use enid_pipeline::copy::Note;
use rustix::event::{PollFd, PollFlags, Timespec};

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A packet, with its first bytes.
    Packet(Seen, Vec<u8>),
    /// How many packets were lost so far.
    Lost(u64),
}

const PACKET: u32 = 1;
const LOST: u32 = 2;
/// A longer message is none of these.
const LENGTH_MAX: usize = 1 << 20;

/// Tells a capture's packets until the other end wants no more, or has gone, or the agent. Who only says
/// that it has nothing to say any more still gets what waits for it, and how many were lost.
pub(crate) fn tell(stream: &UnixStream, capture: &Capture) -> io::Result<()> {
    let mut out = BufWriter::new(stream);
    let mut told = 0;
    loop {
        let Ok(packet) = capture.next(LOOK_EVERY) else {
            return out.flush();
        };
        let is_over = is_closed(stream)?;
        let mut next = packet;
        let mut together = 0;
        while let Some(packet) = next {
            out.write_all(&encode(&Message::Packet(packet.seen, packet.bytes)))?;
            together += 1;
            // What is there already goes with it.
            next = match together < TOGETHER_MAX {
                true => capture.next(Duration::ZERO).ok().flatten(),
                false => None,
            };
        }
        let lost = capture.lost();
        if lost != told {
            told = lost;
            out.write_all(&encode(&Message::Lost(lost)))?;
        }
        out.flush()?;
        if is_over {
            return Ok(());
        }
    }
}

/// Packets between two looks at what was lost and at the other end: as many as can wait.
const TOGETHER_MAX: usize = enid_host::capture::QUEUE_MAX;

/// How often an end that has gone is noticed where no packets come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether the other end has gone: it says nothing, so there is nothing to read but the end.
fn is_closed(stream: &UnixStream) -> io::Result<bool> {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(rustix::event::poll(&mut fds, Some(&at_once))? > 0)
}

/// A message as bytes.
pub(crate) fn encode(message: &Message) -> Vec<u8> {
    let (kind, body) = match message {
        Message::Packet(seen, bytes) => {
            let mut body = encode_seen(seen);
            body.extend(bytes);
            (PACKET, body)
        }
        Message::Lost(lost) => (LOST, lost.to_le_bytes().to_vec()),
    };
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// Takes the first message out of what was read, if it is there as a whole.
pub(crate) fn decode(read: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let Some((head, rest)) = read.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let [a, b, c, d, e, f, g, h] = *head;
    let (kind, length) = (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]) as usize,
    );
    if length > LENGTH_MAX {
        return Err(malformed());
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let message = match kind {
        PACKET => {
            let mut fields = Fields(body);
            let seen = decode_seen(&mut fields).ok_or_else(malformed)?;
            Message::Packet(seen, fields.0.to_vec())
        }
        LOST => Message::Lost(Fields(body).long().ok_or_else(malformed)?),
        _ => return Err(malformed()),
    };
    read.drain(..8 + length);
    Ok(Some(message))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message of a capture")
}

/// Numbers that follow each other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn short(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn long(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }
}

fn encode_seen(seen: &Seen) -> Vec<u8> {
    let note = &seen.note;
    let mut bytes = Vec::with_capacity(size_of::<Seen>());
    bytes.extend(seen.time_ns.to_le_bytes());
    for short in [seen.length, seen.captured, seen.segments, seen.segment_size] {
        bytes.extend(short.to_le_bytes());
    }
    for long in [
        note.eni,
        note.source_eni,
        note.target_eni,
        note.egress_rule,
        note.ingress_rule,
        note.acl_entries,
        note.route,
        note.via,
        note.acl,
        note.acl_entry,
    ] {
        bytes.extend(long.to_le_bytes());
    }
    for short in [note.reason, note.kind] {
        bytes.extend(short.to_le_bytes());
    }
    bytes
}

fn decode_seen(fields: &mut Fields<'_>) -> Option<Seen> {
    Some(Seen {
        time_ns: fields.long()?,
        length: fields.short()?,
        captured: fields.short()?,
        segments: fields.short()?,
        segment_size: fields.short()?,
        note: Note {
            eni: fields.long()?,
            source_eni: fields.long()?,
            target_eni: fields.long()?,
            egress_rule: fields.long()?,
            ingress_rule: fields.long()?,
            acl_entries: fields.long()?,
            route: fields.long()?,
            via: fields.long()?,
            acl: fields.long()?,
            acl_entry: fields.long()?,
            reason: fields.short()?,
            kind: fields.short()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_however_they_are_cut() {
        let seen = Seen {
            time_ns: 1,
            length: 2,
            captured: 3,
            segments: 4,
            segment_size: 5,
            note: Note {
                eni: 6,
                source_eni: 7,
                target_eni: 8,
                egress_rule: 9,
                ingress_rule: 10,
                acl_entries: 11,
                route: 12,
                via: 13,
                acl: 14,
                acl_entry: 15,
                reason: 16,
                kind: 17,
            },
        };
        let messages = [
            Message::Packet(seen, b"abc".to_vec()),
            Message::Lost(18),
            Message::Packet(seen, Vec::new()),
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
        let (mut read, mut found) = (Vec::new(), Vec::new());
        for byte in bytes {
            read.push(byte);
            found.extend(decode(&mut read).unwrap());
        }
        assert_eq!(found, messages);
        assert!(read.is_empty());
    }

    #[test]
    fn other_bytes_are_refused() {
        let of = |kind: u32, length: u32, body: &[u8]| {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(length.to_le_bytes());
            bytes.extend(body);
            decode(&mut bytes)
        };
        assert!(of(3, 0, &[]).is_err());
        assert!(of(LOST, 4, &[0; 4]).is_err());
        assert!(of(PACKET, 100, &[0; 100]).is_err());
        assert!(of(PACKET, u32::MAX, &[]).is_err());
        assert!(of(LOST, 8, &[0; 4]).unwrap().is_none());
    }
}
