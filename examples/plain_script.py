"""A folder of pictures embedded, and searched with one picture, by the engine as a library.

python examples/plain_script.py photos/ query.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from semblance import Encoder, Gallery


def main(folder: str, query: str) -> None:
    encoder = Encoder.load("siamese")
    # begun before? then it carries on, and a finished one is only opened
    gallery = Gallery.build(folder, encoder, Path(folder).with_suffix(".gallery"))
    for hit in gallery.hits([query], k=5)[0]:
        print(f"{hit.distance:.4f}  {hit.uri}")


if __name__ == "__main__":
    main(*sys.argv[1:])
