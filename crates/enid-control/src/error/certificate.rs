//! What certificates say instead of being imported or deleted.

// By code, then by name, as in `Error`.
// Source of words: the ACM User Guide, "Troubleshoot certificate import problems".
errors! {
    /// Why an operation of ACM was not done.
    enum CertificateError
    /// The text is no ARN of a certificate.
    MalformedArn { arn: Box<str> } => "InvalidArnException", "Invalid ARN: {arn}";
    /// A tag whose key is none that it may have.
    Tag { why: Box<str> } => "InvalidTagException", "{why}";
    /// The quota of imported certificates in the region.
    LimitExceeded => "LimitExceededException", "The quota of imported certificates has been reached.";
    /// A listener has it.
    InUse { arn: Box<str>, account: Box<str> } => "ResourceInUseException",
        "Certificate {arn} in account {account} is in use.";
    /// There is no such certificate.
    NotFound { arn: Box<str> } => "ResourceNotFoundException", "Could not find certificate {arn}.";
    /// More tags than a certificate may have.
    TooManyTags => "TooManyTagsException", "The certificate has too many tags.";
    /// What cannot be imported.
    Import { why: Box<str> } => "ValidationException", "{why}";
}

impl CertificateError {
    /// What cannot be imported.
    pub fn import(why: impl Into<Box<str>>) -> Self {
        Self::Import { why: why.into() }
    }
}
