"""An S3 server for the tests of buckets."""

from s3_server import s3

__all__ = ["s3"]
