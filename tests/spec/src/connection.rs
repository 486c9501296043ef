//! A connection as the reading remembers it, and when it is over.

use enid_pipeline::table::protocol;

use crate::region::{TCP_ESTABLISHED_S, UDP_S, UDP_STREAM_S};
use crate::tuple::Tuple;

/// One direction of a connection.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Flow {
    pub(crate) packets: u64,
    pub(crate) last_ns: u64,
    pub(crate) has_ack: bool,
    pub(crate) has_fin: bool,
    /// The version of the region by which its last packet was judged; 0 is none.
    pub(crate) judged: u64,
}

/// A connection that both gates admitted.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) initiator: u64,
    pub(crate) responder: u64,
    /// As the initiator knows it.
    pub(crate) tuple: Tuple,
    /// As the responder knows it.
    pub(crate) arrived: Tuple,
    pub(crate) via: Option<u64>,
    pub(crate) tracked_by_initiator: bool,
    pub(crate) tracked_by_responder: bool,
    pub(crate) out: Flow,
    pub(crate) back: Flow,
    pub(crate) is_closing: bool,
    /// TCP: both ends have acknowledged.
    pub(crate) is_established: bool,
    pub(crate) by_egress_only: bool,
    /// The node of a load balancer that it passes.
    pub(crate) node: Option<u64>,
    /// After how many idle seconds the load balancer forgets it.
    pub(crate) idle_s: u32,
    /// Whether it goes out to come in again, between two translators.
    pub(crate) is_turned: bool,
    /// Whether its client has begun another one in its place. The load balancer still resets what its target sends.
    pub(crate) is_over: bool,
}

/// Nobody's id.
pub(crate) const NOBODY: u64 = 0;
/// How long a load balancer knows datagrams (Network Load Balancers, "Connection idle timeout").
const BALANCED_UDP_S: u32 = 120;

impl Connection {
    /// Whether nobody knows it any more. A NAT gateway keeps what it carries for 350 idle seconds, unless TCP is
    /// half-open or closing.
    pub(crate) fn has_ended(&self, now_ns: u64) -> bool {
        let is_brief = self.tuple.protocol == protocol::TCP && !self.is_open();
        if self.via.is_none() || is_brief {
            return self.is_forgotten(now_ns);
        }
        self.is_idle_for(350, now_ns)
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.is_established && !self.is_closing
    }

    pub(crate) fn is_idle_for(&self, idle_s: u32, now_ns: u64) -> bool {
        now_ns > self.out.last_ns.max(self.back.last_ns) + u64::from(idle_s) * 1_000_000_000
    }

    /// Whether the interfaces know it no more, or nobody does.
    pub(crate) fn is_over_at_ends(&self, now_ns: u64) -> bool {
        self.is_forgotten(now_ns) || self.has_ended(now_ns)
    }

    /// Whether the interfaces know it no more.
    pub(crate) fn is_forgotten(&self, now_ns: u64) -> bool {
        if self.is_over {
            return true;
        }
        let (out, back) = (&self.out, &self.back);
        let idle_s = match self.tuple.protocol {
            protocol::TCP if self.is_closing => 10,
            protocol::TCP if !self.is_established => 60,
            protocol::TCP if self.node.is_some() => TCP_ESTABLISHED_S.min(self.idle_s),
            protocol::UDP if self.node.is_some() => BALANCED_UDP_S,
            protocol::TCP => TCP_ESTABLISHED_S,
            protocol::UDP if out.packets > 1 && back.packets > 1 => UDP_STREAM_S,
            protocol::UDP => UDP_S,
            protocol::ICMP | protocol::ICMP_V6 => 30,
            _ => 600,
        };
        self.is_idle_for(idle_s, now_ns)
    }

    /// Whether these are the packets that someone sends in one of its directions.
    pub(crate) fn has(&self, sender: u64, tuple: Option<Tuple>) -> bool {
        tuple.is_some()
            && (self.initiator == sender && Some(self.tuple) == tuple
                || self.responder == sender && self.arrived.answer() == tuple)
    }

    /// Whether it is one of TCP through a load balancer, which resets what comes of it when it is over.
    pub(crate) fn is_balanced_tcp(&self) -> bool {
        self.node.is_some() && self.tuple.protocol == protocol::TCP
    }

    pub(crate) fn is_translated(&self) -> bool {
        self.tuple != self.arrived
    }
}
