"""Conditions over many files against the same question asked of Python's own rows, and all that they must not reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semblance.errors import GalleryError, InputError
from semblance.gallery.filters import matching

LABELS = ["ant", "chair", "o'hara", "Größe", None]


def table(num_rows: int, seed: int, **columns: pa.Array) -> pa.Table:
    """Rows as a shard has them; a value in ten is null where a source's own columns may be."""
    rng = np.random.default_rng(seed)

    def sometimes(values: list[Any]) -> list[Any]:
        return [None if rng.random() < 0.1 else value for value in values]

    vectors = pa.array(rng.standard_normal(num_rows * 4).astype(np.float32))
    return pa.table(
        {
            "key": pa.array(rng.permutation(num_rows) + 1000 * seed, pa.int64()),
            "uri": pa.array([f"{seed}/{i}.jpg" for i in range(num_rows)]).cast(pa.string()),
            "width": pa.array(rng.integers(1, 500, num_rows), pa.int32()),
            "label": pa.array([LABELS[i] for i in rng.integers(0, 5, num_rows)], pa.string()),
            "count": pa.array(sometimes(rng.integers(-9, 9, num_rows).tolist()), pa.int64()),
            "is_new": pa.array(sometimes(rng.integers(0, 2, num_rows).astype(bool).tolist()), pa.bool_()),
            "score": pa.array(sometimes(rng.random(num_rows).tolist()), pa.float64()),
            **columns,
            "embedding": pa.FixedSizeListArray.from_arrays(vectors, 4),
        }
    )


def written(folder: Path, tables: list[pa.Table]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:06d}.parquet" for number in range(len(tables))]
    for path, content in zip(paths, tables, strict=True):
        pq.write_table(content, path)
    return paths


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [table([0, 1, 60, 7, 130][i % 5], i) for i in range(40)]


@pytest.fixture(scope="module")
def paths(tables: list[pa.Table], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("shards"), tables)


CONDITIONS: list[tuple[str, Callable[[dict[str, Any]], bool | None]]] = [
    ("label = 'chair' AND width > 300", lambda row: row["label"] == "chair" and row["width"] > 300),
    ("LABEL = 'o''hara' or \"Width\" <= 20", lambda row: row["label"] == "o'hara" or row["width"] <= 20),
    ("label IS NULL", lambda row: row["label"] is None),
    ("NOT label = 'ant'", lambda row: row["label"] not in (None, "ant")),
    ("count > 3", lambda row: row["count"] is not None and row["count"] > 3),
    ("is_new", lambda row: row["is_new"]),
    ("is_new = false AND score < 0.5", lambda row: row["is_new"] is False and (row["score"] or 9) < 0.5),
    ("width BETWEEN 100 AND 200", lambda row: 100 <= row["width"] <= 200),
    ("label IN ('ant', 'Größe') AND key % 3 = 1", lambda row: row["label"] in ("ant", "Größe") and row["key"] % 3 == 1),
    ("uri LIKE '%/7.jpg'", lambda row: row["uri"].endswith("/7.jpg")),
    ("UPPER(label) = 'ANT' -- or so", lambda row: row["label"] == "ant"),
    ("CASE WHEN width > 250 THEN is_new END", lambda row: row["width"] > 250 and row["is_new"]),
    ("embedding[2] > 0.5", lambda row: row["embedding"][1] > 0.5),
    ("TRUE", lambda row: True),
    ("1 = 2", lambda row: False),
    ("NULL::BOOLEAN", lambda row: False),
]


