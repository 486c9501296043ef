"""Managed prefix lists through boto3, and security group rules that name them."""

import pytest

from support.errors import refused

UNKNOWN = "pl-00000000000000001"


@pytest.fixture
def lists(ec2):
    """Makes lists that are gone after the test."""
    made = []

    def make(*cidrs, size=5, name="offices", family="IPv4", **options):
        entries = [{"Cidr": cidr, "Description": f"block {cidr}"} for cidr in cidrs]
        answer = ec2.create_managed_prefix_list(
            PrefixListName=name, MaxEntries=size, AddressFamily=family, Entries=entries, **options)
        made.append(answer["PrefixList"]["PrefixListId"])
        return made[-1]

    yield make
    left = {shown["PrefixListId"] for shown in ec2.describe_managed_prefix_lists()["PrefixLists"]}
    for one in made:
        if one in left:
            ec2.delete_managed_prefix_list(PrefixListId=one)


def shown(ec2, one):
    [found] = ec2.describe_managed_prefix_lists(PrefixListIds=[one])["PrefixLists"]
    return found


def cidrs(ec2, one, **options):
    entries = ec2.get_managed_prefix_list_entries(PrefixListId=one, **options)["Entries"]
    return [entry["Cidr"] for entry in entries]


def test_life_of_a_list(ec2, lists):
    one = lists("10.1.2.3/16", "192.0.2.0/24", TagSpecifications=[
        {"ResourceType": "prefix-list", "Tags": [{"Key": "Name", "Value": "hq"}]}])
    list_ = shown(ec2, one)
    assert list_["State"] == "create-complete" and list_["Version"] == 1
    assert list_["PrefixListArn"].endswith(f":123456789012:prefix-list/{one}")
    assert list_["OwnerId"] == "123456789012" and list_["AddressFamily"] == "IPv4"
    assert list_["MaxEntries"] == 5 and list_["Tags"] == [{"Key": "Name", "Value": "hq"}]
    assert ec2.get_managed_prefix_list_entries(PrefixListId=one)["Entries"] == [
        {"Cidr": "10.1.0.0/16", "Description": "block 10.1.2.3/16"},
        {"Cidr": "192.0.2.0/24", "Description": "block 192.0.2.0/24"}]

    changed = ec2.modify_managed_prefix_list(
        PrefixListId=one, CurrentVersion=1, PrefixListName="branches",
        AddEntries=[{"Cidr": "198.51.100.0/24"}], RemoveEntries=[{"Cidr": "10.1.0.0/16"}])
    assert changed["PrefixList"]["Version"] == 2
    assert shown(ec2, one)["State"] == "modify-complete"
    assert shown(ec2, one)["PrefixListName"] == "branches"
    assert cidrs(ec2, one) == ["192.0.2.0/24", "198.51.100.0/24"]
    assert cidrs(ec2, one, TargetVersion=1) == ["10.1.0.0/16", "192.0.2.0/24"]
    with refused("InvalidParameterValue", "…(9)"):
        cidrs(ec2, one, TargetVersion=9)

    with refused("PrefixListVersionMismatch", "The prefix list has the incorrect version number."):
        ec2.restore_managed_prefix_list_version(
            PrefixListId=one, PreviousVersion=1, CurrentVersion=1)
    ec2.restore_managed_prefix_list_version(PrefixListId=one, PreviousVersion=1, CurrentVersion=2)
    assert shown(ec2, one)["State"] == "restore-complete" and shown(ec2, one)["Version"] == 3
    assert cidrs(ec2, one) == ["10.1.0.0/16", "192.0.2.0/24"]

    ec2.modify_managed_prefix_list(PrefixListId=one, MaxEntries=2)
    assert (shown(ec2, one)["MaxEntries"], shown(ec2, one)["Version"]) == (2, 3)
    gone = ec2.delete_managed_prefix_list(PrefixListId=one)["PrefixList"]
    assert gone["State"] == "delete-complete"
    with refused("InvalidPrefixListID.NotFound", f"The prefix list ID '{one}' does not exist"):
        shown(ec2, one)


