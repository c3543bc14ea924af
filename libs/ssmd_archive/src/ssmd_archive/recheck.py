"""A certificate held against the archive again, without the exchange."""

from collections.abc import Iterator

from ssmd_archive import manifest
from ssmd_archive.archived_trades import gather
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.certificate import HOLDS, Certificate
from ssmd_archive.judgement import trades_of
from ssmd_archive.tradesets import TradeSets


def check(archive: Archive, listed: list[Listed], certificate: Certificate) -> list[str]:
    """What is wrong with a certificate, from the archive alone: nothing where all that it says of
    the archive is still so, and its result follows from what it says.

    Raises:
        OSError: a file cannot be read.
    """
    said = certificate.archive
    if said is None or certificate.compared is None or certificate.exchange is None:
        return []
    wrong = list(_contradictions(certificate))
    digests = {
        manifest.digest(text.text) for day in archive.days() for text in archive.texts(day)[0]
    }
    if said.head and said.head not in digests:
        wrong.append(
            f"no line of the manifests has the SHA-256 {said.head}: they were written anew"
        )
    with TradeSets() as sets:
        places = said.from_place, said.to_place
        found = gather(archive, listed, {certificate.ticker}, None, sets, places)
        ours = sets.archived(certificate.ticker)
    if (found.searched, found.searched_sha256) != (said.searched, said.searched_sha256):
        wrong.append("the manifests do not list the files that were searched, or list others")
    if said.files != found.files.get(certificate.ticker, []):
        wrong.append("its trades are in other files than they were")
    new = [path for path in found.damaged if path not in certificate.damaged]
    if new:
        wrong.append(f"{new[0]} is not as it was sealed ({len(new)} files)")
    if trades_of(ours) != said.trades:
        wrong.append(f"the archive has {ours.trades} trades of {said.trades.trades}, or others")
    return wrong


def _contradictions(certificate: Certificate) -> Iterator[str]:
    """Whether a certificate may say what it says."""
    compared, said, exchange = certificate.compared, certificate.archive, certificate.exchange
    assert compared is not None
    assert said is not None
    assert exchange is not None
    same = said.trades.sha256 == exchange.sha256
    none = not (compared.missing or compared.extra or compared.different)
    if same != none:
        yield "its digests and its differences contradict each other"
    if certificate.result in HOLDS and not (
        same and certificate.volume not in (None, "neither") and not certificate.damaged
    ):
        yield f"it says {certificate.result}, and its own figures do not"
