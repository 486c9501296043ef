"""The way to the outside: each daemon has its own, and what somebody does to it is seen."""

import ipaddress
import json
import subprocess

import pytest

from support.daemon import DEFAULT_CONFIG

pytestmark = pytest.mark.real_packets


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
    return done.stdout


def far(daemon):
    """The host's end."""
    [name] = [name for name in daemon.gateway() if name.startswith("enid")]
    return name


def pool(daemon):
    """The block of public addresses that leads to a daemon."""
    [address] = [entry for link in json.loads(ip("-j", "addr", "show", far(daemon)))
                 for entry in link["addr_info"] if entry["family"] == "inet"]
    return ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}")


def delete_pin(daemon):
    [layout] = [path for pin in daemon.pins() for path in _children(pin)]
    subprocess.run(["rm", f"{layout}/links/gateway-outside"], check=True)


def _children(directory):
    done = subprocess.run(["find", directory, "-mindepth", "1", "-maxdepth", "1", "-type", "d"],
                          capture_output=True, text=True, check=True)
    return done.stdout.split()


DEEDS = {
    "deleted": lambda daemon: ip("link", "delete", far(daemon)),
    "down": lambda daemon: ip("link", "set", far(daemon), "down"),
    "an address less": lambda daemon: ip("addr", "del", str(pool(daemon)), "dev", far(daemon)),
    "a rule less": lambda daemon: ip("rule", "del", "iif", far(daemon)),
    "a route less": lambda daemon: ip("-6", "route", "flush", "dev", far(daemon)),
    "without its program": delete_pin,
}


def test_what_somebody_does_to_it_is_told_and_repaired(start_daemon):
    daemon = start_daemon("ebpf")
    before = pool(daemon)
    assert daemon.json("verify")["agree"]
    for deed, do in DEEDS.items():
        do(daemon)
        done = daemon.run("--json", "verify", check=False)
        assert done.returncode == 1, deed
        daemon.stop()
        daemon.start()
        assert daemon.json("verify")["agree"], deed
        assert pool(daemon) == before, deed


def test_daemons_side_by_side_have_pools_of_their_own(start_daemon):
    daemons = [start_daemon("ebpf", ephemeral=number == 1) for number in range(3)]
    pools = [pool(daemon) for daemon in daemons]
    for number, one in enumerate(pools):
        assert one.ip == one.network.network_address + 1
        assert not any(one.network.overlaps(other.network) for other in pools[number + 1:])
        # Elastic IPs come from there.
        address = daemons[number].client().allocate_address()["PublicIp"]
        assert ipaddress.ip_address(address) in one.network
        assert ipaddress.ip_address(address) != one.ip
    # One that crashed keeps its own, and another's end changes nothing.
    daemons[0].kill()
    daemons[2].down()
    daemons[0].start()
    assert pool(daemons[0]) == pools[0]
    assert daemons[1].json("verify")["agree"]


def test_a_pool_of_the_users_choice(start_daemon):
    config = DEFAULT_CONFIG + '[outside]\npool = "198.51.100.64/28"\n'
    daemon = start_daemon("ebpf", config=config)
    assert str(pool(daemon)) == "198.51.100.65/28"
    addresses = {daemon.client().allocate_address()["PublicIp"] for _ in range(3)}
    block = ipaddress.ip_network("198.51.100.64/28")
    assert all(ipaddress.ip_address(address) in block for address in addresses)
    # What somebody else has a route to is nobody's to give away.
    other = start_daemon("ebpf", start=False, config=config)
    done = subprocess.run(other.serve_command(), capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "198.51.100.64/28" in done.stderr
    assert daemon.json("verify")["agree"]
