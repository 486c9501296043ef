//! Commands inside an instance, as `docker exec` and `nsenter` run them.
//!
//! The command joins the namespaces of the sandbox's first process with the same bounded
//! capabilities. It needs no daemon: the process is found through the instance's directory. With a
//! terminal on both ends the command gets one of its own inside; otherwise it has the
//! caller's streams as they are. It ends when its caller does.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use enid_model::id::InstanceId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};

use crate::netns;
use crate::sandbox::{self, Sandbox, SandboxError, Status};

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no command.
    #[error("no command given")]
    Empty,
    /// The instance's namespaces cannot be entered.
    #[error("enter {instance}")]
    Enter {
        /// The instance.
        instance: InstanceId,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The instance has no such command.
    #[error("{command}: command not found", command = .command.display())]
    NotFound {
        /// The command.
        command: OsString,
    },
    /// The instance does not run.
    #[error("instance {instance} is not running")]
    NotRunning {
        /// The instance.
        instance: InstanceId,
    },
    /// What is known of the instance cannot be read.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The command is there but cannot be started.
    #[error("start {command}", command = .command.display())]
    Start {
        /// The command.
        command: OsString,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The command's terminal or streams failed.
    #[error("attach to {command}", command = .command.display())]
    Stream {
        /// The command.
        command: OsString,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl ExecError {
    /// The exit code that a shell gives for the same failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::Start { .. } => 126,
            _ => 1,
        }
    }
}

/// Runs a command in an instance, with the caller's streams, and returns its exit code.
///
/// A command that a signal ends has 128 and the signal's number, as in a shell.
pub fn run(data_dir: &Path, instance: InstanceId, command: &[OsString]) -> Result<u8, ExecError> {
    let (program, arguments) = command.split_first().ok_or(ExecError::Empty)?;
    let sandbox = Sandbox::of(data_dir, instance);
    let not_running = ExecError::NotRunning { instance };
    let pidfd = match sandbox.identity()? {
        Some(identity) if identity.status() == Status::Running => identity
            .open()
            .map_err(|source| ExecError::Enter { instance, source })?
            .ok_or(not_running)?,
        _ => return Err(not_running),
    };
    // Signals that arrive from here on wait for the command.
    let signals = Signals::register().map_err(|source| ExecError::Stream {
        command: program.clone(),
        source,
    })?;
    netns::on_own_thread(|| {
        netns::join_process(pidfd.as_fd())
            .and_then(|()| sandbox::bound_capabilities())
            .and_then(|()| {
                Ok(rustix::process::chdir("/root").or_else(|_| rustix::process::chdir("/"))?)
            })
            .map_err(|source| ExecError::Enter { instance, source })?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(sandbox::environment())
            .envs(std::env::var_os("TERM").map(|term| ("TERM", term)));
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let status = if terminal {
            run_on_terminal(command, program, &signals)
        } else {
            run_on_streams(command, program, &signals)
        };
        status.map(exit_code)
    })
}

/// Runs a command that has the caller's own streams.
fn run_on_streams(
    mut command: Command,
    program: &OsString,
    signals: &Signals,
) -> Result<ExitStatus, ExecError> {
    // With a terminal as its input the command must stay in the terminal's foreground group, whose
    // keys then reach it without help. Otherwise all that it gets to know is what is passed on.
    let keyboard = io::stdin().is_terminal();
    if !keyboard {
        command.process_group(0);
    }
    let child = netns::spawn_attached(&mut command, None);
    let mut child = child.map_err(|e| start_error(program, e))?;
    drop(command);
    let stream_error = |source| ExecError::Stream {
        command: program.clone(),
        source,
    };
    let (pid, pidfd) = open_child(&child).map_err(stream_error)?;
    loop {
        let mut sources = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::new(&signals.end, PollFlags::IN),
        ];
        wait_for(&mut sources).map_err(stream_error)?;
        if !sources[0].revents().is_empty() {
            return child.wait().map_err(stream_error);
        }
        for signal in signals.arrived() {
            // A command that has just ended needs no signal.
            let _ = match (keyboard, signal) {
                (true, Signal::INT | Signal::QUIT) => Ok(()),
                (true, signal) => rustix::process::kill_process(pid, signal),
                (false, signal) => rustix::process::kill_process_group(pid, signal),
            };
        }
    }
}

/// Runs a command on a terminal of its own, which the caller's shows.
fn run_on_terminal(
    mut command: Command,
    program: &OsString,
    signals: &Signals,
) -> Result<ExitStatus, ExecError> {
    let stream_error = |source| ExecError::Stream {
        command: program.clone(),
        source,
    };
    let (outer, inner) = open_terminal().map_err(stream_error)?;
    copy_size(&outer).map_err(stream_error)?;
    let stream = || inner.try_clone().map_err(stream_error);
    command.stdin(stream()?).stdout(stream()?).stderr(stream()?);
    let child = netns::spawn_attached(&mut command, Some(inner));
    let mut child = child.map_err(|e| start_error(program, e))?;
    // Only the command may hold the inner end, so that the outer one sees it close.
    drop(command);
    let (pid, pidfd) = open_child(&child).map_err(stream_error)?;
    let raw = RawMode::enter().map_err(stream_error)?;
    let relayed = relay(outer, pid, &pidfd, signals);
    drop(raw);
    relayed.map_err(stream_error)?;
    child.wait().map_err(stream_error)
}

