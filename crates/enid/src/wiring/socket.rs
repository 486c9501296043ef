//! What only the root of the agent's host may ask: a socket in the daemon's data directory.
//!
//! Moving interfaces between the host's namespaces and giving out taps is a matter of the host, not of
//! an access key, so it does not go through the front door; nor is seeing every packet of an interface, or
//! having interfaces fail. One
//! connection is one request and one answer, each a line of JSON: `{"adopt": …}`, `{"capture": …}`, `"faults"`,
//! `{"inject": …}`, `{"inspect": …}`, `"lift"`, `{"release": …}` or `{"taps": …}`, and `{"ok": …}` or `{"error": "words"}`. What
//! follows the answer to a capture is in `capture.rs`.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use enid_host::agent::{ForeignError, ForeignGuest, Input};
use enid_host::tap::TapOwner;
use enid_model::id::{EniId, InstanceId};
use enid_plan::fault::Fault;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::wiring::capture;
use crate::wiring::faults;
use crate::wiring::host::Inquiry;

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Put the interfaces of an instance into a namespace.
    Adopt {
        instance: InstanceId,
        netns: PathBuf,
        ifname: String,
    },
    /// Tell the packets of an interface from now on.
    Capture { eni: EniId, snaplen: u32 },
    /// Tell the injected faults.
    Faults,
    /// Inject a fault.
    Inject {
        fault: Fault,
        for_ms: Option<u64>,
        keep: bool,
    },
    /// Look whether they are there.
    Inspect { instance: InstanceId },
    /// Lift all faults.
    Lift,
    /// Take them out again.
    Release { instance: InstanceId },
    /// Tell what taps an instance has, after giving them to somebody.
    Taps {
        instance: InstanceId,
        owner: Option<u32>,
        group: Option<u32>,
    },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer<T> {
    /// It is done.
    Ok(T),
    /// Why not.
    Error(String),
}

/// A guest that somebody else runs, as its instance is for it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Guest {
    pub(crate) instance: InstanceId,
    /// Its namespace, if it was adopted.
    pub(crate) netns: Option<PathBuf>,
    /// Who may open its taps.
    pub(crate) owner: u32,
    pub(crate) group: Option<u32>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) nameservers: Vec<IpAddr>,
    pub(crate) search: Option<String>,
}

/// One of its interfaces.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Interface {
    pub(crate) eni: String,
    pub(crate) device_index: u8,
    /// The link on the host.
    pub(crate) device: String,
    /// The link in the adopted namespace.
    pub(crate) name: Option<String>,
    pub(crate) mac: String,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<IpNet>,
    /// The MAC address of the link on the host, which is the router's.
    pub(crate) router_mac: String,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) ipv6_gateway: Option<IpAddr>,
}

/// A capture has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Capturing {
    pub(crate) eni: EniId,
}

/// Whether there was anything to release.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Released {
    pub(crate) instance: InstanceId,
    pub(crate) released: bool,
}

/// The open socket; it goes with this.
pub(crate) struct AgentSocket(PathBuf);

impl AgentSocket {
    /// Answers from now on, on threads of its own.
    pub(crate) fn open(path: &Path, agent: Inquiry) -> anyhow::Result<Self> {
        // Of a daemon that was killed; the data directory has one daemon at a time.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
        let listener = with_short(path, UnixListener::bind)
            .and_then(|listener| {
                fs::set_permissions(path, Permissions::from_mode(0o600))?;
                Ok(listener)
            })
            .with_context(|| format!("listen on {}", path.display()))?;
        std::thread::Builder::new()
            .name("agent socket".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let agent = agent.clone();
                    let answering = std::thread::Builder::new().name("agent answer".to_owned());
                    // Without a thread to spare the connection is closed, and the caller sees that.
                    let _ = answering.spawn(move || serve(&stream, &agent));
                }
            })
            .context("start the socket's thread")?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // One that is left is replaced by the next daemon.
        let _ = fs::remove_file(&self.0);
    }
}

/// Asks the daemon of a data directory.
pub(crate) fn ask<T: for<'a> Deserialize<'a>>(path: &Path, request: &Request) -> anyhow::Result<T> {
    ask_on(path, request).map(|(answer, _)| answer)
}

