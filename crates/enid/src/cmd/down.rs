//! `enid down`: ends the daemon of a data directory and removes every trace of it from the host.
//! What is stored stays: `enid serve` builds everything again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use enid_host::{Installation, loader};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Serialize;

use crate::cli::Common;
use crate::paths::{Daemon, DataDir};

#[derive(Serialize)]
struct Outcome {
    failures: Vec<String>,
}

/// How long a daemon may take to finish the requests under way.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a daemon that starts or ends is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let data = common.data_dir()?;
    end_daemon(&data)?;
    let mut failures = Vec::new();
    // Also where the directory is gone: what is in the kernel outlives it.
    for directory in [data.ephemeral(), data.clone()] {
        let failed = enid_host::clean::kernel(directory.path());
        failures.extend(failed.iter().map(|error| enid_host::chain(error)));
        let installation = Installation::of(directory.path());
        if let Err(error) = loader::remove_pins(installation) {
            failures.push(enid_host::chain(&error));
        }
    }
    data.forget_daemon();
    let failed = !failures.is_empty();
    common.printer().print(&Outcome { failures }, |outcome| {
        if outcome.failures.is_empty() {
            "Nothing of Enid is left on this host but its data directory.".to_owned()
        } else {
            format!("could not remove:\n  {}", outcome.failures.join("\n  "))
        }
    })?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Asks the daemon that holds the data directory to end, and waits until it has.
fn end_daemon(data: &DataDir) -> anyhow::Result<()> {
    let Some(daemon) = running(data)? else {
        return Ok(());
    };
    let Some(pid) = Pid::from_raw(daemon.pid) else {
        return Ok(());
    };
    // It may have ended since: another one has asked it to.
    let asked = rustix::process::pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
        rustix::process::pidfd_send_signal(&process, Signal::TERM)?;
        Ok(process)
    });
    let process = match asked {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        asked => asked?,
    };
    let mut fds = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: PATIENCE.as_secs().try_into()?,
        tv_nsec: 0,
    };
    let ended = rustix::event::poll(&mut fds, Some(&limit))?;
    anyhow::ensure!(
        ended == 1,
        "the daemon (process {}) does not end",
        daemon.pid
    );
    Ok(())
}

/// The daemon that holds the data directory. One that is starting says so in a moment; one that is
/// ending, perhaps because an earlier `enid down` asked it to and was interrupted, is waited for.
fn running(data: &DataDir) -> anyhow::Result<Option<Daemon>> {
    let deadline = Instant::now() + PATIENCE;
    while data.is_locked()? {
        if let Some(daemon) = data.daemon() {
            return Ok(Some(daemon));
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "a daemon is starting or ending on {}; try again later",
            data.path().display()
        );
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}
