from __future__ import annotations

import pytest

from facewright.training.synthetic.generate import PortraitGenerator
from facewright.training.synthetic.head import Head


@pytest.fixture(scope="session")
def head(toy_head) -> Head:
    return Head.build(toy_head.data, toy_head.model)


@pytest.fixture(scope="session")
def generator(head: Head) -> PortraitGenerator:
    return PortraitGenerator(head)
