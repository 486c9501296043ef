//! The operations of EC2 from the form of a request to the XML of its answer, without a network.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

mod client;
mod image;
mod instance;
mod instance_type;
mod network_interface;
mod security_group;
mod subnet;
mod tag;
mod volume;
mod vpc;
