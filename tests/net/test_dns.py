"""The resolver of a VPC, asked from inside.

        a: vpc 10.0.0.0/16 --- peering --- c: vpc 10.1.0.0/16
        |
        +----> 169.254.169.253, 10.0.0.2, [fd00:ec2::253]
"""

import pytest

RESOLVER = "169.254.169.253"
DOMAIN = "ec2.internal"
PUBLIC = "compute-1.amazonaws.com"


def dig(instance, *words, server=RESOLVER):
    """Status and answers of a question; status `none` is no answer."""
    done = instance.exec("dig", "+tries=1", "+time=2", "+noall", "+comments", "+answer",
                         f"@{server}", *words, check=False)
    status, answers = "none", []
    for line in done.stdout.splitlines():
        if "status: " in line:
            status = line.split("status: ")[1].split(",")[0]
        elif line and not line.startswith(";"):
            answers.append(line.split()[-1])
    return status, answers


def dashed(address):
    return address.replace(".", "-")


def reverse(address):
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


@pytest.fixture
def home(lab):
    """A VPC with names, and its subnet."""
    vpc, subnet = lab.network()
    lab.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    return vpc, subnet


def test_private_names(lab, home):
    vpc, subnet = home
    asker, other = lab.launch(subnet, count=2)
    name = other.describe()["PrivateDnsName"]
    assert name == f"ip-{dashed(other.ip)}.{DOMAIN}"
    for server in [RESOLVER, "10.0.0.2"]:
        for transport in ["+notcp", "+tcp"]:
            assert dig(asker, transport, name, server=server) == ("NOERROR", [other.ip])
    assert dig(asker, name, "AAAA") == ("NOERROR", [])
    assert dig(asker, f"ip-10-9-0-1.{DOMAIN}") == ("NXDOMAIN", [])
    assert dig(asker, f"web.{DOMAIN}") == ("NXDOMAIN", [])
    assert dig(asker, "-x", other.ip) == ("NOERROR", [f"{name}."])
    assert dig(asker, reverse("10.9.0.1"), "PTR") == ("NXDOMAIN", [])
    assert dig(asker, f"instance-data.{DOMAIN}") == ("NOERROR", ["169.254.169.254"])
    assert dig(asker, name, "AXFR", "+tcp")[1] == []
    assert dig(asker, "+noedns", name, "ANY", "+notcp") == ("REFUSED", [])
    # Names are looked up the way programs do it, with the domain that instances are told.
    found = asker.exec("getent", "ahostsv4", f"ip-{dashed(other.ip)}").stdout
    assert found.split()[0] == other.ip
    lab.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    assert dig(asker, "-x", other.ip) == ("NXDOMAIN", [])
    assert dig(asker, name) == ("NOERROR", [other.ip])
    lab.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    assert dig(asker, name) == ("none", [])
    lab.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": True})
    assert dig(asker, name) == ("NOERROR", [other.ip])


def test_resource_names(lab):
    vpc = lab.ec2.create_vpc(CidrBlock="10.7.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    lab._vpcs.append(vpc["VpcId"])
    lab.ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": True})
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = lab.ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.7.0.0/24",
                                   Ipv6CidrBlock=block)["Subnet"]["SubnetId"]
    lab.ec2.modify_subnet_attribute(SubnetId=subnet,
                                    PrivateDnsHostnameTypeOnLaunch="resource-name")
    place = {"DeviceIndex": 0, "SubnetId": subnet, "Ipv6AddressCount": 1}
    instance = lab.instance(None, NetworkInterfaces=[place])
    described = instance.describe()
    name = described["PrivateDnsName"]
    assert name == f"{instance.id}.{DOMAIN}"
    assert instance.exec("hostname").stdout.strip() == instance.id
    assert dig(instance, name) == ("NOERROR", [])
    lab.ec2.modify_private_dns_name_options(
        InstanceId=instance.id, EnableResourceNameDnsARecord=True,
        EnableResourceNameDnsAAAARecord=True)
    [address] = described["NetworkInterfaces"][0]["Ipv6Addresses"]
    ipv6 = address["Ipv6Address"]
    assert dig(instance, name) == ("NOERROR", [instance.ip])
    assert dig(instance, name, "AAAA") == ("NOERROR", [ipv6])
    for address in [instance.ip, ipv6]:
        assert dig(instance, "-x", address) == ("NOERROR", [f"{name}."])
    assert dig(instance, name, "AAAA", server="fd00:ec2::253") == ("NOERROR", [ipv6])
    # The name of the address is answered as ever.
    assert dig(instance, f"ip-{dashed(instance.ip)}.{DOMAIN}") == ("NOERROR", [instance.ip])
    lab.ec2.stop_instances(InstanceIds=[instance.id])
    lab.ec2.modify_private_dns_name_options(InstanceId=instance.id,
                                            PrivateDnsHostnameType="ip-name")
    lab.ec2.start_instances(InstanceIds=[instance.id])
    assert instance.exec("hostname").stdout.strip() == f"ip-{dashed(instance.ip)}"
    lab.ec2.terminate_instances(InstanceIds=[instance.id])