/// The same, with what follows the answer on the connection.
pub(crate) fn ask_on<T: for<'a> Deserialize<'a>>(
    path: &Path,
    request: &Request,
) -> anyhow::Result<(T, BufReader<UnixStream>)> {
    let mut stream = with_short(path, UnixStream::connect).with_context(|| {
        let path = path.display();
        format!("no daemon with a datapath answers at {path} (start one as root: enid serve)")
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = String::new();
    let mut rest = BufReader::new(stream);
    rest.read_line(&mut text)?;
    let answer = serde_json::from_str(&text).context("read the daemon's answer")?;
    match answer {
        Answer::Ok(value) => Ok((value, rest)),
        Answer::Error(words) => anyhow::bail!(words),
    }
}

/// A path of any length, as one that fits into the address of a socket.
fn with_short<T>(path: &Path, work: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let missing = || io::Error::from(io::ErrorKind::InvalidInput);
    let directory = File::open(path.parent().ok_or_else(missing)?)?;
    let name = path.file_name().ok_or_else(missing)?;
    let descriptor = format!("/proc/self/fd/{}", directory.as_raw_fd());
    work(Path::new(&descriptor).join(name))
}

fn serve(stream: &UnixStream, agent: &Inquiry) {
    let answered = read(stream).and_then(|request| {
        let answer = match (may_ask(stream)?, request) {
            (true, Request::Capture { eni, snaplen }) => {
                return tell(stream, agent, eni, snaplen);
            }
            (true, request) => answer(agent, request),
            (false, _) => error("only root may ask this".to_owned()),
        };
        let mut stream = stream;
        stream.write_all(&answer)?;
        stream.write_all(b"\n")
    });
    if let Err(error) = answered {
        tracing::debug!(%error, "a request to the agent was not answered");
    }
}

/// Answers a request to capture, and tells the packets until somebody has enough.
fn tell(mut stream: &UnixStream, agent: &Inquiry, eni: EniId, snaplen: u32) -> io::Result<()> {
    let begun = match agent.capture(eni, snaplen) {
        Some(Ok(capture)) => Ok(capture),
        Some(Err(failure)) => Err(error(enid_host::chain(&failure))),
        None => Err(error("the agent is gone".to_owned())),
    };
    let line = match &begun {
        Ok(_) => serde_json::to_vec(&Answer::Ok(Capturing { eni })).unwrap_or_default(),
        Err(line) => line.clone(),
    };
    stream.write_all(&line)?;
    stream.write_all(b"\n")?;
    match begun {
        Ok(capture) => capture::tell(stream, &capture),
        Err(_) => Ok(()),
    }
}

fn read(stream: &UnixStream) -> io::Result<Request> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, LINE_MAX)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Whether whoever connected is root, or the user that the daemon is.
fn may_ask(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

fn answer(agent: &Inquiry, request: Request) -> Vec<u8> {
    match request {
        Request::Capture { .. } => error("a capture is no single answer".to_owned()),
        Request::Adopt {
            instance,
            netns,
            ifname,
        } => {
            let done = agent.foreign(|answer| Input::Adopt {
                instance,
                namespace: netns.clone(),
                ifname: ifname.clone(),
                answer,
            });
            words(done, |guest| guest_of(instance, guest))
        }
        Request::Faults => plain(faults::list(agent)),
        Request::Inject {
            fault,
            for_ms,
            keep,
        } => plain(faults::inject(agent, fault, for_ms, keep)),
        Request::Lift => plain(faults::lift(agent)),
        Request::Inspect { instance } => {
            let done = agent.foreign(|answer| Input::Inspect { instance, answer });
            words(done, |guest| guest_of(instance, guest))
        }
        Request::Release { instance } => {
            let done = agent.foreign(|answer| Input::Release { instance, answer });
            words(done, |released| Released { instance, released })
        }
        Request::Taps {
            instance,
            owner,
            group,
        } => {
            let owner = owner.map(|user| TapOwner { user, group });
            let done = agent.foreign(|answer| Input::Taps {
                instance,
                owner,
                answer,
            });
            words(done, |guest| guest_of(instance, guest))
        }
    }
}

fn words<T, W: Serialize>(
    done: Option<Result<T, ForeignError>>,
    of: impl FnOnce(T) -> W,
) -> Vec<u8> {
    match done {
        Some(Ok(value)) => serde_json::to_vec(&Answer::Ok(of(value)))
            .unwrap_or_else(|failure| error(failure.to_string())),
        Some(Err(failure)) => error(enid_host::chain(&failure)),
        None => error("the agent is gone".to_owned()),
    }
}

fn plain<T: Serialize>(done: Result<T, String>) -> Vec<u8> {
    match done {
        Ok(value) => serde_json::to_vec(&Answer::Ok(value))
            .unwrap_or_else(|failure| error(failure.to_string())),
        Err(words) => error(words),
    }
}

fn error(words: String) -> Vec<u8> {
    // A text is always JSON.
    serde_json::to_vec(&Answer::<()>::Error(words)).unwrap_or_default()
}

fn guest_of(instance: InstanceId, guest: ForeignGuest) -> Guest {
    let interfaces = guest.interfaces.into_iter().map(|it| Interface {
        eni: it.eni.to_string(),
        device_index: it.device_index,
        device: it.host_name,
        name: it.name,
        mac: it.mac.to_string(),
        mtu: it.mtu,
        addresses: it.addresses,
        gateway: it.gateway,
        router_mac: it.router_mac.to_string(),
        ipv6_gateway: it.ipv6_gateway,
    });
    Guest {
        instance,
        netns: guest.adoption.map(|adoption| adoption.path),
        owner: guest.owner.user,
        group: guest.owner.group,
        interfaces: interfaces.collect(),
        nameservers: guest.resolvers,
        search: guest.search,
    }
}

impl Interface {
    /// Its addresses, separated by commas.
    pub(crate) fn addresses(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(IpNet::to_string).collect();
        addresses.join(",")
    }
}

/// How long whoever connects may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest request.
const LINE_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("agent.sock");
        assert!(UnixListener::bind(&path).is_err());
        let listener = with_short(&path, UnixListener::bind).unwrap();
        with_short(&path, UnixStream::connect).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert!(may_ask(&stream).unwrap());
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        let known = r#"{"release":{"instance":"i-00000000000000007"}}"#;
        assert!(serde_json::from_str::<Request>(known).is_ok());
        let more = r#"{"release":{"instance":"i-00000000000000007","force":true}}"#;
        assert!(serde_json::from_str::<Request>(more).is_err());
    }
}
