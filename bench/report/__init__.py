"""What is made of a result file: a page, tables for the README, a picture, and what changed between two files.

Nothing here measures. Figures are formed from raw times in `figures`; everything that is shown comes from there, so
that page, tables and comparison cannot disagree.
"""
