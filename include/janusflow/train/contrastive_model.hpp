// SigLIP's tower and the small text tower that it is trained against (Zhai et al. 2023, arXiv 2303.15343).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "janusflow/autodiff/operations.hpp"
#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/models/siglip.hpp"
#include "janusflow/ops/attention.hpp"

namespace janusflow {

/// The sizes of a text tower; its width is the picture tower's, and so are its heads and its MLP.
struct TextTowerConfig {
  Index vocabulary = 0;
  Index length = 64;  // tokens of a text; what is longer is cut
  Index layers = 2;
};

/// Texts as one sequence of tokens, in which each sees itself alone.
class TextBatch {
 public:
  /// Adds a text of at least one token, of which those beyond `length` are left out.
  void add(std::span<const std::int32_t> ids, Index length) {
    require(!ids.empty(), "text batch: a text has no tokens");
    const Index begin = std::ssize(ids_), count = std::min<Index>(std::ssize(ids), length);
    ids_.insert(ids_.end(), ids.begin(), ids.begin() + count);
    for (Index i = 0; i < count; ++i) positions_.push_back(static_cast<std::int32_t>(i));
    segments_.push_back({begin, begin + count});
    ends_.push_back(begin + count);
  }
  Index count() const { return std::ssize(ends_); }
  const std::vector<std::int32_t>& ids() const { return ids_; }
  const std::vector<std::int32_t>& positions() const { return positions_; }
  const std::vector<Segment>& segments() const { return segments_; }
  const std::vector<Index>& ends() const { return ends_; }

 private:
  std::vector<std::int32_t> ids_, positions_;
  std::vector<Segment> segments_;
  std::vector<Index> ends_;
};

/// Tokens with learned positions, blocks as the picture tower's, the mean over a text's tokens, a linear layer.
template <class P>
struct TextTower {
  typename P::Table embed_tokens;     // [vocabulary, C]
  typename P::Table embed_positions;  // [length, C]
  std::vector<SiglipBlock<P>> blocks;
  LayerNorm<P> norm;
  Linear<P> proj;

  TextTower(const SiglipConfig& c, const TextTowerConfig& text)
      : embed_tokens(text.vocabulary, c.width), embed_positions(text.length, c.width), norm(c.width, 1e-6f), proj(c.width, c.width) {
    for (Index i = 0; i < text.layers; ++i) blocks.emplace_back(c);
  }

  /// One vector for each text: [texts, C]. The batch must live until the tape has gone back.
  auto operator()(const TextBatch& texts) const {
    const auto tokens = embedding(std::span(texts.ids()), embed_tokens) + embedding(std::span(texts.positions()), embed_positions);  // [T, C]
    const Index length = tokens.shape()[0], width = tokens.shape()[1];
    auto x = tokens.reshaped(Shape{Index{1}, length, width});
    for (const auto& block : blocks) x = run_block(block, x, AttentionMask{false, {}, texts.segments()});
    return proj(segment_means(norm(x).reshaped(Shape{length, width}), std::span(texts.ends())));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("embed_tokens.weight", self.embed_tokens);
    walk("embed_positions.weight", self.embed_positions);
    walk("blocks", self.blocks);
    walk("norm", self.norm);
    walk("proj", self.proj);
  }
};

/// Both towers, and what makes logits of their cosines.
template <class P>
struct ContrastiveModel {
  SiglipTower<P> tower;
  SiglipPool<P> pool;
  TextTower<P> text_tower;
  typename P::template Array<1> logit_scale, logit_bias;  // [1]: t' and b of the paper

  ContrastiveModel(const SiglipConfig& c, const TextTowerConfig& text)
      : tower(c), pool(c), text_tower(c, text), logit_scale(Shape{Index{1}}), logit_bias(Shape{Index{1}}) {}

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("vision_tower", self.tower);
    walk("vision_tower.attn_pool", self.pool);
    walk("text_tower", self.text_tower);
    walk("logit_scale", self.logit_scale);
    walk("logit_bias", self.logit_bias);
  }
};

/// The loss of a batch, and the cosines of its pictures and texts [M, N].
template <class T>
struct ContrastiveLoss {
  Var<T, 1> loss;
  Var<T, 2> similarities;

  /// The share of pictures whose most similar text is one of theirs.
  double accuracy(const Tensor<float, 2>& labels) const {
    const auto s = similarities.value();
    Index right = 0;
    for (Index i = 0; i < s.shape[0]; ++i) right += labels(i, std::max_element(s.row(i), s.row(i) + s.shape[1]) - s.row(i)) > 0;
    return static_cast<double>(right) / static_cast<double>(std::max<Index>(1, s.shape[0]));
  }
};

/// Algorithm 1 of the paper on pixels [M, S, S, 3], normalised, and N texts; labels [M, N] are 1 where a picture and a text belong
/// together and -1 elsewhere. The mean over the pictures: those of a batch may be learned in parts. Record it under a Tape to train; `texts` must live until the tape has gone back.
template <class T>
ContrastiveLoss<T> contrastive_loss(const ContrastiveModel<Taped<T>>& model, const Tensor<float, 4>& pixels, const TextBatch& texts,
                                    const Tensor<float, 2>& labels) {
  const Index count = pixels.shape()[0];
  require(labels.shape() == Shape{count, texts.count()}, "contrastive_loss: labels ", labels.shape(), " for ", count, " pictures and ", texts.count(), " texts");
  const auto pooled = model.pool(model.tower(constant<T>(pixels)));  // [M, 1, C]
  const auto pictures = l2_normalize(pooled.reshaped(Shape{count, pooled.shape()[2]}));
  const auto similarities = linear(pictures, l2_normalize(model.text_tower(texts)));  // [M, N]
  return {sigmoid_pair_loss<T>(similarities, model.logit_scale, model.logit_bias, constant<T>(labels)), similarities};
}

/// The labels of N pairs: 1 on the diagonal, and where a picture or a text is another pair's too.
template <class Picture>
Tensor<float, 2> pair_labels(std::span<const Picture> pictures, std::span<const std::string> texts) {
  const Index count = std::ssize(pictures);
  Tensor<float, 2> labels(Shape{count, count}, -1.0f);
  for (Index i = 0; i < count; ++i)
    for (Index j = 0; j < count; ++j) {
      const auto a = static_cast<std::size_t>(i), b = static_cast<std::size_t>(j);
      if (pictures[a] == pictures[b] || texts[a] == texts[b]) labels(i, j) = 1;
    }
  return labels;
}

}  // namespace janusflow
