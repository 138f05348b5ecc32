from __future__ import annotations

from llmasos.server.web.limits import Bucket


def test_a_bucket_empties_and_fills() -> None:
    now = [0.0]
    bucket = Bucket(60, clock=lambda: now[0])
    assert bucket.wait_for(60) == 0
    bucket.take(60)
    assert bucket.wait_for(1) == 1.0
    now[0] = 0.5
    assert bucket.wait_for(1) == 0.5
    now[0] = 1000.0
    assert bucket.wait_for(60) == 0


def test_what_was_overdrawn_is_paid_back() -> None:
    now = [0.0]
    bucket = Bucket(60, clock=lambda: now[0])
    bucket.take(180)
    assert bucket.wait_for(1) == 121.0


def test_a_wish_larger_than_the_bucket_waits_for_a_full_one() -> None:
    now = [0.0]
    bucket = Bucket(60, clock=lambda: now[0])
    assert bucket.wait_for(1000) == 0
    bucket.take(30)
    assert bucket.wait_for(1000) == 30.0
