//! Key pairs: made here or imported. A private key is told once, in the answer to its making.

use enid_model::id::KeyPairId;
use enid_model::key::Kind;
use enid_model::key_pair::{KeyPair, KeyType};
use enid_model::record::{NameClaim, Record};
use enid_model::state::{RegionState, Stored};
use rand::Rng as _;

use crate::key_material::{self, PublicKey};
use crate::{Caller, Control, Draft, Error, TagSpecification, tag};

/// What CreateKeyPair takes.
#[derive(Debug, Clone)]
pub struct CreateKeyPair {
    /// Its name, unique in the region.
    pub name: String,
    /// Which kind of key.
    pub key_type: KeyType,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// What ImportKeyPair takes.
#[derive(Debug, Clone)]
pub struct ImportKeyPair {
    /// Its name, unique in the region.
    pub name: String,
    /// The public key in one of the formats that AWS reads.
    pub material: Vec<u8>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// Which key pair DeleteKeyPair means.
#[derive(Debug, Clone)]
pub enum KeyPairSelector {
    /// The one with an id.
    Id(KeyPairId),
    /// The one with a name.
    Name(String),
}

impl Control {
    /// CreateKeyPair. Answers the pair and its private key, in PEM.
    pub async fn create_key_pair(
        &self,
        caller: &Caller,
        input: &CreateKeyPair,
    ) -> Result<(KeyPair, String), Error> {
        check_name(&input.name)?;
        let tags = tag::specified(&input.tag_specifications, "key-pair")?;
        // A key takes long enough to make that one for a taken name is worth avoiding.
        check_free(&*self.read(caller).await?, &input.name)?;
        let mut seed = [0; 32];
        self.random().fill_bytes(&mut seed);
        let key_type = input.key_type;
        let made = tokio::task::spawn_blocking(move || key_material::make(key_type, seed)).await;
        let Ok(Ok(made)) = made else {
            return Err(Error::KeyUnmakeable);
        };
        let pair = self.transact(caller, |draft| {
            keep(draft, &input.name, made.public.clone(), tags.clone())
        });
        Ok((pair.await?, made.private))
    }

    /// ImportKeyPair.
    pub async fn import_key_pair(
        &self,
        caller: &Caller,
        input: &ImportKeyPair,
    ) -> Result<KeyPair, Error> {
        check_name(&input.name)?;
        let tags = tag::specified(&input.tag_specifications, "key-pair")?;
        let key = key_material::read(&input.material);
        let key = key.map_err(|_unreadable| Error::KeyUnreadable)?;
        self.transact(caller, |draft| {
            keep(draft, &input.name, key.clone(), tags.clone())
        })
        .await
    }

    /// DeleteKeyPair. To delete what is not there succeeds; answers the id of what was there.
    pub async fn delete_key_pair(
        &self,
        caller: &Caller,
        selector: &KeyPairSelector,
    ) -> Result<Option<KeyPairId>, Error> {
        self.transact(caller, |draft| {
            let found = match selector {
                KeyPairSelector::Id(id) => draft.region.key_pairs.get(id),
                KeyPairSelector::Name(name) => key_pair_named(&draft.region, name),
            };
            let Some(found) = found.cloned() else {
                return Ok(None);
            };
            let name = claim_name(&found.name);
            if let Some(claim) = draft.region.names.get(name.as_str()) {
                let revision = claim.revision;
                draft.release(Kind::NameClaim, name, revision);
            }
            draft.delete(&found);
            Ok(Some(found.id))
        })
        .await
    }
}

/// The key pair with a name.
#[must_use]
pub fn key_pair_named<'a>(region: &'a RegionState, name: &str) -> Option<&'a Stored<KeyPair>> {
    let claim = region.names.get(claim_name(name).as_str())?;
    let id: KeyPairId = claim.holder.parse().ok()?;
    region.key_pairs.get(&id)
}

/// Makes the record of a new pair.
fn keep(
    draft: &mut Draft<'_>,
    name: &str,
    key: PublicKey,
    tags: enid_model::Tags,
) -> Result<KeyPair, Error> {
    check_free(&draft.region, name)?;
    let pair = KeyPair {
        id: draft.mint(),
        name: name.to_owned(),
        key_type: key.key_type,
        fingerprint: key.fingerprint,
        public_key: format!("{} {name}", key.openssh),
        create_time: draft.now,
        tags,
    };
    let holder = pair.id.to_string();
    draft.claim(claim_name(name), Record::NameClaim(NameClaim { holder }));
    draft.create(pair.clone());
    Ok(pair)
}

