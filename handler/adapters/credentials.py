"""The role's temporary credentials, read anew for each signed request, and kept out of the log.

The platform rewrites them in the environment of a living instance before they expire, so nothing
here is ever cached (583/38176). The SDK's own environment provider reads other names and knows no
token.
"""

from __future__ import annotations

import logging
import os

from handler.core.model import ReaperError
from handler.masking import VARIABLES

# What these print at DEBUG holds the authorization and the token, whatever the platform's root logger shows.
# The last two are what ``requests`` guesses an encoding with: one of them, whichever is installed.
for _name in ("tencentcloud_sdk_common", "tencentcloud", "urllib3", "requests", "charset_normalizer", "chardet"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# Prints the token at DEBUG, URLs at INFO, and at ERROR what we report ourselves.
logging.getLogger("qcloud_cos").setLevel(logging.CRITICAL)


class NoCredentialsError(ReaperError):
    """The environment holds no credentials; the text says what to do."""


class RoleCredentials:
    """A credential as the SDK wants one: an object with ``get_credential_info``."""

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Secret id, secret key and session token (None: a long-lived key).

        Raises:
            NoCredentialsError: id or key is missing or empty.
        """
        secret_id, secret_key, token = (os.environ.get(name, "").strip() for name in VARIABLES)
        if not secret_id or not secret_key:
            raise NoCredentialsError(
                "TENCENTCLOUD_SECRETID and TENCENTCLOUD_SECRETKEY are not both set: "
                "give the function a role that may call live:DeleteLiveRecord"
            )
        return secret_id, secret_key, token or None
