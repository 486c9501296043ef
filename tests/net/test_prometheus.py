"""Prometheus, as Debian has it, scrapes the daemon: its numbers are those of `enid counters`.

        subnet 10.0.0.0/24
        client ── server
"""

import pytest

from support.lab import Lab
from support.prometheus import PROGRAM, Prometheus
from support.rules import tcp
from support.until import until

PER_ENI = {"enid_eni_receive_bytes_total": "bytes_in", "enid_eni_transmit_bytes_total": "bytes_out",
           "enid_eni_receive_packets_total": "packets_in",
           "enid_eni_transmit_packets_total": "packets_out",
           "enid_eni_flows_total": "flows_new", "enid_eni_flows_active": "flows_active"}


@pytest.fixture
def daemon(start_daemon):
    return start_daemon("ebpf")


@pytest.fixture
def lab(daemon):
    lab = Lab(daemon)
    yield lab
    lab.close()


@pytest.fixture
def prometheus(tmp_path, daemon):
    assert PROGRAM.exists(), f"{PROGRAM} is missing: cargo xtask setup --tests"
    prometheus = Prometheus(tmp_path, daemon)
    yield prometheus
    prometheus.close()


def test_prometheus_reads_what_the_kernel_counted(daemon, lab, prometheus):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp("10.0.0.0/16", 80)])
    client, server = lab.instance(subnet, lab.group(vpc, "client")), lab.instance(subnet, group)
    server.agent.serve_tcp(port=80)
    for number in range(50_000, 50_003):
        name = f"connection {number}"
        assert client.agent.connect(address=server.ip, port=80, name=name,
                                    source_port=number) == "open"
    assert client.agent.connect(address=server.ip, port=81, name="shut", timeout=0.3) != "open"
    target = prometheus.target()
    assert target["health"] == "up" and target["lastError"] == ""

    def agrees(instance):
        [counted] = daemon.json("counters", instance.eni)["interfaces"]
        one = f'{{network_interface_id="{instance.eni}"}}'
        shown = {name: prometheus.query(name + one) for name in PER_ENI}
        if not all(shown.values()):
            return False
        drops = {labels["reason"]: value for labels, value
                 in prometheus.query("enid_eni_dropped_packets_total" + one)}
        [(labels, _)] = shown["enid_eni_receive_bytes_total"]
        return (labels["instance_id"] == instance.id and labels["account"] == "123456789012"
                and drops == counted["drops"]
                and {name: value for name, [(_, value)] in shown.items()}
                == {name: counted[key] for name, key in PER_ENI.items()})

    for instance in (client, server):
        until(lambda: agrees(instance), "Prometheus and the counters agree", within=30)
    # Types and help are what Prometheus made of them.
    about = prometheus.ask("targets/metadata", metric="enid_eni_receive_bytes_total")
    assert about[0]["type"] == "counter" and about[0]["help"].startswith("Bytes")
    assert prometheus.query("enid_store_commits_total")[0][1] > 0
    assert prometheus.query("enid_flow_sweeps_total")[0][1] > 0


def test_only_local_programs_scrape(daemon):
    status, headers, body = daemon.get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE enid_build_info gauge" in body
    assert daemon.get("/metrics", headers={"Origin": "https://example.com"})[0] == 403
    assert daemon.get("/metrics", method="POST")[0] == 404
