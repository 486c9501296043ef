//! What there is to tell about instances.

use std::collections::{BTreeMap, BTreeSet};

use enid_control::{InstanceState, is_visible, transition_reason};
use enid_model::id::{InstanceId, ReservationId};
use enid_model::instance::Instance;
use enid_model::instance_type::architecture;
use enid_model::network_interface::{ConnectionTracking, NetworkInterface};
use enid_model::state::{RegionState, Stored};
use enid_model::volume::ROOT_DEVICE;

use super::filter::{Field, Subject};
use super::state;
use crate::context::Context;
use crate::ec2::candidates::Intersection;
use crate::ec2::filter::{Filters, Sought};
use crate::ec2::network_interface::candidates::union;
use crate::ec2::network_interface::describe::{
    Field as EniField, View, interface_type, lower_bound, status,
};
use crate::ec2::page::{Page, USUAL};
use crate::ec2::volume::ATTACHED;
use crate::ec2::{Ec2, id, instance_metadata, private_dns_name, tag};
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeInstancesRequest;
use crate::generated::ec2::response::{
    self, ConnectionTrackingSpecificationResponse, DescribeInstancesResponse,
    EbsInstanceBlockDevice, InstanceBlockDeviceMapping, InstanceIpv4Prefix, InstanceIpv6Address,
    InstanceIpv6Prefix, InstanceNetworkInterface, InstanceNetworkInterfaceAttachment,
    InstancePrivateIpAddress, Monitoring, Placement, Reservation, StateReason,
};
use crate::wire::text::Text;

/// DescribeInstances.
pub(in crate::ec2) async fn describe_instances(
    ec2: &Ec2,
    context: &Context,
    request: DescribeInstancesRequest,
) -> Result<DescribeInstancesResponse, ApiError> {
    let filters = Filters::compile(&request.filters, Field::named)?;
    let ids = &request.instance_ids;
    let page = Page::read(
        "DescribeInstances",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("instanceIds"),
    )?;
    let region = ec2.control.see(&context.caller()).await?;
    let view = View::new(context, &region);
    let after = page.after()?;
    let candidates: Box<dyn Iterator<Item = _>> = match narrowed(&region, &filters) {
        Some(few) if ids.is_empty() => {
            let found = few.into_iter().filter_map(|id| region.instances.get(&id));
            let behind = found.filter(|one| after.is_none_or(|after| one.id > after));
            let now = ec2.control.now();
            Box::new(behind.filter(move |one| is_visible(one, now)))
        }
        _ => Box::new(candidates(ec2, &region, ids, after)?.into_iter()),
    };
    let candidates = candidates.map(|instance| (instance, ec2.control.instance_state(instance)));
    let matching = candidates.filter(|(instance, state)| {
        let subject = Subject {
            view: &view,
            instance,
            state: *state,
        };
        filters.match_resource(&instance.tags, |field, test| subject.test(field, test))
    });
    let (instances, next_token) = page.take(matching, |(instance, _)| instance.id.to_string());
    let instances = instances
        .into_iter()
        .map(|(instance, state)| (instance.reservation, answer(&view, instance, state)));
    Ok(DescribeInstancesResponse {
        next_token,
        reservations: reservations(&view, instances),
    })
}

/// The instances that a filter by what their interfaces have can leave, if an index of interfaces
/// says that they are few.
fn narrowed(region: &RegionState, filters: &Filters<Field>) -> Option<BTreeSet<InstanceId>> {
    filters.sought().find_map(|sought| {
        let Sought::Field(field, values) = sought else {
            return None;
        };
        let of_eni = match field {
            Field::Eni(field) | Field::Primary(field) => field,
            Field::Subnet => EniField::Subnet,
            Field::Vpc => EniField::Vpc,
            Field::Id => {
                let ids = values?.iter().filter_map(|id| id.parse().ok());
                return Some(ids.collect());
            }
            _ => return None,
        };
        let union = union(region, Sought::Field(of_eni, values))?;
        let mut enis = Intersection::new(vec![union], None);
        let mut instances = BTreeSet::new();
        for id in enis.by_ref().take(NARROW_MAX) {
            let eni = region.network_interfaces.get(&id);
            let attachment = eni.and_then(|eni| eni.attachment.as_ref());
            instances.extend(attachment.map(|attachment| attachment.instance));
        }
        // No index of this region knows what other accounts lent.
        let lent = region.lent_interfaces.values();
        let lent = lent.filter_map(|lent| lent.attachment.as_ref());
        instances.extend(lent.map(|attachment| attachment.instance));
        enis.next().is_none().then_some(instances)
    })
}

/// Interfaces that are looked at to find instances; with more, it is as well to go through those.
const NARROW_MAX: usize = 2_000;

