//! Client tokens: a call that is repeated with the same token makes nothing twice.
//!
//! A token is claimed in the transaction that makes the resources, so that of two equal calls at
//! the same time one commits and the other, run again, finds what the first one made.

use std::fmt::Write as _;

use enid_model::id::InstanceId;
use enid_model::key::Kind;
use enid_model::record::{Record, Token};
use enid_model::state::{RegionState, Stored};
use enid_model::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::draft::Resource;
use crate::instance_state::is_visible;
use crate::{Caller, Control, Draft, Error};

/// How long a token is remembered. AWS promises hours; a day covers every retry.
pub(crate) const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
const BYTES_MAX: usize = 64;
/// What digests of this kind start with. Earlier versions had another kind, without a mark.
const DIGEST: &str = "asked:";
/// Records that one transaction of a sweep removes: nobody shall wait long behind it.
const SWEPT_AT_ONCE: usize = 1_000;

impl Draft<'_> {
    /// What an earlier call with this client token made, if there was one.
    ///
    /// `parameters` is any text that two requests share only if they ask for the same. It is used where
    /// nothing says so for all versions ([`Caller::asked`]).
    pub fn made_before(
        &self,
        operation: &str,
        token: Option<&str>,
        parameters: &str,
    ) -> Result<Option<Vec<String>>, Error> {
        let Some(token) = token else { return Ok(None) };
        if token.len() > BYTES_MAX || !token.is_ascii() {
            return Err(Error::InvalidClientToken);
        }
        match known(&self.region, operation, token).filter(|known| is_kept(known, self.now)) {
            None => Ok(None),
            Some(known) if self.is_asked_again(known, parameters) => Ok(Some(known.made.clone())),
            Some(_) => Err(Error::IdempotentParameterMismatch),
        }
    }

    /// What this call asks for.
    fn asked<'a>(&'a self, parameters: &'a str) -> &'a str {
        self.caller.asked.as_deref().unwrap_or(parameters)
    }

    /// Whether a call asks for what an earlier one with the same token asked for. One of a version
    /// that remembered it otherwise is taken at its word: nothing is made twice.
    fn is_asked_again(&self, known: &Token, parameters: &str) -> bool {
        !known.parameters.starts_with(DIGEST) || known.parameters == digest(self.asked(parameters))
    }

    /// The resource that an earlier call with this client token made, if there was one. Its id is
    /// unknown if it has been deleted since.
    pub fn resource_made_before<T: Resource>(
        &mut self,
        operation: &str,
        token: Option<&str>,
        parameters: &str,
    ) -> Result<Option<T>, Error>
    where
        T::Id: std::str::FromStr,
    {
        let made = self.made_before(operation, token, parameters)?;
        let made = made.and_then(|made| made.first()?.parse().ok());
        let made = made.map(|id| self.require::<T>(id)).transpose()?;
        Ok(made.map(|made| T::clone(&made)))
    }

    /// Remembers what this call makes, for a repetition with the same client token.
    pub fn remember(
        &mut self,
        operation: &str,
        token: Option<&str>,
        parameters: &str,
        made: Vec<String>,
    ) {
        let Some(token) = token else { return };
        let record = Record::Token(Token {
            parameters: digest(self.asked(parameters)),
            made,
            at: self.now,
        });
        let name = name(operation, token);
        match known(&self.region, operation, token).map(|expired| expired.revision) {
            None => self.claim(name, record),
            Some(expired) => self.replace(name, expired, record),
        }
    }

    /// Forgets a token whose call was undone: a repetition tries again.
    pub fn forget(&mut self, operation: &str, token: Option<&str>) {
        let Some(token) = token else { return };
        let revision = known(&self.region, operation, token).map(|known| known.revision);
        if let Some(revision) = revision {
            self.release(Kind::Token, name(operation, token), revision);
        }
    }
}

impl Control {
    /// Removes what is kept for a time only, when that time is over: client tokens after a day,
    /// terminated instances and deleted NAT gateways after an hour, dead peering connections after
    /// two, subscriptions that were not confirmed after two days. To be called now and then for every region.
    pub async fn sweep(&self, caller: &Caller) -> Result<(), Error> {
        let (region, now) = (self.read(caller).await?, self.now());
        let tokens = region.tokens.iter();
        let tokens = tokens.filter(|(_, token)| !is_kept(token, now));
        let tokens: Vec<_> = tokens.map(|(name, _)| name.clone()).collect();
        for names in tokens.chunks(SWEPT_AT_ONCE) {
            self.transact(caller, |draft| {
                let region = std::sync::Arc::clone(&draft.region);
                for name in names {
                    let known = region.tokens.get(name);
                    if let Some(token) = known.filter(|token| !is_kept(token, draft.now)) {
                        draft.release(Kind::Token, name.clone(), token.revision);
                    }
                }
                Ok(())
            })
            .await?;
        }
        let instances = region.instances.values();
        let instances = instances.filter(|instance| !is_visible(instance, now));
        let instances: Vec<InstanceId> = instances.map(|instance| instance.id).collect();
        for ids in instances.chunks(SWEPT_AT_ONCE) {
            self.transact(caller, |draft| {
                let region = std::sync::Arc::clone(&draft.region);
                let known = ids.iter().filter_map(|id| region.instances.get(id));
                for instance in known.filter(|instance| !is_visible(instance, now)) {
                    draft.delete(instance);
                }
                Ok(())
            })
            .await?;
        }
        self.transact(caller, |draft| {
            crate::alarm_state::sweep(draft);
            crate::subscription::sweep(draft);
            crate::vpc_peering_connection::sweep(draft);
            for gateway in region.nat_gateways.values() {
                if !crate::nat_gateway_is_visible(gateway, draft.now) {
                    draft.delete(gateway);
                }
            }
            Ok(())
        })
        .await
    }
}

