"""Google Merchant feeds: RSS 2.0 or Atom with `g:` elements, or a table of tab-separated values.

Belongs here: their two shapes and how to tell them apart. Not here: what the values mean.
"""

import codecs
import io
from collections.abc import Iterator
from typing import Any
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.delimited import read_delimited
from assets.listings.readers.json_values import json_text
from assets.listings.readers.rows import Found, ReadLimits, Trouble, flat_fields

_CHUNK_BYTES = 1 << 16
_PEEK_BYTES = 1 << 10
_NAMESPACE = "http://base.google.com/ns/1.0"
_ROOTS = frozenset({"rss", "feed", "rdf:RDF", "channel"})
_ITEMS = frozenset({"item", "entry"})
#: What an element counts besides its text, so that empty ones are bounded too.
_NODE_CHARS = 16
#: Open elements that the parser is made to remember; an item must be far flatter.
_OPEN_ELEMENTS = 10_000


def read_merchant(
    content: io.BufferedReader, contract: FeedContract, *, name: str, limits: ReadLimits
) -> Iterator[Found]:
    """Read a Google Merchant feed, XML or delimited, whichever the content shows it to be.

    Raises:
        FeedUnreadable: neither of the two, or XML that is malformed, ends early or declares a document type.
    """
    head = content.peek(_PEEK_BYTES)[:_PEEK_BYTES]
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.removeprefix(mark)
    if head.replace(b"\0", b"").lstrip().startswith(b"<"):
        return _read_xml(content, name, limits)
    return read_delimited(content, contract, name=name, limits=limits, normal_name=_attribute_name)


def _attribute_name(header: str) -> str:
    """`Image Link`, as tables may write it, is `image_link`."""
    return header.strip().lower().replace(" ", "_").removeprefix("g:")


def _read_xml(content: io.BufferedReader, name: str, limits: ReadLimits) -> Iterator[Found]:
    from xml.sax import SAXParseException

    from defusedxml.common import DefusedXmlException
    from defusedxml.expatreader import DefusedExpatParser

    items = _Items(limits)
    parser = DefusedExpatParser(forbid_dtd=True)
    parser.setContentHandler(items)
    given = 0
    idle = 0
    try:
        while chunk := content.read1(_CHUNK_BYTES):
            given += len(chunk)
            idle += len(chunk)
            items.stirred = False
            parser.feed(chunk)
            if items.stirred:
                idle = 0
            if idle > limits.row_chars:
                raise FeedUnreadable(name, f"one tag of more than {limits.row_chars} bytes, beyond the reader's limit")
            yield from items.take()
        parser.close()
        yield from items.take()
    except SAXParseException as error:
        position = f"line {error.getLineNumber()}, column {error.getColumnNumber()}"
        raise FeedUnreadable(name, f"expected well-formed XML; {error.getMessage()}", position=position) from error
    except DefusedXmlException as error:
        said = "the XML declares a document type or entities, which feeds do not need and attacks do"
        raise FeedUnreadable(name, f"{said}; expected neither", position=f"before byte {given}") from error
    except _NotAFeed as error:
        raise FeedUnreadable(name, str(error), position=f"before byte {given}") from error
    except (LookupError, ValueError) as error:
        if items.begun or isinstance(error, FeedUnreadable):
            raise
        # The encoding in the XML declaration, which comes before all else, is one that Python or expat does not know.
        raise FeedUnreadable(
            name, f"expected XML in a known encoding; {error}", position=f"before byte {given}"
        ) from error


class _NotAFeed(Exception):
    """The root element is none of a feed's, or there are more kinds or levels of elements than any feed has."""


class _Element:
    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text: list[str] = []
        self.children: list[tuple[str, Any]] = []

    def value(self) -> Any:
        """The element's text, or an object of its children."""
        if not self.children:
            return "".join(self.text).strip()
        merged: dict[str, Any] = {}
        for name, value in self.children:
            if name not in merged:
                merged[name] = value
            elif isinstance(merged[name], list):
                merged[name].append(value)
            else:
                merged[name] = [merged[name], value]
        text = "".join(self.text).strip()
        return {"text": text, **merged} if text else merged