fn check_free(region: &RegionState, name: &str) -> Result<(), Error> {
    if region.names.contains_key(claim_name(name).as_str()) {
        return Err(Error::KeyPairNameTaken);
    }
    Ok(())
}

/// A name is at most 255 characters of ASCII, without spaces around it. A line break could not
/// stand in a file of authorized keys.
fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = name.len() <= NAME_BYTES_MAX
        && name
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if name.is_empty() {
        return Err(Error::MissingParameter { name: "keyName" });
    }
    if !is_plain || name.trim() != name {
        return Err(Error::InvalidValue {
            value: name.chars().take(100).collect(),
            name: "keyName",
            why: "A name is at most 255 ASCII characters without spaces around it.".into(),
        });
    }
    Ok(())
}

const NAME_BYTES_MAX: usize = 255;

fn claim_name(name: &str) -> String {
    format!("key/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_instance, place};
    use crate::{RunInstances, Tag};

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDcVmbbka+GOzowDffuJH1o2dBBFLqSV1xN7V+AA1Kf1";

    fn import(name: &str) -> ImportKeyPair {
        ImportKeyPair {
            name: name.to_owned(),
            material: format!("{KEY} me@home").into_bytes(),
            tag_specifications: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_name_is_one_pairs_until_it_is_deleted() {
        let (control, caller) = (control(), caller());
        let input = ImportKeyPair {
            tag_specifications: vec![TagSpecification {
                resource_type: Some("key-pair".to_owned()),
                tags: vec![Tag {
                    key: "a".to_owned(),
                    value: "b".to_owned(),
                }],
            }],
            ..import("alice")
        };
        let pair = control.import_key_pair(&caller, &input).await;
        let pair = pair.expect("a key pair");
        assert_eq!(pair.public_key, format!("{KEY} alice"));
        assert_eq!(pair.tags.len(), 1);
        let again = control.import_key_pair(&caller, &import("alice")).await;
        assert_eq!(again, Err(Error::KeyPairNameTaken));
        let create = CreateKeyPair {
            name: "alice".to_owned(),
            key_type: KeyType::Ed25519,
            tag_specifications: Vec::new(),
        };
        let refused = control.create_key_pair(&caller, &create).await;
        assert_eq!(refused.map(drop), Err(Error::KeyPairNameTaken));

        let by_name = KeyPairSelector::Name("alice".to_owned());
        let deleted = control.delete_key_pair(&caller, &by_name).await;
        assert_eq!(deleted, Ok(Some(pair.id)));
        let nothing = control.delete_key_pair(&caller, &by_name).await;
        assert_eq!(nothing, Ok(None));
        let (made, private) = control
            .create_key_pair(&caller, &create)
            .await
            .expect("made");
        assert!(private.contains("OPENSSH PRIVATE KEY"));
        assert!(made.public_key.ends_with(" alice"));
        let by_id = KeyPairSelector::Id(made.id);
        let deleted = control.delete_key_pair(&caller, &by_id).await;
        assert_eq!(deleted, Ok(Some(made.id)));
    }

    #[tokio::test]
    async fn names_and_keys_are_looked_at() {
        let (control, caller) = (control(), caller());
        for (name, code) in [
            ("", "MissingParameter"),
            (" a", "InvalidParameterValue"),
            ("a\nssh-rsa", "InvalidParameterValue"),
            ("é", "InvalidParameterValue"),
            (&"n".repeat(256), "InvalidParameterValue"),
        ] {
            let refused = control.import_key_pair(&caller, &import(name)).await;
            assert_eq!(refused.map_err(|e| e.code()).map(drop), Err(code), "{name}");
        }
        let no_key = ImportKeyPair {
            material: b"no key".to_vec(),
            ..import("bob")
        };
        let refused = control.import_key_pair(&caller, &no_key).await;
        assert_eq!(refused, Err(Error::KeyUnreadable));
    }

    #[tokio::test]
    async fn an_instance_has_the_key_that_was_there_at_its_launch() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mut input = new_instance(&place);
        input.recorded.key_name = Some("alice".to_owned());
        let launch = async |input: RunInstances| control.run_instances(&caller, input).await;
        let refused = launch(input.clone()).await;
        let error = Error::KeyPairNotFound {
            name: "alice".into(),
        };
        assert_eq!(refused.map(drop), Err(error));
        let imported = control.import_key_pair(&caller, &import("alice")).await;
        assert!(imported.is_ok());
        let launched = launch(input).await.expect("a launch");
        let recorded = &launched.instances[0].recorded;
        assert_eq!(recorded.public_key, Some(format!("{KEY} alice")));
    }
}
