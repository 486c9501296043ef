//! What conditions may ask of a request, and the permissions of the key that signed it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use enid_model::key::AccountId;
use enid_model::region::Region;
use enid_model::time::Timestamp;

use super::Policy;

/// The condition keys that a request carries, with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// By key in lower case.
    values: BTreeMap<Box<str>, Vec<String>>,
}

/// What the policy of a key needs to know of a request, whatever its operation.
#[derive(Debug, Clone)]
pub struct Permissions {
    /// The key's policy.
    pub policy: Arc<Policy>,
    /// The user that the key stands for.
    pub user: User,
    /// What holds for the whole request.
    pub facts: Facts,
}

/// The IAM user that a key with a policy stands for: it has the key's id for a name, because the
/// root user of an account can do everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
}

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin<'a> {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// What the client says of itself.
    pub user_agent: Option<&'a str>,
    /// Whether it came over TLS.
    pub is_secure: bool,
}

impl Facts {
    /// The values of a key, which is in lower case; none if the request does not carry it.
    pub(super) fn get(&self, key: &str) -> &[String] {
        self.values.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Sets the one value of a key.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(key.into(), vec![value.into()]);
    }

    /// Adds a value to a key that may have several.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        self.values
            .entry(key.into())
            .or_default()
            .push(value.into());
    }

    /// Adds a tag to a key such as `aws:requesttag/`; the tag's key is compared without case.
    pub(super) fn add_tag(&mut self, prefix: &str, key: &str, value: &str) {
        self.add(&format!("{prefix}{}", key.to_lowercase()), value);
    }
}

impl User {
    /// The user of a key.
    #[must_use]
    pub fn of(access_key_id: &str, account: AccountId, region: &Region) -> Self {
        let unique = access_key_id.strip_prefix("AKIA").unwrap_or(access_key_id);
        Self {
            name: access_key_id.to_owned(),
            id: format!("AIDA{unique}"),
            arn: format!(
                "arn:{}:iam::{account}:user/{access_key_id}",
                region.partition()
            ),
        }
    }
}

impl Permissions {
    /// The permissions of a key for a request.
    #[must_use]
    pub fn new(
        policy: Arc<Policy>,
        access_key_id: &str,
        account: AccountId,
        region: &Region,
        now: Timestamp,
        origin: &Origin<'_>,
    ) -> Self {
        let user = User::of(access_key_id, account, region);
        let mut facts = Facts::default();
        facts.set("aws:currenttime", now.to_string());
        facts.set("aws:epochtime", now.seconds().to_string());
        facts.set("aws:principalaccount", account.to_string());
        facts.set("aws:principalarn", user.arn.as_str());
        facts.set("aws:principaltype", "User");
        facts.set("aws:requestedregion", region.name);
        facts.set("aws:resourceaccount", account.to_string());
        facts.set("aws:securetransport", origin.is_secure.to_string());
        facts.set("aws:userid", user.id.as_str());
        facts.set("aws:username", user.name.as_str());
        if let Some(address) = origin.address {
            facts.set("aws:sourceip", address.to_string());
        }
        if let Some(user_agent) = origin.user_agent {
            facts.set("aws:useragent", user_agent);
        }
        Self {
            policy,
            user,
            facts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_of_its_partition() {
        let region = Region::named("cn-north-1").unwrap();
        let user = User::of("AKIAX", AccountId::DEFAULT, region);
        assert_eq!(user.arn, "arn:aws-cn:iam::123456789012:user/AKIAX");
        assert_eq!(user.id, "AIDAX");
    }
}
