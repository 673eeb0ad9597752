"""CLIP as open_clip lays it out, tiny and random: its weights, and its forward pass in plain torch."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.shapes.tokenizer import clip_tokenizer

WIDTH, READING, EMBED, LENGTH, PATCH, IMAGE, LAYERS = 24, 16, 8, 12, 4, 16, 2
HEADS, READING_HEADS = 3, 2


def tokenizer():
    """Its last two words begin and end a text, as in CLIP's own."""
    from transformers import CLIPTokenizer

    made = clip_tokenizer()
    words = [word for word in made.get_vocab() if not word.startswith("<|")]
    words = [*sorted(words, key=made.get_vocab().get), "<|startoftext|>", "<|endoftext|>"]
    merges = [tuple(pair) for pair in json.loads(made.backend_tokenizer.to_str())["model"]["merges"]]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=merges)


def architecture(quick: bool = False) -> dict:
    """open_clip's model config."""
    vision = {"image_size": IMAGE, "layers": LAYERS, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH}
    text = {
        "context_length": LENGTH,
        "vocab_size": len(tokenizer()),
        "width": READING,
        "heads": READING_HEADS,
        "layers": LAYERS,
    }
    return {"embed_dim": EMBED, "vision_cfg": vision, "text_cfg": text} | ({"quick_gelu": True} if quick else {})


def weights(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g) * 0.3

    def blocks(prefix: str, width: int) -> dict[str, Tensor]:
        found = {}
        for i in range(LAYERS):
            at = f"{prefix}transformer.resblocks.{i}."
            for norm in ("ln_1", "ln_2"):
                found |= {f"{at}{norm}.weight": 1 + draw(width), f"{at}{norm}.bias": draw(width)}
            found |= {f"{at}attn.in_proj_weight": draw(3 * width, width), f"{at}attn.in_proj_bias": draw(3 * width)}
            found |= {f"{at}attn.out_proj.weight": draw(width, width), f"{at}attn.out_proj.bias": draw(width)}
            found |= {f"{at}mlp.c_fc.weight": draw(4 * width, width), f"{at}mlp.c_fc.bias": draw(4 * width)}
            found |= {f"{at}mlp.c_proj.weight": draw(width, 4 * width), f"{at}mlp.c_proj.bias": draw(width)}
        return found

    return {
        "positional_embedding": draw(LENGTH, READING),
        "text_projection": draw(READING, EMBED),
        "logit_scale": torch.tensor(2.5),
        "visual.class_embedding": draw(WIDTH),
        "visual.positional_embedding": draw((IMAGE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": draw(WIDTH, EMBED),
        "visual.conv1.weight": draw(WIDTH, 3, PATCH, PATCH),
        "visual.ln_pre.weight": 1 + draw(WIDTH),
        "visual.ln_pre.bias": draw(WIDTH),
        **blocks("visual.", WIDTH),
        "visual.ln_post.weight": 1 + draw(WIDTH),
        "visual.ln_post.bias": draw(WIDTH),
        **blocks("", READING),
        "token_embedding.weight": draw(len(tokenizer()), READING),
        "ln_final.weight": 1 + draw(READING),
        "ln_final.bias": draw(READING),
        "attn_mask": torch.full((LENGTH, LENGTH), -torch.inf).triu(1),
    }


def image_features(state: dict[str, Tensor], pixels: Tensor, quick: bool = False) -> Tensor:
    x = F.conv2d(pixels, state["visual.conv1.weight"], stride=PATCH).flatten(2).mT
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + state["visual.positional_embedding"]
    x = _transformer(state, "visual.", _norm(state, "visual.ln_pre", x), HEADS, None, quick)
    return _norm(state, "visual.ln_post", x[:, 0]) @ state["visual.proj"]


def text_features(state: dict[str, Tensor], prompts: list[str], quick: bool = False) -> Tensor:
    words = tokenizer()
    ids = torch.zeros(len(prompts), LENGTH, dtype=torch.long)  # open_clip pads with 0
    for row, prompt in enumerate(prompts):
        found = words(prompt).input_ids
        ids[row, : len(found)] = torch.tensor(found)
    x = state["token_embedding.weight"][ids] + state["positional_embedding"]
    x = _norm(state, "ln_final", _transformer(state, "", x, READING_HEADS, state["attn_mask"], quick))
    return x[torch.arange(len(x)), ids.argmax(1)] @ state["text_projection"]


def save(folder: Path, ending: str = ".pt", quick: bool = False) -> tuple[str, dict[str, str]]:
    """Checkpoint, and the arguments that go with it."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True, parents=True)
    file = folder / f"HPS_v2.1_compressed{ending}"
    state = {name: tensor.contiguous() for name, tensor in weights().items()}
    if ending == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, file)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": architecture(quick)}))
    tokenizer().save_pretrained(folder / "tokenizer")
    return str(file), {
        "architecture": str(folder / "open_clip_config.json"),
        "tokenizer": str(folder / "tokenizer"),
    }


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def _linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].mT + state[f"{name}.bias"]


def _transformer(state: dict[str, Tensor], prefix: str, x: Tensor, heads: int, mask: Tensor | None, quick: bool):
    for i in range(LAYERS):
        at = f"{prefix}transformer.resblocks.{i}."
        inner = _norm(state, f"{at}ln_1", x) @ state[f"{at}attn.in_proj_weight"].mT + state[f"{at}attn.in_proj_bias"]
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in inner.chunk(3, -1))
        logits = q @ k.mT / q.shape[-1] ** 0.5
        seen = ((logits if mask is None else logits + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + _linear(state, f"{at}attn.out_proj", seen)
        inner = _linear(state, f"{at}mlp.c_fc", _norm(state, f"{at}ln_2", x))
        inner = inner * torch.sigmoid(1.702 * inner) if quick else F.gelu(inner)
        x = x + _linear(state, f"{at}mlp.c_proj", inner)
    return x
