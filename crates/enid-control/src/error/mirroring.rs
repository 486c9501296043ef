//! What targets, filters and sessions of traffic mirroring say instead of doing their work.
//!
//! Codes are those of the error code pages, but where answers of AWS that are quoted in public show
//! others: ids that name nothing, targets in use.

use enid_model::id::{EniId, TrafficMirrorFilterId, TrafficMirrorSessionId, TrafficMirrorTargetId};

// By code, then by name, as in `Error`.
errors! {
    /// Why an operation on a target, a filter or a session was not done.
    enum MirroringError
    /// A property that a request both sets and removes.
    FieldSetAndRemoved { field: &'static str } => "InvalidParameterCombination",
        "The request must not both specify and remove the field {field}.";
    /// Ports of a protocol that has none.
    MirrorPortsWithoutProtocol => "InvalidParameterCombination",
        "Port ranges can be specified only if the protocol is TCP (6) or UDP (17).";
    /// Blocks of both families in one rule.
    MirrorBlockFamilies { source_block: Box<str>, destination_block: Box<str> } => "InvalidParameterValue",
        "The source CIDR block {source_block} and the destination CIDR block {destination_block} must both be IPv4 or both be IPv6.";
    /// A source that is a target's interface.
    MirrorSourceIsTarget { eni: EniId, target: TrafficMirrorTargetId } => "InvalidParameterValue",
        "{eni} is already in use by {target}. A network interface cannot be a traffic mirror source and a traffic mirror target.";
    /// A session's number is taken.
    MirrorSessionNumberTaken { number: u16, eni: EniId, session: TrafficMirrorSessionId } => "InvalidParameterValue",
        "Session number {number} on {eni} is already being used by {session}";
    /// A target that is a session's source.
    MirrorTargetIsSource { eni: EniId, session: TrafficMirrorSessionId } => "InvalidParameterValue",
        "{eni} is already in use by {session}. A network interface cannot be a traffic mirror source and a traffic mirror target.";
    /// A filter id names none.
    TrafficMirrorFilterNotFound { id: Box<str> } => "InvalidTrafficMirrorFilterId.NotFound",
        "The traffic mirror filter ID '{id}' does not exist";
    /// A rule id names none.
    TrafficMirrorFilterRuleNotFound { id: Box<str> } => "InvalidTrafficMirrorFilterRuleId.NotFound",
        "The traffic mirror filter rule ID '{id}' does not exist";
    /// A session id names none.
    TrafficMirrorSessionNotFound { id: Box<str> } => "InvalidTrafficMirrorSessionId.NotFound",
        "The traffic mirror session ID '{id}' does not exist";
    /// A target that is to be an interface that is not there.
    MirrorTargetInterfaceNotFound { id: EniId } => "InvalidTrafficMirrorTarget",
        "The interface ID '{id}' does not exist";
    /// A target id names none.
    TrafficMirrorTargetNotFound { id: Box<str> } => "InvalidTrafficMirrorTargetId.NotFound",
        "The traffic mirror target ID '{id}' does not exist";
    /// A source that is no instance's, or one of an instance whose type does not mirror.
    MirrorSourceNotSupported { eni: EniId } => "NetworkInterfaceNotSupported",
        "{eni} must be attached to a supported instance.";
    /// A target that a service of the region keeps.
    MirrorTargetNotSupported { eni: EniId } => "NetworkInterfaceNotSupported",
        "{eni} must be a network interface of type interface.";
    /// A filter still has sessions.
    TrafficMirrorFilterInUse { id: TrafficMirrorFilterId, session: TrafficMirrorSessionId } => "TrafficMirrorFilterInUse",
        "Cannot delete {id}. Filter is in use by {session}";
    /// The quota of filters.
    TrafficMirrorFilterLimitExceeded => "TrafficMirrorFilterLimitExceeded",
        "The maximum number of Traffic Mirror filters has been reached.";
    /// A direction has a rule with the number.
    TrafficMirrorFilterRuleExists { number: u16, direction: &'static str, filter: TrafficMirrorFilterId } => "TrafficMirrorFilterRuleAlreadyExists",
        "The {direction} rule with rule number {number} already exists in {filter}.";
    /// The quota of rules in a filter.
    TrafficMirrorFilterRuleLimitExceeded => "TrafficMirrorFilterRuleLimitExceeded",
        "The maximum number of Traffic Mirror filter rules has been reached.";
    /// The quota of sessions.
    TrafficMirrorSessionLimitExceeded => "TrafficMirrorSessionLimitExceeded",
        "The maximum number of Traffic Mirror sessions has been reached.";
    /// The quota of sessions of a source.
    MirrorSessionsPerInterfaceExceeded { eni: EniId } => "TrafficMirrorSessionsPerInterfaceLimitExceeded",
        "The maximum number of Traffic Mirror sessions for {eni} has been reached.";
    /// The quota of sources of a target.
    MirrorSourcesPerTargetExceeded { target: TrafficMirrorTargetId } => "TrafficMirrorSourcesPerTargetLimitExceeded",
        "The maximum number of Traffic Mirror sources for {target} has been reached.";
    /// A target still has sessions.
    TrafficMirrorTargetInUse { id: TrafficMirrorTargetId, session: TrafficMirrorSessionId } => "TrafficMirrorTargetInUse",
        "Cannot delete {id}. Target is in use by {session}";
    /// The quota of targets.
    TrafficMirrorTargetLimitExceeded => "TrafficMirrorTargetLimitExceeded",
        "The maximum number of Traffic Mirror targets has been reached.";
}

impl MirroringError {
    /// The error for an id that names no resource of these.
    pub(super) fn not_found(prefix: &str, text: &str) -> Option<Self> {
        let id = text.into();
        Some(match prefix {
            "tmf" => Self::TrafficMirrorFilterNotFound { id },
            "tmfr" => Self::TrafficMirrorFilterRuleNotFound { id },
            "tms" => Self::TrafficMirrorSessionNotFound { id },
            "tmt" => Self::TrafficMirrorTargetNotFound { id },
            _ => return None,
        })
    }
}
