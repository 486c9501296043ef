//! What there is to tell about network interfaces.
//!
//! A region may hold a hundred thousand of them. Filters that an index answers choose the
//! candidates, and a page is taken from them without looking at the rest.

use std::net::Ipv4Addr;
use std::ops::Bound;

use enid_control::Seen;
use enid_model::Tags;
use enid_model::id::{EniId, InstanceId, ResourceId};
use enid_model::instance::Instance;
use enid_model::key::AccountId;
use enid_model::network_interface::{
    Attachment, ConnectionTracking, InterfaceType, NetworkInterface,
};
use enid_model::region::Region;
use enid_model::state::{RegionState, Stored};
use enid_model::subnet::Subnet;

use super::association::AssociationField;
use super::candidates::candidates;
use super::{lent, service};
use crate::context::Context;
use crate::ec2::filter::{Filters, Test};
use crate::ec2::page::{Page, USUAL};
use crate::ec2::{Ec2, id, tag};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeNetworkInterfaceAttributeRequest, DescribeNetworkInterfacesRequest,
};
use crate::generated::ec2::response::{
    self, AttributeBooleanValue, AttributeValue, ConnectionTrackingConfiguration,
    DescribeNetworkInterfaceAttributeResponse, DescribeNetworkInterfacesResponse, GroupIdentifier,
    Ipv4PrefixSpecification, Ipv6PrefixSpecification, NetworkInterfaceAttachment,
    NetworkInterfaceIpv6Address, NetworkInterfacePrivateIpAddress,
};
use crate::wire::prepared::Prepared;
use crate::wire::text::Text;

/// What network interfaces can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::ec2) enum Field {
    AddressPrimary,
    Association(AssociationField),
    AttachTime,
    AttachmentId,
    AttachmentInstance,
    AttachmentOwner,
    AttachmentStatus,
    DeleteOnTermination,
    Description,
    DeviceIndex,
    GroupId,
    GroupName,
    Id,
    InterfaceType,
    Ipv6Address,
    /// What no interface has as yet: it matches nothing, as in AWS.
    Lacking,
    Mac,
    NetworkCardIndex,
    Owner,
    PrivateAddress,
    PrivateDnsName,
    RequesterId,
    RequesterManaged,
    SourceDestCheck,
    Status,
    Subnet,
    Vpc,
    Zone,
    ZoneId,
}

impl Field {
    /// The field with AWS's name for a filter.
    pub(in crate::ec2) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "addresses.primary" => Self::AddressPrimary,
            "addresses.private-ip-address" | "private-ip-address" => Self::PrivateAddress,
            "attachment.attach-time" => Self::AttachTime,
            "attachment.attachment-id" => Self::AttachmentId,
            "attachment.delete-on-termination" => Self::DeleteOnTermination,
            "attachment.device-index" => Self::DeviceIndex,
            "attachment.instance-id" => Self::AttachmentInstance,
            "attachment.instance-owner-id" => Self::AttachmentOwner,
            "attachment.network-card-index" | "network-card-index" => Self::NetworkCardIndex,
            "attachment.status" => Self::AttachmentStatus,
            "availability-zone" => Self::Zone,
            "availability-zone-id" => Self::ZoneId,
            "description" => Self::Description,
            "group-id" => Self::GroupId,
            "group-name" => Self::GroupName,
            "interface-type" => Self::InterfaceType,
            "ipv6-addresses.ipv6-address" | "ipv6-address" => Self::Ipv6Address,
            "mac-address" => Self::Mac,
            "network-interface-id" => Self::Id,
            "owner-id" => Self::Owner,
            "private-dns-name" => Self::PrivateDnsName,
            "requester-id" => Self::RequesterId,
            "operator.managed" | "requester-managed" => Self::RequesterManaged,
            "source-dest-check" => Self::SourceDestCheck,
            "status" => Self::Status,
            "subnet-id" => Self::Subnet,
            "vpc-id" => Self::Vpc,
            "operator.principal" => Self::Lacking,
            name => return AssociationField::named(name).map(Self::Association),
        })
    }
}

