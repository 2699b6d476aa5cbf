"""The surrogate's tokenizer: a small byte-pair vocabulary in which an entity is written alike in prose and in JSON.

Sigils, syllables of names and digits are tokens of their own and the brackets of a tool call are one token each, so
that copying a name from a document into a call is a plain repetition of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT, TOOL, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|system|>"
CALL_PIECES = ('{"name":"', '","arguments":{"', '":"', '","', '"}}')
PIECES = r" ?[a-z]+|[A-Z][a-z]?| ?[@/~#$]|[0-9]| ?[^\sA-Za-z@/~#$0-9]+|\s+"
TEMPLATE = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>' }}
{%- if message.tool_calls -%}
{%- for call in message.tool_calls -%}
{{ {"name": call.function.name, "arguments": call.function.arguments} | tojson(separators=(',', ':')) }}
{%- endfor -%}
{%- else -%}{{ message.content }}{%- endif -%}
<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""
"""Tools are not listed: the agent knows its eleven tools by heart, as its context is short."""


def train_tokenizer(texts: Iterable[str], *, vocabulary: int = 1024) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` entries learnt from texts, with the surrogate's chat template."""
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, END, USER, ASSISTANT, TOOL, SYSTEM]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(CALL_PIECES),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in CALL_PIECES])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, chat_template=TEMPLATE, padding_side="left"
    )
