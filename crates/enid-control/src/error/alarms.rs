//! What alarms say instead of doing their work.

// By code, then by name, as in `Error`.
errors! {
    /// Why an operation on an alarm was not done.
    enum AlarmError
    /// A name that AWS does not permit.
    Name => "ValidationError", "The alarm name must have 1 to 255 characters, none of them a control character.";
    /// A rule that cannot be read, or names what is not there.
    Rule { why: Box<str> } => "ValidationError", "Error in AlarmRule: {why}";
    /// An action of another region.
    ActionRegion { region: Box<str>, own: &'static str } => "ValidationError",
        "Invalid region {region} specified. Only {own} is supported.";
    /// An action of EC2 needs an instance, which only the dimension of a single metric names.
    ActionInstance { action: Box<str> } => "ValidationError",
        "The action {action} needs an alarm on one metric that has the dimension InstanceId.";
    /// Something that AWS does and Enid does not, or nobody.
    ActionNotImplemented { action: Box<str> } => "UnsupportedOperation", "Enid does not implement the action {action}.";
    /// Too many actions for one state.
    TooManyActions { member: &'static str } => "ValidationError",
        "The collection {member} must not have a size greater than 5.";
    /// A suppressor that is not there.
    NoSuppressor { name: Box<str> } => "ValidationError", "ActionsSuppressor {name} is not an existing alarm.";
    /// A suppressor without its periods, or the reverse.
    SuppressorPeriods => "ValidationError",
        "ActionsSuppressor, ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must be specified together.";
    /// An alarm that another one's rule names.
    IsChild { name: Box<str>, parent: Box<str> } => "ValidationError",
        "The alarm {name} cannot be deleted: the composite alarm {parent} refers to it.";
    /// An alarm of a name is of the other kind.
    OtherKind => "ValidationError", "An alarm of this name exists and is of another type.";
    /// More tags than an alarm may have, or one that it may not.
    Tags => "InvalidParameterValue", "An alarm has at most 50 tags, none of whose keys starts with aws:.";
    /// The quota of alarms in the region.
    TooMany => "LimitExceeded", "The maximum limit for alarms has been reached.";
    /// More detectors than a region may have.
    TooManyDetectors => "LimitExceededException", "The maximum limit for anomaly detectors has been reached.";
    /// There are no such alarms.
    NotFound { names: Box<str> } => "ResourceNotFound", "Alarms not found: {names}";
    /// There is no detector that learns this.
    DetectorNotFound => "ResourceNotFoundException", "The anomaly detector does not exist.";
    /// There is no alarm of this ARN.
    ArnNotFound { arn: Box<str> } => "ResourceNotFoundException", "The resource {arn} does not exist.";
}
