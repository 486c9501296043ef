"""Traffic that nothing may disturb: connections that stay, connections that come and go, and bulk."""

import threading

STALLS_AFTER_S = 8.0
# A closed connection keeps its port for a minute, and a client has 28,232 of them.
PORT_S = 60 / 28_000
BULK_BYTES = 1 << 20


class Kept:
    """A connection that exchanges small messages from the first minute to the last."""

    def __init__(self, name, agent, address, port):
        self.name = name
        self._agent = agent
        self._flow = f"kept: {name}"
        self._seen = 0
        self._done = agent.start("trickle", name=self._flow, address=address, port=port,
                                 pause=0.01)

    def check(self, judge):
        """It lives, and has moved since the last time."""
        if self._done.done():
            judge.violation(f"the connection {self.name} broke: {_outcome(self._done)}")
            return
        seen = self._agent.progress(name=self._flow)
        judge.expect(seen > self._seen, f"the connection {self.name} stands still")
        judge.count("round trips of kept connections", seen - self._seen)
        self._seen = seen


def _outcome(future):
    error = future.exception()
    return error if error else f"after {future.result()} messages"


def come_and_go(judge, stop, agent, address, port, name):
    """One connection after the other; every one of them is allowed."""
    while not stop.wait(PORT_S):
        outcome = agent.connect(address=address, port=port, timeout=STALLS_AFTER_S)
        judge.count("connections that came and went")
        judge.expect(outcome == "open", f"a connection of {name}: {outcome}")


def bulk(judge, stop, agent, address, port, name):
    """Megabytes there and back, byte by byte the same."""
    flow = f"bulk: {name}"
    judge.expect(agent.connect(address=address, port=port, name=flow) == "open", f"{name}: not open")
    while not stop.wait(0.05):
        outcome = agent.exchange(name=flow, length=BULK_BYTES, timeout=STALLS_AFTER_S)
        judge.count("megabytes of bulk there and back")
        if not judge.expect(outcome == "open", f"bulk of {name}: {outcome}"):
            return


def passer_by(call, lab, judge, stop, world):
    """Instances and interfaces come and go: in force when launched, gone when terminated."""
    turn = 0
    while not stop.wait(0.2):
        turn += 1
        address = f"10.0.0.{100 + turn % 100}"
        made = call("run_instances", ImageId="ami-0123456789abcdef0", InstanceType="m5.large",
                    MinCount=1, MaxCount=1, SubnetId=world.subnet, PrivateIpAddress=address,
                    SecurityGroupIds=[world.open_group], ClientToken=f"soak-{turn}")
        instance = made["Instances"][0]["InstanceId"]
        judge.expect(world.sink.agent.ping(address=address, timeout=STALLS_AFTER_S) == "open",
                     f"{instance} at {address} was launched and does not answer")
        call("terminate_instances", InstanceIds=[instance])
        judge.expect(world.sink.agent.ping(address=address, timeout=0.1) != "open",
                     f"{instance} at {address} was terminated and answers")
        judge.count("instances that came and went")


def in_threads(judge, *works):
    """Each work is a function and its arguments; gives the threads. One that fails is a violation."""
    def run(function, arguments):
        try:
            function(*arguments)
        except Exception as error:  # Whatever it is, the soak has not seen what it should.
            judge.violation(f"{function.__qualname__}: {error!r}")

    threads = [threading.Thread(target=run, args=(function, arguments), daemon=True)
               for function, *arguments in works]
    for thread in threads:
        thread.start()
    return threads
