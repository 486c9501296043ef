//! The stack of the kernel programs: what the deepest chain of calls takes of the 512 bytes that there are, and
//! how many functions are in it.
//!
//! Before Linux 6.8 the verifier rounds the frame of each function up to 32 bytes, later to 16: a program that
//! loads here may not load there. The object tells beforehand.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};

/// What all frames of a chain of calls may take, `MAX_BPF_STACK`.
const STACK_MAX: u32 = 512;
/// How many functions may be in a chain of calls, `MAX_CALL_FRAMES`.
const CHAIN_MAX: usize = 8;
/// What older kernels round a frame up to.
const FRAME_ALIGNMENT: u32 = 32;

/// A function of the object: its section and its offset there.
type Place = (u16, u64);

/// A function: its name, its frame, and whom it calls.
struct Function {
    name: String,
    frame: u32,
    calls: BTreeSet<Place>,
}

/// Fails if some kernel refuses the programs of an object for their stack.
pub(crate) fn check(object: &[u8]) -> Result<()> {
    let functions = functions(object).context("read the kernel program's object")?;
    for place in functions.keys() {
        let (bytes, chain) = deepest(&functions, *place);
        let longest = longest(&functions, *place);
        if longest.len() > CHAIN_MAX {
            bail!(
                "a chain of calls has {} functions, of {CHAIN_MAX} that Linux allows: {}",
                longest.len(),
                longest.join(" -> ")
            );
        }
        if bytes > STACK_MAX {
            bail!(
                "a chain of calls takes {bytes} bytes of stack, of {STACK_MAX} that Linux before 6.8 gives: \
                 {}",
                chain.join(" -> ")
            );
        }
    }
    Ok(())
}

/// What a function and the deepest of those that it calls take. The verifier allows no recursion.
fn deepest(functions: &BTreeMap<Place, Function>, place: Place) -> (u32, Vec<String>) {
    let Some(function) = functions.get(&place) else {
        return (0, Vec::new());
    };
    let below = function.calls.iter().filter(|call| **call != place);
    let (bytes, chain) = below
        .map(|call| deepest(functions, *call))
        .max_by_key(|(bytes, _)| *bytes)
        .unwrap_or_default();
    let own = function.frame.max(1).next_multiple_of(FRAME_ALIGNMENT);
    let mut names = vec![format!("{} ({})", function.name, function.frame)];
    names.extend(chain);
    (own + bytes, names)
}

/// The longest chain of calls from a function on.
fn longest(functions: &BTreeMap<Place, Function>, place: Place) -> Vec<String> {
    let Some(function) = functions.get(&place) else {
        return Vec::new();
    };
    let below = function.calls.iter().filter(|call| **call != place);
    let chains = below.map(|call| longest(functions, *call));
    let mut names = vec![function.name.clone()];
    names.extend(chains.max_by_key(Vec::len).unwrap_or_default());
    names
}

/// Little-endian numbers of an object.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: u64) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    fn text(&self, at: u64) -> Option<String> {
        let rest = self.0.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

/// A section of the object (`Elf64_Shdr`): its kind, where it is, and what it refers to.
struct Section {
    kind: u32,
    at: u64,
    size: u64,
    link: u32,
    info: u32,
}

const SYMBOLS: u32 = 2;
const RELOCATIONS: u32 = 9;
const FUNCTION: u8 = 2;

