"""ZIP archives: reading and checking one that comes in, decoding its members, laying out one that goes out.

Pure: no AWS, no disk, no threads. What it reads, it reads through the caller's RangeReader.
"""

from registry.archives.faults import Fault
from registry.archives.inflating import PIECE_BYTES, MemberDecoder
from registry.archives.layout import Entry, Segment, archive_size, plan_archive, slice_segments
from registry.archives.limits import DEFAULT_LIMITS, Limits
from registry.archives.names import check_path, check_path_set, collision_key
from registry.archives.reading import RangeReader
from registry.archives.records import DEFLATED, STORED
from registry.archives.resuming import ResumableDecoder, State, can_resume
from registry.archives.structure import Archive, Member, read_archive

__all__ = [
    "DEFAULT_LIMITS",
    "DEFLATED",
    "PIECE_BYTES",
    "STORED",
    "Archive",
    "Entry",
    "Fault",
    "Limits",
    "Member",
    "MemberDecoder",
    "RangeReader",
    "ResumableDecoder",
    "Segment",
    "State",
    "archive_size",
    "can_resume",
    "check_path",
    "check_path_set",
    "collision_key",
    "plan_archive",
    "read_archive",
    "slice_segments",
]
