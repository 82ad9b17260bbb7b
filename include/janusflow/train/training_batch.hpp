// The samples of one training step, packed one behind the other into one sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "janusflow/core/tensor.hpp"
#include "janusflow/ops/attention.hpp"
#include "janusflow/ops/losses.hpp"

namespace janusflow {

/// Tokens [begin, end) of a sequence.
struct TokenRange {
  Index begin = 0, end = 0;
};

/// What the losses are computed from: which token of the sequence is what, who sees whom, and the pictures. Samples are added one by
/// one; the pictures are set afterwards, in the order in which they were named.
class TrainingBatch {
 public:
  /// Where a token's embedding comes from: the table; the embedding that opens a picture; a patch of a seen picture; a token of a
  /// picture to paint (the time embedding, then patches).
  enum class Source { text, opening, seen, painted };
  struct Place {
    Source source;
    Index index;  // among all tokens of that source
  };
  /// Patches of a picture that is seen, and of one that is painted.
  TrainingBatch(Index seen_patches, Index painted_patches) : seen_patches_(seen_patches), painted_patches_(painted_patches) {}

  /// Appends a run of tokens, causal, behind `prefix` (of which the tokens see all), the first at `position` for the rotary embedding.
  /// `learned[i]` says whether the prediction of ids[i] counts; the prediction of the first token never does. `pictures` are the
  /// places of the start tags: behind each stand as many ids as a picture has patches, which are replaced by the next picture that is
  /// seen. Throws Error where the pictures' places are beyond the ids.
  TokenRange add_tokens(std::span<const std::int32_t> ids, std::span<const char> learned, std::span<const std::size_t> pictures = {},
                   TokenRange prefix = {}, Index position = 0) {
    require(ids.size() == learned.size(), "training batch: ", ids.size(), " ids, but ", learned.size(), " marks of what is learned");
    const Index begin = length();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      places_.push_back({Source::text, std::ssize(ids_)});
      ids_.push_back(ids[i]);
      const bool counts = i + 1 < ids.size() && learned[i + 1];
      targets_.push_back(counts ? ids[i + 1] : ignored_target);
    }
    for (const std::size_t at : pictures) {
      require(static_cast<Index>(at) + seen_patches_ < std::ssize(ids), "training batch: a picture of ", seen_patches_,
              " patches at token ", at, " does not fit into ", ids.size());
      Place* place = &places_[static_cast<std::size_t>(begin) + at];
      *place = {Source::opening, 0};
      for (Index patch = 0; patch < seen_patches_; ++patch) *++place = {Source::seen, seen_ * seen_patches_ + patch};
      ++seen_;
    }
    return append(begin, prefix, position);
  }

  /// Appends the tokens of a picture to paint behind the prompt that is `prefix` (or what of it is to be seen), the time embedding at
  /// `position`. Its latents, noise and time are the next.
  TokenRange add_painted(TokenRange prefix, Index position) {
    const Index begin = length(), tokens = painted_patches_ + 1;
    for (Index i = 0; i < tokens; ++i) places_.push_back({Source::painted, painted_ * tokens + i});
    targets_.insert(targets_.end(), static_cast<std::size_t>(tokens), ignored_target);
    ++painted_;
    return append(begin, prefix, position);
  }

  Index length() const { return std::ssize(places_); }
  /// Number of pictures seen and painted.
  Index seen() const { return seen_; }
  Index painted() const { return painted_; }
  Index seen_patches() const { return seen_patches_; }
  Index painted_patches() const { return painted_patches_; }
  const std::vector<std::int32_t>& ids() const { return ids_; }
  const std::vector<Place>& places() const { return places_; }
  const std::vector<Segment>& segments() const { return segments_; }
  /// For each token of the sequence the id that it is to predict, or ignored_target.
  const std::vector<std::int32_t>& targets() const { return targets_; }

  Tensor<float, 4> pixels;    // [seen, S, S, 3], normalised; or
  Tensor<float, 3> features;  // [seen, N, D], what a frozen SigLIP makes of them; or
  Tensor<float, 4> seen_latents;  // [seen, h, w, Z], clean and scaled, for the generation encoder in SigLIP's place
  Tensor<float, 4> latents;   // [painted, h, w, Z], clean and scaled
  Tensor<float, 4> noise;     // [painted, h, w, Z]
  std::vector<float> times;   // [painted], in [0, 1]
  Tensor<float, 3> teacher;   // [painted, N, D], SigLIP's features of the clean pictures; empty: no alignment

 private:
  TokenRange append(Index begin, TokenRange prefix, Index position) {
    segments_.push_back({begin, length(), prefix.begin, prefix.end, position});
    return {begin, length()};
  }

  Index seen_patches_, painted_patches_, seen_ = 0, painted_ = 0;
  std::vector<std::int32_t> ids_;
  std::vector<Place> places_;
  std::vector<Segment> segments_;
  std::vector<std::int32_t> targets_;
};

}  // namespace janusflow
