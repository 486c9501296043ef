//! A listener: a protocol and a port of a load balancer, and where its flows go.

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::{ListenerId, LoadBalancerId, TargetGroupId};
use crate::ssl_policy::{AlpnPolicy, SslPolicy};
use crate::target_group::BalancedProtocol;
use crate::uuid::Uuid;

/// How many target groups an action may lead to: AWS's quota.
pub const FORWARDS_MAX: usize = 5;

/// A listener of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its id, the last part of its ARN.
    pub id: ListenerId,
    /// The load balancer, for life.
    pub load_balancer: LoadBalancerId,
    /// What it speaks.
    pub protocol: BalancedProtocol,
    /// Its port. A load balancer has one listener per port.
    pub port: u16,
    /// Where new flows go: at least one target group, each once.
    pub forward: Vec<Forward>,
    /// Whether a client's flows all go to one of the groups, if anything was said of it.
    #[serde(default)]
    pub stickiness: Option<GroupStickiness>,
    /// The action's place among others, if it was said: there are none.
    #[serde(default)]
    pub order: Option<u16>,
    /// After how long without a packet a TCP connection is forgotten, 60 to 6,000 s.
    #[serde(default = "usual_idle_timeout_s")]
    pub tcp_idle_timeout_s: u16,
    /// How it ends TLS: of a TLS listener, and of no other.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Its tags.
    pub tags: Tags,
}

/// How a listener ends TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTls {
    /// The certificate of clients that name no other server's.
    pub certificate: Uuid,
    /// Those of the servers that clients may name.
    #[serde(default)]
    pub others: Vec<Uuid>,
    /// The versions and ciphers.
    pub policy: SslPolicy,
    /// Which protocols are agreed on above TLS; `None` agrees on none.
    #[serde(default)]
    pub alpn: Option<AlpnPolicy>,
}

/// What was said of the groups that a client's flows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStickiness {
    /// Whether they all go to one, for as long as the weights are the same.
    pub is_enabled: bool,
    /// For how many seconds, 1 to 604,800: a cookie's life, which network load balancers do not have.
    #[serde(default)]
    pub duration_s: Option<u32>,
}

impl Listener {
    /// Whether a client's flows all go to one target group.
    #[must_use]
    pub fn has_sticky_groups(&self) -> bool {
        self.stickiness.is_some_and(|it| it.is_enabled)
    }
}

/// AWS's, where a listener says nothing.
#[must_use]
pub fn usual_idle_timeout_s() -> u16 {
    350
}

/// A target group that a listener's flows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The group.
    pub group: TargetGroupId,
    /// Its share of the flows beside the others, up to 999; none with 0.
    pub weight: u16,
}
