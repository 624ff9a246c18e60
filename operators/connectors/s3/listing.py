"""The pages of an S3 listing (ListObjectsV2), and what is read from them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import cast
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element

from minio.xml import findall, findtext

from operators.store.ports import ListedObject


async def pages(
    ask: Callable[[Mapping[str, str]], Awaitable[Element]], prefix: str, delimiter: str = ""
) -> AsyncIterator[Element]:
    """Yield the pages of a listing, each once it is wanted; `ask` gets the page of a query."""
    # XML has no control characters: a store would name a key that has some otherwise.
    query = {"encoding-type": "url", "list-type": "2", "prefix": prefix} | (
        {"delimiter": delimiter} if delimiter else {}
    )
    token: str | None = ""
    while token is not None:
        page = await ask(query | ({"continuation-token": token} if token else {}))
        yield page
        token = findtext(page, "NextContinuationToken")


def keys_in(page: Element) -> Iterator[str]:
    """Yield the keys on a page, in order."""
    named = _names_on(page)
    for entry in findall(page, "Contents"):
        yield named(_text(entry, "Key"))


def objects_in(page: Element) -> Iterator[ListedObject]:
    """Yield the objects on a page, in the order of their keys."""
    named = _names_on(page)
    for entry in findall(page, "Contents"):
        modified_at = datetime.fromisoformat(_text(entry, "LastModified")).replace(microsecond=0)
        yield ListedObject(named(_text(entry, "Key")), int(_text(entry, "Size") or 0), modified_at)


def folders_in(page: Element, prefix: str) -> Iterator[str]:
    """Yield the names of the folders on a page of a listing with a delimiter, without the prefix and the delimiter."""
    named = _names_on(page)
    for entry in findall(page, "CommonPrefixes"):
        yield named(_text(entry, "Prefix")).removeprefix(prefix).removesuffix("/")


def _names_on(page: Element) -> Callable[[str], str]:
    """Return the function that reads a name on a page: a store may not know the encoding that it was asked for."""
    return unquote_plus if findtext(page, "EncodingType") == "url" else str


def _text(entry: Element, name: str) -> str:
    return cast("str", findtext(entry, name, strict=True))
