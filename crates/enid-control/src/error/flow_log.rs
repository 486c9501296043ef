//! What flow logs say.

use enid_model::id::FlowLogId;

// By code, then by name, as in `Error`.
errors! {
    /// Why a flow log was not made or found.
    enum FlowLogError
    /// The resource has one that goes to the same place.
    Exists => "FlowLogAlreadyExists",
        "Error. There is an existing Flow Log with the same configuration and log destination.";
    /// The quota of flow logs of a resource.
    LimitExceeded => "FlowLogsLimitExceeded", "You have reached the maximum number of flow logs for this resource.";
    /// Flow log ids that name none.
    NotFound { count: usize, ids: Box<str> } => "InvalidFlowLogId.NotFound",
        "These flow log ids in the input list are not found: [TotalCount: {count}] {ids}";
    /// An interval that is neither 60 nor 600.
    Interval => "InvalidParameter", "Invalid Flow Log Max Aggregation Interval";
    /// A log group needs a role.
    RoleMissing => "InvalidParameter",
        "DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.";
    /// A bucket takes none.
    RoleForBucket => "InvalidParameter", "DeliverLogsPermissionArn must be empty if LogDestinationType is s3.";
    /// Neither a log group nor a destination.
    DestinationMissing => "InvalidParameter",
        "LogDestination can't be empty if LogGroupName is not provided.";
    /// A log group's name for another type of destination.
    GroupForBucket => "InvalidParameter",
        "LogDestination type must be cloud-watch-logs if LogGroupName is provided.";
    /// Both a log group's name and a destination.
    DestinationTwice => "InvalidParameter", "Please only provide LogGroupName or only provide LogDestination.";
    /// A destination that is none.
    DestinationInvalid { text: Box<str> } => "InvalidParameter", "LogDestination: {text} is invalid";
    /// A destination's options for a log group.
    OptionsForGroup => "InvalidParameter",
        "DestinationOptions can only be specified if LogDestinationType is s3.";
    /// Not a list of fields.
    FormatInvalid { text: Box<str> } => "InvalidParameter", "Invalid LogFormat: {text}";
    /// Fields that there are not.
    FieldsUnknown { fields: Box<str> } => "InvalidParameter", "Unknown fields provided: {fields}";
    /// A bucket that there is not.
    BucketMissing { bucket: Box<str> } => "LogDestinationNotFound", "LogDestination: {bucket} does not exist";
    /// A bucket that takes nothing from here.
    BucketDenied { bucket: Box<str> } => "LogDestinationPermissionIssue",
        "Access Denied for LogDestination: {bucket}. Please check LogDestination permission";
}

impl FlowLogError {
    /// The error for ids that name no flow log.
    pub(crate) fn not_found(ids: &[FlowLogId]) -> Self {
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Self::NotFound {
            count: ids.len(),
            ids: texts.join(", ").into(),
        }
    }
}
