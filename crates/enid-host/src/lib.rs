//! One host's agent: devices, sandboxes, eBPF programs and maps, flow sweeps.
//!
//! What is here acts on the host it runs on and on nothing else: it touches only the namespaces,
//! links, processes, mounts and pins that carry the mark of its [`Installation`]. All calls are
//! blocking; whoever has an async runtime calls them from worker threads. `unsafe` is confined to
//! the modules at the kernel boundary, where it is allowed by name.

#![deny(unsafe_code)]

pub mod clean;
pub mod console;
pub mod device;
pub mod doctor;
pub mod exec;
mod installation;
pub mod netlink;
pub mod netns;
pub mod sandbox;

pub use installation::Installation;
