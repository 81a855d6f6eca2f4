"""This project's handler, as it is deployed."""

from handler.app import main_handler

__all__ = ["main_handler"]
