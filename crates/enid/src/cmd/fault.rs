//! `enid fault`: what fails on this host because somebody wants to see what becomes of it.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use enid_model::id::NatGatewayId;
use enid_plan::fault::Fault;

use crate::cli::Common;
use crate::cmd::USAGE;
use crate::wiring::faults::Standing;
use crate::wiring::socket::{Request, ask};

/// What `enid fault` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum FaultCommand {
    /// Lift all faults
    Clear,
    /// The faults that go on
    List,
    /// A NAT gateway gets no ports for new connections
    NatPorts {
        /// The gateway's id
        id: NatGatewayId,
        #[command(flatten)]
        span: Span,
    },
    /// All traffic of an instance or of a network interface stops
    Target {
        /// The instance's or the interface's id
        id: String,
        #[command(flatten)]
        span: Span,
    },
    /// All traffic of all interfaces in an availability zone stops
    Zone {
        /// The zone's name, such as us-east-1a
        zone: String,
        #[command(flatten)]
        span: Span,
    },
}

/// How long a fault goes on.
#[derive(Debug, Args)]
pub(crate) struct Span {
    /// Lift it after this time: 500ms, 30s, 5m, 1h [default: when it is cleared, or the daemon ends]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    span: Option<Duration>,
    /// Let it go on after a restart of the daemon
    #[arg(long, conflicts_with = "span")]
    keep: bool,
}

pub(crate) fn run(common: &Common, command: FaultCommand) -> anyhow::Result<ExitCode> {
    let inject = |fault, span: Span| Request::Inject {
        fault,
        for_ms: span
            .span
            .map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        keep: span.keep,
    };
    let request = match command {
        FaultCommand::Clear => Request::Lift,
        FaultCommand::List => Request::Faults,
        FaultCommand::NatPorts { id, span } => inject(Fault::NatPorts(id), span),
        FaultCommand::Target { id, span } => match target(&id) {
            Some(fault) => inject(fault, span),
            None => {
                eprintln!("enid: \"{id}\" is no id of an instance or of a network interface");
                return Ok(ExitCode::from(USAGE));
            }
        },
        FaultCommand::Zone { zone, span } => inject(Fault::Zone(zone), span),
    };
    let standing: Vec<Standing> = ask(&common.data_dir()?.socket(), &request)?;
    common.printer().print(&standing, |standing| {
        if standing.is_empty() {
            return "nothing fails".to_owned();
        }
        let lines = standing.iter().map(Standing::words);
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn target(id: &str) -> Option<Fault> {
    let instance = id.parse().ok().map(Fault::Instance);
    instance.or_else(|| id.parse().ok().map(Fault::Interface))
}

/// A span of time: a number and its unit.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .or(Err("expected a number and a unit, such as 30s"))?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err("the unit is one of ms, s, m, h".to_owned()),
    };
    match ms {
        Some(ms @ 1..) => Ok(Duration::from_millis(ms)),
        _ => Err("the time is too short or too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        for wrong in [
            "",
            "30",
            "s",
            "0s",
            "1d",
            "-1s",
            "1.5s",
            "18446744073709551615h",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_are_instances_and_interfaces() {
        let instance = target("i-00000000000000007");
        assert!(matches!(instance, Some(Fault::Instance(_))));
        let eni = target("eni-00000000000000007");
        assert!(matches!(eni, Some(Fault::Interface(_))));
        assert_eq!(target("subnet-00000000000000007"), None);
    }
}
