"""The acceptance kit: numbers published for a model, and whether this program, on these weights, arrives at them.

table (the data format) · check (one result an oracle) · perplexity · share (the JSON a user can pass on) · v01.json (v0.1's).
"""

from __future__ import annotations

from mistral7b.oracles.check import Answering, OracleResult, check_oracles
from mistral7b.oracles.perplexity import Perplexity, perplexity
from mistral7b.oracles.share import oracle_report, write_report
from mistral7b.oracles.table import Oracle, Tolerance, read_oracles

__all__ = [
    "Answering", "Oracle", "OracleResult", "Perplexity", "Tolerance",
    "check_oracles", "oracle_report", "perplexity", "read_oracles", "write_report",
]  # fmt: skip
