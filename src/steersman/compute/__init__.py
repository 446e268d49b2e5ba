"""A decoder's arithmetic over packed rows: attention, layers, linear layers, the vocabulary."""
