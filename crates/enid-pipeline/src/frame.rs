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

    /// Overwrites `N` bytes from `offset` on. False if the frame does not have them.
    #[must_use]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool;
}

/// A frame in ordinary memory.
#[derive(Debug)]
pub struct Bytes<'a> {
    bytes: &'a mut [u8],
    segments: u32,
    segment_size: u32,
}

impl<'a> Bytes<'a> {
    /// A frame that stands for one packet.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            segments: 1,
            segment_size: 0,
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
