//! Entry points.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect, bpf_redirect_peer},
};
use enid_pipeline::{
    Reason, Scratch, Tables, Verdict,
    copy::{self, WATCHED, kind},
    counter, egress,
    frame::Frame as _,
    mirror::{headers, mirrored},
    outside,
    release::{ReleaseOrder, release},
    services,
    table::TAP,
};

use crate::{
    maps::{self, KernelTables},
    skb::Skb,
};

/// The pipeline, for a packet that leaves an ENI whose device is one end of a pair.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_egress(context: *mut __sk_buff) -> i32 {
    leave(context, 0)
}

/// The same for an ENI whose device is a tap.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_tap_egress(context: *mut __sk_buff) -> i32 {
    leave(context, TAP)
}

#[inline(always)]
fn leave(context: *mut __sk_buff, kind: u32) -> i32 {
    let mut skb = Skb::new(context);
    let ifindex = skb.ifindex() | kind;
    let Some(scratch) = maps::scratch() else {
        KernelTables.count(Reason::Scratch, 1);
        return TC_ACT_SHOT;
    };
    let target = match egress(&KernelTables, &mut skb, ifindex, now_ns(), scratch) {
        Verdict::Forward { ifindex } => ifindex,
        Verdict::Reply => ifindex,
        Verdict::Punt { ifindex } => ifindex,
        Verdict::Outside { ifindex } => return send_out(ifindex),
        Verdict::Again { ifindex } => return take_in(ifindex),
        Verdict::Drop(_) => return TC_ACT_SHOT,
    };
    hand_over(&mut skb, target, 0, scratch)
}

/// The pipeline, for a packet that comes from the outside.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_outside(context: *mut __sk_buff) -> i32 {
    let mut skb = Skb::new(context);
    let ifindex = skb.ifindex();
    let Some(scratch) = maps::scratch() else {
        KernelTables.count(Reason::Scratch, 1);
        return TC_ACT_SHOT;
    };
    match outside(&KernelTables, &mut skb, ifindex, now_ns(), scratch) {
        Verdict::Forward { ifindex } => hand_over(&mut skb, ifindex, 0, scratch),
        Verdict::Reply => send_out(ifindex),
        Verdict::Again { ifindex } => take_in(ifindex),
        // What came from the outside is not sent back there.
        Verdict::Outside { .. } | Verdict::Punt { .. } | Verdict::Drop(_) => TC_ACT_SHOT,
    }
}

/// The pipeline, for a packet that comes from the link-local services of a VPC.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_service(context: *mut __sk_buff) -> i32 {
    let mut skb = Skb::new(context);
    let ifindex = skb.ifindex();
    let Some(scratch) = maps::scratch() else {
        KernelTables.count(Reason::Scratch, 1);
        return TC_ACT_SHOT;
    };
    match services(&KernelTables, &mut skb, ifindex, now_ns(), scratch) {
        Verdict::Forward { ifindex } => hand_over(&mut skb, ifindex, kind::SERVICE, scratch),
        // Answers go to interfaces and nowhere else.
        Verdict::Outside { .. }
        | Verdict::Again { .. }
        | Verdict::Punt { .. }
        | Verdict::Reply
        | Verdict::Drop(_) => TC_ACT_SHOT,
    }
}

/// Copies, on their way out of the device that they are sent to: whoever captures is told of them, and those
/// that a mirror session takes go on to the other end of the pair, each in a VXLAN packet.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_copy(context: *mut __sk_buff) -> i32 {
    let mut skb = Skb::new(context);
    let Some(copying) = maps::copying() else {
        KernelTables.count(Reason::Scratch, 1);
        return TC_ACT_SHOT;
    };
    if copying.note.eni == 0 {
        KernelTables.count(Reason::HostTraffic, 1);
        return TC_ACT_SHOT;
    }
    copying.tell(context, &skb);
    let (eni, wrapping) = (copying.note.eni, &mut copying.wrapping);
    let Some(headers) = headers(&KernelTables, &skb, &copying.note, wrapping) else {
        return TC_ACT_SHOT;
    };
    if skb.wrap(headers) {
        return TC_ACT_OK;
    }
    KernelTables.count_at(eni, counter::COPIES_LOST, 1);
    TC_ACT_SHOT
}

