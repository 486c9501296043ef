//! Makes the traffic and the requests that `make bench` measures: the same program at both ends of
//! every link, so that what differs between two figures is the link.
//!
//! Plain blocking sockets and one thread per task: the probe must cost less than what it measures.
//! Every mode prints one JSON object, except `server`, which says `ready` and serves until it is
//! killed. Which core a probe runs on is the caller's business.

#![forbid(unsafe_code)]

mod arguments;
mod gate;
mod hold;
mod latency;
mod replay;
mod server;
mod tcp;
mod udp;

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::arguments::Arguments;

const USAGE: &str = "\
usage: enid-bench-probe MODE [--NAME VALUE ...]

  server      --bind A                            answers all the modes below
  tcp-stream  --to A --seconds S                  bytes per second over one connection
  tcp-rr      --to A --seconds S                  one byte there and back, over one connection
  tcp-crr     --to A --seconds S --connections N  connect, one byte there and back, close
  udp-pps     --to A --seconds S --payload N      datagrams per second that arrive
  udp-flows   --to A --count N                    so many flows of one datagram each
  hold        --to A --seconds S --connections N  connections that must not break
  gate        --to A                              for every line on stdin: do new flows pass
  http-replay --to A:P --seconds S --connections N --request FILE [--once true]
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(mode) = words.next() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = Arguments::parse(words).and_then(|arguments| run(&mode, &arguments));
    match done {
        Ok(Some(figures)) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enid-bench-probe {mode}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: &str, arguments: &Arguments) -> Result<Option<Value>> {
    Ok(Some(match mode {
        "server" => return server::run(arguments.address("bind")?).map(|()| None),
        "tcp-stream" => tcp::stream(arguments.address("to")?, arguments.seconds()?)?,
        "tcp-rr" => tcp::request_response(arguments.address("to")?, arguments.seconds()?)?,
        "tcp-crr" => tcp::connect_request_close(
            arguments.address("to")?,
            arguments.seconds()?,
            arguments.number("connections", 16)?,
        )?,
        "udp-pps" => udp::packets(
            arguments.address("to")?,
            arguments.seconds()?,
            arguments.number("payload", 64)?,
        )?,
        "udp-flows" => udp::flows(
            arguments.address("to")?,
            arguments.number("count", 1_000_000)?,
        )?,
        "hold" => hold::run(
            arguments.address("to")?,
            arguments.seconds()?,
            arguments.number("connections", 16)?,
        )?,
        "gate" => {
            return gate::run(arguments.address("to")?).map(|()| None);
        }
        "http-replay" => replay::run(
            arguments.socket("to")?,
            arguments.seconds()?,
            arguments.number("connections", 1)?,
            arguments.text("request")?,
            arguments.number("once", false)?,
        )?,
        _ => bail!("no such mode\n{USAGE}"),
    }))
}
