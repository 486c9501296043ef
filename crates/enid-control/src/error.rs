//! What an operation can say instead of doing its work, with AWS's code and words.
//!
//! Sources of codes and words: the EC2 Developer Guide's error code pages, and answers of AWS
//! that are quoted in public issue threads.

use enid_model::id::ResourceId;

macro_rules! errors {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident: $type:ty),* $(,)? })? => $code:literal, $text:literal;
    )*) => {
        /// Why an operation was not done. Nothing has changed.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum Error {$(
            $(#[$doc])*
            #[error($text)]
            #[allow(missing_docs, reason = "the fields are what the message names")]
            $name $({ $($field: $type),* })?,
        )*}

        impl Error {
            /// AWS's error code.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self {$(
                    Self::$name { .. } => $code,
                )*}
            }
        }
    };
}

// By code, then by name. Messages are AWS's, so they start with a capital and end with a stop
// where AWS's do.
errors! {
    /// A call that would have succeeded, with the dry-run flag.
    DryRun => "DryRunOperation", "Request would have succeeded, but DryRun flag is set.";
    /// A client token was used for another request.
    IdempotentParameterMismatch => "IdempotentParameterMismatch",
        "The client token you have provided is associated with a resource that was created with different parameters";
    /// Others changed what the operation had read, again and again.
    TooManyRivals => "InternalError", "An internal error has occurred";
    /// The store has stopped.
    StoreStopped => "InternalError", "An internal error has occurred";
    /// The store's disk is full.
    StoreFull => "InsufficientStorage", "There is no space left on the disk that holds Enid's store";
    /// A client token that cannot be one.
    InvalidClientToken => "InvalidParameterValue", "The client token must be at most 64 ASCII characters";
    /// An instance id names none.
    InstanceNotFound { id: Box<str> } => "InvalidInstanceID.NotFound", "The instance ID '{id}' does not exist";
    /// A network interface id names none.
    NetworkInterfaceNotFound { id: Box<str> } => "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{id}' does not exist";
    /// A security group id names none.
    SecurityGroupNotFound { id: Box<str> } => "InvalidGroup.NotFound", "The security group '{id}' does not exist";
    /// A subnet id names none.
    SubnetNotFound { id: Box<str> } => "InvalidSubnetID.NotFound", "The subnet ID '{id}' does not exist";
    /// A VPC id names none.
    VpcNotFound { id: Box<str> } => "InvalidVpcID.NotFound", "The vpc ID '{id}' does not exist";
    /// An id of another kind names none.
    ResourceNotFound { id: Box<str> } => "InvalidID", "The ID '{id}' is not valid";
}

impl Error {
    /// The HTTP status that AWS sends with the code.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code() {
            "DryRunOperation" => 412,
            "InternalError" => 500,
            "InsufficientStorage" => 507,
            _ => 400,
        }
    }

    /// The error for an id that names no resource.
    pub(crate) fn not_found<I: ResourceId>(id: I) -> Self {
        Self::not_found_text(I::PREFIX, &id.to_string())
    }

    /// The same for a client's text, when it is a well-formed id that Enid never mints.
    #[must_use]
    pub fn not_found_text(prefix: &str, text: &str) -> Self {
        let id = text.into();
        match prefix {
            "eni" => Self::NetworkInterfaceNotFound { id },
            "i" => Self::InstanceNotFound { id },
            "sg" => Self::SecurityGroupNotFound { id },
            "subnet" => Self::SubnetNotFound { id },
            "vpc" => Self::VpcNotFound { id },
            _ => Self::ResourceNotFound { id },
        }
    }
}
