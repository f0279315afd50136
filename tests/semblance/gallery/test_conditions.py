"""What a condition may be: read with the columns it names, or refused for what it contains, whatever that is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semblance.errors import InputError
from semblance.gallery.conditions import MAX_DEPTH, columns_of, folded, offer, parse, quoted, shortened
from semblance.gallery.gallery import VectorGallery

NAMES = ["key", "uri", "label", "Width", "a b", 'say "hi"', "ä"]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"max_expression_depth": str(MAX_DEPTH)}) as opened:
        yield opened


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("TRUE", []),
        ("label = 'it''s; -- not a comment'", ["label"]),
        ("label = 'key' OR KEY > 3", ["label", "key"]),
        ('width > 3 AND WIDTH < 9 AND "Width" <> 4', ["Width"]),
        ('"a b" = \'x\' AND "say ""hi""" IS NULL', ["a b", 'say "hi"']),
        ("ä = 'ä'", ["ä"]),
        ("lower(label) LIKE 'a\\_%' ESCAPE '\\'", ["label"]),
        ("label COLLATE NOCASE = 'ANT'", ["label"]),
        ("CASE label WHEN 'a' THEN key > 1 ELSE key < 1 END", ["label", "key"]),
        ("key::VARCHAR IN (uri, 'x') -- or so", ["key", "uri"]),
        ("key /* but not uri */ = 3\n", ["key"]),
        ("TRY_CAST(uri AS INTEGER) IS NOT NULL", ["uri"]),
        ("label IS DISTINCT FROM uri", ["label", "uri"]),
        ("key BETWEEN -9223372036854775808 AND 9223372036854775807", ["key"]),
        ("uri SIMILAR TO 'a*' OR uri ~ 'b+' OR uri GLOB '*c'", ["uri"]),
    ],
)
def test_the_columns_it_reads(connection: duckdb.DuckDBPyConnection, where: str, names: list[str]) -> None:
    assert sorted(columns_of(parse(connection, where), NAMES)) == sorted(names)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.text(max_size=30), column=st.sampled_from(NAMES))
def test_any_text_is_a_value_in_quotes_and_nothing_outside(
    connection: duckdb.DuckDBPyConnection, text: str, column: str
) -> None:
    """What a user types into a field cannot leave the quotes that a program puts around it."""
    where = f"{quoted(column)} = '" + text.replace("'", "''") + "'"
    assert columns_of(parse(connection, where), NAMES) == [column]


PIECES = [
    *"()[]{};,.*?$#:=<>|&~!@'\"-+/", "SELECT", "FROM", "UNION", "label", "key", "1", "TRUE", "NULL", "CASE", "END",
    "IN", "LIKE", "read_text", "getenv", "WITH", "AS", "--", "/*", "\n", "\0", "OVER", "x'", "$$",
]  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(where=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)))
def test_whatever_is_written_is_a_condition_or_an_input_error_of_one_line(
    connection: duckdb.DuckDBPyConnection, where: str
) -> None:
    said = "where is fine"
    try:
        assert set(columns_of(parse(connection, where), NAMES)) <= set(NAMES)
    except InputError as error:
        said = str(error)
    assert said.startswith("where ")
    assert "\n" not in said


# Each would read, write, load, wait, tell of the process, or take memory beyond any bound
HARMFUL = [
    "read_text('/etc/passwd') IS NULL", "read_csv('/etc/passwd') IS NULL", "read_blob(uri) IS NULL",
    "(SELECT content FROM read_text('/etc/passwd')) = ''", "EXISTS (FROM '/etc/passwd')",
    "TRUE; ATTACH '/tmp/x.db'", "ATTACH '/tmp/x.db'", "COPY stream TO '/tmp/x.csv'",
    "TRUE; COPY stream TO '/tmp/x.csv'",
    "INSTALL httpfs", "LOAD httpfs", "PRAGMA database_list", "SET threads = 4", "CREATE TABLE x AS SELECT 1",
    "CALL pragma_version()", "EXPORT DATABASE '/tmp/x'", "TRUE; DROP TABLE stream", "EXECUTE x", "CHECKPOINT",
    "query('SELECT 1') IS NULL", "query_table('stream') IS NULL", "getenv('HOME') IS NULL", "current_user = 'x'",
    "current_setting('threads') = '1'", "getvariable('x') IS NULL", "current_database() = 'x'", "version() = 'x'",
    "pg_sleep(100) IS NULL", "sleep_ms(100000) IS NULL", "range(1000000000000) IS NULL",
    "repeat('a', 1000000000) = uri",
    "lpad(uri, 2000000000, 'a') = ''", "rpad(uri, 2000000000, 'a') = ''", "string_agg(uri, '') = ''",
    "list(uri) IS NULL",
    "array_value(1, 2) IS NULL", "generate_series(1, 1000000000000) IS NULL", "list_resize([1], 1000000000) IS NULL",
    "bar(1, 0, 1, 2000000000) = ''", "format('{:>2000000000}', uri) = ''", "printf('%2000000000d', key) = ''",
    "nextval('x') = 1", "random() > 0.5", "uuid() IS NULL", "now() IS NULL", "txid_current() = 1",
    "key = (WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t)",
    "key IN (SELECT 1)", "key = ANY (SELECT 1)", "unnest([1, 2]) = 1", "count(*) > 1", "row_number() OVER () = 1",
    "main.lower(uri) = ''", "system.main.getenv('HOME') = ''", "uri.read_text() = ''", "COLUMNS('.*') IS NULL",
    "write_log('x') IS NULL", "json_execute_serialized_sql('x') IS NULL", "pragma_version() IS NULL",
    "error(uri) IS NULL", "list_reduce([1], lambda x, y: x) = 1", "apply([1], x -> x + 1) = [2]",
]  # fmt: skip


