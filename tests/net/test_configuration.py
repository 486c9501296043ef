"""Guests that are no sandboxes ask how they are configured: DHCP of both families, router advertisements.

        instance whose addresses were taken away, with a DHCP client -----> its subnet's router
"""


import pytest

from support.until import until

DHCLIENT = ("dhclient", "-v", "-1", "-lf", "/run/lease", "-pf", "/run/dhclient.pid")


@pytest.fixture
def ends(lab):
    return lab.network_of_both_families()


@pytest.fixture
def vpc(ends):
    return ends[0]


@pytest.fixture
def subnet(ends):
    """A subnet with both families."""
    return ends[1]


@pytest.fixture
def bare(lab, vpc, subnet):
    """An instance that has forgotten its addresses and routes; no rule lets anything pass."""
    group = lab.group(vpc, "closed", egress=[])
    instance = lab.instance(subnet, group, Ipv6AddressCount=1)
    for family in ("-4", "-6"):
        instance.exec("ip", family, "address", "flush", "dev", "eth0", "scope", "global")
        instance.exec("ip", family, "route", "flush", "dev", "eth0")
    assert shown(instance, "-4", "address") == ""
    return instance


def shown(instance, *words):
    return instance.exec("ip", "-o", *words, "show", "dev", "eth0").stdout.strip()


def lease(instance):
    """The options of the last lease."""
    lines = instance.exec("cat", "/run/lease").stdout.split("lease {")[-1].splitlines()
    words = [line.strip().removesuffix(";").removeprefix("option ") for line in lines]
    return dict(line.split(" ", 1) for line in words if " " in line)


def options(lab, vpc, **values):
    """Gives a VPC an option set of its own."""
    configuration = [{"Key": key.replace("_", "-"), "Values": value}
                     for key, value in values.items()]
    made = lab.ec2.create_dhcp_options(DhcpConfigurations=configuration)
    made = made["DhcpOptions"]["DhcpOptionsId"]
    lab.ec2.associate_dhcp_options(DhcpOptionsId=made, VpcId=vpc)
    return made


def test_a_host_gets_its_address_and_what_the_option_set_says(lab, vpc, bare):
    made = options(lab, vpc, domain_name=["corp.example"],
                   domain_name_servers=["AmazonProvidedDNS", "192.0.2.53"],
                   ntp_servers=["169.254.169.123"], netbios_name_servers=["10.0.0.7"],
                   netbios_node_type=["2"])
    try:
        bare.exec(*DHCLIENT, "-4", "eth0")
        assert f"inet {bare.ip}/24" in shown(bare, "-4", "address")
        assert "default via 10.0.0.1" in shown(bare, "-4", "route")
        told = lease(bare)
        assert told["fixed-address"] == bare.ip
        assert told["dhcp-server-identifier"] == "10.0.0.1" == told["routers"]
        assert told["dhcp-lease-time"] == "3600"
        assert told["domain-name"] == '"corp.example"'
        assert told["domain-name-servers"] == "10.0.0.2,192.0.2.53"
        assert told["netbios-name-servers"] == "10.0.0.7"
        resolv_conf = bare.exec("cat", "/etc/resolv.conf").stdout
        assert "nameserver 10.0.0.2" in resolv_conf and "corp.example" in resolv_conf
        # A renewal is asked of the router alone, and hears of the set as it is then.
        changed = options(lab, vpc, domain_name=["other.example"])
        lab.ec2.delete_dhcp_options(DhcpOptionsId=made)
        bare.exec(*DHCLIENT, "-4", "eth0")
        assert lease(bare)["domain-name"] == '"other.example"'
        made = changed
    finally:
        lab.ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
        lab.ec2.delete_dhcp_options(DhcpOptionsId=made)


def test_an_address_of_another_is_refused_and_the_own_one_given(lab, bare):
    # Fails if the server gives what is asked for.
    bare.exec("sh", "-c", """cat > /run/lease <<END
lease {
  interface "eth0";
  fixed-address 10.0.0.99;
  option subnet-mask 255.255.255.0;
  option routers 10.0.0.1;
  option dhcp-lease-time 3600;
  option dhcp-message-type 5;
  option dhcp-server-identifier 10.0.0.1;
  renew 0 2037/01/03 00:00:00;
  rebind 0 2037/01/04 00:00:00;
  expire 0 2037/01/05 00:00:00;
}
END""")
    said = bare.exec(*DHCLIENT, "-4", "eth0").stderr
    assert "DHCPNAK" in said
    assert f"inet {bare.ip}/24" in shown(bare, "-4", "address")


def test_a_host_without_ipv6_addresses_finds_router_and_addresses(lab, bare):
    address = bare.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    bare.exec("sysctl", "-q", "-w", "net.ipv6.conf.eth0.accept_ra=1")
    bare.exec("ip", "link", "set", "eth0", "down")
    bare.exec("ip", "link", "set", "eth0", "addrgenmode", "eui64")
    bare.exec("ip", "link", "set", "eth0", "up")
    until(lambda: "default via fe80:ec2::1" in shown(bare, "-6", "route"), "the router is known")
    assert "proto ra" in shown(bare, "-6", "route")
    global_addresses = bare.exec("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope",
                                 "global").stdout
    assert global_addresses == "", "no address is made from the prefix"
    bare.exec(*DHCLIENT, "-6", "eth0")
    assert address in shown(bare, "-6", "address")
    told = bare.exec("cat", "/run/lease").stdout
    assert "fd00:ec2::253" in told and "preferred-life 140" in told


def test_a_sandbox_keeps_the_routes_that_it_was_given(lab, vpc, subnet):
    # Fails if sandboxes listen to advertisements: they would keep routes that the API took away.
    instance = lab.instance(subnet, lab.group(vpc, "closed", egress=[]), Ipv6AddressCount=1)
    assert "proto ra" not in shown(instance, "-6", "route")
    assert "default via fe80:ec2::1" in shown(instance, "-6", "route")


def test_a_lease_is_renewed_by_the_router_alone(lab, vpc, subnet):
    # Fails if only broadcasts are answered: hosts renew with packets to who gave them the lease.
    instance = lab.instance(subnet, lab.group(vpc, "closed", egress=[]))
    assert instance.exec("python3", "-c", f"""
import socket
own = socket.inet_aton("{instance.ip}")
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("{instance.ip}", 68))
client.settimeout(1)
request = bytes([1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0]) + own + bytes(12) + mac + bytes(10 + 192)
client.sendto(request + bytes([99, 130, 83, 99, 53, 1, 3, 255]), ("10.0.0.1", 67))
answer, sender = client.recvfrom(1500)
print(sender, answer[240:243] == bytes([53, 1, 5]), answer[16:20] == own)
""").stdout.strip() == "('10.0.0.1', 67) True True"


def test_another_s_mac_is_not_answered(lab, bare):
    # Fails if the hardware address within the message is believed.
    discover = bytes([1, 1, 6, 0]) + b"\x12\x34\x56\x78" + bytes(20) + bytes([2, 0, 0, 0, 0, 7])
    discover += bytes(10 + 192) + bytes([99, 130, 83, 99, 53, 1, 1, 255])
    assert bare.exec("python3", "-c", f"""
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
client.bind(("", 68))
client.settimeout(0.5)
client.sendto({discover!r}, ("255.255.255.255", 67))
try:
    client.recv(1500)
    print("answered")
except TimeoutError:
    print("silence")
""").stdout.strip() == "silence"
