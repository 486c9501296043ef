//! Where notifications of SNS may go: `[notify]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use enid_telemetry::notify::Config;
use enid_telemetry::notify::http::Client;
use enid_telemetry::notify::mail::Relay;
use enid_telemetry::notify::reach::Reach;
use ipnet::IpNet;
use rand::Rng as _;
use serde::Deserialize;

use crate::paths::DataDir;

/// What the file says of notifications.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NotifyConfig {
    /// The blocks of addresses that endpoints may have; this machine's loopback if it does not say.
    allow: Option<Vec<IpNet>>,
    /// A file of certificates that HTTPS endpoints may have beside what the system trusts, in PEM.
    certificates: Option<PathBuf>,
    /// The address that mail comes from.
    from: Option<String>,
    /// The relay that mail is handed to, `host:port`. Without one there are no subscriptions by mail.
    smtp: Option<String>,
    /// Where the daemon can be asked by those who get messages, if that is not where it listens.
    url: Option<String>,
}

/// Whom mail comes from unless it is said.
const FROM: &str = "no-reply@localhost";

impl NotifyConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let url = self.url.as_deref().unwrap_or("http://localhost");
        anyhow::ensure!(
            (url.starts_with("http://") || url.starts_with("https://")) && is_plain(url),
            "notify.url must be an http or https URL"
        );
        let from = self.from.as_deref().unwrap_or(FROM);
        anyhow::ensure!(
            is_plain(from) && from.split('@').count() == 2 && !from.contains(['<', '>']),
            "notify.from must be a mail address"
        );
        let smtp = self.smtp.as_deref().unwrap_or("localhost:25");
        let port = smtp.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        anyhow::ensure!(
            matches!(port, Some(Ok(_))),
            "notify.smtp must be a host and a port, such as localhost:25"
        );
        Ok(())
    }

    /// The same for a daemon with this data directory that listens here.
    pub(crate) fn notifications(
        &self,
        own: &DataDir,
        listen: SocketAddr,
    ) -> anyhow::Result<Config> {
        let allowed = self.allow.clone().unwrap_or_else(Reach::loopback);
        let certificates = match &self.certificates {
            None => Vec::new(),
            Some(path) => std::fs::read(path)
                .with_context(|| format!("read notify.certificates, {}", path.display()))?,
        };
        let base_url = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{listen}"),
        };
        let relay = self.smtp.clone().map(|address| Relay {
            address,
            from: self.from.clone().unwrap_or_else(|| FROM.to_owned()),
        });
        Ok(Config {
            base_url,
            client: Client::new(Reach::new(allowed, listen), certificates),
            relay,
            key_file: own.path().join("notify/signing-key.pem"),
            seed: rand::make_rng::<rand::rngs::StdRng>().next_u64(),
        })
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_checked() -> anyhow::Result<()> {
        for text in [
            "",
            "smtp = \"localhost:1025\"\nfrom = \"enid@example.com\"",
            "allow = [\"10.0.0.0/8\", \"::1/128\"]\nurl = \"https://enid.example.com/\"",
        ] {
            let config: NotifyConfig = toml::from_str(text)?;
            assert!(config.check().is_ok(), "{text}");
        }
        for text in [
            "smtp = \"localhost\"",
            "from = \"nobody\"",
            "from = \"a@b>\"",
            "url = \"ftp://a\"",
        ] {
            let config: NotifyConfig = toml::from_str(text)?;
            assert!(config.check().is_err(), "{text}");
        }
        assert!(toml::from_str::<NotifyConfig>("allow = [\"all\"]").is_err());
        Ok(())
    }
}