/// The instances that a request can be about, by id: those that it names, or all that are visible
/// and lie behind the page before.
pub(super) fn candidates<'a>(
    ec2: &Ec2,
    region: &'a RegionState,
    texts: &[String],
    after: Option<InstanceId>,
) -> Result<Vec<&'a Stored<Instance>>, ApiError> {
    let now = ec2.control.now();
    let visible = |instance: &&Stored<Instance>| is_visible(instance, now);
    if texts.is_empty() {
        let behind = (lower_bound(after), std::ops::Bound::Unbounded);
        let instances = region.instances.range(behind);
        return Ok(instances.map(|(_, found)| found).filter(visible).collect());
    }
    let found = id::find(texts, &region.instances)?;
    let hidden: Vec<String> = found
        .values()
        .filter(|instance| !visible(instance))
        .map(|instance| instance.id.to_string())
        .collect();
    if !hidden.is_empty() {
        let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
        return Err(id::not_found("i", &hidden));
    }
    Ok(found.into_values().collect())
}

/// Instances that were launched together are told together, in the order of their first ones.
fn reservations(
    view: &View<'_>,
    instances: impl Iterator<Item = (ReservationId, response::Instance)>,
) -> Vec<Reservation> {
    let mut reservations: Vec<Reservation> = Vec::new();
    let mut places: BTreeMap<ReservationId, usize> = BTreeMap::new();
    for (id, instance) in instances {
        let place = *places.entry(id).or_insert(reservations.len());
        if let Some(reservation) = reservations.get_mut(place) {
            reservation.instances.push(instance);
        } else {
            reservations.push(Reservation {
                reservation_id: Some(Text::display(id)),
                owner_id: Some(view.account.clone()),
                requester_id: None,
                groups: Vec::new(),
                instances: vec![instance],
            });
        }
    }
    reservations
}

/// An instance as AWS describes it. A terminated one has no place in a network any more.
pub(super) fn answer(
    view: &View<'_>,
    instance: &Instance,
    instance_state: InstanceState,
) -> response::Instance {
    let enis: Vec<_> = view.region.enis_of_instance(instance.id).collect();
    let primary = enis.first();
    let lent = view.lent_to(instance.id);
    let lent = lent.iter().map(|(view, eni)| interface(view, eni));
    let subnet = view.region.subnets.get(&instance.subnet);
    let zone_id = subnet.map(|subnet| subnet.zone_id.as_str().into());
    let address = primary.map(|eni| eni.primary_address());
    let public = primary.and_then(|eni| view.primary_public(eni));
    let (public_ip_address, public_name) = public.unzip();
    let reason = instance.state_reason.as_ref();
    let monitoring = if instance.recorded.monitoring {
        "enabled"
    } else {
        "disabled"
    };
    response::Instance {
        architecture: Some(architecture(&instance.instance_type).into()),
        block_device_mappings: block_devices(instance),
        client_token: Some(instance.client_token.as_deref().unwrap_or_default().into()),
        ebs_optimized: Some(instance.recorded.ebs_optimized),
        ena_support: Some(ENA_SUPPORT),
        hypervisor: Some(HYPERVISOR.into()),
        network_interfaces: enis
            .iter()
            .map(|eni| interface(view, eni))
            .chain(lent)
            .collect(),
        root_device_name: Some(ROOT_DEVICE.into()),
        root_device_type: Some(ROOT_DEVICE_TYPE.into()),
        security_groups: primary.map_or_else(Vec::new, |eni| view.groups(eni)),
        source_dest_check: primary.map(|eni| eni.source_dest_check),
        state_reason: reason.map(|reason| StateReason {
            code: Some(reason.code.as_str().into()),
            message: Some(reason.message.as_str().into()),
        }),
        tags: tag::answer(&instance.tags),
        virtualization_type: Some(VIRTUALIZATION_TYPE.into()),
        metadata_options: Some(instance_metadata::answer(instance.metadata_options)),
        private_dns_name_options: Some(private_dns_name::answer(instance.private_dns_name_options)),
        platform_details: Some(PLATFORM_DETAILS.into()),
        instance_id: Some(Text::display(instance.id)),
        image_id: Some(instance.image.as_str().into()),
        state: Some(state(instance_state)),
        private_dns_name: Some(
            primary.map_or_else(|| Text::from(""), |eni| view.host_name(instance, eni)),
        ),
        public_dns_name: Some(public_name.unwrap_or_else(|| Text::from(""))),
        state_transition_reason: Some(transition_reason(instance).into()),
        key_name: instance.recorded.key_name.as_deref().map(Text::from),
        ami_launch_index: i32::try_from(instance.launch_index).ok(),
        product_codes: Vec::new(),
        instance_type: Some(instance.instance_type.as_str().into()),
        launch_time: Some(instance.launch_time),
        placement: Some(Placement {
            availability_zone_id: zone_id,
            group_name: Some("".into()),
            tenancy: Some(TENANCY.into()),
            availability_zone: Some(instance.zone.as_str().into()),
        }),
        monitoring: Some(Monitoring {
            state: Some(monitoring.into()),
        }),
        subnet_id: primary.map(|_| Text::display(instance.subnet)),
        vpc_id: primary.map(|_| Text::display(instance.vpc)),
        private_ip_address: address.map(Text::display),
        ipv6_address: primary
            .and_then(|eni| eni.ipv6_addresses.first())
            .map(Text::display),
        public_ip_address,
    }
}

