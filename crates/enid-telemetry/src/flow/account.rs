//! The account: what was told of each entry of the kernel's tables.
//!
//! An entry's counts only grow. What it counts beyond what was told of it is told next: at once if it is to be
//! removed, else when the window has changed since it was told of last. The account of an entry is a few
//! words; those of which anything was told are written to the store as notes, with the rows that tell it.

use std::collections::HashMap;

use enid_pipeline::bytes::{Addr, Be16};
use enid_pipeline::flow::FlowKey;
use enid_pipeline::strays::StrayKey;

/// An entry of a kernel's table: of a flow, or, with a reason, of packets without one. Packets that passed
/// without a flow have the reason 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EntryKey {
    pub(super) flow: FlowKey,
    pub(super) reason: Option<u32>,
}

impl EntryKey {
    pub(super) fn flow(flow: FlowKey) -> Self {
        Self { flow, reason: None }
    }

    pub(super) fn stray(key: StrayKey) -> Self {
        Self {
            flow: key.flow,
            reason: Some(key.reason),
        }
    }

    /// The part of the account's notes that it belongs to: one of [`PARTS`].
    pub(super) fn part(&self) -> usize {
        let flow = &self.flow;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&flow.source.octets());
        hasher.update(&flow.target.octets());
        hasher.update(&flow.source_port.bytes());
        hasher.update(&flow.target_port.bytes());
        hasher.finalize() as usize % PARTS
    }
}

/// What an entry counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Tells an entry from another one of the same key.
    pub(super) first_seen_ns: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Those of the packets that were sent again. It begins anew after 2^32.
    pub(super) retransmits: u32,
    pub(super) tcp_flags: u8,
}

/// What was told of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    counted: Counted,
    /// When the last packet came that was told of; `i64::MIN` if none was.
    end_ms: i64,
    /// The window in which it was told of last, or seen first.
    window: i64,
    /// The pass in which it was seen last.
    pass: u64,
}

/// What is to be told of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) retransmits: u32,
    pub(super) tcp_flags: u8,
    /// When the last packet came that was told of before; `None` if none was.
    pub(super) before_ms: Option<i64>,
}

/// The account of all entries.
#[derive(Debug, Default)]
pub(super) struct Account {
    told: HashMap<EntryKey, Told>,
    pass: u64,
}

impl Account {
    /// What is to be told of an entry now, in a window; `is_last` if it is about to be removed. An entry that
    /// is seen for the first time and `is_old` was there before anybody wanted to know of it: nothing is told
    /// of what it counts already, and that is true afterwards as well ([`Account::tell`] with no delta).
    pub(super) fn see(
        &mut self,
        key: &EntryKey,
        counted: Counted,
        window: i64,
        is_last: bool,
    ) -> Seen {
        let pass = self.pass;
        let fresh = Told {
            counted: Counted {
                first_seen_ns: counted.first_seen_ns,
                ..Counted::default()
            },
            end_ms: i64::MIN,
            window,
            pass,
        };
        let (told, is_new) = match self.told.get_mut(key) {
            Some(told)
                if told.counted.first_seen_ns == counted.first_seen_ns
                    && told.counted.packets <= counted.packets
                    && told.counted.bytes <= counted.bytes =>
            {
                (told, false)
            }
            // Another entry has taken the key.
            Some(told) => {
                *told = fresh;
                (told, true)
            }
            None => (self.told.entry(*key).or_insert(fresh), true),
        };
        told.pass = pass;
        let packets = counted.packets - told.counted.packets;
        let bytes = counted.bytes - told.counted.bytes;
        if packets == 0 && bytes == 0 {
            told.window = window;
            return Seen::Nothing;
        }
        if !is_last && window <= told.window {
            return Seen::Later { is_new };
        }
        Seen::Tell {
            delta: Delta {
                packets,
                bytes,
                retransmits: counted.retransmits.wrapping_sub(told.counted.retransmits),
                tcp_flags: counted.tcp_flags & !told.counted.tcp_flags,
                before_ms: (told.end_ms != i64::MIN).then_some(told.end_ms),
            },
            is_new,
        }
    }

