//! One host's agent: devices, sandboxes, eBPF programs and maps, flow sweeps.
//!
//! What is here acts on the host it runs on and on nothing else: it touches only the namespaces,
//! links, processes, mounts and pins that carry the mark of its [`Installation`]. All calls are
//! blocking; whoever has an async runtime calls them from worker threads. `unsafe` is confined to
//! the modules at the kernel boundary, where it is allowed by name.

#![deny(unsafe_code)]

pub mod adoption;
pub mod agent;
pub mod btf;
pub mod capture;
pub mod clean;
pub mod console;
pub mod copies;
pub mod datapath;
pub mod device;
pub mod doctor;
pub mod exec;
pub mod flow_observer;
pub mod flows;
pub mod health;
mod installation;
pub mod loader;
mod maps;
pub mod nat_counts;
pub mod netlink;
pub mod netns;
mod offload;
pub mod outside;
pub mod proxy;
pub mod sandbox;
pub mod services;
pub mod tap;
mod tcp_info;
mod trusting;

pub use installation::Installation;

/// An error with all that caused it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A transparent error says what its cause says.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