/// The volumes of an instance, as its description has them.
pub(super) fn block_devices(instance: &Instance) -> Vec<InstanceBlockDeviceMapping> {
    let devices = instance.recorded.block_devices.iter();
    let devices = devices.map(|device| InstanceBlockDeviceMapping {
        device_name: Some(device.name.as_str().into()),
        ebs: Some(EbsInstanceBlockDevice {
            attach_time: Some(device.attach_time),
            delete_on_termination: Some(device.delete_on_termination),
            status: Some(ATTACHED.into()),
            volume_id: Some(Text::display(device.volume)),
        }),
    });
    devices.collect()
}

fn interface(view: &View<'_>, eni: &NetworkInterface) -> InstanceNetworkInterface {
    let addresses = eni.addresses.iter().enumerate();
    let addresses = addresses.map(|(at, address)| InstancePrivateIpAddress {
        association: view.instance_association_answer(eni, *address),
        primary: Some(at == 0),
        private_dns_name: Some(view.private_name(*address)),
        private_ip_address: Some(Text::display(address)),
    });
    let ipv6_addresses = eni.ipv6_addresses.iter().enumerate();
    let ipv6_addresses = ipv6_addresses.map(|(at, address)| InstanceIpv6Address {
        ipv6_address: Some(Text::display(address)),
        is_primary_ipv6: Some(at == 0 && eni.primary_ipv6),
    });
    let timeouts = eni.connection_tracking;
    let seconds = |timeout: Option<u32>| timeout.and_then(|seconds| i32::try_from(seconds).ok());
    let attachment = eni.attachment.as_ref();
    let attachment = attachment.map(|attachment| InstanceNetworkInterfaceAttachment {
        attach_time: Some(attachment.attach_time),
        attachment_id: Some(Text::display(attachment.id)),
        delete_on_termination: Some(attachment.delete_on_termination),
        device_index: Some(attachment.device_index.into()),
        status: Some("attached".into()),
        network_card_index: Some(attachment.network_card_index.into()),
    });
    InstanceNetworkInterface {
        association: view.instance_association_answer(eni, eni.primary_address()),
        attachment,
        description: Some(eni.description.as_str().into()),
        groups: view.groups(eni),
        ipv6_addresses: ipv6_addresses.collect(),
        mac_address: Some(Text::display(eni.mac)),
        network_interface_id: Some(Text::display(eni.id)),
        owner_id: Some(view.account.clone()),
        private_dns_name: Some(view.private_name(eni.primary_address())),
        private_ip_address: Some(Text::display(eni.primary_address())),
        private_ip_addresses: addresses.collect(),
        source_dest_check: Some(eni.source_dest_check),
        status: Some(status(eni).into()),
        subnet_id: Some(Text::display(eni.subnet)),
        vpc_id: Some(Text::display(eni.vpc)),
        interface_type: Some(interface_type(eni).into()),
        ipv4_prefixes: eni
            .ipv4_prefixes
            .iter()
            .map(|prefix| InstanceIpv4Prefix {
                ipv4_prefix: Some(Text::display(prefix)),
            })
            .collect(),
        ipv6_prefixes: eni
            .ipv6_prefixes
            .iter()
            .map(|prefix| InstanceIpv6Prefix {
                ipv6_prefix: Some(Text::display(prefix)),
            })
            .collect(),
        connection_tracking_configuration: (timeouts != ConnectionTracking::default()).then(|| {
            ConnectionTrackingSpecificationResponse {
                tcp_established_timeout: seconds(timeouts.tcp_established_timeout),
                udp_stream_timeout: seconds(timeouts.udp_stream_timeout),
                udp_timeout: seconds(timeouts.udp_timeout),
            }
        }),
    }
}

pub(in crate::ec2) const ENA_SUPPORT: bool = true;
pub(in crate::ec2) const HYPERVISOR: &str = "xen";
pub(in crate::ec2) const PLATFORM_DETAILS: &str = "Linux/UNIX";
pub(in crate::ec2) const ROOT_DEVICE_TYPE: &str = "ebs";
pub(super) const TENANCY: &str = "default";
pub(in crate::ec2) const VIRTUALIZATION_TYPE: &str = "hvm";
