"""`reproduce report`: the ten trainings of the report this project starts from, and what is wrong with each."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from reelstore.doctor.findings import Check
from reelstore.errors import (
    DamagedFileError,
    ParamsError,
    PresetError,
    ReelstoreError,
    StoreNotFoundError,
    UnknownNameError,
)
from reelstore.evaluation.files import write_json
from reelstore.io import replace_together
from reelstore.plain import read_typed, typed
from reelstore.project.align.findings import read_epochs
from reelstore.project.align.stage import run_align
from reelstore.project.dataset import build_dataset
from reelstore.project.doctor import run_doctor, run_doctor_of_aligner
from reelstore.project.embed.stage import run_embed
from reelstore.project.evaluate.stage import run_evaluate
from reelstore.project.pairs import run_pairs
from reelstore.project.pool import run_pool
from reelstore.project.presets.catalogue import load_preset
from reelstore.project.presets.splice import with_value
from reelstore.project.reproduce.experiments import Experiment, Scale, experiments
from reelstore.project.reproduce.page import Outcome, markdown, report_page
from reelstore.project.settings import Params, parse_params
from reelstore.records import model_name
from reelstore.store.groups import variant_folders
from reelstore.store.open import open_store
from reelstore.store.read import Rows

Say = Callable[[str], None]
TOKENS = "tokens"
MAX_VIDEOS = 10**6
"""Of a validation split."""


@dataclass(frozen=True)
class Kept:
    """What one experiment came to, as a file keeps it."""

    key: str
    t2v: Mapping[str, float]
    v2t: Mapping[str, float]
    chance: Mapping[str, float]
    n_videos: int
    n_captions: int
    seconds: float
    checks: list[Check]
    looks: list[dict[str, float]]

    def __post_init__(self) -> None:
        """Raises DamagedFileError where a number is missing that the page shows."""
        for direction, metrics in (("t2v", self.t2v), ("v2t", self.v2t)):
            if "MRR" not in metrics or not self.chance.get(direction, 0) > 0:
                raise DamagedFileError(f"{direction} has no MRR, or none at chance.")
        for epoch in self.looks:
            if "epoch" not in epoch or not 1 <= epoch.get("n_videos", 0) <= MAX_VIDEOS:
                raise DamagedFileError(f"looks: one lacks its epoch, or n_videos from 1 to {MAX_VIDEOS}.")
            if "train_loss" in epoch and "constant_loss" not in epoch:
                raise DamagedFileError("looks: one has a train_loss and no constant_loss.")


@dataclass(frozen=True)
class ReproduceReport:
    """Where the page is, and its table."""

    page: Path
    table: str

    def summary(self) -> str:
        """For people."""
        return f"{self.table}\n{self.page}"


def params_on(raw: Mapping[str, Any], dataset: str | None) -> Params:
    """params.yaml as it is, or with the preset of another dataset.

    Raises:
        ParamsError: it isn't the dataset of params.yaml, and no preset has its name.
    """
    params = parse_params(raw, source="params.yaml")
    if dataset is None or params.dataset.name == dataset:
        return params
    try:
        preset = load_preset(dataset)
    except UnknownNameError:
        raise ParamsError(
            f"params.yaml is about {params.dataset.name}, and no preset is named {dataset}. Set dataset.name and its "
            "encoders in params.yaml first."
        ) from None
    values: Mapping[str, Any] = raw
    for key, snippet in preset.values.items():
        values = with_value(values, key, snippet.value)
    return parse_params(values, source=f"the preset {dataset}")


def reproduce_report(
    params: Params, *, scale: Scale | None, n_seeds: int, only: tuple[str, ...], say: Say
) -> ReproduceReport:
    """Run what isn't done yet of all experiments and recipes on the first model of params, and write the page.

    What one experiment found is kept in runs/reproduce/<dataset>, by what determined it: a second run does what is
    missing, and a killed training goes on from its checkpoint.
    """
    if not params.model.video or not params.model.text:
        raise ParamsError("model names no encoders; the experiments need one of each side.")
    video, text = params.model.video[0], params.model.text[0]
    model = model_name(video, text)
    _make_store(params, (f"video/{video}", f"text/{text}"), say)
    _make_pairs(params, "captions", say)
    doctor = run_doctor(params, model)
    outcomes: list[Outcome] = []
    chosen = [one for one in experiments(scale) if not only or one.name in only]
    if not chosen:
        raise PresetError(f"No experiment is named {', '.join(only)}. There are: {names()}.")
    for number, experiment in enumerate(chosen, 1):
        for seed in range(n_seeds if experiment.trained else 1):
            seeded = experiment.seeded(seed)
            say(f"{number}/{len(chosen)} {seeded.name}: {seeded.title}")
            outcomes.append(_outcome(params, video, text, seeded, experiment.name, say))
    folder = params.layout.reproduction("reproduce")
    html = report_page(outcomes, dataset=params.dataset.name, model=model, scale=scale, doctor=doctor.diagnosis)
    path, table = folder / "index.html", markdown(outcomes)
    replace_together({path: html.encode(), folder / "table.md": (table + "\n").encode()})
    return ReproduceReport(path, table)


def names() -> str:
    """Names of all experiments."""
    return ", ".join(one.name for one in experiments(None))


def _outcome(params: Params, video: str, text: str, experiment: Experiment, of: str, say: Say) -> Outcome:
    model = model_name(video, text)
    store = open_store(params.layout.store)
    settings, substituted = _with_variants(experiment.settings, {"video": video, "text": text}, store)
    pairs = {**params.pairs, **experiment.pairs}
    own = params.model_copy(update={"aligners": {experiment.name: settings}, "pairs": pairs, "apply": {}})
    kept = params.layout.run("reproduce", f"{experiment.name}.json")
    try:
        rows = [
            store[f"{side}/{encoder}/{settings.get(side, 'mean')}"]
            for side, encoder in (("video", video), ("text", text))
        ]
        key = _key(settings, pairs[settings.get("pairs", "captions")], rows)
        found, same = _done(kept, key)
        if found:
            typed(found, Kept, f"what was kept of {experiment.name} in {kept.parent}")
        substituted = f"{substituted} {same}".strip()
        if not found:
            for name in experiment.pairs:
                _make_pairs(own, name, say, again=True)
            fitted = run_align(own, video=video, text=text, aligner=experiment.name, progress=say)
            evaluated = run_evaluate(own, video=video, text=text, aligner=experiment.name)
            checks = run_doctor_of_aligner(own, model, experiment.name).diagnosis
            metrics, chance = evaluated.evaluation.metrics, evaluated.evaluation.chance
            found = {
                "key": key,
                "t2v": {name: metrics["t2v"][name] for name in ("MRR", *_first(metrics["t2v"]))},
                "v2t": {name: metrics["v2t"][name] for name in ("MRR", *_first(metrics["v2t"]))},
                "chance": {direction: chance[direction]["MRR"] for direction in ("t2v", "v2t")},
                "n_videos": len(evaluated.matched.videos),
                "n_captions": len(evaluated.matched.captions),
                "seconds": 0.0 if fitted is None else fitted.seconds,
                "checks": checks.as_json(),
                "looks": read_epochs(params.layout.aligner(model, experiment.name)),
            }
            write_json(kept, found)
    except (StoreNotFoundError, ParamsError) as error:
        say(f"  not run: {error}")
        return Outcome(of, experiment.title, settings, {}, substituted, str(error))
    outcome = Outcome(of, experiment.title, settings, found, substituted, "")
    say(f"  t2v MRR {outcome.mrr('t2v'):.4f} (chance {outcome.chance('t2v'):.4f}): {outcome.verdict}")
    return outcome


def _done(kept: Path, key: str) -> tuple[dict[str, Any], str]:
    """What was found of this very experiment, under any name; at a smaller size some are one."""
    others = sorted(kept.parent.glob("*.json")) if kept.parent.is_dir() else []
    for path in [kept, *others]:
        found = read_typed(path, dict[str, Any]) if path.is_file() else {}
        if found.get("key") == key:
            return found, "" if path == kept else f"At this size and on this store it is {path.stem} again."
    return {}, ""


def _with_variants(settings: Mapping[str, Any], encoders: Mapping[str, str], store: Any) -> tuple[dict[str, Any], str]:
    """Settings with `tokens` in place of token variants that this store doesn't have, and a word on it."""
    chosen, missing, there = dict(settings), [], set(store)
    for side, encoder in encoders.items():
        wanted, of = str(settings.get(side, "mean")), f"{side}/{encoder}"
        if wanted.startswith("layer-") and f"{of}/{wanted}" not in there and f"{of}/{TOKENS}" in there:
            missing.append(f"{side} {wanted}")
            chosen[side] = TOKENS
    note = f"The store has no {' and no '.join(missing)}; on its tokens instead." if missing else ""
    return chosen, note