/// The pipeline, for the VXLAN packets of mirror sessions, where they come out of the pair.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_mirrored(context: *mut __sk_buff) -> i32 {
    let mut skb = Skb::new(context);
    let Some(scratch) = maps::scratch() else {
        KernelTables.count(Reason::Scratch, 1);
        return TC_ACT_SHOT;
    };
    match mirrored(&KernelTables, &mut skb, now_ns(), scratch) {
        Verdict::Forward { ifindex } => hand_over(&mut skb, ifindex, kind::MIRRORED, scratch),
        // Copies go to interfaces and nowhere else.
        Verdict::Outside { .. }
        | Verdict::Again { .. }
        | Verdict::Punt { .. }
        | Verdict::Reply
        | Verdict::Drop(_) => TC_ACT_SHOT,
    }
}

/// The monotonic clock as of the last timer tick: idle times need no more, and it is there to read.
#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no arguments and only reads the clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Hands a packet to the guest behind a host-side device, and a copy of it to whoever wants one. `kind`
/// says what packet it is ([`Note::kind`](copy::Note::kind)).
#[inline(always)]
fn hand_over(skb: &mut Skb, ifindex: u32, kind: u32, scratch: &mut Scratch) -> i32 {
    if ifindex & (TAP | WATCHED) == 0 {
        return hand_to_peer(skb, ifindex);
    }
    let device = ifindex & !WATCHED;
    if ifindex & WATCHED != 0 {
        copy::received(&KernelTables, skb, device, kind, scratch);
    }
    if device & TAP == 0 {
        return hand_to_peer(skb, device);
    }
    skb.seal(maps::seal());
    send_out(device & !TAP)
}

/// Hands a packet to the guest at the other end of a pair.
#[inline(always)]
fn hand_to_peer(skb: &mut Skb, ifindex: u32) -> i32 {
    skb.address_to_receiver();
    // SAFETY: the helper takes an index and flags by value; the redirect happens after the return.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the helper returns a TC verdict"
    )]
    let verdict = unsafe { bpf_redirect_peer(ifindex, 0) } as i32;
    verdict
}

/// Sends a packet out of a device of the host.
#[inline(always)]
fn send_out(ifindex: u32) -> i32 {
    // SAFETY: as above.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the helper returns a TC verdict"
    )]
    let verdict = unsafe { bpf_redirect(ifindex, 0) } as i32;
    verdict
}

/// Has a packet come in by a device of the host, as if it had arrived there.
#[inline(always)]
fn take_in(ifindex: u32) -> i32 {
    const INGRESS: u64 = 1;
    // SAFETY: as above.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the helper returns a TC verdict"
    )]
    let verdict = unsafe { bpf_redirect(ifindex, INGRESS) } as i32;
    verdict
}

/// Removes a flow's entry that has ended, with what it holds at a NAT gateway. The agent runs this on a
/// frame that says which: see [`ReleaseOrder`]. Says whether the entry is gone.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_release(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    let Some(order) = skb.load::<{ ReleaseOrder::LENGTH }>(ReleaseOrder::OFFSET) else {
        return ReleaseOrder::KEPT.cast_signed();
    };
    let order = ReleaseOrder::from_bytes(&order.0);
    let is_gone = release(&KernelTables, &order, now_ns());
    let said = if is_gone {
        ReleaseOrder::GONE
    } else {
        ReleaseOrder::KEPT
    };
    said.cast_signed()
}

/// Nothing from the host's own stack reaches an ENI past the gates.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_host_guard(_context: *mut __sk_buff) -> i32 {
    KernelTables.count(Reason::HostTraffic, 1);
    TC_ACT_SHOT
}

/// The same at a tap, through which deliveries go as well: they carry the seal of this installation. It is
/// in a part of the buffer that only the kernel writes, and nobody who cannot read the map knows it. The
/// host's root could put any frame there anyway, with a packet socket that bypasses all hooks.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn enid_tap_guard(context: *mut __sk_buff) -> i32 {
    if Skb::new(context).unseal(maps::seal()) {
        return TC_ACT_OK;
    }
    KernelTables.count(Reason::HostTraffic, 1);
    TC_ACT_SHOT
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the pipeline has no panic path, and the verifier refuses a program that loops here.
    loop {}
}

/// Some helpers are only for programs under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
