//! Captures: packets of interfaces, told by the kernel's programs to whoever asked.
//!
//! The programs write to one buffer for each CPU, which is there as long as anybody captures. A thread reads
//! them all, puts what it finds into the order of time, and hands it to those who asked for its interface.
//! Nothing waits for a slow reader: what a buffer or a reader's queue has no room for is lost and counted.
//! When the last one has gone, or the agent, the buffers are gone as well; the programs then tell nobody.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer};
use aya::maps::{Map, MapData, MapError, PerfEventArray};
use enid_model::id::{EniId, ResourceId as _};
use enid_pipeline::capture::{SNAPLEN_MAX, Seen};
use enid_pipeline::copy::Note;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::time::{ClockId, clock_gettime};

use crate::agent::Input;
use crate::datapath::DatapathError;
use crate::flows::monotonic_ns;
use crate::loader::Pins;

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The interface has no device here.
    #[error("{0} is no interface of an instance that runs on this host")]
    NoDevice(EniId),
    /// The tables do not say that copies are wanted.
    #[error("switch the capture on")]
    Datapath(#[from] DatapathError),
    /// The kernel has no buffers for it.
    #[error("open the table of buffers")]
    Map(#[from] MapError),
    /// A buffer cannot be made.
    #[error("make a buffer")]
    Buffer(#[from] PerfBufferError),
    /// The CPUs cannot be listed.
    #[error("list the processors: {what}")]
    Cpus {
        /// What was read.
        what: &'static str,
        /// How it failed.
        source: io::Error,
    },
    /// The reading thread cannot be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

/// A packet that was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What became of it. The time is that of the world, in nanoseconds since 1970.
    pub seen: Seen,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// One capture. It ends when this is dropped.
#[derive(Debug)]
pub struct Capture {
    id: u64,
    packets: Receiver<Packet>,
    lost: Arc<AtomicU64>,
    agent: Sender<Input>,
}

impl Capture {
    /// The next packet, if one comes in this time; an error when the agent is gone.
    pub fn next(&self, within: Duration) -> Result<Option<Packet>, Ended> {
        match self.packets.recv_timeout(within) {
            Ok(packet) => Ok(Some(packet)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Ended),
        }
    }

    /// How many packets were lost so far, here or, if several capture at once, perhaps for another one.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // An agent that is gone has switched nothing off, and the next one does.
        let _ = self.agent.send(Input::EndCapture(self.id));
    }
}

/// The agent is gone.
#[derive(Debug, thiserror::Error)]
#[error("the agent is gone")]
pub struct Ended;

/// Who gets packets of which interface.
#[derive(Debug)]
struct Reader {
    eni: EniId,
    snaplen: u32,
    packets: SyncSender<Packet>,
    lost: Arc<AtomicU64>,
}

type Readers = Arc<Mutex<BTreeMap<u64, Reader>>>;

/// All captures of an agent.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    readers: Readers,
    begun: u64,
    thread: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Captures {
    /// Begins one. Packets come once the tables say so.
    pub(crate) fn begin(
        &mut self,
        pins: &Pins,
        eni: EniId,
        snaplen: u32,
        agent: Sender<Input>,
    ) -> Result<Capture, CaptureError> {
        if self.thread.is_none() {
            self.thread = Some(read_buffers(pins, Arc::clone(&self.readers))?);
        }
        self.begun += 1;
        let id = self.begun;
        let (sender, packets) = sync_channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let reader = Reader {
            eni,
            snaplen: snaplen.min(SNAPLEN_MAX),
            packets: sender,
            lost: Arc::clone(&lost),
        };
        lock(&self.readers).insert(id, reader);
        Ok(Capture {
            id,
            packets,
            lost,
            agent,
        })
    }

    /// Ends one, and says at which interface.
    pub(crate) fn end(&mut self, id: u64) -> Option<EniId> {
        let (ended, is_last) = {
            let mut readers = lock(&self.readers);
            (readers.remove(&id), readers.is_empty())
        };
        if is_last && let Some((stop, thread)) = self.thread.take() {
            stop.store(true, Ordering::Relaxed);
            // It looks at the word several times a second, and cannot panic.
            let _ = thread.join();
        }
        ended.map(|reader| reader.eni)
    }

    /// How much of each packet of an interface is wanted; `None` if nobody captures there.
    pub(crate) fn snaplen(&self, eni: EniId) -> Option<u32> {
        let readers = lock(&self.readers);
        let of_eni = readers.values().filter(|reader| reader.eni == eni);
        of_eni.map(|reader| reader.snaplen).max()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Packets that wait for a reader at most: of the longest kind, 16 MB.
pub const QUEUE_MAX: usize = 1_024;
/// Pages of each CPU's buffer: one megabyte.
const BUFFER_PAGES: usize = 256;
/// How long the thread waits for packets before it looks whether it shall end.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Opens the buffers and reads them on a thread of their own.
fn read_buffers(
    pins: &Pins,
    readers: Readers,
) -> Result<(Arc<AtomicBool>, JoinHandle<()>), CaptureError> {
    let map = Map::PerfEventArray(MapData::from_pin(pins.map("captured"))?);
    let mut array = PerfEventArray::try_from(map)?;
    let cpus = aya::util::online_cpus();
    let cpus = cpus.map_err(|(what, source)| CaptureError::Cpus { what, source })?;
    let mut buffers = Vec::with_capacity(cpus.len());
    for cpu in cpus {
        buffers.push(array.open(cpu, Some(BUFFER_PAGES))?);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name("captures".to_owned())
        .spawn(move || {
            // The entries of the table are there as long as its descriptor.
            let _array = array;
            let mut unordered = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                wait(&buffers);
                let lost = drain(&mut buffers, &mut unordered);
                hand_out(&readers, &mut unordered, lost);
            }
        });
    Ok((stop, thread.map_err(CaptureError::Thread)?))
}

fn wait(buffers: &[PerfEventArrayBuffer<MapData>]) {
    let mut fds: Vec<PollFd<'_>> = buffers
        .iter()
        .map(|buffer| PollFd::new(buffer, PollFlags::IN))
        .collect();
    // Whatever ends the waiting, the buffers are looked at.
    let _ = rustix::event::poll(&mut fds, Some(&PATIENCE));
}

/// Takes what is in the buffers, and counts what they had no room for.
fn drain(buffers: &mut [PerfEventArrayBuffer<MapData>], unordered: &mut Vec<Packet>) -> u64 {
    let mut lost = 0;
    for buffer in buffers {
        buffer.for_each(|event| match event {
            PerfEvent::Sample { head, tail } => match packet_of(head, tail) {
                Some(packet) => unordered.push(packet),
                None => lost += 1,
            },
            PerfEvent::Lost { count } => lost += count,
        });
    }
    lost
}

/// Hands out what no buffer can have anything before.
fn hand_out(readers: &Readers, unordered: &mut Vec<Packet>, lost: u64) {
    let (mono, real) = (monotonic_ns(), real_ns());
    // A program has its time a moment before what it writes can be read.
    let settled = mono.saturating_sub(SETTLED_NS);
    unordered.sort_by_key(|packet| packet.seen.time_ns);
    let count = unordered.partition_point(|packet| packet.seen.time_ns <= settled);
    let readers = lock(readers);
    if lost > 0 {
        for reader in readers.values() {
            reader.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
    for mut packet in unordered.drain(..count) {
        let age = mono.saturating_sub(packet.seen.time_ns);
        packet.seen.time_ns = real.saturating_sub(age);
        let eni = packet.seen.note.eni;
        for reader in readers.values().filter(|it| it.eni.bits() == eni) {
            let mut packet = packet.clone();
            packet.bytes.truncate(reader.snaplen as usize);
            packet.seen.captured = packet.seen.captured.min(reader.snaplen);
            if reader.packets.try_send(packet).is_err() {
                reader.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// How old what was read has to be before it is handed out.
const SETTLED_NS: u64 = 1_000_000;

/// The time of the world.
fn real_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanoseconds
}

/// A record of a buffer, which may lie around its end, and is padded.
fn packet_of(head: &[u8], tail: &[u8]) -> Option<Packet> {
    let mut bytes = Vec::with_capacity(head.len() + tail.len());
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(tail);
    let (record, rest) = bytes.split_at_checked(size_of::<Seen>())?;
    let seen = seen_of(record)?;
    let rest = rest.get(..seen.captured as usize)?.to_vec();
    Some(Packet { seen, bytes: rest })
}

/// What is told of a packet, from its bytes as they lie in memory.
fn seen_of(record: &[u8]) -> Option<Seen> {
    let long = |at: usize| Some(u64::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    Some(Seen {
        time_ns: long(0)?,
        length: short(8)?,
        captured: short(12)?,
        segments: short(16)?,
        segment_size: short(20)?,
        note: Note {
            eni: long(24)?,
            source_eni: long(32)?,
            target_eni: long(40)?,
            egress_rule: long(48)?,
            ingress_rule: long(56)?,
            acl_entries: long(64)?,
            route: long(72)?,
            via: long(80)?,
            acl: long(88)?,
            acl_entry: long(96)?,
            reason: short(104)?,
            kind: short(108)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a packet of ENI 7 with these bytes, padded.
    fn record(time_ns: u64, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        let mut record = time_ns.to_ne_bytes().to_vec();
        for word in [length + 100, length, 1, 0] {
            record.extend(word.to_ne_bytes());
        }
        for word in [7_u64, 7, 8, 11, 12, 0, 0, 0, 13, 100] {
            record.extend(word.to_ne_bytes());
        }
        record.extend(26_u32.to_ne_bytes());
        record.extend(4_u32.to_ne_bytes());
        assert_eq!(record.len(), size_of::<Seen>());
        record.extend(bytes);
        record.resize(record.len().next_multiple_of(8), 0xaa);
        record
    }

    #[test]
    fn a_record_is_read_across_the_end_of_its_buffer() {
        let record = record(5, b"abc");
        let whole = packet_of(&record, &[]).unwrap();
        assert_eq!(whole.bytes, b"abc");
        assert_eq!(
            (whole.seen.time_ns, whole.seen.length, whole.seen.captured),
            (5, 103, 3)
        );
        let note = whole.seen.note;
        assert_eq!((note.eni, note.egress_rule, note.ingress_rule), (7, 11, 12));
        assert_eq!((note.acl, note.acl_entry), (13, 100));
        assert_eq!((note.reason, note.kind), (26, 4));
        for at in [1, 50, record.len() - 1] {
            let (head, tail) = record.split_at(at);
            assert_eq!(packet_of(head, tail).as_ref(), Some(&whole));
        }
        assert_eq!(packet_of(&record[..112], &[]), None);
        assert_eq!(packet_of(&record[..20], &[]), None);
    }

    #[test]
    fn packets_come_in_the_order_of_time_to_who_asked_for_them() {
        let readers = Readers::default();
        let begin = |eni, snaplen| {
            let (packets, received) = sync_channel(2);
            let lost = Arc::new(AtomicU64::new(0));
            let reader = Reader {
                eni: EniId(eni),
                snaplen,
                packets,
                lost: Arc::clone(&lost),
            };
            let id = lock(&readers).len() as u64;
            lock(&readers).insert(id, reader);
            (received, lost)
        };
        let (all, all_lost) = begin(7, 100);
        let (short, _) = begin(7, 2);
        let (other, other_lost) = begin(8, 100);
        let now = monotonic_ns();
        let times = [now - 2_000_000, now - 3_000_000, now + 60_000_000_000];
        let mut unordered: Vec<Packet> = times
            .iter()
            .map(|time| packet_of(&record(*time, b"abc"), &[]).unwrap())
            .collect();
        hand_out(&readers, &mut unordered, 3);
        // What is too new waits for others that are older.
        assert_eq!(unordered.len(), 1);
        let found: Vec<Packet> = all.try_iter().collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].seen.time_ns - found[0].seen.time_ns, 1_000_000);
        assert_eq!(short.try_iter().next().unwrap().bytes, b"ab");
        assert_eq!(other.try_iter().count(), 0);
        assert_eq!(other_lost.load(Ordering::Relaxed), 3);
        // A queue that is full loses what comes.
        let old = packet_of(&record(1, b"abc"), &[]).unwrap();
        let mut more = vec![old; 3];
        hand_out(&readers, &mut more, 0);
        assert_eq!(all_lost.load(Ordering::Relaxed), 3 + 1);
    }
}