fn is_kept(token: &Token, now: Timestamp) -> bool {
    now.0 - token.at.0 < KEPT_MS
}

fn known<'a>(region: &'a RegionState, operation: &str, token: &str) -> Option<&'a Stored<Token>> {
    region.tokens.get(name(operation, token).as_str())
}

fn name(operation: &str, token: &str) -> String {
    format!("{operation}/{token}")
}

fn digest(text: &str) -> String {
    let mut hex = DIGEST.to_owned();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    async fn call(control: &Control, token: &str, asks: &str) -> Result<Vec<String>, Error> {
        let token = Some(token);
        control
            .transact(&caller(), |draft| {
                if let Some(made) = draft.made_before("Make", token, asks)? {
                    return Ok(made);
                }
                let made = vec![draft.random().to_string()];
                draft.remember("Make", token, asks, made.clone());
                Ok(made)
            })
            .await
    }

    #[tokio::test]
    async fn a_repetition_makes_nothing_twice() {
        let control = control();
        let first = call(&control, "a", "one").await;
        assert_eq!(call(&control, "a", "one").await, first);
        assert_ne!(call(&control, "b", "one").await, first);
        let other = call(&control, "a", "two").await;
        assert_eq!(other, Err(Error::IdempotentParameterMismatch));
        let long = "x".repeat(65);
        assert_eq!(
            call(&control, &long, "one").await,
            Err(Error::InvalidClientToken)
        );
    }

    #[tokio::test]
    async fn requests_are_compared_by_what_they_say_in_every_version() {
        let control = control();
        let asks = |asked: &str, parameters: &'static str| {
            let caller = Caller {
                asked: Some(asked.into()),
                ..caller()
            };
            let control = &control;
            async move {
                let make = |draft: &mut Draft<'_>| {
                    if let Some(made) = draft.made_before("Make", Some("t"), parameters)? {
                        return Ok(made);
                    }
                    draft.remember("Make", Some("t"), parameters, vec!["one".to_owned()]);
                    Ok(Vec::new())
                };
                control.transact(&caller, make).await
            }
        };
        assert_eq!(asks("a", "Input { a }").await, Ok(Vec::new()));
        let again = asks("a", "Input { a, b: None }").await;
        assert_eq!(again, Ok(vec!["one".to_owned()]));
        let other = asks("b", "Input { a }").await;
        assert_eq!(other, Err(Error::IdempotentParameterMismatch));
        // As an earlier version has it.
        let age = |draft: &mut Draft<'_>| {
            let found = known(&draft.region, "Make", "t").cloned();
            let found = found.ok_or(Error::InvalidClientToken)?;
            let mut token = Token::clone(&found);
            token.parameters = "0".repeat(64);
            draft.replace("Make/t", found.revision, Record::Token(token));
            Ok(())
        };
        assert_eq!(control.transact(&caller(), age).await, Ok(()));
        assert_eq!(asks("b", "").await, Ok(vec!["one".to_owned()]));
    }

    #[tokio::test]
    async fn a_token_is_forgotten_after_a_day() {
        let control = control();
        let first = call(&control, "a", "one").await;
        // As if the token were a day older: what is expired is as if it were not there.
        let age = |ms| {
            let control = &control;
            async move {
                let shift = |draft: &mut Draft<'_>| {
                    let found = known(&draft.region, "Make", "a").cloned();
                    let found = found.ok_or(Error::InvalidClientToken)?;
                    let mut token = Token::clone(&found);
                    token.at = Timestamp(draft.now.0 - ms);
                    draft.replace("Make/a", found.revision, Record::Token(token));
                    Ok(())
                };
                control.transact(&caller(), shift).await
            }
        };
        assert_eq!(age(KEPT_MS - 1).await, Ok(()));
        assert_eq!(control.sweep(&caller()).await, Ok(()));
        assert_eq!(call(&control, "a", "one").await, first);
        assert_eq!(age(KEPT_MS).await, Ok(()));
        assert_ne!(call(&control, "a", "two").await, first);
        assert_eq!(age(KEPT_MS).await, Ok(()));
        assert_eq!(control.sweep(&caller()).await, Ok(()));
        let region = control.read(&caller()).await;
        assert_eq!(region.map(|region| region.tokens.len()), Ok(0));
    }
}