@pytest.mark.parametrize("where", HARMFUL)
def test_nothing_harmful_is_let_through(gallery_path: Path, where: str) -> None:
    """Refused for what it is: nothing of it is executed."""
    before = sorted(gallery_path.rglob("*"))
    gallery = VectorGallery.open(gallery_path)
    for asked in (where, f"label = 'x' OR {where}", f"({where})"):
        with pytest.raises(InputError, match=r"^where "):
            gallery.search(np.ones((1, 16), np.float32), k=3, where=asked)
    assert sorted(gallery_path.rglob("*")) == before
    assert not Path("/tmp/x.db").exists()


HEAVY = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from semblance.errors import InputError
from semblance.gallery.filters import matching
for where in (
    "'" + "a" * 2000 + "' LIKE '" + "%_a" * 60 + "%_b'",  # for which a naive matcher tries every way to split
    "uri ILIKE '" + "%_0" * 60 + "%_b'",
    "'" + "a" * 2000 + "' GLOB '" + "*?a" * 60 + "*[b]'",
    "'" + "a" * 2000 + "' SIMILAR TO '" + "(a|a)*" * 60 + "b'",
    "regexp_matches('" + "a" * 2000 + "', '(a*)*(a*)*(a*)*b')",
    "regexp_matches(uri, '(((a{50}){50}){50}){50}')",
    "NULL::INTEGER[100000][100000][100000] IS NULL",
    "(NULL::INT" + "[]" * 20000 + ") IS NULL",
    "NULL::" + "STRUCT(a " * 5000 + "INT" + ")" * 5000 + " IS NULL",
    "(" + "[" * 5000 + "1" + "]" * 5000 + ") IS NULL",
    "- " * 20000 + "1 = 1",
    "key" + "::INT" * 10000 + " = 1",
    "||".join(["uri"] * 10000) + " = ''",
    "+".join(["key"] * 20000) + " = 1",
    "CASE WHEN key = 1 THEN " * 2000 + "TRUE" + " END" * 2000,
    "key IN (" + ", ".join(map(str, range(9000))) + ")",
    " AND ".join(["key >= 0"] * 4000),
    ".".join(["a"] * 20000) + " = 1",
    "a" * 60000 + " = 1",
    "a" * 60000 + "(1) = 1",
    "pow(10, 308) * pow(10, 308) > 1",
    "('1'::BIT << 1000000000) IS NULL",
    "'" + "a" * 60000 + "' = 3",
):
    try:
        answer = f"{matching([Path(sys.argv[1])], where, time_limit_sec=20).sum()} rows"
    except InputError as error:
        answer = str(error)
        assert len(answer) < 1000 and "\\n" not in answer, (len(answer), where[:40])
    print(where[:30], answer[:60], flush=True)
print("through")
"""


def test_what_is_short_to_write_takes_neither_long_nor_much_memory_nor_the_process(gallery_path: Path) -> None:
    """Each is answered or refused in a line, within seconds and 4 GB, by a process that is there afterwards."""
    command = [sys.executable, "-c", HEAVY, str(gallery_path / "shards" / "000000.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout[-2000:], done.stderr[-2000:])
    assert done.stdout.endswith("through\n")


def test_a_long_name_is_not_repeated_at_length(connection: duckdb.DuckDBPyConnection) -> None:
    long = "a" * 30_000
    for where in (f"{long} = 1", f"x.{long} = 1", f"{long}(1) = 1", f"x.{long}(1) = 1", f"label = 'x' OR {long}"):
        with pytest.raises(InputError) as caught:
            columns_of(parse(connection, where), NAMES)
        assert len(str(caught.value)) < 1000


def test_small_parts() -> None:
    assert quoted('a"b') == '"a""b"'
    assert folded("ÄB") == "Äb".encode()
    assert shortened("x" * 60) == repr("x" * 60)
    assert shortened("x" * 61) == repr("x" * 57 + "...")
    assert offer(["a", "b c"]) == "the columns are a, \"b c\"; an example: label = 'chair' AND width > 300"
