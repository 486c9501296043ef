"""Random operations of many clients at once, with kill -9 in between.

What an answered call promised must be there after each crash, what is stored must be consistent
whenever it is looked at, and no address may ever have two holders, not even for a moment. The seed
is printed and can be given: `ENID_SEED=7`. `ENID_OPERATIONS` sets another number of them.
"""

import collections
import ipaddress
import os
import random
import re
import threading
import time

from support.wire import Refused, Unknown, Wire, ids

SEED = int(os.environ.get("ENID_SEED", "1"))
OPERATIONS = int(os.environ.get("ENID_OPERATIONS", "10000"))
WORKERS = 8
KILLS = 5
SUBNETS = 4
ZONE = "us-east-1a"
CONFIG = "[quotas]\naddresses = 1000\n"
BORROWER = "000000000099"


def addresses(text):
    found = re.findall("<privateIpAddress>(.*?)</privateIpAddress>", text)
    return list(dict.fromkeys(found))


class Ledger:
    """Who holds which address for sure, and what must be there for sure."""

    def __init__(self):
        self.lock = threading.Lock()
        self.holders = {}
        self.counts = collections.Counter()
        self.failures = []
        # Of interfaces and instances: their last state that was answered; absent: unknown.
        self.present = set()
        self.gone = set()

    def hold(self, subnet, eni, given):
        with self.lock:
            for address in given:
                other = self.holders.setdefault((subnet, address), eni)
                if other != eni:
                    self.failures.append(f"{address} of {subnet}: {other} and {eni} have it")

    def release(self, subnet, given):
        """To be called before the request that gives them back."""
        with self.lock:
            for address in given:
                self.holders.pop((subnet, address), None)

    def made(self, *names):
        with self.lock:
            self.present.update(names)

    def uncertain(self, *names):
        with self.lock:
            self.present.difference_update(names)

    def deleted(self, *names):
        with self.lock:
            self.present.difference_update(names)
            self.gone.update(names)


