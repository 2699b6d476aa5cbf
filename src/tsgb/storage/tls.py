"""Why a server cannot be trusted, in words that say what a person can do about it."""

from __future__ import annotations

WHY = {
    "certificate verify failed": "shows a certificate that this machine does not trust; check the address",
    "CERTIFICATE_VERIFY_FAILED": "shows a certificate that this machine does not trust; check the address",
    "wrong version number": "does not speak TLS there; check the address and its port",
    "WRONG_VERSION_NUMBER": "does not speak TLS there; check the address and its port",
    "record layer failure": "does not speak TLS there; check the address and its port",
    "RECORD_LAYER_FAILURE": "does not speak TLS there; check the address and its port",
}
"""Cures by what OpenSSL says."""


def why_untrusted(error: Exception) -> str:
    """What is wrong with the server, or nothing if the connection merely broke off."""
    text = str(error)
    return next((why for said, why in WHY.items() if said in text), "")
