//! STS: who is calling.

use crate::context::Context;
use crate::error::ApiError;
use crate::generated::sts::operations::{Request, Response};
use crate::generated::sts::response::GetCallerIdentityResponse;
use crate::wire::text::Text;

/// The operations of STS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sts;

impl Sts {
    /// Carries out a request.
    pub fn call(&self, context: &Context, request: Request) -> Result<Response, ApiError> {
        match request {
            Request::GetCallerIdentity(_) => Ok(caller_identity(context).into()),
        }
    }
}

/// Every access key is one of its account's root user.
fn caller_identity(context: &Context) -> GetCallerIdentityResponse {
    let partition = context.region.partition();
    let account = Text::display(context.account);
    GetCallerIdentityResponse {
        user_id: Some(account.clone()),
        account: Some(account.clone()),
        arn: Some(Text::display(format_args!(
            "arn:{partition}:iam::{account}:root"
        ))),
    }
}
