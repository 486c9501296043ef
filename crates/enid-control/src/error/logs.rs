//! What log groups, streams and their filters say instead of doing their work.

// By code, then by name, as in `Error`. AWS's JSON services name the members and constraints of
// their models: "1 validation error detected: …".
errors! {
    /// Why an operation on a log group was not done.
    enum LogsError
    /// What a model demands of a member.
    Constraint { value: Box<str>, member: Box<str>, rule: Box<str> } => "InvalidParameterException",
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {rule}";
    /// A default value stands for no dimensions.
    DefaultWithDimensions => "InvalidParameterException",
        "A default value and dimensions cannot be specified for the same metric.";
    /// A group's name that only AWS gives.
    GroupNameReserved => "InvalidParameterException", "Log groups starting with AWS/ are reserved for AWS.";
    /// A tag's key that only AWS gives.
    TagKeyReserved => "InvalidParameterException",
        "Caller may not use aws: prefix in their tag keys.";
    /// Filters with regular expressions on one group.
    RegexFiltersTooMany => "LimitExceededException",
        "The log group has the maximum number of filters with regular expressions.";
    /// The quota of groups in the region, or of filters on a group.
    LimitExceeded => "LimitExceededException", "Resource limit exceeded.";
    /// A group's name is taken.
    GroupExists => "ResourceAlreadyExistsException", "The specified log group already exists";
    /// A stream's name is taken.
    StreamExists => "ResourceAlreadyExistsException", "The specified log stream already exists";
    /// There is no such filter.
    FilterNotFound { what: &'static str } => "ResourceNotFoundException",
        "The specified {what} filter does not exist.";
    /// There is no such group.
    GroupNotFound => "ResourceNotFoundException", "The specified log group does not exist.";
    /// There is no such stream.
    StreamNotFound => "ResourceNotFoundException", "The specified log stream does not exist.";
    /// More tags than a group may have.
    TagsTooMany => "TooManyTagsException", "The maximum number of tags for a resource has been reached.";
    /// A group that shall not go, nor its streams.
    GroupProtected => "ValidationException",
        "The specified log group has deletion protection enabled and cannot be deleted.";
}
