"""Rules that name a managed prefix list let in what the list holds at the moment."""

from support.rules import everything


def test_entries_open_and_close(lab):
    # Fails if a rule keeps the blocks that the list had when the rule was made, or if a change of
    # the list does not reach the groups that name it.
    vpc, subnet = lab.network()
    lists = [lab.ec2.create_managed_prefix_list(
        PrefixListName=name, MaxEntries=4, AddressFamily="IPv4",
        Entries=[])["PrefixList"]["PrefixListId"] for name in ("ssh", "udp")]
    ssh, udp = lists
    server = lab.instance(subnet, lab.group(vpc, "server", [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
         "PrefixListIds": [{"PrefixListId": ssh}]},
        {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53,
         "PrefixListIds": [{"PrefixListId": udp}]}]))
    client = lab.instance(subnet, lab.group(vpc, "client", egress=[everything("10.0.0.0/16")]))
    stranger = lab.instance(subnet, lab.group(vpc, "stranger"))
    server.agent.serve_tcp(port=22)

    def change(**edit):
        lab.ec2.modify_managed_prefix_list(PrefixListId=ssh, **edit)

    def connect(instance, **options):
        return instance.agent.connect(address=server.ip, port=22, **options)

    entry = {"Cidr": f"{client.ip}/32"}
    assert connect(client) == "timeout"
    change(AddEntries=[entry, {"Cidr": "192.0.2.0/24"}])
    assert connect(client, name="old") == "open"
    assert connect(stranger) == "timeout"
    change(RemoveEntries=[entry])
    assert connect(client) == "timeout"
    # Tracked, because the client's way out is not open to everybody.
    assert client.agent.exchange(name="old") == "open"
    version = lab.ec2.describe_managed_prefix_lists(
        PrefixListIds=[ssh])["PrefixLists"][0]["Version"]
    lab.ec2.restore_managed_prefix_list_version(
        PrefixListId=ssh, PreviousVersion=version - 1, CurrentVersion=version)
    assert connect(client) == "open"


def test_an_untracked_flow_ends_with_its_entry(lab):
    # Fails if flows that a list's entry 0.0.0.0/0 lets in are tracked, or outlive the entry.
    vpc, subnet = lab.network()
    everybody = lab.ec2.create_managed_prefix_list(
        PrefixListName="everybody", MaxEntries=1, AddressFamily="IPv4",
        Entries=[{"Cidr": "0.0.0.0/0"}])["PrefixList"]["PrefixListId"]
    server = lab.instance(subnet, lab.group(vpc, "server", [
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
         "PrefixListIds": [{"PrefixListId": everybody}]}]))
    client = lab.instance(subnet, lab.group(vpc, "client"))
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80, name="old") == "open"
    lab.ec2.modify_managed_prefix_list(
        PrefixListId=everybody, RemoveEntries=[{"Cidr": "0.0.0.0/0"}])
    assert client.agent.exchange(name="old") == "timeout"