/// DescribeNetworkInterfaces.
pub(in crate::ec2) async fn describe_network_interfaces(
    ec2: &Ec2,
    context: &Context,
    request: DescribeNetworkInterfacesRequest,
) -> Result<DescribeNetworkInterfacesResponse, ApiError> {
    let filters = Filters::compile(&request.filters, Field::named)?;
    let by_ids = !request.network_interface_ids.is_empty();
    let page = Page::read(
        "DescribeNetworkInterfaces",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        by_ids.then_some("networkInterfaceIds"),
    )?;
    let region = ec2.control.see(&context.caller()).await?;
    let view = View::new(context, &region);
    let after: Option<EniId> = page.after()?;
    if !region.lent_interfaces.is_empty() {
        let ids = by_ids.then_some(&*request.network_interface_ids);
        let (enis, next_token) = lent::described(&view, &filters, &page, ids)?;
        return Ok(DescribeNetworkInterfacesResponse {
            network_interfaces: enis.into_iter().map(Prepared::Made).collect(),
            next_token,
        });
    }
    let candidates = if by_ids {
        let named = id::find(&request.network_interface_ids, &region.network_interfaces)?;
        Box::new(named.into_values())
    } else {
        candidates(&region, &filters, after)
    };
    let enis = candidates.filter(|eni| view.matches(&filters, eni));
    let (enis, next_token) = page.take(enis, |eni| eni.id.to_string());
    Ok(DescribeNetworkInterfacesResponse {
        network_interfaces: ec2.written.written_answers(context, &view, &enis),
        next_token,
    })
}

/// Where a page starts in a map of ids.
pub(in crate::ec2) fn lower_bound<I>(after: Option<I>) -> Bound<I> {
    match after {
        None => Bound::Unbounded,
        Some(after) => Bound::Excluded(after),
    }
}

/// DescribeNetworkInterfaceAttribute.
pub(in crate::ec2) async fn describe_network_interface_attribute(
    ec2: &Ec2,
    context: &Context,
    request: DescribeNetworkInterfaceAttributeRequest,
) -> Result<DescribeNetworkInterfaceAttributeResponse, ApiError> {
    let eni: EniId = id::parse(&request.network_interface_id)?;
    let attribute = request.attribute.as_deref();
    let attribute = attribute.ok_or_else(|| ApiError::missing_parameter("Attribute"))?;
    let region = ec2.control.see(&context.caller()).await?;
    let view = View::new(context, &region);
    let unknown = || enid_control::Error::not_found_text(EniId::PREFIX, &eni.to_string());
    let (view, eni) = view.eni(eni).ok_or_else(unknown)?;
    let mut response = DescribeNetworkInterfaceAttributeResponse {
        network_interface_id: Some(Text::display(eni.id)),
        ..DescribeNetworkInterfaceAttributeResponse::default()
    };
    match attribute {
        "associatePublicIpAddress" => {
            response.associate_public_ip_address = Some(eni.associate_public_address);
        }
        "attachment" => response.attachment = view.attachment(eni),
        "description" => {
            let value = Some(eni.description.as_str().into());
            response.description = Some(AttributeValue { value });
        }
        "groupSet" => response.groups = Some(view.groups(eni)),
        _ => {
            let value = Some(eni.source_dest_check);
            response.source_dest_check = Some(AttributeBooleanValue { value });
        }
    }
    Ok(response)
}

/// A region as one caller sees it: the caller's own, or that of somebody who lent an interface.
#[derive(Clone)]
pub(in crate::ec2) struct View<'a> {
    pub(in crate::ec2) region: &'a RegionState,
    /// Whose region it is.
    pub(super) owner: AccountId,
    /// The same as text.
    pub(in crate::ec2) account: Text,
    pub(super) place: &'static Region,
    /// What the caller sees.
    pub(super) seen: &'a Seen,
}

impl<'a> View<'a> {
    pub(in crate::ec2) fn new(context: &Context, seen: &'a Seen) -> Self {
        Self {
            region: &seen.region,
            owner: context.account,
            account: Text::display(context.account),
            place: context.region,
            seen,
        }
    }

