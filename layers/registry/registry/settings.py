"""Everything that may differ between two installations, read once from `REGISTRY_*`."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from urllib.parse import urlsplit

MIB, GIB, TIB = 2**20, 2**30, 2**40
DAY_SECONDS = 86_400
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:]+\](:[0-9]+)?")  # as browsers send it
_MAX_TOKEN_LIFETIME_SECONDS = 7 * DAY_SECONDS
_MAX_OWN_TOKEN_DAYS = 366


# What everything else is made for ends there: why, docs/archives.md, "Limits".
_RANGES = {
    "unpack_shares": (1, 100),
    "max_members": (1, 50_000),
    "max_directory_bytes": (1, 1024 * MIB),
    "max_member_bytes": (1, 5 * TIB),
    "max_total_bytes": (1, 50 * TIB),
    "max_ratio": (0, 1_032),
    "ratio_from_bytes": (0, 50 * TIB),
    "max_path_bytes": (1, 900),
    "max_segment_bytes": (1, 255),
    "max_depth": (1, 450),
}


class SettingsError(RuntimeError):
    """A variable is missing or wrong; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One installation. Each field is the variable `REGISTRY_<FIELD>`; 0 switches a limit off where that is said."""

    bucket: str
    table: str
    # "authorizer": API Gateway's authorizer says who calls, and nobody gets in without. "off": everybody may all.
    authentication: str = "authorizer"
    # Whose tokens `authenticate_request` believes: their `iss`, to the letter. Without one nobody gets in.
    issuer: str = ""
    # Where the issuer's keys are, if not where its OIDC discovery says.
    jwks_url: str = ""
    # The tokens' `aud`: what the issuer calls this registry. Its tokens for others are refused.
    audience: str = ""
    # The claim that is the user id.
    user_claim: str = "sub"
    # A token that is good for longer than this is refused: it could be revoked by nobody.
    token_lifetime_seconds: int = DAY_SECONDS
    # The claim that is the user's groups: a list of texts, or one. Empty: nobody is in any.
    groups_claim: str = ""
    # How long a token of the registry's own (`mk_`) may be good for after it was made; fewer days end older ones too.
    # 0: none is made, and none is good.
    own_token_days: int = _MAX_OWN_TOKEN_DAYS
    inbox_prefix: str = "modelkeep/uploads/"
    archives_prefix: str = "modelkeep/archives/"
    # Presigned URLs carry the host that they are signed for: where clients reach S3, if not where functions do.
    public_s3_endpoint: str = ""
    # Whose credentials sign PUT URLs. "own": the function's. "inbox": temporary ones, of the store's own STS, that may
    # write the inbox and do nothing else. For MinIO, which obeys headers that were not signed: docs/stores.md.
    put_credentials: str = "own"
    # Lambda takes 6 MB a request, base64 makes 4/3 of it, and the form around the file wants some: 4 MiB. 0: no limit.
    request_limit_bytes: int = 4 * MIB
    # The same limit holds for answers; larger ones are redirected to S3. 0: all bytes are answered here.
    inline_limit_bytes: int = 4 * MIB
    # API Gateway gives up after 29 s; what takes longer is answered 202 or 307 before. 0: wait to the end.
    wait_seconds: int = 20
    url_expires_seconds: int = 3600
    lease_seconds: int = 60
    upload_expires_seconds: int = 7 * DAY_SECONDS
    tombstone_expires_seconds: int = 7 * DAY_SECONDS
    # How long the sweep leaves an open upload alone after it was last looked at.
    recheck_seconds: int = 60
    # A version's ZIP, once built for download, is kept this long.
    archive_expires_seconds: int = 7 * DAY_SECONDS
    # Longer than the longest Lambda lives: what a dead attempt still wrote is looked for once more after this.
    purge_after_seconds: int = 1_000
    # One PUT up to here; above, parts of this size, or larger ones where 10,000 parts would not do.
    part_bytes: int = 16 * MIB
    # Who tells the SHA-256 of what is copied. "store": the store, where it can, so that no byte passes through a
    # function. "reading": a function reads it while the store copies, quicker where the store is on the same machine.
    digests_by: str = "store"
    # How many functions may unpack one archive side by side. 1: whoever is woken does all of it.
    unpack_shares: int = 8
    # What an archive may hold, and what a path may be: docs/archives.md, "Limits", has the reasons.
    max_members: int = 50_000
    max_directory_bytes: int = 64 * MIB
    max_member_bytes: int = 5 * TIB
    max_total_bytes: int = 50 * TIB
    # Bytes of content for each byte of the archive, from so much content on. 0: any.
    max_ratio: int = 200
    ratio_from_bytes: int = 16 * GIB
    max_path_bytes: int = 900
    max_segment_bytes: int = 255
    max_depth: int = 32
    # Set before the functions' names, as the template does: "<prefix>receive_upload".
    functions_prefix: str = ""
    # The alias (or version) by which functions start each other, so that old code hands over to what is deployed now.
    functions_qualifier: str = ""
    # Who the inbox belongs to, told apart from every other installation on this bucket. Empty: the table's name.
    installation: str = ""
    # The KMS key that whatever is written is encrypted with. Empty: the bucket decides.
    kms_key: str = ""
    # Origins whose pages may call the API, comma-separated ("https://a.example,https://b.example:8443"). Empty: none.
    cors_origins: str = ""

    @property
    def models_prefix(self) -> str:
        """Where the data warehouse expects models; part of the contract, so not a setting."""
        return "models/"

    @property
    def installation_name(self) -> str:
        """`installation`, or the table's name."""
        return self.installation or self.table

    @property
    def origins(self) -> tuple[str, ...]:
        """`cors_origins`, one by one."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment gives; SettingsError names the variable that is missing or wrong."""
    values: dict[str, str | int] = {}
    for field in fields(Settings):
        variable = f"REGISTRY_{field.name.upper()}"
        text = environment.get(variable)
        if not text and field.name in ("bucket", "table"):
            raise SettingsError(f"{variable} is not set")
        if text is None:
            continue
        if field.type == "int":
            if not text.isdecimal():
                raise SettingsError(f"{variable} must be a whole number, not {text!r}")
            values[field.name] = int(text)
        else:
            values[field.name] = text
    settings = Settings(**values)  # type: ignore[arg-type]
    if settings.authentication not in ("authorizer", "off"):
        raise SettingsError(f"REGISTRY_AUTHENTICATION must be 'authorizer' or 'off', not {settings.authentication!r}")
    if settings.digests_by not in ("store", "reading"):
        raise SettingsError(f"REGISTRY_DIGESTS_BY must be 'store' or 'reading', not {settings.digests_by!r}")
    if settings.put_credentials not in ("own", "inbox"):
        raise SettingsError(f"REGISTRY_PUT_CREDENTIALS must be 'own' or 'inbox', not {settings.put_credentials!r}")
    for name in ("inbox_prefix", "archives_prefix"):
        prefix = getattr(settings, name)
        if not prefix.endswith("/") or prefix.startswith(("/", settings.models_prefix)):
            raise SettingsError(f"REGISTRY_{name.upper()} must end in '/' and lie outside models/, not {prefix!r}")
    inbox, archives = settings.inbox_prefix, settings.archives_prefix
    if inbox.startswith(archives) or archives.startswith(inbox):
        raise SettingsError(f"REGISTRY_INBOX_PREFIX and REGISTRY_ARCHIVES_PREFIX must lie apart: {inbox}, {archives}")
    for origin in settings.origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(f"REGISTRY_CORS_ORIGINS must name origins like https://a.example, not {origin!r}")
    if not 0 < settings.url_expires_seconds <= 3600:
        raise SettingsError("REGISTRY_URL_EXPIRES_SECONDS must be 1 to 3600: presigned URLs live an hour at most")
    for name, (least, most) in _RANGES.items():
        if not least <= getattr(settings, name) <= most:
            raise SettingsError(f"REGISTRY_{name.upper()} must be {least} to {most}, not {getattr(settings, name)}")
    _check_issuer(settings)
    return settings


