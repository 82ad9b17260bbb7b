// The paper's three losses on one packed batch (Ma et al. 2024, arXiv 2411.07975, section 3.2).
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "janusflow/autodiff/operations.hpp"
#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/train/training_batch.hpp"

namespace janusflow {

/// h_phi: what takes the language model's states to the features of SigLIP, for the alignment; three layers (section 3.2). No part of
/// a published checkpoint.
template <class P>
struct RepaHead {
  Linear<P> linear_1, linear_2, linear_3;

  RepaHead(Index hidden_size, Index width, Index features)
      : linear_1(hidden_size, width), linear_2(width, width), linear_3(width, features) {}

  /// x [..., C] -> [..., D]
  template <class X>
  auto operator()(const X& x) const {
    return linear_3(linear_2(linear_1(x, Silu{}), Silu{}));
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("linear_1", self.linear_1);
    walk("linear_2", self.linear_2);
    walk("linear_3", self.linear_3);
  }
};

/// The losses of one batch, each the mean over what it counts; none where nothing is counted.
template <class T>
struct Losses {
  std::optional<Var<T, 1>> ar;    // -log P of the next token, over the learned tokens
  std::optional<Var<T, 1>> rf;    // squared difference of velocities, over all their numbers
  std::optional<Var<T, 1>> repa;  // minus the cosine similarity, over the patches
  std::optional<Var<T, 2>> logits;  // [learned tokens, V], what `ar` was computed from

