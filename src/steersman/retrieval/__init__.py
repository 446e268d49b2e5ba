"""Searching documents: passages of them, ranked by BM25, by a model's vectors, or by both.

`index.build` makes a folder, `index.Index` opens it (memory-mapped) and searches; neither loads torch: vectors come
from a function that is handed in.
"""
