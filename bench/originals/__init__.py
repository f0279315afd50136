"""Retrieval accuracy of the originals: what they published, beside what TensorFlow and the engine find here.

    python -m bench.originals
    python -m bench.originals --rows 1 2 4 --quick
    python -m bench.originals --rows 2 --train
    python -m bench.originals --rows 3 --weights-resnet101 imagenet --append bench/results/FILE.jsonl

The way of a figure: contenders.py (who embeds) -> comparing.py (in which protocol, and whether it is right) ->
ranking.py and full_ranking.py (neighbours, figures) -> reproduced.py (beside published.py). One file `row_*.py` for
each original says what it is compared on; measuring.py runs those that are asked for.
"""