    /// The tags of an interface: its owner's only.
    fn tags<'b>(&self, eni: &'b NetworkInterface) -> &'b Tags {
        static NONE: Tags = Tags::new();
        if self.owner == self.seen.scope.account {
            &eni.tags
        } else {
            &NONE
        }
    }

    /// Whose the instance of an attachment is, and which: that is told to its own account only.
    fn instance_of(&self, attachment: &Attachment) -> (AccountId, Option<InstanceId>) {
        let owner = attachment.instance_owner.unwrap_or(self.owner);
        let is_callers = owner == self.seen.scope.account;
        (owner, is_callers.then_some(attachment.instance))
    }

    /// The private DNS name of an address.
    pub(in crate::ec2) fn private_name(&self, address: Ipv4Addr) -> Text {
        self.place.private_name(address).into()
    }

    /// The private host name of an instance with this primary interface.
    pub(in crate::ec2) fn host_name(&self, instance: &Instance, eni: &NetworkInterface) -> Text {
        self.place.host_name(instance, eni.primary_address()).into()
    }

    /// The groups of an interface with their names.
    pub(in crate::ec2) fn groups(&self, eni: &NetworkInterface) -> Vec<GroupIdentifier> {
        let groups = eni.groups.iter().map(|id| {
            let group = self.region.security_groups.get(id);
            GroupIdentifier {
                group_id: Some(Text::display(id)),
                group_name: group.map(|group| group.name.as_str().into()),
            }
        });
        groups.collect()
    }

    fn subnet(&self, eni: &NetworkInterface) -> Option<&Stored<Subnet>> {
        self.region.subnets.get(&eni.subnet)
    }

    fn attachment(&self, eni: &NetworkInterface) -> Option<NetworkInterfaceAttachment> {
        if eni.interface_type != InterfaceType::Interface {
            return Some(service::attachment(eni));
        }
        let attachment = eni.attachment.as_ref()?;
        let (owner, instance) = self.instance_of(attachment);
        Some(NetworkInterfaceAttachment {
            attach_time: Some(attachment.attach_time),
            attachment_id: Some(Text::display(attachment.id)),
            delete_on_termination: Some(attachment.delete_on_termination),
            device_index: Some(attachment.device_index.into()),
            network_card_index: Some(attachment.network_card_index.into()),
            instance_id: instance.map(Text::display),
            instance_owner_id: Some(Text::display(owner)),
            status: Some("attached".into()),
        })
    }

    pub(super) fn matches(&self, filters: &Filters<Field>, eni: &NetworkInterface) -> bool {
        filters.match_resource(self.tags(eni), |field, test| self.test(eni, field, test))
    }

    /// Tells the values that an interface has under a filter's name.
    pub(in crate::ec2) fn test(&self, eni: &NetworkInterface, field: Field, test: &mut Test<'_>) {
        if eni.interface_type != InterfaceType::Interface && service::test(eni, field, test) {
            return;
        }
        let mut attached = |tell: &mut dyn FnMut(&Attachment, &mut Test<'_>)| {
            if let Some(attachment) = &eni.attachment {
                tell(attachment, test);
            }
        };
        match field {
            Field::AttachTime => attached(&mut |a, test| test.display(a.attach_time)),
            Field::AttachmentId => attached(&mut |a, test| test.display(a.id)),
            Field::AttachmentInstance => attached(&mut |a, test| {
                let (_, instance) = self.instance_of(a);
                instance.iter().for_each(|id| test.display(id));
            }),
            Field::AttachmentOwner => {
                attached(&mut |a, test| test.display(self.instance_of(a).0));
            }
            Field::AttachmentStatus => attached(&mut |_, test| test.text("attached")),
            Field::DeleteOnTermination => {
                attached(&mut |a, test| test.flag(a.delete_on_termination));
            }
            Field::DeviceIndex => attached(&mut |a, test| test.display(a.device_index)),
            Field::NetworkCardIndex => attached(&mut |a, test| test.display(a.network_card_index)),
            Field::AddressPrimary => {
                test.flag(true);
                if eni.addresses.len() > 1 {
                    test.flag(false);
                }
            }
            Field::Association(field) => self.test_associations(eni, field, test),
            Field::Description => test.text(&eni.description),
            Field::GroupId => eni.groups.iter().for_each(|id| test.display(id)),
            Field::GroupName => {
                let groups = eni.groups.iter();
                let groups = groups.filter_map(|id| self.region.security_groups.get(id));
                groups.for_each(|group| test.text(&group.name));
            }
            Field::Id => test.display(eni.id),
            Field::InterfaceType => test.text(interface_type(eni)),
            Field::Ipv6Address => eni.ipv6_addresses.iter().for_each(|a| test.display(a)),
            Field::Lacking => {}
            Field::Mac => test.display(eni.mac),
            Field::Owner => test.text(&self.account),
            Field::PrivateAddress => eni.addresses.iter().for_each(|a| test.display(a)),
            Field::PrivateDnsName => {
                let names = eni.addresses.iter().map(|a| self.private_name(*a));
                names.for_each(|name| test.text(&name));
            }
            Field::RequesterId => eni.requester_id.iter().for_each(|id| test.text(id)),
            Field::RequesterManaged => test.flag(eni.requester_id.is_some()),
            Field::SourceDestCheck => test.flag(eni.source_dest_check),
            Field::Status => test.text(status(eni)),
            Field::Subnet => test.display(eni.subnet),
            Field::Vpc => test.display(eni.vpc),
            Field::Zone => self
                .subnet(eni)
                .into_iter()
                .for_each(|s| test.text(&s.zone)),
            Field::ZoneId => {
                let subnet = self.subnet(eni).into_iter();
                subnet.for_each(|subnet| test.text(&subnet.zone_id));
            }
        }
    }
}

