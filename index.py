"""The entry at the root of the package: the platform only accepts ``file.function`` there (583/40323)."""

import os
import warnings

# The package holds no character detection, which would take a dozen milliseconds of every cold start and has
# nothing to detect: all that is spoken to answers in UTF-8. requests does without, but says so.
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
# A plug-in that happens to be on the platform must not change what is valid.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from handler.app import main_handler  # noqa: E402  after the settings above

__all__ = ["main_handler"]
