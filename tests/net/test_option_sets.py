"""What an instance is told by the DHCP option set of its VPC, from its next boot on."""

from support.until import until


def resolv_conf(instance):
    return instance.exec("cat", "/etc/resolv.conf").stdout.splitlines()


def test_resolv_conf_follows_the_option_set(lab):
    vpc, subnet = lab.network()
    instance = lab.instance(subnet)
    assert resolv_conf(instance) == ["search ec2.internal", "nameserver 10.0.0.2"]
    options = lab.ec2.create_dhcp_options(DhcpConfigurations=[
        {"Key": "domain-name", "Values": ["corp.example other.example"]},
        {"Key": "domain-name-servers", "Values": ["10.0.0.53,2001:db8::53"]},
    ])["DhcpOptions"]["DhcpOptionsId"]
    lab.ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
    told = ["search corp.example other.example", "nameserver 10.0.0.53", "nameserver 2001:db8::53"]
    assert resolv_conf(lab.instance(subnet)) == told, "a new instance is told at once"
    lab.ec2.stop_instances(InstanceIds=[instance.id])
    lab.ec2.start_instances(InstanceIds=[instance.id])
    assert resolv_conf(instance) == told
    lab.ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
    lab.ec2.reboot_instances(InstanceIds=[instance.id])
    until(lambda: resolv_conf(instance) == [], "the new boot has no options")
    lab.ec2.delete_dhcp_options(DhcpOptionsId=options)
