//! Streams of log groups.

use enid_model::key::Kind;
use enid_model::log_group::{LogPlace, LogStream, LogUid, log_stream_key};
use enid_model::record::Record;
use enid_model::state::{RegionState, Stored};

use crate::log_group::{check_text, create, log_group_named, require_group};
use crate::{Caller, Control, CreateLogGroup, Draft, Error, LogsError, check_group_name};

impl Control {
    /// CreateLogStream.
    pub async fn create_log_stream(
        &self,
        caller: &Caller,
        group: &str,
        stream: &str,
    ) -> Result<(), Error> {
        check_group_name(group)?;
        check_stream_name(stream)?;
        self.transact(caller, |draft| {
            let group = require_group(draft, group)?;
            new_stream(draft, group.uid, stream)?;
            Ok(())
        })
        .await
    }

    /// DeleteLogStream.
    pub async fn delete_log_stream(
        &self,
        caller: &Caller,
        group: &str,
        stream: &str,
    ) -> Result<(), Error> {
        check_group_name(group)?;
        check_stream_name(stream)?;
        self.transact(caller, |draft| {
            let group = require_group(draft, group)?;
            let found = draft.region.log_streams.get(&(group.uid, stream.into()));
            let revision = found.ok_or(LogsError::StreamNotFound)?.revision;
            if group.is_protected {
                return Err(LogsError::GroupProtected.into());
            }
            draft.release(Kind::LogStream, log_stream_key(group.uid, stream), revision);
            Ok(())
        })
        .await
    }

    /// The place of a stream that services of the region log to: it and its group are made if they
    /// are missing.
    pub async fn log_stream_for(
        &self,
        caller: &Caller,
        group: &str,
        stream: &str,
    ) -> Result<LogPlace, Error> {
        check_group_name(group)?;
        check_stream_name(stream)?;
        loop {
            // The usual case needs no transaction.
            let region = self.read(caller).await?;
            let Some(found) = region.log_groups.get(group) else {
                let new = CreateLogGroup {
                    name: group.to_owned(),
                    ..CreateLogGroup::default()
                };
                match self.transact(caller, |draft| create(draft, &new)).await {
                    Ok(()) | Err(Error::LogsError(LogsError::GroupExists)) => continue,
                    Err(error) => return Err(error),
                }
            };
            if let Some(stream) = region.log_streams.get(&(found.uid, stream.into())) {
                let (group, stream) = (found.uid, stream.uid);
                return Ok(LogPlace { group, stream });
            }
            match self.create_log_stream(caller, group, stream).await {
                Ok(())
                | Err(Error::LogsError(LogsError::GroupNotFound | LogsError::StreamExists)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The place of a stream.
pub fn log_stream_named(
    region: &RegionState,
    group: &str,
    stream: &str,
) -> Result<LogPlace, Error> {
    let group = log_group_named(region, group)?.uid;
    let found: Option<&Stored<LogStream>> = region.log_streams.get(&(group, stream.into()));
    let stream = found.ok_or(LogsError::StreamNotFound)?.uid;
    Ok(LogPlace { group, stream })
}

fn new_stream(draft: &mut Draft<'_>, group: LogUid, name: &str) -> Result<LogUid, Error> {
    if draft.region.log_streams.contains_key(&(group, name.into())) {
        return Err(LogsError::StreamExists.into());
    }
    let uid = LogUid(draft.random());
    let created_at = draft.now;
    let stream = LogStream { uid, created_at };
    draft.claim(log_stream_key(group, name), Record::LogStream(stream));
    Ok(uid)
}

/// Checks a stream's name.
pub fn check_stream_name(name: &str) -> Result<(), Error> {
    check_text(name, "logStreamName", NAME_MAX, "[^:*]*", |c| {
        !matches!(c, ':' | '*')
    })
}

const NAME_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    #[tokio::test]
    async fn a_stream_is_made_once_and_deleted_once() {
        let (control, caller) = (control(), caller());
        let code = |result: Result<(), Error>| {
            let error = result.err();
            error.map(|error| (error.code(), error.to_string()))
        };
        let none = control.create_log_stream(&caller, "g", "s").await;
        let not_found = |what: &str| {
            let text = format!("The specified log {what} does not exist.");
            Some(("ResourceNotFoundException", text))
        };
        assert_eq!(code(none), not_found("group"));
        let group = CreateLogGroup {
            name: "g".to_owned(),
            ..CreateLogGroup::default()
        };
        control
            .create_log_group(&caller, &group)
            .await
            .expect("a group");
        assert_eq!(
            code(control.create_log_stream(&caller, "g", "s").await),
            None
        );
        let again = control.create_log_stream(&caller, "g", "s").await;
        let exists = "The specified log stream already exists".to_owned();
        assert_eq!(
            code(again),
            Some(("ResourceAlreadyExistsException", exists))
        );
        assert_eq!(
            code(control.delete_log_stream(&caller, "g", "s").await),
            None
        );
        let gone = control.delete_log_stream(&caller, "g", "s").await;
        assert_eq!(code(gone), not_found("stream"));
    }

    #[tokio::test]
    async fn services_find_what_they_log_to_or_make_it() {
        let (control, caller) = (control(), caller());
        let first = control
            .log_stream_for(&caller, "/enid/console", "i-1")
            .await
            .expect("made");
        let again = control
            .log_stream_for(&caller, "/enid/console", "i-1")
            .await
            .expect("found");
        assert_eq!(first, again);
        let other = control
            .log_stream_for(&caller, "/enid/console", "i-2")
            .await
            .expect("made");
        assert_eq!(first.group, other.group);
        assert_ne!(first.stream, other.stream);
        let region = control.read(&caller).await.expect("the region");
        assert_eq!(
            log_stream_named(&region, "/enid/console", "i-2").expect("there"),
            other
        );
        assert!(log_stream_named(&region, "/enid/console", "i-3").is_err());
    }

    #[test]
    fn names_have_neither_colons_nor_asterisks() {
        for name in ["a", "2026/11/23/[$LATEST] x", &"é".repeat(512)] {
            assert!(check_stream_name(name).is_ok(), "{name}");
        }
        for name in ["", "a:b", "a*", &"x".repeat(513)] {
            let code = check_stream_name(name).err().map(|error| error.code());
            assert_eq!(code, Some("InvalidParameterException"), "{name}");
        }
    }
}
