//! DHCP option sets.

use enid_control::{AMAZON_PROVIDED_DNS, CreateDhcpOptions};
use enid_model::dhcp_options::{DhcpOptions, NameServer};
use enid_model::id::DhcpOptionsId;

use super::filter::Filters;
use super::page::{self, Page};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssociateDhcpOptionsRequest, CreateDhcpOptionsRequest, DeleteDhcpOptionsRequest,
    DescribeDhcpOptionsRequest,
};
use crate::generated::ec2::response::{
    self, AssociateDhcpOptionsResponse, AttributeValue, CreateDhcpOptionsResponse,
    DeleteDhcpOptionsResponse, DescribeDhcpOptionsResponse, DhcpConfiguration,
};
use crate::wire::text::Text;

/// CreateDhcpOptions.
pub(super) async fn create_dhcp_options(
    ec2: &Ec2,
    context: &Context,
    request: CreateDhcpOptionsRequest,
) -> Result<CreateDhcpOptionsResponse, ApiError> {
    let options = request.dhcp_configurations.into_iter();
    let options = options.map(|option| (option.key.unwrap_or_default(), option.values));
    let input = CreateDhcpOptions {
        options: options.collect(),
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let options = ec2.control.create_dhcp_options(&caller, &input).await?;
    Ok(CreateDhcpOptionsResponse {
        dhcp_options: Some(answer(context, &options)),
    })
}

/// DeleteDhcpOptions.
pub(super) async fn delete_dhcp_options(
    ec2: &Ec2,
    context: &Context,
    request: DeleteDhcpOptionsRequest,
) -> Result<DeleteDhcpOptionsResponse, ApiError> {
    let options = id::parse(&request.dhcp_options_id)?;
    let caller = context.caller();
    ec2.control.delete_dhcp_options(&caller, options).await?;
    Ok(DeleteDhcpOptionsResponse {})
}

/// AssociateDhcpOptions.
pub(super) async fn associate_dhcp_options(
    ec2: &Ec2,
    context: &Context,
    request: AssociateDhcpOptionsRequest,
) -> Result<AssociateDhcpOptionsResponse, ApiError> {
    let vpc = id::parse(&request.vpc_id)?;
    let options = Some(&*request.dhcp_options_id).filter(|id| *id != NO_OPTIONS);
    let options = id::parse_optional(options)?;
    let caller = context.caller();
    ec2.control
        .associate_dhcp_options(&caller, vpc, options)
        .await?;
    Ok(AssociateDhcpOptionsResponse {})
}

/// What stands for no option set.
const NO_OPTIONS: &str = "default";

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Id,
    Key,
    OwnerId,
    Value,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "dhcp-options-id" => Field::Id,
        "key" => Field::Key,
        "owner-id" => Field::OwnerId,
        "value" => Field::Value,
        _ => return None,
    })
}

/// DescribeDhcpOptions.
pub(super) async fn describe_dhcp_options(
    ec2: &Ec2,
    context: &Context,
    request: DescribeDhcpOptionsRequest,
) -> Result<DescribeDhcpOptionsResponse, ApiError> {
    let DescribeDhcpOptionsRequest {
        dhcp_options_ids,
        next_token,
        max_results,
        filters,
    } = request;
    let ids = (!dhcp_options_ids.is_empty()).then_some("dhcpOptionsIds");
    let token = next_token.as_deref();
    let page = Page::read("DescribeDhcpOptions", page::USUAL, max_results, token, ids)?;
    let filters = Filters::compile(&filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<DhcpOptionsId> = page.after()?;
    let named = id::find(&dhcp_options_ids, &region.dhcp_options)?;
    let named = named.into_values();
    let all = region.dhcp_options.values().filter(|_| ids.is_none());
    let sets = named.chain(all).map(|options| &**options);
    let sets = sets.filter(|options: &&DhcpOptions| {
        after.is_none_or(|after| options.id > after)
            && filters.match_resource(&options.tags, |field, test| match field {
                Field::Id => test.display(options.id),
                Field::Key => {
                    let keys = configuration(options).into_iter();
                    keys.for_each(|(key, _)| test.text(key));
                }
                Field::OwnerId => test.display(context.account),
                Field::Value => {
                    let values = configuration(options).into_iter();
                    let values = values.flat_map(|(_, values)| values);
                    values.for_each(|value| test.text(&value));
                }
            })
    });
    let (sets, next_token) = page.take(sets, |options| options.id.to_string());
    let sets = sets.into_iter().map(|options| answer(context, options));
    Ok(DescribeDhcpOptionsResponse {
        next_token,
        dhcp_options: sets.collect(),
    })
}

/// The options that are set, each with its values.
fn configuration(options: &DhcpOptions) -> Vec<(&'static str, Vec<Text>)> {
    let name_server = |server: &NameServer| match server {
        NameServer::AmazonProvidedDns => AMAZON_PROVIDED_DNS.into(),
        NameServer::Address(address) => Text::display(address),
    };
    let all = [
        (
            "domain-name",
            options
                .domain_name
                .iter()
                .map(|it| Text::from(&**it))
                .collect(),
        ),
        (
            "domain-name-servers",
            options
                .domain_name_servers
                .iter()
                .map(name_server)
                .collect(),
        ),
        (
            "ipv6-address-preferred-lease-time",
            texts(options.ipv6_preferred_lease_s),
        ),
        (
            "netbios-name-servers",
            texts(options.netbios_name_servers.iter()),
        ),
        ("netbios-node-type", texts(options.netbios_node_type)),
        ("ntp-servers", texts(options.ntp_servers.iter())),
    ];
    let set = all
        .into_iter()
        .filter(|(_, values): &(_, Vec<Text>)| !values.is_empty());
    set.collect()
}

fn texts<V: std::fmt::Display>(values: impl IntoIterator<Item = V>) -> Vec<Text> {
    values.into_iter().map(Text::display).collect()
}

fn answer(context: &Context, options: &DhcpOptions) -> response::DhcpOptions {
    let configurations = configuration(options).into_iter();
    let configurations = configurations.map(|(key, values)| DhcpConfiguration {
        key: Some(key.into()),
        values: values
            .into_iter()
            .map(|value| AttributeValue { value: Some(value) })
            .collect(),
    });
    response::DhcpOptions {
        owner_id: Some(Text::display(context.account)),
        tags: tag::answer(&options.tags),
        dhcp_options_id: Some(Text::display(options.id)),
        dhcp_configurations: configurations.collect(),
    }
}
