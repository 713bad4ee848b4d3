"""The stores from compose.yaml, where Docker is: the same MinIO and DynamoDB Local, their data in Docker's volumes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from local.children import kill_leftovers
from local.minio import EVENTS_PATH
from local.servers import Stack, StackError

_PROJECT = Path(__file__).parent.parent


class ComposeStack(Stack):
    """Both stores in containers, on the same loopback ports."""

    @property
    def project(self) -> str:
        """Compose's name for this data folder's containers and volumes."""
        return f"modelkeep-{hashlib.sha256(str(self.data.path).encode()).hexdigest()[:8]}"

    def launch(self) -> None:
        """`docker compose up`; returns when both are healthy."""
        self.data.lock()
        try:
            kill_leftovers(self.data.path)
            self._compose("stop", check=False)  # of a run that was killed: they would hold our ports
            self.ports.require_free()
            self._compose("up", "--detach", "--wait")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop them; the volumes stay. Nothing where the folder is another's."""
        if self.data.is_locked:
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
        command = ["docker", "compose", "--file", str(_PROJECT / "compose.yaml"), "--project-name", self.project]
        done = subprocess.run([*command, *arguments], env={**os.environ, **self.compose_environment()})
        if check and done.returncode != 0:
            raise StackError("`docker compose` could not start the stores: see above.")
