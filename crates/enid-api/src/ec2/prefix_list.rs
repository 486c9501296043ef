//! Managed prefix lists.

use std::str::FromStr;

use enid_control::{CreatePrefixList, ModifyPrefixList, WantedEntry, version_of};
use enid_model::id::PrefixListId;
use enid_model::prefix_list::{AddressFamily, LastChange, PrefixList};
use ipnet::IpNet;

use super::filter::Filters;
use super::page::Page;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AddPrefixListEntry, CreateManagedPrefixListRequest, DeleteManagedPrefixListRequest,
    DescribeManagedPrefixListsRequest, DescribePrefixListsRequest,
    GetManagedPrefixListAssociationsRequest, GetManagedPrefixListEntriesRequest,
    ModifyManagedPrefixListRequest, RestoreManagedPrefixListVersionRequest,
};
use crate::generated::ec2::response::{
    CreateManagedPrefixListResponse, DeleteManagedPrefixListResponse,
    DescribeManagedPrefixListsResponse, DescribePrefixListsResponse,
    GetManagedPrefixListAssociationsResponse, GetManagedPrefixListEntriesResponse,
    ManagedPrefixList, ModifyManagedPrefixListResponse, PrefixListAssociation, PrefixListEntry,
    RestoreManagedPrefixListVersionResponse,
};
use crate::wire::text::Text;