def test_filters_and_pages(ec2, lists):
    ids = sorted(lists("10.0.0.0/8", name=f"list-{number}") for number in range(5))
    by_name = [{"Name": "prefix-list-name", "Values": ["list-1", "list-3"]}]
    assert len(ec2.describe_managed_prefix_lists(Filters=by_name)["PrefixLists"]) == 2
    pages = ec2.get_paginator("describe_managed_prefix_lists").paginate(
        Filters=[{"Name": "owner-id", "Values": ["123456789012"]}],
        PaginationConfig={"PageSize": 2})
    assert [one["PrefixListId"] for page in pages for one in page["PrefixLists"]] == ids
    entries = ec2.get_paginator("get_managed_prefix_list_entries")
    many = lists(*[f"10.{n}.0.0/16" for n in range(7)], size=7)
    pages = entries.paginate(PrefixListId=many, PaginationConfig={"PageSize": 3})
    sizes = [len(page["Entries"]) for page in pages]
    assert sizes == [3, 3, 1]
    with refused("InvalidParameterValue", "The filter 'color' is invalid"):
        ec2.describe_managed_prefix_lists(Filters=[{"Name": "color", "Values": ["red"]}])
    with refused("InvalidParameterValue"):
        ec2.describe_managed_prefix_lists(MaxResults=101)
    # There is no list of AWS's.
    assert ec2.describe_prefix_lists()["PrefixLists"] == []


@pytest.mark.parametrize(("change", "code", "words"), [
    ({}, "InvalidParameterCombination", "No attributes specified."),
    ({"AddEntries": [{"Cidr": "10.0.0.0/8", "Description": "block 10.0.0.0/8"}]},
     "InvalidPrefixListModification",
     "An entry with the CIDR (10.0.0.0/8) and description (block 10.0.0.0/8) already exists."),
    ({"RemoveEntries": [{"Cidr": "11.0.0.0/8"}]}, "InvalidPrefixListModification",
     "An entry with the CIDR (11.0.0.0/8) does not exist."),
    ({"AddEntries": [{"Cidr": "10.0.0.0/8"}]}, "InvalidRequest",
     "The request received was invalid."),
    ({"AddEntries": [{"Cidr": "10.0.0.0/8"}], "RemoveEntries": [{"Cidr": "10.0.0.0/8"}]},
     "InvalidParameterValue", "…10.0.0.0/8 in both AddPrefixListEntries and RemovePrefixListEntries"),
    ({"AddEntries": [{"Cidr": "11.0.0.0/8"}, {"Cidr": "12.0.0.0/8"}]},
     "PrefixListMaxEntriesExceeded",
     "You've reached the maximum number of entries for the prefix list."),
    ({"AddEntries": [{"Cidr": "11.0.0.0/8"}], "MaxEntries": 3}, "InvalidParameterCombination",
     "You cannot modify the entries and the maximum entries for the prefix list"
     " in the same request."),
    ({"AddEntries": [{"Cidr": "fd00::/8"}]}, "InvalidParameterValue", "…fd00::/8"),
    ({"AddEntries": [{"Cidr": "10.0.0.0/33"}]}, "InvalidParameterValue",
     "CIDR block 10.0.0.0/33 is malformed"),
    ({"MaxEntries": 0}, "InvalidParameterValue", "…between 1 and 1000"),
    ({"PrefixListName": "com.amazonaws.us-east-1.s3"}, "InvalidParameterValue", "…com.amazonaws"),
    ({"AddEntries": [{"Cidr": "11.0.0.0/8"}], "CurrentVersion": 7}, "PrefixListVersionMismatch",
     "The prefix list has the incorrect version number."),
])
def test_changes_that_are_refused(ec2, lists, change, code, words):
    one = lists("10.0.0.0/8", size=2)
    with refused(code, words):
        ec2.modify_managed_prefix_list(PrefixListId=one, **change)
    assert shown(ec2, one)["Version"] == 1 and cidrs(ec2, one) == ["10.0.0.0/8"]


