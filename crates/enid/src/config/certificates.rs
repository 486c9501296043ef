//! Certificates that are given by file: `[[certificates]]`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use enid_control::{Caller, ImportCertificate};
use enid_model::Tags;
use enid_model::key::AccountId;
use enid_model::region::Region;
use enid_model::uuid::Uuid;
use serde::Deserialize;

/// A certificate that ACM has under an id of the file's choice, the last part of its ARN.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateConfig {
    id: String,
    /// The certificate as PEM; what follows it in the file is its chain.
    certificate: PathBuf,
    /// Its private key as PEM.
    private_key: PathBuf,
    /// Its chain as PEM, if it is in a file of its own.
    chain: Option<PathBuf>,
    /// The account that has it; that of the root key unless it is said.
    account: Option<String>,
    /// The region that has it; `us-east-1` unless it is said.
    region: Option<String>,
}

/// Where a certificate is, unless it is said: where clients without a region go as well.
const REGION: &str = "us-east-1";

/// The end of a certificate's PEM.
const END: &str = "-----END CERTIFICATE-----";

impl CertificateConfig {
    /// Its id, and whose it is.
    pub(crate) fn place(&self) -> anyhow::Result<(Uuid, Caller)> {
        let id = &self.id;
        let uuid = id.parse::<Uuid>();
        let uuid = uuid.map_err(|_malformed| {
            anyhow::anyhow!(
                "certificates: the id {id} is no UUID, as the last part of ACM's ARNs is"
            )
        })?;
        let account = match &self.account {
            None => AccountId::DEFAULT,
            Some(account) => account
                .parse()
                .with_context(|| format!("the account of certificate {id}"))?,
        };
        let name = self.region.as_deref().unwrap_or(REGION);
        let region = Region::named(name)
            .with_context(|| format!("the region of certificate {id}: there is no {name}"))?;
        let caller = Caller {
            account,
            region,
            dry_run: false,
            asked: None,
        };
        Ok((uuid, caller))
    }

    /// What its files have.
    pub(crate) fn read(&self) -> anyhow::Result<ImportCertificate> {
        let text = text_of(&self.certificate)?;
        let split = text.find(END).map_or(text.len(), |at| at + END.len());
        let (body, rest) = text.split_at(split);
        let chain = match &self.chain {
            None => rest.trim_start().to_owned(),
            Some(path) => {
                anyhow::ensure!(
                    rest.trim().is_empty(),
                    "{} has a chain already",
                    self.certificate.display()
                );
                text_of(path)?
            }
        };
        Ok(ImportCertificate {
            id: None,
            body: format!("{body}\n"),
            private_key: text_of(&self.private_key)?,
            chain,
            tags: Tags::default(),
        })
    }
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Checks what can be without reading the files.
pub(super) fn check(all: &[CertificateConfig]) -> anyhow::Result<()> {
    let mut places = Vec::new();
    for one in all {
        let (id, caller) = one.place()?;
        let place = (id, caller.account, caller.region.name);
        anyhow::ensure!(
            !places.contains(&place),
            "certificates: the id {id} is given twice"
        );
        places.push(place);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> anyhow::Result<CertificateConfig> {
        Ok(toml::from_str(text)?)
    }

    const ID: &str = "01234567-89ab-4cde-8f01-23456789abcd";

    #[test]
    fn a_place_is_an_arns() -> anyhow::Result<()> {
        let files = "certificate = \"c\"\nprivate_key = \"k\"\n";
        let plain = config(&format!("id = \"{ID}\"\n{files}"))?;
        let (id, caller) = plain.place()?;
        assert_eq!(
            (id.to_string().as_str(), caller.region.name),
            (ID, "us-east-1")
        );
        assert_eq!(caller.account, AccountId::DEFAULT);
        assert!(
            check(std::slice::from_ref(&plain)).is_ok() && check(&[plain.clone(), plain]).is_err()
        );
        for wrong in [
            "id = \"web\"".to_owned(),
            format!("id = \"{ID}\"\nregion = \"moon-1\""),
            format!("id = \"{ID}\"\naccount = \"me\""),
        ] {
            assert!(
                config(&format!("{wrong}\n{files}"))?.place().is_err(),
                "{wrong}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_chain_follows_its_certificate_or_has_a_file_of_its_own() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        let put = |name: &str, text: &str| fs::write(root.path().join(name), text);
        let one = format!("-----BEGIN CERTIFICATE-----\nAA\n{END}\n");
        put("both", &format!("{one}{one}"))?;
        put("one", &one)?;
        put("key", "K")?;
        let read = |certificate: &str, chain: &str| {
            let directory = root.path().display();
            config(&format!(
                "id = \"{ID}\"\ncertificate = \"{directory}/{certificate}\"\n\
                 private_key = \"{directory}/key\"\n{chain}"
            ))?
            .read()
        };
        let found = read("both", "")?;
        assert_eq!((&found.body, &found.chain), (&one, &one));
        assert_eq!(read("one", "")?.chain, "");
        let own = format!("chain = \"{}/one\"", root.path().display());
        assert_eq!(read("one", &own)?.chain, one);
        assert!(read("both", &own).is_err() && read("none", "").is_err());
        Ok(())
    }
}
