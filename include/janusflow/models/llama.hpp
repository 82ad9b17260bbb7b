// Llama: the language model at the heart of JanusFlow (Touvron et al. 2023, arXiv 2302.13971; transformers' LlamaModel).
#pragma once

#include <algorithm>

#include "janusflow/io/llama_config.hpp"
#include "janusflow/nn/key_value_cache.hpp"
#include "janusflow/nn/layers.hpp"
#include "janusflow/ops/attention_inputs.hpp"

namespace janusflow {

/// Where the new tokens of one sequence stand and what they see before them.
struct SequenceContext {
  KeyValueCache* cache = nullptr;  // of the sequence so far; null: nothing
  Index visible = 0;               // how many of its positions the new tokens see, from the first on
  Index position = 0;              // of the first new token, for the rotary embedding
  Index first_key = 0;             // new and old tokens before it are padding, seen by nobody
};

/// Whether the new tokens' keys and values are appended to their sequence's cache.
enum class Remember { no, yes };

/// What every layer of one forward pass is told. Owns it, so that a block can be computed again later.
struct LlamaPass {
  std::vector<SequenceContext> sequences;  // [B], or none
  std::vector<Segment> segments;           // of all tokens, counted through, or none
  Rotation rotation;
  Remember remember = Remember::no;
  std::vector<Index> first_key = {};  // [B], or none

  AttentionMask mask() const { return {true, first_key, segments}; }

  /// What the sequences see of a layer's earlier keys and values.
  std::vector<Past> past(Index layer) const {
    std::vector<Past> list;
    for (const SequenceContext& s : sequences) list.push_back(s.cache ? s.cache->past(layer, s.visible) : Past{});
    return list;
  }
  /// Appends a layer's keys and values [B, T, kv_heads * D] to the sequences' caches, if that was asked for.
  template <class X>
  void keep(Index layer, const X& keys, const X& values) const {
    if (remember == Remember::no) return;
    if constexpr (TensorLike<X>)
      for (std::size_t b = 0; b < sequences.size(); ++b)
        sequences[b].cache->append(layer, keys.view()[static_cast<Index>(b)], values.view()[static_cast<Index>(b)]);
    else
      fail("llama: a pass that is recorded cannot be remembered");
  }
};

template <class P>
struct LlamaAttention {
  Index layer, heads, kv_heads, head_dim;
  Linear<P> q_proj, k_proj, v_proj, o_proj;

  LlamaAttention(const LlamaConfig& c, Index layer)
      : layer(layer),
        heads(c.num_attention_heads),
        kv_heads(c.num_key_value_heads),
        head_dim(c.head_dim),
        q_proj(c.hidden_size, heads * head_dim, Bias::none),
        k_proj(c.hidden_size, kv_heads * head_dim, Bias::none),
        v_proj(c.hidden_size, kv_heads * head_dim, Bias::none),
        o_proj(heads * head_dim, c.hidden_size, Bias::none) {}

  /// residual + attention(x); x, residual [B, T, C] -> [B, T, C]
  template <class Normed, class X>
  X operator()(const Normed& x, const X& residual, const LlamaPass& pass) const {
    using Value = typename P::Dot::Value;
    // [B, T, heads * D], [B, T, kv_heads * D] twice
    const auto [q, k, v] = attention_inputs<Value>(x, q_proj.weight, k_proj.weight, v_proj.weight, pass.rotation);
    const auto mixed = attention<typename P::Dot>(q, k, v, heads, kv_heads, pass.mask(), pass.past(layer));  // [B, T, heads * D]
    pass.keep(layer, k, v);
    return o_proj(mixed, Add{residual});
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("q_proj", self.q_proj);
    walk("k_proj", self.k_proj);
    walk("v_proj", self.v_proj);
    walk("o_proj", self.o_proj);
  }
};

template <class P>
struct LlamaMlp {
  Linear<P> gate_proj, up_proj, down_proj;

  explicit LlamaMlp(const LlamaConfig& c)
      : gate_proj(c.hidden_size, c.intermediate_size, Bias::none),
        up_proj(c.hidden_size, c.intermediate_size, Bias::none),
        down_proj(c.intermediate_size, c.hidden_size, Bias::none) {}

  /// residual + down(silu(gate(x)) * up(x)); [B, T, C]
  template <class Normed, class X>
  X operator()(const Normed& x, const X& residual) const {
    return down_proj(swiglu_for<typename P::Matrix>(x, gate_proj.weight, up_proj.weight), Add{residual});
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("gate_proj", self.gate_proj);
    walk("up_proj", self.up_proj);
    walk("down_proj", self.down_proj);
  }
};

template <class P>
struct LlamaLayer {
  RmsNorm<P> input_layernorm;
  LlamaAttention<P> self_attn;
  RmsNorm<P> post_attention_layernorm;
  LlamaMlp<P> mlp;

  LlamaLayer(const LlamaConfig& c, Index layer)
      : input_layernorm(c.hidden_size, static_cast<float>(c.rms_norm_eps)),
        self_attn(c, layer),
        post_attention_layernorm(c.hidden_size, static_cast<float>(c.rms_norm_eps)),
        mlp(c) {}

