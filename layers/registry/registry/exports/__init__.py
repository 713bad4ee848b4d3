"""A whole version as a ZIP: answered in any range, or built in the store."""

from registry.exports.building import build_archive, drop, find_or_build
from registry.exports.contents import Content, plan_version

__all__ = ["Content", "build_archive", "drop", "find_or_build", "plan_version"]
