"""Targets, filters and sessions of traffic mirroring through boto3. What packets do of it is in
tests/net."""

import pytest

from support.errors import refused

ACCOUNT = "123456789012"


class Mirrors:
    """Makes what mirrors packets; it is gone after the test."""

    def __init__(self, papers):
        self.ec2 = papers.ec2
        _, self.subnet = papers.network()
        self.instances = []

    def eni(self):
        made = self.ec2.create_network_interface(SubnetId=self.subnet)
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def instance_eni(self, instance_type="t3.micro"):
        """The interface of a new instance."""
        [instance] = self.ec2.run_instances(
            ImageId="ami-0123456789abcdef0", InstanceType=instance_type, MinCount=1, MaxCount=1,
            SubnetId=self.subnet)["Instances"]
        self.instances.append(instance["InstanceId"])
        return instance["NetworkInterfaces"][0]["NetworkInterfaceId"]

    def target(self, eni=None, **options):
        made = self.ec2.create_traffic_mirror_target(
            NetworkInterfaceId=eni or self.eni(), **options)
        return made["TrafficMirrorTarget"]["TrafficMirrorTargetId"]

    def filter(self, **options):
        made = self.ec2.create_traffic_mirror_filter(**options)
        return made["TrafficMirrorFilter"]["TrafficMirrorFilterId"]

    def rule(self, filter_, number=1, direction="ingress", action="accept", source="0.0.0.0/0",
             destination="0.0.0.0/0", **options):
        made = self.ec2.create_traffic_mirror_filter_rule(
            TrafficMirrorFilterId=filter_, TrafficDirection=direction, RuleNumber=number,
            RuleAction=action, SourceCidrBlock=source, DestinationCidrBlock=destination, **options)
        return made["TrafficMirrorFilterRule"]

    def session(self, eni, target, filter_, number=1, **options):
        made = self.ec2.create_traffic_mirror_session(
            NetworkInterfaceId=eni, TrafficMirrorTargetId=target, TrafficMirrorFilterId=filter_,
            SessionNumber=number, **options)
        return made["TrafficMirrorSession"]

    def close(self):
        if self.instances:
            self.ec2.terminate_instances(InstanceIds=self.instances)
        for session in self.ec2.describe_traffic_mirror_sessions()["TrafficMirrorSessions"]:
            self.ec2.delete_traffic_mirror_session(
                TrafficMirrorSessionId=session["TrafficMirrorSessionId"])
        for filter_ in self.ec2.describe_traffic_mirror_filters()["TrafficMirrorFilters"]:
            self.ec2.delete_traffic_mirror_filter(
                TrafficMirrorFilterId=filter_["TrafficMirrorFilterId"])
        for target in self.ec2.describe_traffic_mirror_targets()["TrafficMirrorTargets"]:
            self.ec2.delete_traffic_mirror_target(
                TrafficMirrorTargetId=target["TrafficMirrorTargetId"])
        own = [{"Name": "subnet-id", "Values": [self.subnet]}]
        for eni in self.ec2.describe_network_interfaces(Filters=own)["NetworkInterfaces"]:
            self.ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])


@pytest.fixture
def mirrors(papers):
    mirrors = Mirrors(papers)
    yield mirrors
    mirrors.close()


def tags(kind, **pairs):
    listed = [{"Key": key, "Value": value} for key, value in pairs.items()]
    return [{"ResourceType": kind, "Tags": listed}]


def filters(**wanted):
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in wanted.items()]


