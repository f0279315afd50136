"""The report: figures against plain references, the page whole and escaped, tables between their markers."""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.records import Results, Writer, read
from bench.report import command, figures, palette, words
from bench.report.axis import Axis
from bench.report.page import page
from bench.report.picture import picture
from bench.report.races import races, with_best_originals
from bench.report.readme import TABLES, rewritten, table
from bench.report.retrieval_sections import by_setting, widest
from semblance.errors import InputError
from tests.bench.test_report_sample import NAUGHTY, race, sample


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return sample(tmp_path_factory.mktemp("report") / "made-up.jsonl")


def file_of(path: Path, *records: dict) -> Results:
    """A result file with these records."""
    writer = Writer.begin(path, profile="quick", threads=2, packages=())
    for each in records:
        writer.append(each)
    return read(path)


# ------------------------------------------------------------------------------------------------------------------
# Figures


def plain_quantile(values: list[float], share: float) -> float:
    """By linear interpolation between the two values around it, written out."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def plain_interval(values: list[float], draws: int = 4_000) -> tuple[float, float]:
    """The bootstrap by the standard library's generator."""
    generator = random.Random(7)
    medians = [statistics.median(generator.choices(values, k=len(values))) for _ in range(draws)]
    return plain_quantile(medians, 0.025), plain_quantile(medians, 0.975)


def test_timing_is_what_a_plain_reference_gives() -> None:
    rng = np.random.default_rng(3)
    seconds = [[float(each) for each in rng.exponential(0.01, size)] for size in (1, 7, 20, 3, 11)]
    found = figures.timing(race(seconds=seconds, items=32))
    every = [each for one in seconds for each in one]
    assert found is not None
    assert (found.num_rounds, found.num_calls) == (5, 42)
    for share, value in ((0.5, found.p50_s), (0.9, found.p90_s), (0.95, found.p95_s), (0.99, found.p99_s)):
        assert value == pytest.approx(plain_quantile(every, share))
    rates = [32 / statistics.median(one) for one in seconds]
    assert found.rate.value == pytest.approx(statistics.median(rates))
    low, high = plain_interval(rates)
    assert found.rate.interval is not None
    assert found.rate.interval.low == pytest.approx(low, rel=0.02)
    assert found.rate.interval.high == pytest.approx(high, rel=0.02)
    assert found.rate.noise == pytest.approx((high - low) / (high + low), rel=0.05)


def test_one_call_has_all_percentiles_and_no_interval() -> None:
    found = figures.timing(race(seconds=[[0.25]], items=8))
    assert found is not None
    assert found.p50_s == found.p90_s == found.p95_s == found.p99_s == 0.25
    assert found.rate == figures.Estimate(32.0, None)
    assert found.rate.noise is None


def test_one_round_has_no_interval_however_many_calls() -> None:
    found = figures.timing(race(seconds=[[0.1, 0.2, 0.4]]))
    assert found is not None
    assert found.rate.interval is None


@pytest.mark.parametrize("seconds", [[], [[]], [[], []]])
def test_no_calls_give_no_figure(seconds: list[list[float]]) -> None:
    assert figures.timing(race(seconds=seconds)) is None
    assert figures.ratio(race(seconds=seconds), race()) is None
    assert figures.ecdf(figures.calls(race(seconds=seconds))) == []


def test_empty_rounds_are_left_out_of_both_sides() -> None:
    own = race(seconds=[[0.1], [], [0.1], [0.2]], items=10)
    original = race(seconds=[[0.4], [0.1], [], [0.4]], items=10)
    found = figures.ratio(own, original)
    assert found is not None
    assert found.value == pytest.approx(3.0)  # rounds 0 and 3: 4 and 2
    assert figures.timing(own).num_rounds == 3  # type: ignore[union-attr]


