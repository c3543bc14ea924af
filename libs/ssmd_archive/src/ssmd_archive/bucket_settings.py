"""Settings of the bucket that an archive is uploaded to."""

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from ssmd_common.settings import HttpUrl, Settings


class BucketSettings(Settings):
    """ARCHIVER_BUCKET*."""

    archiver_bucket: str | None = None
    """The S3-compatible bucket that sealed files are uploaded to; by default none."""
    archiver_bucket_endpoint: HttpUrl | None = None
    """Where its store is, without the bucket's name; by default AWS."""
    archiver_bucket_region: str = "us-east-1"
    """The bucket's region; `auto` for R2, `garage` for Garage."""
    archiver_bucket_prefix: str = Field("", pattern=r"^([A-Za-z0-9_.=-]+/)*[A-Za-z0-9_.=-]*$")
    """Before the names of all objects, with `/` after it; a prefix of its own for each archive."""
    archiver_bucket_access_key_id: SecretStr | None = None
    """The key's id; without it what AWS gives its machines and pods is used."""
    archiver_bucket_secret_access_key: SecretStr | None = Field(None, validate_default=True)
    """The key's secret."""

    @field_validator("archiver_bucket_secret_access_key")
    @classmethod
    def _belongs_to_an_id(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "archiver_bucket_access_key_id" not in info.data:
            return secret
        if (secret is None) != (info.data["archiver_bucket_access_key_id"] is None):
            raise ValueError(
                "a key has an id and a secret: set both ARCHIVER_BUCKET_ACCESS_KEY_ID and this, "
                "or neither"
            )
        return secret
