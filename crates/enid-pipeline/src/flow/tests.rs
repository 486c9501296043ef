//! What ends when, and what answers what.

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    first_s: 1000,
    stream_s: 180,
    is_kept: false,
};
const KEPT: Timeouts = Timeouts {
    is_kept: true,
    ..TIMEOUTS
};

fn active(packets: u64, flags: u64) -> Activity {
    Activity {
        last_seen_ns: 5 * SECOND_NS,
        packets,
        flags,
    }
}

/// How long a connection that was last seen at second 5 stays as old as that at most.
fn lasts(age_wanted: Age, protocol: u8, timeouts: Timeouts, own: Activity, other: Activity) -> u64 {
    let is_older = |seconds: u64| {
        age(
            protocol,
            timeouts,
            own,
            other,
            (5 + seconds) * SECOND_NS + 1,
        ) as u32
            > age_wanted as u32
    };
    (0..2000).find(|seconds| is_older(*seconds)).unwrap_or(2000)
}

#[test]
fn a_tcp_flow_ends_by_its_state() {
    let lives = |timeouts, own, other| lasts(Age::Live, protocol::TCP, timeouts, own, other);
    assert_eq!(lives(TIMEOUTS, active(3, 0), active(0, 0)), 60);
    // Answered, and not completed by who asked.
    assert_eq!(lives(TIMEOUTS, active(1, 0), active(1, 0)), 60);
    let established = active(3, flag::ESTABLISHED);
    assert_eq!(lives(TIMEOUTS, established, active(1, 0)), 1000);
    assert_eq!(lives(TIMEOUTS, established, active(3, flag::CLOSING)), 10);
    // One side has not acknowledged the end, then both have.
    let told = active(3, flag::CLOSING | flag::ACKNOWLEDGED);
    let untold = active(3, flag::CLOSING);
    assert_eq!(lives(TIMEOUTS, told, untold), 10);
    assert_eq!(lives(TIMEOUTS, untold, told), 10);
    assert_eq!(lives(TIMEOUTS, told, told), 2);
    // The other direction's entry is removed already.
    assert_eq!(lives(TIMEOUTS, told, Activity::NONE), 2);
    assert_eq!(lives(TIMEOUTS, untold, Activity::NONE), 10);
    assert_eq!(lives(KEPT, told, told), 2);
    // What a NAT gateway resets is over.
    assert_eq!(lives(KEPT, established, active(1, 0)), 350);
    let stays = |own| lasts(Age::Forgotten, protocol::TCP, KEPT, own, active(1, 0));
    assert_eq!(stays(established), 350);
    assert_eq!(stays(active(3, 0)), 60);
    assert_eq!(stays(active(3, flag::CLOSING)), 10);
}

#[test]
fn a_udp_flow_is_a_stream_after_a_second_exchange() {
    let lives = |own, other| {
        let (own, other) = (active(own, 0), active(other, 0));
        lasts(Age::Live, protocol::UDP, TIMEOUTS, own, other)
    };
    assert_eq!(lives(1, 1), 1000);
    assert_eq!(lives(2, 1), 1000);
    assert_eq!(lives(2, 2), 180);
}

#[test]
fn a_nat_gateway_knows_what_the_interfaces_have_forgotten() {
    let (own, other) = (active(2, 0), active(2, 0));
    for (number, forgotten_s) in [(protocol::UDP, 180), (protocol::ICMP, 30)] {
        assert_eq!(lasts(Age::Live, number, KEPT, own, other), forgotten_s);
        assert_eq!(lasts(Age::Forgotten, number, KEPT, own, other), 350);
        assert_eq!(
            lasts(Age::Forgotten, number, TIMEOUTS, own, other),
            forgotten_s
        );
    }
}

#[test]
fn a_load_balancer_remembers_what_it_was_rid_of() {
    const OPEN: u64 = flag::ESTABLISHED | flag::BALANCED;
    let stays = |age, flags| {
        let (own, other) = (active(3, flags), active(3, flag::ESTABLISHED));
        lasts(age, protocol::TCP, TIMEOUTS, own, other)
    };
    assert_eq!(stays(Age::Live, OPEN), 1000);
    assert_eq!(stays(Age::Lapsed, OPEN), 1350);
    assert_eq!(stays(Age::Lapsed, flag::ESTABLISHED), 1000);
    assert_eq!(stays(Age::Lapsed, OPEN | flag::HOLDS_PORT), 1000);
    assert_eq!(stays(Age::Lapsed, OPEN | flag::CLOSING), 10);
}

#[test]
fn what_is_marked_as_ended_has_ended() {
    let own = active(1, flag::ENDED);
    let now = age(protocol::ICMP, KEPT, own, active(1, 0), 5 * SECOND_NS);
    assert_eq!(now, Age::Ended);
}

#[test]
fn the_direction_seen_last_counts() {
    let mut late = active(1, 0);
    late.last_seen_ns = 100 * SECOND_NS;
    let own = active(1, 0);
    assert_eq!(lasts(Age::Live, protocol::ICMP, TIMEOUTS, own, late), 125);
    assert_eq!(lasts(Age::Live, 47, TIMEOUTS, late, Activity::NONE), 695);
}

#[test]
fn what_is_settled_needs_no_sweep() {
    let mut record = FlowRecord {
        last_seen_ns: 5 * SECOND_NS,
        timeouts: KEPT.word(),
        flags: flag::COUNTED,
        ..FlowRecord::default()
    };
    let at = |record: &FlowRecord, seconds| record.is_settled(protocol::ICMP, seconds * SECOND_NS);
    assert!(at(&record, 35) && !at(&record, 36));
    record.flags = 0;
    assert!(at(&record, 355) && !at(&record, 356));
}

#[test]
fn a_reply_has_the_reverse_key() {
    let key = FlowKey {
        ifindex: 3,
        protocol: protocol::TCP,
        pad: [0; 3],
        source: Addr::v4([10, 0, 0, 1]),
        target: Addr::v4([10, 0, 0, 2]),
        source_port: Be16::new(40_000),
        target_port: Be16::new(80),
    };
    let reply = key
        .reversed(9)
        .map(|reply| (reply.ifindex, reply.source_port.value()));
    assert_eq!(reply, Some((9, 80)));
    assert_eq!(
        key.reversed(9).and_then(|reply| reply.reversed(3)),
        Some(key)
    );
}

#[test]
fn an_echo_reply_answers_an_echo_and_nothing_answers_an_error() {
    let echo = FlowKey {
        protocol: protocol::ICMP,
        source_port: Be16::new(77),
        target_port: Be16::from_bytes([8, 0]),
        ..FlowKey::default()
    };
    let reply = echo.reversed(1);
    assert_eq!(reply.map(|key| key.target_port.bytes()), Some([0, 0]));
    assert_eq!(reply.map(|key| key.source_port.value()), Some(77));
    assert!(echo.asks() && !reply.is_some_and(|key| key.asks()));
    let error = FlowKey {
        target_port: Be16::from_bytes([3, 4]),
        ..echo
    };
    assert_eq!(error.reversed(1), None);
}

#[test]
fn timeouts_fit_one_word() {
    for timeouts in [TIMEOUTS, KEPT] {
        assert_eq!(Timeouts::from_word(timeouts.word()), timeouts);
    }
}
