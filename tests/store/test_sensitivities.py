from __future__ import annotations

import redis

from secateur.sensitivity import Curve, Sensitivity
from store.sensitivities import KEPT_S
from store.settings import StoreSettings
from store.store import Store

FOUND = Sensitivity(
    dense=0.9,
    higher_is_better=True,
    curves=(Curve(name="fc.weight", kind="weight", size=10, taken=(1, 5), metric=(0.8, None)),),
)


def test_what_is_kept_comes_back(store: Store) -> None:
    assert store.sensitivities.get("a") is None
    store.sensitivities.put("a", FOUND)
    assert store.sensitivities.get("a") == FOUND
    assert store.sensitivities.get("b") is None


def test_what_nobody_asks_for_is_forgotten(store: Store, raw: redis.Redis, store_settings: StoreSettings) -> None:
    store.sensitivities.put("a", FOUND)
    key = f"{store_settings.namespace}:sensitivity:a"
    assert 0 < raw.ttl(key) <= KEPT_S
    raw.expire(key, 10)
    store.sensitivities.get("a")
    assert raw.ttl(key) > 10
