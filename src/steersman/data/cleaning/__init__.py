"""Cleaning a data set in named steps, each of which says what it dropped, changed and flagged, and why.

    NAME.jsonl  ->  INTO.jsonl            the records that are left
                    INTO.manifest.json    counts of every step; they add up
                    INTO.cleaning.json    the same with examples
                    INTO.cleaning.jsonl   a line for each record that was dropped, changed or flagged
                    INTO.vault            what masks hide, under a key (only with one)

The original stays. Steps are pure and read records one at a time; those that must see all (repeats, contamination)
read them once before, with signatures on disk: memory does not grow with the size of texts.
"""
