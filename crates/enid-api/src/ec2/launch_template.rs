//! Launch templates: making, changing and using them. What there is to tell about them is in
//! [`describe`], the forms of their data in [`data`] and [`of_instance`].

pub(super) mod data;
pub(super) mod describe;
pub(super) mod of_instance;

use enid_control::{
    CreateLaunchTemplate, CreateLaunchTemplateVersion, Error, NewVersion, TemplateSelector,
    VersionKept, VersionSelector, template_selected, template_version,
};
use enid_model::id::LaunchTemplateId;

use self::data::{as_launch, filled};
use self::describe::{answer, version_answer};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateLaunchTemplateRequest, CreateLaunchTemplateVersionRequest, DeleteLaunchTemplateRequest,
    DeleteLaunchTemplateVersionsRequest, ModifyLaunchTemplateRequest, RunInstancesRequest,
};
use crate::generated::ec2::response::{
    CreateLaunchTemplateResponse, CreateLaunchTemplateVersionResponse,
    DeleteLaunchTemplateResponse, DeleteLaunchTemplateVersionsResponse,
    DeleteLaunchTemplateVersionsResponseErrorItem, DeleteLaunchTemplateVersionsResponseSuccessItem,
    ModifyLaunchTemplateResponse, ResponseError,
};
use crate::wire::params::Sent;
use crate::wire::text::Text;

