//! What dashboards say instead of doing their work.

// By code, then by name, as in `Error`.
errors! {
    /// Why an operation on a dashboard was not done.
    enum DashboardError
    /// A name with characters that AWS does not permit.
    NameCharacters => "InvalidParameterInput",
        "The value for field DashboardName contains invalid characters. It can only contain alphanumerics, dash (-) and underscore (_).";
    /// A name that is too long, or none.
    NameLength => "InvalidParameterInput", "The value for field DashboardName must have 1 to 255 characters.";
    /// More dashboards than an account may have.
    TooMany => "LimitExceeded", "The maximum limit for dashboards has been reached.";
    /// There are no such dashboards.
    NotFound { names: Box<str> } => "ResourceNotFound", "Dashboard {names} does not exist";
}
