"""Numbers, names and words of params.yaml: finite, in range, and named by their key when they aren't."""

import subprocess
import sys
from typing import Any, get_args, get_type_hints

import pytest

from reelstore.align.registry import make_aligner
from reelstore.bounds import ItemBounds
from reelstore.datasets.base import DatasetParams
from reelstore.encoders.registry import load_encoder
from reelstore.errors import ParamsError, UnknownNameError
from reelstore.project.presets.catalogue import load_preset, preset_names
from reelstore.project.settings import EmbedParams, Params, parse_params, sections
from reelstore.settings import Settings

NAN, INF = float("nan"), float("inf")
OFF: list[Any] = [NAN, INF, -INF, -1, -(2**70), 2**64, 10**400, 1e308, True, None, "1", "", [], [1], {}, {"a": 1}]
NUMBERS = {
    "dataset": ["max_captions", "seed"],
    "embed": ["max_failures", "threads", "decode_workers", "workers"],
    "grid": ["n_shuffles", "seed"],
    "leakage": ["near"],
}


@pytest.mark.parametrize(("section", "name"), [(section, name) for section in NUMBERS for name in NUMBERS[section]])
def test_no_number_is_out_of_range(section: str, name: str) -> None:
    for value in OFF:
        with pytest.raises(ParamsError, match=rf"^{section}\.{name} (is|has) ") as caught:
            parse_params({section: {name: value}})
        assert caught.value.key.startswith(f"{section}.{name}") and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        *(({"dataset": {"splits": one}}, "dataset.splits") for one in (
            {}, {"train": 2.0}, {"train": -0.5, "test": 1.5}, {"train": NAN}, {"train": INF}, {"train": True},
            {"": 1.0}, {"a\nb": 1.0}, {"train": "1"}, {f"s{n}": 1 / 300 for n in range(300)}, [1.0], 1,
        )),
        *(({"evaluate": {"ks": ks}}, "evaluate.ks") for ks in (
            [], [0], [-1], [10**9], [10**400], [1.5], [True], ["1"], [1, 1], [None], 5, list(range(1, 2000)), [[1]],
        )),
        *(({"dataset": {"name": name}}, "dataset.name") for name in (
            "", ".", "..", "a/b", "a\nb", " ", "a b", "-a", "_a", "a;b", "a" * 101, "é", 5, True, None, ["a"],
        )),
        *(({"embed": {"device": one}}, "embed.device")
          for one in ("", "gpu", "cuda:x", "meta", "cuda:9999", 0, "cpu\n")),
        *(({"tracking": {"project": one}}, "tracking.project") for one in ("", "a/b", "a\nb", "a" * 200, 5)),
        *(({"leakage": {"variants": [one]}}, "leakage.variants")
          for one in ("", "video/../x", "text/a", "text/a/b\n", 5)),
        *(({section: {name: {}}}, section)
          for section in ("grids", "pairs", "protocols") for name in ("..", "a b", "", "a\n")),
        *(({"encoders": {name: {}}}, "encoders")
          for name in ("video/..", "video/", "text/a b", "text", "video/a/b", "")),
        ({"pairs": {"x": {"positives": 10**9}}}, "pairs.x.positives"),
        ({"pairs": {"x": {"negatives": NAN}}}, "pairs.x.negatives"),
        ({"pairs": {"x": {"seed": 2**32}}}, "pairs.x.seed"),
        ({"pairs": {"x": []}}, "pairs.x"),
        ({"mined": {"x": {"negatives": 1, "embedding": "text/a/b", "among": 10**12}}}, "mined.x.among"),
        ({"mined": {"x": {"negatives": 9, "embedding": "text/a/b", "among": 5}}}, "mined.x.negatives"),
        ({"protocols": {"x": {"k": 10**9}}}, "protocols.x.k"),
        ({"protocols": {"x": {"scale": NAN}}}, "protocols.x.scale"),
        ({"protocols": {"x": {"kind": "y"}}}, "protocols.x.kind"),
        ({"apply": {"x": {"dtype": "int8"}}}, "apply.x.dtype"),
        ({"aligners": {"x": {"kind": 5}}}, "aligners.x.kind"),
        ({"aligners": {"x": {"kind": "mlp", "lr": NAN}}}, "aligners.x.lr"),
        ({"aligners": {"x": {"kind": "mlp", "video": ["a"]}}}, "aligners.x.video"),
        ({"aligners": {"x": {"kind": "mlp", "trainer": {"devices": 10**400}}}}, "aligners.x.trainer.devices"),
        ({"aligners": {"x": 5}}, "aligners.x"),
        ({"encoders": {"video/x": {"n_frames": INF}}}, "encoders.video/x.n_frames"),
        ({"encoders": {"video/x": {"model": "a\0"}}}, "encoders.video/x.model"),
        ({"scorers": {"x": {}}}, "scorers.x"),
        ({"streams": {"text/x": {"keep": [5]}}}, "streams.text/x.keep"),
        ({"thresholds": {"a/b": {"t2v.MRR": "> 1.2.3"}}}, "thresholds.a/b.t2v.MRR"),
        ({"thresholds": {"a/b": {"t2v.MRR": "> 1e999"}}}, "thresholds.a/b.t2v.MRR"),
        ({"thresholds": {"a/b": {"t2v.MRR": 0.1}}}, "thresholds.a/b.t2v.MRR"),
        ({"thresholds": {"a/b": 5}}, "thresholds.a/b"),
        ({"embed": {1: 2}}, "embed"),
        ({1: {}}, ""),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_key(raw: dict[Any, Any], key: str) -> None:
    with pytest.raises(ParamsError) as caught:
        parse_params(raw)
    assert caught.value.key.startswith(key) and key in str(caught.value).replace(": t2v.", ".t2v."), caught.value


