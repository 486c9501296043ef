//! Files of flow logs in buckets: their names, and how they are written.
//!
//! A bucket is a directory. A file has the same name and content whenever it is written, so that one that is
//! written again after a crash replaces itself.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use enid_model::flow_log::{FlowLog, FlowLogDestination};
use enid_model::key::Scope;
use enid_model::time::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::record::Record;
use super::render::{header, line, parquet};

/// The most bytes of a compressed text file, about.
const FILE_BYTES_MAX: usize = 75 << 20;

/// A file as it is to be written: its path in the bucket, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
}

/// Which period of a flow log files tell of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period<'a> {
    pub(super) scope: &'a Scope,
    pub(super) flow_log: &'a FlowLog,
    pub(super) begins_ms: i64,
}

/// The files of some records: one, unless they are too many. None if there are no records.
pub(super) fn objects(period: Period<'_>, records: &[Record]) -> io::Result<Vec<Object>> {
    let FlowLogDestination::Bucket { is_parquet, .. } = &period.flow_log.destination else {
        return Ok(Vec::new());
    };
    let format = &period.flow_log.format;
    let mut objects = Vec::new();
    let put = |bytes, objects: &mut Vec<Object>| {
        let path = path(period, objects.len());
        objects.push(Object { path, bytes });
    };
    if records.is_empty() {
        return Ok(objects);
    }
    if *is_parquet {
        let bytes = parquet(records, format).map_err(io::Error::other)?;
        put(bytes, &mut objects);
        return Ok(objects);
    }
    let begin = || {
        let mut file = GzEncoder::new(Vec::new(), Compression::default());
        writeln!(file, "{}", header(format)).map(|()| file)
    };
    let mut file = begin()?;
    for record in records {
        if file.get_ref().len() > FILE_BYTES_MAX {
            put(
                std::mem::replace(&mut file, begin()?).finish()?,
                &mut objects,
            );
        }
        writeln!(file, "{}", line(record, format))?;
    }
    put(file.finish()?, &mut objects);
    Ok(objects)
}

/// Where a file is in its bucket. VPC User Guide, "Flow log files".
fn path(period: Period<'_>, part: usize) -> String {
    let FlowLogDestination::Bucket {
        folder,
        is_parquet,
        is_hive_compatible,
        is_per_hour,
        ..
    } = &period.flow_log.destination
    else {
        return String::new();
    };
    let Scope { account, region } = period.scope;
    let (year, month, day, hour, minute, _) = Timestamp(period.begins_ms).civil();
    let mut directory = if *is_hive_compatible {
        format!(
            "{folder}AWSLogs/aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/\
             year={year:04}/month={month:02}/day={day:02}/"
        )
    } else {
        format!("{folder}AWSLogs/{account}/vpcflowlogs/{region}/{year:04}/{month:02}/{day:02}/")
    };
    if *is_per_hour {
        let name = if *is_hive_compatible { "hour=" } else { "" };
        directory.push_str(&format!("{name}{hour:02}/"));
    }
    let id = period.flow_log.id;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id.to_string().as_bytes());
    hasher.update(&period.begins_ms.to_le_bytes());
    hasher.update(&part.to_le_bytes());
    let hash = hasher.finalize();
    let end = if *is_parquet { "log.parquet" } else { "log.gz" };
    format!(
        "{directory}{account}_vpcflowlogs_{region}_{id}_\
         {year:04}{month:02}{day:02}T{hour:02}{minute:02}Z_{hash:08x}.{end}"
    )
}

/// Writes a file into the directory of a bucket, whole or not at all.
pub(super) fn write(bucket: &Path, object: &Object) -> io::Result<()> {
    let path = bucket.join(&object.path);
    let directory = path.parent().unwrap_or(bucket);
    std::fs::create_dir_all(directory)?;
    let unfinished = unfinished(&path);
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(&object.bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, &path)?;
    std::fs::File::open(directory)?.sync_all()
}

/// Where a file is while it is written: readers take a name with a dot before it for hidden.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use enid_model::flow_log::{FlowLogResource, LogFormat, TrafficType};
    use enid_model::id::{FlowLogId, VpcId};
    use enid_model::key::{AccountId, RegionName};
    use flate2::read::GzDecoder;

    use super::*;
    use crate::flow::record::{Facts, Status};

    fn flow_log(is_hive_compatible: bool, is_per_hour: bool, is_parquet: bool) -> FlowLog {
        FlowLog {
            id: FlowLogId(0x1234),
            resource: FlowLogResource::Vpc(VpcId(1)),
            traffic: TrafficType::All,
            destination: FlowLogDestination::Bucket {
                bucket: "it".to_owned(),
                folder: "f/".to_owned(),
                is_parquet,
                is_hive_compatible,
                is_per_hour,
            },
            format: LogFormat::default(),
            interval_s: 600,
            created: Timestamp(0),
            tags: Default::default(),
        }
    }

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("us-east-1"),
        }
    }

    fn path_of(flow_log: &FlowLog, begins_ms: i64) -> String {
        let scope = scope();
        let period = Period {
            scope: &scope,
            flow_log,
            begins_ms,
        };
        path(period, 0)
    }

    #[test]
    fn files_are_where_aws_puts_them() {
        // 2018-06-20 16:20.
        let at = 1_529_511_600_000;
        let plain = path_of(&flow_log(false, false, false), at);
        let start = "f/AWSLogs/123456789012/vpcflowlogs/us-east-1/2018/06/20/\
                     123456789012_vpcflowlogs_us-east-1_fl-00000000000001234_20180620T1620Z_";
        assert!(
            plain.starts_with(start) && plain.ends_with(".log.gz"),
            "{plain}"
        );
        assert_eq!(plain.len(), start.len() + 8 + ".log.gz".len());
        let hourly = path_of(&flow_log(false, true, false), at);
        assert!(hourly.contains("/2018/06/20/16/123456789012_"), "{hourly}");
        let hive = path_of(&flow_log(true, true, true), at);
        let directory = "f/AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/\
                         aws-region=us-east-1/year=2018/month=06/day=20/hour=16/";
        assert!(hive.starts_with(directory) && hive.ends_with(".log.parquet"));
        assert_eq!(plain, path_of(&flow_log(false, false, false), at));
        assert_ne!(plain, path_of(&flow_log(false, false, false), at + 1000));
    }

    #[test]
    fn a_text_file_has_a_header_and_a_line_for_each_record() {
        let (scope, flow_log) = (scope(), flow_log(false, false, false));
        let period = Period {
            scope: &scope,
            flow_log: &flow_log,
            begins_ms: 0,
        };
        let record = Record {
            eni: "eni-1".to_owned(),
            facts: Facts::default(),
            status: Status::NoData,
            packets: None,
            start_s: 1,
            end_s: 2,
        };
        assert!(objects(period, &[]).unwrap().is_empty());
        let objects = objects(period, &[record]).unwrap();
        let bucket = tempfile::tempdir().unwrap();
        for object in &objects {
            write(bucket.path(), object).unwrap();
            write(bucket.path(), object).unwrap();
        }
        let path = bucket.path().join(&objects[0].path);
        let mut text = String::new();
        let file = std::fs::File::open(&path).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let expected = "version account-id interface-id srcaddr dstaddr srcport dstport protocol \
                        packets bytes start end action log-status\n2 - eni-1 - - - - - - - 1 2 - NODATA\n";
        assert_eq!(text, expected);
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);
    }
}
