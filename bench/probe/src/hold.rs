//! Connections that must not break: what happens to them while a daemon dies and comes back.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::server::ECHO_PORT;
use crate::tcp::{connect, round_trip};

/// Between two round trips of a connection.
const PACE: Duration = Duration::from_millis(1);

/// Keeps `connections` busy and counts those that break.
pub(crate) fn run(to: IpAddr, duration: Duration, connections: usize) -> Result<Value> {
    let opened = (0..connections)
        .map(|_| connect((to, ECHO_PORT).into()))
        .collect::<Result<Vec<_>>>()?;
    // Whoever started this waits for the line before it does harm.
    println!("open");
    let start = Instant::now();
    let threads: Vec<_> = opened
        .into_iter()
        .map(|mut connection| {
            thread::spawn(move || {
                let mut longest = Duration::ZERO;
                let mut trips = 0_u64;
                while start.elapsed() < duration {
                    let before = Instant::now();
                    if round_trip(&mut connection).is_err() {
                        return (trips, longest, true);
                    }
                    longest = longest.max(before.elapsed());
                    trips += 1;
                    thread::sleep(PACE);
                }
                (trips, longest, false)
            })
        })
        .collect();
    let mut broken = 0;
    let mut trips = 0;
    let mut longest = Duration::ZERO;
    for thread in threads {
        // A thread that panicked held a connection that cannot be vouched for.
        let (its_trips, its_longest, is_broken) =
            thread.join().unwrap_or((0, Duration::ZERO, true));
        broken += usize::from(is_broken);
        trips += its_trips;
        longest = longest.max(its_longest);
    }
    Ok(json!({
        "connections": connections,
        "broken": broken,
        "round_trips": trips,
        "longest_ms": longest.as_secs_f64() * 1e3,
    }))
}