def _check_issuer(settings: Settings) -> None:
    for name in ("issuer", "jwks_url"):
        url = getattr(settings, name)
        if url and not is_safe_url(url):
            raise SettingsError(
                f"REGISTRY_{name.upper()} must be an https URL without user, password and fragment "
                f"(http only on this machine), not {url!r}"
            )
    if urlsplit(settings.issuer).query:
        raise SettingsError(f"REGISTRY_ISSUER must be a URL without a query, not {settings.issuer!r}")
    for name in ("jwks_url", "audience"):
        if getattr(settings, name) and not settings.issuer:
            raise SettingsError(f"REGISTRY_ISSUER is not set, and REGISTRY_{name.upper()} is")
    if settings.issuer and not settings.audience:
        raise SettingsError("REGISTRY_AUDIENCE is not set, and REGISTRY_ISSUER is: say whom its tokens are for")
    if not settings.user_claim:
        raise SettingsError("REGISTRY_USER_CLAIM must name a claim: leave it out for 'sub'")
    if not 0 < settings.token_lifetime_seconds <= _MAX_TOKEN_LIFETIME_SECONDS:
        raise SettingsError(f"REGISTRY_TOKEN_LIFETIME_SECONDS must be 1 to {_MAX_TOKEN_LIFETIME_SECONDS} (a week)")
    if settings.own_token_days > _MAX_OWN_TOKEN_DAYS:
        raise SettingsError(f"REGISTRY_OWN_TOKEN_DAYS must be 0 to {_MAX_OWN_TOKEN_DAYS}")


def is_safe_url(url: str) -> bool:
    """Whether what a URL answers can be believed: https, or http that never leaves the machine (tests, containers)."""
    if not url.isascii() or not url.isprintable() or any(each in url for each in ' "<>\\^`{|}#'):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    if host in ("localhost", "host.docker.internal", "host.containers.internal"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def get_settings() -> Settings:
    """This process's settings, read at first use; tests clear them with `get_settings.cache_clear()`."""
    return read_settings(os.environ)