def test_ratios_are_formed_round_by_round() -> None:
    """A machine that is ten times slower in one round slows both, and no ratio."""
    own = race(seconds=[[0.1], [1.0], [0.1]], items=1)
    original = race(seconds=[[0.2], [2.0], [0.2]], items=1)
    found = figures.ratio(own, original)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.interval == figures.Interval(pytest.approx(2.0), pytest.approx(2.0))
    assert found.noise == pytest.approx(0.0)


def test_ratios_count_items() -> None:
    found = figures.ratio(race(seconds=[[1.0]], items=10), race(seconds=[[1.0]], items=5))
    assert found is not None
    assert found.value == pytest.approx(2.0)


def test_intervals_are_the_same_each_time() -> None:
    values = [1.0, 1.1, 0.9, 1.3, 1.05]
    assert figures.estimate(values) == figures.estimate(values)


def test_change_between_runs_that_have_nothing_in_common() -> None:
    found = figures.change([100, 102, 98, 101], [50, 51, 49])
    assert found.value == pytest.approx(50 / 100.5)
    assert found.interval is not None
    assert 49 / 102 <= found.interval.low < found.value < found.interval.high <= 51 / 98
    assert figures.change([100], [50, 51]).interval is None


def test_share_of_a_product_and_of_a_rate() -> None:
    own = race(seconds=[[1.0]], items=10, operations_per_item=5e9)
    product = race(seconds=[[1.0]], items=1e11, unit="operations", role="ceiling")
    assert figures.share_of_ceiling(own, product) == pytest.approx(0.5)
    assert figures.share_of_ceiling(race(seconds=[[1.0]], items=10), product) is None
    assert figures.share_of_ceiling(own, race(seconds=[[1.0]], items=40)) == pytest.approx(0.25)
    assert figures.share_of_ceiling(own, race(seconds=[])) is None


def test_ecdf_ends_at_the_slowest_call() -> None:
    seconds = np.random.default_rng(0).exponential(size=1_000)
    found = figures.ecdf(seconds)
    assert len(found) <= 120
    assert found[-1] == (seconds.max(), 1.0)
    for second, share in found:
        assert (seconds <= second).mean() == pytest.approx(share)


# ------------------------------------------------------------------------------------------------------------------
# Races


def test_the_fastest_original_is_what_ratios_are_to(tmp_path: Path) -> None:
    slow = race(contender="keras_predict", title="Keras", role="original", seconds=[[0.4]])
    fast = race(contender="tensorflow", title="TensorFlow", role="original", seconds=[[0.2]])
    (found,) = races(file_of(tmp_path / "a.jsonl", race(seconds=[[0.1]]), slow, fast))
    assert found.original is not None
    assert found.original.record["title"] == "TensorFlow"
    ratios = {each.record["contender"]: each.ratio and each.ratio.value for each in found.entries}
    assert ratios == {"tensorflow": None, "keras_predict": pytest.approx(0.5), "ort_cpu": pytest.approx(2.0)}


def test_of_an_originals_variants_the_better_one_stays(tmp_path: Path) -> None:
    one = race(contender="tensorflow", title="TensorFlow", role="original", seconds=[[0.4]])
    two = race(contender="tensorflow", title="TensorFlow", role="original", seconds=[[0.2]], mark="2 inter-op")
    (whole,) = races(file_of(tmp_path / "a.jsonl", race(), one, two))
    found = with_best_originals(whole)
    assert len(whole.entries) == 3
    assert [each.label for each in found.entries if each.record["role"] == "original"] == ["TensorFlow fp32"]
    assert found.original in found.entries
    assert found.original.rate == pytest.approx(160)  # type: ignore[union-attr]


def test_each_precision_is_held_against_the_product_of_its_own_numbers(tmp_path: Path) -> None:
    ceilings = [
        race(contender=f"product_{precision}", title=f"product {precision}", role="ceiling", unit="operations",
             precision=precision, items=items, seconds=[[1.0]])
        for precision, items in (("fp32", 1e12), ("bf16", 2e12), ("int8", 4e12))
    ]  # fmt: skip
    own = [
        race(precision=precision, operations_per_item=1e9, seconds=[[0.1]]) for precision in ("fp32", "bf16", "int8")
    ]
    (found,) = races(file_of(tmp_path / "a.jsonl", *own, *ceilings))
    shares = {each.record["precision"]: (each.share.of, each.share.value) for each in found.entries if each.share}
    assert shares == {
        "fp32": ("product fp32", pytest.approx(0.32)),
        "bf16": ("product bf16", pytest.approx(0.16)),
        "int8": ("product int8", pytest.approx(0.08)),
    }
    assert len(found.ceilings) == 3


