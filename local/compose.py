"""The stores from compose.yaml, where Docker is: the same MinIO and DynamoDB Local, their data in Docker's volumes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from local.minio import EVENTS_PATH
from local.servers import Stack, StackError

_PROJECT = Path(__file__).parent.parent


class ComposeStack(Stack):
    """Both stores in containers, on the same loopback ports."""

    def launch(self) -> None:
        """`docker compose up`; returns when both are healthy."""
        self.data.lock()
        try:
            self._compose("up", "--detach", "--wait")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop them; the volumes stay."""
        self._compose("stop", check=False)
        self.data.unlock()

    def compose_environment(self) -> dict[str, str]:
        """What compose.yaml asks for."""
        ours = self.data.credentials()
        return {
            "MODELKEEP_S3_KEY": ours.access_key,
            "MODELKEEP_S3_SECRET": ours.secret_key,
            "MODELKEEP_S3_PORT": str(self.ports.s3),
            "MODELKEEP_DYNAMODB_PORT": str(self.ports.dynamodb),
            "MODELKEEP_EVENTS_URL": f"http://host.docker.internal:{self.ports.lambda_api}{EVENTS_PATH}",
        }

    def _compose(self, *arguments: str, check: bool = True) -> None:
        command = ["docker", "compose", "--file", str(_PROJECT / "compose.yaml"), *arguments]
        done = subprocess.run(command, env={**os.environ, **self.compose_environment()})
        if check and done.returncode != 0:
            raise StackError("`docker compose` could not start the stores: see above.")