def _key(settings: Mapping[str, Any], pairs: Any, rows: list[Rows]) -> str:
    determined = [settings, pairs.model_dump(), [of.digest for of in rows]]
    return sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()


def _first(metrics: Mapping[str, Any]) -> list[str]:
    return [name for name in ("R@01", "R@10", "hit@01", "hit@10") if name in metrics]


def _make_store(params: Params, keys: tuple[str, ...], say: Say) -> None:
    """Dataset and embeddings, where they aren't there."""
    if not (params.layout.data / "dataset.json").is_file():
        say(build_dataset(params.dataset, folder=params.layout.data, progress=say).summary())
    for key in keys:
        if not variant_folders(params.layout.store / key):
            say(f"embedding {key}")
            run_embed(params, key, retry_failed=False, workers=params.embed.workers, progress=lambda done, total: None)
        if params.keep(key) is None and not (params.layout.store / key / "mean" / "zarr.json").is_file():
            run_pool(params.layout.store, key, progress=lambda done, total: None)


def _make_pairs(params: Params, name: str, say: Say, *, again: bool = False) -> None:
    if again or not (params.layout.pairs(name) / "train.parquet").is_file():
        try:
            run_pairs(params, name)
        except ReelstoreError as error:
            error.add_note("reproduce report makes the pairs of its experiments itself")
            raise
