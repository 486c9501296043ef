//! Typed ids and the stored records of every resource.
//!
//! Records are what the store keeps (JSON with a format version) and what every other crate reads.
//! [`State`](state::State) holds all of them at one revision, with the indexes that operations ask
//! for. This crate holds no logic beyond those invariants.

#![forbid(unsafe_code)]

pub mod address;
pub mod alarm;
pub mod anomaly_detector;
pub mod balancer_arn;
pub mod certificate;
pub mod check;
pub mod dashboard;
pub mod delivery_policy;
pub mod dhcp_options;
pub mod flow_log;
pub mod gateway;
pub mod id;
pub mod image;
pub mod instance;
pub mod instance_metadata;
pub mod instance_type;
pub mod key;
pub mod key_pair;
pub mod launch_template;
pub mod listener;
pub mod load_balancer;
pub mod log_group;
pub mod nat_gateway;
pub mod network_acl;
pub mod network_interface;
pub mod network_interface_permission;
pub mod prefix_list;
pub mod private_dns_name;
pub mod record;
pub mod reference;
pub mod region;
pub mod route_table;
pub mod security_group;
pub mod ssl_policy;
pub mod state;
pub mod subnet;
pub mod subscription;
pub mod target;
pub mod target_group;
pub mod time;
pub mod topic;
pub mod traffic_mirror;
pub mod uuid;
pub mod volume;
pub mod vpc;
pub mod vpc_peering_connection;

use std::collections::BTreeMap;

/// The tags of a resource, by key.
pub type Tags = BTreeMap<String, String>;
