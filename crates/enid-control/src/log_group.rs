//! Log groups: names, retention, protection from deletion, and tags.

use enid_model::Tags;
use enid_model::key::Kind;
use enid_model::log_group::{LogGroup, LogUid, log_stream_key};
use enid_model::record::Record;
use enid_model::state::{RegionState, Stored};
use enid_store::Condition;

use crate::{Caller, Control, Draft, Error, LogsError};

/// What CreateLogGroup takes.
#[derive(Debug, Clone, Default)]
pub struct CreateLogGroup {
    /// Its name, unique in the region.
    pub name: String,
    /// Whether it shall be protected from deletion.
    pub is_protected: bool,
    /// Tags for it.
    pub tags: Tags,
}

impl Control {
    /// CreateLogGroup.
    pub async fn create_log_group(
        &self,
        caller: &Caller,
        input: &CreateLogGroup,
    ) -> Result<(), Error> {
        check_group_name(&input.name)?;
        check_tags(&input.tags)?;
        self.transact(caller, |draft| create(draft, input)).await
    }

    /// DeleteLogGroup: the group, its streams and its filters go. Its events are out of reach at
    /// once, since they belong to a group that is gone.
    pub async fn delete_log_group(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        check_group_name(name)?;
        self.transact(caller, |draft| {
            let group = require_group(draft, name)?;
            if group.is_protected {
                return Err(LogsError::GroupProtected.into());
            }
            let region = std::sync::Arc::clone(&draft.region);
            for (stream, found) in region.log_streams_from(group.uid, "") {
                let key = log_stream_key(group.uid, stream);
                draft.release(Kind::LogStream, key, found.revision);
            }
            draft.demand_none_new(Kind::LogStream);
            draft.release(Kind::LogGroup, name, group.revision);
            Ok(())
        })
        .await
    }

    /// PutRetentionPolicy, or DeleteRetentionPolicy if no days are given.
    pub async fn set_log_retention(
        &self,
        caller: &Caller,
        name: &str,
        days: Option<i32>,
    ) -> Result<(), Error> {
        check_group_name(name)?;
        let days = days.map(retention).transpose()?;
        self.edit_log_group(caller, name, |group, _| {
            group.retention_days = days;
            Ok(())
        })
        .await
    }

    /// PutLogGroupDeletionProtection.
    pub async fn protect_log_group(
        &self,
        caller: &Caller,
        name: &str,
        is_protected: bool,
    ) -> Result<(), Error> {
        check_group_name(name)?;
        self.edit_log_group(caller, name, |group, _| {
            group.is_protected = is_protected;
            Ok(())
        })
        .await
    }

    /// TagResource of a log group.
    pub async fn tag_log_group(
        &self,
        caller: &Caller,
        name: &str,
        tags: &Tags,
    ) -> Result<(), Error> {
        check_tags(tags)?;
        self.edit_log_group(caller, name, |group, _| {
            let new = tags.iter().map(|(key, value)| (key.clone(), value.clone()));
            group.tags.extend(new);
            check_tags(&group.tags)
        })
        .await
    }

    /// UntagResource of a log group.
    pub async fn untag_log_group(
        &self,
        caller: &Caller,
        name: &str,
        keys: &[String],
    ) -> Result<(), Error> {
        self.edit_log_group(caller, name, |group, _| {
            group.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }

    /// Replaces a group by an edited version of itself.
    pub(crate) async fn edit_log_group(
        &self,
        caller: &Caller,
        name: &str,
        edit: impl Fn(&mut LogGroup, &Draft<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let read = require_group(draft, name)?;
            let mut new = LogGroup::clone(&read);
            edit(&mut new, draft)?;
            if new != *read {
                draft.replace(name, read.revision, Record::LogGroup(new));
            }
            Ok(())
        })
        .await
    }
}

/// The group with a name.
pub fn log_group_named<'a>(
    region: &'a RegionState,
    name: &str,
) -> Result<&'a Stored<LogGroup>, Error> {
    let found = region.log_groups.get(name);
    found.ok_or_else(|| LogsError::GroupNotFound.into())
}

/// Makes a group's record.
pub(crate) fn create(draft: &mut Draft<'_>, input: &CreateLogGroup) -> Result<(), Error> {
    if draft.region.log_groups.contains_key(&*input.name) {
        return Err(LogsError::GroupExists.into());
    }
    if draft.region.log_groups.len() >= GROUPS_MAX {
        return Err(LogsError::LimitExceeded.into());
    }
    let group = LogGroup {
        uid: LogUid(draft.random()),
        created_at: draft.now,
        retention_days: None,
        is_protected: input.is_protected,
        metric_filters: std::collections::BTreeMap::new(),
        subscription_filters: std::collections::BTreeMap::new(),
        tags: input.tags.clone(),
    };
    draft.claim(&*input.name, Record::LogGroup(group));
    Ok(())
}

