//! Rows of flow logs as they are stored: what one interface's packets of a 5-tuple did, in one direction,
//! since they were told of last.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, StringBuilder, UInt64Builder,
};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field};

use super::watch::EniFacts;
use crate::store::{KEY, Kind};

/// The kind's name.
pub(super) const KIND: &str = "flow";

/// How long rows are kept: as long as somebody may ask what happened lately. What was delivered is kept
/// elsewhere.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);

/// What packets did, at one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Says to which window it belongs.
    pub(super) time_ms: i64,
    pub(super) eni: Arc<EniFacts>,
    pub(super) is_egress: bool,
    pub(super) is_accepted: bool,
    /// Packets were not told by 5-tuple: nothing else is set then.
    pub(super) is_skipped: bool,
    pub(super) source: IpAddr,
    pub(super) target: IpAddr,
    /// As the packet itself has them.
    pub(super) packet_source: IpAddr,
    pub(super) packet_target: IpAddr,
    pub(super) source_port: u16,
    pub(super) target_port: u16,
    pub(super) protocol: u8,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) tcp_flags: u8,
    pub(super) traffic_path: Option<u8>,
    pub(super) sg_rule: Option<String>,
    pub(super) nacl_entry: Option<u16>,
    pub(super) route: Option<String>,
    pub(super) drop_reason: Option<&'static str>,
    /// Of TCP.
    pub(super) rtt_us: Option<u32>,
    pub(super) retransmits: Option<u32>,
}

/// Text, which may be missing.
fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// The kind of these rows. The key is the interface.
pub(super) fn kind() -> Kind {
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, false);
    let columns = vec![
        text("account"),
        text("region"),
        text("vpc"),
        text("subnet"),
        text("instance"),
        text("zone_id"),
        flag("is_egress"),
        flag("is_accepted"),
        flag("is_skipped"),
        text("source"),
        text("target"),
        text("packet_source"),
        text("packet_target"),
        number("source_port"),
        number("target_port"),
        number("protocol"),
        Field::new("packets", DataType::UInt64, false),
        Field::new("bytes", DataType::UInt64, false),
        Field::new("start", DataType::Int64, false),
        Field::new("end", DataType::Int64, false),
        number("tcp_flags"),
        number("traffic_path"),
        text("sg_rule"),
        number("nacl_entry"),
        text("route"),
        text("drop_reason"),
        number("rtt_us"),
        number("retransmits"),
    ];
    Kind::new(KIND, columns, RETENTION)
}

/// Rows as a batch of the kind's.
pub(super) fn batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let flags = |of: &dyn Fn(&Row) -> bool| -> ArrayRef {
        let mut builder = BooleanBuilder::with_capacity(rows.len());
        rows.iter().for_each(|row| builder.append_value(of(row)));
        Arc::new(builder.finish())
    };
    let texts = |of: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let numbers = |of: &dyn Fn(&Row) -> Option<i32>| -> ArrayRef {
        let mut builder = Int32Builder::with_capacity(rows.len());
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let times = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
        let mut builder = Int64Builder::with_capacity(rows.len());
        rows.iter().for_each(|row| builder.append_value(of(row)));
        Arc::new(builder.finish())
    };
    let counts = |of: &dyn Fn(&Row) -> u64| -> ArrayRef {
        let mut builder = UInt64Builder::with_capacity(rows.len());
        rows.iter().for_each(|row| builder.append_value(of(row)));
        Arc::new(builder.finish())
    };
    let told = |row: &Row, address: IpAddr| (!row.is_skipped).then(|| address.to_string());
    let columns: Vec<ArrayRef> = vec![
        times(&|row| row.time_ms),
        texts(&|row| Some(row.eni.eni.to_string())),
        texts(&|row| Some(row.eni.account.to_string())),
        texts(&|row| Some(row.eni.region.to_string())),
        texts(&|row| Some(row.eni.vpc.to_string())),
        texts(&|row| Some(row.eni.subnet.to_string())),
        texts(&|row| row.eni.instance.map(|id| id.to_string())),
        texts(&|row| Some(row.eni.zone_id.clone())),
        flags(&|row| row.is_egress),
        flags(&|row| row.is_accepted),
        flags(&|row| row.is_skipped),
        texts(&|row| told(row, row.source)),
        texts(&|row| told(row, row.target)),
        texts(&|row| told(row, row.packet_source)),
        texts(&|row| told(row, row.packet_target)),
        numbers(&|row| Some(row.source_port.into())),
        numbers(&|row| Some(row.target_port.into())),
        numbers(&|row| Some(row.protocol.into())),
        counts(&|row| row.packets),
        counts(&|row| row.bytes),
        times(&|row| row.start_ms),
        times(&|row| row.end_ms),
        numbers(&|row| Some(row.tcp_flags.into())),
        numbers(&|row| row.traffic_path.map(Into::into)),
        texts(&|row| row.sg_rule.clone()),
        numbers(&|row| row.nacl_entry.map(Into::into)),
        texts(&|row| row.route.clone()),
        texts(&|row| row.drop_reason.map(str::to_owned)),
        numbers(&|row| row.rtt_us.map(saturated)),
        numbers(&|row| row.retransmits.map(saturated)),
    ];
    RecordBatch::try_new(kind().schema(), columns)
}

/// As large a number as the column has.
fn saturated(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A stored row, as it is read: what it says of the interface is as it was then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

/// The rows of a batch.
pub(super) fn rows(batch: &RecordBatch) -> impl Iterator<Item = Told<'_>> {
    (0..batch.num_rows()).map(|row| Told { batch, row })
}

impl<'a> Told<'a> {
    pub(super) fn text(&self, column: &str) -> Option<&'a str> {
        let column = self.batch.column_by_name(column)?.as_string_opt::<i32>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    pub(super) fn number(&self, column: &str) -> Option<i32> {
        let column = self.batch.column_by_name(column)?;
        let column = column.as_primitive_opt::<Int32Type>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    pub(super) fn count(&self, column: &str) -> u64 {
        let column = self.batch.column_by_name(column);
        let column = column.and_then(|it| it.as_primitive_opt::<UInt64Type>());
        column.map_or(0, |column| column.value(self.row))
    }

    pub(super) fn flag(&self, column: &str) -> bool {
        let column = self.batch.column_by_name(column);
        let column = column.and_then(|it| it.as_boolean_opt());
        column.is_some_and(|column| column.value(self.row))
    }

    fn at(&self, column: &str) -> i64 {
        let column = self.batch.column_by_name(column);
        let column = column.and_then(|it| it.as_primitive_opt::<Int64Type>());
        column.map_or(0, |column| column.value(self.row))
    }

    pub(super) fn start_ms(&self) -> i64 {
        self.at("start")
    }

    pub(super) fn end_ms(&self) -> i64 {
        self.at("end")
    }

    pub(super) fn eni(&self) -> &'a str {
        self.text(KEY).unwrap_or("-")
    }
}
