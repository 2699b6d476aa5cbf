"""Why a server cannot be trusted, in words that say what a person can do about it."""

from __future__ import annotations

WHY = {
    "CERTIFICATE_VERIFY_FAILED": "shows a certificate that this machine does not trust; check the address",
    "WRONG_VERSION_NUMBER": "does not speak TLS there; check the address and its port",
    "RECORD_LAYER_FAILURE": "does not speak TLS there; check the address and its port",
}
"""What a person can do, by OpenSSL's name for what went wrong."""


def why_untrusted(error: Exception) -> str:
    """What is wrong with the server, or nothing if the connection merely broke off."""
    text = str(error)
    return next((why for name, why in WHY.items() if name in text), "")
