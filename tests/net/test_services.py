"""Link-local services: what each instance asks of its VPC.

        a, b: 10.0.0.0/24, rules that allow nothing -----> 169.254.169.254, .253, .123, 10.0.0.2

The metadata themselves are in test_metadata.py and test_resolver.py; here is the way to the services.
"""

import pytest

METADATA = "169.254.169.254"


@pytest.fixture
def closed(lab):
    """An instance that no security group lets out or in."""
    vpc, subnet = lab.network()
    return lab.instance(subnet, lab.group(vpc, "closed", egress=[]))


def curl(instance, path="/latest/", host=METADATA, *options):
    return instance.exec("curl", "-sS", "-m", "3", *options, f"http://{host}{path}")


def test_metadata_answer_in_spite_of_the_rules(closed):
    print(closed.exec("ip", "route"))
    print(curl(closed))
