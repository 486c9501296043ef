"""What Terraform's AWS provider asks for when it makes, reads, changes and removes resources.

Each test has the calls of one resource in the provider's order, with the members and filters that it
sends: a call that is missing here is a `terraform apply` that stops half-way.
"""

import pytest

from support.errors import refused
from support.lab import IMAGE


def one(answer):
    [found] = answer
    return found


def by(**filters):
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]


def tagged(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


@pytest.fixture
def vpc(papers):
    return papers.vpc()


@pytest.fixture
def subnet(papers, vpc):
    return papers.subnet(vpc)


def test_the_provider_itself(daemon, ec2):
    assert daemon.client("sts").get_caller_identity()["Account"] == "123456789012"
    platforms = one(ec2.describe_account_attributes(
        AttributeNames=["supported-platforms"])["AccountAttributes"])
    assert one(platforms["AttributeValues"])["AttributeValue"] == "VPC"
    assert one(ec2.describe_regions(RegionNames=["us-east-1"])["Regions"])


def test_vpc(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", InstanceTenancy="default",
                         AmazonProvidedIpv6CidrBlock=True,
                         TagSpecifications=tagged("vpc", "main"))["Vpc"]["VpcId"]
    found = one(ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"])
    assert found["State"] == "available"
    assert one(found["Ipv6CidrBlockAssociationSet"])["Ipv6CidrBlockState"]["State"] == "associated"
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    for attribute, member, value in (
            ("enableDnsHostnames", "EnableDnsHostnames", True),
            ("enableDnsSupport", "EnableDnsSupport", True),
            ("enableNetworkAddressUsageMetrics", "EnableNetworkAddressUsageMetrics", False)):
        told = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)
        assert told[member] == {"Value": value}
    # What is off may be switched off.
    ec2.modify_vpc_attribute(VpcId=vpc, EnableNetworkAddressUsageMetrics={"Value": False})
    one(ec2.describe_network_acls(Filters=by(default="true", vpc_id=vpc))["NetworkAcls"])
    main = by(vpc_id=vpc) + [{"Name": "association.main", "Values": ["true"]}]
    one(ec2.describe_route_tables(Filters=main)["RouteTables"])
    one(ec2.describe_security_groups(Filters=by(group_name="default", vpc_id=vpc))["SecurityGroups"])
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "other"}])
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "main"}])
    ec2.delete_vpc(VpcId=vpc)
    with refused("InvalidVpcID.NotFound"):
        ec2.describe_vpcs(VpcIds=[vpc])


