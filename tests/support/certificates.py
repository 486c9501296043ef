"""Certificates for tests: self-signed, with their keys, as PEM."""

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Certificate:
    """A certificate for names of servers, which signs itself."""

    def __init__(self, *names, kind="ec", since=-1, until=30):
        now = datetime.datetime.now(datetime.timezone.utc)
        key = (ec.generate_private_key(ec.SECP256R1()) if kind == "ec"
               else rsa.generate_private_key(public_exponent=65537, key_size=2048))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        made = (x509.CertificateBuilder()
                .subject_name(subject).issuer_name(subject)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now + since * DAY).not_valid_after(now + until * DAY)
                .add_extension(alternatives, critical=False)
                .sign(key, hashes.SHA256()))
        self.names = names
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()).decode()
        der = made.public_bytes(serialization.Encoding.DER)
        self.fingerprint = hashlib.sha256(der).hexdigest()

    def imported(self, acm):
        """Its ARN."""
        made = acm.import_certificate(Certificate=self.pem, PrivateKey=self.key)
        return made["CertificateArn"]