    /// Notes that all that an entry counts has been told.
    pub(super) fn tell(&mut self, key: EntryKey, counted: Counted, end_ms: i64, window: i64) {
        let told = Told {
            counted,
            end_ms,
            window,
            pass: self.pass,
        };
        self.told.insert(key, told);
    }

    /// Forgets entries that were not there in a whole pass.
    pub(super) fn end_pass(&mut self) {
        let pass = self.pass;
        self.told.retain(|_, told| told.pass >= pass);
        self.pass += 1;
        if self.told.capacity() > SMALL && self.told.len() < self.told.capacity() / 4 {
            self.told.shrink_to_fit();
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// The note of one entry.
    pub(super) fn note(key: &EntryKey, counted: Counted, end_ms: i64, into: &mut Vec<u8>) {
        let flow = &key.flow;
        into.extend(flow.ifindex.to_le_bytes());
        into.push(flow.protocol);
        into.push(u8::from(key.reason.is_some()));
        into.extend(key.reason.unwrap_or(0).to_le_bytes());
        into.extend(flow.source.octets());
        into.extend(flow.target.octets());
        into.extend(flow.source_port.bytes());
        into.extend(flow.target_port.bytes());
        into.push(counted.tcp_flags);
        into.extend(counted.first_seen_ns.to_le_bytes());
        into.extend(counted.packets.to_le_bytes());
        into.extend(counted.bytes.to_le_bytes());
        into.extend(counted.retransmits.to_le_bytes());
        into.extend(end_ms.to_le_bytes());
    }

    /// The notes of all entries of a part of which something was told.
    pub(super) fn notes(&self, part: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.told.len() * NOTE_BYTES / PARTS);
        for (key, told) in &self.told {
            if told.counted.packets > 0 && key.part() == part {
                Self::note(key, told.counted, told.end_ms, &mut bytes);
            }
        }
        bytes
    }

    /// Takes up what notes say. What they say of entries that are gone is forgotten after a pass.
    pub(super) fn recall(&mut self, notes: &[u8], window: i64) {
        for note in notes.chunks_exact(NOTE_BYTES) {
            let mut rest = note;
            let flow = FlowKey {
                ifindex: u32::from_le_bytes(take(&mut rest)),
                protocol: take::<1>(&mut rest)[0],
                ..FlowKey::default()
            };
            let is_stray = take::<1>(&mut rest)[0] != 0;
            let reason = u32::from_le_bytes(take(&mut rest));
            let key = EntryKey {
                flow: FlowKey {
                    source: Addr::v6(take(&mut rest)),
                    target: Addr::v6(take(&mut rest)),
                    source_port: Be16::from_bytes(take(&mut rest)),
                    target_port: Be16::from_bytes(take(&mut rest)),
                    ..flow
                },
                reason: is_stray.then_some(reason),
            };
            let [tcp_flags] = take::<1>(&mut rest);
            let counted = Counted {
                tcp_flags,
                first_seen_ns: u64::from_le_bytes(take(&mut rest)),
                packets: u64::from_le_bytes(take(&mut rest)),
                bytes: u64::from_le_bytes(take(&mut rest)),
                retransmits: u32::from_le_bytes(take(&mut rest)),
            };
            let end_ms = i64::from_le_bytes(take(&mut rest));
            self.tell(key, counted, end_ms, window);
        }
    }
}

/// Notes are written again part by part: those of millions of entries are never in memory all at once.
pub(super) const PARTS: usize = 16;

/// An account of fewer entries keeps its memory.
const SMALL: usize = 16_384;

/// Bytes of one entry's note.
pub(super) const NOTE_BYTES: usize = 4 + 1 + 1 + 4 + 16 + 16 + 2 + 2 + 1 + 8 + 8 + 8 + 4 + 8;

/// What comes of seeing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// All that it counts has been told.
    Nothing,
    /// There is something to tell when the window ends.
    Later {
        /// Whether nothing was known of it.
        is_new: bool,
    },
    /// This is to be told.
    Tell {
        /// What it counts beyond what was told.
        delta: Delta,
        /// Whether nothing was known of it.
        is_new: bool,
    },
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_at(N);
    *rest = tail;
    // Unwrap: of this length, and a note has all of its parts.
    head.try_into().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> EntryKey {
        EntryKey::flow(FlowKey {
            ifindex: 3,
            protocol: 6,
            source: Addr::v4([10, 0, 0, 1]),
            target: Addr::v4([10, 0, 0, 2]),
            source_port: Be16::new(port),
            target_port: Be16::new(80),
            ..FlowKey::default()
        })
    }

