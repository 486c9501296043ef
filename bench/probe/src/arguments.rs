//! The command line: `--name value` pairs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What follows the mode.
pub(crate) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// Reads pairs of a name and a value.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                bail!("expected --NAME, found {word}");
            };
            let value = words
                .next()
                .with_context(|| format!("--{name} has no value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Self(pairs))
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("--{name} is missing"))
    }

    pub(crate) fn address(&self, name: &str) -> Result<IpAddr> {
        self.text(name)?
            .parse()
            .with_context(|| format!("--{name} is not an address"))
    }

    pub(crate) fn socket(&self, name: &str) -> Result<SocketAddr> {
        self.text(name)?
            .parse()
            .with_context(|| format!("--{name} is not an address and port"))
    }

    pub(crate) fn seconds(&self) -> Result<Duration> {
        let seconds = self.text("seconds")?;
        seconds
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .with_context(|| format!("--seconds {seconds} is no duration"))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T> {
        match self.0.get(name) {
            None => Ok(default),
            Some(value) => value
                .parse()
                .ok()
                .with_context(|| format!("--{name} {value} is no such number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments> {
        Arguments::parse(words.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn pairs_are_read_by_name() {
        let arguments = parse(&["--to", "10.0.0.1", "--seconds", "0.5"]).unwrap();
        assert_eq!(arguments.address("to").unwrap().to_string(), "10.0.0.1");
        assert_eq!(arguments.seconds().unwrap(), Duration::from_millis(500));
        assert_eq!(arguments.number("payload", 64).unwrap(), 64);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        assert!(parse(&["10.0.0.1"]).is_err());
        assert!(parse(&["--to"]).is_err());
        assert!(parse(&["--seconds", "-1"]).unwrap().seconds().is_err());
    }
}
