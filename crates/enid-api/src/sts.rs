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

/// A key with a policy is a user's, any other one its account's root user's.
fn caller_identity(context: &Context) -> GetCallerIdentityResponse {
    let partition = context.region.partition();
    let account = Text::display(context.account);
    let (user_id, arn) = match &context.permissions {
        Some(permissions) => {
            let user = &permissions.user;
            (Text::from(user.id.as_str()), Text::from(user.arn.as_str()))
        }
        None => {
            let arn = format_args!("arn:{partition}:iam::{account}:root");
            (account.clone(), Text::display(arn))
        }
    };
    GetCallerIdentityResponse {
        user_id: Some(user_id),
        account: Some(account),
        arn: Some(arn),
    }
}
