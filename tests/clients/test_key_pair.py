"""Key pairs through boto3."""

import base64
import hashlib

import pytest

from support.errors import refused
from support.lab import IMAGE

# Made by `ssh-keygen`; the fingerprints by `openssl md5 -c` of the DER form and `ssh-keygen -l`.
RSA = ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDjzaob80xecvOFKtkDMNT5NzgmGhPZ6Tpfrn6C9NBW2ZIHXZ0f"
       "g9JMatuILdZ9isHSBRUTVPi8K/eV/f2M1L70QSJjGzkGnhKOPpX96x6DC1N087HbNV9YCX6CcK2hiF0RQJHq2icJ"
       "yJYLvPkPwHhgMbHWFPZIkprO2HUpRWW23Q==")
RSA_FINGERPRINT = "28:0f:4f:e4:c9:5e:3f:ca:5e:cf:bb:b7:bf:ba:4a:82"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDcVmbbka+GOzowDffuJH1o2dBBFLqSV1xN7V+AA1Kf1"
ED25519_FINGERPRINT = "9rs1MPFGW7wrjjHw4SU5flbptFQtYhtjwTaHgpnm7zY="


@pytest.fixture
def clean(ec2):
    yield
    for pair in ec2.describe_key_pairs()["KeyPairs"]:
        ec2.delete_key_pair(KeyPairId=pair["KeyPairId"])


def der(pem):
    return base64.b64decode("".join(pem.splitlines()[1:-1]))


def pkcs8(pkcs1):
    """An RSA key's PKCS #1 form in its PKCS #8 envelope."""
    def field(tag, content):
        size = len(content)
        length = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
        head = bytes([size]) if size < 128 else bytes([0x80 | len(length)]) + length
        return bytes([tag]) + head + content

    rsa = field(0x30, field(0x06, bytes.fromhex("2a864886f70d010101")) + field(0x05, b""))
    return field(0x30, field(0x02, b"\0") + rsa + field(0x04, pkcs1))


def test_rsa_key(ec2, clean):
    made = ec2.create_key_pair(KeyName="deploy", TagSpecifications=[
        {"ResourceType": "key-pair", "Tags": [{"Key": "team", "Value": "net"}]}])
    material = made["KeyMaterial"]
    assert material.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    digest = hashlib.sha1(pkcs8(der(material))).hexdigest()
    assert made["KeyFingerprint"].replace(":", "") == digest
    [shown] = ec2.describe_key_pairs(KeyNames=["deploy"])["KeyPairs"]
    assert shown["KeyPairId"] == made["KeyPairId"] and shown["KeyType"] == "rsa"
    assert shown["Tags"] == [{"Key": "team", "Value": "net"}] and "PublicKey" not in shown
    assert "KeyMaterial" not in shown
    [shown] = ec2.describe_key_pairs(KeyPairIds=[made["KeyPairId"]],
                                     IncludePublicKey=True)["KeyPairs"]
    kind, blob, name = shown["PublicKey"].split()
    assert (kind, name) == ("ssh-rsa", "deploy") and blob.startswith("AAAAB3NzaC1yc2E")


def test_ed25519_key(ec2, clean):
    made = ec2.create_key_pair(KeyName="new", KeyType="ed25519")
    assert made["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert der(made["KeyMaterial"]).startswith(b"openssh-key-v1\0")
    [shown] = ec2.describe_key_pairs(KeyNames=["new"], IncludePublicKey=True)["KeyPairs"]
    blob = base64.b64decode(shown["PublicKey"].split()[1])
    assert base64.b64encode(hashlib.sha256(blob).digest()).decode() == made["KeyFingerprint"]
    assert blob in der(made["KeyMaterial"]), "the private key's file holds the public key"


@pytest.mark.parametrize(("key", "kind", "fingerprint"), [
    (RSA, "rsa", RSA_FINGERPRINT), (ED25519, "ed25519", ED25519_FINGERPRINT)])
def test_imported_keys(ec2, clean, key, kind, fingerprint):
    made = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=f"{key} me@home\n".encode())
    assert made["KeyFingerprint"] == fingerprint
    by_print = [{"Name": "fingerprint", "Values": [fingerprint]}]
    [shown] = ec2.describe_key_pairs(Filters=by_print, IncludePublicKey=True)["KeyPairs"]
    assert shown["KeyType"] == kind and shown["PublicKey"] == f"{key} mine"
    with refused("InvalidKeyPair.Duplicate", "The keypair already exists"):
        ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=key.encode())
    with refused("InvalidKeyPair.Duplicate"):
        ec2.create_key_pair(KeyName="mine")
    gone = ec2.delete_key_pair(KeyName="mine")
    assert gone["Return"] is True and gone["KeyPairId"] == made["KeyPairId"]
    assert "KeyPairId" not in ec2.delete_key_pair(KeyName="mine"), "there is nothing to delete"


def test_refusals(ec2, clean):
    with refused("InvalidKey.Format", "Key is not in valid OpenSSH public key format"):
        ec2.import_key_pair(KeyName="bad", PublicKeyMaterial=b"no key")
    with refused("InvalidKeyPair.NotFound", "The key pair 'nobody' does not exist"):
        ec2.describe_key_pairs(KeyNames=["nobody"])
    with refused("InvalidKeyPair.NotFound", "The key pairs 'a, b' do not exist"):
        ec2.describe_key_pairs(KeyNames=["a", "b"])
    with refused("InvalidKeyPair.NotFound", "…'key-00000000000000001' does not exist"):
        ec2.describe_key_pairs(KeyPairIds=["key-00000000000000001"])
    with refused("MissingParameter"):
        ec2.delete_key_pair()
    with refused("InvalidParameterValue"):
        ec2.create_key_pair(KeyName=" spaces ")
    with refused("UnsupportedOperation", "…KeyFormat"):
        ec2.create_key_pair(KeyName="putty", KeyFormat="ppk")
    with refused("DryRunOperation", status=412):
        ec2.create_key_pair(KeyName="dry", KeyType="ed25519", DryRun=True)
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_launch_with_a_key(ec2, papers, clean):
    _, subnet = papers.network()
    with refused("InvalidKeyPair.NotFound", "The key pair 'nobody' does not exist"):
        ec2.run_instances(ImageId=IMAGE, SubnetId=subnet, MinCount=1, MaxCount=1, KeyName="nobody")
    ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=ED25519.encode())
    instance = papers.instance(subnet, KeyName="mine")
    ec2.delete_key_pair(KeyName="mine")
    assert instance.describe()["KeyName"] == "mine"
