"""What this installation takes: the limits of archives and paths, as the settings say."""

from __future__ import annotations

from dataclasses import fields

from registry.archives import Limits
from registry.settings import get_settings


def get_limits() -> Limits:
    """The limits; each is the setting of its name."""
    settings = get_settings()
    return Limits(**{field.name: getattr(settings, field.name) for field in fields(Limits)})
