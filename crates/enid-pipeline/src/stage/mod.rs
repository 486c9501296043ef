//! The stages, one file each. A stage is a small function: packet and tables in, a reason to drop or
//! "go on" out. No stage calls another, but for the route, which hands on to neighbours, gateways, edges, NAT and
//! load balancers.

pub(crate) mod acl;
pub(crate) mod act;
pub(crate) mod arp;
pub(crate) mod balance;
pub(crate) mod edge;
pub(crate) mod flow_lookup;
pub(crate) mod fragment;
pub(crate) mod gate;
pub(crate) mod gateway;
pub(crate) mod nat;
pub(crate) mod nat_count;
pub(crate) mod nat_port;
pub(crate) mod nd;
pub(crate) mod neighbour;
pub(crate) mod parse;
pub(crate) mod related;
pub(crate) mod reply;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod spoof_guard;
pub(crate) mod translate;
pub(crate) mod unfinished;
