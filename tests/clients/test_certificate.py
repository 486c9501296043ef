"""Certificates of ACM through boto3."""

import pytest

from support.certificates import Certificate
from support.errors import refused

MISSING = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def acm(daemon):
    return daemon.client("acm")


@pytest.fixture(scope="module")
def usual():
    return Certificate("example.com", "*.example.com", kind="rsa")


def pem(certificate, **others):
    return {"Certificate": certificate.pem, "PrivateKey": certificate.key} | others


def test_a_certificate_is_imported_described_and_deleted(acm, usual):
    tags = [{"Key": "stage", "Value": "test"}]
    arn = acm.import_certificate(**pem(usual, Tags=tags))["CertificateArn"]
    found = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert found["CertificateArn"] == arn
    assert (found["DomainName"], found["Type"], found["Status"]) == (
        "example.com", "IMPORTED", "ISSUED")
    assert found["SubjectAlternativeNames"] == ["example.com", "*.example.com"]
    assert (found["KeyAlgorithm"], found["SignatureAlgorithm"]) == ("RSA_2048", "SHA256WITHRSA")
    assert found["NotBefore"] < found["NotAfter"] and found.get("InUseBy", []) == []
    assert acm.get_certificate(CertificateArn=arn)["Certificate"] == usual.pem
    listed = acm.list_certificates()["CertificateSummaryList"]
    assert arn in [one["CertificateArn"] for one in listed]
    listed = acm.list_certificates(CertificateStatuses=["EXPIRED"])["CertificateSummaryList"]
    assert arn not in [one["CertificateArn"] for one in listed]
    # Tags.
    acm.add_tags_to_certificate(CertificateArn=arn, Tags=[{"Key": "more", "Value": "1"}])
    acm.remove_tags_from_certificate(CertificateArn=arn, Tags=[{"Key": "stage"}])
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [
        {"Key": "more", "Value": "1"}]
    # Another in its place.
    other = Certificate("example.net")
    assert acm.import_certificate(**pem(other, CertificateArn=arn))["CertificateArn"] == arn
    found = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert (found["DomainName"], found["KeyAlgorithm"]) == ("example.net", "EC_prime256v1")
    # Keys of curves are listed to those who ask for them.
    of_curves = {"keyTypes": ["EC_prime256v1"]}
    listed = acm.list_certificates(Includes=of_curves)["CertificateSummaryList"]
    assert arn in [one["CertificateArn"] for one in listed]
    acm.delete_certificate(CertificateArn=arn)
    with refused("ResourceNotFoundException"):
        acm.describe_certificate(CertificateArn=arn)


def test_pages_have_every_certificate_once(acm, usual):
    made = {acm.import_certificate(**pem(usual))["CertificateArn"] for _ in range(3)}
    pages = acm.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": 1})
    seen = [one["CertificateArn"] for page in pages for one in page["CertificateSummaryList"]]
    assert len(seen) == len(set(seen)) and made <= set(seen)
    for arn in made:
        acm.delete_certificate(CertificateArn=arn)


def test_what_does_not_go_together_is_not_imported(acm, usual):
    other = Certificate("example.net")
    for request, message in [
        (pem(usual, PrivateKey=other.key), "The private key does not match the certificate."),
        (pem(usual, PrivateKey="nothing"), "The private key is not supported."),
        (pem(usual, Certificate="nothing"),
         "Unable to parse certificate. Please ensure the certificate is in PEM format."),
        (pem(usual, Certificate=usual.pem + other.pem),
         "The certificate field contains more than one certificate."
         " You can specify only one certificate in this field."),
        (pem(usual, CertificateChain=other.pem),
         "Could not validate the certificate with the certificate chain."),
        (pem(Certificate("old.example", since=-9, until=-1)),
         "The certificate is not valid at this time."),
        (pem(Certificate("new.example", since=1)), "The certificate is not valid at this time."),
    ]:
        with refused("ValidationException", message):
            acm.import_certificate(**request)
    with refused("ResourceNotFoundException", f"Could not find certificate {MISSING}."):
        acm.import_certificate(**pem(usual, CertificateArn=MISSING))


def test_what_is_not_there_is_said_so(acm):
    for call in (acm.describe_certificate, acm.get_certificate, acm.delete_certificate,
                 acm.list_tags_for_certificate):
        with refused("ResourceNotFoundException", f"Could not find certificate {MISSING}."):
            call(CertificateArn=MISSING)
        with refused("InvalidArnException"):
            call(CertificateArn="arn:aws:iam::123456789012:server-certificate/old")
    with refused("InvalidTagException"):
        acm.add_tags_to_certificate(
            CertificateArn=MISSING, Tags=[{"Key": "aws:own", "Value": "1"}])
