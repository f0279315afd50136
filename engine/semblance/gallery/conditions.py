"""A condition on pictures, as anybody may write it: read, and found harmless before it runs.

In: SQL text such as `label = 'chair' AND width > 300`, and the columns there are. Out: the columns it reads; or an
InputError that says what is wrong and what there is. DuckDB parses it and the syntax tree is checked node by node:
one expression, of comparisons, operators and functions that only compute. So it can hold no query of its own, read no
file, see no setting of the process, and make nothing long of something short.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from semblance.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EXAMPLE = "label = 'chair' AND width > 300"
MAX_DEPTH = 250  # of the syntax tree: deeper ones are nobody's question, and the stack's problem

_MAX_CHARACTERS = 1 << 16
_CLASSES = {
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
    "OPERATOR", "TYPE",
}  # fmt: skip
_CALLED = {"SUBQUERY": "a query of its own", "STAR": "a star", "PARAMETER": "a parameter", "LAMBDA": "a lambda"}
# None of them tells of anything but its arguments, or makes a long text of a short one, as repeat or concat do
_FUNCTIONS = {
    "abs", "ceil", "ceiling", "exp", "floor", "greatest", "hash", "isfinite", "isinf", "isnan", "least", "ln", "log",
    "log10", "log2", "mod", "pow", "power", "round", "sign", "sqrt", "trunc",
    "contains", "ends_with", "instr", "left", "length", "lower", "ltrim", "position", "prefix", "regexp_extract",
    "regexp_full_match", "regexp_matches", "reverse", "right", "rtrim", "split_part", "starts_with", "strlen", "strpos",
    "substr", "substring", "suffix", "trim", "upper",
    "ifnull", "nullif",
}  # fmt: skip


def parse(connection: DuckDBPyConnection, where: str) -> dict[str, Any]:
    """The syntax tree of a condition, by DuckDB's own parser. Raises InputError where it is not one expression."""
    _check_text(where)
    # Alone, it cannot close the parentheses that it stands in below; in them, nothing but an expression can stand.
    _syntax_tree(connection, where)
    tree, plain = _syntax_tree(connection, f"(\n{where}\n)"), _syntax_tree(connection, "(\nTRUE\n)")
    expressions = tree.pop("select_list", [])
    plain.pop("select_list")
    if len(expressions) != 1 or tree != plain:
        raise InputError(f"where must be one expression, such as {EXAMPLE}, is {shortened(where)}")
    return dict(expressions[0])


def columns_of(tree: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The columns a condition reads, all of them among `names`. Raises InputError for what it must not contain."""
    found: dict[str, None] = {}
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        if not isinstance(node, dict):
            continue
        waiting.extend(node.values())
        kind = node.get("class")
        if kind is not None and kind not in _CLASSES:
            what = _CALLED.get(kind, kind.lower().replace("_", " "))
            raise InputError(f"where contains {what}, which no condition may; compare columns as in {EXAMPLE}")
        if kind == "FUNCTION" and not node.get("is_operator"):
            _check_function(node)
        if kind == "COLUMN_REF":
            found[_resolve(node["column_names"], names)] = None
    if len({folded(name) for name in found}) < len(found):
        raise InputError(
            f"where names columns that differ by upper and lower case only, {list(found)}; use one of them"
        )
    return list(found)


def _check_text(where: str) -> None:
    if not isinstance(where, str) or not where.strip():
        raise InputError(f"where must be a condition such as {EXAMPLE}, is {where!r}")
    if len(where) > _MAX_CHARACTERS:
        raise InputError(f"where has {len(where):,} characters; expected at most {_MAX_CHARACTERS:,}")
    try:
        where.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"where holds lone surrogates, which are no text: {shortened(where)}") from error


def _syntax_tree(connection: DuckDBPyConnection, expression: str) -> dict[str, Any]:
    """Of `SELECT expression`, as DuckDB parses it."""
    sql = f"SELECT\n{expression}\n"
    answer = json.loads(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if answer["error"]:
        problem = first_line(answer["error_message"])
        raise InputError(f"where cannot be read: {problem}; write one condition, such as {EXAMPLE}")
    if len(answer["statements"]) != 1:
        raise InputError(f"where must be one expression, such as {EXAMPLE}, is several statements")
    return dict(answer["statements"][0]["node"])


def _check_function(node: Mapping[str, Any]) -> None:
    name, schema = _cut(node["function_name"]), _cut(node.get("schema") or "")
    if schema:
        raise InputError(f"where calls {schema}.{name}; write {name}({schema}) where {schema} is a column")
    if node["function_name"] not in _FUNCTIONS:
        raise InputError(f"where calls {name}, which no condition may; there are {', '.join(sorted(_FUNCTIONS))}")


def _resolve(parts: Sequence[str], names: Sequence[str]) -> str:
    """The column that `parts`, with dots between them, mean: that of this name, or the only one in another case."""
    name = ".".join(parts)
    if len(parts) > 1:
        raise InputError(
            f"where names {_cut(name)}, a part of something; a column of that name is {quoted(_cut(name))}"
        )
    if name in names:
        return name
    alike = [column for column in names if folded(column) == folded(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise InputError(f"where names {name!r}, which may be any of {alike}; write one of them as it is")
    close = get_close_matches(name.casefold(), [column.casefold() for column in names], n=1)
    meant = next((f"did you mean {_as_written(column)}? " for column in names if [column.casefold()] == close), "")
    raise InputError(
        f"where names {_cut(name)!r}, which is no column; {meant}{offer(names)}; text stands in single quotes"
    )


# ------------------------------------------------------------------------------------------------------------------


def offer(names: Sequence[str]) -> str:
    """What could be asked of columns of these names."""
    return f"the columns are {', '.join(map(_as_written, names))}; an example: {EXAMPLE}"


def _as_written(name: str) -> str:
    return name if name.isascii() and name.isidentifier() else quoted(name)


def quoted(name: str) -> str:
    """A column's name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> bytes:
    """Equal for names that DuckDB takes for one: they differ in the case of ASCII letters."""
    return name.encode("utf-8").lower()


def shortened(text: str) -> str:
    """As it is, for a message of one line."""
    return repr(_cut(text))


def first_line(problem: object) -> str:
    """Of what may point at the place in further lines, and repeat what was written."""
    return _cut(str(problem).strip().partition("\n")[0], 300)


def _cut(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
