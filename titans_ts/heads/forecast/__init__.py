"""The forecast head: patches of a series in, one direct multi-step forecast out."""