def test_every_number_of_a_section_has_a_limit() -> None:
    kinds = [one for one in vars(sections).values() if isinstance(one, type) and issubclass(one, Settings)]
    for kind in [*kinds, DatasetParams, ItemBounds]:
        for name, field in kind.model_fields.items():
            if field.annotation in (int, float):
                bounds = {key for one in field.metadata for key in ("gt", "ge", "lt", "le") if hasattr(one, key)}
                assert len(bounds) == 2, f"{kind.__name__}.{name}"


def test_a_section_made_in_python_is_checked_too() -> None:
    with pytest.raises(ParamsError, match=r"^threads is 0; it must be at least 1"):
        EmbedParams(threads=0)
    with pytest.raises(ParamsError, match=r"^embed\.workers is True; a whole number is expected"):
        Params(embed={"workers": True})  # type: ignore[arg-type]


def test_the_first_problem_is_told_and_the_others_are_named() -> None:
    with pytest.raises(ParamsError, match=r"^embed\.threads is 0; .* Also wrong: embed\.workers, grid\.seed\.$"):
        parse_params({"embed": {"threads": 0, "workers": "1"}, "grid": {"seed": -1}})


@pytest.mark.parametrize(("kind", "known"), [("emoji", "still"), ("folder", "captions"), ("msrvtt", "cut, parts")])
def test_a_dataset_has_its_own_settings_and_no_others(kind: str, known: str) -> None:
    with pytest.raises(ParamsError, match=rf"^dataset\.knobs is unknown\. Known: .*splits, {known}\.$"):
        parse_params({"dataset": {"kind": kind, "knobs": 1}})


ALIGNERS = [
    *(("mlp", name, value) for name, value in [
        ("lr", NAN), ("lr", INF), ("lr", -1), ("lr", 1e9), ("lr", "1e-3"), ("temperature", NAN), ("temperature", 0),
        ("margin", NAN), ("margin", 2), ("weight_decay", NAN), ("warm_up", NAN), ("schedule", "x"), ("loss", [1]),
        ("batch_size", 0), ("batch_size", 10**12), ("batch_size", 2.5), ("chunk", -1), ("chunk", 10**20),
        ("max_epochs", 0), ("max_epochs", 10**9), ("patience", -1), ("patience", 10**9), ("checkpoint_steps", -1),
        ("preprocess", ["x"]), ("preprocess", {"video": ["unit"]}), ("preprocess", [1]), ("components", 0),
        ("components", 10**9), ("shrinkage", NAN), ("seed", -1), ("seed", 2**32), ("seed", 1.5), ("threads", 10**6),
        ("widths", []), ("widths", [0]), ("widths", [10**9]), ("widths", [1.5]), ("widths", [8] * 2000),
        ("dropout", 1.0), ("dropout", NAN), ("trainer", {"devices": 0}), ("trainer", {"devices": 10**6}),
        ("trainer", {"devices": []}), ("trainer", {"devices": ["a"]}), ("trainer", {"devices": "x"}),
        ("trainer", {"max_steps": 0}), ("trainer", {"limit_train_batches": NAN}),
        ("trainer", {"limit_train_batches": 2.0}), ("trainer", {"gradient_clip_val": NAN}),
        ("trainer", {"max_time": "1"}), ("trainer", {"accumulate_grad_batches": 0}), ("unheard_of", 1),
    ]),
    *(("ridge", "alphas", value) for value in ([NAN], [0], [-1], [INF], [], ["a"], [1e300], [True], 3, [10**400])),
    ("cca", "dims", [10**9]), ("cca", "regularisations", [NAN]), ("cca", "powers", [NAN]),
    ("asif", "kept", [10**12]), ("asif", "anchors", 10**12), ("asif", "powers", [NAN]),
    ("kernel-ridge", "landmarks", 10**12), ("kernel-ridge", "gammas", [NAN]), ("kernel-ridge", "seed", 2**40),
    ("transformer", "n_heads", 0), ("transformer", "width", 10**9), ("transformer", "n_layers", 10**6),
    ("attention-pool", "n_queries", 10**9), ("cca-infonce", "dropout", NAN), ("ensemble", "members", []),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "setting", "value"), ALIGNERS, ids=str)
