// Llama against transformers on random weights: grouped queries, a tied head, left padding, greedy decoding (tests/data/llama).
#include <doctest/doctest.h>

#include "golden.hpp"
#include "janusflow/io/config.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/llama.hpp"
#include "janusflow/ops/sequence.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

// float32 sums in another order, relative to the largest value: the bar of the whole model's goldens.
constexpr double tolerance = 2e-5;

template <class P>
struct Model {
  Golden golden;
  LlamaForCausalLM<P> llama;

  explicit Model(const std::string& folder)
      : golden(folder + "/golden.safetensors"), llama(read_config<LlamaConfig>(folder + "/config.json")) {
    const auto checkpoint = std::make_shared<Checkpoint>(folder);
    load(llama, checkpoint);
    if (llama.tied) load(llama.lm_head, checkpoint, "model.embed_tokens.");
  }

  std::vector<std::int32_t> ids(const std::string& key) const {
    const auto stored = golden.integers(key);
    return {stored.begin(), stored.end()};
  }
  Tensor<float, 3> embed(std::span<const std::int32_t> ids, Index batch = 1) const {
    const auto length = static_cast<Index>(ids.size()) / batch;
    return llama.model.embed(ids).reshaped(Shape{batch, length, llama.lm_head.weight.in_features()});
  }
};

const std::string folders[] = {JANUSFLOW_TEST_DATA "/llama/gqa", JANUSFLOW_TEST_DATA "/llama/tied"};

/// x with the rows of padding zero, as the goldens have them.
Tensor<float, 3> kept(const Tensor<float, 3>& x, const std::vector<std::int64_t>& mask) {
  auto y = x.clone();
  for (Index i = 0; i < y.shape().rows(); ++i)
    if (!mask[static_cast<std::size_t>(i)]) std::fill_n(y.data() + i * y.shape().last(), y.shape().last(), 0.0f);
  return y;
}

}  // namespace

TEST_CASE("llama: hidden states of every layer and logits, with left padding") {
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    const Model<Float32> m(folder);
    const auto mask = m.golden.integers("batch.mask");
    const auto embeddings = m.embed(m.ids("batch.ids"), 3);
    const Index length = embeddings.shape()[1], layers = std::ssize(m.llama.model.layers);
    CHECK(relative_error(kept(embeddings, mask), m.golden.tensor<3>("batch.hidden.0")) == 0);
    std::vector<SequenceContext> sequences(3);
    for (std::size_t b = 0; b < 3; ++b)
      sequences[b].first_key = std::count(mask.begin() + static_cast<Index>(b) * length, mask.begin() + static_cast<Index>(b + 1) * length, 0);
    REQUIRE(sequences[2].first_key == 7);
    Index seen = 0;
    const auto hidden = m.llama.model.hidden(embeddings.clone(), sequences, Remember::no, [&](Index layer, const auto& h) {
      CHECK(layer == seen++);
      if (layer + 1 < layers)
        CHECK(relative_error(kept(h, mask), m.golden.tensor<3>("batch.hidden." + std::to_string(layer + 1))) < tolerance);
    });
    CHECK(seen == layers);
    CHECK(relative_error(kept(m.llama.model.norm(hidden), mask), m.golden.tensor<3>("batch.last")) < tolerance);
    const auto logits = m.llama.lm_head(m.llama.model(embeddings.clone(), sequences));
    CHECK(relative_error(kept(logits, mask), m.golden.tensor<3>("batch.logits")) < tolerance);
  }
}

TEST_CASE("llama: greedy ids by the key-value cache, and the same without it") {
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    const Model<Float32> m(folder);
    const auto expected = m.ids("greedy.ids");
    const auto expected_logits = m.golden.tensor<2>("greedy.logits");
    auto said = m.ids("greedy.prompt");
    KeyValueCache cache = m.llama.model.new_cache();
    std::vector<std::int32_t> unread = said, ids;
    for (Index i = 0; i < std::ssize(expected); ++i) {
      const SequenceContext here{&cache, cache.length(), cache.length()};
      const auto logits = m.llama.lm_head(drop_tokens(m.llama.model(m.embed(unread), {&here, 1}, Remember::yes), std::ssize(unread) - 1));
      const TensorView<const float, 2> row = expected_logits;
      CHECK(relative_error(logits.view().reshape(Shape{Index{1}, logits.size()}), row.slice(i, i + 1)) < tolerance);
      const auto afresh = m.llama.lm_head(drop_tokens(m.llama.model(m.embed(said)), std::ssize(said) - 1));
      CHECK(relative_error(logits, afresh) < tolerance);
      unread = {static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
      ids.push_back(unread[0]);
      said.push_back(unread[0]);
    }
    CHECK(ids == expected);
    CHECK(cache.length() == std::ssize(said) - 1);
  }
}

