//! `enid doctor`: can this host run it, and what is missing.

pub(crate) mod telemetry;

use std::process::ExitCode;

use enid_host::doctor::{self, State};
use serde::Serialize;

use crate::cli::Common;
use crate::config::OutsideConfig;

#[derive(Serialize)]
struct Examination {
    fit: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    subject: &'static str,
    state: &'static str,
    seen: String,
    remedy: Option<&'static str>,
}

pub(crate) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let mut found = doctor::examine();
    found.push(doctor::public_pools(&OutsideConfig::default().wanted()));
    let examination = Examination {
        fit: doctor::is_fit(&found),
        findings: found
            .into_iter()
            .map(finding)
            .chain(telemetry::finding(common))
            .collect(),
    };
    let fit = examination.fit;
    common.printer().print(&examination, words)?;
    Ok(if fit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn finding(found: doctor::Finding) -> Finding {
    let state = match found.state {
        State::Exhausted => "taken",
        State::Missing => "missing",
        State::Ok => "ok",
        State::Repaired => "repaired",
    };
    Finding {
        subject: found.subject,
        state,
        seen: found.seen,
        remedy: matches!(found.state, State::Exhausted | State::Missing).then_some(found.remedy),
    }
}

fn words(examination: &Examination) -> String {
    let mut text = String::new();
    for finding in &examination.findings {
        let Finding {
            subject,
            state,
            seen,
            remedy,
        } = finding;
        text.push_str(&format!("{state:8} {subject}: {seen}\n"));
        if let Some(remedy) = remedy {
            text.push_str(&format!("         {remedy}\n"));
        }
    }
    text.push_str(if examination.fit {
        "This host can run Enid with real packets."
    } else {
        "This host can run Enid only with --datapath none: no packets."
    });
    text
}
