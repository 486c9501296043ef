//! The kernel's side of the datapath: entry points, bound to kernel maps.
//!
//! Two programs go with the host-side device of each ENI (`enid_tap_…` if it is a tap):
//! - `enid_egress` on its ingress hook: what leaves the instance goes through the pipeline;
//! - `enid_host_guard` on its egress hook: what the host's own stack sends there is dropped. Packets that
//!   the pipeline forwards do not pass that hook, they go to the peer device directly.
//!
//! `enid_outside` goes with the ingress hook of the device that leads outside; packets to the outside are
//! sent out of that device.
//!
//! `enid_service` goes with the ingress hook of each device that leads to the link-local services of a VPC,
//! and `enid_host_guard` with its egress hook.
//!
//! `enid_copy` and `enid_mirrored` go with the two ends of the pair that copies go through: the one with the
//! egress hook of the end that they are sent out of, the other with the ingress hook of the other end.
//!
//! Built for `bpfel-unknown-none` by `cargo xtask ebpf`; for any other target it is empty.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    feature(asm_experimental_arch),
    expect(
        unstable_features,
        reason = "BPF has assembly and atomic sums only behind this gate"
    )
)]

#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod skb;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
