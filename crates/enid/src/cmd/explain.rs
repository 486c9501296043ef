//! `enid explain`: does a packet pass, hop by hop, with the deciding rules.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use enid_advise::explain::{End, protocol_number};
use serde_json::Value;

use crate::cli::Common;
use crate::client;

/// Which packet.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// The sender: an instance or a network interface
    #[arg(long, value_name = "ID")]
    from: End,
    /// The receiver: an instance, a network interface or an address
    #[arg(long, value_name = "ID|ADDRESS")]
    to: End,
    /// tcp, udp, icmp or a number
    #[arg(long, default_value = "tcp", value_parser = protocol)]
    protocol: u8,
    /// The destination port; for icmp the type (default: echo request)
    #[arg(long)]
    port: Option<u16>,
}

fn protocol(text: &str) -> Result<u8, String> {
    protocol_number(text).ok_or_else(|| "neither tcp, udp, icmp nor a number to 255".to_owned())
}

/// The ICMP type of an echo request.
const ECHO_REQUEST: u16 = 8;
const ICMP: u8 = 1;

pub(crate) fn run(common: &Common, question: &Question) -> anyhow::Result<ExitCode> {
    let port = match (question.protocol, question.port) {
        (ICMP, kind) => kind
            .unwrap_or(ECHO_REQUEST)
            .checked_mul(256)
            .context("an ICMP type is at most 255")?,
        (6 | 17, None) => anyhow::bail!("tcp and udp need --port"),
        (_, port) => port.unwrap_or(0),
    };
    let end = |end: End| match end {
        End::Address(address) => address.to_string(),
        End::Eni(id) => id.to_string(),
        End::Instance(id) => id.to_string(),
    };
    let path = format!(
        "/_enid/explain?from={}&to={}&protocol={}&port={port}",
        end(question.from),
        end(question.to),
        question.protocol,
    );
    let answer = client::request(&common.endpoint()?, "GET", &path)?;
    let value: Value = serde_json::from_str(&answer.body)
        .with_context(|| format!("the daemon answered: {}", answer.body.trim()))?;
    if answer.status != 200 {
        anyhow::bail!(
            "{}",
            value["error"].as_str().unwrap_or("the daemon refused")
        );
    }
    common.printer().print(&value, words)?;
    Ok(ExitCode::SUCCESS)
}

fn words(value: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = vec![format!(
        "{} {} -> {} {}, protocol {} port {}",
        text(&value["from"]["eni"]),
        text(&value["from"]["address"]),
        text(&value["to"]["eni"]),
        text(&value["to"]["address"]),
        value["protocol"],
        value["port"],
    )];
    for hop in value["hops"].as_array().into_iter().flatten() {
        let why = match (hop["rule"].as_str(), hop["reason"].as_str()) {
            (Some(rule), _) => {
                let of = hop["group"].as_str().or_else(|| hop["resource"].as_str());
                let to = hop["target"].as_str().map(|target| format!(" to {target}"));
                format!(
                    "rule {rule} of {}{}",
                    of.unwrap_or("-"),
                    to.unwrap_or_default()
                )
            }
            (None, Some(reason)) => reason.to_owned(),
            (None, None) => hop["resource"].as_str().unwrap_or_default().to_owned(),
        };
        let detail = hop["detail"].as_str();
        let line = format!(
            "  {:13} {:6} {why}{}",
            text(&hop["stage"]),
            text(&hop["verdict"]),
            detail.map(|it| format!(" ({it})")).unwrap_or_default()
        );
        lines.push(line.trim_end().to_owned());
    }
    lines.push(match value["words"].as_str() {
        Some(why) => format!("drop: {why}"),
        None => "forward".to_owned(),
    });
    lines.join("\n")
}
