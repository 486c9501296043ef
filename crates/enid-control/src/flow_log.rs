//! Flow logs: of what is told, how, and where to. They never change, but for their tags.
//!
//! Several may be made or deleted by one call, and each of them can fail on its own: what failed is told
//! beside what was done.

use enid_model::flow_log::{
    FlowLog, FlowLogDestination, FlowLogResource, LogFormat, MalformedFormat, TrafficType,
};
use enid_model::id::{EniId, FlowLogId, Parsed, ResourceId, SubnetId, VpcId};
use enid_model::key::Kind;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::RegionState;
use enid_model::subnet::Subnet;
use enid_model::vpc::Vpc;

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Draft, Error, FlowLogError};

/// What CreateFlowLogs takes.
#[derive(Debug, Clone)]
pub struct CreateFlowLogs {
    /// Ids of resources of one type.
    pub resources: Vec<String>,
    /// Their type.
    pub resource_type: FlowLogResourceType,
    /// What traffic is told of.
    pub traffic: TrafficType,
    /// Whether the destination is a bucket, and not a log group.
    pub is_to_bucket: bool,
    /// The destination's ARN.
    pub destination: Option<String>,
    /// A log group's name.
    pub log_group: Option<String>,
    /// The role that may write to the log group.
    pub role: Option<String>,
    /// The fields of records.
    pub format: Option<String>,
    /// 60 or 600.
    pub interval_s: Option<i32>,
    /// How files are written.
    pub options: Option<FileOptions>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Tags for all of them.
    pub tags: Vec<TagSpecification>,
    /// Why the bucket takes nothing, if it was asked and said so.
    pub refused: Option<BucketRefusal>,
}

impl CreateFlowLogs {
    /// The bucket that records are to go to, if it is one.
    #[must_use]
    pub fn bucket(&self) -> Option<String> {
        match destination(self, true) {
            Ok(FlowLogDestination::Bucket { bucket, .. }) => Some(bucket),
            _ => None,
        }
    }
}

/// Why a bucket takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketRefusal {
    /// It is for others.
    Denied,
    /// There is none.
    Missing,
}

/// Of what type the resources of a call are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowLogResourceType {
    /// Network interfaces.
    NetworkInterface,
    /// Subnets.
    Subnet,
    /// VPCs.
    Vpc,
}

/// How files are written to a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Whether they are Parquet.
    pub is_parquet: bool,
    /// Whether names of directories are as Hive has them.
    pub is_hive_compatible: bool,
    /// Whether there is a directory for each hour.
    pub is_per_hour: bool,
}

/// What became of each part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowLogOutcomes<T> {
    /// What was done.
    pub done: Vec<T>,
    /// What was not, by the id that the client wrote.
    pub failed: Vec<(String, Error)>,
}

/// The seconds that a record may tell of, unless it is said.
const INTERVAL_S: u32 = 600;

/// Resources of one call.
const RESOURCES_MAX: usize = 1_000;

const OPERATION: &str = "CreateFlowLogs";

