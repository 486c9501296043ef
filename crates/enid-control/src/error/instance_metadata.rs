//! What the metadata options of instances say instead of doing their work.

// By code, then by name, as in `Error`.
errors! {
    /// Why metadata options were not changed.
    enum MetadataError
    /// A service that is switched off has no other options.
    EndpointDisabled { names: Box<str> } => "InvalidParameterCombination",
        "The parameters {names} cannot be specified when HttpEndpoint is disabled";
    /// A hop limit out of its range.
    HopLimitInvalid { limit: i32 } => "InvalidParameterValue",
        "Value ({limit}) for parameter HttpPutResponseHopLimit is invalid. Specify a number between 1 and 64.";
    /// A tag that the metadata service could not tell.
    TagKeyInvalid { keys: Box<str> } => "InvalidParameterValue",
        "{keys} is not a valid tag key. Tag keys must match pattern \
         ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name ('.', '..', '_index')";
    /// The account's defaults demand tokens.
    TokensEnforced => "UnsupportedOperation",
        "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. \
         Either launch the instance with httpTokens=required or contact your account owner to disable \
         httpTokensEnforced using the ModifyInstanceMetadataDefaults account API or the EC2 console.";
}
