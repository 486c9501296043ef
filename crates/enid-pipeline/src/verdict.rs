//! What the pipeline says about a packet.

use crate::reason::Reason;

/// The end of a packet's way through the pipeline. The frame already carries what the verdict needs.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not carried.
    Drop(Reason),
    /// Delivered to the instance behind the host-side device with this index.
    Forward {
        /// Index of the target ENI's host-side device.
        ifindex: u32,
    },
    /// Sent to the outside, out of the device with this index.
    Outside {
        /// Index of the device that leads outside.
        ifindex: u32,
    },
    /// Comes in again at once, as if from the outside, through the device with this index.
    Again {
        /// Index of the device that leads outside.
        ifindex: u32,
    },
    /// Handed to the link-local services of the VPC, through the host-side device with this index.
    Punt {
        /// Index of the device that leads to them.
        ifindex: u32,
    },
    /// Sent back, rewritten in place as an answer, through the device that it came from.
    Reply,
}
