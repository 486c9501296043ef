//! The data of launch templates: as a launch, and as an answer.

use enid_control::LaunchParameters;

use crate::error::ApiError;
use crate::generated::ec2::request::{
    InstanceMetadataOptionsRequest, PrivateDnsNameOptionsRequest, RunInstancesRequest,
};
use crate::generated::ec2::response::{
    ConnectionTrackingSpecification, CreditSpecification, InstanceIpv6Address,
    Ipv4PrefixSpecificationResponse, Ipv6PrefixSpecificationResponse,
    LaunchTemplateBlockDeviceMapping, LaunchTemplateEbsBlockDevice, LaunchTemplateEnclaveOptions,
    LaunchTemplateHibernationOptions, LaunchTemplateInstanceMetadataOptions,
    LaunchTemplateInstanceNetworkInterfaceSpecification, LaunchTemplatePlacement,
    LaunchTemplatePrivateDnsNameOptions, LaunchTemplateTagSpecification, LaunchTemplatesMonitoring,
    PrivateIpAddressSpecification, ResponseLaunchTemplateData, Tag,
};
use crate::wire::params::{Params, Read, Sent};
use crate::wire::text::Text;

/// The launch that a version's parameters describe. How many instances it makes says the request.
pub(super) fn as_launch(parameters: &LaunchParameters) -> Result<RunInstancesRequest, ApiError> {
    let mut sent = Sent(parameters.clone());
    for count in ["MinCount", "MaxCount"] {
        sent.0.insert(count.to_owned(), "1".to_owned());
    }
    sent.read_as()
}

/// A request with what a template says where the request says nothing.
pub(super) fn filled(
    request: RunInstancesRequest,
    template: RunInstancesRequest,
) -> RunInstancesRequest {
    fn or<T>(own: Vec<T>, other: Vec<T>) -> Vec<T> {
        if own.is_empty() { other } else { own }
    }
    RunInstancesRequest {
        image_id: request.image_id.or(template.image_id),
        instance_type: request.instance_type.or(template.instance_type),
        key_name: request.key_name.or(template.key_name),
        max_count: request.max_count,
        min_count: request.min_count,
        monitoring: request.monitoring.or(template.monitoring),
        placement: request.placement.or(template.placement),
        security_group_ids: or(request.security_group_ids, template.security_group_ids),
        security_groups: or(request.security_groups, template.security_groups),
        subnet_id: request.subnet_id.or(template.subnet_id),
        user_data: request.user_data.or(template.user_data),
        tag_specifications: or(request.tag_specifications, template.tag_specifications),
        disable_api_termination: request
            .disable_api_termination
            .or(template.disable_api_termination),
        disable_api_stop: request.disable_api_stop.or(template.disable_api_stop),
        instance_initiated_shutdown_behavior: request
            .instance_initiated_shutdown_behavior
            .or(template.instance_initiated_shutdown_behavior),
        private_ip_address: request.private_ip_address.or(template.private_ip_address),
        // A template has IPv6 addresses on its interfaces only.
        ipv6_address_count: request.ipv6_address_count,
        ipv6_addresses: request.ipv6_addresses,
        enable_primary_ipv6: request.enable_primary_ipv6,
        client_token: request.client_token,
        network_interfaces: or(request.network_interfaces, template.network_interfaces),
        ebs_optimized: request.ebs_optimized.or(template.ebs_optimized),
        metadata_options: both(
            request.metadata_options,
            template.metadata_options,
            filled_metadata,
        ),
        private_dns_name_options: both(
            request.private_dns_name_options,
            template.private_dns_name_options,
            filled_names,
        ),
        launch_template: None,
        block_device_mappings: or(
            request.block_device_mappings,
            template.block_device_mappings,
        ),
        credit_specification: request
            .credit_specification
            .or(template.credit_specification),
    }
}

/// A structure of a request, filled from a template's, if both have it.
fn both<T>(own: Option<T>, other: Option<T>, filled: fn(T, T) -> T) -> Option<T> {
    match (own, other) {
        (Some(own), Some(other)) => Some(filled(own, other)),
        (own, other) => own.or(other),
    }
}

/// Each option is taken from where it is named, the request first: AWS's order of precedence for
/// metadata options speaks of each of them alone.
fn filled_metadata(
    own: InstanceMetadataOptionsRequest,
    other: InstanceMetadataOptionsRequest,
) -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest {
        http_tokens: own.http_tokens.or(other.http_tokens),
        http_put_response_hop_limit: own
            .http_put_response_hop_limit
            .or(other.http_put_response_hop_limit),
        http_endpoint: own.http_endpoint.or(other.http_endpoint),
        http_protocol_ipv6: own.http_protocol_ipv6.or(other.http_protocol_ipv6),
        instance_metadata_tags: own.instance_metadata_tags.or(other.instance_metadata_tags),
    }
}

