"""The ensemble: its cosine is the mean of its members' cosines."""

import numpy as np
import pytest

from reelstore.align.registry import make_aligner
from reelstore.errors import ParamsError


def test_its_cosine_is_the_mean_of_its_members_cosines(towers, validate, context) -> None:
    train, validation = towers.part(0, 90), towers.part(90, 120)
    cosines = {}
    for kind, settings in {"ridge": {}, "procrustes": {}, "ensemble": {"members": ["ridge", "procrustes"]}}.items():
        aligner, _ = make_aligner({"kind": kind, **settings})
        aligner.fit(train, validation, validate=validate, context=context)
        video = aligner.transform_video(validation.video.array())
        text = aligner.transform_text(validation.text.array())
        cosines[kind] = text @ video.T
    mean = (cosines["ridge"] + cosines["procrustes"]) / 2
    np.testing.assert_allclose(cosines["ensemble"], mean, atol=1e-5)


@pytest.mark.parametrize("members", [["ensemble"], ["ridge", "ridge"], ["transformer"]])
def test_members_that_make_no_sense_are_refused(members: list[str]) -> None:
    with pytest.raises(ParamsError, match="ensemble: "):
        make_aligner({"kind": "ensemble", "members": members})
