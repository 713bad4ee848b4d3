"""Known vulnerabilities in what is pinned: `make audit`, which is `python tests/audit.py LOCK…` where pip-audit is.

Fails on any that is not waived, with its reason, below. Where the database does not answer it says so and passes: that
tells nothing of this code, and a release must not wait for somebody else's server; the next run asks again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# The id of an advisory (PYSEC-…, GHSA-…, CVE-…): why it does no harm here, and what has to happen for it to go.
WAIVED: dict[str, str] = {}


def main(locks: list[str]) -> int:
    """1 if something is wrong with a package that somebody has published."""
    found, silent, audited = [], [], 0
    for lock in locks:
        packages = audit(lock)
        if packages is None:
            silent.append(lock)
            continue
        audited += len(packages)
        for package in packages:
            for known in package.get("vulns", []):
                names = {known["id"], *known.get("aliases", [])}
                waived = next((WAIVED[name] for name in names & WAIVED.keys()), None)
                fixed = ", ".join(known.get("fix_versions", [])) or "no version"
                print(f"{lock}: {package['name']} {package['version']}: {' '.join(sorted(names))}, fixed in {fixed}")
                if waived is None:
                    found.append(known["id"])
                else:
                    print(f"  waived: {waived}")
    print(f"Audited {audited} packages of {len(locks) - len(silent)} locks: {len(found)} known vulnerabilities.")
    if silent:
        print(f"NOT AUDITED, as the database of vulnerabilities did not answer: {', '.join(silent)}")
    return 1 if found else 0


def audit(lock: str) -> list[dict[str, object]] | None:
    """What pip-audit says of each package of a lock; None where it got no answer."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip"]
        command += ["--format", "json", "--output", str(said), "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode in (0, 1) and said.exists() and said.stat().st_size:
            listed: list[dict[str, object]] = json.loads(said.read_text())["dependencies"]
            return listed
    print(f"{lock}: {done.stderr.strip()[-500:]}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
