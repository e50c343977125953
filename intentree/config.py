"""The TOML file that drives every verb: its tables, and what each of their keys may hold."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from features import BehaviorFeatures, EventLog, LabelStatistics
from features.frames import closest
from hybrid import EmbeddingStore, HybridClassifier, TextEncoder, finetune, score_parquet
from hybrid.languages import BOTH, LANGUAGES
from intentree.errors import ConfigError
from intentree.keywords import Keywords
from tuning import tune


def _folder(info: ValidationInfo) -> Path:
    """The TOML file's own."""
    assert info.context is not None
    folder: Path = info.context["folder"]
    return folder


def _beside(value: Any, info: ValidationInfo) -> Path:
    """A path relative to the TOML file."""
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("path", "must be a path")
    return _folder(info) / Path(value).expanduser()


def _all_beside(value: Any, info: ValidationInfo) -> list[Path]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value or not all(isinstance(path, str) for path in value):
        raise PydanticCustomError("paths", "must be a path, a glob pattern or a list of these")
    return [_beside(path, info) for path in value]


def _folder_or_name(value: str, info: ValidationInfo) -> str:
    """A model's folder is relative to the TOML file; what is no folder is a name."""
    folder = _folder(info) / Path(value).expanduser()
    return str(folder) if folder.is_dir() else value


def _store(value: str, info: ValidationInfo) -> str:
    return value if value == "default" else str(_beside(value, info))


def _storage(value: str, info: ValidationInfo) -> str:
    """A study's database is relative to the TOML file, in SQLite's own spelling of a path too."""
    scheme, separator, rest = value.partition(":///")
    if separator:
        return f"{scheme}:///{_beside(rest, info)}" if scheme.startswith("sqlite") and rest else value
    return value if "://" in value else str(_beside(value, info))