  /// x [B, T, C] -> [B, T, C]
  template <class X>
  X operator()(const X& x, const LlamaPass& pass) const {
    const X h = self_attn(input_layernorm.for_linear(x), x, pass);
    return mlp(post_attention_layernorm.for_linear(h), h);
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("input_layernorm", self.input_layernorm);
    walk("self_attn", self.self_attn);
    walk("post_attention_layernorm", self.post_attention_layernorm);
    walk("mlp", self.mlp);
  }
};

/// The language model without its head.
template <class P>
struct LlamaModel {
  Index max_positions;
  double rope_theta;
  typename P::Table embed_tokens;  // [V, C]
  std::vector<LlamaLayer<P>> layers;
  RmsNorm<P> norm;

  explicit LlamaModel(const LlamaConfig& c)
      : max_positions(c.max_position_embeddings),
        rope_theta(c.rope_theta),
        embed_tokens(c.vocab_size, c.hidden_size),
        norm(c.hidden_size, static_cast<float>(c.rms_norm_eps)) {
    for (Index i = 0; i < c.num_hidden_layers; ++i) layers.emplace_back(c, i);
  }

  /// An empty cache for one sequence.
  KeyValueCache new_cache() const {
    const auto& attention = layers.front().self_attn;
    return {std::ssize(layers), attention.kv_heads, attention.head_dim, std::type_identity<typename P::Dot::Value>()};
  }

  /// token ids, T of them -> embeddings [T, C]
  auto embed(std::span<const std::int32_t> ids) const { return embedding(ids, embed_tokens); }

  /// Hidden states before the final norm; x [B, T, C] embeddings -> [B, T, C]. `after_layer(i, h)` sees each layer's output.
  /// Throws when a token would stand at or beyond max_position_embeddings.
  template <class X, class Observer>
  X hidden(X x, std::span<const SequenceContext> sequences, Remember remember, Observer&& after_layer) const {
    const Index batch = x.shape()[0], length = x.shape()[1];
    std::vector<SequenceContext> list(sequences.begin(), sequences.end());
    if (list.empty()) list.resize(static_cast<std::size_t>(batch));
    require(std::ssize(list) == batch, "llama: ", list.size(), " sequences for a batch of ", batch);
    std::vector<Index> positions, first_key;
    for (const SequenceContext& s : list) {
      require(s.cache || (s.visible == 0 && remember == Remember::no),
              "llama: a sequence without a cache can neither see earlier tokens nor be remembered");
      first_key.push_back(s.first_key);
      for (Index t = 0; t < length; ++t) positions.push_back(s.position + t);
    }
    return through(std::move(x), {std::move(list), {}, rotation(std::move(positions)), remember, std::move(first_key)}, after_layer);
  }

  /// The same for samples that lie one behind the other in sequences without a past: `segments` say, for the tokens of all
  /// sequences, counted through, who sees whom and where they stand. They must cover the tokens, in order.
  template <class X, class Observer>
  X hidden(X x, std::span<const Segment> segments, Observer&& after_layer) const {
    std::vector<Index> positions;
    for (const Segment& s : segments)
      for (Index t = 0; t < s.length(); ++t) positions.push_back(s.position + t);
    return through(std::move(x), {{}, {segments.begin(), segments.end()}, rotation(std::move(positions))}, after_layer);
  }

  /// Hidden states after the final norm; x [B, T, C] embeddings -> [B, T, C].
  template <class X>
  X operator()(X x, std::span<const SequenceContext> sequences = {}, Remember remember = Remember::no) const {
    return norm(hidden(std::move(x), sequences, remember, [](Index, const X&) {}));
  }
  template <class X>
  X operator()(X x, std::span<const Segment> segments) const {
    return norm(hidden(std::move(x), segments, [](Index, const X&) {}));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("embed_tokens.weight", self.embed_tokens);
    walk("layers", self.layers);
    walk("norm", self.norm);
  }

 private:
  Rotation rotation(std::vector<Index> positions) const {
    const Index length = positions.empty() ? 0 : std::ranges::max(positions) + 1;
    require(length <= max_positions, "llama: a sequence of ", length, " tokens is longer than the model's ", max_positions);
    return {std::move(positions), layers.front().self_attn.head_dim, rope_theta};
  }

  template <class X, class Observer>
  X through(X x, const LlamaPass& pass, Observer&& after_layer) const {
    Index index = 0;
    for (const auto& layer : layers) {
      x = run_block(layer, x, pass);
      after_layer(index++, x);
    }
    return x;
  }
};

/// The language model with its head. A tied head has no parameters of its own: the loader packs the embedding table for it.
template <class P>
struct LlamaForCausalLM {
  LlamaModel<P> model;
  Linear<P> lm_head;  // C -> V
  bool tied;

  explicit LlamaForCausalLM(const LlamaConfig& c)
      : model(c), lm_head(c.hidden_size, c.vocab_size, Bias::none), tied(c.tie_word_embeddings) {}

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("model", self.model);
    if (!self.tied) walk("lm_head", self.lm_head);
  }
};

}  // namespace janusflow
