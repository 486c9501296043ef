//! What instances can be filtered by: AWS's names, and the values that an instance has.

use enid_control::{InstanceState, transition_reason};
use enid_model::instance::Instance;
use enid_model::instance_type::architecture;
use enid_model::volume::{BlockDevice, ROOT_DEVICE};

use super::describe::{
    HYPERVISOR, PLATFORM_DETAILS, ROOT_DEVICE_TYPE, TENANCY, VIRTUALIZATION_TYPE,
};
use crate::ec2::filter::Test;
use crate::ec2::instance_metadata::{SWITCH, TOKENS, spelled};
use crate::ec2::network_interface::describe::{Field as EniField, View};
use crate::ec2::volume::ATTACHED;
use crate::wire::text::Text;

/// What instances can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field {
    Architecture,
    ClientToken,
    /// Of any of its volumes.
    Device(DeviceField),
    DnsName,
    /// Of any of its interfaces.
    Eni(EniField),
    HostnameType,
    Hypervisor,
    Id,
    Image,
    KeyName,
    /// What no instance has as yet: it matches nothing, as in AWS.
    Lacking,
    LaunchIndex,
    LaunchTime,
    /// What the metadata service does.
    MetadataEndpoint,
    MetadataHopLimit,
    /// Always on: what switches the service off is its endpoint.
    MetadataIpv4,
    MetadataIpv6,
    MetadataTags,
    MetadataTokens,
    Monitoring,
    Owner,
    PlatformDetails,
    /// Of its primary interface.
    Primary(EniField),
    PrivateDnsName,
    PublicAddress,
    Reason,
    Reservation,
    ResourceNameA,
    ResourceNameAaaa,
    RootDeviceName,
    RootDeviceType,
    StateCode,
    StateName,
    StateReasonCode,
    StateReasonMessage,
    Subnet,
    Tenancy,
    Type,
    VirtualizationType,
    Vpc,
    Zone,
    ZoneId,
}

impl Field {
    /// The field with AWS's name for a filter.
    pub(super) fn named(name: &str) -> Option<Self> {
        if let Some(of_eni) = name.strip_prefix("network-interface.") {
            return match of_eni {
                "outpost-arn" => Some(Self::Lacking),
                of_eni => EniField::named(of_eni).map(Self::Eni),
            };
        }
        if let Some(of_device) = name.strip_prefix("block-device-mapping.") {
            return DeviceField::named(of_device).map(Self::Device);
        }
        Some(match name {
            "architecture" => Self::Architecture,
            "availability-zone" => Self::Zone,
            "availability-zone-id" => Self::ZoneId,
            "client-token" => Self::ClientToken,
            "group-id" | "instance.group-id" => Self::Primary(EniField::GroupId),
            "group-name" | "instance.group-name" => Self::Primary(EniField::GroupName),
            "hypervisor" => Self::Hypervisor,
            "image-id" => Self::Image,
            "instance-id" => Self::Id,
            "instance-state-code" => Self::StateCode,
            "instance-state-name" => Self::StateName,
            "instance-type" => Self::Type,
            "ipv6-address" => Self::Primary(EniField::Ipv6Address),
            "key-name" => Self::KeyName,
            "launch-index" => Self::LaunchIndex,
            "launch-time" => Self::LaunchTime,
            "metadata-options.http-endpoint" => Self::MetadataEndpoint,
            "metadata-options.http-protocol-ipv4" => Self::MetadataIpv4,
            "metadata-options.http-protocol-ipv6" => Self::MetadataIpv6,
            "metadata-options.http-put-response-hop-limit" => Self::MetadataHopLimit,
            "metadata-options.http-tokens" => Self::MetadataTokens,
            "metadata-options.instance-metadata-tags" => Self::MetadataTags,
            "monitoring-state" => Self::Monitoring,
            "owner-id" => Self::Owner,
            "platform-details" => Self::PlatformDetails,
            "dns-name" => Self::DnsName,
            "ip-address" => Self::PublicAddress,
            "private-dns-name" => Self::PrivateDnsName,
            "private-dns-name-options.enable-resource-name-dns-a-record" => Self::ResourceNameA,
            "private-dns-name-options.enable-resource-name-dns-aaaa-record" => {
                Self::ResourceNameAaaa
            }
            "private-dns-name-options.hostname-type" => Self::HostnameType,
            "private-ip-address" => Self::Primary(EniField::PrivateAddress),
            "reason" => Self::Reason,
            "reservation-id" => Self::Reservation,
            "root-device-name" => Self::RootDeviceName,
            "root-device-type" => Self::RootDeviceType,
            "source-dest-check" => Self::Primary(EniField::SourceDestCheck),
            "state-reason-code" => Self::StateReasonCode,
            "state-reason-message" => Self::StateReasonMessage,
            "subnet-id" => Self::Subnet,
            "tenancy" => Self::Tenancy,
            "virtualization-type" => Self::VirtualizationType,
            "vpc-id" => Self::Vpc,
            "affinity"
            | "capacity-reservation-id"
            | "host-id"
            | "iam-instance-profile.arn"
            | "iam-instance-profile.id"
            | "iam-instance-profile.name"
            | "instance-lifecycle"
            | "kernel-id"
            | "outpost-arn"
            | "placement-group-name"
            | "placement-partition-number"
            | "platform"
            | "product-code"
            | "product-code.type"
            | "ramdisk-id"
            | "requester-id"
            | "spot-instance-request-id" => Self::Lacking,
            _ => return None,
        })
    }
}

