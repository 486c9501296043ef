//! How hosts are configured: DHCP of both families, and the router's advertisements.
//!
//! A sandbox is set up by the agent and asks nobody; these are for other guests.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval};

use super::frame::{self, Body, Question};
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
    let told = site.with_state(|state, scope| Told::to(state, scope, site.vpc, mac))?;
    answer_with(&told, &question)
}

/// The frame that answers a question, out of what the host is told.
fn answer_with(told: &Told, question: &Question<'_>) -> Option<Vec<u8>> {
    let mac = question.from;
    match question.body {
        Body::Dhcp(message) => dhcp::answer(told, mac, message),
        Body::DhcpV6(from, message) => dhcp_v6::answer(told, mac, from, message),
        Body::Icmpv6(from, message) => router::answer(told, mac, from, message),
    }
}

/// Tells each host of the VPC of its router. One that is a sandbox does not listen.
fn advertise(site: &Site, socket: &UdpSocket) {
    let frames = site.with_state(|state, scope| {
        let region = state.region(scope)?;
        let enis = region.network_interfaces.values();
        let own = enis.filter(|eni| eni.vpc == site.vpc);
        let frames = own.filter_map(|eni| {
            let told = Told::of(state, scope, eni)?;
            router::advertisement(&told, eni.mac, router::ALL_HOSTS)
        });
        Some(frames.collect::<Vec<_>>())
    });
    for frame in frames.into_iter().flatten() {
        // It is told again, and a host that asks is answered.
        let _ = socket.try_send(&frame);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use enid_model::network_interface::Mac;

    use super::*;
    use crate::services::told::fixture::told;

    /// One question of each kind, as a frame of the host with the services' own MAC address.
    fn questions() -> Vec<Vec<u8>> {
        let mac = Mac([0xff; 6]);
        let mut discover = vec![0; 240];
        discover[..3].copy_from_slice(&[1, 1, 6]);
        discover[28..34].copy_from_slice(&enid_pipeline::service::SERVICE_MAC.0);
        discover[236..].copy_from_slice(&[99, 130, 83, 99]);
        discover.extend([53, 1, 1, 50, 4, 10, 0, 0, 9, 55, 2, 1, 3, 255]);
        let solicit = [
            &[1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 9][..],
            &[0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        let (from, to): (Ipv6Addr, Ipv6Addr) =
            ("fe80::9".parse().unwrap(), "ff02::1:2".parse().unwrap());
        vec![
            frame::udp_v4(
                mac,
                (Ipv4Addr::UNSPECIFIED, 68),
                (Ipv4Addr::BROADCAST, 67),
                &discover,
            ),
            frame::udp_v6(mac, (from, 546), (to, 547), &solicit.concat()),
            frame::icmpv6(mac, from, to, vec![133, 0, 0, 0, 0, 0, 0, 0]),
        ]
    }

    #[test]
    fn any_bytes_are_answered_well_or_not_at_all() {
        let told = told();
        // A fixed seed; xorshift.
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        let mut answered = 0;
        for question in questions() {
            let whole = frame::read(&question).and_then(|asked| answer_with(&told, &asked));
            assert!(whole.is_some());
            for _ in 0..20_000 {
                let mut mutated = question.clone();
                for _ in 0..random(4) {
                    let at = random(mutated.len());
                    mutated[at] = u8::try_from(random(256)).unwrap();
                }
                mutated.truncate(random(mutated.len() * 4).max(1));
                let Some(asked) = frame::read(&mutated) else {
                    continue;
                };
                let Some(answer) = answer_with(&told, &asked) else {
                    continue;
                };
                answered += 1;
                assert_eq!(answer[..6], asked.from.0);
                assert!(answer.len() < FRAME_MAX);
            }
        }
        assert!(answered > 1000, "{answered}");
    }
}