/// The functions of an object for BPF, 64 bits and little-endian.
fn functions(object: &[u8]) -> Option<BTreeMap<Place, Function>> {
    let file = Reader(object);
    let (table, size, count) = (file.u64(40)?, file.u16(58)?, file.u16(60)?);
    let sections: Option<Vec<Section>> = (0..u64::from(count))
        .map(|number| {
            let at = table + number * u64::from(size);
            Some(Section {
                kind: file.u32(at + 4)?,
                at: file.u64(at + 24)?,
                size: file.u64(at + 32)?,
                link: file.u32(at + 40)?,
                info: file.u32(at + 44)?,
            })
        })
        .collect();
    let sections = sections?;
    let symbols = sections.iter().find(|section| section.kind == SYMBOLS)?;
    let names = sections.get(usize::try_from(symbols.link).ok()?)?.at;
    // `Elf64_Sym`: a name, a kind, a section, an offset and a size. Those of sections have offset 0.
    let symbol = |number: u64| {
        let at = symbols.at + number * 24;
        let place: Place = (file.u16(at + 6)?, file.u64(at + 8)?);
        Some((
            file.u32(at)?,
            file.bytes::<1>(at + 4)?[0] & 15,
            place,
            file.u64(at + 16)?,
        ))
    };
    // Calls into other sections, or of functions by their names.
    let mut relocated = BTreeMap::<Place, (u8, Place)>::new();
    for section in sections
        .iter()
        .filter(|section| section.kind == RELOCATIONS)
    {
        for number in 0..section.size / 16 {
            let at = section.at + number * 16;
            let (_, kind, place, _) = symbol(file.u64(at + 8)? >> 32)?;
            let from = (u16::try_from(section.info).ok()?, file.u64(at)?);
            relocated.insert(from, (kind, place));
        }
    }
    let mut found = BTreeMap::new();
    for number in 0..symbols.size / 24 {
        let (name, kind, place, size) = symbol(number)?;
        if kind != FUNCTION {
            continue;
        }
        let section = sections.get(usize::from(place.0))?;
        let mut function = Function {
            name: file.text(names + u64::from(name))?,
            frame: 0,
            calls: BTreeSet::new(),
        };
        read(&file, section, place, size, &relocated, &mut function)?;
        found.insert(place, function);
    }
    Some(found)
}

/// Reads a function's instructions: how far they go below the frame's top, and whom they call.
fn read(
    file: &Reader<'_>,
    section: &Section,
    place: Place,
    size: u64,
    relocated: &BTreeMap<Place, (u8, Place)>,
    function: &mut Function,
) -> Option<()> {
    const FRAME_POINTER: u8 = 10;
    let mut copies = BTreeSet::new();
    let mut at = place.1;
    while at < place.1 + size {
        let [code, registers, low, high, ..] = file.bytes::<8>(section.at + at)?;
        let offset = i16::from_le_bytes([low, high]);
        let operand = i32::from_le_bytes(file.bytes(section.at + at + 4)?);
        let (to, from) = (registers & 15, registers >> 4);
        let class = code & 7;
        // Loads from the frame, stores into it, and addresses in it.
        let is_own = (class == 1 && from == FRAME_POINTER)
            || (matches!(class, 2 | 3) && to == FRAME_POINTER);
        if is_own && offset < 0 {
            function.frame = function.frame.max(u32::from(offset.unsigned_abs()));
        }
        if code == 0xbf && from == FRAME_POINTER {
            copies.insert(to);
        } else if code == 0x07 && copies.remove(&to) && operand < 0 {
            function.frame = function.frame.max(operand.unsigned_abs());
        }
        if code == 0x85 && from == 1 {
            let ahead = |base: u64| base.wrapping_add_signed(8 * (i64::from(operand) + 1));
            function.calls.insert(match relocated.get(&(place.0, at)) {
                Some((FUNCTION, target)) => *target,
                Some((_, (target, base))) => (*target, ahead(*base)),
                None => (place.0, ahead(at)),
            });
        }
        // A constant of 64 bits takes two places.
        at += if code == 0x18 { 16 } else { 8 };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(frame: u32, calls: &[Place]) -> Function {
        Function {
            name: frame.to_string(),
            frame,
            calls: calls.iter().copied().collect(),
        }
    }

    #[test]
    fn frames_are_rounded_up_and_the_deepest_chain_counts() {
        let functions = BTreeMap::from([
            ((1, 0), function(40, &[(1, 8), (1, 16)])),
            ((1, 8), function(100, &[])),
            ((1, 16), function(33, &[(1, 24)])),
            ((1, 24), function(0, &[])),
        ]);
        let (bytes, chain) = deepest(&functions, (1, 0));
        assert_eq!(bytes, 64 + 128);
        assert_eq!(chain, ["40 (40)", "100 (100)"]);
        assert_eq!(deepest(&functions, (1, 16)).0, 64 + 32);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(check(b"\x7fELF").is_err());
    }
}