/// The group with a name, which must still be the same when the operation commits.
pub(crate) fn require_group(draft: &mut Draft<'_>, name: &str) -> Result<Stored<LogGroup>, Error> {
    let found = log_group_named(&draft.region, name)?.clone();
    let key = draft.key(Kind::LogGroup, name);
    draft.demand(Condition::Unchanged(key, found.revision));
    Ok(found)
}

/// A member's value, if it has from 1 to so many characters and each is one that it may have.
pub(crate) fn check_text(
    value: &str,
    member: &'static str,
    most: usize,
    pattern: &str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), Error> {
    let count = value.chars().count();
    let rule = if value.is_empty() {
        "Member must have length greater than or equal to 1".into()
    } else if count > most {
        format!("Member must have length less than or equal to {most}").into()
    } else if !value.chars().all(is_allowed) {
        format!("Member must satisfy regular expression pattern: {pattern}").into()
    } else {
        return Ok(());
    };
    Err(constraint(value, member, rule))
}

/// The error for a value that a model does not allow. A message does not grow with its request.
pub(crate) fn constraint(value: &str, member: &str, rule: Box<str>) -> Error {
    let value = value.chars().take(100).collect();
    let member = member.into();
    let error = LogsError::Constraint {
        value,
        member,
        rule,
    };
    error.into()
}

