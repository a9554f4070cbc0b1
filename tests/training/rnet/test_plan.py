import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewright.training.rnet.experiment import Stage
from facewright.training.rnet.plan import PHOTOS, PORTRAITS, Cursor, plan_step


@given(
    pool=st.integers(6, 40),
    portraits=st.integers(0, 3),
    photos=st.integers(0, 3),
    workers=st.integers(1, 2),
    steps=st.integers(1, 30),
)
def test_a_pass_draws_every_picture_at_most_once(pool, portraits, photos, workers, steps):
    if not portraits + photos:
        return
    stage = Stage(size=32, portraits=portraits, photos=photos)
    cursor = Cursor()
    seen = {PORTRAITS: {}, PHOTOS: {}}
    for _ in range(steps):
        step = plan_step(cursor, stage, 0.0, workers, pool, pool)
        for kind, now, count in (
            (PORTRAITS, step.cursor.portraits, portraits * workers),
            (PHOTOS, step.cursor.photos, photos * workers),
        ):
            rows = now.order(1, kind)[now.position : now.position + count]
            assert len(rows) == count
            drawn = seen[kind].setdefault(now.epoch, set())
            assert not drawn & set(rows.tolist())
            drawn |= set(rows.tolist())
        cursor = step.after
    assert cursor.step == steps
    assert cursor.images == steps * workers * (portraits + photos)


def test_kinds_and_passes_have_orders_of_their_own():
    stage = Stage(size=32, portraits=10, photos=10)
    first = plan_step(Cursor(), stage, 0.0, 1, 20, 20)
    third = plan_step(plan_step(first.after, stage, 0.0, 1, 20, 20).after, stage, 0.0, 1, 25, 20)
    assert third.cursor.portraits.pool == 25  # new shards are taken up by a new pass
    orders = [
        first.cursor.portraits.order(1, PORTRAITS),
        first.cursor.photos.order(1, PHOTOS),
        first.cursor.portraits.order(2, PORTRAITS),
        third.cursor.photos.order(1, PHOTOS),
    ]
    for k, order in enumerate(orders):
        assert sorted(order) == list(range(20))
        assert not any(np.array_equal(order, other) for other in orders[:k])


def test_a_pool_must_hold_a_batch():
    with pytest.raises(ValueError, match="7 pictures are less than a batch of 8"):
        plan_step(Cursor(), Stage(size=32, portraits=4), 0.0, 2, 7, 0)