def test_life_of_a_target(ec2, mirrors):
    eni = mirrors.eni()
    made = ec2.create_traffic_mirror_target(
        NetworkInterfaceId=eni, Description="ids", ClientToken="one",
        TagSpecifications=tags("traffic-mirror-target", Name="ids"))
    assert made["ClientToken"] == "one"
    target = made["TrafficMirrorTarget"]
    id_ = target.pop("TrafficMirrorTargetId")
    assert id_.startswith("tmt-0") and target == {
        "NetworkInterfaceId": eni, "Type": "network-interface", "Description": "ids",
        "OwnerId": ACCOUNT, "Tags": [{"Key": "Name", "Value": "ids"}]}
    again = ec2.create_traffic_mirror_target(
        NetworkInterfaceId=eni, Description="ids", ClientToken="one",
        TagSpecifications=tags("traffic-mirror-target", Name="ids"))
    assert again["TrafficMirrorTarget"]["TrafficMirrorTargetId"] == id_
    with refused("IdempotentParameterMismatch"):
        ec2.create_traffic_mirror_target(NetworkInterfaceId=eni, ClientToken="one")
    # The interface may go; what would be copied to it is not.
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    [shown] = ec2.describe_traffic_mirror_targets(
        TrafficMirrorTargetIds=[id_])["TrafficMirrorTargets"]
    assert shown["NetworkInterfaceId"] == eni
    with refused("DryRunOperation", status=412):
        ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=id_, DryRun=True)
    gone = ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=id_)
    assert gone["TrafficMirrorTargetId"] == id_
    for call in (
            lambda: ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=id_),
            lambda: ec2.describe_traffic_mirror_targets(TrafficMirrorTargetIds=[id_])):
        with refused("InvalidTrafficMirrorTargetId.NotFound",
                     f"The traffic mirror target ID '{id_}' does not exist"):
            call()


def test_a_target_is_an_interface(ec2, mirrors):
    with refused("MissingParameter"):
        ec2.create_traffic_mirror_target()
    for member, value in [("NetworkLoadBalancerArn", "arn:aws:x"),
                          ("GatewayLoadBalancerEndpointId", "vpce-0123456789abcdef0")]:
        with refused("UnsupportedOperation", f"…{member}"):
            ec2.create_traffic_mirror_target(**{member: value})
    with refused("InvalidTrafficMirrorTarget",
                 "The interface ID 'eni-00000000000000007' does not exist"):
        mirrors.target("eni-00000000000000007")
    with refused("InvalidNetworkInterfaceId.Malformed"):
        mirrors.target("eni-7")
    with refused("InvalidTrafficMirrorTargetId.Malformed"):
        ec2.delete_traffic_mirror_target(TrafficMirrorTargetId="tmt-7")


def test_life_of_a_filter(ec2, mirrors):
    made = ec2.create_traffic_mirror_filter(
        Description="web", TagSpecifications=tags("traffic-mirror-filter", Name="web"))
    filter_ = made["TrafficMirrorFilter"]
    id_ = filter_["TrafficMirrorFilterId"]
    assert id_.startswith("tmf-0") and filter_ == {
        "TrafficMirrorFilterId": id_, "IngressFilterRules": [], "EgressFilterRules": [],
        "NetworkServices": [], "Description": "web", "Tags": [{"Key": "Name", "Value": "web"}]}
    changed = ec2.modify_traffic_mirror_filter_network_services(
        TrafficMirrorFilterId=id_, AddNetworkServices=["amazon-dns"])
    assert changed["TrafficMirrorFilter"]["NetworkServices"] == ["amazon-dns"]
    changed = ec2.modify_traffic_mirror_filter_network_services(
        TrafficMirrorFilterId=id_, RemoveNetworkServices=["amazon-dns"])
    assert changed["TrafficMirrorFilter"]["NetworkServices"] == []
    with refused("InvalidParameterValue"):
        ec2.modify_traffic_mirror_filter_network_services(
            TrafficMirrorFilterId=id_, AddNetworkServices=["amazon-time"])
    second = mirrors.rule(id_, 20)
    first = mirrors.rule(id_, 10)
    out = mirrors.rule(id_, 10, "egress")
    [shown] = ec2.describe_traffic_mirror_filters(
        TrafficMirrorFilterIds=[id_])["TrafficMirrorFilters"]
    assert shown["IngressFilterRules"] == [first, second], "in the order of their numbers"
    assert shown["EgressFilterRules"] == [out]
    assert ec2.delete_traffic_mirror_filter(TrafficMirrorFilterId=id_) \
        ["TrafficMirrorFilterId"] == id_
    with refused("InvalidTrafficMirrorFilterId.NotFound",
                 f"The traffic mirror filter ID '{id_}' does not exist"):
        ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[id_])
    rule = first["TrafficMirrorFilterRuleId"]
    with refused("InvalidTrafficMirrorFilterRuleId.NotFound",
                 f"The traffic mirror filter rule ID '{rule}' does not exist"):
        ec2.delete_traffic_mirror_filter_rule(TrafficMirrorFilterRuleId=rule)