class Worker(threading.Thread):
    """One client. It changes the addresses of its own interfaces only; all else is anybody's."""

    def __init__(self, number, world):
        super().__init__()
        self.random = random.Random(f"{SEED} {number}")
        self.world = world
        self.ledger = world.ledger
        self.wire = Wire(world.daemon)
        # Of the account that interfaces are lent to.
        self.theirs = Wire(world.daemon, keys=world.keys)
        # Interface to (subnet, addresses); instance to its primary interface.
        self.enis = {}
        self.instances = {}
        self.attached = set()
        # Interfaces that the borrower may attach, as far as this client knows.
        self.permitted = set()
        # Allocation to public address.
        self.elastic = {}

    def run(self):
        operations = [self.create, self.create, self.create, self.create_named, self.delete,
                      self.delete, self.assign, self.unassign, self.launch, self.terminate,
                      self.attach, self.detach, self.tag, self.group, self.ungroup, self.carry,
                      self.allow, self.subnet, self.unsubnet, self.allocate, self.associate,
                      self.disassociate, self.free, self.permit, self.forbid, self.borrow,
                      self.borrow, self.give_back, self.launch_there, self.terminate_there]
        try:
            while self.world.take():
                operation = self.random.choice(operations)
                try:
                    operation()
                    outcome = "done"
                except Refused as refusal:
                    outcome = str(refusal)
                except Unknown:
                    outcome = "unknown"
                    self.world.wait_until_up()
                self.ledger.counts[operation.__name__, outcome] += 1
        except BaseException as error:
            self.ledger.failures.append(f"{type(error).__name__}: {error}")

    def pick(self, things):
        """Any of them; refused if there is none."""
        things = sorted(things)
        if not things:
            raise Refused("nothing to choose from")
        return self.random.choice(things)

    def took(self, subnet, text):
        eni = ids(text, "eni")[0]
        self.enis[eni] = subnet, addresses(text)
        self.ledger.made(eni)
        self.ledger.hold(subnet, eni, self.enis[eni][1])
        return eni

    def create(self):
        subnet = self.pick(self.world.subnets)
        more = {"SecondaryPrivateIpAddressCount": 2} if self.random.random() < 0.2 else {}
        self.took(subnet, self.wire.call("CreateNetworkInterface", SubnetId=subnet, **more))

    def create_named(self):
        """Most of these are refused: others want the same few addresses."""
        subnet, block = self.pick(self.world.subnets.items())
        address = str(block.network_address + self.random.randrange(4, 20))
        self.took(subnet, self.wire.call("CreateNetworkInterface", SubnetId=subnet,
                                         PrivateIpAddress=address))

    def delete(self):
        eni = self.pick(self.enis)
        subnet, held = self.enis[eni]
        self.ledger.release(subnet, held)
        self.ledger.uncertain(eni)
        try:
            self.wire.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
        except Refused as refusal:
            if refusal.args[0] == "InvalidNetworkInterfaceID.NotFound":
                del self.enis[eni]
            else:
                self.ledger.hold(subnet, eni, held)
                self.ledger.made(eni)
            raise
        except Unknown:
            del self.enis[eni]
            raise
        del self.enis[eni]
        self.ledger.deleted(eni)

    def assign(self):
        eni = self.pick(self.enis)
        subnet, held = self.enis[eni]
        text = self.wire.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni,
                              SecondaryPrivateIpAddressCount=1)
        new = [address for address in addresses(text) if address not in held]
        self.enis[eni] = subnet, held + new
        self.ledger.hold(subnet, eni, new)

    def unassign(self):
        eni = self.pick(eni for eni, (_, held) in self.enis.items() if len(held) > 1)
        subnet, held = self.enis[eni]
        address = self.random.choice(held[1:])
        self.ledger.release(subnet, [address])
        try:
            self.wire.call("UnassignPrivateIpAddresses", NetworkInterfaceId=eni,
                           PrivateIpAddress_1=address)
        except Refused:
            self.ledger.hold(subnet, eni, [address])
            raise
        finally:
            # After an unknown outcome nobody may count on it.
            self.enis[eni] = subnet, [other for other in held if other != address]

    def launch(self):
        if len(self.world.instances) > 60:
            raise Refused("enough")
        subnet = self.pick(self.world.subnets)
        text = self.wire.call("RunInstances", ImageId="ami-0123456789abcdef0", MinCount=1,
                              MaxCount=1, InstanceType="t3.micro", SubnetId=subnet)
        instance, eni = ids(text, "i")[0], ids(text, "eni")[0]
        self.instances[instance] = subnet, eni, addresses(text)
        self.ledger.made(eni)
        self.ledger.hold(subnet, eni, addresses(text))
        self.world.instances.append(instance)

    def terminate(self):
        instance = self.pick(self.instances)
        subnet, eni, held = self.instances.pop(instance)
        self.world.instances.remove(instance)
        self.ledger.release(subnet, held)
        self.ledger.uncertain(eni)
        self.wire.call("TerminateInstances", InstanceId_1=instance)
        self.ledger.deleted(eni)

    def attach(self):
        eni = self.pick(self.enis)
        self.wire.call("AttachNetworkInterface", NetworkInterfaceId=eni,
                       InstanceId=self.pick(self.world.instances), DeviceIndex="1")
        self.attached.add(eni)

    def detach(self):
        eni = self.pick(self.attached & set(self.enis))
        text = self.wire.call("DescribeNetworkInterfaces", NetworkInterfaceId_1=eni)
        self.wire.call("DetachNetworkInterface", AttachmentId=self.pick(ids(text, "eni-attach")))
        self.attached.remove(eni)

    def tag(self):
        self.wire.call("CreateTags", ResourceId_1=self.pick(self.enis), Tag_1_Key="k",
                       Tag_1_Value=str(self.random.random()))

    def group(self):
        if len(self.world.groups) > 20:
            raise Refused("enough")
        text = self.wire.call("CreateSecurityGroup", GroupDescription="x", VpcId=self.world.vpc,
                              GroupName=f"g{self.random.randrange(40)}")
        self.world.groups.append(ids(text, "sg")[0])

    def ungroup(self):
        group = self.pick(self.world.groups)
        self.wire.call("DeleteSecurityGroup", GroupId=group)
        self.world.groups.remove(group)

    def carry(self):
        self.wire.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=self.pick(self.enis),
                       SecurityGroupId_1=self.pick(self.world.groups))

    def allow(self):
        self.wire.call("AuthorizeSecurityGroupIngress", GroupId=self.pick(self.world.groups),
                       IpPermissions_1_IpProtocol="tcp", IpPermissions_1_FromPort="1",
                       IpPermissions_1_ToPort="1",
                       IpPermissions_1_Groups_1_GroupId=self.pick(self.world.groups))

    def subnet(self):
        if len(self.world.subnets) > 2 * SUBNETS:
            raise Refused("enough")
        block = ipaddress.ip_network(f"10.0.{self.random.randrange(100, 140)}.0/27")
        text = self.wire.call("CreateSubnet", VpcId=self.world.vpc, CidrBlock=str(block),
                              AvailabilityZone=ZONE)
        self.world.subnets[ids(text, "subnet")[0]] = block

    def unsubnet(self):
        subnet = self.pick(self.world.subnets)
        self.wire.call("DeleteSubnet", SubnetId=subnet)
        self.world.subnets.pop(subnet, None)


    def allocate(self):
        if len(self.elastic) > 10:
            raise Refused("enough")
        text = self.wire.call("AllocateAddress", Domain="vpc")
        allocation = ids(text, "eipalloc")[0]
        self.elastic[allocation] = re.search("<publicIp>(.*?)</publicIp>", text)[1]
        self.ledger.hold("public", allocation, [self.elastic[allocation]])

    def associate(self):
        self.wire.call("AssociateAddress", AllocationId=self.pick(self.elastic),
                       NetworkInterfaceId=self.pick(self.enis), AllowReassociation="true")

    def disassociate(self):
        text = self.wire.call("DescribeAddresses", AllocationId_1=self.pick(self.elastic))
        self.wire.call("DisassociateAddress", AssociationId=self.pick(ids(text, "eipassoc")))

    def free(self):
        allocation = self.pick(self.elastic)
        address = self.elastic.pop(allocation)
        self.ledger.release("public", [address])
        try:
            self.wire.call("ReleaseAddress", AllocationId=allocation)
        except Refused:
            self.elastic[allocation] = address
            self.ledger.hold("public", allocation, [address])
            raise

    def permit(self):
        eni = self.pick(self.enis)
        self.wire.call("CreateNetworkInterfacePermission", AwsAccountId=BORROWER,
                       NetworkInterfaceId=eni, Permission="INSTANCE-ATTACH")
        self.permitted.add(eni)

    def forbid(self):
        text = self.wire.call(
            "DescribeNetworkInterfacePermissions", Filter_1_Value_1=self.pick(self.permitted),
            Filter_1_Name="network-interface-permission.network-interface-id")
        self.wire.call("DeleteNetworkInterfacePermission",
                       NetworkInterfacePermissionId=self.pick(ids(text, "eni-perm")),
                       Force=self.random.choice(("true", "false")))

    def borrow(self):
        eni = self.pick(self.permitted & set(self.enis))
        self.theirs.call("AttachNetworkInterface", NetworkInterfaceId=eni, DeviceIndex="1",
                         InstanceId=self.pick(self.world.borrowers))
        self.attached.add(eni)

    def give_back(self):
        eni = self.pick(self.attached & self.permitted & set(self.enis))
        text = self.theirs.call("DescribeNetworkInterfaces", NetworkInterfaceId_1=eni)
        self.theirs.call("DetachNetworkInterface",
                         AttachmentId=self.pick(ids(text, "eni-attach")))
        self.attached.remove(eni)

    def launch_there(self):
        if len(self.world.borrowers) > 30:
            raise Refused("enough")
        text = self.theirs.call("RunInstances", ImageId="ami-0123456789abcdef0", MinCount="1",
                                MaxCount="1", InstanceType="t3.micro",
                                Placement_AvailabilityZone=ZONE)
        self.world.borrowers.append(ids(text, "i")[0])

    def terminate_there(self):
        instance = self.pick(self.world.borrowers)
        self.world.borrowers.remove(instance)
        self.theirs.call("TerminateInstances", InstanceId_1=instance)


