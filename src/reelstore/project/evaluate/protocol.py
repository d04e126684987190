"""The protocol stage: a fitted aligner whose scores are rescored -> files of their own."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from reelstore.errors import ParamsError
from reelstore.evaluation.protocols import QueryBank, evaluate_transductive, make_protocol
from reelstore.project.evaluate.score import aligned
from reelstore.project.evaluate.stage import EvaluateReport, about, conventions, write_found
from reelstore.project.settings import Params


def run_protocol(params: Params, *, video: str, text: str, aligner: str, protocol: str) -> EvaluateReport:
    """Measure an aligner of the model `video`+`text` under the protocol of this name in params.yaml.

    What is found goes to metrics/<dataset>/<model>/protocols/<aligner>.<protocol>.json and
    plots/<dataset>/<model>/protocols/<aligner>.<protocol>, never among plain results.
    """
    if protocol not in params.protocols:
        raise ParamsError(f"protocols has no {protocol!r}. Known: {', '.join(params.protocols) or 'none'}.")
    settings = params.protocols[protocol]
    applied = make_protocol(settings.kind, scale=settings.scale or None, k=settings.k)
    needs_bank = isinstance(applied, QueryBank)
    if needs_bank and settings.bank == params.evaluate.split:
        raise ParamsError(
            f"protocols.{protocol}.bank is {settings.bank}, which is evaluate.split too: QB-Norm's bank is training "
            "captions. Name a training split, or take kind: inverted_softmax, which uses the test queries.",
            key=f"protocols.{protocol}.bank",
        )
    measured = aligned(
        params,
        video,
        text,
        aligner,
        partial(evaluate_transductive, protocol=applied, ks=params.evaluate.ks, return_hard_negatives=True),
        bank=settings.bank if needs_bank else "",
    )
    dataset, model, name = params.dataset.name, f"{video}+{text}", f"{aligner}.{protocol}"
    report = EvaluateReport(
        name=f"{dataset}/{model}/protocols/{name}",
        split=params.evaluate.split,
        matched=measured.matched,
        evaluation=measured.evaluation,
        metrics=Path("metrics", dataset, model, "protocols", f"{name}.json"),
        plots=Path("plots", dataset, model, "protocols", name),
    )
    details = {
        **about(params, measured, model=model, name=aligner),
        **conventions(measured.evaluation),
        "rescoring": asdict(settings),
        "uses_other_test_queries": not needs_bank,
    }
    write_found(report, details)
    return report