def test_life_of_a_rule(ec2, mirrors):
    filter_ = mirrors.filter()
    rule = mirrors.rule(
        filter_, 100, "egress", "reject", "10.0.0.7/16", "192.0.2.0/24", Protocol=6,
        SourcePortRange={"FromPort": 0, "ToPort": 1024},
        DestinationPortRange={"FromPort": 443, "ToPort": 443}, Description="tls",
        TagSpecifications=tags("traffic-mirror-filter-rule", Name="tls"))
    id_ = rule["TrafficMirrorFilterRuleId"]
    expected = {
        "TrafficMirrorFilterRuleId": id_, "TrafficMirrorFilterId": filter_,
        "TrafficDirection": "egress", "RuleNumber": 100, "RuleAction": "reject", "Protocol": 6,
        "SourcePortRange": {"FromPort": 0, "ToPort": 1024},
        "DestinationPortRange": {"FromPort": 443, "ToPort": 443},
        "SourceCidrBlock": "10.0.0.0/16", "DestinationCidrBlock": "192.0.2.0/24",
        "Description": "tls", "Tags": [{"Key": "Name", "Value": "tls"}]}
    assert id_.startswith("tmfr-0") and rule == expected
    changed = ec2.modify_traffic_mirror_filter_rule(
        TrafficMirrorFilterRuleId=id_, RuleAction="accept", TrafficDirection="ingress",
        RuleNumber=1, Protocol=17, RemoveFields=["source-port-range", "description"])
    for gone in ("SourcePortRange", "Description"):
        del expected[gone]
    expected |= {"RuleAction": "accept", "TrafficDirection": "ingress", "RuleNumber": 1,
                 "Protocol": 17}
    # "Tags are not returned for ModifyTrafficMirrorFilterRule."
    assert changed["TrafficMirrorFilterRule"] == expected | {"Tags": []}
    [shown] = ec2.describe_traffic_mirror_filter_rules(
        TrafficMirrorFilterRuleIds=[id_])["TrafficMirrorFilterRules"]
    assert shown == expected
    assert ec2.delete_traffic_mirror_filter_rule(TrafficMirrorFilterRuleId=id_) \
        ["TrafficMirrorFilterRuleId"] == id_


def test_rules_that_are_none(ec2, mirrors):
    filter_ = mirrors.filter()
    mirrors.rule(filter_, 1)
    with refused("TrafficMirrorFilterRuleAlreadyExists",
                 f"The ingress rule with rule number 1 already exists in {filter_}."):
        mirrors.rule(filter_, 1)
    for options, code in [
        ({"number": 0}, "InvalidParameterValue"),
        ({"number": 32767}, "InvalidParameterValue"),
        ({"direction": "sideways"}, "InvalidParameterValue"),
        ({"action": "drop"}, "InvalidParameterValue"),
        ({"source": "10.0.0.0"}, "InvalidParameterValue"),
        ({"source": "::/0"}, "InvalidParameterValue"),
        ({"Protocol": 256}, "InvalidParameterValue"),
        ({"Protocol": 6, "SourcePortRange": {"FromPort": 2, "ToPort": 1}}, "InvalidParameterValue"),
        ({"Protocol": 6, "SourcePortRange": {"FromPort": 2}}, "MissingParameter"),
        ({"SourcePortRange": {"FromPort": 1, "ToPort": 2}}, "InvalidParameterCombination"),
    ]:
        with refused(code):
            mirrors.rule(filter_, **{"number": 2} | options)
    for number in range(2, 11):
        mirrors.rule(filter_, number)
    with refused("TrafficMirrorFilterRuleLimitExceeded",
                 "The maximum number of Traffic Mirror filter rules has been reached."):
        mirrors.rule(filter_, 1, "egress")
    with refused("InvalidTrafficMirrorFilterId.NotFound"):
        mirrors.rule("tmf-00000000000000007")
    with refused("InvalidTrafficMirrorFilterId.Malformed"):
        mirrors.rule("tmf-7")
    with refused("InvalidTrafficMirrorFilterRuleId.Malformed"):
        ec2.describe_traffic_mirror_filter_rules(TrafficMirrorFilterRuleIds=["tmfr-7"])