class World:
    """What all workers share."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.ledger = Ledger()
        self.left = OPERATIONS
        self.up = threading.Event()
        self.up.set()
        wire = Wire(daemon)
        self.vpc = ids(wire.call("CreateVpc", CidrBlock="10.0.0.0/16"), "vpc")[0]
        gateway = ids(wire.call("CreateInternetGateway"), "igw")[0]
        wire.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=self.vpc)
        self.groups, self.instances, self.subnets = [], [], {}
        key = daemon.json("key", "create", "--account", BORROWER)
        self.keys = {"AWS_ACCESS_KEY_ID": key["access_key_id"],
                     "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}
        self.borrowers = []
        for number in range(SUBNETS):
            block = ipaddress.ip_network(f"10.0.{number}.0/25")
            text = wire.call("CreateSubnet", VpcId=self.vpc, CidrBlock=str(block),
                             AvailabilityZone=ZONE)
            self.subnets[ids(text, "subnet")[0]] = block

    def take(self):
        """Whether there is another operation to do."""
        with self.ledger.lock:
            self.left -= 1
            return self.left >= 0 and not self.ledger.failures

    def wait_until_up(self):
        assert self.up.wait(30), "the daemon is back"

    def crash(self):
        """Kills the daemon, looks at what is stored, and starts it again."""
        self.up.clear()
        self.daemon.kill()
        checked = self.daemon.json("check")
        assert checked["consistent"], checked["findings"]
        self.daemon.start()
        self.up.set()


def test_ten_thousand_random_operations_and_kills(start_daemon):
    began = time.monotonic()
    print(f"ENID_SEED={SEED}")
    world = World(start_daemon("none", config=CONFIG))
    ledger = world.ledger
    workers = [Worker(number, world) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for number in range(KILLS, 0, -1):
        wanted = OPERATIONS * number // (KILLS + 1)
        while world.left > wanted and any(worker.is_alive() for worker in workers):
            workers[0].join(0.01)
        world.crash()
    for worker in workers:
        worker.join(60)
    assert ledger.failures == []
    world.daemon.assert_consistent()
    world.crash()
    world.daemon.assert_consistent()
    done = sum(count for (_, outcome), count in ledger.counts.items() if outcome == "done")
    summary = "\n".join(f"{count:6} {name}: {outcome}"
                        for (name, outcome), count in sorted(ledger.counts.items()))
    print(f"{time.monotonic() - began:.1f} s\n{summary}")
    assert done > OPERATIONS / 3, summary

    # What was answered is what is there.
    seen = {}
    pages = world.daemon.client().get_paginator("describe_network_interfaces")
    filters = [{"Name": "vpc-id", "Values": [world.vpc]}]
    for page in pages.paginate(Filters=filters, PaginationConfig={"PageSize": 1000}):
        for eni in page["NetworkInterfaces"]:
            seen[eni["NetworkInterfaceId"]] = eni
    assert ledger.present <= set(seen), "an answered create was lost"
    assert not ledger.gone & set(seen), "an answered delete came back"
    held = collections.Counter(
        (eni["SubnetId"], own["PrivateIpAddress"])
        for eni in seen.values() for own in eni["PrivateIpAddresses"])
    assert max(held.values()) == 1
    for (subnet, address), eni in ledger.holders.items():
        if eni in ledger.present and subnet != "public":
            own = [each["PrivateIpAddress"] for each in seen[eni]["PrivateIpAddresses"]]
            assert address in own, f"{address} of {eni} in {subnet} was lost"
    for subnet in world.daemon.client().describe_subnets(Filters=filters)["Subnets"]:
        size = ipaddress.ip_network(subnet["CidrBlock"]).num_addresses - 5
        used = sum(1 for of, _ in held if of == subnet["SubnetId"])
        assert subnet["AvailableIpAddressCount"] == size - used
