"""Samples of an archive: what belongs together, whatever order and oddity it comes in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.errors import SourceError
from semblance.inputs import samples
from semblance.inputs.items import Item
from semblance.inputs.samples import items_of


def sample(key: str, **facts: object) -> list[tuple[str, bytes]]:
    members = [(f"{key}.jpg", key.encode())]
    for suffix, value in facts.items():
        members.append((f"{key}.{suffix}", value if isinstance(value, bytes) else str(value).encode()))
    return members


def test_pictures_get_the_class_the_facts_and_the_caption_of_their_sample() -> None:
    members = [
        *sample(
            "0001", cls="7\n", txt="\ufeffA cat. ", json=json.dumps({"width": 9, "nsfw": 0.5, "tags": [], "ok": True})
        ),
        *sample("0002", json='{"label": 3, "caption": "from json", "none": null}'),
        *sample("0003", json='{"caption": "from json"}', txt="from txt"),
        *sample("dogs/0004"),
        *sample("dogs/0005", cls=""),
    ]
    expected = [
        Item("0001.jpg", b"0001", "7", {"source_width": 9, "nsfw": 0.5, "ok": True, "caption": "A cat."}),
        Item("0002.jpg", b"0002", "3", {"caption": "from json", "none": None}),
        Item("0003.jpg", b"0003", None, {"caption": "from txt"}),
        Item("dogs/0004.jpg", b"dogs/0004", "dogs"),
        Item("dogs/0005.jpg", b"dogs/0005", "dogs"),
    ]
    assert list(items_of(members)) == expected
    by_name = sorted(members)  # facts before and after the picture
    assert list(items_of(by_name)) == expected


def test_each_picture_of_a_sample_is_an_item() -> None:
    members = [("a/1.cls", b"x"), ("a/1.left.png", b"l"), ("a/1.right.PNG", b"r"), ("a/1.txt", b"both")]
    assert list(items_of(members)) == [
        Item("a/1.left.png", b"l", "x", {"caption": "both"}),
        Item("a/1.right.PNG", b"r", "x", {"caption": "both"}),
    ]


def test_samples_end_where_the_folder_or_the_name_is_another() -> None:
    members = [("a/1.png", b""), ("b/1.cls", b"x"), ("b/1.png", b""), ("b/2.png", b""), ("a/1.cls", b"late")]
    assert [(item.uri, item.label) for item in items_of(members)] == [
        ("a/1.png", "a"),
        ("b/1.png", "x"),
        ("b/2.png", "b"),
    ]


def test_labels_are_taken_from_the_field_that_is_asked_for() -> None:
    members = [*sample("d/1", cls="no", json='{"class": 5, "label": "x"}'), *sample("d/2", cls="no", json="{}")]
    assert list(items_of(members, label_column="class")) == [
        Item("d/1.jpg", b"d/1", "5", {"source_label": "x"}),
        Item("d/2.jpg", b"d/2", None),
    ]
    assert [item.label for item in items_of(sample("1", txt="A cat"), label_column="caption")] == ["A cat"]


@pytest.mark.parametrize("facts", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'"text"', b" " * (1 << 20 | 1)])
def test_facts_that_cannot_be_read_cost_no_picture(facts: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(items_of([("1.jpg", b"x"), ("1.json", facts)])) == [Item("1.jpg", b"x")]
    assert "1.j" in caplog.text


def test_facts_are_valid_unicode() -> None:
    (item,) = items_of([("1.jpg", b"x"), ("1.json", rb'{"a\ud800": "b\udc00"}'), ("1.txt", b"caf\xe9")])
    assert item.columns == {r"a\ud800": r"b\udc00", "caption": r"caf\xe9"}


def test_names_that_only_look_like_one_sample_do_not_wait_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def frames() -> Iterator[tuple[str, bytes]]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield f"frame.{number}.png", b"x" * 100

    for limit, value in (("_MAX_PICTURES", 32), ("_MAX_BYTES", 2000)):
        monkeypatch.setattr(samples, limit, value)
        taken = 0
        items = items_of(frames())
        assert next(items).uri == "frame.0.png"
        assert taken <= 33
        assert [item.uri for item in items] == [f"frame.{number}.png" for number in range(1, 1000)]


def test_what_came_whole_before_damage_is_given_out() -> None:
    def damaged() -> Iterator[tuple[str, bytes]]:
        yield from sample("1", cls="x")
        yield from sample("2")
        raise SourceError("damaged")

    items = items_of(damaged())
    assert [next(items).uri, next(items).uri] == ["1.jpg", "2.jpg"]
    with pytest.raises(SourceError, match="damaged"):
        next(items)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["jpg", "x.png", "cls", "json", "txt"]), st.binary())))
def test_no_picture_is_lost_or_made_up(members: list[tuple[str, str, bytes]]) -> None:
    named = [(f"{key}.{suffix}", content) for key, suffix, content in members]
    pictures = [(name, content) for name, content in named if name.endswith(("jpg", "png"))]
    assert [(item.uri, item.content) for item in items_of(named)] == pictures