def test_finding_rules(ec2, mirrors):
    one, other = sorted([mirrors.filter(), mirrors.filter()])
    rules = [mirrors.rule(one, number, Protocol=number) for number in range(1, 8)]
    rules += [mirrors.rule(other, 9, "egress", "reject", "10.0.0.0/8", Description="last")]
    ids = [(rule["TrafficMirrorFilterId"], rule["TrafficMirrorFilterRuleId"]) for rule in rules]

    def found(**options):
        answer = ec2.describe_traffic_mirror_filter_rules(**options)
        return [rule["TrafficMirrorFilterRuleId"] for rule in answer["TrafficMirrorFilterRules"]]

    last = rules[-1]["TrafficMirrorFilterRuleId"]
    assert found() == [rule for _, rule in sorted(ids)]
    assert found(TrafficMirrorFilterId=other) == [last]
    assert found(TrafficMirrorFilterRuleIds=[last]) == [last]
    assert found(TrafficMirrorFilterId=one, TrafficMirrorFilterRuleIds=[last]) == []
    for wanted in [
        {"traffic_mirror_filter_rule_id": last}, {"traffic_mirror_filter_id": other},
        {"rule_number": "9"}, {"rule_action": "reject"}, {"traffic_direction": "egress"},
        {"source_cidr_block": "10.0.0.0/8"}, {"description": "l*t"},
    ]:
        assert found(Filters=filters(**wanted)) == [last], wanted
    third = next(rule["TrafficMirrorFilterRuleId"] for rule in rules if rule["RuleNumber"] == 3)
    assert found(Filters=filters(protocol="3")) == [third]
    assert len(found(Filters=filters(destination_cidr_block="0.0.0.0/0"))) == 8
    first = ec2.describe_traffic_mirror_filter_rules(MaxResults=5)
    rest = ec2.describe_traffic_mirror_filter_rules(MaxResults=5, NextToken=first["NextToken"])
    paged = first["TrafficMirrorFilterRules"] + rest["TrafficMirrorFilterRules"]
    assert [rule["TrafficMirrorFilterRuleId"] for rule in paged] == found()
    with refused("InvalidTrafficMirrorFilterId.NotFound"):
        found(TrafficMirrorFilterId="tmf-00000000000000007")
    absent = ["tmfr-00000000000000007", "tmfr-00000000000000008"]
    with refused("InvalidTrafficMirrorFilterRuleId.NotFound", f"…{', '.join(absent)}"):
        found(TrafficMirrorFilterRuleIds=absent)
    with refused("InvalidParameterValue"):
        found(Filters=filters(colour="red"))


