//! Tags, and their forms in the requests and answers of all other resources.

use std::collections::BTreeSet;
use std::str::FromStr;

use enid_control::{TagSelector, Taggable, tagged, tagged_others, tags_of};
use enid_model::Tags;
use enid_model::id::EniId;
use enid_model::state::{RegionState, Term};

use super::Ec2;
use super::filter::{Filters, Sought};
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
    let after: Option<Place> = page.after()?;
    let region = ec2.control.read(&context.caller()).await?;
    let (filters, after) = (&filters, after.as_ref());
    let types = filters.exact(Field::ResourceType);
    let types: Option<Vec<&str>> = types.map(Iterator::collect);
    let resources = candidates(&region, filters).filter(|(resource, _)| {
        let behind = after.is_none_or(|last| *resource >= last.resource);
        let types = types.as_ref();
        behind && types.is_none_or(|types| types.contains(&resource.resource_type()))
    });
    let matching = resources.flat_map(|(resource, tags)| {
        let tags = tags.iter().filter(move |(key, _)| {
            let last = after.filter(|last| last.resource == resource);
            last.is_none_or(|last| **key > last.key)
        });
        // A filter of this operation is held against each tag, not against all of a resource.
        let tags = tags.filter(move |(key, value)| {
            filters.match_tag((key, value), |field, test| match field {
                Field::Key => test.text(key),
                Field::ResourceId => test.display(resource),
                Field::ResourceType => test.text(resource.resource_type()),
                Field::Value => test.text(value),
            })
        });
        tags.map(move |(key, value)| (resource, key, value))
    });
    let first = page.first(matching);
    let (tags, next_token) = page.take(first.into_iter(), |(id, key, _)| format!("{id} {key}"));
    let tags = tags
        .into_iter()
        .map(|(resource, key, value)| TagDescription {
            key: Some(key.into()),
            resource_id: Some(Text::display(resource)),
            resource_type: Some(resource.resource_type().into()),
            value: Some(value.into()),
        });
    Ok(DescribeTagsResponse {
        next_token,
        tags: tags.collect(),
    })
}

/// The last tag of a page.
struct Place {
    resource: Taggable,
    key: String,
}

impl FromStr for Place {
    /// Nobody asks why: the page says that the token is wrong.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // An id has no space, so that the first one ends it.
        let (id, key) = text.split_once(' ').ok_or(())?;
        let resource = Taggable::parse(id).or(Err(()))?;
        let key = key.to_owned();
        Ok(Self { resource, key })
    }
}

/// The resources whose tags can match, each once.
fn candidates<'a>(
    region: &'a RegionState,
    filters: &'a Filters<Field>,
) -> Box<dyn Iterator<Item = (Taggable, &'a Tags)> + 'a> {
    if let Some(ids) = filters.exact(Field::ResourceId) {
        // A text that is no id has no tags.
        let resources: BTreeSet<Taggable> = ids.filter_map(|id| Taggable::parse(id).ok()).collect();
        let found = resources.into_iter();
        return Box::new(found.filter_map(|resource| Some((resource, tags_of(region, resource)?))));
    }
    let mut known = filters.sought().filter_map(|sought| terms(sought));
    let Some(terms) = known.next() else {
        return Box::new(tagged(region));
    };
    let enis = terms
        .into_iter()
        .flat_map(|term| region.enis_with_term_from(term, EniId(0)));
    let enis: BTreeSet<EniId> = enis.collect();
    let enis = enis.into_iter().filter_map(|id| {
        let tags = &region.network_interfaces.get(&id)?.tags;
        Some((Taggable::NetworkInterface(id), tags))
    });
    Box::new(tagged_others(region).chain(enis))
}

/// The terms that an interface must have one of to have a tag that a filter lets through, if the
/// filter says.
fn terms(sought: Sought<'_, Field>) -> Option<Vec<Term<'_>>> {
    fn each<'a>(values: &'a [String], term: impl Fn(&'a str) -> Term<'a>) -> Vec<Term<'a>> {
        values.iter().map(|value| term(value)).collect()
    }
    match sought {
        Sought::Field(Field::Key, values) | Sought::TagKey(values) => {
            Some(each(values?, Term::TagKey))
        }
        Sought::Field(Field::Value, values) | Sought::TagValue(values) => {
            Some(each(values?, Term::TagValue))
        }
        Sought::Field(Field::ResourceId | Field::ResourceType, _) => None,
        Sought::Tag(key, Some(values)) => Some(each(values, move |value| Term::Tag(key, value))),
        Sought::Tag(key, None) => Some(vec![Term::TagKey(key)]),
    }
}
