"""The command that matches two pictures by their SIFT keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from semblance.cli.console import OUT, Json, facts_table, print_json, show

if TYPE_CHECKING:
    from semblance.local.geometry import Model
    from semblance.local.pair import PicturePair


def match(
    a: Annotated[Path, typer.Argument(metavar="A", help="A picture.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.png", help="Draw both pictures and the matches here.")
    ] = None,
    ratio: Annotated[
        float, typer.Option(help="Lowe's test: the nearest must be nearer than this times the second-nearest.")
    ] = 0.7,
    mutual: Annotated[
        bool,
        typer.Option("--mutual", help="Only matches that are each other's nearest; the score is then at most 100."),
    ] = False,
    model: Annotated[
        str, typer.Option(help="What the matches are to agree on: homography, fundamental or similarity.")
    ] = "homography",
    threshold: Annotated[float, typer.Option(help="Largest error of an inlier, in pixels of B as shrunk.")] = 1.5,
    max_keypoints: Annotated[int, typer.Option(min=0, help="The strongest of each picture; 0: all.")] = 512,
    longest_side: Annotated[int, typer.Option(min=0, help="Larger pictures are shrunk to it first; 0: none.")] = 1024,
    contrast: Annotated[float, typer.Option(help="Weaker keypoints are dropped.")] = 0.04,
    root: Annotated[bool, typer.Option("--root", help="Descriptors as RootSIFT, rounded to bytes.")] = False,
    backend: Annotated[
        str, typer.Option(help="Compares descriptors: auto, cpu or cuda. What is asked for is used, or it is an error.")
    ] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="That compare descriptors. Default: all this process may use.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Match pictures A and B by their SIFT keypoints and Lowe's ratio test.

    The score is 100 x matches / the fewer keypoints. Inliers are the matches that one geometry explains; a handful of
    them may be chance.
    """
    from semblance.local.pair import match_pictures
    from semblance.local.sift import SiftOptions

    options = SiftOptions(max_keypoints or None, longest_side or None, contrast, root)
    found = match_pictures(
        a, b, options, ratio=ratio, mutual=mutual, model=cast("Model", model), threshold=threshold, backend=backend,
        threads=threads,
    )  # fmt: skip
    if out is not None:
        _draw(out, a, b, found)
    if as_json:
        print_json(_document(a, b, found))
        return
    num, geometry = len(found.matches), found.geometry
    kind = "fundamental matrix" if model == "fundamental" else model
    inliers = f"{geometry.num_inliers:,} of a {kind}, {geometry.inlier_ratio:.3f} of the matches"
    facts = [
        ("keypoints", f"{len(found.a):,} and {len(found.b):,}"),
        ("matches", f"{num:,}"),
        ("score", f"{found.score:.2f}"),
        ("inliers", inliers if geometry.matrix is not None else f"0: the matches agree on no {kind}"),
    ]
    OUT.print(facts_table(f"{a} and {b}", facts))
    if out is not None:
        show(f"Picture of the matches: {out}")


def _document(a: Path, b: Path, found: PicturePair) -> dict[str, Any]:
    geometry = found.geometry
    return {
        "a": a,
        "b": b,
        "num_keypoints_a": len(found.a),
        "num_keypoints_b": len(found.b),
        "num_matches": len(found.matches),
        "score": found.score,
        "model": found.model,
        "num_inliers": geometry.num_inliers,
        "inlier_ratio": geometry.inlier_ratio,
        "matrix": None if geometry.matrix is None else geometry.matrix.tolist(),
    }


def _draw(out: Path, a: Path, b: Path, found: PicturePair) -> None:
    from semblance.draw import save_png
    from semblance.draw_matches import Marked, matches_picture
    from semblance.inputs.decode import decode

    marked_a, marked_b = (
        Marked(decode(path, channels=3), features.points, f"{path.name}, {len(features):,} keypoints")
        for path, features in ((a, found.a), (b, found.b))
    )
    picture = matches_picture(marked_a, marked_b, found.pairs, found.geometry.is_inlier, outline=found.outline)
    save_png(out, picture)
