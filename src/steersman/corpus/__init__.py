"""From raw text to what pretraining reads: documents, a tokenizer of them, shards of tokens, rows of a mixture.

Why so: decision 76 in docs/LOG.md.
"""
