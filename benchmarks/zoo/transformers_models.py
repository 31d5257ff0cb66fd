"""Small models of the kinds that the transformers library builds from configs: 64 wide, two layers, random weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.subject import EXAMPLES, Build, Subject, of_tensors

WORDS = 99
LENGTH = 12
WIDTH = 64
INNER = 112
GPT = {
    "vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
    "use_cache": False,
}  # fmt: skip
BERT = {
    "vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
PICTURE = {
    "hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 64, "patch_size": 16,
}  # fmt: skip
T5 = {
    "vocab_size": WORDS, "d_model": WIDTH, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "use_cache": False,
    "decoder_start_token_id": 0,
}  # fmt: skip


class Words(nn.Module):
    """A language model: (batch, length) -> (batch, length, words)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids).logits
        return logits


class Pixels(nn.Module):
    """A classifier of images: (batch, 3, height, width) -> (batch, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=pixel_values).logits
        return logits


class Translation(nn.Module):
    """Encoder and decoder: `source` is given under the name that the model has for it."""

    def __init__(self, model: nn.Module, source: str) -> None:
        super().__init__()
        self.model = model
        self.source = source

    def forward(self, source: Tensor, decoder_input_ids: Tensor) -> Tensor:
        given = {self.source: source, "decoder_input_ids": decoder_input_ids}
        logits: Tensor = self.model(**given, use_cache=False).logits
        return logits


class Pairs(nn.Module):
    """CLIP: the embeddings of texts and of images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(input_ids=input_ids, pixel_values=pixel_values)
        return found.text_embeds, found.image_embeds


class Hidden(nn.Module):
    """CLIP's way with images alone, up to its last hidden state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        state: Tensor = self.model(pixel_values=pixel_values).last_hidden_state
        return state


def transformers_models() -> dict[str, Build]:
    """A builder for each name, under `transformers/`."""
    return {f"transformers/{name}": build for name, build in (*_words().items(), *_others().items())}


def _words() -> dict[str, Build]:
    encoders = {
        "bert": partial(_language, "BertForMaskedLM", "BertConfig", BERT),
        "distilbert": partial(
            _language, "DistilBertForMaskedLM", "DistilBertConfig",
            {"vocab_size": WORDS, "dim": WIDTH, "hidden_dim": 128, "n_layers": 2, "n_heads": 4, "pad_token_id": 0},
        ),
        "roberta": partial(_language, "RobertaForMaskedLM", "RobertaConfig", BERT),
        "deberta": partial(_language, "DebertaForMaskedLM", "DebertaConfig", BERT),
        "convbert": partial(_language, "ConvBertForMaskedLM", "ConvBertConfig", {**BERT, "embedding_size": WIDTH}),
    }  # fmt: skip
    gpt2 = {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 64, "use_cache": False}
    decoders: dict[str, Build] = {
        "gpt2": partial(_language, "GPT2LMHeadModel", "GPT2Config", gpt2),
        "opt": partial(
            _language, "OPTForCausalLM", "OPTConfig",
            {**BERT, "ffn_dim": INNER, "word_embed_proj_dim": WIDTH, "use_cache": False},
        ),
        "llama": partial(_language, "LlamaForCausalLM", "LlamaConfig", GPT),
        "mistral": partial(_language, "MistralForCausalLM", "MistralConfig", {**GPT, "sliding_window": 8}),
        "qwen2": partial(_language, "Qwen2ForCausalLM", "Qwen2Config", GPT),
        "qwen3": partial(_language, "Qwen3ForCausalLM", "Qwen3Config", {**GPT, "head_dim": 16}),
        "gemma2": partial(_language, "Gemma2ForCausalLM", "Gemma2Config", {**GPT, "head_dim": 8}),
        "phi": partial(_language, "PhiForCausalLM", "PhiConfig", GPT),
        "mamba": partial(
            _language, "MambaForCausalLM", "MambaConfig",
            {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "use_cache": False},
        ),
    }  # fmt: skip
    variants: dict[str, Build] = {
        "bert_any_length": partial(_language, "BertForMaskedLM", "BertConfig", BERT, sequence=True),
        "gpt2_any_length": partial(_language, "GPT2LMHeadModel", "GPT2Config", gpt2, sequence=True),
        "llama_any_length": partial(_language, "LlamaForCausalLM", "LlamaConfig", GPT, sequence=True),
        "bert_eager": partial(_language, "BertForMaskedLM", "BertConfig", BERT, attention="eager"),
        "llama_eager": partial(_language, "LlamaForCausalLM", "LlamaConfig", GPT, attention="eager"),
    }
    return {**encoders, **decoders, **variants}


def _others() -> dict[str, Build]:
    swin = {"image_size": 64, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
    segformer = {
        "depths": [1, 1], "num_encoder_blocks": 2, "hidden_sizes": [16, 32], "num_attention_heads": [1, 2],
        "sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 32,
    }  # fmt: skip
    return {
        "t5": partial(_t5, T5),
        "t5_gated": partial(_t5, {**T5, "feed_forward_proj": "gated-gelu"}),
        "whisper": _whisper,
        "vit": partial(_picture, "ViTForImageClassification", "ViTConfig", PICTURE),
        "swin": partial(_picture, "SwinForImageClassification", "SwinConfig", swin),
        "segformer": partial(_picture, "SegformerForImageClassification", "SegformerConfig", segformer),
        "clip": _clip,
        "clip_vision": _clip_vision,
    }


def _made(model: str, config: str, options: dict[str, Any], **more: Any) -> nn.Module:
    import transformers

    made: nn.Module = getattr(transformers, model)._from_config(getattr(transformers, config)(**options), **more)
    return made


def _ids(length: int = LENGTH) -> Tensor:
    return torch.randint(1, WORDS, (EXAMPLES, length))


def _language(
    model: str, config: str, options: dict[str, Any], *, sequence: bool = False, attention: str | None = None
) -> Subject:
    return of_tensors(Words(_made(model, config, options, attn_implementation=attention)), [_ids()], sequence=sequence)


def _t5(options: dict[str, Any]) -> Subject:
    made = _made("T5ForConditionalGeneration", "T5Config", options)
    return of_tensors(Translation(made, "input_ids"), [_ids(), _ids(8)])


def _whisper() -> Subject:
    options = {
        "vocab_size": WORDS, "num_mel_bins": 16, "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
        "max_source_positions": 20, "max_target_positions": 20, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 1, "use_cache": False,
    }  # fmt: skip
    made = _made("WhisperForConditionalGeneration", "WhisperConfig", options)
    return of_tensors(Translation(made, "input_features"), [torch.randn(EXAMPLES, 16, 40), _ids(8)])


def _picture(model: str, config: str, options: dict[str, Any]) -> Subject:
    return of_tensors(Pixels(_made(model, config, options)), [torch.randn(EXAMPLES, 3, 64, 64)])


def _clip() -> Subject:
    text = {**BERT, "eos_token_id": 2, "bos_token_id": 1, "projection_dim": 48}
    options = {"text_config": text, "vision_config": {**PICTURE, "projection_dim": 48}, "projection_dim": 48}
    made = _made("CLIPModel", "CLIPConfig", options)
    return of_tensors(Pairs(made), [_ids(), torch.randn(EXAMPLES, 3, 64, 64)])


def _clip_vision() -> Subject:
    return of_tensors(Hidden(_made("CLIPVisionModel", "CLIPVisionConfig", PICTURE)), [torch.randn(EXAMPLES, 3, 64, 64)])