/// CreateLaunchTemplate.
pub(super) async fn create_launch_template(
    ec2: &Ec2,
    context: &Context,
    request: CreateLaunchTemplateRequest,
) -> Result<CreateLaunchTemplateResponse, ApiError> {
    let data = request.launch_template_data;
    let input = CreateLaunchTemplate {
        name: request.launch_template_name,
        version: new_version(context, request.version_description, data)?,
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let template = ec2.control.create_launch_template(&caller, &input).await?;
    Ok(CreateLaunchTemplateResponse {
        launch_template: Some(answer(&template)),
    })
}

/// CreateLaunchTemplateVersion.
pub(super) async fn create_launch_template_version(
    ec2: &Ec2,
    context: &Context,
    request: CreateLaunchTemplateVersionRequest,
) -> Result<CreateLaunchTemplateVersionResponse, ApiError> {
    let source = request.source_version.as_deref();
    let data = request.launch_template_data;
    let input = CreateLaunchTemplateVersion {
        template: selector(
            request.launch_template_id.as_deref(),
            request.launch_template_name,
        )?,
        source: source.map(str::parse).transpose()?,
        version: new_version(context, request.version_description, data)?,
        client_token: request.client_token.filter(|token| !token.is_empty()),
    };
    let caller = context.caller();
    let (template, number) = ec2
        .control
        .create_launch_template_version(&caller, &input)
        .await?;
    let (_, version) = template_version(&template, VersionSelector::Number(number))?;
    Ok(CreateLaunchTemplateVersionResponse {
        launch_template_version: Some(version_answer(&template, number, version)?),
    })
}

/// A version as it is made. Its values must be readable; what they name need not be there.
fn new_version(
    context: &Context,
    description: Option<String>,
    data: Sent,
) -> Result<NewVersion, ApiError> {
    as_launch(&data.0)?;
    let partition = context.region.partition();
    Ok(NewVersion {
        description,
        created_by: format!("arn:{partition}:iam::{}:root", context.account),
        parameters: data.0,
    })
}

/// ModifyLaunchTemplate.
pub(super) async fn modify_launch_template(
    ec2: &Ec2,
    context: &Context,
    request: ModifyLaunchTemplateRequest,
) -> Result<ModifyLaunchTemplateResponse, ApiError> {
    let template = selector(
        request.launch_template_id.as_deref(),
        request.launch_template_name,
    )?;
    let version = request.default_version.as_deref();
    let version = version.map(str::parse).transpose()?;
    let token = request.client_token.filter(|token| !token.is_empty());
    let caller = context.caller();
    let template = ec2
        .control
        .modify_launch_template(&caller, &template, version, token.as_deref())
        .await?;
    Ok(ModifyLaunchTemplateResponse {
        launch_template: Some(answer(&template)),
    })
}

/// DeleteLaunchTemplate.
pub(super) async fn delete_launch_template(
    ec2: &Ec2,
    context: &Context,
    request: DeleteLaunchTemplateRequest,
) -> Result<DeleteLaunchTemplateResponse, ApiError> {
    let template = selector(
        request.launch_template_id.as_deref(),
        request.launch_template_name,
    )?;
    let caller = context.caller();
    let template = ec2
        .control
        .delete_launch_template(&caller, &template)
        .await?;
    Ok(DeleteLaunchTemplateResponse {
        launch_template: Some(answer(&template)),
    })
}

/// DeleteLaunchTemplateVersions. Versions that stay are told beside those that went.
pub(super) async fn delete_launch_template_versions(
    ec2: &Ec2,
    context: &Context,
    request: DeleteLaunchTemplateVersionsRequest,
) -> Result<DeleteLaunchTemplateVersionsResponse, ApiError> {
    let template = selector(
        request.launch_template_id.as_deref(),
        request.launch_template_name,
    )?;
    let numbers = request.versions.iter();
    let numbers = numbers.map(|text| {
        let number = text.parse();
        number.map_err(|_malformed| Error::TemplateVersionMalformed)
    });
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    let caller = context.caller();
    let deleted = ec2
        .control
        .delete_launch_template_versions(&caller, &template, &numbers)
        .await?;
    let (id, name) = (deleted.template.id, &deleted.template.name);
    let mut response = DeleteLaunchTemplateVersionsResponse::default();
    for (number, kept) in deleted.outcomes {
        let version_number = i64::try_from(number).ok();
        let Some(kept) = kept else {
            let gone = &mut response.successfully_deleted_launch_template_versions;
            gone.push(DeleteLaunchTemplateVersionsResponseSuccessItem {
                launch_template_id: Some(Text::display(id)),
                launch_template_name: Some(name.into()),
                version_number,
            });
            continue;
        };
        let (code, message) = match kept {
            VersionKept::IsDefault => (
                "unexpectedError",
                format!("Version {number} is the default version and cannot be deleted."),
            ),
            VersionKept::NotFound => (
                "launchTemplateVersionDoesNotExist",
                Error::TemplateVersionNotFound { number, id }.to_string(),
            ),
        };
        let stays = &mut response.unsuccessfully_deleted_launch_template_versions;
        stays.push(DeleteLaunchTemplateVersionsResponseErrorItem {
            launch_template_id: Some(Text::display(id)),
            launch_template_name: Some(name.into()),
            version_number,
            response_error: Some(ResponseError {
                code: Some(code.into()),
                message: Some(message.into()),
            }),
        });
    }
    Ok(response)
}

/// The template that a request names by id or by name.
fn selector(id: Option<&str>, name: Option<String>) -> Result<TemplateSelector, ApiError> {
    match (id, name) {
        (Some(id), None) => Ok(TemplateSelector::Id(id::parse(id)?)),
        (None, Some(name)) => Ok(TemplateSelector::Name(name)),
        (None, None) => Err(ApiError::missing_parameter("LaunchTemplateId")),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "The parameters launchTemplateId and launchTemplateName may not be used together",
        )),
    }
}

/// A launch with what its template says where the request itself says nothing; and the template's
/// id with the number of the version.
pub(super) async fn applied(
    ec2: &Ec2,
    context: &Context,
    mut request: RunInstancesRequest,
) -> Result<(RunInstancesRequest, Option<(LaunchTemplateId, u64)>), ApiError> {
    let Some(named) = request.launch_template.take() else {
        return Ok((request, None));
    };
    let selector = selector(
        named.launch_template_id.as_deref(),
        named.launch_template_name,
    )?;
    let version = named.version.as_deref().filter(|text| !text.is_empty());
    let version = version.map_or(Ok(VersionSelector::Default), str::parse)?;
    let region = ec2.control.read(&context.caller()).await?;
    let template = template_selected(&region, &selector)?;
    let (number, version) = template_version(template, version)?;
    let base = as_launch(&version.parameters)?;
    Ok((filled(request, base), Some((template.id, number))))
}
