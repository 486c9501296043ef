//! Filters: programs on a link's two hooks, for kernels without tcx.
//!
//! A filter belongs to its link and goes with it. Its place on a hook is a priority and a handle, for
//! which ours are fixed: putting another there replaces it, and each packet meets the old program or the
//! new one. There is no other handle to it, so its name says what it is.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
    TcOption,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError, Operation};
use crate::maps::Hook;

/// What is on one of a link's hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The text that its maker attached to it.
    pub(crate) name: String,
    /// The program's number; 0 for filters of other kinds.
    pub(crate) program_id: u32,
    /// Whether it has the place that [`Netlink::put_filter`] gives, and its program's verdict is the
    /// packet's.
    pub(crate) is_in_place: bool,
}

impl Netlink {
    /// Gives a link the hooks that filters are put on; that it has them is fine.
    pub(crate) fn add_hooks(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = message_of(index, TcHandle::CLSACT);
        message.header.handle = HOOKS;
        let kind = TcAttribute::Kind("clsact".to_owned());
        message.attributes.push(kind);
        self.change(
            Operation::AddHooks(index),
            RouteNetlinkMessage::NewQueueDiscipline(message),
            NLM_F_CREATE,
        )
    }

    /// Puts a program on a hook, or in the place of the one that an earlier call put there.
    pub(crate) fn put_filter(
        &mut self,
        index: u32,
        hook: Hook,
        program: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), NetlinkError> {
        let mut message = filter_of(index, hook);
        // A descriptor that is open is not negative.
        let program = u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX);
        let options = [
            TcFilterBpfOption::ProgFd(program),
            TcFilterBpfOption::ProgName(name.to_owned()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        message.attributes.extend([
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(options.map(TcOption::Bpf).into()),
        ]);
        self.change(
            Operation::PutFilter(index),
            RouteNetlinkMessage::NewTrafficFilter(message),
            NLM_F_CREATE,
        )
    }

    /// Removes what [`Netlink::put_filter`] put on a hook.
    pub(crate) fn delete_filter(&mut self, index: u32, hook: Hook) -> Result<(), NetlinkError> {
        let mut message = filter_of(index, hook);
        let kind = TcAttribute::Kind(TcFilterBpf::KIND.to_owned());
        message.attributes.push(kind);
        self.change(
            Operation::DeleteFilter(index),
            RouteNetlinkMessage::DelTrafficFilter(message),
            0,
        )
    }

    /// What is on a hook, in the order in which packets meet it; nothing if the link is gone or has no
    /// hooks.
    pub(crate) fn filters(&mut self, index: u32, hook: Hook) -> Result<Vec<Filter>, NetlinkError> {
        let mut filters = Vec::new();
        let request = RouteNetlinkMessage::GetTrafficFilter(message_of(index, parent_of(hook)));
        self.dump(Operation::ListFilters(index), request, |entry| {
            if let RouteNetlinkMessage::NewTrafficFilter(message) = entry
                && i32::try_from(index).is_ok_and(|index| message.header.index == index)
            {
                filters.extend(read(message));
            }
        })?;
        Ok(filters)
    }
}

/// The filter of an answer. Each priority is listed once more, as a whole and without a handle.
fn read(message: TcMessage) -> Option<Filter> {
    let mut filter = Filter {
        name: String::new(),
        program_id: 0,
        is_in_place: false,
    };
    let mut is_direct = false;
    let options = message.attributes.into_iter().flat_map(|it| match it {
        TcAttribute::Options(options) => options,
        _ => Vec::new(),
    });
    for option in options {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name = name,
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program_id = id,
            TcOption::Bpf(TcFilterBpfOption::Flags(flags)) => {
                is_direct = flags.contains(TcBpfFlags::DirectAction);
            }
            _ => {}
        }
    }
    let header = message.header;
    filter.is_in_place = is_direct && header.handle == PLACE && header.info == INFO;
    (header.handle != TcHandle::UNSPEC).then_some(filter)
}

fn message_of(index: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    message.header = TcHeader {
        family: AddressFamily::Unspec,
        // The kernel's indexes are positive.
        index: i32::try_from(index).unwrap_or(0),
        parent,
        ..TcHeader::default()
    };
    message
}

fn filter_of(index: u32, hook: Hook) -> TcMessage {
    let mut message = message_of(index, parent_of(hook));
    message.header.handle = PLACE;
    message.header.info = INFO;
    message
}

fn parent_of(hook: Hook) -> TcHandle {
    TcHandle {
        major: HOOKS.major,
        minor: match hook {
            Hook::Egress => TcHandle::MIN_EGRESS,
            Hook::Ingress => TcHandle::MIN_INGRESS,
        },
    }
}

/// The handle of the discipline that has both hooks.
const HOOKS: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};

/// The handle of our filters, the same on every hook.
const PLACE: TcHandle = TcHandle { major: 0, minor: 1 };

/// Priority 1, the first, in the upper half; below it the protocols that the filter sees, `ETH_P_ALL`
/// in network byte order.
const INFO: u32 = 1 << 16 | 0x0003_u16.to_be() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(handle: TcHandle, info: u32, flags: TcBpfFlags) -> TcMessage {
        let mut message = filter_of(7, Hook::Ingress);
        message.header.handle = handle;
        message.header.info = info;
        let options = [
            TcFilterBpfOption::ProgName("enid".to_owned()),
            TcFilterBpfOption::Flags(flags),
            TcFilterBpfOption::ProgId(9),
        ];
        let options = TcAttribute::Options(options.map(TcOption::Bpf).into());
        message.attributes.push(options);
        message
    }

    #[test]
    fn a_filter_is_in_place_only_there_and_when_its_verdict_counts() {
        let ours = read(answer(PLACE, INFO, TcBpfFlags::DirectAction)).unwrap();
        let expected = Filter {
            name: "enid".to_owned(),
            program_id: 9,
            is_in_place: true,
        };
        assert_eq!(ours, expected);
        let second = TcHandle { major: 0, minor: 2 };
        let later = INFO + (1 << 16);
        for other in [
            answer(second, INFO, TcBpfFlags::DirectAction),
            answer(PLACE, later, TcBpfFlags::DirectAction),
            answer(PLACE, INFO, TcBpfFlags::empty()),
        ] {
            assert!(!read(other).unwrap().is_in_place);
        }
        assert_eq!(
            read(answer(TcHandle::UNSPEC, INFO, TcBpfFlags::DirectAction)),
            None
        );
    }

    #[test]
    fn the_hooks_have_the_kernels_numbers() {
        assert_eq!(u32::from(parent_of(Hook::Ingress)), 0xffff_fff2);
        assert_eq!(u32::from(parent_of(Hook::Egress)), 0xffff_fff3);
        assert_eq!(u32::from(PLACE), 1);
        assert_eq!(
            INFO.to_ne_bytes(),
            if cfg!(target_endian = "little") {
                [0, 3, 1, 0]
            } else {
                [0, 1, 0, 3]
            }
        );
    }
}
