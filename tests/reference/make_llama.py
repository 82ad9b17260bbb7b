"""transformers' LlamaForCausalLM on random weights -> tests/data/llama/{gqa,tied}/.

gqa: 6 heads on 2 key-value heads, own output head. tied: 6 heads on 3, the embedding is the output head (no lm_head.weight in the file),
rope_theta 500000, rms_norm_eps 1e-5. Each folder is a model directory (config.json, model.safetensors in BF16, computed from the rounded
weights) and has golden.safetensors:

  batch.ids [B, T], batch.mask [B, T] (0 = left padding); positions are 0..T-1 in every row, as JanusFlow passes no position_ids
  batch.hidden.0 (embeddings), .1 ... .L-1 (after each layer but the last), batch.last (after the last layer and the final norm), all
      [B, T, hidden]; batch.logits [B, T, vocab]. Padding's own rows are 0: nothing reads them.
  greedy.prompt [T0], greedy.ids [12], greedy.logits [12, vocab] (those each id was chosen from), greedy.margin: least lead of the best logit
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from common import generator, randomise, save, save_json

VOCAB = 131


def make(folder, seed, gain=1.0, **sizes):
    config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16", **sizes)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).float().eval()
    randomise(model, seed, gain)
    g = generator(seed + 1)
    embedding = model.model.embed_tokens.weight
    embedding.copy_((torch.randn(embedding.shape, generator=g) * (0.3 if config.tie_word_embeddings else 1.0)).to(torch.bfloat16))
    if not config.tie_word_embeddings:
        head = model.lm_head.weight
        head.copy_((torch.randn(head.shape, generator=g) * 0.25).to(torch.bfloat16))

    lengths, T = [11, 7, 4], 11
    ids = torch.randint(3, VOCAB, (3, T), generator=g)
    mask = (torch.arange(T)[None] >= T - torch.tensor(lengths)[:, None]).long()
    ids = torch.where(mask == 1, ids, torch.tensor(2))
    positions = torch.arange(T)[None].expand(3, T)
    result = model(ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
    keep = mask[:, :, None].float()
    golden = {"batch.ids": ids, "batch.mask": mask.to(torch.int32), "batch.logits": result.logits * keep}
    for i, h in enumerate(result.hidden_states[:-1]):
        golden[f"batch.hidden.{i}"] = h * keep
    golden["batch.last"] = result.hidden_states[-1] * keep
    alone = model(ids[1:2, T - lengths[1] :]).logits  # positions shifted and no padding: the same answer, since rope is relative
    assert (alone - result.logits[1:2, T - lengths[1] :]).abs().max() < 1e-4

    prompt = torch.randint(3, VOCAB, (1, 9), generator=g)
    chosen = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, output_logits=True, return_dict_in_generate=True,
                            eos_token_id=None, pad_token_id=2)
    logits = torch.cat(chosen.logits)  # [12, vocab], by the key-value cache
    full = model(chosen.sequences[:, :-1], use_cache=False).logits[0, 8:]
    assert (full - logits).abs().max() < 2e-5, "incremental decoding differs from one pass"
    top = logits.topk(2).values
    margin = (top[:, 0] - top[:, 1]).min()
    new = chosen.sequences[0, 9:]
    print(folder, "greedy", new.tolist(), "margin", float(margin), "hidden std", [round(float(h[mask == 1].std()), 2) for h in result.hidden_states])
    assert margin > 0.05 and len(set(new.tolist())) >= 8 and 2 not in new
    golden |= {"greedy.prompt": prompt[0], "greedy.ids": new, "greedy.logits": logits, "greedy.margin": margin}

    weights = {k: v for k, v in model.state_dict().items() if not (config.tie_word_embeddings and k == "lm_head.weight")}
    save(f"llama/{folder}", "model", weights, bf16=True)
    save(f"llama/{folder}", "golden", golden)
    keys = ["architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "rms_norm_eps",
            "rope_theta", "vocab_size", "max_position_embeddings", "tie_word_embeddings", "hidden_act", "bos_token_id", "eos_token_id"]
    values = config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    save_json(f"llama/{folder}", "config.json", {k: values[k] for k in keys} | {"torch_dtype": "bfloat16"})  # no head_dim: hidden / heads


make("gqa", 31, hidden_size=96, intermediate_size=200, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=10000.0)
make("tied", 53, gain=1.5, hidden_size=48, intermediate_size=72, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3, rms_norm_eps=1e-5,
     rope_theta=500000.0, tie_word_embeddings=True)
