// SigLIP's vision tower in the official key layout (Zhai et al. 2023, arXiv 2303.15343; the ViT of timm).
#pragma once

#include "janusflow/io/siglip_config.hpp"
#include "janusflow/nn/layers.hpp"
#include "janusflow/ops/attention.hpp"
#include "janusflow/ops/sequence.hpp"

namespace janusflow {

template <class P>
struct SiglipAttention {
  Index heads;
  Linear<P> qkv, proj;

  SiglipAttention(Index width, Index heads) : heads(heads), qkv(width, 3 * width), proj(width, width) {}

  /// residual + attention(x), every patch sees every patch unless the mask says otherwise; [B, N, C]
  template <class Normed, class X>
  X operator()(const Normed& x, const X& residual, AttentionMask mask = {}) const {
    const auto all = qkv.for_attention(x);  // [B, N, 3C]
    const Index width = residual.shape()[2];
    const auto part = [&](Index i) { return columns(all, i * width, (i + 1) * width); };
    return proj(attention<typename P::Dot>(part(0), part(1), part(2), heads, heads, mask), Add{residual});
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("qkv", self.qkv);
    walk("proj", self.proj);
  }
};

template <class P>
struct SiglipMlp {
  Linear<P> fc1, fc2;

  SiglipMlp(Index width, Index hidden) : fc1(width, hidden), fc2(hidden, width) {}

  /// residual + fc2(gelu(fc1(x))); [..., C]
  template <class Normed, class X>
  X operator()(const Normed& x, const X& residual) const {
    return fc2(fc1.for_linear(x, Gelu{}), Add{residual});
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("fc1", self.fc1);
    walk("fc2", self.fc2);
  }
};

template <class P>
struct SiglipBlock {
  LayerNorm<P> norm1;
  SiglipAttention<P> attn;
  LayerNorm<P> norm2;
  SiglipMlp<P> mlp;

  explicit SiglipBlock(const SiglipConfig& c)
      : norm1(c.width, 1e-6f), attn(c.width, c.heads), norm2(c.width, 1e-6f), mlp(c.width, c.mlp_width()) {}

  /// x [B, N, C] -> [B, N, C]
  template <class X>
  X operator()(const X& x, AttentionMask mask = {}) const {
    const X h = attn(norm1.for_linear(x), x, mask);
    return mlp(norm2.for_linear(h), h);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("norm1", self.norm1);
    walk("attn", self.attn);
    walk("norm2", self.norm2);
    walk("mlp", self.mlp);
  }
};

/// The patches' features. The attention-pool head that checkpoints carry is not part of it (official ignore_head).
template <class P>
struct SiglipTower {
  Conv2d<P> patch_embed;                  // patch x patch, stride patch
  typename P::template Array<3> pos_embed;  // [1, N, C]
  std::vector<SiglipBlock<P>> blocks;
  LayerNorm<P> norm;
  Index image_size;

  explicit SiglipTower(const SiglipConfig& c)
      : patch_embed(3, c.width, c.patch_size, {c.patch_size}),
        pos_embed(Shape{Index{1}, c.num_patches(), c.width}),
        norm(c.width, 1e-6f),
        image_size(c.image_size) {
    for (Index i = 0; i < c.layers; ++i) blocks.emplace_back(c);
  }

  /// Patch embeddings with positions; pixels [B, S, S, 3], normalised -> [B, N, C]
  template <class X>
  auto embed(const X& pixels) const {
    const Shape<4> expected{{pixels.shape()[0], image_size, image_size, 3}};
    require(pixels.shape() == expected, "siglip: pixels ", pixels.shape(), " must be ", expected);
    auto patches = patch_embed(pixels);  // [B, S / patch, S / patch, C]
    const Index batch = expected[0], count = pos_embed.shape()[1], width = pos_embed.shape()[2];
    auto x = std::move(patches).reshaped(Shape{batch, count, width});
    return add_rows(std::move(x), pos_embed);
  }

  /// pixels [B, S, S, 3], normalised -> features [B, N, C]. `after_block(i, x)` sees each block's output.
  template <class X, class Observer>
  auto features(const X& pixels, Observer&& after_block) const {
    auto x = embed(pixels);
    Index index = 0;
    for (const auto& block : blocks) {
      x = run_block(block, x);
      after_block(index++, x);
    }
    return norm(x);
  }
  template <class X>
  auto operator()(const X& pixels) const {
    return features(pixels, [](Index, const auto&) {});
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("patch_embed.proj", self.patch_embed);
    walk("pos_embed", self.pos_embed);
    walk("blocks", self.blocks);
    walk("norm", self.norm);
  }
};

/// The head that pools a picture's features into one vector of the contrastive space (timm's AttentionPoolLatent). JanusFlow's
/// understanding leaves it out, but its checkpoints carry it.
template <class P>
struct SiglipPool {
  Index heads;
  typename P::template Array<3> latent;  // [1, 1, C], the one query
  Linear<P> q, kv, proj;
  LayerNorm<P> norm;
  SiglipMlp<P> mlp;

  explicit SiglipPool(const SiglipConfig& c)
      : heads(c.heads),
        latent(Shape{Index{1}, Index{1}, c.width}),
        q(c.width, c.width),
        kv(c.width, 2 * c.width),
        proj(c.width, c.width),
        norm(c.width, 1e-6f),
        mlp(c.width, c.mlp_width()) {}

  /// features [B, N, C] -> [B, 1, C]
  template <class X>
  X operator()(const X& features) const {
    const Index width = features.shape()[2];
    const std::vector<Index> once_each(static_cast<std::size_t>(features.shape()[0]), 0);
    const X keys = kv(features);  // [B, N, 2C]
    const X query = q(select(latent, once_each));
    const X h = proj(attention<typename P::Dot>(query, columns(keys, 0, width), columns(keys, width, 2 * width), heads, heads));
    return mlp(norm.for_linear(h), h);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("latent", self.latent);
    walk("q", self.q);
    walk("kv", self.kv);
    walk("proj", self.proj);
    walk("norm", self.norm);
    walk("mlp", self.mlp);
  }
};

}  // namespace janusflow
