//! Where the kernel keeps what it does not tell programs of a packet buffer, from its own description of its
//! types (BTF).
//!
//! Only what [`SumLayout`] needs is read: a structure is found by its name, and its members by theirs, also
//! those of structures without a name inside it.

use std::fs;
use std::io;

/// The description of the running kernel.
pub(crate) const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Why the description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// It cannot be read.
    #[error("read {KERNEL}")]
    Read(#[source] io::Error),
    /// It is not what it should be, or lacks a member of `struct sk_buff`.
    #[error("{KERNEL} does not tell where a packet buffer has its checksum")]
    Unknown,
}

/// Where `struct sk_buff` says that a checksum is unfinished, and its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SumLayout {
    /// Offset of the byte with the two bits of `ip_summed`.
    state: u32,
    /// How far these are shifted up.
    shift: u32,
    /// Offset of `csum_start`.
    start: u32,
    /// Offset of `csum_offset`.
    offset: u32,
    /// Offset of `mac_header`.
    mac: u32,
}

impl SumLayout {
    /// That of the running kernel.
    pub(crate) fn of_kernel() -> Result<Self, BtfError> {
        let bytes = fs::read(KERNEL).map_err(BtfError::Read)?;
        Self::from_bytes(&bytes).ok_or(BtfError::Unknown)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let names = ["ip_summed", "csum_start", "csum_offset", "mac_header"];
        let [state, start, offset, mac] = Types::read(bytes)?.members("sk_buff", names)?;
        let is_whole = [start, offset, mac].iter().all(|bits| bits % 16 == 0);
        // Two bits in one byte.
        (is_whole && state % 8 < 7).then_some(Self {
            state: state / 8,
            shift: state % 8,
            start: start / 8,
            offset: offset / 8,
            mac: mac / 8,
        })
    }

    /// As the programs have it, see `enid-ebpf`.
    pub(crate) const fn words(self) -> [u32; 5] {
        [self.state, self.shift, self.start, self.offset, self.mac]
    }
}

/// Kinds of types that have something behind their head, by their numbers.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNCTION: u32 = 13;
    pub(super) const VARIABLE: u32 = 14;
    pub(super) const SECTION: u32 = 15;
    pub(super) const TAG: u32 = 17;
    pub(super) const ENUM_64: u32 = 19;
}

const MAGIC: u32 = 0xeb9f;
/// How deep structures without a name lie in each other at most.
const DEPTH_MAX: u32 = 8;

/// The types of a description; the kernel's own words are little-endian on all machines that Enid runs on.
struct Types<'a> {
    bytes: &'a [u8],
    strings: usize,
    /// Where each type begins; the first has the number 1.
    places: Vec<usize>,
}

