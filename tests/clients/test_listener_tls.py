"""TLS listeners through boto3: certificates, security policies and protocols above TLS."""

import uuid

import pytest

from support.certificates import Certificate
from support.errors import refused

MISSING = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def elbv2(daemon):
    return daemon.client("elbv2")


@pytest.fixture(scope="module")
def acm(daemon):
    return daemon.client("acm")


@pytest.fixture
def certificates(acm):
    """Three ARNs."""
    arns = [Certificate(f"{name}.example").imported(acm) for name in "abc"]
    yield arns
    for arn in arns:
        acm.delete_certificate(CertificateArn=arn)


def name():
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def place(papers, elbv2, certificates):
    """A load balancer, and a target group whose targets see its nodes' addresses."""
    vpc, subnet = papers.network()
    made = elbv2.create_load_balancer(
        Name=name(), Type="network", Scheme="internal", Subnets=[subnet])
    balancer = made["LoadBalancers"][0]["LoadBalancerArn"]
    groups = []

    def group(preserves=False, protocol="TLS"):
        made = elbv2.create_target_group(Name=name(), Protocol=protocol, Port=443, VpcId=vpc)
        arn = made["TargetGroups"][0]["TargetGroupArn"]
        groups.append(arn)
        elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[
            {"Key": "preserve_client_ip.enabled", "Value": str(preserves).lower()}])
        return arn

    yield balancer, group
    elbv2.delete_load_balancer(LoadBalancerArn=balancer)
    for arn in groups:
        elbv2.delete_target_group(TargetGroupArn=arn)


def listen(elbv2, balancer, group, *certificates, **options):
    options = {"Protocol": "TLS", "Port": 443} | options
    if certificates:
        options["Certificates"] = [{"CertificateArn": arn} for arn in certificates]
    [made] = elbv2.create_listener(
        LoadBalancerArn=balancer, **options,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])["Listeners"]
    return made


def own(elbv2, listener):
    found = elbv2.describe_listener_certificates(ListenerArn=listener)["Certificates"]
    return [(one["CertificateArn"], one["IsDefault"]) for one in found]


def test_a_tls_listener_has_certificates_a_policy_and_protocols(
        elbv2, acm, place, certificates):
    balancer, group = place
    first, second, third = certificates
    listener = listen(elbv2, balancer, group(), first)
    arn = listener["ListenerArn"]
    assert listener["Certificates"] == [{"CertificateArn": first, "IsDefault": True}]
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
    assert listener["AlpnPolicy"] == ["None"]
    elbv2.add_listener_certificates(
        ListenerArn=arn, Certificates=[{"CertificateArn": it} for it in (second, third)])
    assert own(elbv2, arn) == [(first, True), (second, False), (third, False)]
    [changed] = elbv2.modify_listener(
        ListenerArn=arn, Certificates=[{"CertificateArn": third}], AlpnPolicy=["HTTP2Only"],
        SslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06")["Listeners"]
    assert changed["AlpnPolicy"] == ["HTTP2Only"]
    assert own(elbv2, arn) == [(third, True), (second, False)]
    used = acm.describe_certificate(CertificateArn=second)["Certificate"]["InUseBy"]
    assert used == [balancer]
    with refused("ResourceInUseException",
                 f"Certificate {second} in account 123456789012 is in use."):
        acm.delete_certificate(CertificateArn=second)
    elbv2.remove_listener_certificates(
        ListenerArn=arn, Certificates=[{"CertificateArn": second}])
    with refused("OperationNotPermitted",
                 "The default certificate cannot be removed from the listener"):
        elbv2.remove_listener_certificates(
            ListenerArn=arn, Certificates=[{"CertificateArn": third}])
    elbv2.delete_listener(ListenerArn=arn)


def test_what_cannot_be_is_refused(elbv2, place, certificates):
    balancer, group = place
    first, second, _ = certificates
    tls, tcp = group(), group(protocol="TCP")
    with refused("ValidationError", "A certificate must be specified for TLS listeners"):
        listen(elbv2, balancer, tls)
    with refused("CertificateNotFound", f"Certificate '{MISSING}' not found"):
        listen(elbv2, balancer, tls, MISSING)
    with refused("TooManyCertificates"):
        listen(elbv2, balancer, tls, first, second)
    with refused("SSLPolicyNotFound", "SSL policy 'nothing' not found"):
        listen(elbv2, balancer, tls, first, SslPolicy="nothing")
    with refused("UnsupportedOperation"):
        listen(elbv2, balancer, tls, first, SslPolicy="ELBSecurityPolicy-2016-08")
    with refused("ALPNPolicyNotFound", "The ALPN policy 'HTTP3' does not exist"):
        listen(elbv2, balancer, tls, first, AlpnPolicy=["HTTP3"])
    with refused("IncompatibleProtocols"):
        listen(elbv2, balancer, tls, Protocol="TCP")
    with refused("ValidationError", "A certificate cannot be specified for TCP listeners"):
        listen(elbv2, balancer, tcp, first, Protocol="TCP")
    listener = listen(elbv2, balancer, tcp, Protocol="TCP")["ListenerArn"]
    with refused("ValidationError", "Certificates cannot be specified for TCP listeners"):
        elbv2.add_listener_certificates(
            ListenerArn=listener, Certificates=[{"CertificateArn": first}])
    keeps = [{"Key": "preserve_client_ip.enabled", "Value": "true"}]
    elbv2.modify_target_group_attributes(TargetGroupArn=tcp, Attributes=keeps)
    # Connections that end at the node keep their client's address as well.
    headed = [{"Key": "proxy_protocol_v2.enabled", "Value": "true"}]
    elbv2.modify_target_group_attributes(TargetGroupArn=tcp, Attributes=headed)
    listen(elbv2, balancer, group(preserves=True), first, Port=444)


def test_policies_are_those_that_are_honoured(elbv2):
    found = elbv2.describe_ssl_policies()["SslPolicies"]
    assert {one["Name"]: (one["SslProtocols"], len(one["Ciphers"])) for one in found} == {
        "ELBSecurityPolicy-FS-1-2-Res-2020-10": (["TLSv1.2"], 4),
        "ELBSecurityPolicy-TLS13-1-2-Res-2021-06": (["TLSv1.3", "TLSv1.2"], 7),
        "ELBSecurityPolicy-TLS13-1-3-2021-06": (["TLSv1.3"], 3),
    }
    assert all(one["SupportedLoadBalancerTypes"] == ["network"] for one in found)
    with refused("SSLPolicyNotFound"):
        elbv2.describe_ssl_policies(Names=["nothing"])
