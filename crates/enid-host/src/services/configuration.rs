//! How hosts are configured: DHCP of both families, and the router's advertisements.
//!
//! A sandbox is set up by the agent and asks nobody; these are for other guests.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval};

use super::frame::{self, Body};
use super::server::Site;
use super::told::Told;
use super::{dhcp, dhcp_v6, router};

/// The longest frame.
const FRAME_MAX: usize = 9_216;
/// How often hosts are told of their router: three times in the time that it holds.
const ADVERTISE_EVERY: Duration = Duration::from_secs(600);

/// Answers everything that comes to the packet socket, and tells hosts of their router now and then.
pub(super) async fn serve(site: Arc<Site>, socket: UdpSocket) {
    let mut frame = vec![0; FRAME_MAX];
    let mut due = interval(ADVERTISE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once: nobody is there who does not ask.
    due.tick().await;
    loop {
        tokio::select! {
            _ = due.tick() => advertise(&site, &socket),
            received = socket.recv(&mut frame) => {
                // An error is of a link that goes away.
                let length = received.unwrap_or(0);
                let whole = frame.get(..length).unwrap_or_default();
                if let Some(answer) = answer(&site, whole) {
                    // A full queue: who asked asks again.
                    let _ = socket.try_send(&answer);
                }
            }
        }
    }
}

/// The frame that answers a frame.
fn answer(site: &Site, frame: &[u8]) -> Option<Vec<u8>> {
    let question = frame::read(frame)?;
    let mac = question.from;
    let told = site.with_region(|region| Told::to(region, site.vpc, mac))??;
    match question.body {
        Body::Dhcp(message) => dhcp::answer(&told, mac, message),
        Body::DhcpV6(from, message) => dhcp_v6::answer(&told, mac, from, message),
        Body::Icmpv6(from, message) => router::answer(&told, mac, from, message),
    }
}

/// Tells each host of the VPC of its router. One that is a sandbox does not listen.
fn advertise(site: &Site, socket: &UdpSocket) {
    let frames = site.with_region(|region| {
        let enis = region.network_interfaces.values();
        let own = enis.filter(|eni| eni.vpc == site.vpc);
        let frames = own.filter_map(|eni| {
            let told = Told::of(region, eni)?;
            router::advertisement(&told, eni.mac, router::ALL_HOSTS)
        });
        frames.collect::<Vec<_>>()
    });
    for frame in frames.into_iter().flatten() {
        // It is told again, and a host that asks is answered.
        let _ = socket.try_send(&frame);
    }
}