impl<'a> Types<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut types = Self {
            bytes,
            strings: 0,
            places: Vec::new(),
        };
        if types.word(0)? & 0xffff != MAGIC {
            return None;
        }
        let header = types.number(4)?;
        types.strings = header + types.number(16)?;
        let mut at = header + types.number(8)?;
        let end = at + types.number(12)?;
        while at < end {
            types.places.push(at);
            let (kind, count) = types.kind(at)?;
            at += 12
                + match kind {
                    kind::INT | kind::VARIABLE | kind::TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::SECTION | kind::ENUM_64 => 12 * count,
                    kind::ENUM | kind::FUNCTION => 8 * count,
                    _ => 0,
                };
        }
        Some(types)
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn number(&self, at: usize) -> Option<usize> {
        usize::try_from(self.word(at)?).ok()
    }

    /// The kind of the type at a place, and how many members it has.
    fn kind(&self, at: usize) -> Option<(u32, usize)> {
        let word = self.word(at + 4)?;
        Some((word >> 24 & 31, usize::try_from(word & 0xffff).ok()?))
    }

    /// The name that a place of the description refers to.
    fn name(&self, at: usize) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.strings + self.number(at)?..)?;
        rest.split(|byte| *byte == 0).next()
    }

    /// How many bits into a structure its members with these names lie.
    fn members<const N: usize>(&self, of: &str, names: [&str; N]) -> Option<[u32; N]> {
        let is_it = |at: &&usize| {
            self.kind(**at)
                .is_some_and(|(kind, _)| kind == kind::STRUCT)
                && self.name(**at) == Some(of.as_bytes())
        };
        let at = *self.places.iter().find(is_it)?;
        let mut found = [None; N];
        self.search(at, 0, DEPTH_MAX, &names, &mut found)?;
        let mut bits = [0; N];
        for (bits, found) in bits.iter_mut().zip(found) {
            *bits = found?;
        }
        Some(bits)
    }

    /// Looks for members in the structure at a place, which lies so many bits into the one in question.
    fn search(
        &self,
        at: usize,
        base: u32,
        depth: u32,
        names: &[&str],
        found: &mut [Option<u32>],
    ) -> Option<()> {
        let has_sizes = self.word(at + 4)? >> 31 != 0;
        let (_, count) = self.kind(at)?;
        for number in 0..count {
            let member = at + 12 + 12 * number;
            let offset = self.word(member + 8)?;
            let bits = base
                + if has_sizes {
                    offset & 0xff_ffff
                } else {
                    offset
                };
            let name = self.name(member)?;
            if let Some(which) = names.iter().position(|wanted| wanted.as_bytes() == name) {
                found[which].get_or_insert(bits);
            }
            let inner = self.number(member + 4)?.checked_sub(1);
            let inner = inner.and_then(|number| self.places.get(number));
            if let Some(inner) = inner
                && name.is_empty()
                && depth > 0
                && matches!(self.kind(*inner)?.0, kind::STRUCT | kind::UNION)
            {
                self.search(*inner, bits, depth - 1, names, found)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description with a number, and a structure in which others without a name lie.
    fn described() -> Vec<u8> {
        let strings = b"\0int\0sk_buff\0ip_summed\0csum_start\0csum_offset\0mac_header\0";
        let at = |name: &str| {
            let place = strings
                .windows(name.len())
                .position(|part| part == name.as_bytes());
            u32::try_from(place.expect("a name")).expect("a small offset")
        };
        let head = |kind: u32, count: u32| kind << 24 | count;
        let types: Vec<u32> = [
            // 1: int
            vec![at("int"), head(kind::INT, 0), 4, 32],
            // 2: a structure with bit fields
            vec![
                0,
                head(kind::STRUCT, 1) | 1 << 31,
                1,
                at("ip_summed"),
                1,
                2 << 24 | 5,
            ],
            // 3: a structure of two numbers
            vec![
                0,
                head(kind::STRUCT, 2),
                4,
                at("csum_start"),
                1,
                0,
                at("csum_offset"),
                1,
                16,
            ],
            // 4: a union with it
            vec![0, head(kind::UNION, 1), 4, 0, 3, 0],
            // 5: all of it
            vec![
                at("sk_buff"),
                head(kind::STRUCT, 3),
                64,
                0,
                2,
                128 * 8,
                0,
                4,
                132 * 8,
                at("mac_header"),
                1,
                180 * 8,
            ],
        ]
        .concat();
        let length = u32::try_from(types.len() * 4).expect("a short description");
        let header = [MAGIC | 1 << 16, 24, 0, length, length, 0];
        let words = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
        words.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn members_of_nameless_structures_are_found() {
        let found = SumLayout::from_bytes(&described());
        assert_eq!(found.map(SumLayout::words), Some([128, 5, 132, 134, 180]));
    }

    #[test]
    fn what_is_no_description_or_lacks_a_member_is_refused() {
        let mut bytes = described();
        let length = bytes.len();
        bytes[length - 2] ^= 1;
        assert_eq!(SumLayout::from_bytes(&bytes), None);
        for length in 0..length - 60 {
            assert_eq!(SumLayout::from_bytes(&bytes[..length]), None);
        }
    }

    #[test]
    fn the_running_kernel_tells() {
        let Ok(bytes) = fs::read(KERNEL) else { return };
        let layout = SumLayout::from_bytes(&bytes).expect("the kernel describes its buffers");
        assert_eq!(layout.offset, layout.start + 2);
    }
}
