//! Certificates of ACM: imported ones. Nobody issues any here.

use std::sync::Arc;

use enid_model::Tags;
use enid_model::certificate::{Certificate, CertificateFacts, PrivateKey};
use enid_model::key::Kind;
use enid_model::listener::Listener;
use enid_model::record::Record;
use enid_model::region::Region;
use enid_model::state::{RegionState, Stored};
use enid_model::uuid::Uuid;
use enid_store::Condition;

use crate::certificate_facts;
use crate::{Caller, CertificateError, Control, Draft, Error};

/// What ImportCertificate takes.
#[derive(Clone)]
pub struct ImportCertificate {
    /// The certificate that is replaced, if one is.
    pub id: Option<Uuid>,
    /// The certificate as PEM.
    pub body: String,
    /// Its private key as PEM.
    pub private_key: String,
    /// Its chain as PEM; may be empty.
    pub chain: String,
    /// Tags for a new one.
    pub tags: Tags,
}

impl Control {
    /// ImportCertificate: a new one, or another in the place of one that is there.
    pub async fn import_certificate(
        &self,
        caller: &Caller,
        input: &ImportCertificate,
    ) -> Result<Uuid, Error> {
        check_tags(&input.tags)?;
        let facts = certificate_facts::read(&input.body, &input.private_key, &input.chain)?;
        self.transact(caller, |draft| {
            let id = input.id.unwrap_or_else(|| {
                let bits = (draft.random(), draft.random());
                Uuid::from_random(bits.0, bits.1)
            });
            let new = made(draft, id, input, &facts)?;
            let known = match input.id {
                Some(id) => Some(require_certificate(draft, id)?),
                None => None,
            };
            if known.is_some() && !input.tags.is_empty() {
                let why = "Tags cannot be specified when a certificate is imported again.";
                return Err(CertificateError::import(why).into());
            }
            put(draft, new, known)?;
            Ok(id)
        })
        .await
    }

    /// Sees to it that a certificate is there under an id, as it is given: one that is there is replaced, and keeps
    /// its tags. Returns whether anything had to be done.
    ///
    /// # Errors
    ///
    /// As of ImportCertificate.
    pub async fn keep_certificate(
        &self,
        caller: &Caller,
        id: Uuid,
        given: &ImportCertificate,
    ) -> Result<bool, Error> {
        let region = self.read(caller).await?;
        let known = region.certificates.get(&id);
        let is_same = known.is_some_and(|known| {
            let key = &known.private_key.0;
            (&known.body, &known.chain, key) == (&given.body, &given.chain, &given.private_key)
        });
        if is_same {
            return Ok(false);
        }
        let facts = certificate_facts::read(&given.body, &given.private_key, &given.chain)?;
        self.transact(caller, |draft| {
            let new = made(draft, id, given, &facts)?;
            let known = draft.region.certificates.get(&id).cloned();
            put(draft, new, known)
        })
        .await?;
        Ok(true)
    }

    /// DeleteCertificate: of one that no listener has.
    pub async fn delete_certificate(&self, caller: &Caller, id: Uuid) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let known = require_certificate(draft, id)?;
            if listeners_with(&draft.region, id).next().is_some() {
                return Err(CertificateError::InUse {
                    arn: certificate_arn(caller, id).into(),
                    account: caller.account.to_string().into(),
                }
                .into());
            }
            draft.demand_none_new(Kind::Listener);
            draft.release(Kind::Certificate, id.to_string(), known.revision);
            Ok(())
        })
        .await
    }

    /// AddTagsToCertificate.
    pub async fn tag_certificate(
        &self,
        caller: &Caller,
        id: Uuid,
        tags: &Tags,
    ) -> Result<(), Error> {
        check_tags(tags)?;
        self.edit_tags(caller, id, |own| {
            own.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
        })
        .await
    }

    /// RemoveTagsFromCertificate: by key, or only where the value is this as well.
    pub async fn untag_certificate(
        &self,
        caller: &Caller,
        id: Uuid,
        tags: &[(String, Option<String>)],
    ) -> Result<(), Error> {
        self.edit_tags(caller, id, |own| {
            own.retain(|key, value| {
                !tags.iter().any(|(gone, only)| {
                    gone == key && only.as_ref().is_none_or(|only| only == value)
                })
            });
        })
        .await
    }

    async fn edit_tags(
        &self,
        caller: &Caller,
        id: Uuid,
        edit: impl Fn(&mut Tags),
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let known = require_certificate(draft, id)?;
            let mut new = Certificate::clone(&known);
            edit(&mut new.tags);
            if new.tags.len() > TAGS_MAX {
                return Err(CertificateError::TooManyTags.into());
            }
            if new != *known {
                draft.replace(id.to_string(), known.revision, Record::Certificate(new));
            }
            Ok(())
        })
        .await
    }
}

