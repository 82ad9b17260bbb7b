"""transformers' SiglipVisionModel on random weights, under JanusFlow's (timm's) names -> tests/data/siglip/.

config.json has the form of the published file, with the sizes in vision_und_enc_config.params; model.safetensors (BF16, computed from the
rounded weights) has the keys vision_und_enc_model.vision_tower.{patch_embed.proj, pos_embed, blocks.N.*, norm, attn_pool.*}.
golden.safetensors, B = 2, 3 x 3 patches of 14, row by row:

  pixels [B, 3, 42, 42]; patch_embed [B, 9, width] (patches with positions added); block.0-2 [B, 9, width]; out [B, 9, width] (after the
  final LayerNorm: the tower's output); pooled [B, width] (the attention pool, which JanusFlow leaves out)
"""

import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from common import generator, randomise, save, save_json

WIDTH, HEADS, LAYERS, PATCH, SIZE = 50, 5, 3, 14, 42
config = SiglipVisionConfig(hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, image_size=SIZE, patch_size=PATCH,
                            hidden_act="gelu", layer_norm_eps=1e-6)  # gelu: exact, as timm has it; transformers' default is the tanh form
config._attn_implementation = "eager"
model = SiglipVisionModel(config).eval()
randomise(model, 70)
g = generator(71)
for table in (model.vision_model.embeddings.position_embedding.weight, model.vision_model.head.probe):
    table.copy_((torch.randn(table.shape, generator=g) * 0.7).to(torch.bfloat16))

pixels = torch.rand(2, 3, SIZE, SIZE, generator=g) * 2 - 1
result = model(pixels, output_hidden_states=True)
golden = {"pixels": pixels, "patch_embed": result.hidden_states[0], "out": result.last_hidden_state, "pooled": result.pooler_output}
golden |= {f"block.{i}": h for i, h in enumerate(result.hidden_states[1:])}
print({k: round(float(v.std()), 2) for k, v in golden.items()})
assert all(v.std() > 0.3 for v in golden.values())

source = {k.removeprefix("vision_model."): v for k, v in model.state_dict().items()}
tower = {"pos_embed": source["embeddings.position_embedding.weight"][None], "attn_pool.latent": source["head.probe"]}
for end in ("weight", "bias"):
    tower[f"patch_embed.proj.{end}"] = source[f"embeddings.patch_embedding.{end}"]
    tower[f"norm.{end}"] = source[f"post_layernorm.{end}"]
    for i in range(LAYERS):
        layer, block = f"encoder.layers.{i}", f"blocks.{i}"
        tower[f"{block}.attn.qkv.{end}"] = torch.cat([source[f"{layer}.self_attn.{n}_proj.{end}"] for n in "qkv"])
        for theirs, ours in (("self_attn.out_proj", "attn.proj"), ("layer_norm1", "norm1"), ("layer_norm2", "norm2"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            tower[f"{block}.{ours}.{end}"] = source[f"{layer}.{theirs}.{end}"]
    q, k, v = source[f"head.attention.in_proj_{end}"].chunk(3)
    tower |= {f"attn_pool.q.{end}": q, f"attn_pool.kv.{end}": torch.cat([k, v])}
    for theirs, ours in (("attention.out_proj", "proj"), ("layernorm", "norm"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
        tower[f"attn_pool.{ours}.{end}"] = source[f"head.{theirs}.{end}"]
assert sum(t.numel() for t in tower.values()) == sum(t.numel() for t in source.values())

save("siglip", "model", {f"vision_und_enc_model.vision_tower.{k}": v for k, v in tower.items()}, bf16=True)
save("siglip", "golden", golden)
params = dict(image_size=SIZE, model_name=f"siglip_tiny_patch{PATCH}_{SIZE}", select_feature="same", select_layer=-1, width=WIDTH, layers=LAYERS, heads=HEADS,
              patch_size=PATCH, mlp_ratio=4)
save_json("siglip", "config.json", {"vision_und_enc_config": {"model_type": "vision_und_enc", "cls": "CLIPVisionTower", "params": params}})
