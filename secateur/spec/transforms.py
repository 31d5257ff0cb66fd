"""What is done to the pictures of a data set before the program sees them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from secateur.record import Record

MOST_CHANNELS = 4096
LONGEST_SIDE = 8192

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
Size = tuple[Side, Side]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Input = Annotated[
    str | None,
    Field(
        description="The program's input that it is for, of the shape (N, channels, height, width); needed only where "
        "there are several such inputs of floating point."
    ),
]


class Normalize(Record):
    """Each channel less its mean, over its standard deviation; in training and elsewhere."""

    kind: Literal["normalize"] = "normalize"
    input: Input = None
    mean: tuple[Finite, ...] = Field(
        min_length=1, max_length=MOST_CHANNELS, description="One a channel; of bytes after the division by 255."
    )
    std: tuple[Deviation, ...] = Field(min_length=1, max_length=MOST_CHANNELS, description="One a channel.")

    @model_validator(mode="after")
    def _one_each_a_channel(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} numbers and std has {len(self.std)}; give one of each a channel"
            )
        return self


class Resize(Record):
    """To this height and width: bilinear, smoothed where it shrinks as torchvision does; in training and elsewhere."""

    kind: Literal["resize"] = "resize"
    input: Input = None
    size: Size = Field(description="Height and width.")


class RandomCrop(Record):
    """A part of the padded picture, in training from a random place, elsewhere from the middle."""

    kind: Literal["random_crop"] = "random_crop"
    input: Input = None
    size: Size | None = Field(default=None, description="Height and width; without it those of the picture.")
    padding: int = Field(default=0, ge=0, le=1024, description="So many zeros on each of the four sides first.")

    @model_validator(mode="after")
    def _something_to_crop(self) -> Self:
        if self.size is None and self.padding == 0:
            raise ValueError("without a size and without padding the crop is the whole picture; give one of them")
        return self


class HorizontalFlip(Record):
    """Left for right, each picture with a chance of its own; in training only."""

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    input: Input = None
    p: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False, description="The chance of it.")


Transform = Annotated[Normalize | RandomCrop | HorizontalFlip | Resize, Field(discriminator="kind")]