class _Items(ContentHandler):
    """Collects the items of a feed while the parser goes along; never holds more than one and its limits."""

    def __init__(self, limits: ReadLimits) -> None:
        super().__init__()
        self.begun = False
        self.stirred = False
        self._limits = limits
        self._done: list[Found] = []
        self._google = {"g"}
        self._names: set[str] = set()
        self._depth = 0
        self._item_depth = 0
        self._open: list[_Element] = []
        self._size = 0
        self._trouble: tuple[str, str] | None = None

    def take(self) -> list[Found]:
        """The items that were completed since the last call."""
        done, self._done = self._done, []
        return done

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.begun = self.stirred = True
        self._depth += 1
        if self._depth == 1 and name not in _ROOTS:
            raise _NotAFeed(f"the root element is <{name[:80]}>; expected <rss> or <feed>")
        if self._depth > _OPEN_ELEMENTS:
            raise _NotAFeed(f"expected well-formed XML of at most {_OPEN_ELEMENTS} levels")
        self._remember(name, *attrs.keys())
        for attribute, value in attrs.items():
            if value == _NAMESPACE and attribute.startswith("xmlns:"):
                self._google.add(attribute.removeprefix("xmlns:"))
        if not self._item_depth:
            if name in _ITEMS:
                self._item_depth = self._depth
                self._open = [_Element(name)]
                self._size = 0
                self._trouble = None
            return
        if self._trouble is None:
            self._spend(_NODE_CHARS + len(name))
            if self._depth - self._item_depth > self._limits.depth:
                self._trouble = ("nested_too_deep", f"expected at most {self._limits.depth} levels inside an item")
        if self._trouble is None:
            element = _Element(name)
            if "href" in attrs:  # Atom's <link href="..."/>
                self._spend(len(attrs["href"]))
                element.text.append(attrs["href"])
            self._open.append(element)

    def characters(self, content: str) -> None:
        self.stirred = True
        if self._item_depth and self._trouble is None:
            self._spend(len(content))
            self._open[-1].text.append(content)

    def endElement(self, name: str) -> None:
        self.stirred = True
        if self._item_depth == self._depth:
            self._finish_item()
            self._item_depth = 0
        elif self._item_depth and self._trouble is None:
            closed = self._open.pop()
            self._open[-1].children.append((self._plain(name), closed.value()))
        self._depth -= 1

    def processingInstruction(self, target: str, data: str) -> None:
        self._remember(target)

    def _remember(self, *names: str) -> None:
        """Count names, for the parser keeps every one that it ever met."""
        self._names.update(names)
        if len(self._names) > self._limits.columns:
            raise _NotAFeed(f"more than {self._limits.columns} different names of elements; expected a feed's")

    def _plain(self, name: str) -> str:
        prefix, _, local = name.rpartition(":")
        return f"g:{local}" if prefix in self._google else name

    def _spend(self, chars: int) -> None:
        self._size += chars
        if self._size > self._limits.row_chars:
            limit = self._limits.row_chars
            self._trouble = ("row_too_long", f"expected an item of at most {limit} characters, and kept the beginning")

    def _finish_item(self) -> None:
        while len(self._open) > 1:  # only where a limit cut the item short
            cut = self._open.pop()
            self._open[-1].children.append((self._plain(cut.name), cut.value()))
        value = self._open[0].value()
        if self._trouble is not None:
            self._done.append(Trouble(*self._trouble, json_text(value)))
        elif isinstance(value, str):
            self._done.append(Trouble("not_an_object", "expected an item with elements inside", value))
        else:
            self._done.append(flat_fields(_google_first(value), self._limits))
        self._open = []


def _google_first(value: Any) -> Any:
    """Drop the `g:` of names; where a plain element has the same name, Google's is meant and the other renamed."""
    if isinstance(value, list):
        return [_google_first(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    google = {name.removeprefix("g:"): _google_first(v) for name, v in value.items() if name.startswith("g:")}
    plain = {n: _google_first(v) for n, v in value.items() if not n.startswith("g:")}
    return {**google, **{f"feed:{name}" if name in google else name: inner for name, inner in plain.items()}}
