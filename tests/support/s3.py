"""An S3 server that nobody here wrote: moto's, which checks who asks and how it is signed; and a door before
it that can be shut."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import boto3

from support.daemon import free_port
from support.until import until

MOTO = Path(sys.executable).parent / "moto_server"
_EVERYTHING = {"Version": "2012-10-17",
               "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Server:
    """A running server with one user, who may do everything."""

    def __init__(self, directory):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (Path(directory) / "moto.log").open("wb")
        self._process = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(self.port)],
                                         stdout=self._log, stderr=self._log)
        until(self._answers, "moto answers", within=60)
        iam = self._client("iam", "first", "first")
        iam.create_user(UserName="enid")
        iam.put_user_policy(UserName="enid", PolicyName="all",
                            PolicyDocument=json.dumps(_EVERYTHING))
        key = iam.create_access_key(UserName="enid")["AccessKey"]
        self.key_id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        # From now on every request must be signed with the user's key.
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", data=b"0",
                                         headers={"Content-Type": "text/plain"},
                                         method="POST")
        urllib.request.urlopen(request, timeout=10).read()
        self.s3 = self._client("s3", self.key_id, self.secret)

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _client(self, service, key_id, secret):
        return boto3.client(service, region_name="us-east-1", endpoint_url=self.url,
                            aws_access_key_id=key_id, aws_secret_access_key=secret)

    def keys(self, bucket):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def read(self, bucket, key):
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


class Door:
    """Leads to a server's port while it is open; while it is shut nobody listens."""

    def __init__(self, port):
        self._to = port
        self.port = free_port()
        self._listener = None
        self.open()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._welcome, args=(self._listener,), daemon=True).start()

    def shut(self):
        # Whoever is inside ends; who comes later is refused.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None

    def _welcome(self, listener):
        while True:
            try:
                guest, _ = listener.accept()
            except OSError:
                return
            inside = socket.create_connection(("127.0.0.1", self._to))
            for one, other in ((guest, inside), (inside, guest)):
                threading.Thread(target=self._pass, args=(one, other, listener),
                                 daemon=True).start()

    def _pass(self, one, other, listener):
        one.settimeout(0.2)
        with contextlib.suppress(OSError):
            while listener is self._listener:
                try:
                    data = one.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    break
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
