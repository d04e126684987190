"""params.yaml as frozen values."""

from reelstore.params.names import split_model
from reelstore.params.parse import load_document, load_params, params_of, parse_params
from reelstore.params.project import Params
from reelstore.params.sections import (
    ApplyParams,
    DatasetParams,
    DoctorParams,
    EmbedParams,
    EvaluateParams,
    GridParams,
    ItemBounds,
    LeakageParams,
    MinedParams,
    ModelParams,
    OutputsParams,
    PairsParams,
    ProtocolParams,
    TrackingParams,
)
from reelstore.params.threshold import Threshold

__all__ = [
    "ApplyParams",
    "DatasetParams",
    "DoctorParams",
    "EmbedParams",
    "EvaluateParams",
    "GridParams",
    "ItemBounds",
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
    "split_model",
]
