"""An authority of our own, and certificates from it: for servers, and for clients that have to show one."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import trustme


@dataclass(frozen=True)
class ServerTls:
    """What a server shows, and whether it wants to be shown one."""

    certificate: trustme.LeafCert
    authority: trustme.CA
    wants_client: bool

    def context(self) -> ssl.SSLContext:
        """For a server that uses `ssl`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with TemporaryDirectory() as directory:
            file = Path(directory) / "server.pem"
            self.certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
            context.load_cert_chain(file)
        if self.wants_client:
            context.load_verify_locations(cadata=self.authority.cert_pem.bytes().decode())
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a server of grpcio."""
        key = self.certificate.private_key_pem.bytes()
        chain = b"".join(blob.bytes() for blob in self.certificate.cert_chain_pems)
        roots = self.authority.cert_pem.bytes() if self.wants_client else None
        return grpc.ssl_server_credentials(
            [(key, chain)], root_certificates=roots, require_client_auth=self.wants_client
        )


class Authority:
    """Issues certificates, and writes what a client needs into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.file = directory / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(
        self, name: str = "127.0.0.1", *, is_expired: bool = False, wants_client: bool = False
    ) -> ServerTls:
        """A server called `name`."""
        ends = datetime.now(UTC) + timedelta(days=-1 if is_expired else 1)
        begins = ends - timedelta(days=2)
        certificate = self._ca.issue_cert(name, not_before=begins, not_after=ends)
        return ServerTls(certificate, self._ca, wants_client)

    def client(self) -> tuple[Path, Path]:
        """The files of a client's certificate and its key."""
        issued = self._ca.issue_cert("client@example.org")
        certificate, key = self._directory / "client.pem", self._directory / "client.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key