/// The same for the options of private DNS names.
fn filled_names(
    own: PrivateDnsNameOptionsRequest,
    other: PrivateDnsNameOptionsRequest,
) -> PrivateDnsNameOptionsRequest {
    PrivateDnsNameOptionsRequest {
        hostname_type: own.hostname_type.or(other.hostname_type),
        enable_resource_name_dns_a_record: own
            .enable_resource_name_dns_a_record
            .or(other.enable_resource_name_dns_a_record),
        enable_resource_name_dns_aaaa_record: own
            .enable_resource_name_dns_aaaa_record
            .or(other.enable_resource_name_dns_aaaa_record),
    }
}

/// A version's parameters as answers show them.
pub(super) fn answer(
    parameters: &LaunchParameters,
) -> Result<ResponseLaunchTemplateData, ApiError> {
    let Shown(data) = Sent(parameters.clone()).read_as()?;
    Ok(data)
}

/// What is read from parameters in order to be answered.
struct Shown<T>(T);

/// A text that may be absent.
fn text(params: Params<'_>, name: &str) -> Result<Option<Text>, ApiError> {
    let text: Option<String> = params.optional(name)?;
    Ok(text.map(Text::from))
}

/// A list that is absent if it is empty.
fn texts(params: Params<'_>, name: &str) -> Result<Option<Vec<Text>>, ApiError> {
    let texts: Vec<String> = params.list(name)?;
    Ok((!texts.is_empty()).then(|| texts.into_iter().map(Text::from).collect()))
}

/// A structure that may be absent.
fn one<T>(params: Params<'_>, name: &str) -> Result<Option<T>, ApiError>
where
    Shown<T>: Read,
{
    let found: Option<Shown<T>> = params.optional(name)?;
    Ok(found.map(|Shown(found)| found))
}

/// A list of structures that is absent if it is empty.
fn all<T>(params: Params<'_>, name: &str) -> Result<Option<Vec<T>>, ApiError>
where
    Shown<T>: Read,
{
    let found: Vec<Shown<T>> = params.list(name)?;
    let found = found.into_iter().map(|Shown(found)| found);
    Ok(Some(found.collect()).filter(|found: &Vec<T>| !found.is_empty()))
}

impl Read for Shown<ResponseLaunchTemplateData> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(ResponseLaunchTemplateData {
            ebs_optimized: params.optional("EbsOptimized")?,
            block_device_mappings: all(params, "BlockDeviceMapping")?,
            credit_specification: one(params, "CreditSpecification")?,
            network_interfaces: all(params, "NetworkInterface")?,
            image_id: text(params, "ImageId")?,
            instance_type: text(params, "InstanceType")?,
            key_name: text(params, "KeyName")?,
            monitoring: one(params, "Monitoring")?,
            placement: one(params, "Placement")?,
            disable_api_termination: params.optional("DisableApiTermination")?,
            instance_initiated_shutdown_behavior: text(
                params,
                "InstanceInitiatedShutdownBehavior",
            )?,
            user_data: text(params, "UserData")?,
            tag_specifications: all(params, "TagSpecification")?,
            security_group_ids: texts(params, "SecurityGroupId")?,
            security_groups: texts(params, "SecurityGroup")?,
            hibernation_options: one(params, "HibernationOptions")?,
            enclave_options: one(params, "EnclaveOptions")?,
            disable_api_stop: params.optional("DisableApiStop")?,
            metadata_options: one(params, "MetadataOptions")?,
            private_dns_name_options: one(params, "PrivateDnsNameOptions")?,
        }))
    }
}

impl Read for Shown<LaunchTemplateBlockDeviceMapping> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplateBlockDeviceMapping {
            device_name: text(params, "DeviceName")?,
            ebs: one(params, "Ebs")?,
        }))
    }
}

impl Read for Shown<LaunchTemplateEbsBlockDevice> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplateEbsBlockDevice {
            encrypted: params.optional("Encrypted")?,
            delete_on_termination: params.optional("DeleteOnTermination")?,
            iops: params.optional("Iops")?,
            kms_key_id: text(params, "KmsKeyId")?,
            volume_size: params.optional("VolumeSize")?,
            volume_type: text(params, "VolumeType")?,
            throughput: params.optional("Throughput")?,
        }))
    }
}

