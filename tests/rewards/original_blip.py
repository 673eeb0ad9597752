"""ImageReward as its authors lay it out, tiny and random: its weights, and its forward pass in plain torch."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.shapes.tokenizer import bert_tokenizer

WIDTH, HEADS, TEXT, TEXT_HEADS, PATCH, IMAGE, LAYERS, LENGTH = 128, 2, 32, 2, 8, 16, 2, 35
HEAD = (24, 12, 8, 4, 1)
PLACES = (0, 2, 4, 6, 7)


def med_config() -> dict:
    """The authors' file; its encoder_width is wrong, and their code overwrites it."""
    return {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": TEXT,
        "intermediate_size": 4 * TEXT,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 64,
        "num_attention_heads": TEXT_HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0,
        "add_type_embeddings": False,
        "vocab_size": len(bert_tokenizer()) + 2,
        "encoder_width": 768,
        "add_cross_attention": True,
    }


def weights(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}

    def linear(name: str, into: int, out: int) -> None:
        found[f"{name}.weight"] = torch.randn(out, into, generator=g) / into**0.5
        found[f"{name}.bias"] = torch.randn(out, generator=g) * 0.1

    def norm(name: str, width: int) -> None:
        found[f"{name}.weight"] = 1 + torch.randn(width, generator=g) * 0.1
        found[f"{name}.bias"] = torch.randn(width, generator=g) * 0.1

    vit, bert = "blip.visual_encoder.", "blip.text_encoder."
    found[f"{vit}cls_token"] = torch.randn(1, 1, WIDTH, generator=g)
    found[f"{vit}pos_embed"] = torch.randn(1, (IMAGE // PATCH) ** 2 + 1, WIDTH, generator=g)
    linear(f"{vit}patch_embed.proj", 3 * PATCH**2, WIDTH)
    found[f"{vit}patch_embed.proj.weight"] = found[f"{vit}patch_embed.proj.weight"].view(WIDTH, 3, PATCH, PATCH)
    for i in range(LAYERS):
        for name, into, out in (("attn.qkv", 1, 3), ("attn.proj", 1, 1), ("mlp.fc1", 1, 4), ("mlp.fc2", 4, 1)):
            linear(f"{vit}blocks.{i}.{name}", into * WIDTH, out * WIDTH)
        norm(f"{vit}blocks.{i}.norm1", WIDTH)
        norm(f"{vit}blocks.{i}.norm2", WIDTH)
    norm(f"{vit}norm", WIDTH)
    found[f"{bert}embeddings.position_ids"] = torch.arange(64)[None]
    found[f"{bert}embeddings.word_embeddings.weight"] = torch.randn(med_config()["vocab_size"], TEXT, generator=g)
    found[f"{bert}embeddings.position_embeddings.weight"] = torch.randn(64, TEXT, generator=g)
    norm(f"{bert}embeddings.LayerNorm", TEXT)
    for i in range(LAYERS):
        layer = f"{bert}encoder.layer.{i}."
        for attention, into in (("attention", TEXT), ("crossattention", WIDTH)):
            linear(f"{layer}{attention}.self.query", TEXT, TEXT)
            linear(f"{layer}{attention}.self.key", into, TEXT)
            linear(f"{layer}{attention}.self.value", into, TEXT)
            linear(f"{layer}{attention}.output.dense", TEXT, TEXT)
            norm(f"{layer}{attention}.output.LayerNorm", TEXT)
        linear(f"{layer}intermediate.dense", TEXT, 4 * TEXT)
        linear(f"{layer}output.dense", 4 * TEXT, TEXT)
        norm(f"{layer}output.LayerNorm", TEXT)
    linear("blip.vision_proj", WIDTH, 4)
    for place, into, out in zip(PLACES, (TEXT, *HEAD), HEAD):
        linear(f"mlp.layers.{place}", into, out)
    return found


def score(state: dict[str, Tensor], pixels: Tensor, prompts: list[str]) -> Tensor:
    vit = "blip.visual_encoder."
    x = F.conv2d(
        pixels, state[f"{vit}patch_embed.proj.weight"], state[f"{vit}patch_embed.proj.bias"], stride=PATCH
    ).flatten(2)
    x = torch.cat([state[f"{vit}cls_token"].expand(len(x), -1, -1), x.mT], 1) + state[f"{vit}pos_embed"]
    for i in range(LAYERS):
        at = f"{vit}blocks.{i}."
        q, k, v = _linear(state, f"{at}attn.qkv", _norm(state, f"{at}norm1", x, 1e-6)).chunk(3, -1)
        x = x + _linear(state, f"{at}attn.proj", _attend(q, k, v, HEADS))
        inner = F.gelu(_linear(state, f"{at}mlp.fc1", _norm(state, f"{at}norm2", x, 1e-6)))
        x = x + _linear(state, f"{at}mlp.fc2", inner)
    image = _norm(state, f"{vit}norm", x, 1e-6)

    words = bert_tokenizer()(prompts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    bias = (1 - words.attention_mask[:, None, None].float()) * -10000.0
    bert = "blip.text_encoder."
    x = state[f"{bert}embeddings.word_embeddings.weight"][words.input_ids]
    x = _norm(state, f"{bert}embeddings.LayerNorm", x + state[f"{bert}embeddings.position_embeddings.weight"][:LENGTH])
    for i in range(LAYERS):
        at = f"{bert}encoder.layer.{i}."
        for kind, source, mask in (("attention", None, bias), ("crossattention", image, 0.0)):
            other = x if source is None else source
            parts = [
                _linear(state, f"{at}{kind}.self.{name}", of)
                for name, of in (("query", x), ("key", other), ("value", other))
            ]
            seen = _linear(state, f"{at}{kind}.output.dense", _attend(*parts, TEXT_HEADS, mask))
            x = _norm(state, f"{at}{kind}.output.LayerNorm", x + seen)
        inner = _linear(state, f"{at}output.dense", F.gelu(_linear(state, f"{at}intermediate.dense", x)))
        x = _norm(state, f"{at}output.LayerNorm", x + inner)
    x = x[:, 0]
    for place in PLACES:
        x = _linear(state, f"mlp.layers.{place}", x)
    return (x.squeeze(-1) - 0.16717362830052426) / 1.0333394966054072


def save(folder: Path) -> Path:
    """The authors' two files, and a tokenizer."""
    folder.mkdir(exist_ok=True, parents=True)
    torch.save(weights(), folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(med_config()))
    bert_tokenizer().save_pretrained(folder / "tokenizer")
    return folder


def _norm(state: dict[str, Tensor], name: str, x: Tensor, eps: float = 1e-12) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def _linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].mT + state[f"{name}.bias"]


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | float = 0.0) -> Tensor:
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return ((q @ k.mT / q.shape[-1] ** 0.5 + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)