@pytest.mark.parametrize(("where", "holds"), CONDITIONS, ids=[where for where, _ in CONDITIONS])
def test_each_row_in_its_place(tables: list[pa.Table], paths: list[Path], where: str, holds: Callable) -> None:
    """Also for files in another order, which rows count on through."""
    for order in (range(len(paths)), np.random.default_rng(0).permutation(len(paths))):
        expected = [bool(holds(row)) for number in order for row in tables[number].to_pylist()]
        found = matching([paths[number] for number in order], where)
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_ranges_of_any_shards(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
    low, high = sorted(data.draw(st.tuples(st.integers(0, 500), st.integers(0, 500))))
    tables = [table(size, number) for number, size in enumerate(sizes)]
    found = matching(written(tmp_path_factory.mktemp("shards"), tables), f"width >= {low} AND width < {high}")
    widths = np.concatenate([each.column("width").to_numpy() for each in tables])
    np.testing.assert_array_equal(found, (widths >= low) & (widths < high))


def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    num = 100_000
    long = pa.table({"key": np.arange(num)})
    found = matching(written(tmp_path / "g", [long, long]), "key % 1000 = 7")
    np.testing.assert_array_equal(found, np.tile(np.arange(num) % 1000 == 7, 2))


def test_no_files_and_files_without_rows(tmp_path: Path) -> None:
    assert matching([], "label = 'ant'").shape == (0,)
    assert matching(written(tmp_path / "g", [table(0, 0), table(0, 1)]), "label = 'ant'").shape == (0,)


@pytest.mark.parametrize("name", ["a*b[1]'s", "?", 'say "hi"', "label=chair", "{a,b}", "Größe und 名", "--; SELECT"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    """A star is a star: the other folder, which a pattern would find as well, is left alone."""
    paths = written(tmp_path / name, [table(9, 1)])
    written(tmp_path / "axb1's", [table(5, 2)])
    assert matching(paths, "key >= 0").shape == (9,)


NAMES = [
    "filename", "file_row_number", "file_index", "rowid", "row", "row_", "stream", "nothing", "select", 'say "hi"',
    "it's", "a b", "a.b", "Größe", "名", "key; DROP", "-- x", "%s", "{}", "*",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_any_name(tmp_path: Path, name: str) -> None:
    """Those that DuckDB or this package might use for themselves are the user's where the user has them."""
    quoted = '"' + name.replace('"', '""') + '"'
    tables = [table(n, n, **{name: pa.array(np.arange(n)[::-1], pa.int64())}) for n in (5, 0, 3)]
    found = matching(written(tmp_path / "g", tables), f"{quoted} = 2")
    np.testing.assert_array_equal(np.flatnonzero(found), [2, 5])


@pytest.mark.parametrize("name", ["filename", "file_row_number", "file_index", "rowid", "row", "ordinal", "stream"])
def test_no_column_but_those_of_the_files(paths: list[Path], name: str) -> None:
    with pytest.raises(InputError, match=f"names '{name}', which is no column"):
        matching(paths, f"{name} IS NOT NULL")


def test_half_floats_which_duckdb_has_not(tmp_path: Path) -> None:
    """A gallery may store its embeddings as such."""
    values = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float16)
    halves = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3)
    content = pa.table({"key": np.arange(50), "embedding": halves, "half": pa.array(values[:, 0])})
    paths = written(tmp_path / "g", [content, content])
    expected = np.tile((values[:, 1] > 0.25) & (values[:, 0] < 1), 2)
    np.testing.assert_array_equal(matching(paths, "embedding[2] > 0.25 AND half < 1"), expected)


def test_all_odd_names_at_once(tmp_path: Path) -> None:
    names = ["row", "row_", "ROW__", "a", "a.b"]
    content = table(6, 0, **{name: pa.array(np.arange(6) + number) for number, name in enumerate(names)})
    where = " AND ".join(f'"{name}" >= {number + 2}' for number, name in enumerate(names))
    np.testing.assert_array_equal(matching(written(tmp_path / "g", [content]), where), np.arange(6) >= 2)


def test_names_that_differ_by_case_only(tmp_path: Path) -> None:
    content = table(4, 0, Foo=pa.array(range(4)), foo=pa.array([9] * 4))
    paths = written(tmp_path / "g", [content])
    assert matching(paths, '"Foo" = 3').tolist() == [False, False, False, True]
    assert matching(paths, "foo = 9").all()
    for where in ("FOO = 3", "Foo = 3 AND foo = 9"):
        with pytest.raises(InputError, match=r"'Foo', 'foo'|'foo', 'Foo'"):
            matching(paths, where)


def test_only_the_columns_that_are_named_are_read(tmp_path: Path) -> None:
    """A file with damaged vectors answers for its labels, and says so when asked for the vectors."""
    content = table(500, 0)
    path = tmp_path / "000000.parquet"
    pq.write_table(content, path, compression="none", use_dictionary=False, write_page_checksum=True)
    column = pq.read_metadata(path).row_group(0).column(content.num_columns - 1)
    with path.open("r+b") as file:
        file.seek(column.data_page_offset + column.total_compressed_size - 400)
        file.write(b"\xff" * 100)
    np.testing.assert_array_equal(matching([path], "width > 100"), content.column("width").to_numpy() > 100)
    with pytest.raises(GalleryError, match=r"000000.parquet is damaged"):
        matching([path], "embedding[1] > 100")


# What a condition must not reach -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "label IN (SELECT content FROM read_text('{secret}'))",
        "EXISTS (FROM read_csv('{secret}'))",
        "EXISTS (FROM read_blob('{secret}'))",
        "EXISTS (FROM read_json('{secret}'))",
        "EXISTS (FROM read_parquet('{shard}'))",
        "EXISTS (FROM parquet_metadata('{shard}'))",
        "EXISTS (FROM sniff_csv('{secret}'))",
        "EXISTS (FROM glob('{folder}/*'))",
        "EXISTS (FROM '{secret}')",
        "EXISTS (FROM '{shard}')",
        "EXISTS (FROM stream)",
        "EXISTS (FROM paths)",
        "EXISTS (FROM duckdb_settings())",
        "width > (SELECT 1)",
        "width = ANY (SELECT 1)",
        "width = ALL ([1, 2])",
        "VALUES (TRUE)",
        "FROM stream",
    ],
)
def test_no_query_and_no_file(paths: list[Path], tmp_path: Path, where: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"a query of its own|cannot be read"):
        matching(paths, where.format(secret=secret, folder=tmp_path, shard=paths[2]))


