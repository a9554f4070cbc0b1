from __future__ import annotations

from dataclasses import replace

import pytest

from facewright.training.synthetic.head import Head


def test_head_of_another_model_is_refused(toy_head):
    data = replace(toy_head.data, identity_basis=toy_head.data.identity_basis[:10])
    with pytest.raises(ValueError, match="modes"):
        Head.build(data, toy_head.model)
