"""VPCs with instances for one test, made through the API and removed again in the end."""

import ipaddress

from support.guest import Agent

ANYWHERE = "0.0.0.0/0"
IMAGE = "ami-0123456789abcdef0"


class Instance:
    """An instance that runs; its agent starts when it is first needed."""

    def __init__(self, lab, described):
        self.lab = lab
        self.id = described["InstanceId"]
        self.ip = described["PrivateIpAddress"]
        self.eni = described["NetworkInterfaces"][0]["NetworkInterfaceId"]
        self._agent = None

    @property
    def agent(self):
        if self._agent is None:
            self._agent = Agent(self.lab.daemon.command("exec", self.id, "--"))
        return self._agent

    def exec(self, *words, **options):
        return self.lab.daemon.run("exec", self.id, "--", *words, **options)

    def forget_agent(self):
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def interface(self):
        interfaces = self.lab.ec2.describe_network_interfaces(NetworkInterfaceIds=[self.eni])
        return interfaces["NetworkInterfaces"][0]

    def describe(self):
        answer = self.lab.ec2.describe_instances(InstanceIds=[self.id])
        return answer["Reservations"][0]["Instances"][0]


class Lab:
    """What one test builds. Everything it made is deleted through the API when it ends."""

    def __init__(self, daemon, ec2=None):
        self.daemon = daemon
        self.ec2 = ec2 or daemon.client()
        self.instances = []
        self._vpcs = []
        self._addresses = []
        self._hosts = {}

    def vpc(self, cidr="10.0.0.0/16"):
        vpc = self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        self._vpcs.append(vpc)
        return vpc

    def subnet(self, vpc, cidr="10.0.0.0/24", zone="us-east-1a"):
        answer = self.ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)
        subnet = answer["Subnet"]["SubnetId"]
        first = ipaddress.ip_network(cidr).network_address
        self._hosts[subnet] = iter(range(10, 40)), first
        return subnet

    def network(self, cidr="10.0.0.0/16"):
        """A VPC with one subnet in its first /24."""
        vpc = self.vpc(cidr)
        return vpc, self.subnet(vpc, cidr.rsplit("/", 1)[0] + "/24")

    def network_of_both_families(self, cidr="10.0.0.0/16"):
        """The same with an IPv6 block and its first /64."""
        vpc = self.vpc(cidr)
        self.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
        [described] = self.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
        block = ipaddress.ip_network(described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
        subnet = self.subnet(vpc, cidr.rsplit("/", 1)[0] + "/24")
        self.ec2.associate_subnet_cidr_block(
            SubnetId=subnet, Ipv6CidrBlock=str(next(block.subnets(new_prefix=64))))
        return vpc, subnet

    def group(self, vpc, name, ingress=(), egress=None):
        """A group; with `egress` its rules replace the one that opens everything."""
        answer = self.ec2.create_security_group(VpcId=vpc, GroupName=name, Description=name)
        group = answer["GroupId"]
        if ingress:
            self.authorize(group, *ingress)
        if egress is not None:
            everywhere = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}
            self.ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everywhere])
            if egress:
                self.authorize_egress(group, *egress)
        return group

    def internet(self, vpc):
        """An internet gateway, attached."""
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        return gateway

    def address(self, **options):
        """An Elastic IP, by its allocation."""
        answer = self.ec2.allocate_address(Domain="vpc", **options)
        self._addresses.append(answer["AllocationId"])
        return answer

    def authorize(self, group, *permissions):
        answer = self.ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=list(permissions))
        return [rule["SecurityGroupRuleId"] for rule in answer["SecurityGroupRules"]]

    def revoke(self, group, *permissions):
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=list(permissions))

    def authorize_egress(self, group, *permissions):
        answer = self.ec2.authorize_security_group_egress(
            GroupId=group, IpPermissions=list(permissions))
        return [rule["SecurityGroupRuleId"] for rule in answer["SecurityGroupRules"]]

    def revoke_egress(self, group, *permissions):
        self.ec2.revoke_security_group_egress(GroupId=group, IpPermissions=list(permissions))

    def default_group(self, vpc):
        filters = [{"Name": "vpc-id", "Values": [vpc]},
                   {"Name": "group-name", "Values": ["default"]}]
        return self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"]

    def launch(self, subnet, *groups, count=1, **options):
        """Instances in a subnet, with the VPC's default group unless groups are named.

        Their addresses are 10 to 39 of the subnet unless named: tests name others, which then
        are free for sure.
        """
        return [self._launch(subnet, groups, options) for _ in range(count)]

    def launch_together(self, subnet, count, **options):
        """Instances of one call, with addresses of the region's choice."""
        request = self._request(subnet, (), options) | {"MinCount": count, "MaxCount": count}
        return self._run(request)

    def instance(self, subnet, *groups, **options):
        return self._launch(subnet, groups, options)

    def _launch(self, subnet, groups, options):
        request = self._request(subnet, groups, options)
        if subnet is not None:
            hosts, first = self._hosts[subnet]
            request.setdefault("PrivateIpAddress", str(first + next(hosts)))
        [made] = self._run(request)
        return made

    def _request(self, subnet, groups, options):
        request = {"ImageId": IMAGE, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
        if subnet is not None:
            request["SubnetId"] = subnet
        if groups:
            request["SecurityGroupIds"] = list(groups)
        return request | options

    def _run(self, request):
        described = self.ec2.run_instances(**request)["Instances"]
        made = [Instance(self, one) for one in described]
        self.instances += made
        return made

    def interface(self, subnet, *groups, **options):
        if groups:
            options["Groups"] = list(groups)
        answer = self.ec2.create_network_interface(SubnetId=subnet, **options)
        return answer["NetworkInterface"]

    def in_force(self):
        """After this all that was described is in force. What the region does of its own accord is described
        before; an answered change is in force, and so is whatever came before it."""
        tags = [{"Key": "seen", "Value": "by now"}]
        self.ec2.create_tags(Resources=self._vpcs[:1], Tags=tags)

    def close(self):
        """Deletes everything, in the order that AWS asks for."""
        for instance in self.instances:
            instance.forget_agent()
        if not self._vpcs and not self.instances:
            return
        ids = [instance.id for instance in self.instances]
        if ids:
            self.ec2.terminate_instances(InstanceIds=ids)
        if not self._vpcs:
            return
        of_vpcs = [{"Name": "vpc-id", "Values": self._vpcs}]
        self._close_gateways(of_vpcs)
        interfaces = self.ec2.describe_network_interfaces(Filters=of_vpcs)["NetworkInterfaces"]
        for interface in interfaces:
            self.ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
        groups = self.ec2.describe_security_groups(Filters=of_vpcs)["SecurityGroups"]
        for group in groups:
            # Groups that name each other can only go when neither does.
            if group["IpPermissions"]:
                self.revoke(group["GroupId"], *group["IpPermissions"])
            if group["IpPermissionsEgress"]:
                self.revoke_egress(group["GroupId"], *group["IpPermissionsEgress"])
        for group in groups:
            if group["GroupName"] != "default":
                self.ec2.delete_security_group(GroupId=group["GroupId"])
        for subnet in self.ec2.describe_subnets(Filters=of_vpcs)["Subnets"]:
            self.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        for vpc in self._vpcs:
            self.ec2.delete_vpc(VpcId=vpc)

    def _close_gateways(self, of_vpcs):
        """Deletes what stands between the VPCs and the internet."""
        available = {"Name": "state", "Values": ["available"]}
        gateways = self.ec2.describe_nat_gateways(Filters=[*of_vpcs, available])["NatGateways"]
        for gateway in gateways:
            self.ec2.delete_nat_gateway(NatGatewayId=gateway["NatGatewayId"])
        mine = {"Name": "allocation-id", "Values": self._addresses}
        addresses = self.ec2.describe_addresses(Filters=[mine])["Addresses"] if self._addresses else []
        for address in addresses:
            if "AssociationId" in address:
                self.ec2.disassociate_address(AssociationId=address["AssociationId"])
            self.ec2.release_address(AllocationId=address["AllocationId"])
        attached = [{"Name": "attachment.vpc-id", "Values": self._vpcs}]
        for gateway in self.ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]:
            [attachment] = gateway["Attachments"]
            self.ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"],
                                             VpcId=attachment["VpcId"])
            self.ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])