def _text_channels(value: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
    """The model that a head starts from is relative to the TOML file."""
    head = value.get("head")
    if not isinstance(head, Mapping) or not isinstance(head.get("start"), str):
        return value  # what else it may be, a text head knows
    return {**value, "head": {**head, "start": str(_beside(head["start"], info))}}


def _space(value: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """``false`` stands for None, but in a parameter of two words or more: those switch groups and windows, or are a library's own."""

    def plain(one: Any) -> Any:
        return [plain(choice) for choice in one] if isinstance(one, list) else None if one is False else one

    if isinstance(value, str):
        return value
    return {name: values if " " in name else plain(values) for name, values in value.items()}


def _language(value: Any) -> str:
    allowed = [*LANGUAGES, BOTH]
    if value not in allowed:
        raise PydanticCustomError("language", "must be one of " + ", ".join(f'"{lang}"' for lang in allowed))
    return str(value)


PathBeside = Annotated[Path, BeforeValidator(_beside)]
PathsBeside = Annotated[list[Path], BeforeValidator(_all_beside)]

STORE = Keywords(EmbeddingStore, spelled={"folder": PathBeside})
KEYWORDS = {
    "events": Keywords(EventLog, more={"path": PathsBeside}),
    "behavior": Keywords(
        BehaviorFeatures,
        leave_out={"log"},
        spelled={
            "windows": Sequence[str],
            "rates": Mapping[str, Sequence[str]],
            "families": Sequence[Mapping[str, Any]],
        },
    ),
    "encoder": Keywords(
        TextEncoder,
        leave_out={"device"},  # [model] device says where texts are encoded too
        spelled={
            "model": Annotated[str, AfterValidator(_folder_or_name)],
            "store": Annotated[str, AfterValidator(_store)] | Annotated[dict[str, Any], STORE] | None,
        },
    ),
    "model": Keywords(
        HybridClassifier,
        leave_out={"behavior", "encoder", "label_statistics"},
        spelled={"text_channels": Annotated[Mapping[str, Any], AfterValidator(_text_channels)] | None},
    ),
    "tune": Keywords(
        tune,
        leave_out={"model", "examples", "y", "events", "groups", "progress", "on_trial"},
        spelled={
            "space": Annotated[str | Mapping[str, Any], AfterValidator(_space)],
            "cv": str,
            "storage": Annotated[str, AfterValidator(_storage)] | None,
        },
    ),
    "finetune": Keywords(
        finetune,
        leave_out={"encoder", "progress"},
        spelled={"pairs": PathsBeside, "folder": PathBeside},
    ),
    "score": Keywords(
        score_parquet,
        leave_out={"artifact", "device", "encoder", "progress"},
        spelled={"inputs": PathsBeside, "output": PathBeside, "events": PathsBeside},
    ),
    "report": Keywords(
        HybridClassifier.report,
        leave_out={"self", "X", "y", "baseline", "progress"},
        spelled={
            "events": PathsBeside,
            "groups_of_rows": str | None,
            "slices": Sequence[str],
            "show_texts": Sequence[str],
        },
    ),
    "label_statistics": Keywords(LabelStatistics),
}
"""Tables whose keys are the parameters of a class or function. What is left out comes from the other tables."""


class Table(BaseModel):
    """A table with keys of its own."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Examples(Table):
    """`[examples]`: the rows to learn from, and what their columns are."""

    train: PathsBeside
    valid: PathsBeside | None = None
    test: PathsBeside | None = None
    label: str
    id: str | Sequence[str] = ()
    weight: str | None = None
    groups: str | None = None


class Output(Table):
    """`[output]`: where results go."""

    artifact: PathBeside = Field(default="artifact", validate_default=True)
    report: PathBeside = Field(default="report.html", validate_default=True)
    study_report: PathBeside = Field(default="study.html", validate_default=True)
    features: PathBeside = Field(default="features.parquet", validate_default=True)
    lang: Annotated[str, BeforeValidator(_language)] = "en"


class Config(Table):
    """A TOML file, checked; every path in it is absolute or relative to the working directory.

    Tables that `KEYWORDS` names are keyword arguments: only what the file sets, so that the API's own defaults hold.
    """

    events: Annotated[dict[str, Any], KEYWORDS["events"]] | None = None
    examples: Examples | None = None
    behavior: Annotated[dict[str, Any], KEYWORDS["behavior"]] | None = None
    label_statistics: Annotated[dict[str, Any], KEYWORDS["label_statistics"]] | None = None
    encoder: Annotated[dict[str, Any], KEYWORDS["encoder"]] = {}
    finetune: Annotated[dict[str, Any], KEYWORDS["finetune"]] | None = None
    model: Annotated[dict[str, Any], KEYWORDS["model"]] | None = None
    tune: Annotated[dict[str, Any], KEYWORDS["tune"]] = {}
    score: Annotated[dict[str, Any], KEYWORDS["score"]] = {}
    report: Annotated[dict[str, Any], KEYWORDS["report"]] = {}
    output: Output = Field(default_factory=dict, validate_default=True)
    _file: Path = PrivateAttr()

    @classmethod
    def check(cls, data: Mapping[str, Any], file: Path) -> Self:
        """Check what a file holds; raise ConfigError that names the file, the table and the key."""
        try:
            config = cls.model_validate(data, context={"folder": file.parent})
        except ValidationError as error:
            raise ConfigError(f"{file}: {_explain(error.errors(), data)}") from None
        config._file = file
        if config.behavior is not None and config.events is None:
            raise ConfigError(f"{file}: [behavior] needs a table [events], which says where the log is")
        return config

    def require(self, *tables: str) -> None:
        """Raise ConfigError for the first of ``tables`` that the file lacks."""
        for table in tables:
            if getattr(self, table) is None:
                raise ConfigError(f"{self._file} has no table [{table}], which is needed here")


_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "is_instance_of": "must be a list",
    "list_type": "must be a list",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "sequence_str": "must be a list",
    "string_type": "must be a string",
}


def _explain(errors: Sequence[ErrorDetails], data: Mapping[str, Any]) -> str:
    """The mistake that is the likeliest root of the others: a key that nothing takes, else the first."""
    deepest = max(errors, key=lambda error: len(_reach(error["loc"], data)[0]))
    first = next((error for error in errors if error["type"] == "extra_forbidden"), deepest)
    path, value = _reach(first["loc"], data)
    if first["type"] == "extra_forbidden":
        *tables, key = path
        if not tables:
            return f"there is no table [{key}]{closest(key, Config.model_fields)}"
        owner = next((table for table, keywords in KEYWORDS.items() if key in keywords.names), None)
        hint = f"; it is a key of [{owner}]" if owner else closest(key, _keys(tables))
        return f"[{'.'.join(tables)}] has no key {key!r}{hint}"
    if first["type"] == "missing":
        return f"[{'.'.join(path)}] lacks the key {first['loc'][-1]!r}"
    same = [error for error in errors if _reach(error["loc"], data)[0] == path]
    why = dict.fromkeys(_WORDS.get(error["type"], error["msg"]) for error in same)
    joined = " or ".join([next(iter(why)), *(reason.removeprefix("must be ") for reason in list(why)[1:])])
    table, *keys = path
    return f"[{table}] {'.'.join(keys)} {joined}, not {reprlib.repr(value)}".replace("]  ", "] ")


def _reach(loc: Sequence[str | int], data: Any) -> tuple[list[str], Any]:
    """The part of an error's location that the file holds (pydantic adds the branches of unions), and the value there."""
    path: list[str] = []
    for part in loc:
        if (part in data) if isinstance(data, dict) else (isinstance(data, list) and part in range(len(data))):
            data = data[part]
            path.append(str(part))
    return path, data


def _keys(tables: Sequence[str]) -> list[str]:
    """The keys that a table may have."""
    if tables[0] in KEYWORDS:
        return (STORE if tables[1:] == ["store"] else KEYWORDS[tables[0]]).names
    owned: dict[str, type[Table]] = {"examples": Examples, "output": Output}
    return list(owned[tables[0]].model_fields)