def test_end_to_end_the_lower_ceiling_that_applies_counts(tmp_path: Path) -> None:
    def of(contender: str, rate: float, role: str, backend: str | None, precision: str | None) -> dict:
        return race("end_to_end", contender=contender, title=contender, role=role, backend=backend, precision=precision,
                    items=100, seconds=[[100 / rate]])  # fmt: skip

    records = [
        of("semblance_files", 90, "engine", "cpu", "fp32"),
        of("semblance_files", 180, "engine", "cpu", "int8"),
        of("decode_alone", 200, "ceiling", None, None),
        of("inference_alone", 100, "ceiling", "cpu", "fp32"),
        of("inference_alone", 400, "ceiling", "cpu", "int8"),
    ]
    (found,) = races(file_of(tmp_path / "a.jsonl", *records))
    shares = {each.record["precision"]: (each.share.of, each.share.value) for each in found.entries if each.share}
    assert shares == {
        "fp32": ("inference_alone", pytest.approx(0.9)),
        "int8": ("decode_alone", pytest.approx(0.9)),
    }


def test_wrong_answers_win_nothing(tmp_path: Path) -> None:
    answers = {"measure": "mean cosine", "value": 0.1, "against": "tensorflow", "is_right": False}
    liar = race(contender="liar", title="liar", seconds=[[0.01]], answers=answers)
    (found,) = races(file_of(tmp_path / "a.jsonl", liar, race()))
    assert found.best is not None
    assert found.best.record["contender"] == "ort_cpu"


# ------------------------------------------------------------------------------------------------------------------
# Words


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (words.share, 0.897, ".8970"), (words.share, 1.0, "1.0000"), (words.share, None, words.NONE),
        (words.times, 18.04, "18.0"), (words.times, 2.84, "2.8"), (words.times, 1.404, "1.40"),
        (words.times, 0.9, ".90"),
        (words.times, 123.4, "123"), (words.number, 11_683.0, "11,700"), (words.number, 9.213, "9.21"),
        (words.number, 8.14e11, "814 G"), (words.number, 0, "0"), (words.duration, 0.00012, ".12 ms"),
        (words.duration, 5.21, "5.2 s"), (words.duration, 4.1e-5, "41.0 µs"), (words.duration, 0.0123, "12.3 ms"),
        (words.percent, 0.958, "96 %"), (words.percent, 0.031, "3.1 %"), (words.size, 2**28, "256 MiB"),
        (words.size, 3 * 2**29, "1.5 GiB"), (words.threads, 2, "two threads"), (words.threads, 1, "one thread"),
    ],
)  # fmt: skip
def test_figures_are_written_as_the_readme_has_them(write, value, text) -> None:
    assert write(value) == text


# ------------------------------------------------------------------------------------------------------------------
# The page


