//! EC2: each operation's request becomes a call of the control plane, and what that returns its
//! answer. One file per resource.

mod account;
mod address;
mod candidates;
mod dhcp_options;
mod egress_only_internet_gateway;
pub mod filter;
mod flow_log;
mod id;
mod image;
mod instance;
mod instance_metadata;
mod instance_type;
mod internet_gateway;
mod key_pair;
mod launch_template;
mod nat_gateway;
mod network_acl;
mod network_acl_entry;
mod network_interface;
pub mod page;
mod prefix_list;
mod private_dns_name;
mod region;
mod route;
mod route_table;
mod security_group;
mod security_group_permission;
mod security_group_reference;
mod security_group_rule;
mod security_group_vpc_association;
mod subnet;
mod subnet_cidr_block;
mod subnet_cidr_reservation;
mod tag;
mod traffic_mirror_filter;
mod traffic_mirror_filter_rule;
mod traffic_mirror_session;
mod traffic_mirror_target;
mod volume;
mod vpc;
mod vpc_cidr_block;
mod vpc_peering_connection;

use std::sync::Arc;

use enid_control::Control;

use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::operations::{Request, Response};

pub use flow_log::{Asking, Deliveries};
pub use instance::console::{Console, ConsoleOutput};

/// The operations of EC2.
pub struct Ec2 {
    control: Arc<Control>,
    console: Arc<dyn Console>,
    deliveries: Arc<dyn Deliveries>,
    written: network_interface::written::Written,
}