def test_public_names(lab, network, home):
    vpc, subnet = home
    lab.internet(vpc)
    far, far_subnet = lab.network("10.1.0.0/16")
    inside, (outside,) = lab.instance(subnet), lab.launch(far_subnet)
    address = lab.address()
    lab.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=inside.id)
    public = address["PublicIp"]
    name = inside.describe()["PublicDnsName"]
    assert name == f"ec2-{dashed(public)}.{PUBLIC}"
    assert dig(inside, name) == ("NOERROR", [inside.ip])
    assert dig(outside, name) == ("NOERROR", [public])
    peering = network.peer(vpc, far)
    assert dig(outside, name) == ("NOERROR", [public])
    # Names of the peer's addresses, whoever asks.
    assert dig(outside, f"ip-{dashed(inside.ip)}.{DOMAIN}") == ("NOERROR", [inside.ip])
    lab.ec2.modify_vpc_peering_connection_options(
        VpcPeeringConnectionId=peering,
        RequesterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True})
    assert dig(outside, name) == ("NOERROR", [inside.ip])
    assert dig(inside, "-x", public) == ("NOERROR", [f"{name}."])
    lab.ec2.modify_address_attribute(AllocationId=address["AllocationId"],
                                     DomainName="mail.example.com")
    assert dig(inside, "-x", public) == ("NOERROR", ["mail.example.com."])
    lab.ec2.reset_address_attribute(AllocationId=address["AllocationId"],
                                    Attribute="domain-name")
    lab.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    assert dig(outside, name) == ("NXDOMAIN", [])
    assert inside.describe()["PublicDnsName"] == ""


def test_names_of_load_balancers(wired, lab, home):
    vpc, subnet = home
    far = lab.subnet(vpc, "10.0.1.0/24", "us-east-1b")
    asker = lab.instance(subnet)
    elbv2 = wired.client("elbv2")
    [made] = elbv2.create_load_balancer(Name="names", Type="network", Scheme="internal",
                                        SubnetMappings=[
                                            {"SubnetId": subnet, "PrivateIPv4Address": "10.0.0.60"},
                                            {"SubnetId": far, "PrivateIPv4Address": "10.0.1.60"}],
                                        )["LoadBalancers"]
    try:
        name = made["DNSName"]
        nodes = {"10.0.0.60", "10.0.1.60"}
        # With no healthy target anywhere, every zone counts.
        for server in [RESOLVER, "10.0.0.2"]:
            status, answers = dig(asker, name, server=server)
            assert (status, set(answers), len(answers)) == ("NOERROR", nodes, 2)
        assert dig(asker, f"us-east-1b.{name}") == ("NOERROR", ["10.0.1.60"])
        assert dig(asker, f"us-east-1c.{name}")[0] == "NXDOMAIN"
        assert dig(asker, name, "AAAA") == ("NOERROR", [])
        # Clients take the first answer: it is not always the same node's.
        firsts = {dig(asker, name)[1][0] for _ in range(40)}
        assert firsts == nodes
    finally:
        elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    # What nobody here has may be another's name.
    assert dig(asker, name)[1] == []
