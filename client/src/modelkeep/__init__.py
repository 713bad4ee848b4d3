"""Push, pull and find models in a Modelkeep registry."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelkeep.async_client import AsyncClient
    from modelkeep.client import Client
    from modelkeep.errors import ModelkeepError
    from modelkeep.progress import Progress
    from modelkeep.results import Deleted, Difference, File, Pulled, Upload, Verification, Version

# Loaded at first use: `modelkeep --help` and a shell's completion need no HTTP.
_MODULES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "Deleted": "results",
    "Difference": "results",
    "File": "results",
    "ModelkeepError": "errors",
    "Progress": "progress",
    "Pulled": "results",
    "Upload": "results",
    "Verification": "results",
    "Version": "results",
}

__all__ = [
    "AsyncClient",
    "Client",
    "Deleted",
    "Difference",
    "File",
    "ModelkeepError",
    "Progress",
    "Pulled",
    "Upload",
    "Verification",
    "Version",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'modelkeep' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"modelkeep.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
