"""What goes wrong with a connection to NATS, in words that say what to do."""

from __future__ import annotations

import re
import ssl

from nats.errors import (
    AuthorizationError,
    NoRespondersError,
    SecureConnWantedError,
    UnexpectedEOF,
)
from nats.js.errors import APIError

from workflows.errors import MetaError

_LOGIN = "nats.token, nats.user and nats.password, nats.credentials_file, nats.nkey_file or nats.url"
_PERMISSION = re.compile(r"permissions violation for (publish|subscription) to \"?([^\"']+)\"?", re.IGNORECASE)
_JETSTREAM_OFF = 10076, 10039  # JetStream not enabled: on the server; for the account
# What a server says as -ERR, in lower case: https://docs.nats.io/reference/reference-protocols/nats-protocol#okerr
_SAID = {
    "authorization violation": f"the server does not let us in (authorization violation): check {_LOGIN}",
    "authentication timeout": "the server did not get our login in time (authentication timeout)",
    "user authentication expired": "our login has expired: renew nats.credentials_file",
    "user authentication revoked": "our login was revoked: renew nats.credentials_file",
    "account authentication expired": "our account at the server has expired: renew it there",
    "account authentication revoked": "our account at the server was revoked",
    "maximum connections exceeded": "the server has as many connections as it allows",
    "maximum account active connections exceeded": "our account has as many connections as it may",
}
# OpenSSL's reasons, as an alert of the server's about us
_ALERTS = {
    "CERTIFICATE_REQUIRED": "the server wants a certificate of ours",
    "HANDSHAKE_FAILURE": "the server wants a certificate of ours, or no TLS that we speak",
    "BAD_CERTIFICATE": "the server does not take our certificate",
    "UNKNOWN_CA": "the server does not know who signed our certificate",
    "CERTIFICATE_EXPIRED": "the server says that our certificate has expired",
}
_HOSTNAME, _IP = 62, 64  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED = 10


class HungUpAfterTls(UnexpectedEOF):
    """The server hung up where it looks at our certificate, and its alert of TLS was lost on the way."""


def describe(error: BaseException) -> str:
    """An error of a connection in one line: what happened, and which key of meta.toml mends it. No secret is in it."""
    match error:
        case MetaError():
            words = f"{error.message}; {error.hint}" if error.hint else error.message
        case ssl.SSLCertVerificationError():
            words = _distrust(error)
        case HungUpAfterTls() | ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            words = (
                "the server hung up after the TLS handshake, as it does where it wants another certificate of ours:"
                " check nats.tls_cert_file and nats.tls_key_file"
            )
        case ssl.SSLError():
            words = _alert(error)
        case SecureConnWantedError():
            words = "the server offers no TLS, which tls:// or a nats.tls_* key asks for: nothing was sent to it"
        case AuthorizationError():
            words = _SAID["authorization violation"]
        case APIError() | NoRespondersError():
            words = _jetstream(error)
        case _:
            words = _said(error) or _plain(error)
    return words


def is_refusal(error: BaseException) -> bool:
    """Whether somebody answered, and said no."""
    return not isinstance(error, TimeoutError | OSError) or isinstance(error, ssl.SSLError)


def is_denial(error: BaseException) -> bool:
    """Whether it is about a single subject that we may not use; the connection goes on."""
    return _PERMISSION.search(str(error)) is not None


def _said(error: BaseException) -> str:
    text = str(error)
    if found := _PERMISSION.search(text):
        what = "publish to" if found[1].lower() == "publish" else "subscribe to"
        case = " (whatever its case: the client lowers it)" if found[2].startswith("$") else ""
        return f"we may not {what} {found[2]}{case}: docs/configuration.md lists the rights that the service needs"
    lower = text.lower()
    return next((words for said, words in _SAID.items() if said in lower), "")


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message
    if error.verify_code in (_HOSTNAME, _IP):
        return f"the server's certificate is for another name ({why}): set nats.tls_hostname to a name that is in it"
    if error.verify_code == _EXPIRED:
        return f"the server's certificate has expired ({why}): renew it there"
    return f"the server's certificate is not to be trusted ({why}): set nats.tls_ca_file to the CA that signed it"


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    for name, words in _ALERTS.items():
        if name in reason:
            return f"{words} ({reason}): check nats.tls_cert_file and nats.tls_key_file"
    return f"TLS failed: {reason}"


def _jetstream(error: APIError | NoRespondersError) -> str:
    if isinstance(error, NoRespondersError) or not error.description or error.err_code in _JETSTREAM_OFF:
        return "JetStream is not switched on at the server, or not for our account"
    return error.description


def _plain(error: BaseException) -> str:
    if isinstance(error, UnexpectedEOF | ConnectionResetError | BrokenPipeError):
        return "the server hung up"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).removeprefix("nats: ") or type(error).__name__
