//! How flow logs are kept and delivered.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use enid_telemetry::bucket::Buckets;
use enid_telemetry::bucket::endpoint::Endpoint;
use enid_telemetry::flow::DeliveryOptions;
use serde::Deserialize;

/// How flow logs are kept and delivered: as AWS does, unless it is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FlowLogConfig {
    /// The seconds that a record tells of at most.
    window_s: Option<u32>,
    /// The seconds that a file in a bucket tells of.
    file_s: Option<u32>,
    /// The directory whose directories are the buckets that no endpoint has.
    buckets: Option<PathBuf>,
    /// S3 endpoints; the first that has a bucket is where it is.
    endpoints: Vec<EndpointConfig>,
}

/// An S3 endpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointConfig {
    /// Such as `https://s3.example.com`.
    url: String,
    /// What requests are signed for.
    #[serde(default = "region")]
    region: String,
    /// Names of buckets, with a `*` at the end for all that begin so; all of them if it does not say.
    #[serde(default = "all")]
    buckets: Vec<String>,
    access_key_id: String,
    /// The secret key, or a file with nothing else in it.
    secret_access_key: Option<String>,
    secret_access_key_file: Option<PathBuf>,
    /// A file of certificates that are trusted beside those of the system, in PEM.
    certificates: Option<PathBuf>,
}

/// Without the secret.
impl std::fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("url", &self.url)
            .field("buckets", &self.buckets)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

/// AWS's: a minute, as on all instances of today, and five.
const WINDOW_S: u32 = 60;
const FILE_S: u32 = 300;

impl FlowLogConfig {
    /// What was configured; buckets are below the data directory unless it is said.
    pub(crate) fn options(&self, data: &Path) -> anyhow::Result<DeliveryOptions> {
        let window_s = self.window_s.unwrap_or(WINDOW_S);
        let file_s = self.file_s.unwrap_or_else(|| FILE_S.max(window_s));
        ensure!(
            (1..=WINDOW_S).contains(&window_s),
            "flow_logs.window_s: 1 to {WINDOW_S} seconds are expected"
        );
        ensure!(
            (window_s..=FILE_S).contains(&file_s) && file_s.is_multiple_of(window_s),
            "flow_logs.file_s: a multiple of window_s, at most {FILE_S}, is expected"
        );
        let buckets = self.buckets.clone();
        Ok(DeliveryOptions {
            window_ms: i64::from(window_s) * 1000,
            file_ms: i64::from(file_s) * 1000,
            buckets: Buckets {
                directory: buckets.unwrap_or_else(|| data.join("buckets")),
                endpoints: None,
            },
        })
    }

    /// The endpoints, with their secrets.
    pub(crate) fn endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        self.endpoints.iter().map(EndpointConfig::read).collect()
    }
}

impl EndpointConfig {
    fn read(&self) -> anyhow::Result<Endpoint> {
        let url = &self.url;
        let host = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let is_host = |host: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
            !host.is_empty() && host.bytes().all(is_plain)
        };
        ensure!(
            host.map(|host| host.trim_end_matches('/'))
                .is_some_and(is_host),
            "flow_logs.endpoints.url: http:// or https:// and a host are expected, unlike {url}"
        );
        for name in &self.buckets {
            let plain = name.strip_suffix('*').unwrap_or(name);
            ensure!(
                !plain.contains('*') && !name.is_empty(),
                "flow_logs.endpoints.buckets: a * is at the end of a name only, unlike {name}"
            );
        }
        let read = |path: &Path| {
            let name = path.display();
            std::fs::read(path).with_context(|| format!("read {name} for flow_logs.endpoints"))
        };
        let secret_access_key = match (&self.secret_access_key, &self.secret_access_key_file) {
            (Some(secret), None) => secret.clone(),
            (None, Some(path)) => String::from_utf8(read(path)?)
                .with_context(|| format!("understand {}", path.display()))?
                .trim()
                .to_owned(),
            _ => bail!(
                "flow_logs.endpoints: either secret_access_key or secret_access_key_file is expected"
            ),
        };
        let certificates = self.certificates.as_deref().map(read).transpose()?;
        Ok(Endpoint {
            url: url.clone(),
            region: self.region.clone(),
            buckets: self.buckets.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key,
            certificates: certificates.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> anyhow::Result<DeliveryOptions> {
        toml::from_str::<FlowLogConfig>(text)?.options(Path::new("/data"))
    }

    #[test]
    fn windows_and_files_are_as_aws_has_them_unless_it_is_said() {
        let default = options("").expect("options");
        assert_eq!((default.window_ms, default.file_ms), (60_000, 300_000));
        assert_eq!(default.buckets.directory, Path::new("/data/buckets"));
        let short = options("window_s = 2\nfile_s = 4\nbuckets = \"/b\"").expect("options");
        assert_eq!((short.window_ms, short.file_ms), (2_000, 4_000));
        for text in [
            "window_s = 0",
            "window_s = 61",
            "window_s = 2\nfile_s = 3",
            "other = 1",
        ] {
            assert!(options(text).is_err(), "{text}");
        }
    }
    #[test]
    fn endpoints_have_a_place_buckets_and_one_secret() -> anyhow::Result<()> {
        let read = |text: &str| {
            let text = format!("[[endpoints]]\naccess_key_id = \"A\"\n{text}");
            toml::from_str::<FlowLogConfig>(&text)?.endpoints()
        };
        let secret = tempfile::NamedTempFile::new()?;
        std::fs::write(&secret, "word\n")?;
        let path = secret.path().display();
        let url = "url = \"https://s3.example.com:9000/\"";
        let [endpoint] = &read(&format!("{url}\nsecret_access_key_file = \"{path}\""))?[..] else {
            bail!("one endpoint");
        };
        assert_eq!(
            (&*endpoint.secret_access_key, &*endpoint.region),
            ("word", "us-east-1")
        );
        assert_eq!(endpoint.buckets, ["*"]);
        let known = "secret_access_key = \"s\"";
        assert!(read(&format!("{url}\n{known}\nbuckets = [\"a\", \"b-*\"]")).is_ok());
        for wrong in [
            url.to_owned(),
            format!("url = \"s3.example.com\"\n{known}"),
            format!("url = \"https://a/path\"\n{known}"),
            format!("{url}\n{known}\nbuckets = [\"*a\"]"),
            format!("{url}\n{known}\nsecret_access_key_file = \"{path}\""),
            format!("{url}\nsecret_access_key_file = \"/nowhere/at/all\""),
            format!("{url}\n{known}\nother = 1"),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
