"""What instances write to their consoles is in a log group."""

import base64

from support.until import until

GROUP = "/enid/console"


def lines(logs, instance):
    streams = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    if instance not in [stream["logStreamName"] for stream in streams]:
        return []
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP,
                                                             logStreamNames=[instance])
    return [event["message"] for page in pages for event in page["events"]]


def test_a_console_is_a_stream(start_daemon):
    daemon = start_daemon("ebpf")
    ec2, logs = daemon.client(), daemon.client("logs")
    script = "#!/bin/sh\nfor n in 1 2 3; do echo line $n; done\nprintf unended\n"
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    [instance] = ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
                                   SubnetId=subnet, UserData=script)["Instances"]
    instance = instance["InstanceId"]
    until(lambda: logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"], "the group")
    until(lambda: any("user data" in line for line in lines(logs, instance)), "the script ends")
    seen = lines(logs, instance)
    assert [line for line in seen if line.startswith("line ")] == ["line 1", "line 2", "line 3"]
    assert any(line.startswith("unended") for line in seen)
    daemon.kill()
    daemon.start()
    logs = daemon.client("logs")
    output = daemon.client().get_console_output(InstanceId=instance)["Output"]
    whole = output if "line 1" in output else base64.b64decode(output).decode()
    written = [line.rstrip("\r") for line in whole.splitlines() if line.strip()]
    until(lambda: lines(logs, instance) == written, "each line is there once")
    daemon.client().terminate_instances(InstanceIds=[instance])
