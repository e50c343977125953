"""Shares of a larger key's events, against a walk over the log."""

from __future__ import annotations

import polars as pl
import pytest
from asof import WINDOWS, alone, asked, assert_equal_to_walk, before, logs, through_json
from hypothesis import given, settings
from logs import EVENTS, START

from features import DeclarationError, Share


def truth(pairs):
    def features(rows, one):
        shares = {}
        for key, whole in pairs:
            of = "_x_".join(whole) or "all"
            for kind in EVENTS:
                for window in WINDOWS:
                    own, among = (len(before(rows, one, k, kind, window)) for k in (key, whole))
                    shares[f"{'_x_'.join(key)}__{kind}_share_of_{of}__{window}"] = own / among if among else None
        return shares

    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=25, deadline=None)
@given(rows=logs, examples=asked)
def test_shares_equal_a_walk_over_the_log(rows, examples):
    both = ("user", "item")
    by_default = [(("user",), ()), (("item",), ()), (both, ("user",)), (both, ("item",))]
    assert_equal_to_walk(alone(Share()), rows, examples, truth(by_default))
    assert_equal_to_walk(alone(Share(of="user")), rows, examples, truth([(both, ("user",))]))


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=20, deadline=None)
@given(rows=logs, examples=asked)
def test_shares_of_all_events_equal_a_walk_over_the_log(rows, examples):
    keys = [("user",), ("item",), ("user", "item")]
    assert_equal_to_walk(alone(Share(of="all")), rows, examples, truth([(key, ()) for key in keys]))


def test_a_share_reads_both_keys():
    assert Share(of="user").reads(("user", "item")) == (("user", "item"), ("user",))
    assert Share(of="all").reads(("user", "item")) is None


def test_options_survive_json():
    for of in ("all", "user", ("user", "item"), None):
        family = Share(of=of, keys=[("user", "item", "event")], windows=["7d"])
        assert through_json(family).options() == family.options()


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        (
            Share(of="user", keys=["user"]),
            ["user"],
            r"of=\('user',\) must be some but not all of the parts of .* 'user'",
        ),
        (Share(of="usr", keys=[("user", "item")]), ["user"], r"of=\('usr',\) must be some but not all of the parts"),
        (Share(of="user"), ["user", "item"], r"no key has the parts of=\('user',\) and others; declare one"),
    ],
)
def test_a_larger_key_that_is_none_is_refused(family, keys, message):
    log = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "event": ["view"], "ts": [START], "price": [1.0]})
    with pytest.raises(DeclarationError, match=message):
        alone(family, keys=keys, events=["view"]).fit(log)
