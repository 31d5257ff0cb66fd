"""What all parts of torch's JSON have in common: strict models that read what they list and evaluate nothing."""

from __future__ import annotations

from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from secateur.errors import CorruptArchive

M = TypeVar("M", bound=BaseModel)

Int = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=1024)]
Text = Annotated[str, Field(strict=True, max_length=1024)]
Bool = Annotated[bool, Field(strict=True)]
Float = Annotated[float, Field(strict=True)] | Annotated[str, Field(pattern=r"^(-?Infinity|NaN)$")]


class Part(BaseModel):
    """A piece of the schema. Keys that are not listed are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Union(BaseModel):
    """A piece with exactly one key, which says what kind it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("exactly one key is needed")
        return self

    @property
    def kind(self) -> str:
        """The one key."""
        return next(iter(self.model_fields_set))


def parse(model: type[M], text: bytes | str, what: str) -> M:
    """Reads JSON into `model`; raises CorruptArchive that says where `what` is wrong."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"][:12])[:200] or "the whole"
        raise CorruptArchive(f"{what} is not what torch.export.save writes: {where}: {first['msg'][:200]}.") from error
