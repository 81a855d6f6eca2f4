"""What only HTTPS has: certificates. Everything else is tested over HTTP."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from handler.adapters import http_session
from handler.app import build
from local.live_api import Fault, LiveStandIn
from tests.support import STREAM, TASK, ckafka, handler_without_waiting, run, stream_end


def made(folder: Path, name: x509.GeneralName) -> Path:
    """A certificate for ``name``, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def serving(certificate: Path) -> LiveStandIn:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return LiveStandIn(tls=context)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What certificates were loaded."""
    files: list[str] = []

    class Context(ssl.SSLContext):
        def load_verify_locations(self, cafile: object = None, capath: object = None, cadata: object = None) -> None:
            assert isinstance(cafile, str)
            files.append(cafile)
            super().load_verify_locations(cafile)

    def create() -> ssl.SSLContext:
        return Context(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(http_session, "create_urllib3_context", create)
    http_session._load.cache_clear()
    yield files
    http_session._load.cache_clear()


def trust(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))


def use(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.add(STREAM, TASK)
    for name, value in api.environment.items():
        monkeypatch.setenv(name, value)


LOCAL = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@pytest.mark.parametrize(
    ("name", "trusted"), [(LOCAL, False), (x509.DNSName("live.example.com"), True)], ids=["by nobody", "another host"]
)
@pytest.mark.usefixtures("loaded")
def test_who_cannot_prove_to_be_the_api_is_sent_nothing(
    name: x509.GeneralName, trusted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = made(tmp_path, name)
    if trusted:
        trust(certificate, monkeypatch)
    with serving(certificate) as api:
        use(api, monkeypatch)
        done = run(stream_end(), None, handler_without_waiting())
        assert done.outcomes == [("deferred", "transient")]
        assert "certificate verify failed" in done.tasks[0]["detail"]
        assert not api.headers


def test_the_context_that_is_deployed_verifies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(made(tmp_path, LOCAL)) as api:
        use(api, monkeypatch)
        done = run(stream_end(), None, handler_without_waiting())
        assert "certificate verify failed" in done.tasks[0]["detail"]
        assert not api.headers


def test_certificates_are_loaded_once_for_all_connections(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = made(tmp_path, LOCAL)
    trust(certificate, monkeypatch)
    with serving(certificate) as api:
        use(api, monkeypatch)
        monkeypatch.setenv("REAPER_MAX_QPS", "1000")
        for task_id in range(1, 17):
            api.state.add(STREAM, task_id)
        api.misbehave(Fault(delay=0.1), times=99)
        handler = build()  # keeps its connections
        done = run(ckafka(*(stream_end(task_id=task_id) for task_id in range(1, 17))), None, handler)
        assert done.invocation["deleted"] == 16
        assert len(api.connections) > 4
    assert loaded == [str(certificate)]