impl Read for Shown<CreditSpecification> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let cpu_credits = text(params, "CpuCredits")?;
        Ok(Self(CreditSpecification { cpu_credits }))
    }
}

impl Read for Shown<LaunchTemplateInstanceNetworkInterfaceSpecification> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplateInstanceNetworkInterfaceSpecification {
            associate_public_ip_address: params.optional("AssociatePublicIpAddress")?,
            delete_on_termination: params.optional("DeleteOnTermination")?,
            description: text(params, "Description")?,
            device_index: params.optional("DeviceIndex")?,
            groups: texts(params, "SecurityGroupId")?,
            interface_type: text(params, "InterfaceType")?,
            ipv6_address_count: params.optional("Ipv6AddressCount")?,
            ipv6_addresses: all(params, "Ipv6Addresses")?,
            network_interface_id: text(params, "NetworkInterfaceId")?,
            private_ip_address: text(params, "PrivateIpAddress")?,
            private_ip_addresses: all(params, "PrivateIpAddresses")?,
            secondary_private_ip_address_count: params
                .optional("SecondaryPrivateIpAddressCount")?,
            subnet_id: text(params, "SubnetId")?,
            network_card_index: params.optional("NetworkCardIndex")?,
            ipv4_prefixes: all(params, "Ipv4Prefix")?,
            ipv4_prefix_count: params.optional("Ipv4PrefixCount")?,
            ipv6_prefixes: all(params, "Ipv6Prefix")?,
            ipv6_prefix_count: params.optional("Ipv6PrefixCount")?,
            primary_ipv6: params.optional("PrimaryIpv6")?,
            connection_tracking_specification: one(params, "ConnectionTrackingSpecification")?,
        }))
    }
}

impl Read for Shown<InstanceIpv6Address> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(InstanceIpv6Address {
            ipv6_address: text(params, "Ipv6Address")?,
            // Which one is the primary is known once there is an interface.
            is_primary_ipv6: None,
        }))
    }
}

impl Read for Shown<Ipv4PrefixSpecificationResponse> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let ipv4_prefix = text(params, "Ipv4Prefix")?;
        Ok(Self(Ipv4PrefixSpecificationResponse { ipv4_prefix }))
    }
}

impl Read for Shown<Ipv6PrefixSpecificationResponse> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let ipv6_prefix = text(params, "Ipv6Prefix")?;
        Ok(Self(Ipv6PrefixSpecificationResponse { ipv6_prefix }))
    }
}

impl Read for Shown<ConnectionTrackingSpecification> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(ConnectionTrackingSpecification {
            tcp_established_timeout: params.optional("TcpEstablishedTimeout")?,
            udp_timeout: params.optional("UdpTimeout")?,
            udp_stream_timeout: params.optional("UdpStreamTimeout")?,
        }))
    }
}

impl Read for Shown<PrivateIpAddressSpecification> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(PrivateIpAddressSpecification {
            primary: params.optional("Primary")?,
            private_ip_address: text(params, "PrivateIpAddress")?,
        }))
    }
}

impl Read for Shown<LaunchTemplatePlacement> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplatePlacement {
            availability_zone: text(params, "AvailabilityZone")?,
            tenancy: text(params, "Tenancy")?,
        }))
    }
}

impl Read for Shown<LaunchTemplatesMonitoring> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let enabled = params.optional("Enabled")?;
        Ok(Self(LaunchTemplatesMonitoring { enabled }))
    }
}

impl Read for Shown<LaunchTemplateHibernationOptions> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let configured = params.optional("Configured")?;
        Ok(Self(LaunchTemplateHibernationOptions { configured }))
    }
}

impl Read for Shown<LaunchTemplateEnclaveOptions> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        let enabled = params.optional("Enabled")?;
        Ok(Self(LaunchTemplateEnclaveOptions { enabled }))
    }
}

impl Read for Shown<LaunchTemplateInstanceMetadataOptions> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplateInstanceMetadataOptions {
            http_tokens: text(params, "HttpTokens")?,
            http_put_response_hop_limit: params.optional("HttpPutResponseHopLimit")?,
            http_endpoint: text(params, "HttpEndpoint")?,
            http_protocol_ipv6: text(params, "HttpProtocolIpv6")?,
            instance_metadata_tags: text(params, "InstanceMetadataTags")?,
        }))
    }
}

impl Read for Shown<LaunchTemplatePrivateDnsNameOptions> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplatePrivateDnsNameOptions {
            hostname_type: text(params, "HostnameType")?,
            enable_resource_name_dns_a_record: params.optional("EnableResourceNameDnsARecord")?,
            enable_resource_name_dns_aaaa_record: params
                .optional("EnableResourceNameDnsAAAARecord")?,
        }))
    }
}

