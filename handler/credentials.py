"""The role's temporary credentials, read anew for each signed request, and kept out of the log.

The platform rewrites them in the environment of a living instance before they expire, so nothing
here is ever cached (583/38176). The SDK's own environment provider reads other names and knows no
token.
"""

from __future__ import annotations

import logging
import os
import re

VARIABLES = ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN")

# What these print at DEBUG holds the authorization and the token, whatever the platform's root logger shows.
for _name in ("tencentcloud_sdk_common", "urllib3", "requests"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# Prints the token at DEBUG, URLs at INFO, and at ERROR what we report ourselves.
logging.getLogger("qcloud_cos").setLevel(logging.CRITICAL)


class NoCredentials(Exception):
    """The environment holds no credentials; the text says what to do."""


class RoleCredentials:
    """A credential as the SDK wants one: an object with ``get_credential_info``."""

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Secret id, secret key and session token (None: a long-lived key).

        Raises:
            NoCredentials: id or key is missing or empty.
        """
        secret_id, secret_key, token = (os.environ.get(name, "").strip() for name in VARIABLES)
        if not secret_id or not secret_key:
            raise NoCredentials(
                "TENCENTCLOUD_SECRETID and TENCENTCLOUD_SECRETKEY are not both set: "
                "give the function a role that may call live:DeleteLiveRecord"
            )
        return secret_id, secret_key, token or None


def without_secrets(text: str) -> str:
    """``text`` with everything masked that must not be logged: for what a server or a library says.

    Masked are the credentials of the environment, whatever part of one stands between white space;
    signatures; and what stands before the @ of a URL.
    """
    for name in VARIABLES:
        for secret in os.environ.get(name, "").split():
            text = text.replace(secret, "***")
    return re.sub(_USERINFO, "//***@", re.sub(_SIGNATURE, "TC3-HMAC-SHA256 ***", text))


_SIGNATURE = r"TC3-HMAC-SHA256[^\"'}]*"
_USERINFO = r"//\S*@"
