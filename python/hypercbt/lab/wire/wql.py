"""WQL, as far as clients of a Hyper-V host use it: text in, a query out. `conditions.py` says what it matches.

Strings stand in single or double quotes, and a backslash escapes the next character: it is doubled in a path (Q14). A
lone one is refused here; what a real host makes of it is [I].
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hypercbt.lab.wire.provider import VIRTUALIZATION, Ref

MAX_QUERY = 64 * 1024
MAX_NAME = 256
"""Longer than the name of any class or property."""
_MAX_NESTING = 32
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<path>\{[^}]*\})
      | (?P<number>[+-]?\d{1,20}(?![\w.]))
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign><>|!=|<=|>=|[=<>(),*])
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_KEY = re.compile(
    r"""([A-Za-z_]\w*)\s*=\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[+-]?\d{1,20}|TRUE|FALSE)\s*""",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)


class BadQueryError(ValueError):
    """Not a query, or not one that is understood here."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property where a value stands: libvirt tells the host by `Name = __SERVER` [V]."""

    name: str


Literal: TypeAlias = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Compare:
    """A property and a value. `is` and `is not` compare with null."""

    property: str
    operator: str
    value: Literal | Property


@dataclass(frozen=True, slots=True)
class Both:
    """AND."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """OR."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """NOT."""

    part: "Condition"


Condition: TypeAlias = Compare | Both | Either | Not


@dataclass(frozen=True, slots=True)
class Select:
    """SELECT … FROM class WHERE …."""

    class_name: str
    properties: tuple[str, ...] | None
    """None: all."""
    where: Condition | None


@dataclass(frozen=True, slots=True)
class Related:
    """ASSOCIATORS OF {…}, or REFERENCES OF {…}."""

    source: Ref
    association: str | None
    result: str | None
    references: bool = False


def parse(text: str, namespace: str = VIRTUALIZATION) -> Select | Related:
    """Read a query.

    Raises:
        BadQueryError: It is none.
    """
    if len(text) > MAX_QUERY:
        raise BadQueryError("the query is too long")
    reader = _Reader(_tokens(text))
    if reader.take_word("SELECT"):
        query: Select | Related = reader.select()
    elif reader.take_word("ASSOCIATORS"):
        query = reader.related(namespace, references=False)
    elif reader.take_word("REFERENCES"):
        query = reader.related(namespace, references=True)
    else:
        raise BadQueryError("neither SELECT, ASSOCIATORS nor REFERENCES")
    reader.expect_end()
    return query


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at, text = [], 0, text.strip().rstrip(";").rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or match.lastgroup is None:
            raise BadQueryError(f"not understood: {text[at : at + 20]!r}")
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return tokens


class _Reader:
    """Walks through the words of one query."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def take_word(self, word: str) -> bool:
        kind, text = self._peek()
        found = kind == "word" and text.upper() == word
        self._at += found
        return found

    def _take_sign(self, sign: str) -> bool:
        found = self._peek() == ("sign", sign)
        self._at += found
        return found

    def _need(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise BadQueryError(f"{kind} expected, not {text!r}")
        if kind == "word" and len(text) > MAX_NAME:
            raise BadQueryError("a name is too long")
        return text

    def _need_word(self, word: str) -> None:
        if not self.take_word(word):
            raise BadQueryError(f"{word} expected, not {self._peek()[1]!r}")

    def expect_end(self) -> None:
        if self._peek()[0] != "end":
            raise BadQueryError(f"not understood: {self._peek()[1]!r}")

    def select(self) -> Select:
        properties: tuple[str, ...] | None = None
        if not self._take_sign("*"):
            names = [self._need("word")]
            while self._take_sign(","):
                names.append(self._need("word"))
            properties = tuple(names)
        self._need_word("FROM")
        class_name = self._need("word")
        where = self._either(0) if self.take_word("WHERE") else None
        return Select(class_name, properties, where)

    def _either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self.take_word("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self.take_word("AND"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _one(self, depth: int) -> Condition:
        if depth > _MAX_NESTING:
            raise BadQueryError("nested too deeply")
        if self.take_word("NOT"):
            return Not(self._one(depth + 1))
        if self._take_sign("("):
            inside = self._either(depth + 1)
            if not self._take_sign(")"):
                raise BadQueryError(") is missing")
            return inside
        return self._compare()

    def _compare(self) -> Condition:
        name = self._need("word")
        if self.take_word("IS"):
            operator = "is not" if self.take_word("NOT") else "is"
            self._need_word("NULL")
            return Compare(name, operator, None)
        if self.take_word("LIKE"):
            return Compare(name, "like", _unquoted(self._need("text")))
        operator = self._need("sign")
        if operator not in ("=", "<>", "!=", "<", ">", "<=", ">="):
            raise BadQueryError(f"not a comparison: {operator!r}")
        return Compare(name, operator.replace("!=", "<>"), self._literal())

    def _literal(self) -> Literal | Property:
        kind, text = self._next()
        if kind == "text":
            return _unquoted(text)
        if kind == "number":
            return int(text)
        if kind == "word" and text.upper() in ("TRUE", "FALSE"):
            return text.upper() == "TRUE"
        if kind == "word":
            return Property(text)
        raise BadQueryError(f"a value expected, not {text!r}")

    def related(self, namespace: str, *, references: bool) -> Related:
        self._need_word("OF")
        source = object_path(self._need("path")[1:-1], namespace)
        chosen: dict[str, str] = {}
        if self.take_word("WHERE"):
            while self._peek()[0] == "word":
                name = self._need("word").upper()
                known = ("ASSOCCLASS", "RESULTCLASS")[references:]
                if name not in known or name in chosen:
                    raise BadQueryError(f"not understood: {name}")
                if self._need("sign") != "=":
                    raise BadQueryError("= is missing")
                chosen[name] = self._need("word")
        return Related(
            source, chosen.get("ASSOCCLASS"), chosen.get("RESULTCLASS"), references
        )


def _unquoted(text: str) -> str:
    """Return what stands between quotes.

    Raises:
        BadQueryError: A backslash stands before something that needs none.
    """
    inside = text[1:-1]
    if re.search(r"""(?<!\\)(?:\\\\)*\\[^\\'"]""", inside):
        raise BadQueryError("a backslash that is not doubled")
    return re.sub(r"\\(.)", r"\1", inside, flags=re.DOTALL)


def object_path(text: str, namespace: str = VIRTUALIZATION) -> Ref:
    r"""Read `Class.Key="value",…`, with or without `\\HOST\root\virtualization\v2:` before it.

    Raises:
        BadQueryError: It is none.
    """
    match = re.fullmatch(
        # No two runs of white space that could share it: that would take quadratic time.
        r"(?:\\\\[^\\:]+\\([\w\\/]+):\s*)?(?:([\w\\/]+):\s*)?(\w{1,256})\s*(?:\.(.*)|=@)?",
        text.strip(),
        re.ASCII | re.DOTALL,
    )
    if not match:
        raise BadQueryError(f"not an object path: {text!r}")
    remote, local, class_name, keys = match.groups()
    place = (remote or local or namespace).replace("\\", "/").lower()
    return Ref(class_name, _keys(keys or ""), place)


def _keys(text: str) -> Mapping[str, str]:
    keys: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _KEY.match(text, at)
        if not match or match.group(1) in keys:
            raise BadQueryError(f"not the keys of an object: {text!r}")
        value = match.group(2)
        keys[match.group(1)] = _unquoted(value) if value[0] in "'\"" else value
        at = match.end()
        if at < len(text):
            if text[at] != ",":
                raise BadQueryError(f"not the keys of an object: {text!r}")
            at += 1
            while at < len(text) and text[at].isspace():
                at += 1
    return keys
