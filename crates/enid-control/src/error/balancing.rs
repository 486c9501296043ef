//! What load balancers, target groups, targets and listeners say instead of doing their work.
//!
//! Words are AWS's where answers of it are quoted in public issue threads; codes are the API model's.

// By code, then by name, as in `Error`.
errors! {
    /// Why an operation of Elastic Load Balancing was not done.
    enum BalancingError
    /// A listener's protocols that AWS does not have.
    AlpnPolicyNotFound { name: Box<str> } => "ALPNPolicyNotFound", "The ALPN policy '{name}' does not exist";
    /// An Elastic IP that is not there.
    AllocationNotFound { id: Box<str> } => "AllocationIdNotFound",
        "The allocation ID '{id}' does not exist";
    /// A certificate that ACM does not have.
    CertificateNotFound { arn: Box<str> } => "CertificateNotFound", "Certificate '{arn}' not found";
    /// A load balancer has a listener at the port.
    PortTaken => "DuplicateListener", "A listener with the specified port already exists.";
    /// A load balancer of the name is not as it is asked for.
    LoadBalancerNameTaken { name: Box<str> } => "DuplicateLoadBalancerName",
        "A load balancer with the same name '{name}' exists, but with different settings";
    /// One key for two tags.
    TagKeyTwice { key: Box<str> } => "DuplicateTagKeys", "Tag key '{key}' was specified more than once";
    /// A target group of the name is not as it is asked for.
    TargetGroupNameTaken { name: Box<str> } => "DuplicateTargetGroupName",
        "A target group with the same name '{name}' exists, but with different settings";
    /// A listener and a target group that do not speak the same.
    IncompatibleProtocols { listener: &'static str, group: Box<str>, protocol: &'static str } => "IncompatibleProtocols",
        "Target group '{group}' has the protocol {protocol}, to which a listener with the protocol {listener} cannot forward";
    /// An attribute whose value is none that it may have.
    AttributeValue { key: Box<str>, value: Box<str>, why: Box<str> } => "InvalidConfigurationRequest",
        "'{key}' value '{value}' is not valid: {why}";
    /// A bucket that takes no files.
    BucketDenied { bucket: Box<str> } => "InvalidConfigurationRequest",
        "Access Denied for bucket: {bucket}. Please check S3bucket permission";
    /// Attributes that exclude one another.
    Attributes { why: Box<str> } => "InvalidConfigurationRequest", "{why}";
    /// Settings that do not go together.
    Configuration { why: Box<str> } => "InvalidConfigurationRequest", "{why}";
    /// Settings of a health check that do not go together.
    HealthCheck { why: Box<str> } => "InvalidConfigurationRequest", "{why}";
    /// A target group of another VPC than the load balancer's.
    GroupOfOtherVpc { group: Box<str>, vpc: Box<str> } => "InvalidConfigurationRequest",
        "The following target groups are not in the load balancer's VPC '{vpc}': {group}";
    /// Two subnets of one zone.
    SubnetsOfOneZone => "InvalidConfigurationRequest",
        "A load balancer cannot be attached to multiple subnets in the same Availability Zone";
    /// A node keeps its subnet, its address and its Elastic IP.
    NodeFixed { subnet: Box<str> } => "InvalidConfigurationRequest",
        "The addresses and the subnet of a load balancer's node cannot be changed: {subnet}";
    /// Elastic IPs are for internet-facing load balancers, private addresses for internal ones.
    MappingOfOtherScheme { what: &'static str, scheme: &'static str } => "InvalidConfigurationRequest",
        "You cannot specify {what} for {scheme} load balancers";
    /// A load balancer without security groups gets none.
    SecurityGroupsFixed => "InvalidConfigurationRequest",
        "You cannot set security groups for a Network Load Balancer that was created without security groups";
    /// A load balancer with security groups keeps one.
    SecurityGroupsNeeded => "InvalidConfigurationRequest",
        "You must specify at least one security group for a Network Load Balancer that was created with security groups";
    /// An action of AWS's that a network load balancer does not have.
    Action { why: Box<str> } => "InvalidLoadBalancerAction", "{why}";
    /// A security group that is not there, or is of another VPC.
    SecurityGroup { id: Box<str> } => "InvalidSecurityGroup", "Security group '{id}' does not exist in the VPC";
    /// Subnets of several VPCs.
    SubnetsOfSeveralVpcs => "InvalidSubnet", "The specified subnets belong to different VPCs";
    /// A subnet with too few free addresses.
    SubnetTooFull { id: Box<str> } => "InvalidSubnet",
        "Not enough IP space available in {id}. ELB requires at least 8 free IP addresses in each subnet.";
    /// A private address that the subnet does not offer.
    PrivateAddress { address: Box<str>, subnet: Box<str>, why: Box<str> } => "InvalidSubnet",
        "The private IPv4 address '{address}' cannot be used in '{subnet}': {why}";
    /// A dualstack load balancer in a subnet without IPv6.
    SubnetWithoutIpv6 { id: Box<str> } => "InvalidSubnet",
        "You must specify subnets with an associated IPv6 CIDR block: '{id}' has none";
    /// An IPv6 address that the subnet does not offer.
    Ipv6Address { address: Box<str>, subnet: Box<str>, why: Box<str> } => "InvalidSubnet",
        "The IPv6 address '{address}' cannot be used in '{subnet}': {why}";
    /// An internet-facing load balancer in a VPC without an internet gateway.
    NoInternetGateway { vpc: Box<str> } => "InvalidSubnet", "VPC {vpc} has no internet gateway";
    /// Instances that are not of the group's VPC.
    TargetsOfOtherVpc { vpc: Box<str>, ids: Box<str> } => "InvalidTarget",
        "The following targets are not in the target group VPC '{vpc}': {ids}";
    /// Targets that are not there.
    TargetsNotFound { ids: Box<str> } => "InvalidTarget", "The following targets do not exist: {ids}";
    /// Instances that do not run.
    TargetsNotRunning { ids: Box<str> } => "InvalidTarget",
        "The following targets are not in a running state and cannot be registered: {ids}";
    /// Instances whose primary interface has no primary IPv6 address.
    TargetsWithoutIpv6 { ids: Box<str> } => "InvalidTarget",
        "The following targets do not have a primary IPv6 address: {ids}";
    /// Targets that the group does not have.
    TargetsNotRegistered { ids: Box<str> } => "InvalidTarget",
        "The following targets are not registered to the target group: {ids}";
    /// There is no such listener.
    ListenerNotFound => "ListenerNotFound", "One or more listeners not found";
    /// There is no load balancer of an ARN.
    LoadBalancerNotFound { arn: Box<str> } => "LoadBalancerNotFound", "Load balancer '{arn}' not found";
    /// There are no load balancers of these names or ARNs.
    LoadBalancersNotFound { named: Box<str> } => "LoadBalancerNotFound", "Load balancers '[{named}]' not found";
    /// A load balancer that shall not be deleted.
    DeletionProtected { arn: Box<str> } => "OperationNotPermitted",
        "Load balancer '{arn}' cannot be deleted because deletion protection is enabled";
    /// Nobody but the service changes what it has.
    NotPermitted { why: Box<str> } => "OperationNotPermitted", "{why}";
    /// An Elastic IP that stands for another address.
    AllocationInUse { id: Box<str> } => "ResourceInUse", "The allocation ID '{id}' is already in use";
    /// A target group that a listener leads to.
    TargetGroupInUse { arn: Box<str> } => "ResourceInUse",
        "Target group '{arn}' is currently in use by a listener or a rule";
    /// There is no such rule.
    RuleNotFound => "RuleNotFound", "One or more rules not found";
    /// A security policy that AWS does not have.
    SslPolicyNotFound { name: Box<str> } => "SSLPolicyNotFound", "SSL policy '{name}' not found";
    /// A subnet that is not there.
    SubnetNotFound { id: Box<str> } => "SubnetNotFound", "The subnet ID '{id}' does not exist";
    /// A target group has one load balancer.
    TargetGroupAssociationLimit { arn: Box<str> } => "TargetGroupAssociationLimit",
        "The following target groups cannot be associated with more than one load balancer: {arn}";
    /// There is no target group of an ARN.
    TargetGroupNotFound { arn: Box<str> } => "TargetGroupNotFound", "Target group '{arn}' not found";
    /// There are none of these names or ARNs.
    TargetGroupsNotFound => "TargetGroupNotFound", "One or more target groups not found";
    /// More than one action.
    TooManyActions => "TooManyActions", "You cannot specify more than one action for this listener";
    /// The quota of certificates of a listener.
    TooManyCertificates => "TooManyCertificates",
        "The maximum number of certificates on the listener has been reached";
    /// The quota of target groups of an action.
    TooManyGroupsPerAction { limit: usize } => "TooManyActions",
        "The maximum number of target groups per action is {limit}";
    /// The quota of listeners of a load balancer.
    TooManyListeners => "TooManyListeners", "You've reached the limit on the number of listeners per load balancer";
    /// The quota of load balancers in the region.
    TooManyLoadBalancers => "TooManyLoadBalancers",
        "You've reached the limit on the number of load balancers for your AWS account";
    /// The quota of nodes of load balancers in a VPC.
    TooManyNodes => "InvalidConfigurationRequest",
        "You've reached the limit on the number of network interfaces of Network Load Balancers for the VPC";
    /// More tags than a resource may have.
    TooManyTags => "TooManyTags",
        "The quota for the number of tags that can be assigned to a load balancer has been reached";
    /// The quota of target groups in the region.
    TooManyTargetGroups => "TooManyTargetGroups",
        "You've reached the limit on the number of target groups for your AWS account";
    /// The quotas of targets.
    TooManyTargets => "TooManyTargets", "You've reached the limit on the number of targets";
    /// The quota of targets of a zone, if zones were crossed.
    TooManyTargetsCrossing => "InvalidConfigurationRequest",
        "You've reached the limit on the number of targets for cross-zone load balancing";
    /// What Enid cannot do, though AWS can.
    NotImplemented { what: Box<str> } => "UnsupportedOperation", "Enid does not implement {what}";
    /// What AWS says of a request that cannot be meant.
    Validation { why: Box<str> } => "ValidationError", "{why}";
}

impl BalancingError {
    /// What AWS says of a request that cannot be meant.
    pub fn validation(why: impl Into<Box<str>>) -> Self {
        Self::Validation { why: why.into() }
    }

    /// The error for an id that names no resource of these.
    pub(super) fn not_found(prefix: &str, text: &str) -> Option<Self> {
        let arn = text.into();
        Some(match prefix {
            "listener" => Self::ListenerNotFound,
            "loadbalancer" => Self::LoadBalancerNotFound { arn },
            "targetgroup" => Self::TargetGroupNotFound { arn },
            _ => return None,
        })
    }

    /// Settings that do not go together.
    pub(crate) fn configuration(why: impl Into<Box<str>>) -> Self {
        Self::Configuration { why: why.into() }
    }
}
