"""``[network]``: the network's kind and shape, and how an event enters it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eventscore_training.config_grammar import Section, refuse_strays


class NetworkConfig(Section):
    """The network: its kind and shape, how categories and numbers enter it, what stands between its layers.

    ``tabm``: arXiv 2410.24210; without ``adapt_inputs`` members scale what the first layer answers but not what goes in, and it is
    computed once for all of them. ``clip_at``: a scaled number z enters as z / sqrt(1 + (z / clip_at)^2) (smooth clipping: arXiv
    2407.04491, section 3). ``number_embedding``: arXiv 2203.05556.
    """

    kind: Literal["mlp", "wide-and-deep", "tabm"] = Field(
        default="mlp",
        description="`wide-and-deep`: beside a linear model of the raw fields; `tabm`: an ensemble that shares its weights.",
    )
    members: Annotated[int, Field(ge=2, le=64)] = Field(
        default=8, description="Of a `tabm`: how many networks share the weights."
    )
    adapt_inputs: bool = Field(
        default=True,
        description="Of a `tabm`: each member scales the first layer's inputs, too; without, its product is taken once for all members.",
    )
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = Field(
        default=(256, 128), description="The hidden layers."
    )
    embedding_width: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="The widest embedding; small vocabularies get narrower ones."
    )
    min_count: Annotated[int, Field(ge=1)] = Field(
        default=20, description="A category value with fewer training rows shares the row of unseen values."
    )
    scaling: Literal["standard", "robust", "quantile"] = Field(
        default="standard",
        description="`standard`: mean and deviation; `robust`: median and quartiles; `quantile`: to a normal distribution.",
    )
    clip_at: Annotated[float, Field(gt=0, le=100)] = Field(
        default=3.0, description="A scaled number bends smoothly so that it never leaves this distance from 0."
    )
    number_embedding: Literal["none", "piecewise-linear", "periodic"] = Field(
        default="none", description="What a number becomes before the first layer: itself, shares of bins, or waves."
    )
    number_embedding_width: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="How many inputs an embedded number becomes."
    )
    bins: Annotated[int, Field(ge=2, le=256)] = Field(default=16, description="Of `piecewise-linear`: how many.")
    frequencies: Annotated[int, Field(ge=1, le=128)] = Field(default=16, description="Of `periodic`: how many.")
    frequency_scale: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.1, description="Of `periodic`: their deviation at first."
    )
    bottleneck: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None,
        description="Of an anomaly model: the width in the middle; left out, half of what it says of an event, at most 32.",
    )
    activation: Literal["relu", "leaky-relu", "gelu", "silu", "tanh"] = Field(
        default="relu", description="Between the layers."
    )
    norm: Literal["none", "batch", "layer"] = Field(
        default="none", description="Between the layers; `batch` is frozen in the graph."
    )
    initialisation: Literal["auto", "he", "xavier"] = Field(
        default="auto", description="`auto` is Xavier for tanh and He for the others."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of a layer's outputs that are dropped in each step."
    )

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        refuse_strays(
            self,
            {
                "members": ("kind", ("tabm",)),
                "adapt_inputs": ("kind", ("tabm",)),
                "number_embedding_width": ("number_embedding", ("piecewise-linear", "periodic")),
                "bins": ("number_embedding", ("piecewise-linear",)),
                "frequencies": ("number_embedding", ("periodic",)),
                "frequency_scale": ("number_embedding", ("periodic",)),
            },
        )
        if self.initialisation == "he" and self.activation == "tanh":
            raise ValueError(
                "initialisation = 'he' is made for activations that drop negative values, and activation is 'tanh': "
                "expected 'xavier' or 'auto'"
            )
        return self
