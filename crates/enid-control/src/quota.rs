//! How many of each resource there may be. The defaults are AWS's; a configuration can raise them.

/// The quotas of every region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// IPv4 blocks per VPC, the primary one included.
    pub cidr_blocks_per_vpc: usize,
    /// Security groups per network interface. AWS allows up to 16, and at most 1,000 for the
    /// product with [`Quotas::rules_per_group`].
    pub groups_per_interface: usize,
    /// IPv6 blocks per VPC.
    pub ipv6_cidr_blocks_per_vpc: usize,
    /// Elastic IP addresses per region.
    pub addresses: usize,
    /// Elastic IP addresses per NAT gateway. AWS allows up to 8.
    pub addresses_per_nat_gateway: usize,
    /// Egress-only internet gateways per region.
    pub egress_only_internet_gateways: usize,
    /// Flow logs per resource.
    pub flow_logs_per_resource: usize,
    /// Internet gateways per region.
    pub internet_gateways: usize,
    /// NAT gateways per zone.
    pub nat_gateways_per_zone: usize,
    /// Network load balancers per region.
    pub network_load_balancers: usize,
    /// Interfaces of nodes of load balancers in a VPC.
    pub load_balancer_nodes_per_vpc: usize,
    /// Network interfaces per region.
    pub network_interfaces: usize,
    /// Managed prefix lists per region.
    pub prefix_lists: usize,
    /// Entries per network ACL, counted apart for each direction and address family.
    pub entries_per_network_acl: usize,
    /// Network ACLs per VPC.
    pub network_acls_per_vpc: usize,
    /// Requests for peering that nobody has answered, per region.
    pub outstanding_peerings: usize,
    /// Active peering connections per VPC.
    pub peerings_per_vpc: usize,
    /// Route tables per VPC.
    pub route_tables_per_vpc: usize,
    /// Routes per route table, counted apart for each address family, local routes left out.
    pub routes_per_table: usize,
    /// Rules per security group, counted apart for each direction and address family.
    pub rules_per_group: usize,
    /// Security groups per region.
    pub security_groups: usize,
    /// Subnets per VPC.
    pub subnets_per_vpc: usize,
    /// Target groups per region.
    pub target_groups: usize,
    /// Filters of mirrored packets per region.
    pub traffic_mirror_filters: usize,
    /// Sessions that mirror packets per region.
    pub traffic_mirror_sessions: usize,
    /// Targets of mirrored packets per region.
    pub traffic_mirror_targets: usize,
    /// VPCs per region.
    pub vpcs: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            cidr_blocks_per_vpc: 5,
            groups_per_interface: 5,
            ipv6_cidr_blocks_per_vpc: 5,
            addresses: 5,
            addresses_per_nat_gateway: 2,
            egress_only_internet_gateways: 5,
            flow_logs_per_resource: 250,
            internet_gateways: 5,
            nat_gateways_per_zone: 5,
            network_load_balancers: 50,
            load_balancer_nodes_per_vpc: 1200,
            network_interfaces: 5_000,
            prefix_lists: 100,
            entries_per_network_acl: 20,
            network_acls_per_vpc: 200,
            outstanding_peerings: 25,
            peerings_per_vpc: 50,
            route_tables_per_vpc: 200,
            routes_per_table: 500,
            rules_per_group: 60,
            security_groups: 2_500,
            subnets_per_vpc: 200,
            target_groups: 3_000,
            traffic_mirror_filters: 10_000,
            traffic_mirror_sessions: 10_000,
            traffic_mirror_targets: 10_000,
            vpcs: 5,
        }
    }
}
