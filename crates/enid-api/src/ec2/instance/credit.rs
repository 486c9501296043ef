//! How instances that can burst pay for it: recorded, and told as it was asked for.

use enid_control::cpu_credits;
use enid_model::id::InstanceId;
use enid_model::instance::Instance;

use super::describe::candidates;
use crate::context::Context;
use crate::ec2::filter::Filters;
use crate::ec2::page::{Page, USUAL};
use crate::ec2::{Ec2, id};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeIamInstanceProfileAssociationsRequest, DescribeInstanceCreditSpecificationsRequest,
    ModifyInstanceCreditSpecificationRequest,
};
use crate::generated::ec2::response::{
    DescribeIamInstanceProfileAssociationsResponse, DescribeInstanceCreditSpecificationsResponse,
    InstanceCreditSpecification, ModifyInstanceCreditSpecificationResponse,
    SuccessfulInstanceCreditSpecificationItem, UnsuccessfulInstanceCreditSpecificationItem,
    UnsuccessfulInstanceCreditSpecificationItemError,
};
use crate::wire::text::Text;

/// DescribeInstanceCreditSpecifications: of named instances, or of all that pay for more than they
/// have earned.
pub(in crate::ec2) async fn describe_instance_credit_specifications(
    ec2: &Ec2,
    context: &Context,
    request: DescribeInstanceCreditSpecificationsRequest,
) -> Result<DescribeInstanceCreditSpecificationsResponse, ApiError> {
    let filters = Filters::compile(&request.filters, |name| {
        (name == "instance-id").then_some(())
    })?;
    let ids = &request.instance_ids;
    let page = Page::read(
        "DescribeInstanceCreditSpecifications",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("instanceIds"),
    )?;
    let region = ec2.control.read(&context.caller()).await?;
    let found = candidates(ec2, &region, ids, page.after()?)?;
    let cannot = found.iter().find(|found| cpu_credits(found).is_none());
    if let (Some(cannot), false) = (cannot, ids.is_empty()) {
        return Err(not_burstable(cannot.id).into());
    }
    let wanted = found.into_iter().filter(|instance| {
        let told = !ids.is_empty() || cpu_credits(instance) == Some("unlimited");
        told && filters.match_resource(&instance.tags, |(), test| test.display(instance.id))
    });
    let (instances, next_token) = page.take(wanted, |instance| instance.id.to_string());
    let answer = |instance: &Instance| InstanceCreditSpecification {
        instance_id: Some(Text::display(instance.id)),
        cpu_credits: cpu_credits(instance).map(Text::from),
    };
    Ok(DescribeInstanceCreditSpecificationsResponse {
        instance_credit_specifications: instances.into_iter().map(|one| answer(one)).collect(),
        next_token,
    })
}

/// ModifyInstanceCreditSpecification. Each instance succeeds or fails for itself.
pub(in crate::ec2) async fn modify_instance_credit_specification(
    ec2: &Ec2,
    context: &Context,
    request: ModifyInstanceCreditSpecificationRequest,
) -> Result<ModifyInstanceCreditSpecificationResponse, ApiError> {
    let mut response = ModifyInstanceCreditSpecificationResponse::default();
    let all = request.instance_credit_specifications;
    if all.is_empty() {
        return Err(ApiError::missing_parameter("InstanceCreditSpecification"));
    }
    let wanted = all.into_iter().map(|one| {
        let credits = one.cpu_credits;
        let credits = credits.ok_or_else(|| ApiError::missing_parameter("CpuCredits"))?;
        Ok((id::parse(&one.instance_id)?, credits))
    });
    let wanted: Vec<(InstanceId, String)> = wanted.collect::<Result<_, ApiError>>()?;
    let (caller, token) = (context.caller(), request.client_token.as_deref());
    let outcomes = ec2.control.set_cpu_credits(&caller, token, &wanted).await?;
    for (id, outcome) in outcomes {
        let instance_id = Some(Text::display(id));
        let successful = &mut response.successful_instance_credit_specifications;
        let unsuccessful = &mut response.unsuccessful_instance_credit_specifications;
        match outcome {
            Ok(()) => successful.push(SuccessfulInstanceCreditSpecificationItem { instance_id }),
            Err(error) => unsuccessful.push(UnsuccessfulInstanceCreditSpecificationItem {
                instance_id,
                error: Some(UnsuccessfulInstanceCreditSpecificationItemError {
                    code: Some(error.code().into()),
                    message: Some(Text::display(error)),
                }),
            }),
        }
    }
    Ok(response)
}

/// DescribeIamInstanceProfileAssociations: there are none.
pub(in crate::ec2) async fn describe_iam_instance_profile_associations(
    _ec2: &Ec2,
    _context: &Context,
    request: DescribeIamInstanceProfileAssociationsRequest,
) -> Result<DescribeIamInstanceProfileAssociationsResponse, ApiError> {
    Filters::compile(&request.filters, |name| {
        matches!(name, "instance-id" | "state").then_some(())
    })?;
    let ids = &request.association_ids;
    let page = Page::read(
        "DescribeIamInstanceProfileAssociations",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("associationIds"),
    )?;
    let _: Option<String> = page.after()?;
    if let Some(id) = ids.first() {
        let short: String = id.chars().take(100).collect();
        let message = format!("An invalid association-id of '{short}' was given");
        return Err(ApiError::new("NoSuchAssociation", 400, message));
    }
    Ok(DescribeIamInstanceProfileAssociationsResponse {
        iam_instance_profile_associations: Vec::new(),
        next_token: None,
    })
}

fn not_burstable(id: InstanceId) -> enid_control::Error {
    enid_control::ComputingError::NotBurstable { id }.into()
}
