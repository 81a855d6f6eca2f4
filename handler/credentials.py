"""The role's temporary credentials, read anew for each signed request.

The platform rewrites them in the environment of a living instance before they expire, so nothing
here is ever cached (583/38176). The SDK's own environment provider reads other names and knows no
token.
"""

from __future__ import annotations

import os


class NoCredentials(Exception):
    """The environment holds no credentials; the text says what to do."""


class RoleCredentials:
    """A credential as the SDK wants one: an object with ``get_credential_info``."""

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Secret id, secret key and session token (None: a long-lived key).

        Raises:
            NoCredentials: id or key is missing or empty.
        """
        secret_id = os.environ.get("TENCENTCLOUD_SECRETID", "")
        secret_key = os.environ.get("TENCENTCLOUD_SECRETKEY", "")
        if not secret_id or not secret_key:
            raise NoCredentials(
                "TENCENTCLOUD_SECRETID and TENCENTCLOUD_SECRETKEY are not both set: "
                "give the function a role that may call live:DeleteLiveRecord"
            )
        return secret_id, secret_key, os.environ.get("TENCENTCLOUD_SESSIONTOKEN") or None


def without_secrets(text: str) -> str:
    """``text`` with every credential of the environment masked: for what a server sends back."""
    for name in ("TENCENTCLOUD_SESSIONTOKEN", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SECRETID"):
        secret = os.environ.get(name)
        if secret:
            text = text.replace(secret, "***")
    return text
