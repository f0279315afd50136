"""Whether a gallery survives: its writer killed at any moment, and any bit of its files turned over.

    python -m bench.survival kill --runs 30
    python -m bench.survival kill --command all
    python -m bench.survival damage --flips 300
    python -m bench.survival damage --sift

`kill` runs the real command line as a process of its own and ends it with SIGKILL, then gives the same command again,
which may be killed as well, and compares the folder with that of a command that nobody disturbed: the same files with
the same bytes, and nothing left over. `damage` turns over one bit or byte of a finished gallery, or cuts, empties,
lengthens or removes one file, and asks it everything: `verify` must name the file, and each answer must be a
GalleryError or the undamaged gallery's own. With `--sift` the gallery has keypoints too. POSIX only. The last line on
stdout is one JSON document.

    pictures.py    photographs or drawings, some of them broken, as sources
    gallery.py     a gallery that has everything, and all that can be asked of one
    watch.py       in the process to be killed: its steps are counted, and it ends at one of them
    moments.py     when to kill, and what a process was at
    killing.py     kill, give the command again, compare
    damaging.py    damage, ask, compare
"""
