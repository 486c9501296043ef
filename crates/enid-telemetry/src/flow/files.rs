//! Files of flow logs: their names, and what is in them.
//!
//! A file has the same name and content whenever it is made, so that one that is written again after a crash
//! replaces itself.

use std::io::{self, Write as _};

use enid_model::flow_log::{FlowLog, FlowLogDestination};
use enid_model::key::Scope;
use enid_model::time::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::GzipLevel;
use parquet::file::properties::WriterProperties;

use super::record::Record;
use super::render::{batch, header, line};
use crate::bucket::Object;

/// The most bytes of a file, about: a period that takes more has several. AWS's have 75 MB at most; a file is
/// in memory until it is written.
const FILE_BYTES_MAX: usize = 32 << 20;

/// Records that become a part of a Parquet file at once.
const RECORDS_AT_ONCE: usize = 8_192;

/// Rows of a Parquet file's groups: what is in memory without being compressed.
const GROUP_ROWS: usize = 65_536;

/// Which period of a flow log files tell of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period<'a> {
    pub(super) scope: &'a Scope,
    pub(super) flow_log: &'a FlowLog,
    pub(super) begins_ms: i64,
}

/// The files of a period as they come to be: one, unless they are too many bytes. None if there are no
/// records.
pub(super) struct Files<'a> {
    period: Period<'a>,
    /// How many are whole.
    whole: usize,
    open: Option<Open>,
    /// Records that are to become a part of a Parquet file.
    waiting: Vec<Record>,
}

/// A file that is being written.
enum Open {
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Text(GzEncoder<Vec<u8>>),
}

impl<'a> Files<'a> {
    pub(super) fn new(period: Period<'a>) -> Self {
        Self {
            period,
            whole: 0,
            open: None,
            waiting: Vec::new(),
        }
    }

    /// Adds a record. Returns the file that is whole with it, if one is.
    pub(super) fn add(&mut self, record: Record) -> io::Result<Option<Object>> {
        let format = &self.period.flow_log.format;
        if self.is_parquet() {
            self.waiting.push(record);
            if self.waiting.len() < RECORDS_AT_ONCE {
                return Ok(None);
            }
            self.write_waiting()?;
        } else {
            if self.open.is_none() {
                let mut file = GzEncoder::new(Vec::new(), Compression::default());
                writeln!(file, "{}", header(format))?;
                self.open = Some(Open::Text(file));
            }
            if let Some(Open::Text(file)) = &mut self.open {
                writeln!(file, "{}", line(&record, format))?;
            }
        }
        let bytes = match &self.open {
            Some(Open::Text(file)) => file.get_ref().len(),
            Some(Open::Parquet(file)) => file.bytes_written() + file.in_progress_size(),
            None => 0,
        };
        match bytes > FILE_BYTES_MAX {
            true => self.end(),
            false => Ok(None),
        }
    }

    /// The last file, if there is another one.
    pub(super) fn finish(mut self) -> io::Result<Option<Object>> {
        self.write_waiting()?;
        self.end()
    }

    fn is_parquet(&self) -> bool {
        let destination = &self.period.flow_log.destination;
        matches!(destination, FlowLogDestination::Bucket { is_parquet, .. } if *is_parquet)
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.waiting);
        let batch = batch(&records, &self.period.flow_log.format).map_err(io::Error::other)?;
        if self.open.is_none() {
            let properties = WriterProperties::builder()
                .set_compression(parquet::basic::Compression::GZIP(GzipLevel::default()))
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .build();
            let file = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
            self.open = Some(Open::Parquet(Box::new(file)));
        }
        if let Some(Open::Parquet(file)) = &mut self.open {
            file.write(&batch)?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<Option<Object>> {
        let bytes = match self.open.take() {
            Some(Open::Text(file)) => file.finish()?,
            Some(Open::Parquet(file)) => (*file).into_inner()?,
            None => return Ok(None),
        };
        let path = path(self.period, self.whole);
        self.whole += 1;
        Ok(Some(Object { path, bytes }))
    }
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use arrow_array::{Array as _, RecordBatch};
    use arrow_schema::DataType;
    use enid_model::flow_log::{FlowLogResource, LogFormat, TrafficType};
    use enid_model::id::{FlowLogId, VpcId};
    use enid_model::key::{AccountId, RegionName};
    use flate2::read::GzDecoder;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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

    fn record() -> Record {
        Record {
            eni: "eni-1".to_owned(),
            facts: Arc::new(Facts::default()),
            status: Status::NoData,
            packets: None,
            start_s: 1,
            end_s: 2,
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
        let record = record();
        assert_eq!(Files::new(period).finish().unwrap(), None);
        let mut files = Files::new(period);
        assert_eq!(files.add(record).unwrap(), None);
        let object = files.finish().unwrap().unwrap();
        assert_eq!(object.path, path(period, 0));
        let mut text = String::new();
        let mut file = GzDecoder::new(&*object.bytes);
        file.read_to_string(&mut text).unwrap();
        let expected = "version account-id interface-id srcaddr dstaddr srcport dstport protocol \
                        packets bytes start end action log-status\n2 - eni-1 - - - - - - - 1 2 - NODATA\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_parquet_file_has_typed_columns_and_all_records() {
        let scope = scope();
        let mut flow_log = flow_log(false, false, true);
        let format = LogFormat::parse("${interface-id} ${packets} ${start} ${packets}");
        flow_log.format = format.unwrap();
        let period = Period {
            scope: &scope,
            flow_log: &flow_log,
            begins_ms: 0,
        };
        let count = RECORDS_AT_ONCE + 1;
        let mut files = Files::new(period);
        for start_s in 0..count {
            let record = Record {
                start_s: i64::try_from(start_s).unwrap(),
                ..record()
            };
            assert_eq!(files.add(record).unwrap(), None);
        }
        let object = files.finish().unwrap().unwrap();
        let bytes = bytes::Bytes::from(object.bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let schema = batches[0].schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
        assert_eq!(names, ["interface_id", "packets", "start"]);
        assert_eq!(schema.field(1).data_type(), &DataType::Int64);
        assert_eq!(batches[0].column(1).null_count(), batches[0].num_rows());
        let rows = batches.iter().map(RecordBatch::num_rows);
        assert_eq!(rows.sum::<usize>(), count);
    }
}
