"""MiniStack as the tests start it, run by the Python of its own environment: `serve.py PORT CERTIFICATE KEY`.

Not its own `main`, which also takes port 443; and with one gap closed, which would otherwise leave untested every form
and every download.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services import apigateway_v1


def import_binary_media_types() -> None:
    """An API's body says in x-amazon-apigateway-binary-media-types, where SAM puts BinaryMediaTypes, which bodies are
    bytes. MiniStack 1.5.33 honours that only as a property, and takes all bodies of such an API for text."""
    original = apigateway_v1._import_rest_api

    def imported(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> Any:
        types = spec.get("x-amazon-apigateway-binary-media-types", [])
        # SAM writes `*/*` for the template's `*~1*`.
        base_data = {**(base_data or {})}
        base_data["binaryMediaTypes"] = [each.replace("~1", "/") for each in types] or base_data.get("binaryMediaTypes")
        return original(spec, base_data)

    apigateway_v1._import_rest_api = imported


def main() -> None:
    """Serve until killed."""
    port, certificate, key = sys.argv[1:]
    import_binary_media_types()
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = certificate, key
    config.keep_alive_timeout = 75
    asyncio.run(serve(app, config))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
