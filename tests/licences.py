"""What the layer and the client ship of others', and under which licences: `python -m tests.licences --write
docs/licences.md` writes the page's table. A test (tests/unit/test_licences.py) holds the page against the packages."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/licences.md"
_LAYER = ROOT / "layers/dependencies/requirements.txt"
_CLIENT = ROOT / "client/pyproject.toml"
# May be shipped with anything: permissive, or asking for their own sources alone (MPL, LGPL).
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "PSF-2.0", "Zlib"),
    *("MPL-2.0", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"),
}
# What packages say who do not say it by SPDX's names.
_NAMES = {
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "Dual License": None,  # the classifiers say which
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
_HEAD = "| package | licence | in |\n|---|---|---|\n"


def shipped() -> dict[str, str]:
    """Every package that is shipped or installed along, by its name: in what."""
    layer = {canonicalize_name(name) for name in re.findall(r"(?m)^([\w.-]+)==", _LAYER.read_text())}
    project = tomllib.loads(_CLIENT.read_text())["project"]
    optional = project["optional-dependencies"].values()
    client = closure([*project["dependencies"], *(each for extra in optional for each in extra)])
    places = {"layer": layer, "client": client}
    return {name: ", ".join(place for place in places if name in places[place]) for name in sorted(layer | client)}


def closure(requirements: Iterable[str]) -> set[str]:
    """What these need, and what that needs; on Linux, as far as it is installed here."""
    found: set[str] = set()
    todo = [(Requirement(each), "") for each in requirements]
    while todo:
        requirement, extra = todo.pop()
        environment = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": extra}
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        found.add(name)
        for needed in metadata.requires(name) or []:
            todo += [(Requirement(needed), extra) for extra in {"", *requirement.extras}]
    return found


def licence_of(name: str) -> str:
    """By SPDX's names, or in the package's own words."""
    said = metadata.metadata(name)
    if expression := said.get("License-Expression"):
        return expression
    line = (said.get("License") or "").strip()
    known = _NAMES.get(line, line)
    if known and "\n" not in known and len(known) < 60:
        return known
    classifiers = [each.rpartition(" :: ")[2] for each in said.get_all("Classifier") or [] if "License ::" in each]
    return " OR ".join(_NAMES.get(each) or each for each in classifiers) or "unknown"


def may_be_shipped(licence: str) -> bool:
    """Whether one of what an expression offers is allowed as a whole."""
    return any(
        all(each.strip() in ALLOWED for each in choice.split(" AND "))
        for choice in licence.replace("(", "").replace(")", "").split(" OR ")
    )


def written(page: str) -> str:
    """The page with the packages that there are now. Those of other Pythons, which are not installed here, stay."""
    before, rows, after = re.split(f"{re.escape(_HEAD)}((?:\\|.*\\n)*)", page)
    now = {name: (licence_of(name), place) for name, place in shipped().items()}
    kept = {name: (licence, place) for name, licence, place in _ROW.findall(rows) if not _is_installed(name)}
    listed = sorted({**kept, **now}.items())
    text = "".join(f"| `{name}` | {licence} | {place} |\n" for name, (licence, place) in listed)
    return f"{before}{_HEAD}{text}{after}"


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Write the page, or print what it would be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    path = parser.parse_args().write
    text = written((path or PAGE).read_text())
    if path:
        path.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