/// CreateManagedPrefixList.
pub(super) async fn create_managed_prefix_list(
    ec2: &Ec2,
    context: &Context,
    request: CreateManagedPrefixListRequest,
) -> Result<CreateManagedPrefixListResponse, ApiError> {
    let input = CreatePrefixList {
        name: request.prefix_list_name,
        family: family(&request.address_family)?,
        entries_max: request.max_entries,
        entries: request.entries.into_iter().map(entry).collect(),
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let list = ec2.control.create_prefix_list(&caller, &input).await?;
    Ok(CreateManagedPrefixListResponse {
        prefix_list: Some(answer(context, &list)),
    })
}

fn family(text: &str) -> Result<AddressFamily, ApiError> {
    match text {
        "IPv4" => Ok(AddressFamily::Ipv4),
        "IPv6" => Ok(AddressFamily::Ipv6),
        other => {
            let hint = "Expecting IPv4 or IPv6.";
            Err(ApiError::invalid_parameter_value(
                other,
                "AddressFamily",
                hint,
            ))
        }
    }
}

fn entry(entry: AddPrefixListEntry) -> WantedEntry {
    WantedEntry {
        cidr: entry.cidr,
        description: entry.description,
    }
}

/// ModifyManagedPrefixList.
pub(super) async fn modify_managed_prefix_list(
    ec2: &Ec2,
    context: &Context,
    request: ModifyManagedPrefixListRequest,
) -> Result<ModifyManagedPrefixListResponse, ApiError> {
    let list = id::parse(&request.prefix_list_id)?;
    let input = ModifyPrefixList {
        current_version: request.current_version,
        name: request.prefix_list_name,
        add: request.add_entries.into_iter().map(entry).collect(),
        remove: request
            .remove_entries
            .into_iter()
            .map(|entry| entry.cidr)
            .collect(),
        entries_max: request.max_entries,
    };
    let caller = context.caller();
    let list = ec2
        .control
        .modify_prefix_list(&caller, list, &input)
        .await?;
    Ok(ModifyManagedPrefixListResponse {
        prefix_list: Some(answer(context, &list)),
    })
}

/// RestoreManagedPrefixListVersion.
pub(super) async fn restore_managed_prefix_list_version(
    ec2: &Ec2,
    context: &Context,
    request: RestoreManagedPrefixListVersionRequest,
) -> Result<RestoreManagedPrefixListVersionResponse, ApiError> {
    let list = id::parse(&request.prefix_list_id)?;
    let (previous, current) = (request.previous_version, request.current_version);
    let caller = context.caller();
    let list = ec2
        .control
        .restore_prefix_list(&caller, list, previous, current)
        .await?;
    Ok(RestoreManagedPrefixListVersionResponse {
        prefix_list: Some(answer(context, &list)),
    })
}

/// DeleteManagedPrefixList.
pub(super) async fn delete_managed_prefix_list(
    ec2: &Ec2,
    context: &Context,
    request: DeleteManagedPrefixListRequest,
) -> Result<DeleteManagedPrefixListResponse, ApiError> {
    let list = id::parse(&request.prefix_list_id)?;
    let caller = context.caller();
    let list = ec2.control.delete_prefix_list(&caller, list).await?;
    Ok(DeleteManagedPrefixListResponse {
        prefix_list: Some(ManagedPrefixList {
            state: Some("delete-complete".into()),
            ..answer(context, &list)
        }),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Id,
    Name,
    OwnerId,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "owner-id" => Field::OwnerId,
        "prefix-list-id" => Field::Id,
        "prefix-list-name" => Field::Name,
        _ => return None,
    })
}

/// DescribeManagedPrefixLists.
pub(super) async fn describe_managed_prefix_lists(
    ec2: &Ec2,
    context: &Context,
    request: DescribeManagedPrefixListsRequest,
) -> Result<DescribeManagedPrefixListsResponse, ApiError> {
    let DescribeManagedPrefixListsRequest {
        filters,
        max_results,
        next_token,
        prefix_list_ids,
    } = request;
    let ids = (!prefix_list_ids.is_empty()).then_some("prefixListIds");
    let (operation, token) = ("DescribeManagedPrefixLists", next_token.as_deref());
    let page = Page::read(operation, 1..=100, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<PrefixListId> = page.after()?;
    let wanted = id::find(&prefix_list_ids, &region.prefix_lists)?;
    let wanted = wanted.into_values();
    let all = region.prefix_lists.values().filter(|_| ids.is_none());
    let lists = wanted.chain(all).filter(|list| {
        after.is_none_or(|after| list.id > after)
            && filters.match_resource(&list.tags, |field, test| match field {
                Field::Id => test.display(list.id),
                Field::Name => test.text(&list.name),
                Field::OwnerId => test.display(context.account),
            })
    });
    let (lists, next_token) = page.take(lists, |list| list.id.to_string());
    let lists = lists.into_iter().map(|list| answer(context, list));
    Ok(DescribeManagedPrefixListsResponse {
        next_token,
        prefix_lists: lists.collect(),
    })
}

/// DescribePrefixLists: AWS's own lists, of which there are none.
pub(super) async fn describe_prefix_lists(
    ec2: &Ec2,
    context: &Context,
    request: DescribePrefixListsRequest,
) -> Result<DescribePrefixListsResponse, ApiError> {
    let ids = request.prefix_list_ids;
    let named = (!ids.is_empty()).then_some("prefixListIds");
    let (operation, token) = ("DescribePrefixLists", request.next_token.as_deref());
    Page::read(operation, 1..=100, request.max_results, token, named)?;
    Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    // A client's own list can be named here, but this operation does not tell about it.
    id::find(&ids, &region.prefix_lists)?;
    Ok(DescribePrefixListsResponse {
        next_token: None,
        prefix_lists: Vec::new(),
    })
}

/// GetManagedPrefixListEntries.
pub(super) async fn get_managed_prefix_list_entries(
    ec2: &Ec2,
    context: &Context,
    request: GetManagedPrefixListEntriesRequest,
) -> Result<GetManagedPrefixListEntriesResponse, ApiError> {
    let (operation, token) = ("GetManagedPrefixListEntries", request.next_token.as_deref());
    let page = Page::read(operation, 1..=100, request.max_results, token, None)?;
    let after: Option<IpNet> = page.after()?;
    let region = ec2.control.read(&context.caller()).await?;
    let list = id::find(&[request.prefix_list_id], &region.prefix_lists)?;
    let entries = match (list.into_values().next(), request.target_version) {
        (None, _) => &[],
        (Some(list), None) => list.entries(),
        (Some(list), Some(version)) => version_of(list, version)?,
    };
    let entries = entries.iter();
    let entries = entries.filter(|entry| after.is_none_or(|after| entry.cidr > after));
    let (entries, next_token) = page.take(entries, |entry| entry.cidr.to_string());
    let entries = entries.into_iter().map(|entry| PrefixListEntry {
        cidr: Some(Text::display(entry.cidr)),
        description: entry.description.as_deref().map(Text::from),
    });
    Ok(GetManagedPrefixListEntriesResponse {
        entries: entries.collect(),
        next_token,
    })
}

/// The id of whatever names a list; they are told in the order of their texts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Associated(String);

impl FromStr for Associated {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// GetManagedPrefixListAssociations.
pub(super) async fn get_managed_prefix_list_associations(
    ec2: &Ec2,
    context: &Context,
    request: GetManagedPrefixListAssociationsRequest,
) -> Result<GetManagedPrefixListAssociationsResponse, ApiError> {
    let (operation, token) = (
        "GetManagedPrefixListAssociations",
        request.next_token.as_deref(),
    );
    let page = Page::read(operation, 5..=255, request.max_results, token, None)?;
    let after: Option<Associated> = page.after()?;
    let region = ec2.control.read(&context.caller()).await?;
    let found = id::find(&[request.prefix_list_id], &region.prefix_lists)?;
    let mut all: Vec<Associated> = Vec::new();
    for list in found.into_keys() {
        let groups = region.groups_naming_prefix_list(list);
        all.extend(groups.map(|group| Associated(group.to_string())));
        let tables = region.tables_naming_prefix_list(list);
        all.extend(tables.map(|table| Associated(table.to_string())));
    }
    all.sort_unstable();
    let rest = all.into_iter();
    let rest = rest.filter(|resource| after.as_ref().is_none_or(|after| resource > after));
    let (page, next_token) = page.take(rest, |resource| resource.0.clone());
    let associations = page.into_iter().map(|resource| PrefixListAssociation {
        resource_id: Some(Text::from(resource.0)),
        resource_owner: Some(Text::display(context.account)),
    });
    Ok(GetManagedPrefixListAssociationsResponse {
        prefix_list_associations: associations.collect(),
        next_token,
    })
}

fn answer(context: &Context, list: &PrefixList) -> ManagedPrefixList {
    let state = match list.change {
        LastChange::Created => "create-complete",
        LastChange::Modified => "modify-complete",
        LastChange::Restored => "restore-complete",
    };
    let family = match list.family {
        AddressFamily::Ipv4 => "IPv4",
        AddressFamily::Ipv6 => "IPv6",
    };
    ManagedPrefixList {
        prefix_list_id: Some(Text::display(list.id)),
        address_family: Some(family.into()),
        state: Some(state.into()),
        prefix_list_arn: Some(context.arn("prefix-list", list.id)),
        prefix_list_name: Some((&list.name).into()),
        max_entries: i32::try_from(list.entries_max).ok(),
        version: i64::try_from(list.version).ok(),
        tags: tag::answer(&list.tags),
        owner_id: Some(Text::display(context.account)),
    }
}