def test_an_aligner_s_setting_is_refused_by_its_dotted_key(kind: str, setting: str, value: Any) -> None:
    with pytest.raises(ParamsError, match=rf"^aligners\.mine[.:].*{setting}"):
        make_aligner({"kind": kind, setting: value}, name="mine")


def test_more_processes_than_cores_are_refused_where_it_is_trained_and_not_where_it_is_read() -> None:
    from reelstore.align.training.trainer_options import check_devices, trainer_options

    options = trainer_options({"devices": 99, "accelerator": "cpu"}, max_epochs=1)
    make_aligner({"kind": "mlp", "trainer": {"devices": 99, "accelerator": "cpu"}})
    with pytest.raises(ParamsError, match=r"trainer\.devices is 99; this machine has no GPU and \d+ CPU cores"):
        check_devices(options)


@pytest.mark.parametrize("name", preset_names())
def test_every_aligner_of_a_preset_is_within_the_limits(name: str) -> None:
    values = {key: snippet.value for key, snippet in load_preset(name).values.items()}
    for key, settings in values.items():
        for own in settings.values() if key == "aligners" else [settings] if key.startswith("aligners.") else []:
            make_aligner(own)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("minilm-l6", {"batch_size": 10**12}),
        ("minilm-l6", {"batch_size": 0}),
        ("minilm-l6", {"batch_size": NAN}),
        ("llm-like", {"width": 0}),
        ("llm-like", {"width": 10**9}),
        ("llm-like", {"width": "8"}),
        ("llm-like", {"seed": -1}),
        ("llm-like", {"seed": 2**64}),
        ("llm-like", {"geometry": [1]}),
        ("llm-like", {"geometry": {"decay": NAN}}),
        ("hf-lm", {"model": 5}),
        ("hf-lm", {"model": "x", "revision": ["a"]}),
        ("hf-lm", {"model": "x", "layers": "all"}),
        ("hf-lm", {"model": "x", "layers": [1.5]}),
        ("hf-lm", {"model": "x", "max_tokens": 10**9}),
        ("hf-lm", {"model": "x", "template": 1}),
        ("video-llama-7b", {"weights": "file"}),
        ("video-llama-7b", {"weights": {"llama": 5}}),
        ("video-llama-7b", {"spans": "caption"}),
    ],
    ids=str,
)
def test_an_encoder_s_option_is_refused_by_its_key(encoder: str, options: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=rf"encoders\.text/{encoder}[.:].*{list(options)[-1]}"):
        load_encoder("text", encoder, options=options, device="cpu", threads=1)


def test_frames_of_an_encoder_are_bounded() -> None:
    for options in ({"n_frames": 10**9}, {"n_frames": "8"}, {"sampling": 5}, {"stages": "yes"}, {"step": 10**12}):
        with pytest.raises((ParamsError, UnknownNameError), match=next(iter(options))):
            load_encoder("video", "efficientnet-lite0", options=options, device="cpu", threads=1)


def test_settings_of_trained_aligners_are_refused_without_torch() -> None:
    code = (
        "import sys; from reelstore.align.registry import make_aligner\n"
        "for settings in ({'lr': -1}, {'trainer': {'devices': 0}}, {'loss': 'x'}, {'unheard_of': 1}):\n"
        "    try: make_aligner({'kind': 'mlp', **settings})\n"
        "    except ValueError as error: print(type(error).__name__)\n"
        "print('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["ParamsError"] * 4 + ["False"]


def test_the_losses_that_settings_name_are_those_that_there_are() -> None:
    from reelstore.align.trained.settings import TrainedSettings
    from reelstore.align.training.losses import LOSSES

    assert get_args(get_type_hints(TrainedSettings)["loss"]) == tuple(LOSSES)