/// Checks a group's name.
pub fn check_group_name(name: &str) -> Result<(), Error> {
    check_text(
        name,
        "logGroupName",
        NAME_MAX,
        r"[\.\-_/#A-Za-z0-9]+",
        |c| c.is_ascii_alphanumeric() || ".-_/#".contains(c),
    )?;
    let is_reserved = name
        .get(..RESERVED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
    if is_reserved {
        return Err(LogsError::GroupNameReserved.into());
    }
    Ok(())
}

/// What no name may start with, whatever its case. Services of AWS log to `/aws/…`.
const RESERVED: &str = "aws/";
const NAME_MAX: usize = 512;

/// Groups in a region.
/// Source: CloudWatch Logs User Guide, "CloudWatch Logs quotas".
const GROUPS_MAX: usize = 1_000_000;

fn check_tags(tags: &Tags) -> Result<(), Error> {
    for (key, value) in tags {
        check_text(key, "tags", TAG_KEY_MAX, TAG_KEY_PATTERN, is_tag_character)?;
        if key
            .get(..4)
            .is_some_and(|it| it.eq_ignore_ascii_case("aws:"))
        {
            return Err(LogsError::TagKeyReserved.into());
        }
        if !value.is_empty() {
            check_text(
                value,
                "tags",
                TAG_VALUE_MAX,
                TAG_VALUE_PATTERN,
                is_tag_character,
            )?;
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(LogsError::TagsTooMany.into());
    }
    Ok(())
}

const TAGS_MAX: usize = 50;
const TAG_KEY_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;
const TAG_KEY_PATTERN: &str = r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$";
const TAG_VALUE_PATTERN: &str = r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$";

fn is_tag_character(character: char) -> bool {
    character.is_alphanumeric() || character.is_whitespace() || "_.:/=+-@".contains(character)
}

fn retention(days: i32) -> Result<u16, Error> {
    let known = u16::try_from(days).ok();
    let known = known.filter(|days| RETENTION_DAYS.contains(days));
    known.ok_or_else(|| {
        let all = RETENTION_DAYS.map(|days| days.to_string()).join(", ");
        let rule = format!("Member must satisfy enum value set: [{all}]");
        constraint(&days.to_string(), "retentionInDays", rule.into())
    })
}

/// The days that a retention policy may say.
/// Source: CloudWatch Logs API Reference, PutRetentionPolicy.
const RETENTION_DAYS: [u16; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    fn input(name: &str) -> CreateLogGroup {
        CreateLogGroup {
            name: name.to_owned(),
            ..CreateLogGroup::default()
        }
    }

    fn said<T>(result: Result<T, Error>) -> (&'static str, String) {
        let error = result.err().expect("a refusal");
        (error.code(), error.to_string())
    }

    #[tokio::test]
    async fn a_group_goes_with_its_streams_and_comes_back_as_another() {
        let (control, caller) = (control(), caller());
        control
            .create_log_group(&caller, &input("/a"))
            .await
            .expect("a group");
        let again = control.create_log_group(&caller, &input("/a")).await;
        let expected = (
            "ResourceAlreadyExistsException",
            "The specified log group already exists".to_owned(),
        );
        assert_eq!(said(again), expected);
        for stream in ["one", "two/three"] {
            let made = control.create_log_stream(&caller, "/a", stream).await;
            made.expect("a stream");
        }
        let region = control.read(&caller).await.expect("the region");
        let first = log_group_named(&region, "/a").expect("the group").uid;
        assert_eq!(region.log_streams_from(first, "").count(), 2);
        control
            .delete_log_group(&caller, "/a")
            .await
            .expect("deleted");
        let gone = control.delete_log_group(&caller, "/a").await;
        let expected = (
            "ResourceNotFoundException",
            "The specified log group does not exist.".to_owned(),
        );
        assert_eq!(said(gone), expected);
        control
            .create_log_group(&caller, &input("/a"))
            .await
            .expect("a group");
        let region = control.read(&caller).await.expect("the region");
        let second = log_group_named(&region, "/a").expect("the group").uid;
        assert_ne!(first, second);
        assert!(region.log_streams.is_empty());
    }

    #[tokio::test]
    async fn a_protected_group_stays() {
        let (control, caller) = (control(), caller());
        let protected = CreateLogGroup {
            is_protected: true,
            ..input("g")
        };
        control
            .create_log_group(&caller, &protected)
            .await
            .expect("a group");
        control
            .create_log_stream(&caller, "g", "s")
            .await
            .expect("a stream");
        let (code, _) = said(control.delete_log_group(&caller, "g").await);
        assert_eq!(code, "ValidationException");
        let (code, _) = said(control.delete_log_stream(&caller, "g", "s").await);
        assert_eq!(code, "ValidationException");
        control
            .protect_log_group(&caller, "g", false)
            .await
            .expect("unprotected");
        control
            .delete_log_stream(&caller, "g", "s")
            .await
            .expect("deleted");
        control
            .delete_log_group(&caller, "g")
            .await
            .expect("deleted");
    }

    #[tokio::test]
    async fn retention_is_one_of_the_listed_numbers_of_days() {
        let (control, caller) = (control(), caller());
        control
            .create_log_group(&caller, &input("g"))
            .await
            .expect("a group");
        for days in [Some(1), Some(3653), None] {
            control
                .set_log_retention(&caller, "g", days)
                .await
                .expect("set");
            let region = control.read(&caller).await.expect("the region");
            let kept = log_group_named(&region, "g")
                .expect("the group")
                .retention_days;
            assert_eq!(kept.map(i32::from), days);
        }
        for days in [-1, 0, 2, 366, 70_000] {
            let (code, text) = said(control.set_log_retention(&caller, "g", Some(days)).await);
            assert_eq!(code, "InvalidParameterException");
            let start = format!("1 validation error detected: Value '{days}' at 'retentionInDays'");
            assert!(text.starts_with(&start), "{text}");
        }
    }

    #[test]
    fn names_are_those_of_the_model() {
        for name in ["a", "/aws/vpc/flow-logs", "A.b_c#1", &"x".repeat(512)] {
            assert!(check_group_name(name).is_ok(), "{name}");
        }
        for (name, rule) in [
            ("", "greater than or equal to 1"),
            ("a b", "regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"),
            ("a:*", "regular expression pattern"),
            (&"x".repeat(513), "less than or equal to 512"),
            ("aws/x", "reserved for AWS"),
            ("AWS/x", "reserved for AWS"),
        ] {
            let (code, text) = said(check_group_name(name));
            assert_eq!(code, "InvalidParameterException");
            assert!(text.contains(rule), "{text}");
        }
    }

    #[tokio::test]
    async fn tags_are_set_and_taken_away() {
        let (control, caller) = (control(), caller());
        control
            .create_log_group(&caller, &input("g"))
            .await
            .expect("a group");
        let tags = |names: &[&str]| -> Tags {
            names
                .iter()
                .map(|name| ((*name).to_owned(), "v".to_owned()))
                .collect()
        };
        control
            .tag_log_group(&caller, "g", &tags(&["a", "b"]))
            .await
            .expect("tagged");
        let gone = ["a".to_owned(), "absent".to_owned()];
        control
            .untag_log_group(&caller, "g", &gone)
            .await
            .expect("untagged");
        let region = control.read(&caller).await.expect("the region");
        assert_eq!(
            log_group_named(&region, "g").expect("the group").tags,
            tags(&["b"])
        );
        let (code, _) = said(control.tag_log_group(&caller, "g", &tags(&["aws:a"])).await);
        assert_eq!(code, "InvalidParameterException");
        let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(|name| &**name).collect();
        let (code, _) = said(control.tag_log_group(&caller, "g", &tags(&many)).await);
        assert_eq!(code, "TooManyTagsException");
    }
}