TEST_CASE_TEMPLATE("llama: a cache read in parts, and a sequence in company", P, Float32, BFloat16) {
  const Model<P> m(folders[0]);
  const auto ids = m.ids("greedy.prompt");
  REQUIRE(ids.size() == 9);
  const auto whole = m.llama.model(m.embed(ids));
  // Cut 3 + 6: the six stay above what is computed query by query, and are the same bytes. A cut after 6 leaves three, decoded in
  // float32: the same up to rounding.
  for (const Index cut : {3, 6}) {
    KeyValueCache cache = m.llama.model.new_cache();
    const std::span<const std::int32_t> all(ids);
    const SequenceContext start{&cache, 0, 0}, then{&cache, cut, cut};
    m.llama.model(m.embed(all.first(static_cast<std::size_t>(cut))), {&start, 1}, Remember::yes);
    const auto rest = m.llama.model(m.embed(all.subspan(static_cast<std::size_t>(cut))), {&then, 1}, Remember::yes);
    // bfloat16 rounds to 2^-8; a few layers of it stay within 2^-5 of the largest value.
    CHECK(relative_error(rest, drop_tokens(whole, cut)) < (std::is_same_v<P, Float32> ? tolerance : 0x1p-5));
    CHECK(cache.length() == 9);
    cache.truncate(cut);
    CHECK(cache.length() == cut);
    const auto again = m.llama.model(m.embed(all.subspan(static_cast<std::size_t>(cut))), {&then, 1}, Remember::no);
    CHECK(std::equal(again.begin(), again.end(), rest.begin()));
  }
  // Twice in a batch, once behind a stranger: the same bytes.
  std::vector<std::int32_t> three(27, 5);
  std::copy(ids.begin(), ids.end(), three.begin());
  std::copy(ids.begin(), ids.end(), three.begin() + 18);
  const auto batch = m.llama.model(m.embed(three, 3));
  CHECK(std::equal(whole.begin(), whole.end(), batch.begin()));
  CHECK(std::equal(whole.begin(), whole.end(), batch.begin() + 2 * whole.size()));
}

TEST_CASE("llama: what does not fit is refused in one sentence") {
  const Model<Float32> m(folders[0]);
  const std::vector<std::int32_t> long_text(513, 5), outside{5, 131}, negative{-1};
  CHECK_THROWS_WITH_AS(m.llama.model(m.embed(long_text)), "llama: a sequence of 513 tokens is longer than the model's 512", Error);
  CHECK_THROWS_AS(m.embed(outside), Error);
  CHECK_THROWS_AS(m.embed(negative), Error);
  KeyValueCache cache = m.llama.model.new_cache();
  const auto read = [&](SequenceContext sequence, Index batch, Remember remember) {
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(3 * batch), 5);
    m.llama.model(m.embed(ids, batch), {&sequence, 1}, remember);
  };
  CHECK_THROWS_WITH_AS(read({&cache, 0, 510}, 1, Remember::no), "llama: a sequence of 513 tokens is longer than the model's 512", Error);
  CHECK_THROWS_WITH_AS(read({&cache, 0, 0}, 2, Remember::no), "llama: 1 sequences for a batch of 2", Error);
  CHECK_THROWS_WITH_AS(read({&cache, 4, 4}, 1, Remember::no), "key-value cache: 4 positions asked for, 0 remembered", Error);
  const char* no_cache = "llama: a sequence without a cache can neither see earlier tokens nor be remembered";
  CHECK_THROWS_WITH_AS(read({}, 1, Remember::yes), no_cache, Error);
  CHECK_THROWS_WITH_AS(read({nullptr, 2, 2}, 1, Remember::no), no_cache, Error);
  const Tensor<float, 2> narrow(Shape{Index{2}, Index{3}}, 0.0f);
  CHECK_THROWS_WITH_AS(cache.append(0, narrow.view(), narrow.view()), doctest::Contains("must be [T, 32]"), Error);
}
