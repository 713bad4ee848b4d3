"""MiniStack as the tests start it, run by the Python of its own environment: `serve.py PORT CERTIFICATE KEY`.

Not its own `main`, which also takes port 443; and with two gaps closed, which would otherwise leave untested every form
and download, and every policy on an alias.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.core import iam_actions
from ministack.services import apigateway_v1


def import_extensions() -> None:
    """An API's body says in two extensions, where SAM puts BinaryMediaTypes and GatewayResponses, which bodies are
    bytes and what the gateway answers by itself. MiniStack 1.5.33 knows both, but does not read them from there."""
    original = apigateway_v1._import_rest_api

    def imported(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> Any:
        types = spec.get("x-amazon-apigateway-binary-media-types", [])
        # SAM writes `*/*` for the template's `*~1*`.
        base_data = {**(base_data or {})}
        base_data["binaryMediaTypes"] = [each.replace("~1", "/") for each in types] or base_data.get("binaryMediaTypes")
        api_id = original(spec, base_data)
        for kind, response in spec.get("x-amazon-apigateway-gateway-responses", {}).items():
            apigateway_v1._put_gateway_response(api_id, kind, response)
        return api_id

    apigateway_v1._import_rest_api = imported


def see_qualifiers() -> None:
    """A policy's resource is what is invoked: on AWS the alias, `function:name:alias`, where one is named, and then
    `function:name` does not match. MiniStack 1.5.33 looks at the function's name alone."""
    original = iam_actions.extract_resource_arn

    def extracted(service: str, method: str, path: str, headers: Any, body: Any, query: Any, *rest: Any) -> str:
        arn: str = original(service, method, path, headers, body, query, *rest)
        qualifier = (query or {}).get("Qualifier") if service == "lambda" and path.endswith("/invocations") else None
        return f"{arn}:{qualifier[0] if isinstance(qualifier, list) else qualifier}" if qualifier else arn

    iam_actions.extract_resource_arn = extracted


def main() -> None:
    """Serve until killed."""
    port, certificate, key = sys.argv[1:]
    import_extensions()
    see_qualifiers()
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = certificate, key
    config.keep_alive_timeout = 75
    asyncio.run(serve(app, config))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
