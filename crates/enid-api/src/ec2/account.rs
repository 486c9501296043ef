//! Attributes of the account.

use enid_control::account;

use super::Ec2;
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeAccountAttributesRequest;
use crate::generated::ec2::response::{
    AccountAttribute, AccountAttributeValue, DescribeAccountAttributesResponse,
};

/// DescribeAccountAttributes.
pub(super) async fn describe_account_attributes(
    ec2: &Ec2,
    context: &Context,
    request: DescribeAccountAttributesRequest,
) -> Result<DescribeAccountAttributesResponse, ApiError> {
    let names = request.attribute_names;
    let region = ec2.control.read(&context.caller()).await?;
    let all = account::attributes(&region, ec2.control.quotas());
    let unknown = |name: &&String| !all.iter().any(|(known, _)| known == name);
    if let Some(name) = names.iter().find(unknown) {
        let hint = "There is no such account attribute.";
        return Err(ApiError::invalid_parameter_value(
            name,
            "AttributeName",
            hint,
        ));
    }
    let asked = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let attributes = all
        .into_iter()
        .filter(|(name, _)| asked(name))
        .map(|(name, value)| AccountAttribute {
            attribute_name: Some(name.into()),
            attribute_values: vec![AccountAttributeValue {
                attribute_value: Some(value.into()),
            }],
        });
    Ok(DescribeAccountAttributesResponse {
        account_attributes: attributes.collect(),
    })
}
