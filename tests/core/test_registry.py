"""Parts by name."""

from __future__ import annotations

import re

import pytest

from ternlab.core.errors import SettingsError
from ternlab.core.registry import Registry, checked_reference, imported
from ternlab.data.registry import DATA_SETS, register_data
from ternlab.models.registry import MODELS, register_model
from ternlab.quantizers.registry import RULES, register_rule


def test_a_wrong_name_is_answered_with_near_ones_and_the_way_to_add_one() -> None:
    things = Registry("thing", "some.thing", {"first": 1, "second": 2})
    assert things.entry("first") == 1
    with pytest.raises(SettingsError) as error:
        things.entry("frist")
    assert str(error.value) == (
        "some.thing = frist: no such thing\n  instead: did you mean first? (known: first, second); "
        "for your own: plugins=[the module that registers it]"
    )


def test_a_name_is_given_once() -> None:
    things = Registry("thing", "some.thing", {"first": 1})
    things.register("first", 1)
    things.register("third", 3)
    with pytest.raises(ValueError, match="thing name 'third' is already registered for 3"):
        things.register("third", 4)
    assert things == {"first": 1, "third": 3}


@pytest.mark.parametrize("reference", ["module", "module:", ":function", ""])
def test_a_reference_names_a_module_and_what_is_in_it(reference: str) -> None:
    with pytest.raises(ValueError, match=re.escape("`loader` is") + ".*'package.module:function'"):
        checked_reference("loader", reference)
    assert imported(checked_reference("loader", "os.path:join")) is __import__("os").path.join


def test_what_ternlab_brings_is_there_under_its_names() -> None:
    assert {entry.module for entry in RULES.values()} and RULES.setting == "quant"
    for name, register in (
        ("tga", lambda: register_rule("tga", options=RULES["sws"].options, module="a:b")),
        ("resnet18", lambda: register_model("resnet18", "a:b")),
        ("digits", lambda: register_data("digits", "a:b")),
    ):
        with pytest.raises(ValueError, match=f"{name!r} is already registered for ternlab"):
            register()
    assert {"resnet20", "alexnet"} <= set(MODELS) and "digits" in DATA_SETS
