// Sampling: against brute force, the distribution drawn from, and logits that cannot be drawn from.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "janusflow/text/sampling.hpp"

using namespace janusflow;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_logits(std::size_t size, std::mt19937& engine) {
  std::vector<float> logits(size);
  for (float& logit : logits) logit = static_cast<float>(engine() % 64) / 8;  // coarse, so that some are equal
  return logits;
}

/// Softmax over the ids for which keep(id) holds; 0 for the others.
template <class Keep>
std::vector<double> masked_softmax(const std::vector<float>& logits, double temperature, Keep keep) {
  std::vector<double> p(logits.size());
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = keep(i) ? std::exp(logits[i] / temperature) : 0;
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
  return p;
}

/// The definition: a token stays if fewer than k are likelier, then if the likelier ones (equals: of lower id) have
/// less mass than p.
std::vector<double> brute_force(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<bool> kept(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto likelier = std::ranges::count_if(logits, [&](float other) { return other > logits[i]; });
    kept[i] = options.top_k == 0 || likelier < options.top_k;
  }
  const auto p = masked_softmax(logits, options.temperature, [&](std::size_t i) { return kept[i]; });
  return masked_softmax(logits, options.temperature, [&](std::size_t i) {
    double before = 0;
    for (std::size_t j = 0; j < p.size(); ++j) {
      if (logits[j] > logits[i] || (logits[j] == logits[i] && j < i)) before += p[j];
    }
    return kept[i] && before < options.top_p;
  });
}

}  // namespace

TEST_CASE("sampling: greedy takes the largest, the lowest id among equals") {
  CHECK(argmax(std::vector<float>{1, 3, 2, 3}) == 1);
  CHECK(argmax(std::vector<float>{-infinity, -5}) == 1);
  Sampler greedy({.temperature = 0, .top_k = 1, .top_p = 0.1, .seed = 5});
  CHECK(greedy(std::vector<float>{1, 3, 2, 3}) == 1);
}

TEST_CASE("sampling: temperature, top-k and top-p by brute force") {
  std::mt19937 engine(1);
  for (int trial = 0; trial < 300; ++trial) {
    const auto logits = random_logits(1 + engine() % 40, engine);
    const SamplingOptions options{.temperature = 0.25 + (engine() % 16) / 8.0,
                                  .top_k = static_cast<std::int64_t>(engine() % 12),
                                  .top_p = trial % 3 ? 0.013 + 0.07 * (engine() % 14) : 1};
    const auto expected = brute_force(logits, options);
    const auto tokens = sampling_distribution(logits, options);
    std::vector<double> p(logits.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      p[static_cast<std::size_t>(tokens[i].id)] = tokens[i].probability;
      if (i > 0) CHECK(tokens[i - 1].probability >= tokens[i].probability);
    }
    // exp, a sum of at most 40 terms and a quotient, twice over: under 200 roundings
    for (std::size_t i = 0; i < p.size(); ++i) CHECK(std::abs(p[i] - expected[i]) <= 200 * 1.2e-16);
  }
}

TEST_CASE("sampling: the likeliest that sum to exactly top-p are enough") {
  CHECK(sampling_distribution(std::vector<float>(4, 1.0f), {.temperature = 1, .top_p = 0.5}).size() == 2);
}

TEST_CASE("sampling: drawn as often as the probabilities say") {
  const std::vector<float> logits{0, 1, 2, 3, -1, 2.5f, 0.5f, -infinity};
  const SamplingOptions options{.temperature = 1.3, .top_k = 6, .top_p = 0.97, .seed = 11};
  const auto tokens = sampling_distribution(logits, options);
  Sampler sampler(options);
  constexpr int draws = 100'000;
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler(logits)];
  CHECK(counts.size() == tokens.size());
  double chi_square = 0;
  for (const auto& token : tokens) {
    const double expected = draws * token.probability;
    chi_square += std::pow(counts[token.id] - expected, 2) / expected;
  }
  // The mean is the degrees of freedom f, the standard deviation sqrt(2 f); four of these above is less than one seed
  // in 1,000.
  const double freedom = static_cast<double>(tokens.size()) - 1;
  CHECK(chi_square < freedom + 4 * std::sqrt(2 * freedom));
}

TEST_CASE("sampling: a seed gives the same tokens everywhere") {
  std::vector<float> logits(100);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7) * 0.5f;
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<std::int32_t> ids(8);
    for (auto& id : ids) id = sampler(logits);
    return ids;
  };
  CHECK(draw(42) == draw(42));
  CHECK(draw(42) != draw(43));
  // mt19937_64's first output of its default seed 5489 is 14514284786278117030 (ISO C++ gives its 10,000th): u =
  // 0.7868...
  const std::vector<float> equal(1000, 0.0f);
  Sampler sampler({.temperature = 1, .seed = 5489});
  CHECK(sampler(equal) == 786);
}

TEST_CASE("sampling: what cannot be drawn from, and options out of range") {
  Sampler greedy({}), warm({.temperature = 1});
  const std::vector<std::vector<float>> refused{
      {}, {not_a_number}, {1, not_a_number, 2}, {1, infinity}, {-infinity, -infinity}};
  for (const auto& logits : refused) {
    CHECK_THROWS_AS(greedy(logits), Error);
    CHECK_THROWS_AS(warm(logits), Error);
  }
  const std::vector<float> logits{1, 2, 3};
  CHECK_THROWS_AS(sampling_distribution(logits, {.temperature = 0}), Error);
  CHECK_THROWS_AS(sampling_distribution(logits, {.temperature = -1}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = -1}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = std::nan("")}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = INFINITY}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = 1, .top_k = -1}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = 1, .top_p = 0}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = 1, .top_p = 1.5}), Error);
  CHECK_THROWS_AS(Sampler({.temperature = 1, .top_p = std::nan("")}), Error);
}
