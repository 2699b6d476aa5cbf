"""One forward pass for a micro-batch, padded or packed, and what each loss reads of it.

Promises: for examples of one kind, padded, this is `hidden_states` of the padded ids and nothing else; packed, examples
of several kinds share the pass, which reads all their layers; they have to be taken to end at the same depth.
Leaves out: which adapter is active and whether gradients flow, as `breakers.representations` does.

Shapes: L layers, B rows, T tokens of a row, N masked tokens of one kind, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tsgb.breakers.representations import hidden_states, padded
from tsgb.models.packing import packed
from tsgb.records.training import Example, Kind
from tsgb.training.plan import TrainingPlan
from tsgb.training.terms import depth, layers, predicts


@dataclass(frozen=True)
class Read:
    """What the losses of one kind read."""

    hidden_LND: Tensor
    """States at the masked tokens, or at those before them where the loss asks what is said next."""
    tokens_N: Tensor
    """The masked tokens themselves."""


class Forward:
    """A micro-batch laid out for a model; enter `on` for the pass and, if there is one, its backward pass."""

    def __init__(
        self, model: PreTrainedModel, plan: TrainingPlan, examples: Sequence[Example], *, reference: bool = False
    ) -> None:
        self._model, self._plan, self._examples = model, plan, examples
        self._ids = [_ids(example, reference) for example in examples]
        self._masks = [_mask(example, reference) for example in examples]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Let the model read this layout until the block ends."""
        if not self._plan.packed:
            yield
            return
        with packed(self._model, [len(ids) for ids in self._ids]):
            yield

    def read(self) -> dict[Kind, Read]:
        """Run the model once, and pick out what belongs to each kind."""
        kinds = sorted({example.kind for example in self._examples})
        wanted = list(dict.fromkeys(chain.from_iterable(layers(self._plan, kind) for kind in kinds)))
        ids_BT = self._rows(self._ids)
        hidden_LBTD = hidden_states(self._model, ids_BT, wanted, depth=depth(self._plan, kinds[0]))
        return {kind: self._pick(kind, ids_BT, hidden_LBTD, wanted) for kind in kinds}

    def _pick(self, kind: Kind, ids_BT: Tensor, hidden_LBTD: Tensor, wanted: Sequence[int]) -> Read:
        mask_BT = self._rows(
            [
                mask if example.kind == kind else (False,) * len(mask)
                for example, mask in zip(self._examples, self._masks, strict=True)
            ]
        )
        own = layers(self._plan, kind)
        if own != tuple(wanted):
            hidden_LBTD = hidden_LBTD[[wanted.index(layer) for layer in own]]
        if predicts(self._plan, kind):
            hidden_LBTD, ids_BT, mask_BT = hidden_LBTD[:, :, :-1], ids_BT[:, 1:], mask_BT[:, 1:]
        return Read(hidden_LBTD[:, mask_BT], ids_BT[mask_BT])

    def _rows(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """One row a sequence, padded; or all in one."""
        if not self._plan.packed:
            return padded(sequences).to(self._model.device)
        return torch.tensor(list(chain.from_iterable(sequences)))[None].to(self._model.device)


def _ids(example: Example, reference: bool) -> Sequence[int]:
    return example.reference_ids if reference and example.reference_ids else example.ids


def _mask(example: Example, reference: bool) -> Sequence[bool]:
    return example.reference_mask if reference and example.reference_ids else example.mask
