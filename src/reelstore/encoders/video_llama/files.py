"""The published Video-LLaMA models: the files of each, checks that they belong together, their digests."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reelstore.encoders.hub import find_folder
from reelstore.encoders.video_llama.language import files_of, read_config
from reelstore.encoders.weights import sha256_of_all
from reelstore.errors import ParamsError, ReelstoreWarning, WeightsError

ROLES = ("eva_vit", "qformer", "finetune", "llama")
SLOT = "<ImageHere>"
"""Where a video's tokens go in a prompt. It has no row in the embedding table: prompts are split there first."""

_BLIP_2 = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2"
_MESSAGE = f"<Video>{SLOT}</Video> The video contains {{n_frames}} frames sampled at {{seconds}} seconds. "
_VICUNA = f"{{system}}###Human: {_MESSAGE}###Assistant:"
_LLAMA_2 = f"[INST] <<SYS>>\n{{system}}\n<</SYS>>\n\n{_MESSAGE} [/INST]"
_LLAMA_2_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
_DEMO_SYSTEM = (
    "You are able to understand the visual content that the user provides. Follow the instructions carefully and "
    "explain your answers in detail."
)
TEMPLATE = "template"
"""Name of the prompt that is taken where none is given."""


def _prompts(conversation: str, own_system: str) -> dict[str, str]:
    """A conversation after an upload, no question asked, with each system text that the original gives it."""
    systems = {TEMPLATE: own_system, "demo": _DEMO_SYSTEM, "demo-audiovideo": ""}
    return {name: conversation.replace("{system}", system) for name, system in systems.items()}


@dataclass(frozen=True)
class PretrainedModel:
    """One of the four models.

    Attributes:
        finetune: name of its own file.
        repository: where that is on the Hugging Face hub.
        llama: the LLaMA it was trained with.
        generation: of that LLaMA, 1 or 2; they are told apart by their number of places, 2048 and 4096.
        dim: width of that LLaMA.
        prompts: name -> text around a video, of DAMO-NLP-SG/Video-LLaMA at 64888c0: `template` is the conversation
            template as it is (`default_conversation`, which has no system text, and `conv_llava_llama_2`, which has
            one); `demo` has the system text that demo_video.py sets after every upload; `demo-audiovideo` the empty
            one that demo_audiovideo.py sets, here for a video whose sound isn't used.
    """

    finetune: str
    repository: str
    llama: str
    generation: int
    dim: int
    prompts: Mapping[str, str]

    def source(self, role: str) -> str:
        """Where to get a file or folder, in a sentence."""
        return {
            "eva_vit": f"Published as {_BLIP_2}/eva_vit_g.pth.",
            "qformer": f"Published as {_BLIP_2}/blip2_pretrained_flant5xxl.pth.",
            "finetune": f"Published as {self.finetune} in {self.repository} on the Hugging Face hub.",
            "llama": f"It is the folder of {self.llama}.",
        }[role]


def _first(size: str, dim: int) -> PretrainedModel:
    return PretrainedModel(
        finetune=f"finetune-vicuna{size}-v2.pth",
        repository="DAMO-NLP-SG/Video-LLaMA-Series",
        llama=f"Vicuna v0, {size.upper()}: lmsys/vicuna-{size}-delta-v0 added to the original LLaMA",
        generation=1,
        dim=dim,
        prompts=_prompts(_VICUNA, ""),
    )


def _second(size: str, dim: int) -> PretrainedModel:
    return PretrainedModel(
        finetune=f"VL_LLaMA_2_{size.upper()}_Finetuned.pth",
        repository=f"DAMO-NLP-SG/Video-LLaMA-2-{size.upper()}-Finetuned",
        llama=f"Llama-2-chat, {size.upper()}",
        generation=2,
        dim=dim,
        prompts=_prompts(_LLAMA_2, _LLAMA_2_SYSTEM),
    )


MODELS = {
    "video-llama-7b": _first("7b", 4096),
    "video-llama-13b": _first("13b", 5120),
    "video-llama-2-7b": _second("7b", 4096),
    "video-llama-2-13b": _second("13b", 5120),
}