def test_a_hundred_entries_a_request(ec2):
    entries = [{"Cidr": f"10.0.{n}.0/24"} for n in range(101)]
    with refused("InvalidParameterValue", "…more than 100 entry additions or removals"):
        ec2.create_managed_prefix_list(
            PrefixListName="x", MaxEntries=200, AddressFamily="IPv4", Entries=entries)


def test_a_token_makes_one_list(ec2, lists):
    first = lists(ClientToken="same")
    again = ec2.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=5, AddressFamily="IPv4", ClientToken="same")
    assert again["PrefixList"]["PrefixListId"] == first
    with refused("IdempotentParameterMismatch"):
        ec2.create_managed_prefix_list(
            PrefixListName="other", MaxEntries=5, AddressFamily="IPv4", ClientToken="same")


def test_rules_that_name_a_list(ec2, papers, lists):
    vpc = papers.vpc()
    one, other = lists("10.0.0.0/8"), lists("fd00::/8", family="IPv6")
    group = papers.group(vpc, "web")
    peer = {"PrefixListId": one, "Description": "from the offices"}
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "PrefixListIds": [peer]}
    answer = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    [rule] = answer["SecurityGroupRules"]
    assert rule["PrefixListId"] == one and rule["Description"] == "from the offices"
    with refused("InvalidPermission.Duplicate",
                 f'the specified rule "peer: {one}, TCP, from port: 22, to port: 22, ALLOW"'
                 " already exists"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    by_list = [{"Name": "ip-permission.prefix-list-id", "Values": [one]}]
    [found] = ec2.describe_security_groups(Filters=by_list)["SecurityGroups"]
    assert found["GroupId"] == group
    assert found["IpPermissions"][0]["PrefixListIds"] == [peer]

    associated = ec2.get_managed_prefix_list_associations(PrefixListId=one)
    assert associated["PrefixListAssociations"] == [
        {"ResourceId": group, "ResourceOwner": "123456789012"}]
    with refused("DependencyViolation"):
        ec2.delete_managed_prefix_list(PrefixListId=one)
    # A list counts as its size, against the quota of 60 rules.
    with refused("RulesPerSecurityGroupLimitExceeded"):
        ec2.modify_managed_prefix_list(PrefixListId=one, MaxEntries=61)
    ec2.modify_managed_prefix_list(PrefixListId=one, MaxEntries=60)
    with refused("RulesPerSecurityGroupLimitExceeded",
                 "The maximum number of rules per security group has been reached."):
        papers.authorize(group, {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]})

    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[
        {"SecurityGroupRuleId": rule["SecurityGroupRuleId"],
         "SecurityGroupRule": {"IpProtocol": "-1", "PrefixListId": other}}])
    [changed] = ec2.describe_security_group_rules(
        SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])["SecurityGroupRules"]
    assert changed["PrefixListId"] == other and changed["IpProtocol"] == "-1"
    with refused("InvalidPrefixListID.NotFound", f"The prefix list ID '{UNKNOWN}' does not exist"):
        papers.authorize(group, {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": UNKNOWN}]})
    papers.revoke(group, {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": other}]})
    assert ec2.get_managed_prefix_list_associations(
        PrefixListId=other)["PrefixListAssociations"] == []


def test_tags_and_ids(ec2, lists):
    one = lists()
    ec2.create_tags(Resources=[one], Tags=[{"Key": "a", "Value": "b"}])
    by_tag = [{"Name": "tag:a", "Values": ["b"]}]
    [found] = ec2.describe_managed_prefix_lists(Filters=by_tag)["PrefixLists"]
    assert found["PrefixListId"] == one
    [tag] = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [one]}])["Tags"]
    assert tag["ResourceType"] == "prefix-list"
    with refused("InvalidPrefixListId.Malformed"):
        ec2.describe_managed_prefix_lists(PrefixListIds=["pl-x"])
    with refused("InvalidParameterValue"):
        ec2.create_managed_prefix_list(PrefixListName="x", MaxEntries=1, AddressFamily="IPv5")
