//! The first process of a sandbox.
//!
//! It builds the sandbox around itself, gives up what it needed for that, reports to its launcher
//! and then stays: it runs the user data, keeps the console, collects ended processes and, told to
//! stop, ends all others. It depends on its launcher only until it has reported, so it outlives it.
//!
//! The launcher writes a [`Config`] to its standard input. If that does not arrive whole, the
//! launcher died before it had written down that this process exists, and the process ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use super::capability;
use super::process::READY_NAME;
use super::rootfs;
use crate::console::Console;
use crate::netns;

/// What a first process has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Config {
    /// The directory with the console, on the host.
    pub(super) dir: PathBuf,
    /// The directory with the overlay's layers, on the host.
    pub(super) layers: PathBuf,
    /// Directories of the host that must not be seen.
    pub(super) hidden: Vec<PathBuf>,
    /// The instance's id.
    pub(super) instance: String,
    /// The image that the instance was launched from.
    pub(super) image: String,
    /// The instance's host name.
    pub(super) hostname: String,
    /// Its primary address.
    pub(super) address: Ipv4Addr,
    /// The text of its `/etc/resolv.conf`.
    pub(super) resolv_conf: String,
    /// The public key that root is known by.
    pub(super) authorized_key: Option<String>,
    /// Its user data.
    pub(super) user_data: Option<Vec<u8>>,
    /// Whether the root filesystem is new.
    pub(super) first_boot: bool,
    /// How long processes have to end when the sandbox is stopped.
    pub(super) grace_ms: u64,
    /// Whether the root filesystem is kept in memory.
    pub(super) volatile: bool,
}

/// What a first process reports to its launcher, as one line of JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The sandbox could not be built.
    Failed {
        /// Whether it is the overlay over the host's root that the kernel refused.
        overlay: bool,
        /// What failed, with all causes.
        error: String,
    },
    /// The sandbox is complete.
    Ready,
}

/// The main function of a first process.
///
/// The program that launches sandboxes calls it when it is started with [`super::INIT_ARGUMENT`] as
/// its first argument, before it starts any thread.
#[must_use]
pub fn main() -> ExitCode {
    if netns::close_all_inherited().is_err() {
        return ExitCode::FAILURE;
    }
    let mut text = Vec::new();
    let config: Config = match io::stdin()
        .read_to_end(&mut text)
        .map_err(serde_json::Error::io)
        .and_then(|_length| serde_json::from_slice(&text))
    {
        Ok(config) => config,
        // No launcher waits for a report.
        Err(_) => return ExitCode::FAILURE,
    };
    let (report, init) = match Init::set_up(&config) {
        Ok(init) => (Report::Ready, Some(init)),
        Err(e) => {
            let overlay = matches!(e, SetUpError::Root(rootfs::RootError::Overlay(_)));
            let error = chain(&e);
            (Report::Failed { overlay, error }, None)
        }
    };
    // A launcher that has died reads no report; the sandbox is complete all the same.
    let _ = serde_json::to_writer(io::stdout(), &report)
        .map_err(io::Error::other)
        .and_then(|()| io::stdout().flush());
    let Some(mut init) = init else {
        return ExitCode::FAILURE;
    };
    if init.detach().is_err() {
        return ExitCode::FAILURE;
    }
    init.run_user_data(&config);
    init.stay(Duration::from_millis(config.grace_ms));
    ExitCode::SUCCESS
}