def test_subnet(ec2, vpc):
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.3.0/24", AvailabilityZone="us-east-1a",
                               TagSpecifications=tagged("subnet", "a"))["Subnet"]["SubnetId"]
    for flag in ({"MapPublicIpOnLaunch": {"Value": True}}, {"EnableDns64": {"Value": False}},
                 {"EnableResourceNameDnsARecordOnLaunch": {"Value": False}},
                 {"EnableResourceNameDnsAAAARecordOnLaunch": {"Value": False}},
                 {"PrivateDnsHostnameTypeOnLaunch": "ip-name"}):
        ec2.modify_subnet_attribute(SubnetId=subnet, **flag)
    told = one(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"])
    assert told["MapPublicIpOnLaunch"] and told["PrivateDnsNameOptionsOnLaunch"]
    # What is left of Lambda is looked for before a subnet goes.
    lingering = by(subnet_id=subnet, description="AWS Lambda VPC ENI*")
    assert ec2.describe_network_interfaces(Filters=lingering)["NetworkInterfaces"] == []
    ec2.delete_subnet(SubnetId=subnet)
    with refused("InvalidSubnetID.NotFound"):
        ec2.describe_subnets(SubnetIds=[subnet])


def test_security_group_and_rules(ec2, vpc):
    group = ec2.create_security_group(
        VpcId=vpc, GroupName="terraform-1", Description="Managed by Terraform",
        TagSpecifications=tagged("security-group", "g"))["GroupId"]
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everything])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": group}],
         "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "inside"}]}])
    rule = one(ec2.authorize_security_group_egress(
        GroupId=group, IpPermissions=[everything],
        TagSpecifications=tagged("security-group-rule", "out"))["SecurityGroupRules"])
    told = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
    assert one(told["SecurityGroupRules"])["CidrIpv4"] == "0.0.0.0/0"
    assert len(ec2.describe_security_group_rules(
        Filters=by(group_id=group))["SecurityGroupRules"]) == 3
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{
        "SecurityGroupRuleId": rule["SecurityGroupRuleId"],
        "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2,
                              "CidrIpv4": "10.0.0.0/8"}}])
    assert one(ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"])["OwnerId"]
    lingering = by(group_id=group, description="AWS Lambda VPC ENI*")
    assert ec2.describe_network_interfaces(Filters=lingering)["NetworkInterfaces"] == []
    ec2.delete_security_group(GroupId=group)
    with refused("InvalidGroup.NotFound"):
        ec2.describe_security_groups(GroupIds=[group])


def test_gateways_and_addresses(ec2, papers, vpc, subnet):
    internet = ec2.create_internet_gateway(
        TagSpecifications=tagged("internet-gateway", "i"))["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    told = one(ec2.describe_internet_gateways(InternetGatewayIds=[internet])["InternetGateways"])
    assert one(told["Attachments"])["State"] == "available"
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", "nat"))
    allocation = address["AllocationId"]
    one(ec2.describe_addresses(AllocationIds=[allocation])["Addresses"])
    attribute = ec2.describe_addresses_attribute(
        AllocationIds=[allocation], Attribute="domain-name")["Addresses"]
    assert [item["AllocationId"] for item in attribute] in ([], [allocation])
    nat = ec2.create_nat_gateway(
        SubnetId=subnet, AllocationId=allocation, ConnectivityType="public", ClientToken="terraform-1",
        TagSpecifications=tagged("natgateway", "n"))["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat])
    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[nat])
    ec2.release_address(AllocationId=allocation)
    with refused("InvalidAllocationID.NotFound"):
        ec2.describe_addresses(AllocationIds=[allocation])
    ec2.detach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=internet)
    with refused("InvalidInternetGatewayID.NotFound"):
        ec2.describe_internet_gateways(InternetGatewayIds=[internet])


def test_routes(ec2, papers, vpc, subnet):
    internet = papers.internet(vpc)
    table = ec2.create_route_table(
        VpcId=vpc, TagSpecifications=tagged("route-table", "r"))["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=internet)
    routes = one(ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"])["Routes"]
    assert {route["State"] for route in routes} == {"active"}
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    found = [{"Name": "association.route-table-association-id", "Values": [association]}]
    one(ec2.describe_route_tables(Filters=found)["RouteTables"])
    ec2.disassociate_route_table(AssociationId=association)
    assert ec2.describe_route_tables(Filters=found)["RouteTables"] == []
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    ec2.delete_route_table(RouteTableId=table)
    with refused("InvalidRouteTableID.NotFound"):
        ec2.describe_route_tables(RouteTableIds=[table])


def test_network_interface(ec2, papers, subnet):
    eni = ec2.create_network_interface(
        SubnetId=subnet, ClientToken="terraform-2", PrivateIpAddresses=[
            {"PrivateIpAddress": "10.0.0.50", "Primary": True}],
        TagSpecifications=tagged("network-interface", "e"))["NetworkInterface"]["NetworkInterfaceId"]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    instance = papers.instance(subnet)
    attachment = ec2.attach_network_interface(
        NetworkInterfaceId=eni, InstanceId=instance.id, DeviceIndex=1, NetworkCardIndex=0)
    told = one(ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"])
    assert told["Attachment"]["Status"] == "attached"
    found = [{"Name": "attachment.attachment-id", "Values": [attachment["AttachmentId"]]}]
    one(ec2.describe_network_interfaces(Filters=found)["NetworkInterfaces"])
    ec2.detach_network_interface(AttachmentId=attachment["AttachmentId"], Force=True)
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])


def test_instance(ec2, papers, vpc, subnet):
    # The device that a root_block_device block is about comes from the image.
    image = one(ec2.describe_images(ImageIds=[IMAGE])["Images"])
    assert image["RootDeviceName"] in [it["DeviceName"] for it in image["BlockDeviceMappings"]]
    tags = tagged("instance", "web") + tagged("volume", "web")
    launched = ec2.run_instances(
        ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1, ClientToken="terraform-3",
        DisableApiStop=False, DisableApiTermination=False, EbsOptimized=False,
        InstanceInitiatedShutdownBehavior="stop", Monitoring={"Enabled": False},
        BlockDeviceMappings=[{"DeviceName": image["RootDeviceName"], "Ebs": {
            "DeleteOnTermination": True, "Encrypted": False, "VolumeSize": 20, "VolumeType": "gp3"}}],
        CreditSpecification={"CpuCredits": "standard"}, EnclaveOptions={"Enabled": False},
        NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": False,
                            "DeleteOnTermination": True}],
        TagSpecifications=tags)
    instance = one(launched["Instances"])["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance])
    told = one(one(ec2.describe_instances(InstanceIds=[instance])["Reservations"])["Instances"])
    volumes = [mapping["Ebs"]["VolumeId"] for mapping in told["BlockDeviceMappings"]]
    volume = one(ec2.describe_volumes(VolumeIds=volumes)["Volumes"])
    assert (volume["Size"], volume["VolumeType"], volume["Throughput"]) == (20, "gp3", 125)
    assert volume["Tags"] == tags[1]["Tags"]
    assert one(ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"])[
        "BurstablePerformanceSupported"]
    for attribute, member, value in (
            ("disableApiStop", "DisableApiStop", False),
            ("disableApiTermination", "DisableApiTermination", False),
            ("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior", "stop"),
            ("ebsOptimized", "EbsOptimized", False),
            ("sourceDestCheck", "SourceDestCheck", True),
            ("instanceType", "InstanceType", "t3.micro")):
        told = ec2.describe_instance_attribute(InstanceId=instance, Attribute=attribute)
        assert told[member] == {"Value": value}
    told = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
    assert told["UserData"] == {}
    credits = ec2.describe_instance_credit_specifications(InstanceIds=[instance])
    assert one(credits["InstanceCreditSpecifications"])["CpuCredits"] == "standard"
    assert ec2.describe_iam_instance_profile_associations(
        Filters=by(instance_id=instance))["IamInstanceProfileAssociations"] == []
    names = {"Filters": by(resource_id=volume["VolumeId"])}
    assert one(ec2.describe_tags(**names)["Tags"])["ResourceType"] == "volume"
    # Changes, in place and with the instance stopped.
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    ec2.modify_instance_attribute(
        InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[
        {"DeviceName": image["RootDeviceName"], "Ebs": {"DeleteOnTermination": False}}])
    ec2.modify_instance_credit_specification(ClientToken="x", InstanceCreditSpecifications=[
        {"InstanceId": instance, "CpuCredits": "unlimited"}])
    ec2.monitor_instances(InstanceIds=[instance])
    ec2.stop_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "t3.small"})
    ec2.modify_instance_attribute(InstanceId=instance, UserData={"Value": b"#!/bin/true"})
    ec2.start_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance])
    ec2.delete_volume(VolumeId=volume["VolumeId"])


