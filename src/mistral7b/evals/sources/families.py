"""All families of tasks, by the name of their data folder."""

from __future__ import annotations

from mistral7b.evals.sources import (
    agieval,
    arc,
    bbh,
    boolq,
    commonsense_qa,
    gsm8k,
    hellaswag,
    humaneval,
    math,
    mbpp,
    mmlu,
    nq_open,
    openbookqa,
    piqa,
    quac,
    siqa,
    triviaqa,
    winogrande,
)
from mistral7b.evals.sources.family import Family

FAMILIES = {
    "agieval": Family("agieval/{file}.yaml", agieval.read, agieval.changes, fewer=True),
    "arc": Family("arc/{name}.yaml", arc.read),
    "bbh": Family("bbh/cot_fewshot/{member}.yaml", bbh.read),
    "boolq": Family("super_glue/boolq/default.yaml", boolq.read, boolq.changes),
    "commonsense_qa": Family("commonsense_qa/default.yaml", commonsense_qa.read),
    "gsm8k": Family("gsm8k/gsm8k-cot.yaml", gsm8k.read, gsm8k.changes),
    "hellaswag": Family("hellaswag/hellaswag.yaml", hellaswag.read),
    "humaneval": Family("humaneval/humaneval.yaml", humaneval.read, humaneval.changes, plain=True),
    "math": Family("minerva_math/minerva_math_algebra.yaml", math.read, math.changes, plain=True, hub=math.HUB),
    "mbpp": Family("mbpp/mbpp_plus.yaml", mbpp.read, mbpp.changes, plain=True),
    "mmlu": Family("mmlu/default/mmlu_{member}.yaml", mmlu.read),
    "nq_open": Family("nq_open/nq_open.yaml", nq_open.read),
    "openbookqa": Family("openbookqa/openbookqa.yaml", openbookqa.read),
    "piqa": Family("piqa/piqa.yaml", piqa.read),
    "quac": Family("", quac.read, quac.changes),
    "siqa": Family("siqa/siqa.yaml", siqa.read),
    "triviaqa": Family("triviaqa/default.yaml", triviaqa.read, triviaqa.changes),
    "winogrande": Family("winogrande/default.yaml", winogrande.read),
}
