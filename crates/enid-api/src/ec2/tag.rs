//! Tags, and their forms in the requests and answers of all other resources.

use std::collections::BTreeSet;

use enid_control::{TagSelector, Taggable, tagged, tags_of};
use enid_model::Tags;
use enid_model::state::RegionState;

use super::Ec2;
use super::filter::Filters;
use super::page::{self, Page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    self, CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest,
};
use crate::generated::ec2::response::{
    CreateTagsResponse, DeleteTagsResponse, DescribeTagsResponse, Tag, TagDescription,
};
use crate::wire::text::Text;

/// The tags of a resource in its answer.
pub(super) fn answer(tags: &Tags) -> Vec<Tag> {
    let tags = tags.iter().map(|(key, value)| Tag {
        key: Some(key.into()),
        value: Some(value.into()),
    });
    tags.collect()
}

/// The tags that a create asks for.
pub(super) fn specifications(
    specifications: Vec<request::TagSpecification>,
) -> Vec<enid_control::TagSpecification> {
    let specifications = specifications.into_iter();
    let specifications = specifications.map(|specification| enid_control::TagSpecification {
        resource_type: specification.resource_type,
        tags: specification.tags.into_iter().map(tag).collect(),
    });
    specifications.collect()
}

/// A tag without a value has an empty one.
fn tag(tag: request::Tag) -> enid_control::Tag {
    enid_control::Tag {
        key: tag.key.unwrap_or_default(),
        value: tag.value.unwrap_or_default(),
    }
}

fn resources(texts: &[String]) -> Result<Vec<Taggable>, ApiError> {
    let parsed: Result<_, enid_control::Error> =
        texts.iter().map(|text| Taggable::parse(text)).collect();
    Ok(parsed?)
}

/// CreateTags.
pub(super) async fn create_tags(
    ec2: &Ec2,
    context: &Context,
    request: CreateTagsRequest,
) -> Result<CreateTagsResponse, ApiError> {
    let resources = resources(&request.resources)?;
    let tags: Vec<_> = request.tags.into_iter().map(tag).collect();
    let caller = context.caller();
    ec2.control.create_tags(&caller, &resources, &tags).await?;
    Ok(CreateTagsResponse {})
}

/// DeleteTags.
pub(super) async fn delete_tags(
    ec2: &Ec2,
    context: &Context,
    request: DeleteTagsRequest,
) -> Result<DeleteTagsResponse, ApiError> {
    let resources = resources(&request.resources)?;
    let selectors = request.tags.into_iter().map(|tag| TagSelector {
        key: tag.key.unwrap_or_default(),
        value: tag.value,
    });
    let selectors: Vec<_> = selectors.collect();
    let caller = context.caller();
    ec2.control
        .delete_tags(&caller, &resources, &selectors)
        .await?;
    Ok(DeleteTagsResponse {})
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Key,
    ResourceId,
    ResourceType,
    Value,
}

/// DescribeTags: by resource, then by key.
pub(super) async fn describe_tags(
    ec2: &Ec2,
    context: &Context,
    request: DescribeTagsRequest,
) -> Result<DescribeTagsResponse, ApiError> {
    let DescribeTagsRequest {
        filters,
        max_results,
        next_token,
    } = request;
    let (operation, token) = ("DescribeTags", next_token.as_deref());
    let page = Page::read(operation, page::USUAL, max_results, token, None)?;
    let filters = Filters::compile(&filters, |name| {
        Some(match name {
            "key" => Field::Key,
            "resource-id" => Field::ResourceId,
            "resource-type" => Field::ResourceType,
            "value" => Field::Value,
            _ => return None,
        })
    })?;
    let region = ec2.control.read(&context.caller()).await?;
    let mut all: Vec<(String, Taggable, &String, &String)> = Vec::new();
    for (resource, tags) in candidates(&region, &filters) {
        let id = resource.to_string();
        for (key, value) in tags {
            // A filter of this operation is held against each tag, not against all of a resource.
            let own = Tags::from([(key.clone(), value.clone())]);
            let wanted = filters.match_resource(&own, |field, test| match field {
                Field::Key => test.text(key),
                Field::ResourceId => test.text(&id),
                Field::ResourceType => test.text(resource.resource_type()),
                Field::Value => test.text(value),
            });
            if wanted {
                all.push((id.clone(), resource, key, value));
            }
        }
    }
    all.sort_unstable_by(|a, b| (&a.0, a.2).cmp(&(&b.0, b.2)));
    // An id has no space, so that the first one ends it.
    let place = |(id, _, key, _): &(String, Taggable, &String, &String)| format!("{id} {key}");
    let after: Option<String> = page.after()?;
    let after = after.as_deref().and_then(|after| after.split_once(' '));
    let rest = all.into_iter().filter(|(id, _, key, _)| {
        after.is_none_or(|(last_id, last_key)| (id.as_str(), key.as_str()) > (last_id, last_key))
    });
    let (tags, next_token) = page.take(rest, place);
    let tags = tags
        .into_iter()
        .map(|(id, resource, key, value)| TagDescription {
            key: Some(key.into()),
            resource_id: Some(Text::from(id)),
            resource_type: Some(resource.resource_type().into()),
            value: Some(value.into()),
        });
    Ok(DescribeTagsResponse {
        next_token,
        tags: tags.collect(),
    })
}

/// The resources whose tags can match, each once.
fn candidates<'a>(
    region: &'a RegionState,
    filters: &Filters<Field>,
) -> Box<dyn Iterator<Item = (Taggable, &'a Tags)> + 'a> {
    let Some(ids) = filters.exact(Field::ResourceId) else {
        return Box::new(tagged(region));
    };
    // A text that is no id has no tags.
    let resources: BTreeSet<Taggable> = ids.filter_map(|id| Taggable::parse(id).ok()).collect();
    let found = resources.into_iter();
    Box::new(found.filter_map(|resource| Some((resource, tags_of(region, resource)?))))
}