/// A certificate as it is given, if it is valid now.
fn made(
    draft: &Draft<'_>,
    id: Uuid,
    given: &ImportCertificate,
    facts: &CertificateFacts,
) -> Result<Certificate, Error> {
    if !(facts.not_before..facts.not_after).contains(&draft.now) {
        let why = "The certificate is not valid at this time.";
        return Err(CertificateError::import(why).into());
    }
    Ok(Certificate {
        id,
        body: given.body.clone(),
        chain: given.chain.clone(),
        private_key: PrivateKey(given.private_key.clone()),
        facts: facts.clone(),
        created_at: draft.now,
        imported_at: draft.now,
        tags: given.tags.clone(),
    })
}

/// Adds a certificate, or puts it in the place of one that is there.
fn put(
    draft: &mut Draft<'_>,
    new: Certificate,
    known: Option<Stored<Certificate>>,
) -> Result<(), Error> {
    let id = new.id.to_string();
    let Some(known) = known else {
        if draft.region.certificates.len() >= CERTIFICATES_MAX {
            return Err(CertificateError::LimitExceeded.into());
        }
        draft.claim(id, Record::Certificate(new));
        return Ok(());
    };
    let new = Certificate {
        created_at: known.created_at,
        tags: known.tags.clone(),
        ..new
    };
    draft.replace(id, known.revision, Record::Certificate(new));
    Ok(())
}

/// The ARN of a certificate.
#[must_use]
pub fn certificate_arn(caller: &Caller, id: Uuid) -> String {
    let partition = Region::partition(caller.region);
    let (region, account) = (caller.region.name, caller.account);
    format!("arn:{partition}:acm:{region}:{account}:certificate/{id}")
}

/// The certificate of the caller's that an ARN names; `None` if it is no ARN of one of them.
#[must_use]
pub fn certificate_named(caller: &Caller, arn: &str) -> Option<Uuid> {
    let (_, id) = arn.rsplit_once('/')?;
    let id = id.parse().ok()?;
    (certificate_arn(caller, id) == arn).then_some(id)
}

/// The listeners that have a certificate.
pub fn listeners_with(
    region: &RegionState,
    id: Uuid,
) -> impl Iterator<Item = &Stored<Listener>> + '_ {
    region.listeners.values().filter(move |listener| {
        let tls = listener.tls.as_ref();
        tls.is_some_and(|tls| tls.certificate == id || tls.others.contains(&id))
    })
}

/// The certificate with an id, which must still be the same when the operation commits.
pub(crate) fn require_certificate(
    draft: &mut Draft<'_>,
    id: Uuid,
) -> Result<Stored<Certificate>, Error> {
    let region = Arc::clone(&draft.region);
    let Some(found) = region.certificates.get(&id) else {
        let arn = certificate_arn(draft.caller, id).into();
        return Err(CertificateError::NotFound { arn }.into());
    };
    let key = draft.key(Kind::Certificate, id.to_string());
    draft.demand(Condition::Unchanged(key, found.revision));
    Ok(found.clone())
}

fn check_tags(tags: &Tags) -> Result<(), Error> {
    for (key, value) in tags {
        let is_reserved = key
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        let is_long = key.chars().count() > 128 || value.chars().count() > 256;
        if key.is_empty() || is_reserved || is_long {
            let why = format!("The tag key '{key}' or its value is not valid.");
            return Err(CertificateError::Tag { why: why.into() }.into());
        }
    }
    match tags.len() > TAGS_MAX {
        true => Err(CertificateError::TooManyTags.into()),
        false => Ok(()),
    }
}

const TAGS_MAX: usize = 50;
/// Source: the ACM User Guide, "Quotas": imported certificates.
const CERTIFICATES_MAX: usize = 2_500;