impl Control {
    /// CreateFlowLogs.
    pub async fn create_flow_logs(
        &self,
        caller: &Caller,
        input: &CreateFlowLogs,
    ) -> Result<FlowLogOutcomes<FlowLogId>, Error> {
        let tags = specified(&input.tags, "vpc-flow-log")?;
        let interval_s = interval(input.interval_s)?;
        let format = format(input.format.as_deref())?;
        let destination = destination(input, self.has_log_groups)?;
        if input.resources.is_empty() {
            return Err(Error::MissingParameter { name: "ResourceId" });
        }
        if input.resources.len() > RESOURCES_MAX {
            return Err(FlowLogError::LimitExceeded.into());
        }
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            // A repetition is one whatever the bucket says by then.
            rest.refused = None;
            (token, format!("{rest:?}"))
        };
        self.transact(caller, |draft| {
            let made = draft.made_before(OPERATION, token.as_deref(), &parameters)?;
            if let Some(made) = made {
                return Ok(FlowLogOutcomes {
                    done: made.iter().filter_map(|id| id.parse().ok()).collect(),
                    failed: Vec::new(),
                });
            }
            let mut outcomes = FlowLogOutcomes {
                done: Vec::new(),
                failed: Vec::new(),
            };
            let mut new: Vec<FlowLog> = Vec::new();
            for text in &input.resources {
                let made = resource(draft, input.resource_type, text).and_then(|resource| {
                    let flow_log = FlowLog {
                        id: draft.mint(),
                        resource,
                        traffic: input.traffic,
                        destination: destination.clone(),
                        format: format.clone(),
                        interval_s,
                        created: draft.now,
                        tags: tags.clone(),
                    };
                    admit(
                        &draft.region,
                        &new,
                        &flow_log,
                        draft.quotas.flow_logs_per_resource,
                    )?;
                    takes(&flow_log.destination, input.refused)?;
                    Ok(flow_log)
                });
                match made {
                    Ok(flow_log) => new.push(flow_log),
                    Err(error) => outcomes.failed.push((text.clone(), error)),
                }
            }
            draft.demand_none_new(Kind::FlowLog);
            for flow_log in new {
                outcomes.done.push(flow_log.id);
                draft.create(flow_log);
            }
            let made = outcomes.done.iter().map(ToString::to_string).collect();
            draft.remember(OPERATION, token.as_deref(), &parameters, made);
            Ok(outcomes)
        })
        .await
    }

    /// DeleteFlowLogs. What was told stays where it is.
    pub async fn delete_flow_logs(
        &self,
        caller: &Caller,
        ids: &[FlowLogId],
    ) -> Result<FlowLogOutcomes<FlowLogId>, Error> {
        self.transact(caller, |draft| {
            let missing: Vec<FlowLogId> = ids
                .iter()
                .filter(|id| !draft.region.flow_logs.contains_key(*id))
                .copied()
                .collect();
            if !missing.is_empty() {
                return Err(FlowLogError::not_found(&missing).into());
            }
            for (position, id) in ids.iter().enumerate() {
                if !ids[..position].contains(id) {
                    let flow_log = draft.require::<FlowLog>(*id)?;
                    draft.delete(&flow_log);
                }
            }
            Ok(FlowLogOutcomes {
                done: ids.to_vec(),
                failed: Vec::new(),
            })
        })
        .await
    }
}

/// The resource that a text names, which is there.
fn resource(
    draft: &mut Draft<'_>,
    kind: FlowLogResourceType,
    text: &str,
) -> Result<FlowLogResource, Error> {
    Ok(match kind {
        FlowLogResourceType::NetworkInterface => {
            let id: EniId = native(text)?;
            FlowLogResource::NetworkInterface(draft.require::<NetworkInterface>(id)?.id)
        }
        FlowLogResourceType::Subnet => {
            let id: SubnetId = native(text)?;
            FlowLogResource::Subnet(draft.require::<Subnet>(id)?.id)
        }
        FlowLogResourceType::Vpc => {
            let id: VpcId = native(text)?;
            FlowLogResource::Vpc(draft.require::<Vpc>(id)?.id)
        }
    })
}

/// AWS says of an id that is none at all as well that there is no such resource.
fn native<I: ResourceId>(text: &str) -> Result<I, Error> {
    match I::parse(text) {
        Ok(Parsed::Native(id)) => Ok(id),
        _ => Err(Error::not_found_text(I::PREFIX, text)),
    }
}

/// Whether a flow log may be added to those of the region and those of the same call.
fn admit(
    region: &RegionState,
    new: &[FlowLog],
    flow_log: &FlowLog,
    quota: usize,
) -> Result<(), Error> {
    let known = region.flow_logs.values().map(|known| &**known);
    let of_resource = |other: &&FlowLog| other.resource == flow_log.resource;
    let same: Vec<&FlowLog> = known.chain(new).filter(of_resource).collect();
    let is_same = |other: &&FlowLog| {
        other.traffic == flow_log.traffic
            && is_same_place(&other.destination, &flow_log.destination)
    };
    if same.iter().any(is_same) {
        return Err(FlowLogError::Exists.into());
    }
    if same.len() >= quota {
        return Err(FlowLogError::LimitExceeded.into());
    }
    Ok(())
}

