//! The daemon's own socket, by which namespaces are adopted.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{CniError, Code};

/// How long the daemon may take: it waits up to ten seconds for an instance to run.
const PATIENCE: Duration = Duration::from_secs(30);

/// An adopted guest, as the daemon tells of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Guest {
    pub(crate) netns: Option<PathBuf>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) nameservers: Vec<String>,
    pub(crate) search: Option<String>,
}

/// One of its interfaces.
#[derive(Debug, Deserialize)]
pub(crate) struct Interface {
    pub(crate) device: String,
    pub(crate) name: Option<String>,
    pub(crate) mac: String,
    pub(crate) router_mac: String,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<String>,
    pub(crate) gateway: String,
    pub(crate) ipv6_gateway: Option<String>,
}

/// The daemon of a data directory.
pub(crate) struct Agent<'a>(pub(crate) &'a Path);

impl Agent<'_> {
    /// Puts the interfaces of an instance into a namespace; the same again changes nothing.
    pub(crate) fn adopt(
        &self,
        instance: &str,
        netns: &Path,
        ifname: &str,
    ) -> Result<Guest, CniError> {
        self.ask(&json!({"adopt": {"instance": instance, "netns": netns, "ifname": ifname}}))
    }

    /// Where the interfaces of an instance are. Fails if they are not as they should be.
    pub(crate) fn inspect(&self, instance: &str) -> Result<Guest, CniError> {
        self.ask(&json!({"inspect": {"instance": instance}}))
    }

    /// Whether the daemon can be asked.
    pub(crate) fn is_there(&self) -> Result<(), CniError> {
        self.connect().map(|_stream| ())
    }

    fn connect(&self) -> Result<UnixStream, CniError> {
        let path = self.0.join("agent.sock");
        // The address of a socket is short, a path is not.
        let connected = File::open(self.0).and_then(|directory| {
            let short = format!("/proc/self/fd/{}/agent.sock", directory.as_raw_fd());
            UnixStream::connect(short)
        });
        connected.map_err(|error| {
            let words = format!("connect to {}: {error}", path.display());
            CniError::new(Code::TryAgain, words)
        })
    }

    fn ask(&self, request: &Value) -> Result<Guest, CniError> {
        let mut stream = self.connect()?;
        let mut exchange = || -> std::io::Result<String> {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(format!("{request}\n").as_bytes())?;
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            Ok(line)
        };
        let line = exchange()
            .map_err(|error| CniError::new(Code::TryAgain, format!("ask the daemon: {error}")))?;
        answer_of(&line)
    }
}

fn answer_of(line: &str) -> Result<Guest, CniError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Answer {
        Ok(Guest),
        Error(String),
    }
    match serde_json::from_str(line) {
        Ok(Answer::Ok(guest)) => Ok(guest),
        Ok(Answer::Error(words)) => Err(CniError::new(Code::Container, words)),
        Err(error) => Err(CniError::new(
            Code::Decode,
            format!("read the daemon's answer: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_words_reach_the_runtime() {
        let error = answer_of(r#"{"error":"i-1 is adopted already"}"#).unwrap_err();
        assert_eq!(error.code, Code::Container);
        assert_eq!(error.to_string(), "i-1 is adopted already");
        assert_eq!(answer_of("").unwrap_err().code, Code::Decode);
    }

    #[test]
    fn without_a_daemon_it_may_work_later() {
        let dir = tempfile::tempdir().unwrap();
        let error = Agent(dir.path()).is_there().unwrap_err();
        assert_eq!(error.code, Code::TryAgain);
    }
}