def test_launch_template(ec2):
    made = ec2.create_launch_template(
        ClientToken="terraform-4", LaunchTemplateName="web-terraform", LaunchTemplateData={
            "ImageId": IMAGE, "InstanceType": "t3.micro", "EbsOptimized": False,
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {
                "VolumeSize": 20, "VolumeType": "gp3", "DeleteOnTermination": True}}],
            "CreditSpecification": {"CpuCredits": "standard"}, "Monitoring": {"Enabled": True},
            "TagSpecifications": tagged("instance", "web")},
        TagSpecifications=tagged("launch-template", "web"))["LaunchTemplate"]
    template = {"LaunchTemplateId": made["LaunchTemplateId"]}
    one(ec2.describe_launch_templates(
        LaunchTemplateIds=[made["LaunchTemplateId"]])["LaunchTemplates"])
    latest = one(ec2.describe_launch_template_versions(
        **template, Versions=[str(made["LatestVersionNumber"])])["LaunchTemplateVersions"])
    data = latest["LaunchTemplateData"]
    assert one(data["BlockDeviceMappings"])["Ebs"]["VolumeSize"] == 20
    ec2.create_launch_template_version(
        **template, ClientToken="terraform-5", LaunchTemplateData=data | {"InstanceType": "t3.small"})
    ec2.modify_launch_template(**template, DefaultVersion="2")
    ec2.delete_launch_template(**template)
    with refused("InvalidLaunchTemplateId.NotFound"):
        ec2.describe_launch_templates(LaunchTemplateIds=[made["LaunchTemplateId"]])


def test_template_data_of_an_instance(ec2, papers, subnet):
    instance = papers.instance(subnet, UserData="#!/bin/true", EbsOptimized=True)
    data = ec2.get_launch_template_data(InstanceId=instance.id)["LaunchTemplateData"]
    assert data["ImageId"] == IMAGE and data["EbsOptimized"]
    interface = one(data["NetworkInterfaces"])
    assert interface["SubnetId"] == subnet and interface["DeviceIndex"] == 0
    # What it says launches another of the kind, the address left out.
    del interface["PrivateIpAddresses"]
    ec2.create_launch_template(LaunchTemplateName="like-that-one", LaunchTemplateData=data)
    [other] = papers.launch_together(None, 1, LaunchTemplate={"LaunchTemplateName": "like-that-one"})
    assert other.describe()["InstanceType"] == instance.describe()["InstanceType"]
    ec2.delete_launch_template(LaunchTemplateName="like-that-one")
    with refused("InvalidInstanceID.NotFound"):
        ec2.get_launch_template_data(InstanceId="i-0123456789abcdef0")


