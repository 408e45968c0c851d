"""``[fit]``: how the network learns, and when it stops."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eventscore_training.config_grammar import Section, Share, refuse_strays


class FitConfig(Section):
    """How the network learns. What suits the task is ``auto``: ``cross-entropy`` (binary, multiclass, multilabel), ``mse`` (regression),
    ``reconstruction`` (anomaly).
    """

    loss: Literal["auto", "cross-entropy", "mse", "mae", "huber", "quantile", "reconstruction"] = Field(
        default="auto",
        description="`auto` fits the task; `mse`, `mae`, `huber` and `quantile` are for regression, `reconstruction` for anomaly.",
    )
    quantile: Share = Field(default=0.5, description="Of `quantile`: what is predicted instead of the mean.")
    huber_delta: Annotated[float, Field(gt=0, le=100)] = Field(
        default=1.0,
        description="Of `huber`: from how many standard deviations of the label on an error counts linearly.",
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=8, description="How often each training row is seen, unless training stops early."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(
        default=1024, description="Rows of a step, of all processes together."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="How the weights move.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1e-3, description="Its step at the top of the schedule."
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="Of `sgd`.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=1e-2, description="Of matrices.")
    embedding_weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=1e-1, description="Of embeddings. Nothing else decays."
    )
    schedule: Literal["cosine", "constant", "step"] = Field(
        default="cosine",
        description="How the learning rate goes on after the warm-up: to nothing, unchanged, or in steps.",
    )
    warm_up: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Over this share of all steps the learning rate rises."
    )
    step_epochs: Annotated[int, Field(ge=1)] = Field(default=2, description="Of `step`: after so many epochs each.")
    step_factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Of `step`: the learning rate is multiplied by this."
    )
    gradient_clip: Annotated[float, Field(ge=0)] = Field(default=1.0, description="The longest gradient; 0 for any.")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="`balanced` lets all classes weigh the same; calibration mends the probabilities."
    )
    value_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.2,
        description="Share of category values that are taken for unseen in each step, so that the shared row learns.",
    )
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] = Field(
        default=4, description="How often the validation part is looked at; each writes a checkpoint."
    )
    patience: Annotated[int, Field(ge=1)] = Field(
        default=8, description="Training stops after so many evaluations in a row without a better one."
    )
    select_by: Literal[
        "auto",
        "log_loss",
        "roc_auc",
        "pr_auc",
        "accuracy",
        "macro_f1",
        "rmse",
        "mae",
        "pinball_loss",
        "reconstruction_error",
    ] = Field(
        default="auto",
        description="The figure of the validation part by which weights are kept; `auto` is what the loss stands for.",
    )
    seeds: Annotated[int, Field(ge=1, le=20)] = Field(
        default=1, description="How many networks are trained; the best on the validation part is kept."
    )
    sanity: bool = Field(
        default=True, description="First let a copy learn 128 rows by heart, and stop where it cannot."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of products; `auto` is bfloat16 on a GPU that has it, else float32."
    )
    compile: Literal["auto", "never", "always"] = Field(
        default="auto", description="torch.compile; `auto` uses it for fits of 2,000 steps or more on CUDA."
    )
    device_memory_bytes: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="What the encoded table may take on the device; a larger one is streamed. Left out: half of a GPU's free memory.",
    )

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        refuse_strays(
            self,
            {
                "quantile": ("loss", ("quantile",)),
                "huber_delta": ("loss", ("huber",)),
                "momentum": ("optimizer", ("sgd",)),
                "step_epochs": ("schedule", ("step",)),
                "step_factor": ("schedule", ("step",)),
            },
        )
        return self
