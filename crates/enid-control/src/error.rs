//! What an operation can say instead of doing its work, with AWS's code and words.
//!
//! Sources of codes and words: the EC2 Developer Guide's error code pages, and answers of AWS
//! that are quoted in public issue threads.

use std::net::Ipv4Addr;
use std::sync::Arc;

use enid_model::id::{
    AllocationId, AssociationId, EniId, InstanceId, InternetGatewayId, LaunchTemplateId,
    NetworkInterfacePermissionId, PrefixListId, ResourceId, SecurityGroupId, SubnetId, VpcId,
};
use enid_model::key::AccountId;

macro_rules! errors {
    (
        $(#[$error_doc:meta])*
        enum $error:ident $({ $($(#[$part_doc:meta])* $part:ident,)* })?
        $(
            $(#[$doc:meta])*
            $name:ident $({ $($field:ident: $type:ty),* $(,)? })? => $code:literal, $text:literal;
        )*
    ) => {
        $(#[$error_doc])*
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum $error {
            $($(
                $(#[$part_doc])*
                #[error(transparent)]
                $part(#[from] $part),
            )*)?
            $(
                $(#[$doc])*
                #[error($text)]
                #[allow(missing_docs, reason = "the fields are what the message names")]
                $name $({ $($field: $type),* })?,
            )*
        }

        impl $error {
            /// AWS's error code.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self {
                    $($(Self::$part(part) => part.code(),)*)?
                    $(Self::$name { .. } => $code,)*
                }
            }
        }
    };
}

mod addressing;
mod alarms;
mod balancing;
mod certificate;
mod computing;
mod dashboards;
mod flow_log;
mod instance_metadata;
mod logs;
mod mirroring;
mod notification;
mod routing;

pub use addressing::AddressingError;
pub use alarms::AlarmError;
pub use balancing::BalancingError;
pub use certificate::CertificateError;
pub use computing::ComputingError;
pub use dashboards::DashboardError;
pub use flow_log::FlowLogError;
pub use instance_metadata::MetadataError;
pub use logs::LogsError;
pub use mirroring::MirroringError;
pub use notification::NotificationError;
pub use routing::RoutingError;

// By code, then by name. Messages are AWS's, so they start with a capital and end with a stop
// where AWS's do.
errors! {
    /// Why an operation was not done. Nothing has changed.
    enum Error {
        /// What CIDR blocks, IPv6 addresses and delegated prefixes say.
        AddressingError,
        /// What alarms say.
        AlarmError,
        /// What load balancers, target groups, targets and listeners say.
        BalancingError,
        /// What certificates say.
        CertificateError,
        /// What volumes and other recorded parts of instances say.
        ComputingError,
        /// What dashboards say.
        DashboardError,
        /// What flow logs say.
        FlowLogError,
        /// What log groups and their filters say.
        LogsError,
        /// What metadata options say.
        MetadataError,
        /// What targets, filters and sessions of traffic mirroring say.
        MirroringError,
        /// What topics and subscriptions say.
        NotificationError,
        /// What network ACLs, route tables, peering connections and option sets say.
        RoutingError,
    }
    /// The quota of Elastic IPs in the region.
    AddressLimitExceeded => "AddressLimitExceeded", "The maximum number of addresses has been reached.";
    /// The instance type allows no more interfaces.
    AttachmentLimitExceeded { count: usize, instance_type: Box<str> } => "AttachmentLimitExceeded",
        "Interface count {count} exceeds the limit for {instance_type}";
    /// What a service of the region made and keeps cannot be changed by its users.
    ManagedByService => "AuthFailure", "You do not have permission to access the specified resource.";
    /// A VPC's default group goes only with its VPC.
    DefaultGroup { id: SecurityGroupId } => "CannotDelete",
        "the specified group: \"{id}\" name: \"default\" cannot be deleted by a user";
    /// A zone has its default subnet already.
    DefaultSubnetExists { id: SubnetId, zone: Box<str> } => "DefaultSubnetAlreadyExistsInAvailabilityZone",
        "'{id}' is already the default subnet in {zone}.";
    /// The region has its default VPC already.
    DefaultVpcExists => "DefaultVpcAlreadyExists",
        "A Default VPC already exists for this account in this region.";
    /// There is no default VPC to make a default subnet in.
    DefaultVpcMissing => "DefaultVpcDoesNotExist", "No default VPC exists for this account in this region.";
    /// A group is still carried by an interface or named by another group's rule.
    GroupInUse { id: SecurityGroupId } => "DependencyViolation", "resource {id} has a dependent object";
    /// A prefix list is still named by a rule or a route.
    PrefixListInUse { id: PrefixListId } => "DependencyViolation",
        "The prefix list '{id}' is referenced by other resources and cannot be deleted.";
    /// An internet gateway is still attached.
    InternetGatewayInUse { id: InternetGatewayId } => "DependencyViolation",
        "The internetGateway '{id}' has dependencies and cannot be deleted.";
    /// An internet gateway still translates for public addresses.
    PublicAddressesMapped { vpc: VpcId } => "DependencyViolation",
        "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.";
    /// A subnet still has interfaces.
    SubnetInUse { id: SubnetId } => "DependencyViolation",
        "The subnet '{id}' has dependencies and cannot be deleted.";
    /// A VPC still has subnets or groups.
    VpcInUse { id: VpcId } => "DependencyViolation",
        "The vpc '{id}' has dependencies and cannot be deleted.";
    /// A call that would have succeeded, with the dry-run flag.
    DryRun => "DryRunOperation", "Request would have succeeded, but DryRun flag is set.";
    /// The quota of egress-only internet gateways in the region.
    EgressOnlyGatewayLimitExceeded => "EgressOnlyInternetGatewayLimitExceeded",
        "The maximum number of egress only internet gateways has been reached.";
    /// An internet gateway is not attached to the VPC that a request names.
    InternetGatewayNotAttached { id: InternetGatewayId, vpc: VpcId } => "Gateway.NotAttached",
        "resource {id} is not attached to network {vpc}";
    /// A public NAT gateway in a VPC without an internet gateway.
    NatGatewayWithoutInternet { vpc: VpcId } => "Gateway.NotAttached",
        "Network {vpc} has no Internet gateway attached";
    /// A public address in a VPC without an internet gateway.
    NetworkNotAttached { vpc: VpcId } => "Gateway.NotAttached",
        "Network {vpc} is not attached to any internet gateway";
    /// A client token was used for another request.
    IdempotentParameterMismatch => "IdempotentParameterMismatch",
        "The client token you have provided is associated with a resource that was created with different parameters";
    /// An instance that is being made, or is gone, cannot have an Elastic IP.
    InstanceNotAssociable { id: InstanceId, state: &'static str } => "IncorrectInstanceState",
        "The {state} instance '{id}' is not in a valid state for this operation.";
    /// An instance that does not run cannot be rebooted.
    InstanceNotRunning { id: InstanceId } => "IncorrectInstanceState",
        "The instance '{id}' is not in the 'running' state.";
    /// A terminated instance, or one on its way, cannot be started.
    InstanceNotStartable { id: InstanceId } => "IncorrectInstanceState",
        "The instance '{id}' is not in a state from which it can be started.";
    /// A terminated instance cannot be stopped.
    InstanceNotStoppable { id: InstanceId } => "IncorrectInstanceState",
        "This instance '{id}' is not in a state from which it can be stopped.";
    /// An attribute that can change only while the instance is stopped.
    InstanceNotStopped { id: InstanceId } => "IncorrectInstanceState",
        "The instance '{id}' is not in the 'stopped' state.";
    /// An instance cannot be attached to: it is terminated.
    InstanceNotAttachable { id: InstanceId } => "IncorrectState",
        "The instance '{id}' is not in the 'running' or 'stopped' state.";
    /// More instances than one call may launch.
    InstanceLimitExceeded { wanted: usize } => "InstanceLimitExceeded",
        "You have requested more instances ({wanted}) than one call can launch";
    /// All public addresses are taken.
    InsufficientAddressCapacity => "InsufficientAddressCapacity",
        "Not enough available addresses to satisfy your minimum request";
    /// The subnet has too few free addresses.
    InsufficientFreeAddresses => "InsufficientFreeAddressesInSubnet",
        "The specified subnet does not have enough free addresses to satisfy the request.";
    /// The store's disk is full.
    StoreFull => "InsufficientStorage", "There is no space left on the disk that holds Enid's store";
    /// A host could not make an instance run.
    BootFailed { id: InstanceId, cause: Arc<str> } => "InternalError",
        "The instance '{id}' could not be started: {cause}";
    /// A host could not make a new instance run; all of the launch is undone.
    LaunchFailed { cause: Arc<str> } => "InternalError",
        "The launch has been undone because an instance could not be started: {cause}";
    /// A key could not be made.
    KeyUnmakeable => "InternalError", "An internal error has occurred";
    /// A host has not obeyed in time.
    NotEnforced => "InternalError", "The change is stored, but a host does not enforce it yet";
    /// The store has stopped.
    StoreStopped => "InternalError", "An internal error has occurred";
    /// Others changed what the operation had read, again and again.
    TooManyRivals => "InternalError", "An internal error has occurred";
    /// The quota of internet gateways in the region.
    InternetGatewayLimitExceeded => "InternetGatewayLimitExceeded",
        "The maximum number of internet gateways has been reached.";
    /// An address whose reverse DNS record keeps it.
    AddressLocked { id: AllocationId } => "InvalidAddress.Locked",
        "The address with allocation id [{id}] cannot be released because it is locked to your account. Reset its domain name first.";
    /// No address of the caller's, or none that the caller can have.
    PublicAddressNotFound { address: Box<str> } => "InvalidAddress.NotFound", "Address '{address}' not found.";
    /// An allocation id names none.
    AllocationNotFound { id: Box<str> } => "InvalidAllocationID.NotFound",
        "The allocation ID '{id}' does not exist";
    /// An image id that is none.
    ImageMalformed { image: Box<str> } => "InvalidAMIID.Malformed",
        "Invalid id: \"{image}\" (expecting \"ami-...\")";
    /// An image id that names none, where images are strict.
    ImageNotFound { image: Box<str> } => "InvalidAMIID.NotFound",
        "The image id '[{image}]' does not exist";
    /// A group that is not associated with the VPC.
    GroupNotAssociated { id: SecurityGroupId, vpc: VpcId } => "InvalidAssociationID.NotFound",
        "The security group '{id}' is not associated with the VPC '{vpc}'";
    /// An association id names none.
    AssociationNotFound { id: Box<str> } => "InvalidAssociationID.NotFound",
        "The association ID '{id}' does not exist";
    /// An attachment id names none.
    AttachmentNotFound { id: Box<str> } => "InvalidAttachmentID.NotFound",
        "The network interface attachment ID '{id}' does not exist";
    /// An egress-only internet gateway id names none.
    GatewayNotFound { id: Box<str> } => "InvalidGatewayID.NotFound", "The gateway ID '{id}' does not exist";
    /// A group's name is taken.
    GroupNameTaken { name: Box<str>, vpc: VpcId } => "InvalidGroup.Duplicate",
        "The security group '{name}' already exists for VPC '{vpc}'";
    /// Two groups, or a group and what it is for, are in different VPCs.
    DifferentNetworks => "InvalidGroup.NotFound",
        "You have specified two resources that belong to different networks.";
    /// A name is no group's of the default VPC.
    GroupNameNotFound { name: Box<str>, vpc: VpcId } => "InvalidGroup.NotFound",
        "The security group '{name}' does not exist in default VPC '{vpc}'";
    /// A security group id names none.
    SecurityGroupNotFound { id: Box<str> } => "InvalidGroup.NotFound", "The security group '{id}' does not exist";
    /// The name of default groups.
    GroupNameReserved { name: Box<str> } => "InvalidGroup.Reserved", "The security group '{name}' is reserved";
    /// An id of another kind names none.
    ResourceNotFound { id: Box<str> } => "InvalidID", "The ID '{id}' is not valid";
    /// A named address is taken.
    AddressInUse { address: Ipv4Addr } => "InvalidIPAddress.InUse",
        "The specified address is already in use.";
    /// A named address is taken, as RunInstances words it.
    AddressInUseAtLaunch { address: Ipv4Addr } => "InvalidIPAddress.InUse",
        "Address {address} is in use.";
    /// An Elastic IP that is associated is not released.
    ElasticIpInUse { address: Ipv4Addr } => "InvalidIPAddress.InUse", "Address {address} is in use.";
    /// An attribute of the instance's only interface, when there are several.
    SeveralInterfaces { id: InstanceId } => "InvalidInstanceID",
        "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead.";
    /// An instance id names none.
    InstanceNotFound { id: Box<str> } => "InvalidInstanceID.NotFound", "The instance ID '{id}' does not exist";
    /// Several instance ids name none.
    InstancesNotFound { ids: Box<str> } => "InvalidInstanceID.NotFound",
        "The instance IDs '{ids}' do not exist";
    /// The instance type allows fewer addresses per interface.
    InterfaceAddressLimitExceeded => "InvalidInterface.IpAddressLimitExceeded",
        "Number of private addresses will exceed limit.";
    /// An internet gateway id names none.
    InternetGatewayNotFound { id: Box<str> } => "InvalidInternetGatewayID.NotFound",
        "The internetGateway ID '{id}' does not exist";
    /// A text is no public key that can be imported.
    KeyUnreadable => "InvalidKey.Format", "Key is not in valid OpenSSH public key format";
    /// A key pair's name is taken.
    KeyPairNameTaken => "InvalidKeyPair.Duplicate", "The keypair already exists";
    /// A name is no key pair's.
    KeyPairNotFound { name: Box<str> } => "InvalidKeyPair.NotFound", "The key pair '{name}' does not exist";
    /// A key pair id names none.
    KeyPairIdNotFound { id: Box<str> } => "InvalidKeyPair.NotFound", "The key pair ID '{id}' does not exist";
    /// A launch template id names none.
    TemplateNotFound { id: Box<str> } => "InvalidLaunchTemplateId.NotFound",
        "The specified launch template, with template ID {id}, does not exist.";
    /// A launch template does not have the version.
    TemplateVersionNotFound { number: u64, id: LaunchTemplateId } => "InvalidLaunchTemplateId.VersionNotFound",
        "Could not find the specified version {number} for the launch template with ID {id}.";
    /// A launch template's name is taken.
    TemplateNameTaken => "InvalidLaunchTemplateName.AlreadyExistsException",
        "Launch template name already in use.";
    /// A name that no launch template can have.
    TemplateNameMalformed => "InvalidLaunchTemplateName.MalformedException",
        "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.";
    /// A name is no launch template's.
    TemplateNameNotFound { name: Box<str> } => "InvalidLaunchTemplateName.NotFoundException",
        "The specified launch template, with template name {name}, does not exist.";
    /// An interface that shall be launched with is attached already.
    InterfaceInUseAtLaunch { id: EniId } => "InvalidNetworkInterface.InUse",
        "Interface: [{id}] in use.";
    /// A network interface id names none.
    NetworkInterfaceNotFound { id: Box<str> } => "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{id}' does not exist";
    /// An id names no permission to use an interface.
    NetworkInterfacePermissionNotFound { id: Box<str> } => "InvalidNetworkInterfacePermissionID.NotFound",
        "The network interface permission ID '{id}' does not exist";
    /// A group and the subnet of a launch are in different VPCs.
    GroupOfOtherNetwork { group: SecurityGroupId, subnet: SubnetId } => "InvalidParameter",
        "Security group {group} and subnet {subnet} belong to different networks.";
    /// An Elastic IP by its address and by its id.
    AddressAndAllocation => "InvalidParameterCombination",
        "You may specify public IP or allocation id, but not both in the same call";
    /// An Elastic IP by its address, where its id is wanted.
    AllocationIdMissing => "InvalidParameterCombination",
        "You must specify an allocation id when mapping an address to a VPC instance";
    /// Addresses one by one and as a number.
    AddressListAndCount => "InvalidParameterCombination",
        "The parameters privateIpAddresses and secondaryPrivateIpAddressCount may not be used together";
    /// A public address at launch for an interface that exists, or is not the primary one.
    AssociatePublicElsewhere => "InvalidParameterCombination",
        "The associatePublicIPAddress parameter can only be specified for a new network interface at device index 0.";
    /// A public address at launch with several interfaces.
    AssociatePublicSeveral => "InvalidParameterCombination",
        "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.";
    /// An interface and an instance in different zones.
    AttachmentAcrossZones => "InvalidParameterCombination",
        "You may not attach a network interface to an instance if they are not in the same availability zone";
    /// An interface of a launch without a place.
    DeviceIndexMissing => "InvalidParameterCombination",
        "Each network interface requires a device index.";
    /// Two interfaces of a launch at one place.
    DeviceIndexTwice => "InvalidParameterCombination",
        "Each network interface requires a unique device index.";
    /// DNS hostnames without DNS support.
    DnsHostnamesWithoutSupport => "InvalidParameterCombination",
        "enableDnsHostnames cannot be true while enableDnsSupport is false";
    /// An interface that exists shall go with the instance.
    ExistingInterfaceDeleted => "InvalidParameterCombination",
        "deleteOnTermination can only be set to true for a network interface that the launch creates";
    /// An interface that exists is described as if it were new.
    ExistingInterfaceDescribed => "InvalidParameterCombination",
        "A network interface that exists may not be given a subnet ID, description, security groups or private IP addresses";
    /// The flat parameters of a rule beside its list form.
    FlatAndListed => "InvalidParameterCombination",
        "The parameter ipPermissions may not be used together with the parameters of a single permission";
    /// A group by its name beside a subnet.
    GroupNameWithSubnet => "InvalidParameterCombination",
        "The parameter groupName cannot be used with the parameter subnet";
    /// A group by its name and by its id.
    GroupTwice => "InvalidParameterCombination",
        "The parameters groupId and groupName may not be used together";
    /// An association with an instance and with an interface.
    InstanceAndInterface => "InvalidParameterCombination",
        "You may specify an instance id or a network interface id, but not both in the same call";
    /// More instances at least than at most.
    InstanceCountsContradict => "InvalidParameterCombination",
        "The parameter minCount may not be greater than the parameter maxCount";
    /// Networking of the instance beside its interfaces.
    InstanceLevelNetwork { what: &'static str } => "InvalidParameterCombination",
        "Network interfaces and an instance-level {what} may not be specified on the same request";
    /// Private addresses of a NAT gateway for some Elastic IPs and not for others.
    NatGatewayAddressesUnpaired => "InvalidParameterCombination",
        "The number of private IP addresses must be that of the allocation IDs";
    /// What only the other type of NAT gateway has.
    NatGatewayType { what: &'static str, has: &'static str } => "InvalidParameterCombination",
        "{what} may not be specified for a {has} NAT gateway";
    /// A call that changes one attribute names none.
    NoAttribute => "InvalidParameterCombination", "No attributes specified.";
    /// A launch without an interface at the first place.
    NoPrimaryInterface => "InvalidParameterCombination",
        "A network interface at device index 0 of network card 0 is required.";
    /// No block is named, or several are.
    OneBlock { names: &'static str } => "InvalidParameterCombination",
        "Exactly one of {names} must be specified";
    /// A rule with several peers where one is wanted.
    PeersSeveral => "InvalidParameterCombination",
        "Exactly one of cidrIpv4, cidrIpv6, prefixListId and referencedGroupId must be specified";
    /// A prefix list's entries and its size in one request.
    EntriesAndSize => "InvalidParameterCombination",
        "You cannot modify the entries and the maximum entries for the prefix list in the same request.";
    /// Rules by their ids and by their properties.
    RulesTwice { names: &'static str } => "InvalidParameterCombination",
        "The parameters {names} may not be used together";
    /// A call that changes one attribute names several.
    SeveralAttributes { names: Box<str> } => "InvalidParameterCombination",
        "Fields for multiple attribute types specified: {names}";
    /// Two addresses that both shall be the primary one.
    SeveralPrimaryAddresses => "InvalidParameterCombination",
        "Only one primary private IP address can be specified.";
    /// A source group beside what it stands for.
    SourceGroupNotAlone => "InvalidParameterCombination",
        "The parameter sourceSecurityGroupName may not be used together with ipProtocol, fromPort, toPort or cidrIp";
    /// An address or interface that only one instance can have.
    UniqueInterfaceForSeveral => "InvalidParameterCombination",
        "A network interface ID or private IP address may not be specified when launching more than one instance";
    /// A zone that is not the subnet's.
    ZoneOfSubnet { zone: Box<str>, subnet_zone: Box<str> } => "InvalidParameterCombination",
        "The availability zone '{zone}' is not the subnet's, which is '{subnet_zone}'";
    /// A zone by its name and by its id.
    ZoneTwice => "InvalidParameterCombination",
        "The parameters AvailabilityZone and AvailabilityZoneId may not be used together";
    /// A text that is no address.
    AddressMalformed { text: Box<str> } => "InvalidParameterValue",
        "invalid value for parameter address: {text}";
    /// A request names one address twice.
    AddressNamedTwice { address: Ipv4Addr } => "InvalidParameterValue",
        "The private IP address {address} is specified more than once";
    /// An address that the subnet does not hold.
    AddressOutsideSubnet { address: Ipv4Addr } => "InvalidParameterValue",
        "Address does not fall within the subnet's address range";
    /// An address that the subnet does not hold, as RunInstances words it.
    AddressOutsideSubnetAtLaunch { address: Ipv4Addr } => "InvalidParameterValue",
        "Address {address} does not fall within the subnet's address range";
    /// One of the five addresses that a subnet keeps for itself.
    AddressReserved => "InvalidParameterValue", "Address is in subnet's reserved address range";
    /// Addresses that other interfaces have and that may not move.
    AddressesAssigned { addresses: Box<str> } => "InvalidParameterValue",
        "[{addresses}] assigned, but move is not allowed.";
    /// Addresses that the interface does not have.
    AddressesNotAssigned { id: EniId } => "InvalidParameterValue",
        "Some of the specified addresses are not assigned to interface {id}";
    /// An association by its address, where its id is wanted.
    AssociationIdMissing => "InvalidParameterValue",
        "You must specify an association id when unmapping an address from a VPC instance";
    /// A peer's block cannot be read.
    CidrMalformed { cidr: Box<str> } => "InvalidParameterValue", "CIDR block {cidr} is malformed";
    /// A VPC's default group cannot be carried elsewhere.
    DefaultGroupAssociated { id: SecurityGroupId } => "InvalidParameterValue",
        "The default security group '{id}' cannot be associated with another VPC.";
    /// Groups of the default VPC stay there, and no other comes.
    DefaultVpcAssociated => "InvalidParameterValue",
        "A security group cannot be associated with a default VPC, and one of a default VPC with no other.";
    /// A VPC has one internet gateway at most.
    NetworkHasGateway { vpc: VpcId } => "InvalidParameterValue",
        "Network {vpc} already has an internet gateway attached";
    /// A VPC has one egress-only internet gateway at most.
    NetworkHasEgressOnlyGateway { vpc: VpcId } => "InvalidParameterValue",
        "Network {vpc} already has an egress only internet gateway attached";
    /// A place in an instance that is taken.
    DeviceIndexInUse { id: InstanceId, index: u8 } => "InvalidParameterValue",
        "Instance '{id}' already has an interface attached at device index '{index}'.";
    /// A device index that is none.
    DeviceIndexInvalid { index: i32 } => "InvalidParameterValue",
        "Invalid value '{index}' for deviceIndex. Expecting a value from 0 to 255.";
    /// A group's own VPC.
    GroupAssociatedWithOwnVpc { id: SecurityGroupId, vpc: VpcId } => "InvalidParameterValue",
        "The security group '{id}' belongs to the VPC '{vpc}' already.";
    /// A group's description has other characters, or too many.
    GroupDescriptionInvalid => "InvalidParameterValue",
        "Invalid security group description. Valid descriptions are strings less than 256 characters \
         from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*";
    /// A number of instances that is none.
    InstanceCountInvalid { count: i32 } => "InvalidParameterValue",
        "Invalid value '{count}' for the number of instances. Expecting a value greater than 0.";
    /// An instance type that AWS does not have.
    InstanceTypeUnknown { name: Box<str> } => "InvalidParameterValue",
        "Invalid value '{name}' for InstanceType.";
    /// An interface that is attached cannot be attached or deleted.
    InterfaceInUse { id: EniId } => "InvalidParameterValue",
        "Network interface '{id}' is currently in use.";
    /// A launch names one interface twice.
    InterfaceNamedTwice => "InvalidParameterValue",
        "The same network interface ID is specified more than once";
    /// A client token that cannot be one.
    InvalidClientToken => "InvalidParameterValue", "The client token must be at most 64 ASCII characters";
    /// A parameter's value is none that it can have.
    InvalidValue { value: Box<str>, name: &'static str, why: Box<str> } => "InvalidParameterValue",
        "Value ({value}) for parameter {name} is invalid. {why}";
    /// A network card that the instance type does not have.
    NetworkCardInvalid { card: i32 } => "InvalidParameterValue",
        "Invalid value '{card}' for networkCardIndex. The instance type has no such network card.";
    /// An interface without groups.
    NoGroups => "InvalidParameterValue",
        "A network interface must have at least one security group";
    /// The primary address of a NAT gateway stays for its life.
    NatGatewayPrimaryAddress => "InvalidParameterValue",
        "The primary address of a NAT gateway cannot be removed";
    /// Ports in the wrong order.
    PortRangeInvalid { from: u16, to: u16 } => "InvalidParameterValue", "Invalid TCP/UDP port range ({from}:{to})";
    /// TCP or UDP without ports.
    PortsMissing => "InvalidParameterValue",
        "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.";
    /// A prefix list's entry has too many words.
    PrefixListDescriptionTooLong => "InvalidParameterValue",
        "The description of a prefix list entry is limited to 255 characters.";
    /// More entries than one request may speak of.
    PrefixListEntriesPerRequest => "InvalidParameterValue",
        "The request cannot contain more than 100 entry additions or removals.";
    /// One block among the entries that come and among those that go.
    PrefixListEntryAddedAndRemoved { cidr: Box<str> } => "InvalidParameterValue",
        "Request cannot contain Cidr {cidr} in both AddPrefixListEntries and RemovePrefixListEntries";
    /// A request names one block twice.
    PrefixListEntryTwice { cidr: Box<str> } => "InvalidParameterValue",
        "Request cannot contain duplicate Cidr {cidr}";
    /// A block of the other family.
    PrefixListFamily { cidr: Box<str> } => "InvalidParameterValue",
        "The CIDR {cidr} is not of the prefix list's address family";
    /// A name that no prefix list of a client can have.
    PrefixListNameInvalid => "InvalidParameterValue",
        "A prefix list name has at most 255 characters and does not start with com.amazonaws";
    /// A size that no prefix list can have.
    PrefixListSizeInvalid { size: i32 } => "InvalidParameterValue",
        "Value ({size}) for parameter maxEntries is invalid. Must specify a max size between 1 and 1000";
    /// A version that the list does not have.
    PrefixListVersionUnknown { version: i64 } => "InvalidParameterValue",
        "The specified value for version ({version}) is not a version of the prefix list.";
    /// A permission to attach an interface for the account that owns it.
    PermissionOfOwner { account: AccountId } => "InvalidParameterValue",
        "The account {account} owns the network interface and needs no permission to attach it.";
    /// The primary address stays for the life of the interface.
    PrimaryAddressUnassigned => "InvalidParameterValue",
        "The primary IP address of an interface cannot be unassigned.";
    /// A protocol that is none.
    ProtocolUnknown { protocol: Box<str> } => "InvalidParameterValue",
        "Invalid value '{protocol}' for IP protocol. Unknown protocol.";
    /// An Elastic IP is released by its id.
    ReleaseByAddress => "InvalidParameterValue",
        "You must specify an allocation id when releasing a VPC elastic IP address";
    /// A request speaks of one rule twice.
    RepeatedPermission => "InvalidParameterValue", "The same permission must not appear multiple times";
    /// A rule's description has other characters, or too many.
    RuleDescriptionInvalid => "InvalidParameterValue",
        "Invalid rule description. Valid descriptions are strings less than 256 characters \
         from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*";
    /// A tag's key is empty.
    TagKeyEmpty => "InvalidParameterValue", "Tag key cannot be empty";
    /// A tag's key starts as those of AWS's own.
    TagKeyReserved => "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use";
    /// A tag's key is too long.
    TagKeyTooLong => "InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters";
    /// A request sets one tag twice.
    TagKeyTwice { key: Box<str> } => "InvalidParameterValue", "Duplicate tag key '{key}' specified.";
    /// Two tag specifications name the same type.
    TagSpecificationTwice { named: Box<str> } => "InvalidParameterValue",
        "The same resource type may not be specified more than once in tag specifications: '{named}'";
    /// A tag specification names a type that the operation does not create.
    TagSpecificationType { named: Box<str> } => "InvalidParameterValue",
        "'{named}' is not a valid taggable resource type for this operation.";
    /// A tag specification without tags.
    TagSpecificationWithoutTags => "InvalidParameterValue", "Tag specification must have at least one tag";
    /// A tag specification without a type.
    TagSpecificationWithoutType => "InvalidParameterValue", "Tag specification resource type must have a value";
    /// A tag's value is too long.
    TagValueTooLong => "InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters";
    /// A launch template's version has too many words.
    TemplateDescriptionTooLong => "InvalidParameterValue",
        "The description of a launch template version is limited to 255 characters.";
    /// A text that names no version.
    TemplateVersionMalformed => "InvalidParameterValue",
        "Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed.";
    /// More versions than one call may delete.
    TooManyTemplateVersions => "InvalidParameterValue",
        "A call can delete at most 200 launch template versions.";
    /// User data are too long.
    UserDataTooLong => "InvalidParameterValue", "User data is limited to 16384 bytes";
    /// A zone that the region does not have.
    ZoneInvalid { zone: Box<str> } => "InvalidParameterValue",
        "Invalid availability zone: [{zone}]";
    /// A rule is there already.
    RuleExists { rule: Box<str> } => "InvalidPermission.Duplicate", "the specified rule \"{rule}\" already exists";
    /// An ICMP code without a type.
    IcmpCodeWithoutType => "InvalidPermission.Malformed", "ICMP code must be -1 when the ICMP type is -1";
    /// An ICMP type or code that is none.
    IcmpOutOfRange { what: &'static str, value: i32 } => "InvalidPermission.Malformed",
        "ICMP {what} ({value}) out of range";
    /// A port that is none.
    PortOutOfRange { port: i32 } => "InvalidPermission.Malformed", "TCP/UDP port ({port}) out of range";
    /// A rule that shall be revoked or described is not there.
    RuleNotFound => "InvalidPermission.NotFound", "The specified rule does not exist in this security group.";
    /// A prefix list id names none.
    PrefixListNotFound { id: Box<str> } => "InvalidPrefixListID.NotFound",
        "The prefix list ID '{id}' does not exist";
    /// An entry that shall be removed is not in the list.
    PrefixListEntryAbsent { cidr: Box<str> } => "InvalidPrefixListModification",
        "An entry with the CIDR ({cidr}) does not exist.";
    /// An entry that shall be added is in the list.
    PrefixListEntryExists { cidr: Box<str>, description: Box<str> } => "InvalidPrefixListModification",
        "An entry with the CIDR ({cidr}) and description ({description}) already exists.";
    /// A block that is in a list shall be added again with other words.
    PrefixListEntryRedescribed => "InvalidRequest", "The request received was invalid.";
    /// A pool of public addresses that is not there.
    PoolNotFound { id: Box<str> } => "InvalidPublicIpv4PoolID.NotFound", "The pool ID '{id}' does not exist.";
    /// A rule id names none.
    SecurityGroupRuleNotFound { id: Box<str> } => "InvalidSecurityGroupRuleId.NotFound",
        "The security group rule ID '{id}' does not exist";
    /// A subnet id names none.
    SubnetNotFound { id: Box<str> } => "InvalidSubnetID.NotFound", "The subnet ID '{id}' does not exist";
    /// A VPC id names none.
    VpcNotFound { id: Box<str> } => "InvalidVpcID.NotFound", "The vpc ID '{id}' does not exist";
    /// The default VPC has no default subnet.
    NoDefaultSubnet { vpc: VpcId } => "MissingInput",
        "No subnets found for the default VPC '{vpc}'. Please specify a subnet.";
    /// The default VPC has no default subnet in the zone.
    NoDefaultSubnetInZone { zone: Box<str> } => "MissingInput",
        "No default subnet for availability zone: '{zone}'.";
    /// A parameter is missing.
    MissingParameter { name: &'static str } => "MissingParameter", "The request must contain the parameter {name}";
    /// Nothing says which Elastic IP.
    NoAddressNamed => "MissingParameter", "Either public IP or allocation id must be specified";
    /// Nothing says with what to associate an Elastic IP.
    NoAssociationTarget => "MissingParameter",
        "Either an instance id or a network interface id must be specified";
    /// Nothing says which addresses to assign.
    NoAddressesToAssign => "MissingParameter",
        "Either privateIpAddresses or secondaryPrivateIpAddressCount must be specified.";
    /// Nothing says which addresses to unassign.
    NoAddressesToUnassign => "MissingParameter",
        "The request must contain the parameter privateIpAddresses";
    /// No rule is named.
    RulesMissing { names: &'static str } => "MissingParameter", "Either {names} should be provided.";
    /// A peer that is to be a group names none.
    SourceGroupMissing => "MissingParameter", "Source group ID missing.";
    /// More addresses than a NAT gateway may have.
    NatGatewayAddressLimitExceeded { limit: usize } => "NatGatewayAddressLimitExceeded",
        "Performing this operation would exceed the limit of {limit} addresses of a NAT gateway";
    /// The quota of NAT gateways in a zone.
    NatGatewayLimitExceeded { limit: usize } => "NatGatewayLimitExceeded",
        "Performing this operation would exceed the limit of {limit} NAT gateways";
    /// A NAT gateway id names none.
    NatGatewayNotFound { id: Box<str> } => "NatGatewayNotFound", "The Nat Gateway {id} was not found";
    /// The quota of interfaces in the region.
    InterfaceLimitExceeded => "NetworkInterfaceLimitExceeded",
        "The maximum number of network interfaces has been reached.";
    /// A gateway's addresses change one after the other.
    NatGatewayAddressesGoing { doing: &'static str, names: Box<str> } => "OperationInProgress",
        "Service is currently {doing}: [{names}].";
    /// A permission that its account makes use of.
    PermissionInUse { id: NetworkInterfacePermissionId, eni: EniId } => "OperationNotPermitted",
        "The network interface permission '{id}' cannot be deleted while its account has the network interface '{eni}' attached to an instance. Specify force to delete it all the same.";
    /// An interface that another account is permitted to attach.
    PermissionOfOther { id: EniId } => "OperationNotPermitted",
        "Permission to attach the network interface '{id}' can be granted to one account at a time, and another one has it.";
    /// The primary interface stays attached.
    PrimaryInterfaceDetached => "OperationNotPermitted",
        "The network interface at device index 0 and networkCard index 0 cannot be detached.";
    /// An attachment that a service of the region made and keeps.
    ServiceAttachment => "OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments.";
    /// The instance is protected from being stopped.
    StopDisabled { id: InstanceId } => "OperationNotPermitted",
        "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.";
    /// The instance is protected.
    TerminationDisabled { id: InstanceId } => "OperationNotPermitted",
        "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.";
    /// The quota of prefix lists in the region.
    PrefixListLimitExceeded => "PrefixListLimitExceeded",
        "You've reached the maximum number of prefix lists.";
    /// More entries than the list may have.
    PrefixListMaxEntriesExceeded => "PrefixListMaxEntriesExceeded",
        "You've reached the maximum number of entries for the prefix list.";
    /// A version that is not the present one.
    PrefixListVersionMismatch => "PrefixListVersionMismatch",
        "The prefix list has the incorrect version number.";
    /// More addresses than the interface may have.
    PrivateAddressLimitExceeded => "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.";
    /// An Elastic IP is associated, and shall not move.
    ElasticIpAssociated { id: AllocationId, association: AssociationId } => "Resource.AlreadyAssociated",
        "resource {id} is already associated with associate-id {association}";
    /// An internet gateway is attached to one VPC at most.
    InternetGatewayAttached { id: InternetGatewayId, vpc: VpcId } => "Resource.AlreadyAssociated",
        "resource {id} is already attached to network {vpc}";
    /// A NAT gateway takes only free Elastic IPs.
    NatGatewayAddressTaken { id: AllocationId } => "Resource.AlreadyAssociated",
        "Elastic IP address {id} is already associated";
    /// The quota of rules in a group.
    RulesPerSecurityGroupLimitExceeded => "RulesPerSecurityGroupLimitExceeded",
        "The maximum number of rules per security group has been reached.";
    /// The quota of groups in the region.
    SecurityGroupLimitExceeded { vpc: VpcId } => "SecurityGroupLimitExceeded",
        "The maximum number of security groups for VPC '{vpc}' has been reached.";
    /// More groups than an interface may have.
    GroupsPerInterfaceLimitExceeded => "SecurityGroupsPerInterfaceLimitExceeded",
        "The maximum number of security groups per interface has been reached.";
    /// The quota of subnets in a VPC.
    SubnetLimitExceeded => "SubnetLimitExceeded", "The maximum number of subnets has been reached.";
    /// More tags than a resource may have.
    TagLimitExceeded => "TagLimitExceeded", "The maximum number of Tags for a resource has been reached.";
    /// What AWS has and Enid does not.
    Unsupported { what: &'static str } => "UnsupportedOperation", "Enid does not implement {what}";
    /// There is no default VPC, and no other is named.
    NoDefaultVpc => "VPCIdNotSpecified", "No default VPC for this user";
    /// The quota of VPCs in the region.
    VpcLimitExceeded => "VpcLimitExceeded", "The maximum number of VPCs has been reached.";
}

impl Error {
    /// The HTTP status that AWS sends with the code.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code() {
            "DryRunOperation" => 412,
            "NotFound" | "ResourceNotFound" => 404,
            "AuthorizationError"
            | "FilterPolicyLimitExceeded"
            | "SubscriptionLimitExceeded"
            | "TopicLimitExceeded" => 403,
            "InsufficientAddressCapacity" | "InternalError" => 500,
            "InsufficientStorage" => 507,
            _ => 400,
        }
    }

    /// The error for an id that names no resource.
    pub(crate) fn not_found<I: ResourceId>(id: I) -> Self {
        Self::not_found_text(I::PREFIX, &id.to_string())
    }

    /// The same for a client's text, when it is a well-formed id that Enid never mints.
    #[must_use]
    pub fn not_found_text(prefix: &str, text: &str) -> Self {
        let id = text.into();
        match prefix {
            "eigw" => Self::GatewayNotFound { id },
            "eipalloc" => Self::AllocationNotFound { id },
            "eipassoc" => Self::AssociationNotFound { id },
            "eni" => Self::NetworkInterfaceNotFound { id },
            "eni-attach" => Self::AttachmentNotFound { id },
            "eni-perm" => Self::NetworkInterfacePermissionNotFound { id },
            "fl" => FlowLogError::NotFound {
                count: text.split(", ").count(),
                ids: id,
            }
            .into(),
            "i" => Self::InstanceNotFound { id },
            "key" => Self::KeyPairIdNotFound { id },
            "lt" => Self::TemplateNotFound { id },
            "pl" => Self::PrefixListNotFound { id },
            "igw" => Self::InternetGatewayNotFound { id },
            "nat" => Self::NatGatewayNotFound { id },
            "sg" => Self::SecurityGroupNotFound { id },
            "sgr" => Self::SecurityGroupRuleNotFound { id },
            "subnet" => Self::SubnetNotFound { id },
            "vol" => ComputingError::VolumeNotFound { id }.into(),
            "vpc" => Self::VpcNotFound { id },
            _ => AddressingError::not_found(prefix, text)
                .map(Self::from)
                .or_else(|| RoutingError::not_found(prefix, text).map(Self::from))
                .or_else(|| MirroringError::not_found(prefix, text).map(Self::from))
                .or_else(|| BalancingError::not_found(prefix, text).map(Self::from))
                .unwrap_or(Self::ResourceNotFound { id }),
        }
    }
}
