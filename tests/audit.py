"""Known vulnerabilities in what is pinned: `make audit`, which is `python tests/audit.py LOCK…` where pip-audit is.

Fails on any that is not waived, with its reason, below. Where the database does not answer, or does not know a package
(a mirror of PyPI need not have it), it says so and passes: that tells nothing of this code, and a release must not wait
for somebody else's server; the next run asks again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# The id of an advisory (PYSEC-…, GHSA-…, CVE-…): why it does no harm here, and what has to happen for it to go.
WAIVED: dict[str, str] = {}


def main(locks: list[str]) -> int:
    """1 if something is wrong with a package that somebody has published."""
    found, audited, unknown = 0, 0, 0
    for lock in locks:
        packages = audit(lock)
        known = [each for each in packages if "skip_reason" not in each]
        audited, unknown = audited + len(known), unknown + len(packages) - len(known)
        found += sum(tell(lock, package, each) for package in known for each in package["vulns"])
        if not known:
            print(
                f"NOT AUDITED: {', '.join(locks[locks.index(lock) :])}. The database of vulnerabilities gave no answer."
            )
            break
    print(f"{audited} packages audited, {found} known vulnerabilities; of {unknown} packages nobody would say.")
    return 1 if found else 0


def tell(lock: str, package: dict[str, Any], known: dict[str, Any]) -> bool:
    """Print it; whether it is to be mended."""
    names = [known["id"], *known["aliases"]]
    fixed = ", ".join(known["fix_versions"]) or "no version"
    print(f"{lock}: {package['name']} {package['version']} has {' '.join(names)}, fixed in {fixed}")
    waived = next((WAIVED[name] for name in names if name in WAIVED), None)
    if waived is not None:
        print(f"  waived: {waived}")
    return waived is None


def audit(lock: str) -> list[dict[str, Any]]:
    """What pip-audit says of each package of a lock; none where it got no answer."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip"]
        command += ["--format", "json", "--output", str(said), "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True)
        if said.exists() and (text := said.read_text()):
            listed: list[dict[str, Any]] = json.loads(text)["dependencies"]
            return listed
    print(f"{lock}: {done.stderr.strip()[-500:]}")
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
