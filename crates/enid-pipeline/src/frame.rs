//! A frame as the pipeline sees it: bytes that can be loaded and stored with a check of the length.

/// Bytes on an eight-byte boundary, so that words in them load with one instruction.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Aligned<const N: usize>(pub [u8; N]);

/// One Ethernet frame.
pub trait Frame {
    /// Length in bytes from the destination MAC on.
    fn len(&self) -> u32;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many packets of the wire the frame stands for (more than one after offloads); 0 if nobody
    /// has counted them.
    fn segments(&self) -> u32;

    /// Payload bytes in each of these packets; 0 if the frame is one packet.
    fn segment_size(&self) -> u32;

    /// Whether a VLAN tag goes with the frame.
    fn is_tagged(&self) -> bool;

    /// `N` bytes from `offset` on, if the frame has them.
    fn load<const N: usize>(&self, offset: u32) -> Option<Aligned<N>>;

    /// The same, into a place that the caller has. False, and the place has anything, if the frame does not
    /// have them.
    #[must_use]
    fn read<const N: usize>(&self, offset: u32, place: &mut [u8; N]) -> bool;

    /// Overwrites `N` bytes from `offset` on. False if the frame does not have them.
    #[must_use]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool;

    /// The offset of a checksum that nobody has finished yet, wherever in the frame it is; `None` if there
    /// is none. Whoever needs it writes two bytes there.
    fn unfinished(&self) -> Option<u32>;

    /// Cuts the frame off behind `len` bytes; from then on it stands for one packet. False if it has not as
    /// many.
    #[must_use]
    fn cut(&mut self, len: u32) -> bool;

    /// Sends a copy of the frame as it is now out of the device with this index. False if that fails.
    #[must_use]
    fn send_copy(&mut self, ifindex: u32) -> bool;

    /// Updates the checksum of an IPv4 header, which lies at `offset`, for four bytes of the header that
    /// change. False if the frame does not have it.
    #[must_use]
    fn update_ip_checksum(&mut self, offset: u32, from: [u8; 4], to: [u8; 4]) -> bool;

    /// Updates a transport checksum, which lies at `offset`, for four bytes that change and lie on an
    /// even offset. An offloaded checksum covers only addresses yet, and stays partial. False if the frame
    /// does not have it.
    #[must_use]
    fn update_checksum(&mut self, offset: u32, from: [u8; 4], to: [u8; 4], sum: Sum) -> bool;
}

/// A transport checksum, and what changes under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum {
    /// The bytes are an address, which the checksum has from the pseudo header.
    pub is_address: bool,
    /// UDP: a checksum of zero says that there is none, and stays.
    pub is_optional: bool,
}

/// A frame in ordinary memory.
#[derive(Debug)]
pub struct Bytes<'a> {
    bytes: &'a mut [u8],
    segments: u32,
    segment_size: u32,
    unfinished: Option<u32>,
}

impl<'a> Bytes<'a> {
    /// A frame that stands for one packet.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            segments: 1,
            segment_size: 0,
            unfinished: None,
        }
    }

    /// A frame whose checksum is still to be filled in, at this offset.
    #[must_use]
    pub fn with_unfinished(self, offset: u32) -> Self {
        Self {
            unfinished: Some(offset),
            ..self
        }
    }

    /// A frame that stands for several packets of the wire.
    #[must_use]
    pub fn with_segments(self, segments: u32) -> Self {
        Self { segments, ..self }
    }

    /// A frame that stands for packets of this payload, which nobody has counted.
    #[must_use]
    pub fn with_segment_size(self, segment_size: u32) -> Self {
        Self {
            segments: 0,
            segment_size,
            ..self
        }
    }
}

impl Frame for Bytes<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn segments(&self) -> u32 {
        self.segments
    }

    fn segment_size(&self) -> u32 {
        self.segment_size
    }

    fn is_tagged(&self) -> bool {
        false
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<Aligned<N>> {
        let bytes = self.bytes.get(offset as usize..)?;
        bytes.first_chunk().copied().map(Aligned)
    }

    fn read<const N: usize>(&self, offset: u32, place: &mut [u8; N]) -> bool {
        match self.load::<N>(offset) {
            Some(bytes) => {
                *place = bytes.0;
                true
            }
            None => false,
        }
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool {
        let target = self.bytes.get_mut(offset as usize..);
        match target.and_then(|rest| rest.first_chunk_mut()) {
            Some(chunk) => {
                *chunk = *bytes;
                true
            }
            None => false,
        }
    }

    fn unfinished(&self) -> Option<u32> {
        self.unfinished
    }

    fn cut(&mut self, len: u32) -> bool {
        if len > self.len() {
            return false;
        }
        let (kept, _) = core::mem::take(&mut self.bytes).split_at_mut(len as usize);
        *self = Self::new(kept);
        true
    }

    fn send_copy(&mut self, _ifindex: u32) -> bool {
        // Ordinary memory has no devices; tables there keep copies themselves.
        false
    }

    fn update_ip_checksum(&mut self, offset: u32, from: [u8; 4], to: [u8; 4]) -> bool {
        let Some(sum) = self.load::<2>(offset) else {
            return false;
        };
        self.store(offset, &updated(sum.0, from, to))
    }

    fn update_checksum(&mut self, offset: u32, from: [u8; 4], to: [u8; 4], sum: Sum) -> bool {
        let Some(old) = self.load::<2>(offset) else {
            return false;
        };
        if sum.is_optional && old.0 == [0; 2] {
            return true;
        }
        let mut new = updated(old.0, from, to);
        if sum.is_optional && new == [0; 2] {
            new = [0xff; 2];
        }
        self.store(offset, &new)
    }
}

/// An Internet checksum after four bytes have changed (RFC 1624).
fn updated(sum: [u8; 2], from: [u8; 4], to: [u8; 4]) -> [u8; 2] {
    let word =
        |bytes: [u8; 4], at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let not = |word: u32| !word & 0xffff;
    let mut new = not(u32::from(u16::from_be_bytes(sum)));
    new += not(word(from, 0)) + not(word(from, 2)) + word(to, 0) + word(to, 2);
    while new > 0xffff {
        new = (new & 0xffff) + (new >> 16);
    }
    u16::try_from(not(new)).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_follows_what_changes() {
        // The example of RFC 1624.
        let changed = |sum| updated(sum, [0x55, 0x55, 1, 2], [0x32, 0x85, 1, 2]);
        assert_eq!(changed([0xdd, 0x2f]), [0, 0]);
        let mut bytes = [0xdd, 0x2f, 0, 0];
        let mut frame = Bytes::new(&mut bytes);
        let (from, to) = ([0x55, 0x55, 1, 2], [0x32, 0x85, 1, 2]);
        let udp = Sum {
            is_address: true,
            is_optional: true,
        };
        assert!(frame.update_checksum(0, from, to, udp));
        // There is no checksum here.
        assert!(frame.update_checksum(2, from, to, udp));
        assert!(!frame.update_checksum(3, from, to, udp));
        assert_eq!(bytes, [0xff, 0xff, 0, 0]);
    }

    #[test]
    fn loads_and_stores_stay_inside_the_frame() {
        let mut bytes = [1, 2, 3, 4];
        let mut frame = Bytes::new(&mut bytes);
        assert_eq!(frame.load::<2>(2).map(|b| b.0), Some([3, 4]));
        assert!(frame.load::<2>(3).is_none());
        assert!(frame.load::<1>(u32::MAX).is_none());
        assert!(frame.store(0, &[9, 9]));
        assert!(!frame.store(3, &[9, 9]));
        assert_eq!(bytes, [9, 9, 3, 4]);
    }
}
