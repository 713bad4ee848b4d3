"""MiniStack, as an account to deploy into: IAM enforced, TLS, loopback only, nothing left behind."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.ports import Ports

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
# The account's root: what MiniStack takes under AUTH, as an account that nobody has set up yet has no other.
ACCESS_KEY = SECRET_KEY = "test"
_BIN = ROOT / ".venv-ministack" / "bin"
_START_SECONDS = 300


class MiniStack:
    """The server, in `folder`: its log, its state, its certificate. A context manager.

    TLS because the bucket's policy refuses everything else, here as on AWS.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "ministack.log"
        self.port = Ports.free().api
        self.certificate = folder / "certificate.pem"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where every service answers."""
        return f"https://localhost:{self.port}"

    def api_url(self, api_id: str, stage: str) -> str:
        """Where a REST API answers: by its host, as on AWS, so that links to itself hold."""
        return f"https://{api_id}.execute-api.localhost:{self.port}/{stage}"

    def trust(self) -> dict[str, str]:
        """The variables by which clients trust the certificate: requests, boto3, Python's ssl, curl."""
        names = ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
        return {name: str(self.certificate) for name in names}

    def environment(self) -> dict[str, str]:
        """The variables by which AWS's own tools work here, as root."""
        return {
            **self.trust(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str) -> Any:
        """A boto3 client, as root."""
        import boto3

        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            verify=str(self.certificate),
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        key = self.folder / "key.pem"
        write_certificate(self.certificate, key)
        for name in ("tmp", "state", "s3", "home"):
            (self.folder / name).mkdir()
        environment = {
            "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "localhost",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(self.certificate),
            "MINISTACK_SSL_KEY": str(key),
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "s3"),
            "IOT_MTLS_ENABLED": "0",  # it would listen on 8883, on all interfaces
            "LAMBDA_EXECUTOR": "local",
            "AWS_DEFAULT_REGION": REGION,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        serve = Path(__file__).with_name("serve.py")
        command = [str(_BIN / "python"), "-P", str(serve), str(self.port), str(self.certificate), str(key)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                # Ends with this process, whatever kills it.
                [sys.executable, "-I", "-S", str(ROOT / "local/exec_child.py"), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
            )
        began = time.monotonic()
        while not self._answers():
            assert self._process.poll() is None, f"MiniStack ended: {self.tail()}"
            assert time.monotonic() - began < _START_SECONDS, f"MiniStack does not answer: {self.tail()}"
            time.sleep(0.2)

    def stop(self) -> None:
        """End it and the functions' processes that it started."""
        if self._process is None:
            return
        import psutil

        processes = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.kill()
        self._process.wait(60)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=60)
        self._process = None

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> MiniStack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        import ssl

        context = ssl.create_default_context(cafile=str(self.certificate))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(f"{self.endpoint}/_ministack/health", timeout=2) as answer:
                return bool(json.load(answer))
        except OSError:
            return False


def installed() -> bool:
    """Whether the environment of `make ministack-environment` is there."""
    return (_BIN / "ministack").exists()


def write_certificate(certificate: Path, key: Path) -> None:
    """A certificate of our own for a day, for the hosts that MiniStack answers to."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "modelkeep test deployment")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.DNSName("*.execute-api.localhost")]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
