"""Genomics: classify DNA, learn what follows in it, and judge its variants.

Names are imported on first use, so that listing the heads loads no torch.
"""

from importlib import import_module
from typing import Any

from titans_ts.heads import HeadPlugin

_HERE = "titans_ts.plugins.genomics"

_HOMES = {
    "TitansSequenceClassifier": "classifier",
    "TitansSequenceModel": "sequence_model",
    "Record": "fasta",
    "encode_sequences": "coding",
    "kmer_ids": "coding",
    "read_fasta": "fasta",
    "read_fastq": "fasta",
    "read_sequences": "fasta",
    "reverse_complement": "coding",
    "variant_effects": "variants",
}

__all__ = [
    "Record",
    "TitansSequenceClassifier",
    "TitansSequenceModel",
    "encode_sequences",
    "kmer_ids",
    "plugin",
    "read_fasta",
    "read_fastq",
    "read_sequences",
    "reverse_complement",
    "variant_effects",
]

plugin = HeadPlugin(
    name="genomics",
    summary="Classify DNA sequences, embed them, and score variants.",
    estimators={
        "TitansSequenceClassifier": f"{_HERE}.classifier:TitansSequenceClassifier",
        "TitansSequenceModel": f"{_HERE}.sequence_model:TitansSequenceModel",
    },
    command=f"{_HERE}.cli:app",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{_HERE}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
