"""How much an archive may hold. Reasons for every number: docs/archives.md, "Limits"."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused beyond; sizes in bytes, each limit itself still allowed. An installation's are its settings."""

    max_members: int = 50_000  # records in the central directory, folders and dropped junk included
    max_directory_bytes: int = 64 * MIB  # 50,000 records of 46 bytes, a 900-byte path and extras
    max_member_bytes: int = 5 * TIB  # what every S3-compatible store can hold as one object
    max_total_bytes: int = 50 * TIB
    max_ratio: int = 200  # bytes of content for each byte of the archive; 0: any
    ratio_from_bytes: int = 16 * GIB  # up to this much content, any ratio
    max_path_bytes: int = 900  # an S3 key may have 1,024 bytes, and the registry's own prefix comes first
    max_segment_bytes: int = 255  # NAME_MAX of ext4, XFS, APFS
    max_depth: int = 32  # names in a path


DEFAULT_LIMITS = Limits()
