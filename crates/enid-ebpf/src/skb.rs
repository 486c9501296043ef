//! The kernel's packet buffer as a frame of the pipeline.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::generated::{
        bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_change_type,
        bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
};
use enid_pipeline::frame::{Aligned, Frame, Sum};

/// The size of what changes under a checksum, as its helpers take it.
const WORD: u64 = 4;
/// `PACKET_HOST` of the kernel's `if_packet.h`: the packet is for the device that gets it.
const PACKET_HOST: u32 = 0;

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
    fn cut(&mut self, len: u32) -> bool {
        // SAFETY: the helper takes values; it keeps what lies before, drops what lies behind, and makes one
        // packet of a buffer that stands for several.
        unsafe { bpf_skb_change_tail(self.0, len, 0) == 0 }
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
