"""Security group permissions in few words."""


def permission(protocol, peer, first=None, last=None):
    """One permission of one peer: an IPv4 or IPv6 block, or a security group's id."""
    result = {"IpProtocol": str(protocol)}
    if first is not None:
        result |= {"FromPort": first, "ToPort": first if last is None else last}
    if peer.startswith("sg-"):
        result["UserIdGroupPairs"] = [{"GroupId": peer}]
    elif ":" in peer:
        result["Ipv6Ranges"] = [{"CidrIpv6": peer}]
    else:
        result["IpRanges"] = [{"CidrIp": peer}]
    return result


def tcp(peer, first, last=None):
    return permission("tcp", peer, first, last)


def udp(peer, first, last=None):
    return permission("udp", peer, first, last)


def icmp(peer, kind=-1, code=-1):
    return permission("icmp", peer, kind, code)


def everything(peer):
    return permission("-1", peer)
