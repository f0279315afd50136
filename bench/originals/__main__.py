"""`python -m bench.originals`: measure, print, and end with status 1 where an answer is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import machine, mistakes_in_one_line
from bench import originals as package
from bench.originals.contenders import PRECISIONS
from bench.originals.measuring import MEASURES, PACKAGES, is_wrong, measure
from bench.originals.tables import show
from bench.records import Record, Writer, read


def main() -> None:
    """Parse, measure, print, append."""
    options = _parser().parse_args()
    records: list[Record] = []
    with mistakes_in_one_line():
        writer = None if options.append is None else _writer(options.append, options.quick, options.threads)

        def emit(record: Record) -> None:
            records.append(record)
            if writer is not None:
                writer.append(record)

        measure(
            options.rows,
            quick=options.quick,
            emit=emit,
            train=options.train,
            weights_resnet101=options.weights_resnet101,
            num_images=options.images,
            precisions=tuple(options.precisions),
            threads=options.threads,
        )
    show(records)
    print(json.dumps({"machine": machine(*PACKAGES), "records": records}, allow_nan=False))
    if any(is_wrong(record) for record in records):
        print("error: an answer is not what it has to be; see WRONG above", file=sys.stderr)
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.originals", description=(package.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rows", nargs="+", type=int, choices=sorted(MEASURES), default=sorted(MEASURES))
    parser.add_argument("--quick", action="store_true", help="exact search and each original's own metric alone")
    parser.add_argument("--train", action="store_true", help="row 2: train the seeds that are missing, minutes each")
    parser.add_argument("--weights-resnet101", metavar="W", help="row 3: imagenet, random or a file; without: left out")
    parser.add_argument("--images", type=int, metavar="N", help="row 3: only the first N train images")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--append", type=Path, metavar="FILE.jsonl", help="a result file, begun where it is not there")
    return parser


def _writer(path: Path, quick: bool, threads: int) -> Writer:
    """Of a result file that goes on, or a new one. Raises InputError where the file is none."""
    if path.exists():
        read(path)
        return Writer(path)
    return Writer.begin(path, profile="quick" if quick else "full", threads=threads, packages=PACKAGES)


if __name__ == "__main__":
    main()