impl Read for Shown<LaunchTemplateTagSpecification> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(LaunchTemplateTagSpecification {
            resource_type: text(params, "ResourceType")?,
            tags: all(params, "Tag")?.unwrap_or_default(),
        }))
    }
}

impl Read for Shown<Tag> {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        Ok(Self(Tag {
            key: text(params, "Key")?,
            value: Some(text(params, "Value")?.unwrap_or_default()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> LaunchParameters {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn parameters_become_a_launch_and_an_answer() {
        let data = parameters(&[
            ("ImageId", "ami-1"),
            ("NetworkInterface.1.AssociatePublicIpAddress", "false"),
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
            ("NetworkInterface.10.DeviceIndex", "2"),
            ("NetworkInterface.2.DeviceIndex", "1"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "a"),
        ]);
        let launch = as_launch(&data).expect("a launch");
        let indexes = launch.network_interfaces.iter().map(|i| i.device_index);
        assert_eq!(indexes.collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        let shown = answer(&data).expect("an answer");
        let interfaces = shown.network_interfaces.unwrap_or_default();
        assert_eq!(interfaces.len(), 3);
        assert_eq!(interfaces[0].associate_public_ip_address, Some(false));
        assert_eq!(interfaces[0].groups.as_ref().map(Vec::len), Some(1));
        assert_eq!(interfaces[1].groups, None);
        assert_eq!(
            shown.tag_specifications.map(|all| all[0].tags.len()),
            Some(1)
        );
        let unreadable = parameters(&[("NetworkInterface.1.DeviceIndex", "first")]);
        assert!(as_launch(&unreadable).is_err());
    }

    #[test]
    fn an_interface_has_addresses_prefixes_and_timeouts() {
        let data = parameters(&[
            (
                "NetworkInterface.1.ConnectionTrackingSpecification.UdpTimeout",
                "45",
            ),
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.Ipv4Prefix.1.Ipv4Prefix", "10.0.0.16/28"),
            ("NetworkInterface.1.Ipv6Addresses.1.Ipv6Address", "fd00::4"),
            ("NetworkInterface.1.Ipv6Prefix.1.Ipv6Prefix", "fd00::/80"),
            ("NetworkInterface.1.PrimaryIpv6", "true"),
            ("NetworkInterface.2.Ipv6AddressCount", "2"),
        ]);
        let launch = as_launch(&data).expect("a launch");
        let [first, second] = launch.network_interfaces.as_slice() else {
            panic!("two interfaces");
        };
        assert_eq!(first.ipv6_addresses.len(), 1);
        assert_eq!(first.ipv4_prefixes.len(), 1);
        assert_eq!(first.ipv6_prefixes.len(), 1);
        assert_eq!(first.primary_ipv6, Some(true));
        assert_eq!(second.ipv6_address_count, Some(2));
        let shown = answer(&data).expect("an answer").network_interfaces;
        let [first, second] = shown.as_deref().unwrap_or_default() else {
            panic!("two interfaces");
        };
        assert_eq!(first.ipv6_addresses.as_ref().map(Vec::len), Some(1));
        assert_eq!(first.ipv4_prefixes.as_ref().map(Vec::len), Some(1));
        assert_eq!(first.ipv6_prefixes.as_ref().map(Vec::len), Some(1));
        let timeouts = first.connection_tracking_specification.as_ref();
        assert_eq!(timeouts.and_then(|all| all.udp_timeout), Some(45));
        assert_eq!(second.ipv6_addresses, None);
        let unreadable = parameters(&[("NetworkInterface.1.PrimaryIpv6", "perhaps")]);
        assert!(as_launch(&unreadable).is_err());
    }

    #[test]
    fn what_the_request_says_wins() {
        let template = as_launch(&parameters(&[
            ("ImageId", "ami-1"),
            ("InstanceType", "t3.nano"),
            ("SecurityGroupId.1", "sg-1"),
            ("SecurityGroupId.2", "sg-2"),
        ]));
        let request = RunInstancesRequest {
            instance_type: Some("m5.large".to_owned()),
            security_group_ids: vec!["sg-3".to_owned()],
            max_count: 7,
            ..RunInstancesRequest::default()
        };
        let filled = filled(request, template.expect("a launch"));
        assert_eq!(filled.image_id.as_deref(), Some("ami-1"));
        assert_eq!(filled.instance_type.as_deref(), Some("m5.large"));
        assert_eq!(filled.security_group_ids, ["sg-3"]);
        assert_eq!(filled.max_count, 7);
    }
}
