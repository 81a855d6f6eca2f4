"""Runs a package the way the platform does; a program of its own, and only the standard library.

    python -I -S -B platform_driver.py FOLDER < events.json

Reads a list of pairs of event and context. What the handler prints goes to stdout, as on the platform; what it
returned or raised goes to stderr, as a list of JSON.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys


def main(folder: str) -> None:
    sys.path[:] = [folder, *(path for path in sys.path if "site-packages" not in path)]
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)  # as the platform's may be
    spec = importlib.util.spec_from_file_location("index", f"{folder}/index.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # by its path, and not put into sys.modules
    answers = []
    for event, context in json.load(sys.stdin):
        try:
            answers.append({"returned": module.main_handler(event, context)})
        except Exception as error:  # noqa: BLE001  what it raised is what is asked for
            answers.append({"raised": f"{type(error).__name__}: {error}"})
    json.dump(answers, sys.stderr)


main(sys.argv[1])
