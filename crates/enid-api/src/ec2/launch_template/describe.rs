//! What there is to tell about launch templates.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;

use enid_control::{TemplateSelector, VersionSelector, template_selected, template_version};
use enid_model::id::LaunchTemplateId;
use enid_model::launch_template::{LaunchTemplate, LaunchTemplateVersion};

use super::{data, selector};
use crate::context::Context;
use crate::ec2::filter::Filters;
use crate::ec2::page::Page;
use crate::ec2::{Ec2, id, tag};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeLaunchTemplateVersionsRequest, DescribeLaunchTemplatesRequest,
};
use crate::generated::ec2::response::{
    self, DescribeLaunchTemplateVersionsResponse, DescribeLaunchTemplatesResponse,
};
use crate::wire::text::Text;

#[derive(Clone, Copy, PartialEq)]
enum Field {
    CreateTime,
    Name,
}

/// DescribeLaunchTemplates.
pub(in crate::ec2) async fn describe_launch_templates(
    ec2: &Ec2,
    context: &Context,
    request: DescribeLaunchTemplatesRequest,
) -> Result<DescribeLaunchTemplatesResponse, ApiError> {
    let (ids, names) = (request.launch_template_ids, request.launch_template_names);
    let named = match (ids.is_empty(), names.is_empty()) {
        (true, true) => None,
        (true, false) => Some("launchTemplateNames"),
        (false, _) => Some("launchTemplateIds"),
    };
    let (operation, token) = ("DescribeLaunchTemplates", request.next_token.as_deref());
    let page = Page::read(operation, 1..=200, request.max_results, token, named)?;
    let filters = Filters::compile(&request.filters, |name| match name {
        "create-time" => Some(Field::CreateTime),
        "launch-template-name" => Some(Field::Name),
        _ => None,
    })?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<LaunchTemplateId> = page.after()?;
    let mut selected: BTreeMap<LaunchTemplateId, &LaunchTemplate> = BTreeMap::new();
    for (id, template) in id::find(&ids, &region.launch_templates)? {
        selected.insert(id, template);
    }
    for name in names {
        let template = template_selected(&region, &TemplateSelector::Name(name))?;
        selected.insert(template.id, template);
    }
    let all = region.launch_templates.values();
    let all = all.filter(|_| named.is_none()).map(|template| &**template);
    let templates = selected.into_values().chain(all).filter(|template| {
        after.is_none_or(|after| template.id > after)
            && filters.match_resource(&template.tags, |field, test| match field {
                Field::CreateTime => test.display(template.create_time),
                Field::Name => test.text(&template.name),
            })
    });
    let (templates, next_token) = page.take(templates, |template| template.id.to_string());
    Ok(DescribeLaunchTemplatesResponse {
        launch_templates: templates.into_iter().map(answer).collect(),
        next_token,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum VersionField {
    CreateTime,
    IsDefault,
    /// A parameter by its name on the wire.
    Parameter(&'static str),
}

/// The place of a version in the list of all: by template, the newest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(LaunchTemplateId, Reverse<u64>);

impl FromStr for Place {
    /// Nobody asks why: the page says that the token is wrong.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (template, number) = text.split_once('/').ok_or(())?;
        let number = number.parse().or(Err(()))?;
        Ok(Self(template.parse().or(Err(()))?, Reverse(number)))
    }
}

/// DescribeLaunchTemplateVersions: of one template, or the default or latest ones of all.
pub(in crate::ec2) async fn describe_launch_template_versions(
    ec2: &Ec2,
    context: &Context,
    request: DescribeLaunchTemplateVersionsRequest,
) -> Result<DescribeLaunchTemplateVersionsResponse, ApiError> {
    let (operation, token) = (
        "DescribeLaunchTemplateVersions",
        request.next_token.as_deref(),
    );
    let page = Page::read(operation, 1..=200, request.max_results, token, None)?;
    let filters = Filters::compile(&request.filters, |name| {
        Some(match name {
            "create-time" => VersionField::CreateTime,
            "ebs-optimized" => VersionField::Parameter("EbsOptimized"),
            "image-id" => VersionField::Parameter("ImageId"),
            "instance-type" => VersionField::Parameter("InstanceType"),
            "is-default-version" => VersionField::IsDefault,
            _ => return None,
        })
    })?;
    let selectors = request.versions.iter().map(|text| text.parse());
    let selectors: Vec<VersionSelector> = selectors.collect::<Result<_, _>>()?;
    let bounds = (request.min_version, request.max_version);
    if !selectors.is_empty() && bounds != (None, None) {
        return Err(ApiError::invalid_combination(
            "The parameter launchTemplateVersions cannot be used with minVersion or maxVersion",
        ));
    }
    let region = ec2.control.read(&context.caller()).await?;
    let (id, name) = (request.launch_template_id, request.launch_template_name);
    let templates: Vec<&LaunchTemplate> = if id.is_none() && name.is_none() {
        let is_number = |selector: &VersionSelector| matches!(selector, VersionSelector::Number(_));
        if selectors.is_empty() || selectors.iter().any(is_number) {
            return Err(ApiError::missing_parameter("LaunchTemplateId"));
        }
        let all = region.launch_templates.values();
        all.map(|template| &**template).collect()
    } else {
        vec![template_selected(&region, &selector(id.as_deref(), name)?)?]
    };
    let (first, last) = (bound(bounds.0, 0)?, bound(bounds.1, u64::MAX)?);
    let mut all: BTreeMap<Place, (&LaunchTemplate, &LaunchTemplateVersion)> = BTreeMap::new();
    for template in templates {
        if selectors.is_empty() {
            for (number, version) in &template.versions {
                if (first..=last).contains(number) {
                    all.insert(Place(template.id, Reverse(*number)), (template, version));
                }
            }
        }
        for selector in &selectors {
            let (number, version) = template_version(template, *selector)?;
            all.insert(Place(template.id, Reverse(number)), (template, version));
        }
    }
    let after: Option<Place> = page.after()?;
    let no_tags = BTreeMap::new();
    let wanted = all.into_iter().filter(|(place, (template, version))| {
        after.is_none_or(|after| *place > after)
            && filters.match_resource(&no_tags, |field, test| match field {
                VersionField::CreateTime => test.display(version.create_time),
                VersionField::IsDefault => test.flag(place.1.0 == template.default_version),
                VersionField::Parameter(name) => {
                    if let Some(value) = version.parameters.get(name) {
                        test.text(value);
                    }
                }
            })
    });
    let key = |(Place(template, Reverse(number)), _): &(Place, _)| format!("{template}/{number}");
    let (versions, next_token) = page.take(wanted, key);
    let versions = versions.into_iter();
    let versions =
        versions.map(|(place, (template, version))| version_answer(template, place.1.0, version));
    Ok(DescribeLaunchTemplateVersionsResponse {
        launch_template_versions: versions.collect::<Result<_, _>>()?,
        next_token,
    })
}

/// An end of a range of versions.
fn bound(text: Option<String>, absent: u64) -> Result<u64, ApiError> {
    let Some(text) = text else { return Ok(absent) };
    let number = text.parse();
    number.map_err(|_malformed| enid_control::Error::TemplateVersionMalformed.into())
}

/// A template in answers.
pub(super) fn answer(template: &LaunchTemplate) -> response::LaunchTemplate {
    response::LaunchTemplate {
        launch_template_id: Some(Text::display(template.id)),
        launch_template_name: Some((&template.name).into()),
        create_time: Some(template.create_time),
        created_by: Some((&template.created_by).into()),
        default_version_number: i64::try_from(template.default_version).ok(),
        latest_version_number: i64::try_from(template.latest_version).ok(),
        tags: tag::answer(&template.tags),
    }
}

/// A version in answers.
pub(super) fn version_answer(
    template: &LaunchTemplate,
    number: u64,
    version: &LaunchTemplateVersion,
) -> Result<response::LaunchTemplateVersion, ApiError> {
    Ok(response::LaunchTemplateVersion {
        launch_template_id: Some(Text::display(template.id)),
        launch_template_name: Some((&template.name).into()),
        version_number: i64::try_from(number).ok(),
        version_description: version.description.as_deref().map(Text::from),
        create_time: Some(version.create_time),
        created_by: Some((&version.created_by).into()),
        default_version: Some(number == template.default_version),
        launch_template_data: Some(data::answer(&version.parameters)?),
    })
}
