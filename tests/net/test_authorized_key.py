"""The key of an instance's key pair is where an SSH server looks for it."""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDcVmbbka+GOzowDffuJH1o2dBBFLqSV1xN7V+AA1Kf1"
SHOW = "cat ~/.ssh/authorized_keys; stat -c %a ~/.ssh ~/.ssh/authorized_keys"


def test_the_key_lets_root_in(lab):
    # Fails if the key is recorded alone, or if the host's own keys are left in its place.
    _, subnet = lab.network()
    lab.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=KEY.encode())
    try:
        instance = lab.instance(subnet, KeyName="mine")
    finally:
        lab.ec2.delete_key_pair(KeyName="mine")
    assert instance.exec("sh", "-c", SHOW).stdout.splitlines() == [f"{KEY} mine", "700", "600"]
    without = lab.instance(subnet)
    assert without.exec("sh", "-c", "ls ~/.ssh 2>/dev/null || echo none").stdout == "none\n"
