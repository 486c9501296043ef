"""Certificates that a configuration file names: `[[certificates]]`."""

import datetime

import pytest

from support.certificates import Certificate
from support.until import until

ID = "01234567-89ab-4cde-8f01-23456789abcd"
ARN = f"arn:aws:acm:us-east-1:123456789012:certificate/{ID}"


@pytest.fixture
def files(tmp_path):
    """Puts a certificate into the files, and says how the configuration names them."""
    def put(certificate):
        (tmp_path / "key.pem").write_text(certificate.key)
        (tmp_path / "own.pem").write_text(certificate.pem)

    put.names = (f'id = "{ID}"\ncertificate = "{tmp_path}/own.pem"\n'
                 f'private_key = "{tmp_path}/key.pem"\n')
    return put


def test_files_are_certificates_of_acm_and_read_again(start_daemon, files):
    first, second = Certificate("one.example", kind="rsa"), Certificate("two.example")
    files(first)
    daemon = start_daemon("none", config=f"""[[certificates]]
{files.names}
[[certificates]]
{files.names}
account = "210987654321"
region = "eu-west-1"
""")
    acm = daemon.client("acm")
    [found] = acm.list_certificates()["CertificateSummaryList"]
    assert (found["CertificateArn"], found["DomainName"]) == (ARN, "one.example")
    acm.add_tags_to_certificate(CertificateArn=ARN, Tags=[{"Key": "of", "Value": "a file"}])
    imported_at = acm.describe_certificate(CertificateArn=ARN)["Certificate"]["ImportedAt"]
    files(Certificate("other.example", kind="rsa"))
    until(lambda: _domain(acm) == "other.example", "the files are read again", within=30)
    # What cannot be used leaves the one that is there.
    broken = Certificate("broken.example")
    broken.key = second.key
    files(broken)
    until(lambda: "does not match" in daemon.text(), "it says so", within=30)
    assert _domain(acm) == "other.example"
    files(second)
    until(lambda: _domain(acm) == "two.example", "they are of use again", within=30)
    now = acm.describe_certificate(CertificateArn=ARN)["Certificate"]
    assert now["ImportedAt"] > imported_at - datetime.timedelta(seconds=1)
    assert acm.list_tags_for_certificate(CertificateArn=ARN)["Tags"] == [
        {"Key": "of", "Value": "a file"}]
    assert second.key.strip() not in daemon.text()


def _domain(acm):
    return acm.describe_certificate(CertificateArn=ARN)["Certificate"]["DomainName"]


def test_a_daemon_that_cannot_use_them_does_not_start(start_daemon, files):
    daemon = start_daemon("none", start=False, config=f"[[certificates]]\n{files.names}")
    for words in ["own.pem", "not valid at this time"]:
        with pytest.raises(AssertionError, match=words):
            daemon.start()
        files(Certificate("old.example", since=-9, until=-1))
    files(Certificate("good.example"))
    acm = daemon.start().client("acm")
    assert _domain(acm) == "good.example"
