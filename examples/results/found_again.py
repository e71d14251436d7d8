"""How often a few images find a concept again: the table of docs/api/baselines.md.

    python examples/results/found_again.py "golden retriever"
    python examples/results/found_again.py "golden retriever" --model local-dir:DIR --data DIR \\
        --taxonomy imagenet-dogs

One row for the single-gradient method with all defaults, and one for each method in `METHODS`.
"""

from __future__ import annotations

import argparse

import slsgu
from slsgu.audit.run import run_audit
from slsgu.baselines.methods import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("concept")
    parser.add_argument("--model", help="an OpenCLIP model; the embedded one by default")
    parser.add_argument("--data", help="a folder per class; the drawings by default")
    parser.add_argument("--taxonomy")
    given = parser.parse_args()
    clip = slsgu.load(given.model)
    where = {"data": given.data, "taxonomy": given.taxonomy}
    task = slsgu.make_task(clip, [given.concept], **where)
    plan = slsgu.make_plan(clip, [given.concept], settings=slsgu.Settings(force=True), **where)
    outcomes = {"single-gradient, all defaults": slsgu.run_plan(plan)}
    for name, method in METHODS.items():
        outcomes[name] = slsgu.run_method(task, method, force=True)
    print("| method | Q-U | found from | before | after |\n|---|---|---|---|---|")
    for name, outcome in outcomes.items():
        assert outcome.patch is not None
        for reading in run_audit(task, outcome.patch, probes=["prototypes"]):
            figures = (outcome.proof.measures.q_u, reading.before, reading.after)
            q_u, before, after = ("-" if x is None else f"{x:.3f}" for x in figures)
            print(f"| {name} | {q_u} | {reading.setting} | {before} | {after} |", flush=True)


if __name__ == "__main__":
    main()