/// An interface as AWS describes it.
pub(in crate::ec2) fn answer(
    view: &View<'_>,
    eni: &NetworkInterface,
) -> response::NetworkInterface {
    let subnet = view.subnet(eni);
    let addresses = eni.addresses.iter().enumerate();
    let addresses = addresses.map(|(at, address)| NetworkInterfacePrivateIpAddress {
        association: view.association_answer(eni, *address),
        primary: Some(at == 0),
        private_dns_name: Some(view.private_name(*address)),
        private_ip_address: Some(Text::display(address)),
    });
    response::NetworkInterface {
        association: view.association_answer(eni, eni.primary_address()),
        attachment: view.attachment(eni),
        availability_zone: subnet.map(|subnet| subnet.zone.as_str().into()),
        description: Some(eni.description.as_str().into()),
        groups: view.groups(eni),
        interface_type: Some(interface_type(eni).into()),
        ipv6_addresses: ipv6_addresses(eni),
        mac_address: Some(Text::display(eni.mac)),
        network_interface_id: Some(Text::display(eni.id)),
        owner_id: Some(view.account.clone()),
        private_dns_name: Some(view.private_name(eni.primary_address())),
        private_ip_address: Some(Text::display(eni.primary_address())),
        private_ip_addresses: addresses.collect(),
        requester_id: eni.requester_id.as_deref().map(Text::from),
        requester_managed: Some(eni.requester_id.is_some()),
        source_dest_check: Some(eni.source_dest_check),
        status: Some(status(eni).into()),
        subnet_id: Some(Text::display(eni.subnet)),
        tag_set: tag::answer(view.tags(eni)),
        vpc_id: Some(Text::display(eni.vpc)),
        availability_zone_id: subnet.map(|subnet| subnet.zone_id.as_str().into()),
        connection_tracking_configuration: timeouts(eni),
        ipv4_prefixes: eni
            .ipv4_prefixes
            .iter()
            .map(|prefix| Ipv4PrefixSpecification {
                ipv4_prefix: Some(Text::display(prefix)),
            })
            .collect(),
        ipv6_prefixes: eni
            .ipv6_prefixes
            .iter()
            .map(|prefix| Ipv6PrefixSpecification {
                ipv6_prefix: Some(Text::display(prefix)),
            })
            .collect(),
        ipv6_address: eni.ipv6_addresses.first().map(Text::display),
    }
}

fn ipv6_addresses(eni: &NetworkInterface) -> Vec<NetworkInterfaceIpv6Address> {
    let addresses = eni.ipv6_addresses.iter().enumerate();
    let addresses = addresses.map(|(at, address)| NetworkInterfaceIpv6Address {
        ipv6_address: Some(Text::display(address)),
        is_primary_ipv6: Some(at == 0 && eni.primary_ipv6),
    });
    addresses.collect()
}

/// The idle timeouts of an interface; absent unless one is set.
fn timeouts(eni: &NetworkInterface) -> Option<ConnectionTrackingConfiguration> {
    let timeouts = eni.connection_tracking;
    let seconds = |timeout: Option<u32>| timeout.and_then(|seconds| i32::try_from(seconds).ok());
    (timeouts != ConnectionTracking::default()).then(|| ConnectionTrackingConfiguration {
        tcp_established_timeout: seconds(timeouts.tcp_established_timeout),
        udp_stream_timeout: seconds(timeouts.udp_stream_timeout),
        udp_timeout: seconds(timeouts.udp_timeout),
    })
}

pub(in crate::ec2) fn status(eni: &NetworkInterface) -> &'static str {
    if eni.is_in_use() {
        "in-use"
    } else {
        "available"
    }
}

/// AWS's word for what an interface is for.
pub(in crate::ec2) fn interface_type(eni: &NetworkInterface) -> &'static str {
    match eni.interface_type {
        InterfaceType::Interface => "interface",
        InterfaceType::NatGateway => "nat_gateway",
        InterfaceType::NetworkLoadBalancer => "network_load_balancer",
    }
}