def test_life_of_a_session(ec2, mirrors):
    eni, target, filter_ = mirrors.instance_eni(), mirrors.target(), mirrors.filter()
    session = mirrors.session(
        eni, target, filter_, 5, PacketLength=100, VirtualNetworkId=7, Description="all",
        TagSpecifications=tags("traffic-mirror-session", Name="all"))
    id_ = session["TrafficMirrorSessionId"]
    expected = {
        "TrafficMirrorSessionId": id_, "TrafficMirrorTargetId": target,
        "TrafficMirrorFilterId": filter_, "NetworkInterfaceId": eni, "OwnerId": ACCOUNT,
        "PacketLength": 100, "SessionNumber": 5, "VirtualNetworkId": 7, "Description": "all",
        "Tags": [{"Key": "Name", "Value": "all"}]}
    assert id_.startswith("tms-0") and session == expected
    for call, code in [
        (lambda: ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=target),
         "TrafficMirrorTargetInUse"),
        (lambda: ec2.delete_traffic_mirror_filter(TrafficMirrorFilterId=filter_),
         "TrafficMirrorFilterInUse"),
    ]:
        with refused(code, f"…in use by {id_}"):
            call()
    other = mirrors.target()
    changed = ec2.modify_traffic_mirror_session(
        TrafficMirrorSessionId=id_, TrafficMirrorTargetId=other, SessionNumber=6,
        RemoveFields=["packet-length", "virtual-network-id"])["TrafficMirrorSession"]
    assert changed["VirtualNetworkId"] != 7, "a random one"
    del expected["PacketLength"]
    assert changed == expected | {"TrafficMirrorTargetId": other, "SessionNumber": 6,
                                  "VirtualNetworkId": changed["VirtualNetworkId"]}
    ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=target)
    gone = ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=id_)
    assert gone["TrafficMirrorSessionId"] == id_
    for call in (
            lambda: ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=id_),
            lambda: ec2.modify_traffic_mirror_session(TrafficMirrorSessionId=id_),
            lambda: ec2.describe_traffic_mirror_sessions(TrafficMirrorSessionIds=[id_])):
        with refused("InvalidTrafficMirrorSessionId.NotFound",
                     f"The traffic mirror session ID '{id_}' does not exist"):
            call()


def test_sources(ec2, mirrors):
    eni, target, filter_ = mirrors.instance_eni(), mirrors.target(), mirrors.filter()
    free, old = mirrors.eni(), mirrors.instance_eni("m7i.large")
    for unfit in (free, old):
        with refused("NetworkInterfaceNotSupported",
                     f"{unfit} must be attached to a supported instance."):
            mirrors.session(unfit, target, filter_)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        mirrors.session("eni-00000000000000007", target, filter_)
    with refused("InvalidTrafficMirrorTargetId.NotFound"):
        mirrors.session(eni, "tmt-00000000000000007", filter_)
    with refused("InvalidTrafficMirrorFilterId.NotFound"):
        mirrors.session(eni, target, "tmf-00000000000000007")
    for options in ({"number": 0}, {"number": 32767}, {"PacketLength": 0},
                    {"VirtualNetworkId": 1 << 24}):
        with refused("InvalidParameterValue"):
            mirrors.session(eni, target, filter_, **options)
    first = mirrors.session(eni, target, filter_, 1)
    with refused("InvalidParameterValue", f"Session number 1 on {eni} is already being used by "
                 f"{first['TrafficMirrorSessionId']}"):
        mirrors.session(eni, target, filter_, 1)
    with refused("InvalidParameterValue", f"…{eni} is already in use by"):
        mirrors.target(eni)
    as_target = mirrors.instance_eni()
    mirrors.target(as_target)
    with refused("InvalidParameterValue", f"…{as_target} is already in use by"):
        mirrors.session(as_target, target, filter_)
    others = [mirrors.session(eni, target, filter_, number) for number in (2, 3)]
    networks = {session["VirtualNetworkId"] for session in [first, *others]}
    assert len(networks) == 3, "random ones, each once"
    with refused("TrafficMirrorSessionsPerInterfaceLimitExceeded",
                 f"The maximum number of Traffic Mirror sessions for {eni} has been reached."):
        mirrors.session(eni, target, filter_, 4)
    # Its sessions go with the interface.
    ec2.terminate_instances(InstanceIds=mirrors.instances[:1])
    own = filters(network_interface_id=eni)
    assert ec2.describe_traffic_mirror_sessions(Filters=own)["TrafficMirrorSessions"] == []


