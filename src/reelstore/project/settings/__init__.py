"""params.yaml as frozen values."""

from reelstore.project.settings.load import load_document, load_params, params_of, parse_params
from reelstore.project.settings.params import Params
from reelstore.project.settings.sections import (
    ApplyParams,
    DoctorParams,
    EmbedParams,
    EvaluateParams,
    GridParams,
    LeakageParams,
    MinedParams,
    ModelParams,
    OutputsParams,
    PairsParams,
    ProtocolParams,
    TrackingParams,
)
from reelstore.project.settings.threshold import Threshold

__all__ = [
    "ApplyParams",
    "DoctorParams",
    "EmbedParams",
    "EvaluateParams",
    "GridParams",
    "LeakageParams",
    "MinedParams",
    "ModelParams",
    "OutputsParams",
    "PairsParams",
    "Params",
    "ProtocolParams",
    "Threshold",
    "TrackingParams",
    "load_document",
    "load_params",
    "params_of",
    "parse_params",
]
