//! What topics, subscriptions and messages say instead of doing their work.

// By code, then by name, as in `Error`. Most of what SNS refuses is an InvalidParameter whose message
// names the parameter, and at times a reason.
errors! {
    /// Why an operation of SNS was not done.
    enum NotificationError
    /// Other accounts have no access: topics have AWS's default policy, and no other.
    NotAuthorized { principal: Box<str>, action: &'static str, arn: Box<str> } => "AuthorizationError",
        "User: {principal} is not authorized to perform: SNS:{action} on resource: {arn} because no resource-based policy allows the SNS:{action} action";
    /// A subscription that only a signed request ends.
    UnsubscribeNeedsAuthentication { arn: Box<str> } => "AuthorizationError",
        "Unsubscribing {arn} requires an authenticated request";
    /// The quota of filter policies.
    FilterPolicyLimitExceeded => "FilterPolicyLimitExceeded",
        "Filter policy limit exceeded for topic";
    /// A parameter whose value is none that it may have.
    Invalid { what: Box<str> } => "InvalidParameter", "Invalid parameter: {what}";
    /// A text that no token of a confirmation is.
    MalformedToken => "InvalidParameter", "Invalid token";
    /// There is no such subscription.
    SubscriptionNotFound => "NotFound", "Subscription does not exist";
    /// There is no such topic.
    TopicNotFound => "NotFound", "Topic does not exist";
    /// There is no such topic to have tags.
    ResourceNotFound => "ResourceNotFound", "Resource does not exist";
    /// The quota of subscriptions that wait for their confirmation.
    SubscriptionLimitExceeded => "SubscriptionLimitExceeded",
        "The maximum number of subscriptions pending confirmation has been reached";
    /// More tags than a topic may have.
    TagLimitExceeded => "TagLimitExceeded",
        "Could not complete request: tag quota of per resource exceeded";
    /// The quota of topics in the region.
    TopicLimitExceeded => "TopicLimitExceeded", "Topic limit exceeded";
}

impl NotificationError {
    /// A parameter whose value is none that it may have; the words may give a reason.
    pub fn invalid(what: impl Into<Box<str>>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// The same for a member of the map of attributes that a create takes.
    #[must_use]
    pub fn in_attributes(self) -> Self {
        match self {
            Self::Invalid { what } => Self::invalid(format!("Attributes Reason: {what}")),
            other => other,
        }
    }
}