def find_weights(
    key: str, model: PretrainedModel, weights: Mapping[str, str] | None, roles: Sequence[str]
) -> dict[str, Path]:
    """Where each needed file and folder is; the others are ignored.

    Args:
        key: `side/name`, for messages.
        model: the model that is needed.
        weights: role -> path; for `llama` also owner/name@commit.
        roles: the needed ones.

    Raises:
        ParamsError: a role is missing or unknown.
        WeightsError: a file isn't there; the message says where it is published.
    """
    where = f"encoders.{key}: weights"
    if not isinstance(weights or {}, Mapping):
        raise ParamsError(f"{where} is {weights!r}; a mapping of {', '.join(ROLES)} to paths is expected.")
    given = dict(weights or {})
    for role, path in given.items():
        if role not in ROLES:
            raise ParamsError(f"{where} has {role!r}. Known: {', '.join(ROLES)}.")
        if not isinstance(path, str | Path):
            raise ParamsError(f"{where}.{role} is {path!r}; a path is expected.")
    paths: dict[str, Path] = {}
    for role in roles:
        if role not in given:
            raise ParamsError(f"{where} lacks {role}. {model.source(role)}")
        if role == "llama":
            paths[role] = find_folder(str(given[role]), weights=f"{where}.{role}")
        elif Path(given[role]).is_file():
            paths[role] = Path(given[role])
        else:
            raise WeightsError(f"{where}.{role} is {str(given[role])!r}, no file here. {model.source(role)}")
    return paths


@contextmanager
def naming_sources(key: str, model: PretrainedModel, paths: Mapping[str, Path]) -> Iterator[None]:
    """Adds to an error about a weights file whose it is and where that file is published."""
    try:
        yield
    except WeightsError as error:
        sources = [model.source(role) for role, path in paths.items() if str(path) in str(error)]
        raise WeightsError(" ".join([f"encoders.{key}: {error}", *sources])) from error


def check_pairing(key: str, model: PretrainedModel, paths: Mapping[str, Path], *, dim: int) -> None:
    """Check that files are of one model: those of different models would load into each other without an error.

    Args:
        key: `side/name`, for messages.
        model: what they should be.
        paths: where they are.
        dim: width of the video's tokens, or of the LLaMA where there is no video.

    Raises:
        WeightsError: the widths differ.
    """
    if dim in {other.dim for other in MODELS.values()} - {model.dim}:
        raise WeightsError(
            f"encoders.{key}: these weights are {dim} wide, this model is {model.dim}: they are of the other size."
        )
    if "finetune" in paths:
        name = paths["finetune"].name.lower().replace("-", "_")
        seems = 1 if "vicuna" in name else 2 if "llama_2" in name else model.generation
        if seems != model.generation:
            _warn(key, "finetune", paths["finetune"], "by its name it is the other generation's", model)
    if "llama" in paths:
        config = read_config(paths["llama"])
        if config.hidden_size != dim:
            raise WeightsError(
                f"encoders.{key}: finetune ({paths['finetune']}) gives tokens {dim} wide, llama ({paths['llama']}) "
                f"reads {config.hidden_size}: they don't belong together. {model.source('llama')}"
            )
        places = config.max_position_embeddings
        if (places > 2048) != (model.generation == 2):
            _warn(key, "llama", paths["llama"], f"with {places} places it is the other generation's", model)


def _warn(key: str, role: str, path: Path, reason: str, model: PretrainedModel) -> None:
    message = f"encoders.{key}: {role} ({path}) may not belong here: {reason}. {model.source(role)}"
    warnings.warn(message, ReelstoreWarning, stacklevel=4)


def digest(paths: Mapping[str, Path]) -> str:
    """sha256 (hex) of all files behind `paths`."""
    return sha256_of_all(_files(paths))


def digests(paths: Mapping[str, Path]) -> str:
    """The beginnings of each role's own digest, since parts can be paired wrongly."""
    return ", ".join(f"{role} {digest({role: path})[:12]}" for role, path in paths.items())


def _files(paths: Mapping[str, Path]) -> dict[str, Path]:
    files = {role: path for role, path in paths.items() if role != "llama"}
    if "llama" in paths:
        files |= {f"llama/{name}": path for name, path in files_of(paths["llama"]).items()}
    return files
