// Choosing the next token from logits: greedily, or at random with a temperature, the k likeliest, and the likeliest mass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "janusflow/core/error.hpp"

namespace janusflow {

struct SamplingOptions {
  double temperature = 0;  ///< 0: greedy, and what follows is not used
  std::int64_t top_k = 0;  ///< only the k likeliest, and those that tie with the last of them; 0: all
  double top_p = 1;        ///< only the likeliest whose probabilities sum to at least this, in (0, 1]
  std::uint64_t seed = 0;
};

struct TokenProbability {
  std::int32_t id;
  double probability;
};

namespace detail {

/// Throws unless there is a logit to choose: no NaN, no plus infinity, and not all of them minus infinity.
inline void check_logits(std::span<const float> logits) {
  require(!logits.empty(), "sample: there are no logits");
  bool any = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    require(logits[i] < std::numeric_limits<float>::infinity(), "sample: the logit of token ", i, " is ",
            logits[i]);  // NaN too
    any |= logits[i] > -std::numeric_limits<float>::infinity();
  }
  require(any, "sample: all ", logits.size(), " logits are minus infinity");
}

/// Throws unless every option is in its range.
inline void check_options(const SamplingOptions& options) {
  require(std::isfinite(options.temperature) && options.temperature >= 0,
          "sample: the temperature must be 0 or more, not ", options.temperature);
  require(options.top_k >= 0, "sample: top_k must be 0 or more, not ", options.top_k);
  require(options.top_p > 0 && options.top_p <= 1, "sample: top_p must be above 0 and at most 1, not ", options.top_p);
}

}  // namespace detail

/// The id of the largest logit [V], the lowest one among equals. Throws Error on NaN, plus infinity, or nothing to
/// choose.
inline std::int32_t argmax(std::span<const float> logits) {
  detail::check_logits(logits);
  return static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
}

/// The distribution that options with a temperature draw from, likeliest first, lower ids first among equals: logits
/// [V] over the temperature, then top_k, then top_p, as transformers orders its warpers (TemperatureLogitsWarper,
/// TopKLogitsWarper, TopPLogitsWarper), in double. Throws Error as argmax does, and when an option is out of range or the temperature 0.
inline std::vector<TokenProbability> sampling_distribution(std::span<const float> logits,
                                                           const SamplingOptions& options) {
  detail::check_options(options);
  require(options.temperature > 0, "sample: without a temperature there is no distribution");
  const float largest = logits[static_cast<std::size_t>(argmax(logits))];
  std::vector<TokenProbability> kept;  // first as exp((logit - largest) / temperature)
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp((static_cast<double>(logits[i]) - largest) / options.temperature);
    if (weight > 0) kept.push_back({static_cast<std::int32_t>(i), weight});
  }
  const auto logit = [&](const TokenProbability& token) { return logits[static_cast<std::size_t>(token.id)]; };
  const auto likelier = [&](const TokenProbability& a, const TokenProbability& b) {
    return logit(a) > logit(b) || (logit(a) == logit(b) && a.id < b.id);
  };
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < kept.size()) {
    const auto last = kept.begin() + (options.top_k - 1);
    std::ranges::nth_element(kept, last, likelier);
    const float smallest = logit(*last);
    std::erase_if(kept, [&](const TokenProbability& token) { return logit(token) < smallest; });
  }
  std::ranges::sort(kept, likelier);
  const auto normalise = [&] {
    const double sum =
        std::accumulate(kept.begin(), kept.end(), 0.0, [](double s, const auto& t) { return s + t.probability; });
    for (auto& token : kept) token.probability /= sum;
  };
  normalise();
  if (options.top_p >= 1) return kept;
  double before = 0;  // the mass of the likelier ones: a token goes once they are enough
  const auto enough = std::ranges::find_if(kept, [&](const TokenProbability& token) {
    const bool drop = before >= options.top_p;
    before += token.probability;
    return drop;
  });
  if (enough != kept.end()) {
    kept.erase(enough, kept.end());
    normalise();
  }
  return kept;
}

/// Draws one token after another. The same options and logits give the same tokens everywhere: the generator and its
/// conversion to [0, 1) are fixed (mt19937_64, its upper 53 bits).
class Sampler {
 public:
  /// Throws Error when an option is out of range.
  explicit Sampler(const SamplingOptions& options) : options_(options), generator_(options.seed) { detail::check_options(options); }

  /// The next token's id for logits [V]. Throws Error on NaN, plus infinity, or nothing to choose.
  std::int32_t operator()(std::span<const float> logits) {
    if (options_.temperature == 0) return argmax(logits);
    const auto tokens = sampling_distribution(logits, options_);
    double left = static_cast<double>(generator_() >> 11) * 0x1p-53;
    for (const auto& token : tokens) {
      if (left < token.probability) return token.id;
      left -= token.probability;
    }
    return tokens.back().id;  // the probabilities' sum was rounded to less than 1
  }

 private:
  SamplingOptions options_;
  std::mt19937_64 generator_;
};

}  // namespace janusflow