    fn counted(packets: u64) -> Counted {
        Counted {
            first_seen_ns: 5,
            packets,
            bytes: packets * 100,
            retransmits: u32::from(packets > 5),
            tcp_flags: if packets > 3 { 3 } else { 2 },
        }
    }

    fn told(account: &mut Account, packets: u64, window: i64, is_last: bool) -> Option<u64> {
        match account.see(&key(1), counted(packets), window, is_last) {
            Seen::Tell { delta, .. } => {
                account.tell(key(1), counted(packets), 0, window);
                Some(delta.packets)
            }
            _ => None,
        }
    }

    #[test]
    fn an_entry_is_told_once_a_window_and_whole_at_its_end() {
        let mut account = Account::default();
        assert_eq!(told(&mut account, 2, 1, false), None);
        assert_eq!(told(&mut account, 3, 1, false), None);
        assert_eq!(told(&mut account, 4, 2, false), Some(4));
        assert_eq!(told(&mut account, 4, 3, false), None);
        assert_eq!(told(&mut account, 6, 3, false), None);
        assert_eq!(told(&mut account, 7, 3, true), Some(3));
        assert_eq!(told(&mut account, 7, 9, true), None);
    }

    #[test]
    fn flags_are_told_in_the_window_in_which_they_came() {
        let mut account = Account::default();
        let flags = |account: &mut Account, packets, window| {
            let seen = account.see(&key(1), counted(packets), window, true);
            let Seen::Tell { delta, .. } = seen else {
                panic!("{seen:?}");
            };
            account.tell(key(1), counted(packets), 0, window);
            delta.tcp_flags
        };
        assert_eq!(flags(&mut account, 1, 1), 2);
        assert_eq!(flags(&mut account, 2, 2), 0);
        assert_eq!(flags(&mut account, 4, 3), 1);
    }

    #[test]
    fn another_entry_of_the_same_key_begins_at_nothing() {
        let mut account = Account::default();
        assert_eq!(told(&mut account, 9, 1, true), Some(9));
        let anew = Counted {
            first_seen_ns: 6,
            ..counted(2)
        };
        let seen = account.see(&key(1), anew, 1, true);
        assert!(matches!(seen, Seen::Tell { delta, is_new: true } if delta.packets == 2));
    }

    #[test]
    fn notes_bring_an_account_back() {
        let mut account = Account::default();
        account.tell(key(1), counted(4), 77, 1);
        let stray = EntryKey {
            reason: Some(12),
            ..key(2)
        };
        account.tell(stray, counted(2), 78, 1);
        let notes: Vec<u8> = (0..PARTS).flat_map(|part| account.notes(part)).collect();
        assert_eq!(notes.len(), 2 * NOTE_BYTES);
        let mut again = Account::default();
        again.recall(&notes, 9);
        assert_eq!(again.len(), 2);
        let seen = again.see(&key(1), counted(6), 10, false);
        let expected = Delta {
            packets: 2,
            bytes: 200,
            retransmits: 1,
            tcp_flags: 0,
            before_ms: Some(77),
        };
        assert!(matches!(seen, Seen::Tell { delta, is_new: false } if delta == expected));
        assert_eq!(again.see(&stray, counted(2), 10, true), Seen::Nothing);
    }

    #[test]
    fn what_is_gone_for_a_pass_is_forgotten() {
        let mut account = Account::default();
        account.tell(key(1), counted(4), 0, 1);
        account.end_pass();
        assert_eq!(account.see(&key(1), counted(4), 1, false), Seen::Nothing);
        account.end_pass();
        assert_eq!(account.len(), 1);
        account.end_pass();
        assert_eq!(account.len(), 0);
    }
}