/// Passes bytes between the caller's terminal and the command's until the command ends.
fn relay(outer: OwnedFd, pid: Pid, pidfd: &OwnedFd, signals: &Signals) -> io::Result<()> {
    let mut outer = File::from(outer);
    let mut typed: Vec<u8> = Vec::new();
    let mut typing = true;
    let mut showing = true;
    while showing {
        let stdin = io::stdin();
        // Input is read only as fast as the command takes it, output always: neither waits for the
        // other.
        let input = if typing && typed.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let output = if typed.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        };
        let mut sources = [
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(&outer, output),
            PollFd::new(&signals.end, PollFlags::IN),
            PollFd::new(&signals.size, PollFlags::IN),
            PollFd::new(&stdin, input),
        ];
        wait_for(&mut sources)?;
        let [ended, command, signal, size, keys] = sources.map(|source| source.revents());
        if command.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            showing = show(&mut outer)?;
        } else if !ended.is_empty() {
            // Processes in the background may keep the terminal open; they are not waited for.
            showing = false;
        }
        if command.contains(PollFlags::OUT) {
            match outer.write(&typed) {
                Ok(length) => drop(typed.drain(..length)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        if typing && typed.is_empty() && !keys.is_empty() {
            let mut bytes = [0; 4096];
            let length = rustix::io::read(&stdin, &mut bytes)?;
            typing = length > 0;
            typed.extend_from_slice(&bytes[..length]);
        }
        if !size.is_empty() {
            drain(&signals.size);
            copy_size(&outer)?;
        }
        if !signal.is_empty() {
            for signal in signals.arrived() {
                // The command leads the terminal's session and group.
                let _ = rustix::process::kill_process_group(pid, signal);
            }
        }
    }
    Ok(())
}

/// Shows what the command has written; false if its terminal is closed.
fn show(outer: &mut File) -> io::Result<bool> {
    let mut bytes = [0; 8192];
    match outer.read(&mut bytes) {
        Ok(0) => Ok(false),
        Ok(length) => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&bytes[..length])?;
            stdout.flush()?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
        // The kernel's word for a terminal whose inner end nobody holds any more.
        Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Opens a terminal among those of the namespaces that the calling thread is in.
fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let outer = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&outer)?;
    let inner = rustix::pty::ioctl_tiocgptpeer(&outer, flags)?;
    let status = rustix::fs::fcntl_getfl(&outer)?;
    rustix::fs::fcntl_setfl(&outer, status | OFlags::NONBLOCK)?;
    Ok((outer, inner))
}

fn copy_size(outer: impl AsFd) -> io::Result<()> {
    let size = rustix::termios::tcgetwinsize(io::stdin())?;
    Ok(rustix::termios::tcsetwinsize(outer, size)?)
}

/// The caller's terminal passes every key on while this lives.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Signals to the caller that concern the command.
struct Signals {
    /// Readable when one of `each` is.
    end: UnixStream,
    each: [(Signal, std::sync::Arc<std::sync::atomic::AtomicBool>); 4],
    /// Readable when the terminal's size has changed.
    size: UnixStream,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let (end, end_write) = stream()?;
        let (size, size_write) = stream()?;
        signal_hook::low_level::pipe::register(SIGWINCH, size_write)?;
        let flag = |number, signal| -> io::Result<_> {
            let arrived = std::sync::Arc::default();
            signal_hook::flag::register(number, std::sync::Arc::clone(&arrived))?;
            // The flag is set before the stream is written to, so who wakes up sees it.
            signal_hook::low_level::pipe::register(number, end_write.try_clone()?)?;
            Ok((signal, arrived))
        };
        Ok(Self {
            end,
            each: [
                flag(SIGHUP, Signal::HUP)?,
                flag(SIGINT, Signal::INT)?,
                flag(SIGQUIT, Signal::QUIT)?,
                flag(SIGTERM, Signal::TERM)?,
            ],
            size,
        })
    }

    /// The signals that have arrived since the last call.
    fn arrived(&self) -> impl Iterator<Item = Signal> {
        drain(&self.end);
        let order = std::sync::atomic::Ordering::SeqCst;
        self.each
            .iter()
            .filter(move |(_, arrived)| arrived.swap(false, order))
            .map(|(signal, _)| *signal)
    }
}

fn stream() -> io::Result<(UnixStream, UnixStream)> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    Ok((read, write))
}

fn drain(mut stream: &UnixStream) {
    let mut bytes = [0; 64];
    while let Ok(1..) = stream.read(&mut bytes) {}
}

fn wait_for(sources: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(sources, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn open_child(child: &Child) -> io::Result<(Pid, OwnedFd)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok((pid, pidfd))
}

fn start_error(program: &OsString, source: io::Error) -> ExecError {
    let command = program.clone();
    match source.kind() {
        io::ErrorKind::NotFound => ExecError::NotFound { command },
        _ => ExecError::Start { command, source },
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| Some(128 + status.signal()?))
        .and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_an_exit_code_above_128() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn failures_have_a_shell_s_exit_codes() {
        let not_found = start_error(&"nix".into(), io::ErrorKind::NotFound.into());
        assert_eq!(not_found.exit_code(), 127);
        assert_eq!(not_found.to_string(), "nix: command not found");
        let denied = start_error(&"/etc".into(), io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.exit_code(), 126);
    }

    #[test]
    fn an_instance_that_does_not_run_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let result = run(dir.path(), InstanceId(1), &["true".into()]);
        assert!(matches!(result, Err(ExecError::NotRunning { .. })));
        let result = run(dir.path(), InstanceId(1), &[]);
        assert!(matches!(result, Err(ExecError::Empty)));
    }
}