  /// weights . losses; throws when there is none.
  Var<T, 1> total(double ar_weight = 1, double rf_weight = 1, double repa_weight = 1) const {
    std::optional<Var<T, 1>> sum;
    const auto add = [&](const std::optional<Var<T, 1>>& loss, double weight) {
      if (!loss || weight == 0) return;
      const Var<T, 1> term = static_cast<T>(weight) * *loss;
      sum = sum ? *sum + term : term;
    };
    add(ar, ar_weight);
    add(rf, rf_weight);
    add(repa, repa_weight);
    require(sum.has_value(), "losses: the batch has nothing that is learned");
    return *sum;
  }
};

/// The teacher's features [B, N, D] of clean pictures [B, S, S, 3], normalised: SigLIP's, nothing recorded.
template <class T>
Tensor<T, 3> teacher_features(const UnderstandingEncoder<Taped<T>>& understanding, const Tensor<float, 4>& pixels) {
  const Tape::Paused paused;
  return Tensor<T, 3>(understanding.vision_tower(constant<T>(pixels)).value());
}

namespace detail {

inline void require_pictures(const TrainingBatch& batch) {
  const Index painted = batch.painted();
  require(batch.latents.shape() == batch.noise.shape() && batch.latents.shape()[0] == painted && std::ssize(batch.times) == painted,
          "losses: ", painted, " pictures to paint, but latents ", batch.latents.shape(), ", noise ", batch.noise.shape(), " and ",
          batch.times.size(), " times");
  require(batch.teacher.empty() || batch.teacher.shape()[0] == painted, "losses: ", painted, " pictures to paint, but features ",
          batch.teacher.shape());
  const Index pixels = batch.pixels.shape()[0], features = batch.features.shape()[0], latents = batch.seen_latents.shape()[0];
  const auto agrees = [&](Index count) { return count == 0 || count == batch.seen(); };
  require(pixels + features + latents == batch.seen() && agrees(pixels) && agrees(features) && agrees(latents), "losses: ", batch.seen(),
          " pictures are seen, but pixels are ", batch.pixels.shape(), ", features ", batch.features.shape(), " and latents ",
          batch.seen_latents.shape());
}

/// z_t = t x + (1 - t) z_0 of every picture.
inline Tensor<float, 4> interpolate(const Tensor<float, 4>& x, const Tensor<float, 4>& noise, std::span<const float> times) {
  Tensor<float, 4> z(x.shape());
  const Index size = x.shape()[0] ? x.size() / x.shape()[0] : 0;
  for (Index i = 0; i < x.size(); ++i) {
    const float t = times[static_cast<std::size_t>(i / size)];
    z.data()[i] = t * x.data()[i] + (1 - t) * noise.data()[i];
  }
  return z;
}

/// Rows [.., C] of a variable of any rank.
template <class T, int R>
Var<T, 2> rows_of(const Var<T, R>& x) {
  return x.reshaped(Shape{x.shape().rows(), x.shape().last()});
}

/// The tokens of pictures that are seen, [seen N, C]: SigLIP's or, from clean latents, the generation encoder's at time 1.
template <class T>
Var<T, 2> seen_tokens(const JanusFlow<Taped<T>>& model, const TrainingBatch& batch) {
  if (batch.seen_latents.empty()) {
    const auto features = batch.pixels.empty() ? constant<T>(batch.features) : model.understanding.vision_tower(constant<T>(batch.pixels));
    require(features.shape()[1] == batch.seen_patches(), "losses: features ", features.shape(), " for ", batch.seen_patches(), " patches");
    return rows_of(model.understanding.aligner(features));
  }
  const std::vector<float> clean(static_cast<std::size_t>(batch.seen()), 1000.0f);
  const auto tokens = model.generation.encode(constant<T>(batch.seen_latents), clean).tokens;  // [seen, 1 + N, C]
  const Index each = tokens.shape()[1];
  require(each == batch.seen_patches() + 1, "losses: latents ", batch.seen_latents.shape(), " for ", batch.seen_patches(), " patches");
  std::vector<Index> patches;  // all but the time embeddings
  for (Index i = 0; i < batch.seen() * each; ++i)
    if (i % each > 0) patches.push_back(i);
  return select(rows_of(tokens), patches);
}

}  // namespace detail

/// The losses of `batch`:
///   L_AR: next-token cross entropy on the learned tokens;
///   L_RF: || v(z_t, t | prompt) - (x - z_0) ||^2, z_t = t x + (1 - t) z_0 (equation 2);
///   L_REPA: - cos(h_phi(states behind layer `repa_layer`, counted from 1), the teacher's features), patch by patch (equation 4).
/// `head` may be null where the batch has no teacher. Nothing flows into the teacher's features. Record it under a Tape to train.
/// Throws Error where pictures and samples do not fit together.
template <class T>
Losses<T> losses(const JanusFlow<Taped<T>>& model, const RepaHead<Taped<T>>* head, const TrainingBatch& batch, Index repa_layer = 6) {
  detail::require_pictures(batch);
  const auto& language = model.language_model.model;
  const Index painted = batch.painted(), hidden_size = language.embed_tokens.shape()[1];
  const Index layers = std::ssize(language.layers), tokens = batch.painted_patches() + 1;
  const bool aligns = head && !batch.teacher.empty();
  require(!aligns || (repa_layer >= 1 && repa_layer <= layers), "losses: the language model has no layer ", repa_layer, " of ", layers);

  // All embeddings, source by source, then in the order of the sequence.
  std::vector<Var<T, 2>> sources{embedding(std::span(batch.ids()), language.embed_tokens)};
  if (batch.seen() > 0) {
    sources.push_back(model.understanding.beg_of_und_embed);
    sources.push_back(detail::seen_tokens(model, batch));
  }
  std::optional<EncodedLatents<Var<T, 3>, Var<T, 4>, Var<T, 2>>> encoded;
  if (painted > 0) {
    std::vector<float> thousandths(batch.times);
    for (float& t : thousandths) t *= 1000;
    const auto z = detail::interpolate(batch.latents, batch.noise, batch.times);
    encoded = model.generation.encode(constant<T>(z), thousandths);  // tokens [G, 1 + HW, C]
    require(encoded->tokens.shape()[1] == tokens, "losses: latents ", batch.latents.shape(), " for ", tokens - 1, " patches");
    sources.push_back(detail::rows_of(encoded->tokens));
  }
  const Index texts = std::ssize(batch.ids());
  const Index painted_begin = batch.seen() > 0 ? texts + 1 + batch.seen() * batch.seen_patches() : texts;
  const std::array<Index, 4> begins{0, texts, texts + 1, painted_begin};  // by TrainingBatch::Source
  std::vector<Index> order, learned, painted_at(static_cast<std::size_t>(painted * (tokens - 1)));
  std::vector<std::int32_t> targets;
  for (Index i = 0; i < batch.length(); ++i) {
    const auto [source, index] = batch.places()[static_cast<std::size_t>(i)];
    order.push_back(begins[static_cast<std::size_t>(source)] + index);
    if (source == TrainingBatch::Source::painted && index % tokens > 0)  // all but the time embeddings
      painted_at[static_cast<std::size_t>(index / tokens * (tokens - 1) + index % tokens - 1)] = i;
    if (const std::int32_t target = batch.targets()[static_cast<std::size_t>(i)]; target != ignored_target) {
      learned.push_back(i);
      targets.push_back(target);
    }
  }
  const auto x = select(concat_rows<T>(sources), order).reshaped(Shape{Index{1}, batch.length(), hidden_size});  // [1, T, C]

  std::optional<Var<T, 2>> aligned;
  const auto hidden = language.hidden(x, batch.segments(), [&](Index layer, const Var<T, 3>& h) {
    if (aligns && layer + 1 == repa_layer) aligned = select(detail::rows_of(h), painted_at);  // [G HW, C]
  });
  Losses<T> result;
  const Var<T, 2> states = detail::rows_of(language.norm(hidden));  // [T, C]
  if (!learned.empty()) {
    const auto predicting = select(states, learned);
    const auto logits = model.language_model.tied ? linear(predicting, language.embed_tokens) : model.language_model.lm_head(predicting);
    result.ar = cross_entropy(logits, targets);
    result.logits = logits;
  }
  if (painted > 0) {
    const auto pictures = select(states, painted_at).reshaped(Shape{painted, tokens - 1, hidden_size});
    const auto velocity = model.generation.decode(pictures, encoded->skip, encoded->t_emb);  // [G, h, w, Z]
    Tensor<float, 4> target(batch.latents.shape());
    for (Index i = 0; i < target.size(); ++i) target.data()[i] = batch.latents.data()[i] - batch.noise.data()[i];
    require(velocity.shape() == target.shape(), "losses: velocities ", velocity.shape(), " of latents ", target.shape());
    result.rf = mean_squared_error(velocity, constant<T>(target));
  }
  if (aligned) {
    const Var<T, 3> features = (*head)(*aligned).reshaped(Shape{painted, tokens - 1, batch.teacher.shape()[2]});
    result.repa = T(-1) * mean_cosine_similarity(features, constant<T>(batch.teacher));
  }
  return result;
}

}  // namespace janusflow
