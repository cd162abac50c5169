"""JSON documents of any size, taken apart into the objects they list.

Belongs here: streaming a document's lists with bounded memory. Not here: what the objects mean.

The values are decoded by Python's own `json`, window by window; only the brackets around them are followed here.
Streaming parsers on yajl read past hostile input (an integer of 9,000 digits ends the process), so they are not used.
"""

import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.json_values import DECODER, depth_of, json_text, may_be_deeper
from assets.listings.readers.rows import ReadLimits, Trouble
from assets.listings.readers.unpacking import as_text, printable, undecodable

_CHUNK_CHARS = 1 << 18
_BLANK = re.compile(r"[ \t\r\n]*")
_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["\[\]{}]')
_END_OF_LITERAL = re.compile(r"[,\]}\s]")


class Item(NamedTuple):
    """One value out of a document.

    Attributes:
        value: The value, numbers as text; None where `trouble` says why it could not be read.
        trouble: Why it could not be read, with its text.
        streamed: For a document that is one object: the keys whose lists were given item by item before.
            None for the items of a list.
    """

    value: Any
    trouble: Trouble | None = None
    streamed: frozenset[str] | None = None


def read_items(
    content: io.BufferedReader, contract: FeedContract, *, lists: frozenset[str], name: str, limits: ReadLimits
) -> Iterator[Item]:
    """Yield the objects that a file lists, one at a time.

    A file holds one JSON document or several after another (as NDJSON does). Of a document that is an array, each
    element is an item. Of one that is an object, each element under a key in `lists` is an item, and then the
    object itself, without them. An item that is malformed inside its brackets costs itself only.

    Raises:
        FeedUnreadable: the file is not JSON or ends early.
    """
    window = _Window(as_text(content, contract.encoding, name, newline=""), contract, name, limits)
    if not window.next_mark():
        raise window.unreadable("the file is blank; expected JSON")
    while mark := window.next_mark():
        if mark == "[":
            yield from window.elements()
        elif mark == "{":
            yield from _read_object(window, lists, limits)
        else:
            raise window.unreadable(f"expected JSON, an object or array; found {printable(window.ahead())!r}")


def _read_object(window: "_Window", lists: frozenset[str], limits: ReadLimits) -> Iterator[Item]:
    whole: dict[str, Any] = {}
    streamed = set()
    size = 0
    trouble: Trouble | None = None
    for _ in window.members("{", "}"):
        key, _, key_chars = window.value()
        if not isinstance(key, str) or window.next_mark() != ":":
            raise window.unreadable(f"expected JSON, a key and ':'; found {printable(window.ahead())!r}")
        window.skip()
        if window.next_mark() == "[" and key in lists:
            streamed.add(key)
            yield from window.elements()
            continue
        value, found, chars = window.value()
        size += key_chars + chars
        if size > limits.row_chars and not (trouble or found):
            found = window.too_long(size, json_text(whole))
        trouble = trouble or found
        if not trouble:
            whole[key] = value
    if not trouble and depth_of(whole) > limits.depth:
        trouble = window.too_deep(json_text(whole))
    yield Item(None if trouble else whole, trouble, frozenset(streamed))


class _Balance:
    """Follows brackets and quotes until the value that begins first has ended; text may come in pieces."""

    def __init__(self) -> None:
        self.depth = 0
        self._in_string = False
        self._escaped = False
        self._begun = False
        self._literal = False

    def end_in(self, text: str, at: int) -> int | None:
        """Where in `text`, read from `at`, the value ends; None if it goes on."""
        if not self._begun:
            self._begun = True
            self._literal = text[at] not in '"[{'
            at += self._literal
        if self._literal:
            end = _END_OF_LITERAL.search(text, at)
            return end.start() if end else None
        if self._escaped and at < len(text):
            at += 1
            self._escaped = False
        while found := (_IN_STRING if self._in_string else _OUTSIDE).search(text, at):
            mark, at = found[0], found.end()
            if mark == "\\":
                self._escaped = at == len(text)
                at += 1
            elif mark == '"':
                self._in_string = not self._in_string
            else:
                self.depth += 1 if mark in "[{" else -1
            if self.depth <= 0 and not self._in_string:
                return at
        return None


class _Window:
    """A stretch of a document's text that moves along with the reading and never grows beyond a row's limit."""

    def __init__(self, text: io.TextIOBase, contract: FeedContract, name: str, limits: ReadLimits) -> None:
        self._source = text
        self._encoding = contract.encoding
        self._name = name
        self._limits = limits
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._ended = False

    def unreadable(self, problem: str) -> FeedUnreadable:
        """The error to raise here."""
        return FeedUnreadable(self._name, problem, position=f"character {self._dropped + self._at}")

    def ahead(self) -> str:
        """A little of what comes next, for messages."""
        return self._text[self._at : self._at + 40] or "the end of the file"

    def next_mark(self) -> str:
        """The next character that is no blank, which stays; empty at the end of the file."""
        while True:
            self._at = _BLANK.match(self._text, self._at).end()  # type: ignore[union-attr] # it matches nothing, too
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Pass over the mark."""
        self._at += 1

    def members(self, opening: str, closing: str) -> Iterator[None]:
        """Stop before each member of the list or object that begins here, and behind its end."""
        self.skip()
        expects_member = False
        while (mark := self.next_mark()) != closing or expects_member:
            if not mark or mark in ",:]}":
                raise self.unreadable(
                    f"expected JSON, a member of {opening}{closing}; found {printable(self.ahead())!r}"
                )
            yield
            mark = self.next_mark()
            expects_member = mark == ","
            if expects_member:
                self.skip()
            elif mark != closing:
                raise self.unreadable(f"expected JSON, ',' or '{closing}'; found {printable(self.ahead())!r}")
        self.skip()

    def elements(self) -> Iterator[Item]:
        """The elements of the list that begins here."""
        for _ in self.members("[", "]"):
            value, trouble, _ = self.value()
            yield Item(value, trouble)

    def value(self) -> tuple[Any, Trouble | None, int]:
        """Read the value that begins here: itself, what is wrong with it, and its length in characters."""
        while self.next_mark():
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # Either the value is bad or the window is too short: the brackets tell.
                complete = _Balance().end_in(self._text, self._at)
                if complete is not None:
                    text = self._take(complete)
                    return None, self._bad(error, text), len(text)
                if self._ended:
                    break
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    return self._judged(value, self._take(end))
            if len(self._text) - self._at > self._limits.row_chars:
                return self._skip_value()
            self._more()
        raise self.unreadable("expected JSON; the file ends inside a value")

    def too_long(self, chars: int, text: str) -> Trouble:
        """What to say about a value beyond the limit, of which only the beginning is kept."""
        kept = self._limits.kept_chars
        found = f"{chars} characters; expected at most {self._limits.row_chars}, and kept the first {kept}"
        return Trouble("row_too_long", found, printable(text[:kept]))

    def too_deep(self, text: str) -> Trouble:
        """What to say about a value that is nested beyond the limit."""
        return Trouble("nested_too_deep", f"expected at most {self._limits.depth} levels", printable(text))

    def _judged(self, value: Any, text: str) -> tuple[Any, Trouble | None, int]:
        trouble = None
        if len(text) > self._limits.row_chars:
            trouble = self.too_long(len(text), text)
        elif undecodable(text):
            trouble = Trouble("invalid_encoding", f"bytes that are not {self._encoding}", printable(text))
        elif may_be_deeper(text, self._limits.depth) and depth_of(value) > self._limits.depth:
            trouble = self.too_deep(text)
        return (None if trouble else value), trouble, len(text)

    def _bad(self, error: Exception, text: str) -> Trouble:
        if len(text) > self._limits.row_chars:
            return self.too_long(len(text), text)
        if isinstance(error, RecursionError):
            return self.too_deep(text)
        return Trouble("invalid_json", f"expected JSON; {error}", printable(text))

    def _skip_value(self) -> tuple[None, Trouble, int]:
        """Pass over a value that is longer than the window may be."""
        balance = _Balance()
        beginning = self._text[self._at : self._at + self._limits.kept_chars]
        length = 0
        while (end := balance.end_in(self._text, self._at)) is None:
            length += len(self._text) - self._at
            self._at = len(self._text)
            if not self._more():
                raise self.unreadable("expected JSON; the file ends inside a value")
        length += end - self._at
        self._at = end
        return None, self.too_long(length, beginning), length

    def _take(self, end: int) -> str:
        text = self._text[self._at : end]
        self._at = end
        return text

    def _more(self) -> bool:
        # Doubling what is looked at keeps repeated attempts at one long value linear.
        chunk = self._source.read(max(_CHUNK_CHARS, len(self._text) - self._at))
        self._dropped += self._at
        self._text = self._text[self._at :] + chunk
        self._at = 0
        self._ended = not chunk
        return bool(chunk)
