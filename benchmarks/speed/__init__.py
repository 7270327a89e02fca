"""How fast titans-ts is, beside its peers, in one run; see benchmarks/README.md."""