/// What a volume's place in an instance can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DeviceField {
    AttachTime,
    DeleteOnTermination,
    Name,
    Status,
    Volume,
}

impl DeviceField {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "attach-time" => Self::AttachTime,
            "delete-on-termination" => Self::DeleteOnTermination,
            "device-name" => Self::Name,
            "status" => Self::Status,
            "volume-id" => Self::Volume,
            _ => return None,
        })
    }

    fn test(self, device: &BlockDevice, test: &mut Test<'_>) {
        match self {
            Self::AttachTime => test.display(device.attach_time),
            Self::DeleteOnTermination => test.flag(device.delete_on_termination),
            Self::Name => test.text(&device.name),
            Self::Status => test.text(ATTACHED),
            Self::Volume => test.display(device.volume),
        }
    }
}

/// An instance with what filters look at.
pub(super) struct Subject<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) instance: &'a Instance,
    pub(super) state: InstanceState,
}

impl Subject<'_> {
    /// Tells the values that the instance has under a filter's name.
    pub(super) fn test(&self, field: Field, test: &mut Test<'_>) {
        let instance = self.instance;
        let mut enis = self.view.region.enis_of_instance(instance.id);
        let reason = instance.state_reason.as_ref();
        let metadata = instance.metadata_options;
        let names = instance.private_dns_name_options;
        match field {
            Field::Architecture => test.text(architecture(&instance.instance_type)),
            Field::ClientToken => instance.client_token.iter().for_each(|t| test.text(t)),
            Field::Device(field) => {
                let devices = instance.recorded.block_devices.iter();
                devices.for_each(|device| field.test(device, test));
            }
            Field::DnsName => {
                let public = enis.next().and_then(|eni| self.view.primary_public(eni));
                public.iter().for_each(|(_, name)| test.text(name));
            }
            Field::Eni(field) => {
                enis.for_each(|eni| self.view.test(eni, field, test));
                for (view, eni) in self.view.lent_to(instance.id) {
                    view.test(eni, field, test);
                }
            }
            Field::HostnameType => test.text(names.hostname_type.word()),
            Field::Hypervisor => test.text(HYPERVISOR),
            Field::Id => test.display(instance.id),
            Field::Image => test.text(&instance.image),
            Field::KeyName => instance.recorded.key_name.iter().for_each(|n| test.text(n)),
            Field::Lacking => {}
            Field::LaunchIndex => test.display(instance.launch_index),
            Field::LaunchTime => test.display(instance.launch_time),
            Field::MetadataEndpoint => test.text(spelled(metadata.endpoint_enabled, SWITCH)),
            Field::MetadataHopLimit => test.display(metadata.hop_limit),
            Field::MetadataIpv4 => test.text(spelled(true, SWITCH)),
            Field::MetadataIpv6 => test.text(spelled(metadata.ipv6_enabled, SWITCH)),
            Field::MetadataTags => test.text(spelled(metadata.tags_enabled, SWITCH)),
            Field::MetadataTokens => test.text(spelled(metadata.tokens_required, TOKENS)),
            Field::Monitoring => test.text(if instance.recorded.monitoring {
                "enabled"
            } else {
                "disabled"
            }),
            Field::Owner => test.text(&self.view.account),
            Field::PlatformDetails => test.text(PLATFORM_DETAILS),
            Field::Primary(field) => {
                if let Some(eni) = enis.next() {
                    self.view.test(eni, field, test);
                }
            }
            Field::PrivateDnsName => {
                if let Some(eni) = enis.next() {
                    test.text(&self.view.host_name(instance, eni));
                }
            }
            Field::PublicAddress => {
                let public = enis.next().and_then(|eni| self.view.primary_public(eni));
                public.iter().for_each(|(address, _)| test.text(address));
            }
            Field::Reason => test.text(&transition_reason(instance)),
            Field::Reservation => test.display(instance.reservation),
            Field::ResourceNameA => test.flag(names.resource_name_a_record),
            Field::ResourceNameAaaa => test.flag(names.resource_name_aaaa_record),
            Field::RootDeviceName => test.text(ROOT_DEVICE),
            Field::RootDeviceType => test.text(ROOT_DEVICE_TYPE),
            Field::StateCode => test.display(self.state.code()),
            Field::StateName => test.text(self.state.name()),
            Field::StateReasonCode => reason.into_iter().for_each(|r| test.text(&r.code)),
            Field::StateReasonMessage => reason.into_iter().for_each(|r| test.text(&r.message)),
            // A terminated instance has no interfaces, and with them no place in a network.
            Field::Subnet if self.is_in_network() => test.display(instance.subnet),
            Field::Vpc if self.is_in_network() => test.display(instance.vpc),
            Field::Subnet | Field::Vpc => {}
            Field::Tenancy => test.text(TENANCY),
            Field::Type => test.text(&instance.instance_type),
            Field::VirtualizationType => test.text(VIRTUALIZATION_TYPE),
            Field::Zone => test.text(&instance.zone),
            Field::ZoneId => self.zone_id().iter().for_each(|id| test.text(id)),
        }
    }

    /// The id of its zone, if the subnet that tells it is still there.
    pub(super) fn zone_id(&self) -> Option<Text> {
        let subnet = self.view.region.subnets.get(&self.instance.subnet)?;
        Some(subnet.zone_id.as_str().into())
    }

    fn is_in_network(&self) -> bool {
        let mut enis = self.view.region.enis_of_instance(self.instance.id);
        enis.next().is_some()
    }
}
