"""Where NATS is and who we are to it: what every connection to it needs, of ours and of nats-py.

Secrets and files are read anew for each connection, so that rotated credentials are found.
"""

import base64
import ipaddress
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import NatsSettings

_JWT = re.compile(rb"-+BEGIN NATS USER JWT-+\s+(\S+)\s")
_SEED = re.compile(rb"-+BEGIN USER NKEY SEED-+\s+(\S+)\s")
_PORT = 4222


@dataclass(frozen=True, slots=True)
class NatsServer:
    """One node: where it listens, and whether it must speak TLS."""

    host: str
    port: int
    tls: bool
    tls_name: str
    """Whom its certificate must name."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """From `nats://host:port` or `tls://…`; credentials in it are not kept."""
        parts = urlsplit(url.strip())
        host = parts.hostname or "localhost"
        return cls(host, parts.port or _PORT, parts.scheme == "tls", host)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """The servers of NATS_URL, and the credentials that one of the settings gives."""

    servers: Sequence[NatsServer]
    user: str | None
    password: str | None
    token: str | None
    creds_path: Path | None
    nkey_path: Path | None
    ca_path: Path | None
    cert_path: Path | None
    key_path: Path | None
    inbox_prefix: str

    @classmethod
    def of(cls, settings: NatsSettings) -> Self:
        urls = settings.nats_url.get_secret_value().split(",")
        user, password, token = _named(urls)
        if settings.nats_user is not None:
            user, token = settings.nats_user, None
            secret = settings.nats_password
            password = None if secret is None else secret.get_secret_value()
        if settings.nats_token is not None:
            user, password, token = None, None, settings.nats_token.get_secret_value()
        return cls(
            servers=tuple(NatsServer.parse(url) for url in urls),
            user=user,
            password=password,
            token=token,
            creds_path=settings.nats_creds_path,
            nkey_path=settings.nats_nkey_path,
            ca_path=settings.nats_ca_path,
            cert_path=settings.nats_cert_path,
            key_path=settings.nats_key_path,
            inbox_prefix=settings.nats_inbox_prefix,
        )

    def node(self, host: str, port: int) -> NatsServer:
        """A node that the cluster told of; where that is an address, its certificate has to name
        the server that was configured."""
        for server in self.servers:
            if (server.host, server.port) == (host, port):
                return server
        first = self.servers[0]
        return NatsServer(host, port, first.tls, first.tls_name if _is_address(host) else host)

    def tls(self) -> ssl.SSLContext:
        """How a server's certificate is judged, and ours shown.

        Raises:
            ConfigurationError: one of the files cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"NATS_CA_PATH: {self.ca_path} is no file of certificates in PEM form ({error})"
            ) from error
        if self.cert_path is not None:
            try:
                context.load_cert_chain(self.cert_path, self.key_path)
            except (OSError, ssl.SSLError) as error:
                raise ConfigurationError(
                    f"NATS_CERT_PATH: {self.cert_path} and NATS_KEY_PATH are no certificate with "
                    f"its key in PEM form ({error})"
                ) from error
        return context

    def options(self) -> dict[str, Any]:
        """What nats-py's `connect` is given."""
        found: dict[str, Any] = {
            "servers": [server.url for server in self.servers],
            "tls": self.tls(),
            "inbox_prefix": self.inbox_prefix,
        }
        if self.creds_path is not None:
            # Read once here, for an error that names it.
            self._credentials()
            found["user_credentials"] = str(self.creds_path)
        elif self.nkey_path is not None:
            self._key_pair(self._nkey_seed())
            found["nkeys_seed"] = str(self.nkey_path)
        elif self.user is not None:
            found |= {"user": self.user, "password": self.password or ""}
        elif self.token is not None:
            found["token"] = self.token
        return found

    @property
    def who(self) -> str:
        """The user that NATS takes us for, in words that hold no secret."""
        if self.creds_path is not None:
            return "the NATS user of NATS_CREDS_PATH"
        if self.nkey_path is not None:
            return "the NATS user of NATS_NKEY_PATH"
        if self.user is not None:
            return f"the NATS user {self.user}"
        if self.token is not None:
            return "the NATS user of NATS_TOKEN"
        if self.cert_path is not None:
            return "the NATS user of NATS_CERT_PATH"
        return "a NATS client without credentials"

    def connect_fields(self, nonce: str | None) -> dict[str, str]:
        """What a CONNECT frame says of us; `nonce` is the server's, to be signed."""
        if self.creds_path is not None:
            jwt, pair = self._credentials()
            return {"jwt": jwt.decode(), "sig": _signed(pair, nonce)}
        if self.nkey_path is not None:
            pair = self._key_pair(self._nkey_seed())
            return {"nkey": pair.public_key.decode(), "sig": _signed(pair, nonce)}
        if self.user is not None:
            return {"user": self.user, "pass": self.password or ""}
        return {} if self.token is None else {"auth_token": self.token}

    def _credentials(self) -> tuple[bytes, Any]:
        """The JWT, and the pair of keys that signs for it."""
        assert self.creds_path is not None
        content = _read("NATS_CREDS_PATH", self.creds_path)
        jwt, seed = _JWT.search(content), _SEED.search(content)
        if jwt is None or seed is None:
            raise ConfigurationError(
                f"NATS_CREDS_PATH: {self.creds_path} holds no user's JWT with its seed"
            )
        return jwt[1], self._key_pair(seed[1])

    def _nkey_seed(self) -> bytes:
        assert self.nkey_path is not None
        return _read("NATS_NKEY_PATH", self.nkey_path).strip()

    def _key_pair(self, seed: bytes) -> Any:
        # Needed by few, and it loads a library of its own.
        import nkeys

        try:
            return nkeys.from_seed(bytearray(seed))
        except Exception as error:
            which = "NATS_CREDS_PATH" if self.creds_path is not None else "NATS_NKEY_PATH"
            raise ConfigurationError(f"{which}: the file holds no seed of an nkey") from error


def _named(urls: Sequence[str]) -> tuple[str | None, str | None, str | None]:
    """User, password and token of the first URL that has them: they serve for every server."""
    for url in urls:
        parts = urlsplit(url.strip())
        if parts.username and parts.password is None:
            return None, None, unquote(parts.username)
        if parts.username:
            return unquote(parts.username), unquote(parts.password or ""), None
    return None, None, None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{variable}: {path} cannot be read ({error.strerror})") from error


def _signed(pair: Any, nonce: str | None) -> str:
    return base64.b64encode(pair.sign((nonce or "").encode())).decode()
