"""Small tests of a control plane with a reset between them, as a test suite makes them."""

import statistics
import time

import api
import aws
import daemon
import links

FLAGS = ("--ephemeral", "--datapath", "none")
ENID_RESET = "/_enid/reset"
MOTO_RESET = "/moto-api/reset"


def one_test(ec2):
    """A handful of calls with the ordinary client: the smallest VPC with an interface."""
    vpc = ec2.create_vpc(CidrBlock=links.NETWORK)["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.0.0/24")["Subnet"]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    eni = made["NetworkInterfaceId"]
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    assert found[0]["PrivateIpAddress"] == made["PrivateIpAddress"]
    ec2.delete_network_interface(NetworkInterfaceId=eni)


def measure(endpoint, path, tests):
    """Tests per second, resets included, and the milliseconds of a reset."""
    request = f"POST {path} HTTP/1.1\r\nHost: {endpoint.address}\r\nContent-Length: 0\r\n\r\n"
    ec2 = endpoint.client()
    one_test(ec2)
    resets = []
    start = time.perf_counter()
    for _ in range(tests):
        # A connection each: moto does not keep them.
        with aws.Connection(endpoint) as connection:
            _, took = connection.send(request.encode())
        resets.append(took * 1e3)
        one_test(ec2)
    seconds = time.perf_counter() - start
    resets.sort()
    return {
        "tests_per_second": tests / seconds,
        "reset_p50_ms": statistics.median(resets),
        "reset_max_ms": resets[-1],
    }


def enid_figures(tests):
    with daemon.private(flags=FLAGS) as enid:
        return measure(enid.endpoint, ENID_RESET, tests)


def moto_figures(tests):
    api.install_moto()
    with api.moto() as (endpoint, _, _):
        return measure(endpoint, MOTO_RESET, tests)