def test_duckdb_itself_opens_nothing(paths: list[Path], tmp_path: Path) -> None:
    """The second wall: what would happen if a query passed the first."""
    import duckdb

    from semblance.gallery import filters

    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with duckdb.connect(":memory:", config=filters._SETTINGS) as connection:
        for query in (
            f"FROM read_text('{secret}')",
            f"FROM read_csv('{secret}')",
            f"FROM sniff_csv('{secret}')",
            f"FROM glob('{tmp_path}/*')",
            f"FROM '{secret}'",
            f"FROM read_parquet('{paths[2]}')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/db'",
            "FROM tmp_path",
            "INSTALL spatial",
            "LOAD spatial",
            "SET threads = 8",
            "SET enable_external_access = true",
            "SET allowed_directories = ['/']",
            "RESET memory_limit",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(query).fetchall()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv"]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", "must be a condition such as label = 'chair' AND width > 300, is ''"),
        (" \n", "must be a condition"),
        (None, "must be a condition such as .*, is None"),
        (True, "must be a condition"),
        ("-- nothing", "cannot be read"),
        ("label = 'a' OR", "cannot be read: syntax error"),
        ("label = 'a", "cannot be read: unterminated"),
        ("TRUE; DROP TABLE stream", "cannot be read"),
        ("TRUE; SELECT TRUE", "several statements|cannot be read"),
        ("TRUE;", "cannot be read"),
        ("TRUE) OR (TRUE", "cannot be read"),
        ("TRUE) UNION (SELECT TRUE", "cannot be read"),
        ("TRUE /*", "cannot be read: unterminated"),
        ("TRUE AS x", "cannot be read"),
        ("TRUE, FALSE", "must be one expression|VARCHAR|calls row"),
        ("TRUE FROM stream", "cannot be read|one expression"),
        ("TRUE ORDER BY 1", "cannot be read|one expression"),
        ("TRUE GROUP BY ALL", "cannot be read|one expression"),
        ("DISTINCT width", "cannot be read|one expression"),
        ("width = ?", "contains a parameter"),
        ("width = $1", "contains a parameter"),
        ("#1 = 1", "contains positional reference"),
        ("COLUMNS(*) IS NULL", "contains a star"),
        ("* = 1", "contains a star"),
        ("row_number() OVER () = 1", "contains window"),
        ("len(list_filter(embedding, lambda x: x > 0)) > 0", "calls len|contains a lambda"),
        ("count(*) > 1", "calls count_star"),
        ("sum(width) > 1", "calls sum, which no condition may; there are abs, "),
        ("current_setting('memory_limit') = ''", "calls current_setting"),
        ("getvariable('x') = 1", "calls getvariable"),
        ("getenv('HOME') = ''", "calls getenv"),
        ("sleep_ms(100000) IS NULL", "calls sleep_ms"),
        ("length(repeat(uri, 1000000000)) > 1", "calls repeat"),
        ("label.lower() = 'ant'", r"calls label.lower; write lower\(label\)"),
        ("stream.width > 1", "names stream.width, a part of something"),
        ("lable = 'ant'", "names 'lable', which is no column; did you mean label\\? the columns are key, uri, width, "),
        ('label = "ant"', "names 'ant', which is no column; .*text stands in single quotes"),
        ("label", "must be true or false for a row, 'label' is VARCHAR"),
        ("width + 1", "must be true or false for a row, 'width . 1' is INTEGER"),
        ("NULL", "must be true or false"),
        ("label > 3", "cannot be answered: Binder Error: Cannot compare .*; the columns are key"),
        ("label = 3", "cannot be answered: Conversion Error: Could not convert string"),
        ("width // (width - width) = 1", "cannot be answered"),
        ("lower(width, 3)", "cannot be answered"),
        ("label = '\ud800'", "lone surrogates"),
        ("NOT " * 300 + "TRUE", "cannot be read: Max expression depth"),
        ("(" * 9000 + "TRUE" + ")" * 9000, "cannot be read"),
        ("width = 1 OR " * 6000 + "TRUE", "has 78,004 characters; expected at most 65,536"),
    ],
)
def test_what_it_refuses(paths: list[Path], where: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        matching(paths, where)
    assert "\n" not in str(caught.value)


def test_long_lists_are_answered(tables: list[pa.Table], paths: list[Path]) -> None:
    """A program's list of keys, and the same as a chain of ORs."""
    keys = np.concatenate([each.column("key").to_numpy() for each in tables])
    for wanted, where in (
        (keys[::2], f"key IN ({', '.join(map(str, keys[::2]))})"),
        (keys[::5], " OR ".join(f"key = {key}" for key in keys[::5])),
    ):
        np.testing.assert_array_equal(matching(paths, where), np.isin(keys, wanted))


def test_a_condition_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    content = pa.table({"text": ["a" * 2000] * 20_000})
    paths = written(tmp_path / "g", [content] * 20)
    slow = " OR ".join(f"regexp_matches(text, '(a|aa)+{number}$')" for number in range(100))
    with pytest.raises(InputError, match=r"took longer than 0.2 s over 400,000 rows; ask something simpler"):
        matching(paths, slow, time_limit_sec=0.2)


def test_files_that_are_not_there_damaged_or_of_other_columns(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"000099.parquet is missing"):
        matching([*paths, tmp_path / "000099.parquet"], "width > 1")
    (tmp_path / "torn.parquet").write_bytes(paths[2].read_bytes()[:-50])
    with pytest.raises(GalleryError, match=r"torn.parquet is damaged"):
        matching([*paths, tmp_path / "torn.parquet"], "width > 1")
    other = written(tmp_path / "g", [pa.table({"key": [1, 2]})])
    with pytest.raises(GalleryError, match=r"000000.parquet is damaged"):
        matching([*paths, *other], "width > 1")