/// Whether a destination takes records.
fn takes(destination: &FlowLogDestination, refused: Option<BucketRefusal>) -> Result<(), Error> {
    let (FlowLogDestination::Bucket { bucket, .. }, Some(refused)) = (destination, refused) else {
        return Ok(());
    };
    let bucket = bucket.as_str().into();
    Err(match refused {
        BucketRefusal::Denied => FlowLogError::BucketDenied { bucket },
        BucketRefusal::Missing => FlowLogError::BucketMissing { bucket },
    }
    .into())
}

/// Whether two destinations are one, however files are written there.
fn is_same_place(one: &FlowLogDestination, other: &FlowLogDestination) -> bool {
    use FlowLogDestination::{Bucket, LogGroup};
    match (one, other) {
        (LogGroup { name, .. }, LogGroup { name: other, .. }) => name == other,
        (
            Bucket { bucket, folder, .. },
            Bucket {
                bucket: other,
                folder: other_folder,
                ..
            },
        ) => (bucket, folder) == (other, other_folder),
        _ => false,
    }
}

fn interval(seconds: Option<i32>) -> Result<u32, Error> {
    match seconds {
        None | Some(600) => Ok(INTERVAL_S),
        Some(60) => Ok(60),
        Some(_) => Err(FlowLogError::Interval.into()),
    }
}

fn format(text: Option<&str>) -> Result<LogFormat, Error> {
    let Some(text) = text else {
        return Ok(LogFormat::default());
    };
    LogFormat::parse(text).map_err(|malformed| {
        match malformed {
            MalformedFormat::Syntax => FlowLogError::FormatInvalid { text: text.into() },
            MalformedFormat::Unknown(fields) => FlowLogError::FieldsUnknown {
                fields: fields.join(", ").into(),
            },
        }
        .into()
    })
}

/// Where records go. Log groups are refused by name as long as there are none.
fn destination(input: &CreateFlowLogs, has_log_groups: bool) -> Result<FlowLogDestination, Error> {
    if input.is_to_bucket {
        return bucket(input);
    }
    if !has_log_groups {
        let what = "flow logs with the LogDestinationType cloud-watch-logs";
        return Err(Error::Unsupported { what });
    }
    if input.options.is_some() {
        return Err(FlowLogError::OptionsForGroup.into());
    }
    let role = input.role.clone().filter(|role| !role.is_empty());
    let role = role.ok_or(FlowLogError::RoleMissing)?;
    let name = input.log_group.clone().filter(|name| !name.is_empty());
    let arn = input.destination.as_deref().filter(|arn| !arn.is_empty());
    match (name, arn) {
        (Some(_), Some(_)) => Err(FlowLogError::DestinationTwice.into()),
        (Some(name), None) => Ok(FlowLogDestination::LogGroup {
            name,
            as_arn: false,
            role,
        }),
        (None, Some(arn)) => {
            // arn:aws:logs:REGION:ACCOUNT:log-group:NAME, with `:*` behind it or not.
            let mut parts = arn.splitn(7, ':').skip(2);
            let service = parts.next();
            let name = parts.nth(3).map(|name| name.trim_end_matches(":*"));
            match name.filter(|name| service == Some("logs") && !name.is_empty()) {
                Some(name) => Ok(FlowLogDestination::LogGroup {
                    name: name.to_owned(),
                    as_arn: true,
                    role,
                }),
                None => Err(FlowLogError::DestinationInvalid { text: arn.into() }.into()),
            }
        }
        (None, None) => Err(FlowLogError::DestinationMissing.into()),
    }
}

