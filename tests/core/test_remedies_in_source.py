"""Every error about a setting says what to do instead: words to type, or words for a human that are listed here.

What is typed is tested where the error is raised, and for all settings in `tests/settings/test_remedies.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ternlab.commands.defaults import defaults
from ternlab.core.dotted import names
from ternlab.sweeps.settings import SweepSettings
from tests.commands.run_command import ROOT

SOURCE = ROOT / "src" / "ternlab"
COMMANDS = ("pip install", "ternlab ", "python ", "export ", "sbatch ", "cd ", "mkdir ", "wandb login", "add --", "-m ")
TYPED = re.compile(r"'?[+]?[\w.{}]+=|--[a-z]|leave (it|both) out|one of: |did you mean |RAY_AUTH_MODE=")

# Advice that cannot be typed as it stands, by the reason.
FOR_HUMANS = {
    "something outside of ternlab must be done first": {
        "run this command there",
        "ask its owner",
        "check its permissions",
        "the files of one download, all of them",
        "images in it, or remove the class folder from every part",
        "give both parts the same class folders",
        "one of the two in the folder",
        "files that name the same classes",
        "copy the file again from its source",
        "files with labels of the same kind",
        "the file that came with the images",
        "runs: FOLDER",
        "a value in every row",
        "remove {} and run the command again",
        "download it, then model.weights=FILE",
        "download {} to a file, then model.weights=FILE",
        "delete {} and run the command again",
        "a file written by python src/export.py run=ID",
        "less of cluster.time, cluster.nodes or what a node needs (`sacctmgr show qos` lists the limits)",
        "smaller values, or a cluster with larger nodes",
    },
    "the command is in the record of a run": {
        "re-run the command in its record to finish it",
        "re-run the command in its record to finish it, or use ckpt_path=FILE",
        "re-run the command in its record with force=true to train it again",
        "load the plugins that the run was started with",
        "use the model, data and quant settings of the run that saved it ({})",
        "use those settings ({}), or model.weights={}, to load only the weights",
        "change the recipe (baseline.overrides changes only the baseline's)",
    },
    "Python, not a command line": {
        "(3, 224, 224)",
        "a fully trained network with one rule per weight",
        "a fully trained network",
        "call ternlab.quantize(model, 'tga') first",
        "call model.float() first",
        "a network for which model.load_state_dict(model.state_dict()) works; buffers must own their memory, as in "
        "register_buffer(name, tensor.clone())",
        "return a tensor (images, classes), a tuple that begins with it, or a dictionary with 'logits'",
        "return only numbers, text, lists, dictionaries and tensors from get_extra_state()",
        "a rule that respects it",
        "pass model=, the plain network",
        "import the module that registers it, or load(file, model=your_network)",
        "the network from before quantize()",
        "save without architecture",
        "a writable path",
        "save model.state_dict(), or {'state_dict': model.state_dict()}",
        "save only its state dict: safetensors.torch.save_file(model.state_dict(), FILE)",
        "torch.nn.utils.parametrize.remove_parametrizations(layer, '{}'), or exclude=['{}']",
        "torch.nn.utils.remove_weight_norm(layer), remove_spectral_norm(layer) or prune.remove(layer, '{}'), or "
        "exclude=['{}']",
        "a forward pass through the network first",
        "set it in an entry of the mapping",
        "quantize a fresh copy of the network",
        "{'name': 'uniform', 'bits': 4}",
        "register the part in your own module and load that with plugins=[your_module]",
        "make the functions passed to register_needs return () for the last run",
        "use two different roles",
        "keep one of them",
        "each name once",
    },
    "part of a longer word that the user has typed": {
        "match: '{}'",
        "keep one of the two",
        "{match: {}, name: RULE}, {}",
        "name: RULE, {}",
        "update: {}",
        "use fewer exclude patterns",
        "use quant=none with the same quant.layers",
        "put the entry with match: '{}' last",
        "move this entry before them, or leave it out",
        "leave one of the two out",
        "such as {}",
        "change another setting, or add force=true to move the run aside and train it again",
        "give the setting a value",
        "give the settings one by one",
        "one value for each rerun",
        "the weights of a ternary network (model.weights=FILE), or a rule that makes weights ternary: quant=ttq",
        "name {} in both conditions, e.g. '... and {}=VALUE'",
        "mutually exclusive conditions",
        "name one of these settings in {}",
        "keep it, or name those runs too",
        "only run=ID, or the settings without run",
        "the folder {}",
        "the data that it was trained on (data.image_size= sets the pixels)",
        "... python src/train.py SETTINGS",
        "other values of {}.*",
        "other values",
        "{} or 1",
    },
}
HUMAN = {text for texts in FOR_HUMANS.values() for text in texts}


@cache
def _calls() -> tuple[tuple[Path, ast.Call], ...]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        found += [(path, node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return tuple(found)


def _texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression can have, with `{}` for what is filled in."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield "".join(parts)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _remedies() -> Iterator[str]:
    for _, call in _calls():
        for keyword in call.keywords:
            if keyword.arg == "instead":
                yield from _texts(keyword.value)


def test_every_error_about_a_setting_says_what_to_do_instead() -> None:
    silent = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path, call in _calls()
        if ast.unparse(call.func) == "SettingsError" and not {"instead", "default"} & {one.arg for one in call.keywords}
    ]
    # Changes the words of an error that has a remedy already.
    assert [place.partition(":")[0] for place in silent] == ["core/errors.py"]


def test_what_cannot_be_typed_is_listed_with_a_reason() -> None:
    words = {text for text in _remedies() if not TYPED.match(text) and not text.startswith(("{}", *COMMANDS))}
    assert words - HUMAN == set(), "begin with what to type, or list the words in FOR_HUMANS"


def test_the_list_has_nothing_that_is_no_longer_said() -> None:
    trees = [ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")]
    said = {text for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr) for text in _texts(node)}
    assert HUMAN - said == set()


def test_the_settings_that_remedies_name_exist() -> None:
    known = {name for part, values in defaults().items() for name in _of_part(part, values)}
    # `name=value` is the form of all of them; `exclude` is an argument of `ternlab.quantize`.
    known |= {"name", "exclude"}
    known |= {*SweepSettings.model_fields, "objectives", *(path.name for path in (ROOT / "conf").iterdir())}
    named = {
        found
        for text in _remedies()
        for found in re.findall(r"(?:^|[ '+])([a-z_]+(?:\.[a-z_]+)*)=", text)
        if text not in HUMAN
    }
    assert len(named) > 40
    assert named - known == set()


def _of_part(part: str, values: dict[str, object]) -> Iterator[str]:
    group, slash, _ = part.partition("/")
    yield from names(values, f"{group}." if slash else "")
