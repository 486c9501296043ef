//! The kernel boundary of the datapath: one safe function per command of `bpf(2)` that is needed.
//!
//! Maps are typed by [`Plain`] keys and values; their sizes are compared with the kernel's when a map is
//! opened, so no call reads or writes beyond a value. Batches carry thousands of entries per call.
#![allow(
    unsafe_code,
    reason = "bpf(2) takes pointers in a union that the kernel reads"
)]

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use enid_pipeline::allowance::Allowance;
use enid_pipeline::balancer::{
    ListenerKey, ListenerRecord, Member, MemberKey, Slots, SlotsKey, TargetKey, TargetRecord,
};
use enid_pipeline::bytes::Addr;
use enid_pipeline::capture::Capture;
use enid_pipeline::counter::CounterKey;
use enid_pipeline::drops::DropRecord;
use enid_pipeline::flow::{FlowKey, FlowRecord};
use enid_pipeline::fragments::{FragmentKey, FragmentRecord};
use enid_pipeline::mirror::{MirrorFilter, MirrorRecord};
use enid_pipeline::nat_counts::{NatCountsRecord, NatPortsKey, NatPortsRecord};
use enid_pipeline::room::UseRecord;
use enid_pipeline::strays::{StrayKey, StrayRecord};
use enid_pipeline::table::{
    Config, Endpoint, EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey,
    GateServiceKey, MacKey, NatRecord, PolicyRecord, Pool, PoolKey, PrefixKey, PublicOf,
    PublicRecord, Route, RouteKey, RuleBits, ServiceRecord, SubnetRecord,
};

/// A type whose bytes are its meaning.
///
/// # Safety
/// No padding, and every pattern of bytes is a value.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty)+) => {
        // SAFETY: `#[repr(C)]` or primitive, integers all the way down, without padding: the sizes are
        // asserted beside the definitions.
        $(unsafe impl Plain for $name {})+
    };
}

plain! {
    u32 u64 Addr Allowance Capture Config CounterKey DropRecord Endpoint EndpointKey EniRecord FlowKey FlowRecord FragmentKey
    FragmentRecord GateGroupKey GateRemoteKey GateRule GateRuleKey GateServiceKey MacKey
    MirrorFilter MirrorRecord NatCountsRecord NatPortsKey NatPortsRecord NatRecord
    PolicyRecord Pool PoolKey PrefixKey PublicOf PublicRecord Route RouteKey RuleBits ServiceRecord
    ListenerKey ListenerRecord Member MemberKey Slots SlotsKey StrayKey StrayRecord SubnetRecord TargetKey
    TargetRecord UseRecord
}

/// Commands of `bpf(2)` (`enum bpf_cmd`).
mod command {
    pub(super) const MAP_LOOKUP: i64 = 1;
    pub(super) const MAP_UPDATE: i64 = 2;
    pub(super) const MAP_DELETE: i64 = 3;
    pub(super) const PROG_LOAD: i64 = 5;
    pub(super) const PIN: i64 = 6;
    pub(super) const GET: i64 = 7;
    pub(super) const TEST_RUN: i64 = 10;
    pub(super) const INFO: i64 = 15;
    pub(super) const MAP_LOOKUP_BATCH: i64 = 24;
    pub(super) const MAP_UPDATE_BATCH: i64 = 26;
    pub(super) const LINK_CREATE: i64 = 28;
    pub(super) const LINK_UPDATE: i64 = 29;
}

/// Runs a command. The attribute is one of the structs below, laid out as in `union bpf_attr`.
fn bpf<A>(command: i64, attribute: &mut A) -> io::Result<i64> {
    // SAFETY: the attribute lives through the call, its size is given, and the functions below put only
    // pointers into it that live as long, to memory of the size that the command reads or writes.
    let status =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<A>()) };
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(status)
    }
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    // A descriptor that is open is not negative.
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn new_fd(status: i64) -> io::Result<OwnedFd> {
    let number = i32::try_from(status).map_err(io::Error::other)?;
    // SAFETY: the command returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn pointer<T>(value: &T) -> u64 {
    (&raw const *value).expose_provenance() as u64
}

