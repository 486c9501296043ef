//! The kernel's packet buffer as a frame of the pipeline.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    Global,
    bindings::{
        __sk_buff, BPF_ADJ_ROOM_ENCAP_L2_SHIFT, BPF_F_ADJ_ROOM_ENCAP_L2_ETH,
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO,
        BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::generated::{
        bpf_clone_redirect, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_probe_read_kernel,
        bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_change_type, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
};
use enid_pipeline::{
    frame::{Aligned, Frame, Sum},
    mirror::HEADERS,
};

/// The size of what changes under a checksum, as its helpers take it.
const WORD: u64 = 4;
/// `PACKET_HOST` of the kernel's `if_packet.h`: the packet is for the device that gets it.
const PACKET_HOST: u32 = 0;

/// The length of an Ethernet header.
const ETHERNET: i32 = 14;
/// `CHECKSUM_PARTIAL` of the kernel's `skbuff.h`: the checksum is still to be filled in.
const CHECKSUM_PARTIAL: u8 = 3;

/// Where `struct sk_buff` has `ip_summed` (the byte, and the bits' place in it), `csum_start`, `csum_offset` and
/// `mac_header`: the loader writes that of the running kernel.
#[unsafe(no_mangle)]
static SUM_LAYOUT: Global<[u32; 5]> = Global::new([0; 5]);

/// One packet buffer, for the length of one program run.
pub(crate) struct Skb(*mut __sk_buff);

impl Skb {
    /// Wraps a program's context.
    #[inline(always)]
    pub(crate) fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// Index of the device that the packet came to.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the whole run; the kernel rewrites the access.
        unsafe { (*self.0).ifindex }
    }

    /// A small value in the kernel's own structure, at a constant offset.
    ///
    /// Nothing is read through the pointer here: the helper reads any address, or says that it cannot.
    #[inline(always)]
    fn peek<V: Copy + Default>(&self, offset: u32) -> Option<V> {
        let mut value = V::default();
        // A bound for the verifier, which takes no pointer that may lie anywhere.
        let address = self.0.cast::<u8>().wrapping_add((offset & 0xfff) as usize);
        // SAFETY: the helper writes as many bytes as the value has, or zeros.
        #[expect(clippy::cast_possible_truncation, reason = "a value of a few bytes")]
        let status = unsafe {
            bpf_probe_read_kernel(
                (&raw mut value).cast::<c_void>(),
                size_of::<V>() as u32,
                address.cast::<c_void>(),
            )
        };
        if status == 0 { Some(value) } else { None }
    }

    /// Marks the packet as meant for whoever gets it. The host-side device saw a destination MAC that is
    /// not its own, and the receiver's stack would take the packet for somebody else's.
    #[inline(always)]
    pub(crate) fn address_to_receiver(&mut self) {
        // SAFETY: as above; the helper changes one field of the buffer. It refuses only types that it
        // does not know, and this is not one.
        unsafe {
            if (*self.0).pkt_type != PACKET_HOST {
                let _ = bpf_skb_change_type(self.0, PACKET_HOST);
            }
        }
    }

    /// Marks the packet as one that the pipeline delivers, for the guard of a tap.
    #[inline(always)]
    pub(crate) fn seal(&mut self, [first, second]: [u32; 2]) {
        // SAFETY: as above; the words are the program's own until the packet reaches the device, and the
        // program that comes next on the way there is the guard.
        unsafe {
            (*self.0).cb[0] = first;
            (*self.0).cb[1] = second;
        }
    }

    /// Puts headers in place of the Ethernet header: a whole VXLAN packet's, up to the Ethernet header of the
    /// frame inside. What stands for several packets still does, and they stay as long as they are.
    #[inline(always)]
    #[must_use]
    pub(crate) fn wrap(&mut self, headers: &[u8; HEADERS]) -> bool {
        const SEVERAL: u64 = BPF_F_ADJ_ROOM_FIXED_GSO as u64
            | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 as u64
            | BPF_F_ADJ_ROOM_ENCAP_L4_UDP as u64
            | BPF_F_ADJ_ROOM_ENCAP_L2_ETH as u64
            | (ETHERNET as u64) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
        const ROOM: i32 = HEADERS as i32 - ETHERNET;
        // Only what the kernel has to take apart must be known as a tunnel's: it cuts nothing off what is.
        let flags = if self.segment_size() == 0 { 0 } else { SEVERAL };
        // SAFETY: as above; the helper takes values.
        let status = unsafe { bpf_skb_adjust_room(self.0, ROOM, BPF_ADJ_ROOM_MAC, flags) };
        status == 0 && self.store(0, headers)
    }

    /// Whether the packet has this seal, which is taken off. A seal of zeros is none.
    #[inline(always)]
    pub(crate) fn unseal(&mut self, [first, second]: [u32; 2]) -> bool {
        // SAFETY: as above.
        unsafe {
            let is_sealed = (*self.0).cb[0] == first && (*self.0).cb[1] == second;
            (*self.0).cb[0] = 0;
            (*self.0).cb[1] = 0;
            is_sealed && first != 0
        }
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).gso_segs }
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).gso_size }
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).vlan_present != 0 }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<Aligned<N>> {
        let mut bytes = MaybeUninit::<Aligned<N>>::uninit();
        // SAFETY: the helper writes exactly `N` bytes, or reports that the packet has fewer; `N` is a
        // small constant.
        unsafe {
            #[expect(clippy::cast_possible_truncation, reason = "a header's length")]
            let status =
                bpf_skb_load_bytes(self.0.cast(), offset, bytes.as_mut_ptr().cast(), N as u32);
            if status == 0 {
                Some(bytes.assume_init())
            } else {
                None
            }
        }
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32, place: &mut [u8; N]) -> bool {
        // SAFETY: the helper writes exactly `N` bytes: the packet's, or zeros if it has fewer.
        #[expect(clippy::cast_possible_truncation, reason = "a header's length")]
        unsafe {
            bpf_skb_load_bytes(self.0.cast(), offset, place.as_mut_ptr().cast(), N as u32) == 0
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool {
        // SAFETY: the helper reads exactly `N` bytes and checks the packet's length.
        #[expect(clippy::cast_possible_truncation, reason = "a header's length")]
        unsafe {
            bpf_skb_store_bytes(self.0, offset, bytes.as_ptr().cast(), N as u32, 0) == 0
        }
    }

    #[inline(always)]
    fn unfinished(&self) -> Option<u32> {
        let [state, shift, start, offset, mac] = SUM_LAYOUT.load();
        // What cannot be read is taken for a checksum at the frame's beginning, where none may be.
        let Some(state) = self.peek::<u8>(state) else {
            return Some(0);
        };
        if state >> (shift & 7) & 3 != CHECKSUM_PARTIAL {
            return None;
        }
        // All three are counted from the beginning of the buffer.
        let start = u32::from(self.peek::<u16>(start).unwrap_or(0));
        let offset = u32::from(self.peek::<u16>(offset).unwrap_or(0));
        let mac = u32::from(self.peek::<u16>(mac).unwrap_or(0));
        Some(start.wrapping_add(offset).wrapping_sub(mac))
    }

    #[inline(always)]
    fn cut(&mut self, len: u32) -> bool {
        // SAFETY: the helper takes values; it keeps what lies before, drops what lies behind, and makes one
        // packet of a buffer that stands for several.
        unsafe { bpf_skb_change_tail(self.0, len, 0) == 0 }
    }

    #[inline(always)]
    fn send_copy(&mut self, ifindex: u32) -> bool {
        // SAFETY: the helper takes values. The programs on the way out of the device run before it returns.
        unsafe { bpf_clone_redirect(self.0, ifindex, 0) == 0 }
    }

    #[inline(always)]
    fn update_ip_checksum(&mut self, offset: u32, from: [u8; 4], to: [u8; 4]) -> bool {
        let (from, to) = (u32::from_ne_bytes(from), u32::from_ne_bytes(to));
        // SAFETY: the helper takes values, and checks that the packet has the two bytes at the offset.
        unsafe { bpf_l3_csum_replace(self.0, offset, u64::from(from), u64::from(to), WORD) == 0 }
    }

    #[inline(always)]
    fn update_checksum(&mut self, offset: u32, from: [u8; 4], to: [u8; 4], sum: Sum) -> bool {
        let (from, to) = (u32::from_ne_bytes(from), u32::from_ne_bytes(to));
        let mut flags = WORD;
        if sum.is_address {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        if sum.is_optional {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
        }
        // SAFETY: as above.
        unsafe { bpf_l4_csum_replace(self.0, offset, u64::from(from), u64::from(to), flags) == 0 }
    }
}