impl Ec2 {
    /// EC2 before this control plane. Instances have no console until [`Ec2::with_console`].
    #[must_use]
    pub fn new(control: Arc<Control>) -> Self {
        let console = Arc::new(instance::console::NoConsole);
        Self {
            control,
            console,
            deliveries: Arc::new(flow_log::NoDeliveries),
            written: network_interface::written::Written::default(),
        }
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The same with the consoles of a host's instances.
    #[must_use]
    pub fn with_console(self, console: Arc<dyn Console>) -> Self {
        Self { console, ..self }
    }

    /// The same with what becomes of flow logs' records.
    #[must_use]
    pub fn with_deliveries(self, deliveries: Arc<dyn Deliveries>) -> Self {
        Self { deliveries, ..self }
    }
}

/// `Operation => handler`: the handler is an `async fn(&Ec2, &Context, OperationRequest)` that
/// returns `Result<OperationResponse, ApiError>`. The support table lists no operation
/// without one: that would not compile.
macro_rules! handlers {
    ($($operation:ident => $handler:path,)*) => {
        impl Ec2 {
            /// Carries out a request.
            pub async fn call(
                &self,
                context: &Context,
                request: Request,
            ) -> Result<Response, ApiError> {
                match request {
                    $(Request::$operation(request) => {
                        $handler(self, context, *request).await.map(Response::from)
                    })*
                }
            }
        }
    };
}

handlers! {
    AcceptVpcPeeringConnection => vpc_peering_connection::accept_vpc_peering_connection,
    AllocateAddress => address::allocate_address,
    AssignIpv6Addresses => network_interface::ipv6::assign_ipv6_addresses,
    AssignPrivateIpAddresses => network_interface::assign_private_ip_addresses,
    AssignPrivateNatGatewayAddress => nat_gateway::assign_private_nat_gateway_address,
    AssociateAddress => address::associate_address,
    AssociateDhcpOptions => dhcp_options::associate_dhcp_options,
    AssociateNatGatewayAddress => nat_gateway::associate_nat_gateway_address,
    AssociateRouteTable => route_table::associate_route_table,
    AssociateSecurityGroupVpc => security_group_vpc_association::associate_security_group_vpc,
    AssociateSubnetCidrBlock => subnet_cidr_block::associate_subnet_cidr_block,
    AssociateVpcCidrBlock => vpc_cidr_block::associate_vpc_cidr_block,
    AttachInternetGateway => internet_gateway::attach_internet_gateway,
    AttachNetworkInterface => network_interface::attach_network_interface,
    AuthorizeSecurityGroupEgress => security_group_rule::authorize_egress,
    AuthorizeSecurityGroupIngress => security_group_rule::authorize_ingress,
    CreateDefaultSubnet => subnet::create_default_subnet,
    CreateDefaultVpc => vpc::create_default_vpc,
    CreateDhcpOptions => dhcp_options::create_dhcp_options,
    CreateEgressOnlyInternetGateway => egress_only_internet_gateway::create_egress_only_internet_gateway,
    CreateFlowLogs => flow_log::create_flow_logs,
    CreateInternetGateway => internet_gateway::create_internet_gateway,
    CreateKeyPair => key_pair::create_key_pair,
    CreateLaunchTemplate => launch_template::create_launch_template,
    CreateLaunchTemplateVersion => launch_template::create_launch_template_version,
    CreateManagedPrefixList => prefix_list::create_managed_prefix_list,
    CreateNatGateway => nat_gateway::create_nat_gateway,
    CreateNetworkAcl => network_acl::create_network_acl,
    CreateNetworkAclEntry => network_acl_entry::create_network_acl_entry,
    CreateNetworkInterface => network_interface::create_network_interface,
    CreateNetworkInterfacePermission => network_interface::permission::create_network_interface_permission,
    CreateRoute => route::create_route,
    CreateRouteTable => route_table::create_route_table,
    CreateSecurityGroup => security_group::create_security_group,
    CreateSubnet => subnet::create_subnet,
    CreateSubnetCidrReservation => subnet_cidr_reservation::create_subnet_cidr_reservation,
    CreateTags => tag::create_tags,
    CreateTrafficMirrorFilter => traffic_mirror_filter::create_traffic_mirror_filter,
    CreateTrafficMirrorFilterRule => traffic_mirror_filter_rule::create_traffic_mirror_filter_rule,
    CreateTrafficMirrorSession => traffic_mirror_session::create_traffic_mirror_session,
    CreateTrafficMirrorTarget => traffic_mirror_target::create_traffic_mirror_target,
    CreateVpc => vpc::create_vpc,
    CreateVpcPeeringConnection => vpc_peering_connection::create_vpc_peering_connection,
    DeleteDhcpOptions => dhcp_options::delete_dhcp_options,
    DeleteEgressOnlyInternetGateway => egress_only_internet_gateway::delete_egress_only_internet_gateway,
    DeleteFlowLogs => flow_log::delete_flow_logs,
    DeleteInternetGateway => internet_gateway::delete_internet_gateway,
    DeleteKeyPair => key_pair::delete_key_pair,
    DeleteLaunchTemplate => launch_template::delete_launch_template,
    DeleteLaunchTemplateVersions => launch_template::delete_launch_template_versions,
    DeleteManagedPrefixList => prefix_list::delete_managed_prefix_list,
    DeleteNatGateway => nat_gateway::delete_nat_gateway,
    DeleteNetworkAcl => network_acl::delete_network_acl,
    DeleteNetworkAclEntry => network_acl_entry::delete_network_acl_entry,
    DeleteNetworkInterface => network_interface::delete_network_interface,
    DeleteNetworkInterfacePermission => network_interface::permission::delete_network_interface_permission,
    DeleteRoute => route::delete_route,
    DeleteRouteTable => route_table::delete_route_table,
    DeleteSecurityGroup => security_group::delete_security_group,
    DeleteSubnet => subnet::delete_subnet,
    DeleteSubnetCidrReservation => subnet_cidr_reservation::delete_subnet_cidr_reservation,
    DeleteTags => tag::delete_tags,
    DeleteTrafficMirrorFilter => traffic_mirror_filter::delete_traffic_mirror_filter,
    DeleteTrafficMirrorFilterRule => traffic_mirror_filter_rule::delete_traffic_mirror_filter_rule,
    DeleteTrafficMirrorSession => traffic_mirror_session::delete_traffic_mirror_session,
    DeleteTrafficMirrorTarget => traffic_mirror_target::delete_traffic_mirror_target,
    DeleteVpc => vpc::delete_vpc,
    DeleteVpcPeeringConnection => vpc_peering_connection::delete_vpc_peering_connection,
    DeleteVolume => volume::delete_volume,
    DescribeAccountAttributes => account::describe_account_attributes,
    DescribeAddresses => address::describe::describe_addresses,
    DescribeAddressesAttribute => address::describe::describe_addresses_attribute,
    DescribeAvailabilityZones => region::describe_availability_zones,
    DescribeDhcpOptions => dhcp_options::describe_dhcp_options,
    DescribeEgressOnlyInternetGateways => egress_only_internet_gateway::describe_egress_only_internet_gateways,
    DescribeFlowLogs => flow_log::describe_flow_logs,
    DescribeImages => image::describe_images,
    DescribeInstanceAttribute => instance::attribute::describe_instance_attribute,
    DescribeIamInstanceProfileAssociations => instance::credit::describe_iam_instance_profile_associations,
    DescribeInstanceCreditSpecifications => instance::credit::describe_instance_credit_specifications,
    DescribeInstanceStatus => instance::status::describe_instance_status,
    DescribeInstanceTypeOfferings => instance_type::describe_instance_type_offerings,
    DescribeInstanceTypes => instance_type::describe_instance_types,
    DescribeInstances => instance::describe::describe_instances,
    DescribeIpv6Pools => vpc_cidr_block::describe_ipv6_pools,
    DescribeInternetGateways => internet_gateway::describe_internet_gateways,
    DescribeKeyPairs => key_pair::describe_key_pairs,
    DescribeLaunchTemplateVersions => launch_template::describe::describe_launch_template_versions,
    DescribeLaunchTemplates => launch_template::describe::describe_launch_templates,
    DescribeManagedPrefixLists => prefix_list::describe_managed_prefix_lists,
    DescribeNatGateways => nat_gateway::describe_nat_gateways,
    DescribeNetworkAcls => network_acl::describe_network_acls,
    DescribeNetworkInterfaceAttribute => network_interface::describe::describe_network_interface_attribute,
    DescribeNetworkInterfacePermissions => network_interface::permission::describe_network_interface_permissions,
    DescribeNetworkInterfaces => network_interface::describe::describe_network_interfaces,
    DescribePrefixLists => prefix_list::describe_prefix_lists,
    DescribePublicIpv4Pools => address::describe::describe_public_ipv4_pools,
    DescribeRegions => region::describe_regions,
    DescribeRouteTables => route_table::describe_route_tables,
    DescribeSecurityGroupReferences => security_group_reference::describe_security_group_references,
    DescribeSecurityGroupRules => security_group_rule::describe_security_group_rules,
    DescribeSecurityGroupVpcAssociations => security_group_vpc_association::describe_security_group_vpc_associations,
    DescribeSecurityGroups => security_group::describe_security_groups,
    DescribeStaleSecurityGroups => security_group_reference::describe_stale_security_groups,
    DescribeSubnets => subnet::describe_subnets,
    DescribeTags => tag::describe_tags,
    DescribeTrafficMirrorFilterRules => traffic_mirror_filter_rule::describe_traffic_mirror_filter_rules,
    DescribeTrafficMirrorFilters => traffic_mirror_filter::describe_traffic_mirror_filters,
    DescribeTrafficMirrorSessions => traffic_mirror_session::describe_traffic_mirror_sessions,
    DescribeTrafficMirrorTargets => traffic_mirror_target::describe_traffic_mirror_targets,
    DescribeVolumes => volume::describe_volumes,
    DescribeVpcAttribute => vpc::describe_vpc_attribute,
    DescribeVpcPeeringConnections => vpc_peering_connection::describe_vpc_peering_connections,
    DescribeVpcs => vpc::describe_vpcs,
    DetachInternetGateway => internet_gateway::detach_internet_gateway,
    DetachNetworkInterface => network_interface::detach_network_interface,
    DisassociateSubnetCidrBlock => subnet_cidr_block::disassociate_subnet_cidr_block,
    DisassociateVpcCidrBlock => vpc_cidr_block::disassociate_vpc_cidr_block,
    GetConsoleOutput => instance::console::get_console_output,
    GetSubnetCidrReservations => subnet_cidr_reservation::get_subnet_cidr_reservations,
    DisassociateAddress => address::disassociate_address,
    DisassociateNatGatewayAddress => nat_gateway::disassociate_nat_gateway_address,
    DisassociateRouteTable => route_table::disassociate_route_table,
    DisassociateSecurityGroupVpc => security_group_vpc_association::disassociate_security_group_vpc,
    GetInstanceMetadataDefaults => instance_metadata::get_instance_metadata_defaults,
    GetLaunchTemplateData => launch_template::of_instance::get_launch_template_data,
    GetManagedPrefixListAssociations => prefix_list::get_managed_prefix_list_associations,
    GetManagedPrefixListEntries => prefix_list::get_managed_prefix_list_entries,
    GetSecurityGroupsForVpc => security_group_vpc_association::get_security_groups_for_vpc,
    ImportKeyPair => key_pair::import_key_pair,
    ModifyAddressAttribute => address::modify_address_attribute,
    ModifyInstanceAttribute => instance::attribute::modify_instance_attribute,
    ModifyInstanceCreditSpecification => instance::credit::modify_instance_credit_specification,
    ModifyInstanceMetadataDefaults => instance_metadata::modify_instance_metadata_defaults,
    ModifyInstanceMetadataOptions => instance_metadata::modify_instance_metadata_options,
    ModifyLaunchTemplate => launch_template::modify_launch_template,
    ModifyManagedPrefixList => prefix_list::modify_managed_prefix_list,
    ModifyNetworkInterfaceAttribute => network_interface::modify_network_interface_attribute,
    ModifyPrivateDnsNameOptions => private_dns_name::modify_private_dns_name_options,
    ModifySecurityGroupRules => security_group_rule::modify_security_group_rules,
    ModifySubnetAttribute => subnet::modify_subnet_attribute,
    ModifyTrafficMirrorFilterNetworkServices => traffic_mirror_filter::modify_traffic_mirror_filter_network_services,
    ModifyTrafficMirrorFilterRule => traffic_mirror_filter_rule::modify_traffic_mirror_filter_rule,
    ModifyTrafficMirrorSession => traffic_mirror_session::modify_traffic_mirror_session,
    ModifyVpcAttribute => vpc::modify_vpc_attribute,
    ModifyVpcPeeringConnectionOptions => vpc_peering_connection::modify_options,
    MonitorInstances => instance::attribute::monitor_instances,
    RebootInstances => instance::reboot_instances,
    RejectVpcPeeringConnection => vpc_peering_connection::reject_vpc_peering_connection,
    ReleaseAddress => address::release_address,
    ReplaceNetworkAclAssociation => network_acl::replace_network_acl_association,
    ReplaceNetworkAclEntry => network_acl_entry::replace_network_acl_entry,
    ReplaceRoute => route::replace_route,
    ReplaceRouteTableAssociation => route_table::replace_route_table_association,
    ResetAddressAttribute => address::reset_address_attribute,
    ResetInstanceAttribute => instance::attribute::reset_instance_attribute,
    ResetNetworkInterfaceAttribute => network_interface::reset_network_interface_attribute,
    RestoreManagedPrefixListVersion => prefix_list::restore_managed_prefix_list_version,
    RevokeSecurityGroupEgress => security_group_rule::revoke_egress,
    RevokeSecurityGroupIngress => security_group_rule::revoke_ingress,
    RunInstances => instance::launch::run_instances,
    StartInstances => instance::start_instances,
    StopInstances => instance::stop_instances,
    TerminateInstances => instance::terminate_instances,
    UnassignIpv6Addresses => network_interface::ipv6::unassign_ipv6_addresses,
    UnassignPrivateIpAddresses => network_interface::unassign_private_ip_addresses,
    UnassignPrivateNatGatewayAddress => nat_gateway::unassign_private_nat_gateway_address,
    UnmonitorInstances => instance::attribute::unmonitor_instances,
    UpdateSecurityGroupRuleDescriptionsEgress => security_group_rule::update_descriptions_egress,
    UpdateSecurityGroupRuleDescriptionsIngress => security_group_rule::update_descriptions_ingress,
}
