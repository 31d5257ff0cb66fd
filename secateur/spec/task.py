"""What the network is for: it decides loss and metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secateur.record import Record

IGNORED_LABEL = -100
"""A label that is not scored, as in torch."""

Output = Annotated[
    int | str | None,
    Field(description="Index or key of the output that is scored; needed only where the program has several."),
]
Weight = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
ClassWeights = Annotated[
    Literal["balanced"] | Annotated[tuple[Weight, ...], Field(min_length=1, max_length=100_000)] | None,
    Field(
        description="How much the labels of each class weigh in the loss while training, as `weight` of torch's "
        "CrossEntropyLoss. balanced: one over how often the class is there in the training data, times a constant. The "
        "metric stays unweighted."
    ),
]


class Classification(Record):
    """Cross-entropy on integer labels (-100 is ignored), measured by accuracy.

    The scored output has the shape (N, classes) or (N, classes, ...).
    """

    kind: Literal["classification"] = "classification"
    output: Output = None
    class_weights: ClassWeights = None


class Regression(Record):
    """Mean squared error on float targets of the output's shape, measured by the root of it."""

    kind: Literal["regression"] = "regression"
    output: Output = None


class CausalLm(Record):
    """Cross-entropy of each next token, measured by perplexity.

    The scored output has the shape (N, positions, tokens). The labels (N, positions) are the token ids themselves, or
    -100 where a token is not to be foretold; they are shifted here: position t is scored on label t + 1.
    """

    kind: Literal["causal_lm"] = "causal_lm"
    output: Output = None


class MaskedLm(Record):
    """Cross-entropy of masked tokens, measured by perplexity.

    The scored output has the shape (N, positions, tokens). The labels (N, positions) are the tokens behind the masks,
    and -100 everywhere else; the masks are in the data set, the same ones in every epoch.
    """

    kind: Literal["masked_lm"] = "masked_lm"
    output: Output = None


class TokenClassification(Record):
    """Cross-entropy on the label of every token (-100 is ignored), measured by the mean F1 of the classes (macro).

    The scored output has the shape (N, positions, classes), the labels (N, positions).
    """

    kind: Literal["token_classification"] = "token_classification"
    output: Output = None
    class_weights: ClassWeights = None


class Segmentation(Record):
    """Cross-entropy on the label of every pixel, measured by the mean intersection over union of the classes.

    The scored output has the shape (N, classes, height, width), the labels (N, height, width).
    """

    kind: Literal["segmentation"] = "segmentation"
    output: Output = None
    class_weights: ClassWeights = None
    ignore_label: int = Field(default=255, ge=-(2**31), lt=2**31, description="Is not scored; -100 never is.")


class DistillationOnly(Record):
    """To do what the dense network does: the data needs no labels, and none are read.

    Class scores: the divergence KL(dense || pruned), measured by the share of examples or positions on which both name
    the same class first. Numbers: the mean squared difference of the outputs, measured by the root of it.
    """

    kind: Literal["distillation_only"] = "distillation_only"
    output: Output = None
    like: Literal["classification", "tokens", "regression"] = Field(
        default="classification",
        description="What the scored output holds. classification: a score for each class, in the shape (N, classes) "
        "or (N, classes, ...). tokens: such scores in the shape (N, positions, classes). regression: numbers.",
    )


Task = Annotated[
    Classification | Regression | CausalLm | MaskedLm | TokenClassification | Segmentation | DistillationOnly,
    Field(discriminator="kind"),
]
