"""Metrics of the archiver; those that all services share are in `ssmd_common.metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge

LAG_MESSAGES: Final = Gauge(
    "ssmd_archiver_lag_messages",
    "Messages of the stream that are not written to files yet; rises while the disk or the "
    "archiver is slower than the stream, or the disk is full",
    ["stream"],
)
BYTES: Final = Gauge(
    "ssmd_archiver_bytes",
    "Bytes of all files of a stream's archive, as of the last seal; rises without end unless "
    "ARCHIVER_KEEP_DAYS or ARCHIVER_KEEP_BYTES bounds it",
    ["stream"],
)
FILES: Final = Gauge(
    "ssmd_archiver_files", "Files of a stream's archive, as of the last seal", ["stream"]
)
OVERDUE_DAYS: Final = Gauge(
    "ssmd_archiver_overdue_days",
    "Days of a stream that are older than what is kept and have to stay, as of the last seal: they "
    "are not compacted yet (ARCHIVER_REMOVE_ONLY); rises while nobody runs `ssmd archive compact`",
    ["stream"],
)
FREE_BYTES: Final = Gauge(
    "ssmd_archiver_free_bytes",
    "Bytes that are free on the archive's disk, as of the last seal; at 0 nothing is archived, and "
    "what the stream loses meanwhile is a hole",
)
SEGMENTS: Final = Counter(
    "ssmd_archiver_sealed_segments",
    "Segments of a stream that were sealed and listed in a manifest; flat: nothing comes, or "
    "nothing can be written",
    ["stream"],
)
SEALED_BYTES: Final = Counter(
    "ssmd_archiver_sealed_bytes",
    "Bytes of a stream's files that were sealed, compressed",
    ["stream"],
)
SEALED_SEQUENCE: Final = Gauge(
    "ssmd_archiver_sealed_sequence",
    "The last sequence of the stream that the manifest accounts for; what is after it is in files "
    "that are not sealed, or not archived yet",
    ["stream"],
)
MISSING: Final = Counter(
    "ssmd_archiver_missing_messages",
    "Sequences of the stream that were recorded as missing, by why: hole (purged or deleted), "
    "expired (gone before they were read); any is data that the archive will never have",
    ["stream", "why"],
)
CHAINS: Final = Counter(
    "ssmd_archiver_chains",
    "Incarnations of the stream that began; more than the first: the stream was made anew or "
    "restored",
    ["stream"],
)
STATES: Final = Counter(
    "ssmd_archiver_states",
    "States that were archived: PostgreSQL's rows, once a day and after a hole; flat for longer "
    "than a day while messages come: look at the condition `state`",
)
UPLOAD_BACKLOG_FILES: Final = Gauge(
    "ssmd_archiver_upload_backlog_files",
    "Sealed files of a stream that are not in the bucket yet; rises while the bucket is away, "
    "slow, full, or refuses the key",
    ["stream"],
)
UPLOAD_BACKLOG_BYTES: Final = Gauge(
    "ssmd_archiver_upload_backlog_bytes",
    "Bytes of a stream's sealed files that are not in the bucket yet",
    ["stream"],
)
UPLOAD_OLDEST_SECONDS: Final = Gauge(
    "ssmd_archiver_upload_oldest_seconds",
    "Seconds since the stream stored the last message of the oldest segment that is not in the "
    "bucket; 0 where all are",
    ["stream"],
)
UPLOADED_BYTES: Final = Counter(
    "ssmd_archiver_uploaded_bytes",
    "Bytes of sealed files that the bucket took and gave back as they were",
)
UPLOAD_FAILURES: Final = Counter(
    "ssmd_archiver_upload_failures",
    "Rounds of uploading that failed, by why: refused (key, right, or no such bucket), unreachable "
    "(away, slow, full), foreign (another archive has that prefix), damaged (a file here)",
    ["why"],
)