def test_finding_targets_filters_and_sessions(ec2, mirrors):
    target_eni, eni = mirrors.eni(), mirrors.instance_eni()
    targets = sorted([mirrors.target(target_eni, Description=f"target {n}") for n in range(6)])
    all_filters = sorted([mirrors.filter(Description=f"filter {n}") for n in range(6)])
    session = mirrors.session(eni, targets[0], all_filters[0], 9, PacketLength=64,
                              VirtualNetworkId=1234, Description="only")
    ec2.create_tags(Resources=[targets[1], all_filters[1], session["TrafficMirrorSessionId"]],
                    Tags=[{"Key": "who", "Value": "me"}])
    for kind, ids in [("targets", targets), ("filters", all_filters)]:
        name = kind.capitalize()
        describe = getattr(ec2, f"describe_traffic_mirror_{kind}")

        def found(**options):
            listed = describe(**options)[f"TrafficMirror{name}"]
            return [one[f"TrafficMirror{name[:-1]}Id"] for one in listed]

        assert found() == ids
        pages = ec2.get_paginator(f"describe_traffic_mirror_{kind}").paginate(
            PaginationConfig={"PageSize": 5})
        sizes = [len(page[f"TrafficMirror{name}"]) for page in pages]
        assert sizes == [5, 1]
        assert found(Filters=[{"Name": "tag:who", "Values": ["me"]}]) == [ids[1]]
        assert found(Filters=filters(**{f"traffic_mirror_{kind[:-1]}_id": ids[2]})) == [ids[2]]
        assert len(found(Filters=filters(description=f"{kind[:-1]} 3"))) == 1
        with refused("InvalidParameterValue"):
            found(Filters=filters(colour="red"))
        with refused("InvalidParameterCombination"):
            found(MaxResults=5, **{f"TrafficMirror{name[:-1]}Ids": ids[:1]})
    assert len(ec2.describe_traffic_mirror_targets(Filters=filters(
        network_interface_id=target_eni, owner_id=ACCOUNT))["TrafficMirrorTargets"]) == 6
    assert ec2.describe_traffic_mirror_targets(Filters=filters(
        network_load_balancer_arn="*"))["TrafficMirrorTargets"] == []
    for wanted in [
        {"description": "only"}, {"network_interface_id": eni}, {"owner_id": ACCOUNT},
        {"packet_length": "64"}, {"session_number": "9"}, {"virtual_network_id": "1234"},
        {"traffic_mirror_filter_id": all_filters[0]}, {"traffic_mirror_target_id": targets[0]},
        {"traffic_mirror_session_id": session["TrafficMirrorSessionId"]}, {"tag:who": "me"},
    ]:
        for values, count in ((wanted, 1), ({name: "x" for name in wanted}, 0)):
            listed = ec2.describe_traffic_mirror_sessions(Filters=filters(**values))
            assert len(listed["TrafficMirrorSessions"]) == count, values
    tagged = ec2.describe_tags(Filters=filters(key="who"))["Tags"]
    assert {tag["ResourceType"] for tag in tagged} == {
        "traffic-mirror-target", "traffic-mirror-filter", "traffic-mirror-session"}


def test_a_rule_has_tags_of_its_own(ec2, mirrors):
    rule = mirrors.rule(mirrors.filter())["TrafficMirrorFilterRuleId"]
    ec2.create_tags(Resources=[rule], Tags=[{"Key": "who", "Value": "rule"}])
    [tag] = ec2.describe_tags(Filters=filters(resource_id=rule))["Tags"]
    assert tag == {"Key": "who", "Value": "rule", "ResourceId": rule,
                   "ResourceType": "traffic-mirror-filter-rule"}
    ec2.delete_tags(Resources=[rule], Tags=[{"Key": "who"}])
    assert ec2.describe_tags(Filters=filters(resource_id=rule))["Tags"] == []