#[repr(C)]
struct ElementAttribute {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct BatchAttribute {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct PathAttribute {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttribute {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct ProgramAttribute {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct LinkCreateAttribute {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdateAttribute {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
struct TestRunAttribute {
    program: u32,
    verdict: u32,
    length_in: u32,
    length_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_length_in: u32,
    context_length_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

fn path_of(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Opens what is pinned at a path.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = path_of(path)?;
    let mut attribute = PathAttribute {
        path: path.as_ptr().expose_provenance() as u64,
        fd: 0,
        flags: 0,
    };
    new_fd(bpf(command::GET, &mut attribute)?)
}

/// Pins a map, program or link.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_of(path)?;
    let mut attribute = PathAttribute {
        path: path.as_ptr().expose_provenance() as u64,
        fd: fd_number(fd),
        flags: 0,
    };
    bpf(command::PIN, &mut attribute).map(drop)
}

/// The first `N` words of what the kernel says about a map, program or link.
fn info<const N: usize>(fd: BorrowedFd<'_>) -> io::Result<[u32; N]> {
    let mut words = [0_u32; N];
    let length = u32::try_from(size_of::<[u32; N]>()).map_err(io::Error::other)?;
    let mut attribute = InfoAttribute {
        fd: fd_number(fd),
        length,
        info: pointer(&words),
    };
    // The kernel writes through the pointer: told to the compiler by the exclusive borrow.
    attribute.info = (&raw mut words).expose_provenance() as u64;
    bpf(command::INFO, &mut attribute)?;
    Ok(words)
}

/// The kernel's number of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_prog_info: type, id.
    info::<2>(program).map(|[_, id]| id)
}

/// What a link ties together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkInfo {
    /// The program's number.
    pub(crate) program_id: u32,
    /// The device; 0 when it is gone.
    pub(crate) ifindex: u32,
}

/// What a tcx link ties together.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // struct bpf_link_info: type, id, prog_id, padding to eight bytes, then tcx.ifindex.
    let [_, _, program_id, _, ifindex, _] = info::<6>(link)?;
    Ok(LinkInfo {
        program_id,
        ifindex,
    })
}

/// A hook of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// What the host sends to the device.
    Egress,
    /// What comes from the device.
    Ingress,
}

/// Loads a program that drops every packet, to try what can be done with one.
pub(crate) fn load_dropping_program() -> io::Result<OwnedFd> {
    // r0 = TC_ACT_SHOT; exit
    let instructions: [u64; 2] = [
        u64::from_ne_bytes([0xb7, 0, 0, 0, 0, 0, 0, 0]) | u64::from_ne_bytes(SHOT),
        u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let mut attribute = ProgramAttribute {
        kind: PROGRAM_SCHED_CLS,
        instruction_count: 2,
        instructions: pointer(&instructions),
        license: c"GPL".as_ptr().expose_provenance() as u64,
    };
    new_fd(bpf(command::PROG_LOAD, &mut attribute)?)
}

/// `BPF_PROG_TYPE_SCHED_CLS`.
const PROGRAM_SCHED_CLS: u32 = 3;

/// The upper half of an instruction whose operand is `TC_ACT_SHOT`.
const SHOT: [u8; 8] = {
    let operand = 2_u32.to_ne_bytes();
    [0, 0, 0, 0, operand[0], operand[1], operand[2], operand[3]]
};

/// Whether the kernel has tcx (since 6.6), for which a program is needed to ask.
pub(crate) fn has_tcx(program: BorrowedFd<'_>) -> bool {
    // An older kernel does not know what is asked for; a newer one finds no such device.
    let tried = attach(program, NO_DEVICE, Hook::Ingress);
    tried.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
}

/// An index that the kernel gives to its last device only.
const NO_DEVICE: u32 = i32::MAX.cast_unsigned();

/// Ties a program to a hook (tcx, kernel 6.6).
pub(crate) fn attach(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    let attach_type = match hook {
        Hook::Egress => 47,
        Hook::Ingress => 46,
    };
    let mut attribute = LinkCreateAttribute {
        program: fd_number(program),
        ifindex,
        attach_type,
        flags: 0,
    };
    new_fd(bpf(command::LINK_CREATE, &mut attribute)?)
}

/// Puts another program behind a link. Each packet meets the one or the other.
pub(crate) fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = LinkUpdateAttribute {
        link: fd_number(link),
        program: fd_number(program),
        flags: 0,
        old_program: 0,
    };
    bpf(command::LINK_UPDATE, &mut attribute).map(drop)
}

/// Offset of `ifindex` in `struct __sk_buff`, and the struct's size.
const CONTEXT_IFINDEX: usize = 40;
const CONTEXT_SIZE: usize = 192;

/// Runs a program once on a frame, as if it had come from a device of this namespace. Returns the
/// program's verdict and leaves the frame as the program rewrote it, which may have cut it.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    ifindex: u32,
    frame: &mut Vec<u8>,
) -> io::Result<u32> {
    let mut context = [0_u8; CONTEXT_SIZE];
    context[CONTEXT_IFINDEX..CONTEXT_IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    let mut out = vec![0_u8; frame.len()];
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut attribute = TestRunAttribute {
        program: fd_number(program),
        verdict: 0,
        length_in: length,
        length_out: length,
        data_in: frame.as_ptr().expose_provenance() as u64,
        data_out: out.as_mut_ptr().expose_provenance() as u64,
        repeat: 1,
        duration: 0,
        context_length_in: u32::try_from(CONTEXT_SIZE).unwrap_or(0),
        context_length_out: 0,
        context_in: context.as_ptr().expose_provenance() as u64,
        context_out: 0,
        flags: 0,
        cpu: 0,
        batch: 0,
        pad: 0,
    };
    bpf(command::TEST_RUN, &mut attribute)?;
    out.truncate(attribute.length_out as usize);
    *frame = out;
    Ok(attribute.verdict)
}

/// A map of the kernel.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    fd: OwnedFd,
    /// The kernel's number of it, which no other map has before the next boot.
    pub(crate) id: u32,
    /// Entries that it can hold.
    pub(crate) entries_max: u32,
    types: PhantomData<(K, V)>,
}

/// Where a reading of a map goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor(Option<Vec<u8>>);

impl<K: Plain, V: Plain> Map<K, V> {
    /// Opens a pinned map, if its keys and values have the sizes of `K` and `V`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = open_pin(path)?;
        // struct bpf_map_info: type, id, key_size, value_size, max_entries.
        let [_, id, key_size, value_size, entries_max] = info::<5>(fd.as_fd())?;
        if key_size as usize != size_of::<K>() || value_size as usize != size_of::<V>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the map's keys or values have another size",
            ));
        }
        Ok(Self {
            fd,
            id,
            entries_max,
            types: PhantomData,
        })
    }

    /// The value of a key.
    pub(crate) fn lookup(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = MaybeUninit::<V>::zeroed();
        let mut attribute = self.element(key, (&raw mut value).expose_provenance() as u64);
        match bpf(command::MAP_LOOKUP, &mut attribute) {
            // SAFETY: `V` is plain, and its bytes are all there.
            Ok(_) => Ok(Some(unsafe { value.assume_init() })),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds or replaces an entry.
    pub(crate) fn put(&self, key: &K, value: &V) -> io::Result<()> {
        bpf(command::MAP_UPDATE, &mut self.element(key, pointer(value))).map(drop)
    }

    /// Adds or replaces many entries.
    pub(crate) fn put_all(&self, entries: &[(K, V)]) -> io::Result<()> {
        if let [(key, value)] = entries {
            return self.put(key, value);
        }
        for entries in entries.chunks(BATCH) {
            let keys: Vec<K> = entries.iter().map(|(key, _)| *key).collect();
            let values: Vec<V> = entries.iter().map(|(_, value)| *value).collect();
            let mut attribute = BatchAttribute {
                from: 0,
                to: 0,
                keys: keys.as_ptr().expose_provenance() as u64,
                values: values.as_ptr().expose_provenance() as u64,
                count: u32::try_from(keys.len()).map_err(io::Error::other)?,
                map: fd_number(self.fd.as_fd()),
                element_flags: 0,
                flags: 0,
            };
            bpf(command::MAP_UPDATE_BATCH, &mut attribute)?;
        }
        Ok(())
    }

    /// Removes an entry; that there is none is fine.
    pub(crate) fn delete(&self, key: &K) -> io::Result<()> {
        match bpf(command::MAP_DELETE, &mut self.element(key, 0)) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads the next entries, at most about `BATCH`; `None` after the last.
    pub(crate) fn read(&self, cursor: &mut Cursor) -> io::Result<Option<Vec<(K, V)>>> {
        let mut size = BATCH;
        loop {
            match self.read_batch(cursor, size) {
                // A bucket of a hash map does not fit.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && size < BATCH << 6 => {
                    size <<= 1;
                }
                done => return done,
            }
        }
    }

    fn read_batch(&self, cursor: &mut Cursor, size: usize) -> io::Result<Option<Vec<(K, V)>>> {
        if cursor.0.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let mut keys = Vec::<MaybeUninit<K>>::with_capacity(size);
        let mut values = Vec::<MaybeUninit<V>>::with_capacity(size);
        // A place in the map is at most a key long, and in hash maps a number.
        let mut next = vec![0_u8; size_of::<K>().max(8)];
        let mut attribute = BatchAttribute {
            from: cursor
                .0
                .as_ref()
                .map_or(0, |place| place.as_ptr().expose_provenance() as u64),
            to: next.as_mut_ptr().expose_provenance() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: u32::try_from(size).map_err(io::Error::other)?,
            map: fd_number(self.fd.as_fd()),
            element_flags: 0,
            flags: 0,
        };
        let is_last = match bpf(command::MAP_LOOKUP_BATCH, &mut attribute) {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        if is_last {
            next.clear();
        }
        cursor.0 = Some(next);
        let count = (attribute.count as usize).min(size);
        // SAFETY: the kernel filled the first `count` elements of both, which have room for `size`, with
        // keys and values of their sizes (compared in `open`), and both types are plain.
        let entries = unsafe {
            keys.set_len(count);
            values.set_len(count);
            keys.iter()
                .zip(&values)
                .map(|(k, v)| (k.assume_init(), v.assume_init()))
                .collect()
        };
        Ok(Some(entries))
    }

    /// Reads all entries. Those that come or go meanwhile may be among them or not.
    pub(crate) fn read_all<C: Extend<(K, V)> + Default>(&self) -> io::Result<C> {
        let mut all = C::default();
        let mut cursor = Cursor::default();
        while let Some(entries) = self.read(&mut cursor)? {
            all.extend(entries);
        }
        Ok(all)
    }

    fn element(&self, key: &K, value: u64) -> ElementAttribute {
        ElementAttribute {
            map: fd_number(self.fd.as_fd()),
            pad: 0,
            key: pointer(key),
            value,
            flags: 0,
        }
    }
}

/// Entries per call.
pub(crate) const BATCH: usize = 4096;

/// A per-CPU array of counters.
#[derive(Debug)]
pub(crate) struct Counters {
    fd: OwnedFd,
    cpus: usize,
}

impl Counters {
    /// Opens a pinned array of eight-byte counters.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = open_pin(path)?;
        let [_, _, key_size, value_size] = info::<4>(fd.as_fd())?;
        if (key_size, value_size) != (4, 8) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not an array of counters",
            ));
        }
        Ok(Self {
            fd,
            cpus: possible_cpus()?,
        })
    }

    /// The sum over all CPUs.
    pub(crate) fn sum(&self, index: u32) -> io::Result<u64> {
        let mut values = vec![0_u64; self.cpus];
        let mut attribute = ElementAttribute {
            map: fd_number(self.fd.as_fd()),
            pad: 0,
            key: pointer(&index),
            value: values.as_mut_ptr().expose_provenance() as u64,
            flags: 0,
        };
        bpf(command::MAP_LOOKUP, &mut attribute)?;
        Ok(values.iter().sum())
    }

    /// Sets the counter of every CPU to zero.
    pub(crate) fn clear(&self, index: u32) -> io::Result<()> {
        let values = vec![0_u64; self.cpus];
        let mut attribute = ElementAttribute {
            map: fd_number(self.fd.as_fd()),
            pad: 0,
            key: pointer(&index),
            value: values.as_ptr().expose_provenance() as u64,
            flags: 0,
        };
        bpf(command::MAP_UPDATE, &mut attribute).map(drop)
    }
}

/// How many CPUs there may ever be: the kernel writes one value for each.
fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    cpu_count(text.trim()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "/sys/devices/system/cpu/possible",
        )
    })
}

/// The number of CPUs of a list such as `0-3,8`, up to the highest.
fn cpu_count(list: &str) -> Option<usize> {
    let last = list.rsplit([',', '-']).next()?;
    last.parse::<usize>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_possible_cpu_counts() {
        assert_eq!(cpu_count("0"), Some(1));
        assert_eq!(cpu_count("0-3"), Some(4));
        assert_eq!(cpu_count("0-1,4-7"), Some(8));
        assert_eq!(cpu_count(""), None);
    }

    #[test]
    fn attributes_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!(size_of::<ElementAttribute>(), 32);
        assert_eq!(size_of::<ProgramAttribute>(), 24);
        assert_eq!(size_of::<BatchAttribute>(), 56);
        assert_eq!(size_of::<TestRunAttribute>(), 80);
        assert_eq!(size_of::<InfoAttribute>(), 16);
    }
}
