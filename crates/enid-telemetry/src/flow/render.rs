//! Records as text and as columns.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Schema};
use enid_model::flow_log::{Field, FieldKind, LogFormat};

use super::record::{Packets, Record};

/// What stands for a value that there is not.
const NOTHING: &str = "-";

/// A record as a line, without its end.
pub(super) fn line(record: &Record, format: &LogFormat) -> String {
    let mut line = String::with_capacity(128);
    for (position, field) in format.fields().iter().enumerate() {
        if position > 0 {
            line.push(' ');
        }
        match value(record, *field, format) {
            Some(value) => line.push_str(&value),
            None => line.push_str(NOTHING),
        }
    }
    line
}

/// The first line of a file: the names of the fields.
pub(super) fn header(format: &LogFormat) -> String {
    let names = format.fields().iter().map(|field| field.name());
    names.collect::<Vec<_>>().join(" ")
}

/// The value of a field, if there is one.
fn value(record: &Record, field: Field, format: &LogFormat) -> Option<String> {
    let facts = &record.facts;
    let of = |value: &dyn Fn(&Packets) -> Option<String>| record.packets.as_ref().and_then(value);
    let told = |text: &str| (!text.is_empty() && text != NOTHING).then(|| text.to_owned());
    match field {
        Field::Version => Some(format.version().to_string()),
        Field::AccountId => told(&facts.account),
        Field::InterfaceId => told(&record.eni),
        Field::SrcAddr => of(&|it| Some(it.source.clone())),
        Field::DstAddr => of(&|it| Some(it.target.clone())),
        Field::SrcPort => of(&|it| Some(it.source_port.to_string())),
        Field::DstPort => of(&|it| Some(it.target_port.to_string())),
        Field::Protocol => of(&|it| Some(it.protocol.to_string())),
        Field::Packets => of(&|it| Some(it.packets.to_string())),
        Field::Bytes => of(&|it| Some(it.bytes.to_string())),
        Field::Start => Some(record.start_s.to_string()),
        Field::End => Some(record.end_s.to_string()),
        Field::Action => of(&|it| {
            let word = if it.is_accepted { "ACCEPT" } else { "REJECT" };
            Some(word.to_owned())
        }),
        Field::LogStatus => Some(record.status.word().to_owned()),
        Field::VpcId => told(&facts.vpc),
        Field::SubnetId => told(&facts.subnet),
        Field::InstanceId => facts.instance.clone(),
        Field::TcpFlags => of(&|it| Some(it.tcp_flags.to_string())),
        Field::Type => of(&|it| {
            let is_v6 = it.packet_source.contains(':');
            Some(if is_v6 { "IPv6" } else { "IPv4" }.to_owned())
        }),
        Field::PktSrcAddr => of(&|it| Some(it.packet_source.clone())),
        Field::PktDstAddr => of(&|it| Some(it.packet_target.clone())),
        Field::Region => told(&facts.region),
        Field::AzId => told(&facts.zone_id),
        Field::FlowDirection => of(&|it| {
            let word = if it.is_egress { "egress" } else { "ingress" };
            Some(word.to_owned())
        }),
        Field::TrafficPath => of(&|it| {
            let path = it.traffic_path.filter(|_| it.is_egress);
            path.map(|path| path.to_string())
        }),
        // There are no sublocations, the outside is not AWS, and nothing blocks public access.
        Field::SublocationType
        | Field::SublocationId
        | Field::PktSrcAwsService
        | Field::PktDstAwsService
        | Field::RejectReason => None,
        Field::SgRuleId => of(&|it| it.own[0].clone()),
        Field::NaclEntry => of(&|it| it.own[1].clone()),
        Field::Route => of(&|it| it.own[2].clone()),
        Field::DropReason => of(&|it| it.own[3].clone()),
        Field::RttUs => of(&|it| it.rtt_us.map(|rtt| rtt.to_string())),
        Field::Retransmits => of(&|it| it.retransmits.map(|count| count.to_string())),
    }
}

/// Records as columns: a number that there is not is null, a text a dash.
pub(super) fn batch(records: &[Record], format: &LogFormat) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (position, field) in format.fields().iter().enumerate() {
        // A file has each column once.
        if format.fields()[..position].contains(field) {
            continue;
        }
        let values = records.iter().map(|record| value(record, *field, format));
        let (kind, column): (DataType, ArrayRef) = match field.kind() {
            FieldKind::Int32 => {
                let mut builder = Int32Builder::with_capacity(records.len());
                values.for_each(|it| builder.append_option(it.and_then(|it| it.parse().ok())));
                (DataType::Int32, Arc::new(builder.finish()))
            }
            FieldKind::Int64 => {
                let mut builder = Int64Builder::with_capacity(records.len());
                values.for_each(|it| builder.append_option(it.and_then(|it| it.parse().ok())));
                (DataType::Int64, Arc::new(builder.finish()))
            }
            FieldKind::Text => {
                let mut builder = StringBuilder::new();
                values.for_each(|it| builder.append_value(it.as_deref().unwrap_or(NOTHING)));
                (DataType::Utf8, Arc::new(builder.finish()))
            }
        };
        let name = field.name().replace('-', "_");
        fields.push(arrow_schema::Field::new(name, kind, true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::record::{Facts, Status};

    fn record() -> Record {
        Record {
            eni: "eni-0123456789abcdef0".to_owned(),
            facts: Arc::new(Facts {
                account: "123456789010".to_owned(),
                vpc: "vpc-1".to_owned(),
                ..Facts::default()
            }),
            status: Status::Ok,
            packets: Some(Packets {
                is_egress: true,
                is_accepted: false,
                source: "172.31.16.139".to_owned(),
                target: "203.0.113.12".to_owned(),
                packet_source: "172.31.16.139".to_owned(),
                packet_target: "203.0.113.12".to_owned(),
                source_port: 0,
                target_port: 0,
                protocol: 1,
                packets: 4,
                bytes: 336,
                tcp_flags: 0,
                traffic_path: Some(8),
                own: [
                    None,
                    Some("100".to_owned()),
                    None,
                    Some("acl-egress".to_owned()),
                ],
                rtt_us: Some(412),
                retransmits: None,
            }),
            start_s: 1_432_917_094,
            end_s: 1_432_917_142,
        }
    }

    #[test]
    fn a_line_is_as_aws_writes_it() {
        // The example of the VPC User Guide, "Flow log record examples".
        assert_eq!(
            line(&record(), &LogFormat::default()),
            "2 123456789010 eni-0123456789abcdef0 172.31.16.139 203.0.113.12 0 0 1 4 336 \
             1432917094 1432917142 REJECT OK"
        );
        let nothing = Record {
            packets: None,
            status: Status::NoData,
            ..record()
        };
        assert_eq!(
            line(&nothing, &LogFormat::default()),
            "2 123456789010 eni-0123456789abcdef0 - - - - - - - 1432917094 1432917142 - NODATA"
        );
    }

    #[test]
    fn every_field_has_a_value_or_a_dash() {
        let all: Vec<String> = Field::ALL
            .iter()
            .map(|field| format!("${{{}}}", field.name()))
            .collect();
        let format = LogFormat::parse(&all.join(" ")).unwrap();
        let line = line(&record(), &format);
        assert_eq!(line.split(' ').count(), Field::ALL.len());
        assert!(line.starts_with("8 123456789010 "));
        assert!(
            line.ends_with("- egress 8 - - 100 - acl-egress 412 -"),
            "{line}"
        );
        assert_eq!(header(&format).split(' ').count(), Field::ALL.len());
    }
}
