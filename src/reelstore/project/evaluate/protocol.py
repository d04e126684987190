"""The protocol stage: a fitted aligner whose scores are rescored -> files of their own."""

from functools import partial

from reelstore.errors import ParamsError
from reelstore.evaluation.rescoring import QueryBank, evaluate_rescored, make_rescoring
from reelstore.project.evaluate.score import aligned
from reelstore.project.evaluate.stage import EvaluateReport, about, conventions, write_found
from reelstore.project.settings import Params
from reelstore.records import model_name


def run_protocol(params: Params, *, video: str, text: str, aligner: str, protocol: str) -> EvaluateReport:
    """Measure an aligner of the model `video`+`text` under the protocol of this name in params.yaml.

    What is found goes to metrics/<dataset>/<model>/protocols/<aligner>.<protocol>.json and
    plots/<dataset>/<model>/protocols/<aligner>.<protocol>, never among plain results.
    """
    if protocol not in params.protocols:
        raise ParamsError(f"protocols has no {protocol!r}. Known: {', '.join(params.protocols) or 'none'}.")
    settings = params.protocols[protocol]
    applied = make_rescoring(settings.kind, scale=settings.scale or None, k=settings.k)
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
        partial(evaluate_rescored, rescoring=applied, ks=params.evaluate.ks, return_hard_negatives=True),
        bank=settings.bank if needs_bank else "",
    )
    dataset, model, name = params.dataset.name, model_name(video, text), f"{aligner}.{protocol}"
    report = EvaluateReport(
        name=f"{dataset}/{model}/protocols/{name}",
        split=params.evaluate.split,
        matched=measured.matched,
        evaluation=measured.evaluation,
        metrics=params.layout.rescored_metrics(model, aligner, protocol),
        plots=params.layout.rescored(model, aligner, protocol),
    )
    details = {
        **about(params, measured, model=model, name=aligner),
        **conventions(measured.evaluation),
        "rescoring": settings.model_dump(),
        "uses_other_test_queries": not needs_bank,
    }
    write_found(report.plots, report.evaluation, report.matched, metrics=report.metrics, details=details)
    return report