class _Reader(HTMLParser):
    """Checks that elements close in order, and keeps what would be fetched, all ids and all text."""

    _VOID = ("meta", "link", "img", "input", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.told = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.scripts += tag == "script"
        self.ids += [found["id"]] if found.get("id") else []
        address = found.get("src") or (found.get("href") if tag != "a" else None)
        self.fetched += [address] if address and not address.startswith("data:") else []
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self._VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.told += data


def read_page(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_needs_nothing_and_escapes_everything(results: Results) -> None:
    text = page(results, has_pictures=False)
    found = read_page(text)
    assert found.fetched == []
    assert found.scripts == 1
    assert not re.search(r"(@import|url\()", text)
    assert NAUGHTY in found.told  # as text, not as an element
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert len(text.encode()) < 3 * 2**20
    for said in ("TensorFlow", "2,000 x 2,000", "SingleStream", "P@10", "no NVIDIA GPU", "5.02 ms", "decode", "66.7"):
        assert said in found.told


def test_a_file_with_nothing_but_its_run_gives_a_page_that_says_so(tmp_path: Path) -> None:
    found = read_page(page(file_of(tmp_path / "a.jsonl"), has_pictures=False))
    assert "This file has no races of the suite throughput." in found.told
    assert "This file has no retrieval figures." in found.told
    assert "No contender is absent from the races that this file has." in found.told


def test_contenders_without_calls_and_races_of_one_round_are_shown(tmp_path: Path) -> None:
    suites = ("throughput", "latency", "end_to_end", "start_up", "index", "matching", "known")
    records = [race(suite, contender=name, title=name, role="known" if suite == "known" else "peer", seconds=seconds)
               for suite in suites for name, seconds in (("stands", []), ("runs", [[0.1]]))]  # fmt: skip
    told = read_page(page(file_of(tmp_path / "a.jsonl", *records), has_pictures=False)).told
    assert "no calls" in told
    assert "one round" in told


def test_pictures_say_why_they_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no ../shared/data beside it
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    monkeypatch.delenv("SEMBLANCE_DATA", raising=False)
    from bench.report import pictures

    def nowhere(*given: object, **options: object) -> None:
        raise InputError("it is nowhere")

    monkeypatch.setattr(pictures, "fashion_mnist", nowhere)
    assert "it is nowhere" in "".join(pictures.pictures_sections(is_wanted=True))
    assert "--no-embeddings" in "".join(pictures.pictures_sections(is_wanted=False))


def test_a_sheet_of_made_up_pictures() -> None:
    from bench.report import pictures
    from semblance import Encoder

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 28, 28), np.uint8), (np.arange(12) % 10).astype(np.uint8)
    drawn = pictures.sheet(Encoder.load("siamese", backend="cpu"), images, labels, [3, 5], k=4)
    assert drawn.ndim == 3
    assert pictures.data_uri(drawn).startswith("data:image/webp;base64,")


# ------------------------------------------------------------------------------------------------------------------
# Drawings


def test_drawings_are_xml_without_variables_where_they_stand_alone(results: Results) -> None:
    drawn = picture(results)
    ElementTree.fromstring(drawn)
    assert "var(" not in drawn
    assert "data:" not in drawn
    assert "TensorFlow" in drawn