fn bucket(input: &CreateFlowLogs) -> Result<FlowLogDestination, Error> {
    if input.log_group.is_some() {
        return Err(FlowLogError::GroupForBucket.into());
    }
    if input.role.is_some() {
        return Err(FlowLogError::RoleForBucket.into());
    }
    let arn = input.destination.as_deref().filter(|arn| !arn.is_empty());
    let arn = arn.ok_or(FlowLogError::DestinationMissing)?;
    let invalid = || FlowLogError::DestinationInvalid { text: arn.into() };
    let path = arn.strip_prefix("arn:aws:s3:::").ok_or_else(invalid)?;
    let (bucket, folder) = path.split_once('/').unwrap_or((path, ""));
    let folder = folder.trim_end_matches('/');
    if !is_bucket(bucket) || !is_folder(folder) {
        return Err(invalid().into());
    }
    let options = input.options.unwrap_or_default();
    Ok(FlowLogDestination::Bucket {
        bucket: bucket.to_owned(),
        folder: match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        },
        is_parquet: options.is_parquet,
        is_hive_compatible: options.is_hive_compatible,
        is_per_hour: options.is_per_hour,
    })
}

/// S3 User Guide, "General purpose bucket naming rules": the part that keeps a name a name.
pub(crate) fn is_bucket(name: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| is_word(*b) || matches!(b, b'.' | b'-'))
        && bytes.first().is_some_and(|b| is_word(*b))
        && bytes.last().is_some_and(|b| is_word(*b))
        && !name.contains("..")
}