#[derive(Debug, thiserror::Error)]
enum SetUpError {
    #[error("open the console")]
    Console(#[source] io::Error),
    #[error("leave the launcher's session")]
    Session(#[source] io::Error),
    #[error("give up capabilities")]
    Capabilities(#[source] io::Error),
    #[error("set the host name")]
    Hostname(#[source] io::Error),
    #[error(transparent)]
    Root(#[from] rootfs::RootError),
    #[error("register for signals")]
    Signals(#[source] io::Error),
}

struct Init {
    console: Console,
    /// What programs in the sandbox write to `/dev/console`.
    written: File,
    stop: UnixStream,
    child: UnixStream,
    user_data: Option<Pid>,
}

impl Init {
    fn set_up(config: &Config) -> Result<Self, SetUpError> {
        rustix::process::setsid().map_err(|e| SetUpError::Session(e.into()))?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let stop = on_signal(&[signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
            .map_err(SetUpError::Signals)?;
        let child = on_signal(&[signal_hook::consts::SIGCHLD]).map_err(SetUpError::Signals)?;
        let mut console = Console::open(&config.dir).map_err(SetUpError::Console)?;
        rootfs::enter(config)?;
        rustix::system::sethostname(config.hostname.as_bytes())
            .map_err(|e| SetUpError::Hostname(e.into()))?;
        let written = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/console")
            .map_err(SetUpError::Console)?;
        console
            .write(greeting(config).as_bytes())
            .map_err(SetUpError::Console)?;

        // Others in the sandbox must not reach the host's files through this process's descriptors.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|e| SetUpError::Capabilities(e.into()))?;
        capability::bound().map_err(SetUpError::Capabilities)?;
        capability::drop_own().map_err(SetUpError::Capabilities)?;
        // From here on others may enter.
        set_name(READY_NAME).map_err(SetUpError::Session)?;
        Ok(Self {
            console,
            written,
            stop,
            child,
            user_data: None,
        })
    }

    /// Lets go of the launcher's pipes.
    fn detach(&self) -> io::Result<()> {
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    }

    /// Runs user data that is a script, once in the life of the root filesystem, as cloud-init does.
    fn run_user_data(&mut self, config: &Config) {
        let Some(script) = config.user_data.as_ref().filter(|data| !data.is_empty()) else {
            return;
        };
        if !script.starts_with(b"#!") {
            self.say("enid: user data does not start with #! and is not run\n");
            return;
        }
        if Path::new(USER_DATA_RAN).exists() {
            return;
        }
        match start_script(script) {
            Ok(pid) => self.user_data = Some(pid),
            Err(e) => self.say(&format!("enid: user data cannot be run: {e}\n")),
        }
    }

    /// Keeps the sandbox until it is told to stop, then ends all its processes.
    fn stay(&mut self, grace: Duration) {
        while !self.turn(None) {}
        self.say("enid: stopping\n");
        signal_others(Signal::TERM);
        let deadline = Instant::now() + grace;
        loop {
            let over = Instant::now() >= deadline;
            if over || others().next().is_none() {
                break;
            }
            self.turn(Some(LOOK_AGAIN));
        }
        self.read_console();
        // The kernel ends whatever is left when the first process of a PID namespace ends.
    }

    /// Waits for something to do, or for a while, and does it; true if it was told to stop.
    fn turn(&mut self, wait: Option<Timespec>) -> bool {
        let mut sources = [
            PollFd::new(&self.stop, PollFlags::IN),
            PollFd::new(&self.child, PollFlags::IN),
            PollFd::new(&self.written, PollFlags::IN),
        ];
        // An interrupted wait is one that ends early.
        let _ = poll(&mut sources, wait.as_ref());
        let [stop, child, written] = sources.map(|source| !source.revents().is_empty());
        if written {
            self.read_console();
        }
        if child {
            drain(&self.child);
            self.collect();
        }
        if stop {
            drain(&self.stop);
        }
        stop
    }

    fn read_console(&mut self) {
        let mut bytes = [0; 8192];
        // The descriptor does not block: reading ends with an error when there is no more.
        while let Ok(length @ 1..) = self.written.read(&mut bytes) {
            // A full disk must not stop the sandbox; its console has a gap then.
            let _ = self.console.write(&bytes[..length]);
        }
    }

    fn collect(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if self.user_data == Some(pid) {
                self.user_data = None;
                self.read_console();
                self.say(&format!("enid: user data {}\n", outcome(status)));
            }
        }
    }

    fn say(&mut self, text: &str) {
        let _ = self.console.write(text.as_bytes());
    }
}

/// The first lines on the console.
fn greeting(config: &Config) -> String {
    let mut text = format!(
        "enid: image {} runs as Enid's sandbox, a container over this host's root filesystem\n\
         enid: instance {} ({}) at {}\n",
        config.image, config.instance, config.hostname, config.address
    );
    if config.volatile {
        text.push_str(
            "enid: the root filesystem is in memory and is lost when the host restarts\n",
        );
    }
    text
}

fn start_script(script: &[u8]) -> io::Result<Pid> {
    fs::create_dir_all(STATE_DIR)?;
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o700)
        .open(USER_DATA)?
        .write_all(script)?;
    File::create(USER_DATA_RAN)?;
    let console = OpenOptions::new().write(true).open("/dev/console")?;
    let errors = console.try_clone()?;
    // The daemon does without huge pages, and what it starts inherits that; an instance's programs need not.
    rustix::thread::disable_transparent_huge_pages(false)?;
    let child = Command::new(USER_DATA)
        .env_clear()
        .envs(environment())
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .stdout(console)
        .stderr(errors)
        .spawn()?;
    // The child is collected with all others.
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The environment that a command in a sandbox starts with.
pub(crate) fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("HOME", "/root"),
        ("LOGNAME", "root"),
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("SHELL", "/bin/sh"),
        ("USER", "root"),
    ]
    .into_iter()
}

/// A stream that becomes readable when one of the signals arrives.
fn on_signal(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn drain(mut stream: &UnixStream) {
    let mut bytes = [0; 64];
    while let Ok(1..) = stream.read(&mut bytes) {}
}

/// The processes of the sandbox besides this one.
fn others() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != 1)
        .filter_map(Pid::from_raw)
}

fn signal_others(signal: Signal) {
    for pid in others() {
        // One that has just ended needs no signal.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn set_name(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    Ok(rustix::thread::set_name(&name)?)
}

fn outcome(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// An error with all its causes, for a reader in another process.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

const STATE_DIR: &str = "/var/lib/enid";
const USER_DATA: &str = "/var/lib/enid/user-data";
const USER_DATA_RAN: &str = "/var/lib/enid/user-data-ran";

/// How often a stopping sandbox looks whether its processes have ended.
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_reported_with_its_causes() {
        let cause = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = SetUpError::Root(rootfs::RootError::Pivot(cause));
        assert_eq!(chain(&error), "enter the sandbox's root: permission denied");
    }

    #[test]
    fn a_signal_makes_its_stream_readable() {
        let stream = on_signal(&[signal_hook::consts::SIGUSR2]).unwrap();
        assert!((&stream).read(&mut [0]).is_err());
        signal_hook::low_level::raise(signal_hook::consts::SIGUSR2).unwrap();
        assert_eq!((&stream).read(&mut [0]).unwrap(), 1);
    }
}