def test_no_picture_without_an_original(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        picture(file_of(tmp_path / "a.jsonl", race()))


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("values", [[], [5.0], [1.0, 1.0], [0.001, 3e6], [7.0, 8.0]])
def test_axes_hold_their_values_and_write_some_numbers(values: list[float], is_log: bool) -> None:
    axis = Axis.over("x", values, is_log=is_log)
    assert axis.low < axis.high
    assert all(-1e-9 <= axis.place(each) <= 1 + 1e-9 for each in values)
    assert 1 <= len(axis.marks(5)) <= 7
    assert all(axis.low <= each <= axis.high * (1 + 1e-9) for each in axis.marks(5))


def test_runtimes_have_colours_and_precisions_marks() -> None:
    assert palette.look("ort_cpu", "fp32").color == palette.look("ort_cpu", "int8").color
    assert palette.look("ort_cpu", "fp32").mark != palette.look("ort_cpu", "int8").mark
    assert palette.look("openvino_cpu", "fp32").color != palette.look("ort_cpu", "fp32").color
    met = ("semblance_i8", "semblance_exact", "hnswlib")
    looks = [palette.look(each, None, met) for each in met]
    assert looks[0].color == looks[1].color != looks[2].color
    assert looks[0].mark != looks[1].mark
    assert palette.look("nobody_knows", None, ["nobody_knows"]).color in palette.COLORS


# ------------------------------------------------------------------------------------------------------------------
# README


def test_tables_are_markdown_with_as_many_cells_in_each_line(results: Results) -> None:
    for name in TABLES:
        lines = [line for line in table(name, results).splitlines() if line.startswith("|")]
        assert len(lines) > 2, name
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(counts) == 1, name
        assert re.fullmatch(r"(\|---)+\|", lines[1])
        assert "<script" not in table(name, results)
        assert "commit" in table(name, results).splitlines()[-1]


def test_the_fastest_of_a_row_is_bold(results: Results) -> None:
    first = next(line for line in table("speed", results).splitlines() if line.startswith("| `siamese` | 1 "))
    assert first.count("**") == 2


def test_the_widest_protocol_of_an_original_stands_for_it(results: Results) -> None:
    records = [
        {**each, "protocol": protocol, "num_queries": num}
        for each in results.of("retrieval", original="siamese")[:2]
        for protocol, num in (("three queries", 3), ("leave one out", 10_000), ("a hundred", 100))
    ]
    found = widest(by_setting(records))
    assert [name.split(", ")[-1] for name in found] == ["leave one out"]
    assert [len(each) for each in found.values()] == [2]


def test_a_table_of_what_was_not_measured_says_so(tmp_path: Path) -> None:
    empty = file_of(tmp_path / "a.jsonl")
    assert {table(name, empty) for name in TABLES} == {"The result file has nothing of this."}


def test_only_what_lies_between_markers_is_written(results: Results) -> None:
    text = "# A\n\n<!-- bench:speed -->\nold\n<!-- /bench:speed -->\nB <!-- bench:index --><!-- /bench:index --> C\n"
    new, changed = rewritten(text, results)
    assert changed == ["speed", "index"]
    assert new.startswith("# A\n\n<!-- bench:speed -->\n| model |")
    assert "\nold\n" not in new
    assert new.endswith("<!-- /bench:index --> C\n")
    assert rewritten(new, results) == (new, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing here", "no marker"),
        ("<!-- bench:speed -->\n", "not closed"),
        ("<!-- /bench:speed -->\n", "has not begun"),
        ("<!-- bench:speed -->\n<!-- bench:index -->\n<!-- /bench:index -->", "not closed before"),
        ("<!-- bench:speed -->\n<!-- /bench:index -->", "not closed before"),
        ("<!-- bench:sped --><!-- /bench:sped -->", "no table 'sped'"),
    ],
)
def test_markers_that_are_not_in_order_are_errors(text: str, said: str, results: Results) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        rewritten(text, results)


# ------------------------------------------------------------------------------------------------------------------
# The command


def given(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(each) for each in arguments])


def test_page_readme_and_picture_by_command(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, drawn = tmp_path / "README.md", tmp_path / "docs" / "benchmark.svg"
    readme.write_text("<!-- bench:speed -->\n<!-- /bench:speed -->\n")
    check = given(results.path, "--readme", readme, "--check")
    before = readme.read_text()
    assert command.main(check) == 1
    assert readme.read_text() == before
    assert command.main(given(results.path, "--readme", readme, "--picture", drawn)) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["changed"] == ["speed"]
    assert command.main(check) == 0
    assert drawn.is_file()
    assert command.main(given(results.path, "--out", tmp_path / "out", "--no-embeddings")) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["page"] == str(tmp_path / "out" / "report.html")
    assert read_page((tmp_path / "out" / "report.html").read_text()).scripts == 1


def test_a_check_without_a_readme_is_a_wrong_command_line(results: Results) -> None:
    assert command.main(given(results.path, "--check")) == 2


def test_no_file_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(given(tmp_path / "none.jsonl"))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_what_a_check_found_is_told_with_the_mean_of_each_classifier() -> None:
    probes = [{"classifier": "linear SVM", "accuracies": [0.9, 0.92]}, {"classifier": "none", "accuracies": []}]
    assert words.found({"splits": 2, "probes": probes}) == "splits 2, linear SVM .910"
    assert words.found("as it is") == "as it is"
    assert words.found({"rows": [1, 2]}) == "a table"