def test_prefix_list(ec2):
    made = ec2.create_managed_prefix_list(
        PrefixListName="offices", AddressFamily="IPv4", MaxEntries=3, ClientToken="terraform-6",
        Entries=[{"Cidr": "10.1.0.0/16", "Description": "one"}],
        TagSpecifications=tagged("prefix-list", "p"))["PrefixList"]
    identity = {"PrefixListId": made["PrefixListId"]}
    one(ec2.describe_managed_prefix_lists(PrefixListIds=[made["PrefixListId"]])["PrefixLists"])
    change = {"AddEntries": [{"Cidr": "10.2.0.0/16"}], "RemoveEntries": [{"Cidr": "10.1.0.0/16"}]}
    ec2.modify_managed_prefix_list(**identity, **change, CurrentVersion=made["Version"])
    told = ec2.get_managed_prefix_list_entries(**identity)["Entries"]
    assert [entry["Cidr"] for entry in told] == ["10.2.0.0/16"]
    ec2.modify_managed_prefix_list(**identity, MaxEntries=5)
    ec2.delete_managed_prefix_list(**identity)
    with refused("InvalidPrefixListID.NotFound"):
        ec2.describe_managed_prefix_lists(PrefixListIds=[made["PrefixListId"]])


def test_option_set_and_peering(ec2, papers, vpc):
    options = ec2.create_dhcp_options(
        DhcpConfigurations=[{"Key": "domain-name", "Values": ["example.org"]}],
        TagSpecifications=tagged("dhcp-options", "d"))["DhcpOptions"]["DhcpOptionsId"]
    one(ec2.describe_dhcp_options(DhcpOptionsIds=[options])["DhcpOptions"])
    ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
    assert one(ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"])["DhcpOptionsId"] == options
    ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
    ec2.delete_dhcp_options(DhcpOptionsId=options)
    peer = papers.vpc("10.9.0.0/16")
    peering = ec2.create_vpc_peering_connection(
        VpcId=vpc, PeerVpcId=peer)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    ec2.get_waiter("vpc_peering_connection_exists").wait(VpcPeeringConnectionIds=[peering])
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    told = one(ec2.describe_vpc_peering_connections(
        VpcPeeringConnectionIds=[peering])["VpcPeeringConnections"])
    assert told["Status"]["Code"] == "active"
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)
    ec2.get_waiter("vpc_peering_connection_deleted").wait(VpcPeeringConnectionIds=[peering])


def test_default_resources_and_data_sources(ec2):
    default = one(ec2.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["true"]}])["Vpcs"])
    zones = ec2.describe_availability_zones(
        Filters=by(state="available"), AllAvailabilityZones=False)["AvailabilityZones"]
    for zone in zones:
        subnet = by(availability_zone=zone["ZoneName"], default_for_az="true")
        assert one(ec2.describe_subnets(Filters=subnet)["Subnets"])["VpcId"] == default["VpcId"]
    # aws_default_vpc_dhcp_options finds AWS's set by what is in it.
    domain = [{"Name": "key", "Values": ["domain-name"]},
              {"Name": "value", "Values": ["ec2.internal"]}]
    assert ec2.describe_dhcp_options(Filters=domain)["DhcpOptions"]
    found = [{"Name": "virtualization-type", "Values": ["hvm"]},
             {"Name": "root-device-type", "Values": ["ebs"]},
             {"Name": "block-device-mapping.volume-type", "Values": ["gp3"]},
             {"Name": "block-device-mapping.delete-on-termination", "Values": ["true"]}]
    images = ec2.describe_images(Owners=["amazon"], Filters=found)["Images"]
    # `most_recent` of aws_ami takes the sandbox.
    assert max(images, key=lambda image: image["CreationDate"])["Name"] == "enid-sandbox"
    other = [{"Name": "block-device-mapping.volume-type", "Values": ["io1"]}]
    assert ec2.describe_images(Filters=other)["Images"] == []
    offerings = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=by(instance_type="t3.micro"))
    assert len(offerings["InstanceTypeOfferings"]) == len(zones)
    key = ec2.import_key_pair(KeyName="terraform", PublicKeyMaterial=PUBLIC_KEY.encode(),
                              TagSpecifications=tagged("key-pair", "k"))
    told = one(ec2.describe_key_pairs(KeyNames=["terraform"], IncludePublicKey=True)["KeyPairs"])
    assert told["KeyPairId"] == key["KeyPairId"] and told["PublicKey"].startswith("ssh-ed25519 ")
    ec2.delete_key_pair(KeyName="terraform")
    with refused("InvalidKeyPair.NotFound"):
        ec2.describe_key_pairs(KeyNames=["terraform"])


PUBLIC_KEY = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqbq4OkqMnOGi3iMsZ2dDzoDOv1sOJQP2ldY3FDCz1C "
              "somebody@somewhere")