/// A folder is a path of plain names, none of which is the one that records are put below.
pub(crate) fn is_folder(path: &str) -> bool {
    path.is_empty()
        || path.split('/').all(|name| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()=".contains(&b);
            !matches!(name, "" | "." | ".." | "AWSLogs") && name.bytes().all(is_plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    fn to_bucket(vpc: VpcId) -> CreateFlowLogs {
        CreateFlowLogs {
            resources: vec![vpc.to_string()],
            resource_type: FlowLogResourceType::Vpc,
            traffic: TrafficType::All,
            is_to_bucket: true,
            destination: Some("arn:aws:s3:::my-bucket/some/folder/".to_owned()),
            log_group: None,
            role: None,
            format: None,
            interval_s: None,
            options: None,
            client_token: None,
            tags: Vec::new(),
            refused: None,
        }
    }

    #[tokio::test]
    async fn a_bucket_that_refuses_makes_no_flow_log_and_a_log_group_is_not_asked() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = crate::default_vpc(&region).expect("a default VPC").id;
        let mut input = to_bucket(vpc);
        assert_eq!(input.bucket().as_deref(), Some("my-bucket"));
        for (refused, code) in [
            (BucketRefusal::Missing, "LogDestinationNotFound"),
            (BucketRefusal::Denied, "LogDestinationPermissionIssue"),
        ] {
            input.refused = Some(refused);
            let outcomes = control.create_flow_logs(&caller, &input).await;
            let outcomes = outcomes.expect("outcomes");
            let codes: Vec<_> = outcomes.failed.iter().map(|it| it.1.code()).collect();
            assert_eq!((outcomes.done.len(), codes), (0, vec![code]));
        }
        let other = FlowLogDestination::LogGroup {
            name: "g".to_owned(),
            as_arn: false,
            role: "r".to_owned(),
        };
        assert_eq!(takes(&other, Some(BucketRefusal::Missing)), Ok(()));
        input.destination = Some("arn:aws:s3:::Up".to_owned());
        assert_eq!(input.bucket(), None);
    }

    #[tokio::test]
    async fn a_flow_log_is_made_once_and_each_failure_told_beside_it() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = crate::default_vpc(&region).expect("a default VPC").id;
        let mut input = to_bucket(vpc);
        input.client_token = Some("once".to_owned());
        input.resources.push("vpc-00000000000000007".to_owned());
        input.resources.push("nonsense".to_owned());
        let outcomes = control.create_flow_logs(&caller, &input).await;
        let outcomes = outcomes.expect("outcomes");
        let codes: Vec<_> = outcomes
            .failed
            .iter()
            .map(|(_, error)| error.code())
            .collect();
        assert_eq!(codes, ["InvalidVpcID.NotFound"; 2]);
        let again = control.create_flow_logs(&caller, &input).await;
        assert_eq!(again.map(|it| it.done), Ok(outcomes.done.clone()));
        let same = control.create_flow_logs(&caller, &to_bucket(vpc)).await;
        let same = same.expect("outcomes");
        assert_eq!(
            same.failed,
            [(vpc.to_string(), FlowLogError::Exists.into())]
        );
        let rejects = CreateFlowLogs {
            traffic: TrafficType::Reject,
            ..to_bucket(vpc)
        };
        let other = control.create_flow_logs(&caller, &rejects).await;
        assert_eq!(other.map(|it| it.done.len()), Ok(1));
        let delete = || control.delete_flow_logs(&caller, &outcomes.done);
        assert!(delete().await.is_ok());
        let gone = FlowLogError::not_found(&outcomes.done);
        assert_eq!(delete().await, Err(gone.into()));
    }

    #[test]
    fn destinations_are_read_and_what_does_not_go_together_is_refused() {
        let good = to_bucket(VpcId(1));
        let Ok(FlowLogDestination::Bucket { bucket, folder, .. }) = destination(&good, false)
        else {
            panic!("a bucket");
        };
        assert_eq!((&*bucket, &*folder), ("my-bucket", "some/folder/"));
        let refused = |change: &dyn Fn(&mut CreateFlowLogs)| {
            let mut input = good.clone();
            change(&mut input);
            destination(&input, true).map_err(|error| error.code())
        };
        let invalid = Err("InvalidParameter");
        for arn in [
            "",
            "my-bucket",
            "arn:aws:s3:::",
            "arn:aws:s3:::Up",
            "arn:aws:s3:::my-bucket/AWSLogs/",
            "arn:aws:s3:::my-bucket/../other",
            "arn:aws:s3:::my..bucket",
        ] {
            assert_eq!(
                refused(&|it| it.destination = Some(arn.to_owned())),
                invalid,
                "{arn}"
            );
        }
        assert_eq!(refused(&|it| it.role = Some("arn".to_owned())), invalid);
        assert_eq!(
            refused(&|it| it.log_group = Some("group".to_owned())),
            invalid
        );
        let group = |it: &mut CreateFlowLogs| {
            it.is_to_bucket = false;
            it.destination = None;
            it.log_group = Some("group".to_owned());
            it.role = Some("arn:aws:iam::123456789012:role/it".to_owned());
        };
        assert!(refused(&group).is_ok());
        let mut input = good.clone();
        group(&mut input);
        let unsupported = destination(&input, false).map_err(|error| error.code());
        assert_eq!(unsupported, Err("UnsupportedOperation"));
        for part in [0, 1, 2, 3] {
            let change = |it: &mut CreateFlowLogs| {
                group(it);
                match part {
                    0 => it.role = None,
                    1 => it.log_group = None,
                    2 => it.destination = Some("arn:aws:logs:r:1:log-group:g".to_owned()),
                    _ => it.options = Some(FileOptions::default()),
                }
            };
            assert_eq!(refused(&change), invalid, "{part}");
        }
        let by_arn = |it: &mut CreateFlowLogs| {
            group(it);
            it.log_group = None;
            it.destination = Some("arn:aws:logs:r:1:log-group:a/b:*".to_owned());
        };
        let Ok(FlowLogDestination::LogGroup { name, .. }) = refused(&by_arn) else {
            panic!("a group");
        };
        assert_eq!(name, "a/b");
    }

    #[test]
    fn intervals_and_formats_are_those_of_aws() {
        assert_eq!((interval(None), interval(Some(60))), (Ok(600), Ok(60)));
        assert_eq!(interval(Some(61)), Err(FlowLogError::Interval.into()));
        let unknown = format(Some("${srcaddr} ${ecs-task-id}"));
        let said = unknown.map_err(|error| error.to_string());
        assert_eq!(said, Err("Unknown fields provided: ecs-task-id".to_owned()));
    }
}
