// attention against its definition in double and against PyTorch: masks, pasts, grouped queries, blocks of keys.
#include "janusflow/ops/attention.hpp"

#include "janusflow/ops/attention_inputs.hpp"

#include "golden.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;
using jf::simd::BFloat16Dot;
using jf::simd::Float32Dot;

namespace {

/// One batch of queries, and of keys of which the first `past` were there before.
struct Case {
  Index batch = 1, heads = 2, kv_heads = 2, dim = 16, queries = 9, past = 0;
  bool causal = true;
  std::vector<Index> first_key = {};
  unsigned seed = 1;
  Index new_keys = -1;  // as many as queries

  Index keys() const { return past + (new_keys < 0 ? queries : new_keys); }
};

struct Inputs {
  Tensor<float, 3> q, k, v;  // k and v with their past in front

  explicit Inputs(const Case& c)
      : q(random_tensor<float>(Shape{c.batch, c.queries, c.heads * c.dim}, c.seed, 1.5)),
        k(random_tensor<float>(Shape{c.batch, c.keys(), c.kv_heads * c.dim}, c.seed + 1, 1.5)),
        v(random_tensor<float>(Shape{c.batch, c.keys(), c.kv_heads * c.dim}, c.seed + 2)) {}
};

/// The keys and values that are new, cut out so that rows of different sequences follow each other.
Tensor<float, 3> without_past(const Tensor<float, 3>& x, Index past) {
  const auto [batch, length, channels] = x.shape().extents;
  Tensor<float, 3> y(Shape{batch, length - past, channels});
  for (Index b = 0; b < batch; ++b)
    std::copy_n(&x(b, past, 0), y.size() / batch, y.data() + b * (y.size() / batch));
  return y;
}

/// A past as a cache keeps it for Dot's products: appended in two parts, and rounded where they round.
template <class Dot>
jf::RememberedLayer remembered(TensorView<const float, 2> keys, TensorView<const float, 2> values, Index heads, Index dim) {
  jf::KeysAndValues<typename Dot::Value> layer(heads, dim);
  const Index length = keys.shape[0], cut = length / 3;
  for (const auto& [begin, end] : {std::pair{Index{0}, cut}, {cut, length}}) {
    layer.keys.append(keys.slice(begin, end));
    layer.values.append(values.slice(begin, end));
  }
  return layer;
}

/// Attention of new rows, behind the case's past as a cache keeps it for PastDot's products.
template <class Dot, class PastDot, class X>
Tensor<float, 3> run(const Case& c, const Inputs& in, const X& q, const X& new_keys, const X& new_values) {
  std::vector<jf::RememberedLayer> layers;
  std::vector<jf::Past> past;
  const TensorView<const float, 3> k = in.k, v = in.v;
  for (Index b = 0; b < c.batch && c.past > 0; ++b)
    layers.push_back(remembered<PastDot>(k[b].slice(0, c.past), v[b].slice(0, c.past), c.kv_heads, c.dim));
  for (const auto& layer : layers) past.push_back({&layer, c.past});
  return jf::attention<Dot>(q, new_keys, new_values, c.heads, c.kv_heads, {c.causal, c.first_key}, past);
}
template <class Dot>
Tensor<float, 3> run(const Case& c, const Inputs& in) {
  return run<Dot, Dot>(c, in, in.q, without_past(in.k, c.past), without_past(in.v, c.past));
}

/// attention in double with, for every output, the bound of the error of Dot's evaluation.
struct Exact {
  Tensor<double, 3> y, bound;
};

/// Step by step, in units of eps = eps32, for one query and all keys it sees:
///   score s = q . k / sqrt(dim): the scale's four roundings and that of its log2(e), dim products, at most dim + 8 sums (the lanes'
///     tree): each score within (dim + 14) eps sum |q k| / sqrt(dim) = ds. Rounded queries and keys are inputs where Dot rounds.
///   weight exp(s - maximum): the difference's rounding is worth eps |s - maximum|, exp's 2 ulp 4 eps: with the error of both scores
///     2 ds + (range + 4) eps relative. Each further block shrinks what was: (range + 6) eps once more.
///   the weighted values and the weights' sum: keys + blocks sums each, a division: (2 keys + 2 blocks + 2) eps.
/// All of it relative to sum p |v|. bfloat16 rounds each weight once more, 2^-8; the weights' own sum is not rounded.
/// The first `rounded_keys` keys and values are rounded to bfloat16 whoever computes with them.
Exact exact(const Case& c, const Inputs& in, bool rounds, Index rounded_keys = 0) {
  const auto rounded = [&](const Tensor<float, 3>& x) {
    auto y = cast<double>(x);
    const auto [batch, length, channels] = x.shape().extents;
    for (Index b = 0; b < batch; ++b)
      for (Index i = 0; i < (rounds ? length : rounded_keys) * channels; ++i) {
        double& value = y.data()[b * length * channels + i];
        value = jf::bfloat16(static_cast<float>(value));
      }
    return y;
  };
  auto q = cast<double>(in.q);
  if (rounds)
    for (double& v : q) v = jf::bfloat16(static_cast<float>(v));
  const auto k = rounded(in.k), v = rounded(in.v);
  const Shape<3> shape = in.q.shape();
  Exact result{Tensor<double, 3>(shape, 0.0), Tensor<double, 3>(shape, 0.0)};
  for (Index b = 0; b < c.batch; ++b)
    for (Index h = 0; h < c.heads; ++h)
      for (Index i = 0; i < c.queries; ++i) {
        const Index column = h / (c.heads / c.kv_heads) * c.dim, limit = c.causal ? c.past + i + 1 : c.keys();
        const Index first = c.first_key.empty() ? 0 : c.first_key[static_cast<std::size_t>(b)];
        std::vector<double> weights;
        double top = -1e300, bottom = 1e300, score_error = 0, sum = 0;
        for (Index s = first; s < limit; ++s) {
          double score = 0, size = 0;
          for (Index d = 0; d < c.dim; ++d) {
            score += q(b, i, h * c.dim + d) * k(b, s, column + d);
            size += std::abs(q(b, i, h * c.dim + d) * k(b, s, column + d));
          }
          weights.push_back(score / std::sqrt(double(c.dim)));
          top = std::max(top, weights.back());
          bottom = std::min(bottom, weights.back());
          score_error = std::max(score_error, static_cast<double>(c.dim + 14) * eps32 * size / std::sqrt(double(c.dim)));
        }
        for (double& w : weights) sum += w = std::exp(w - top);
        const double range = top - bottom, blocks = static_cast<double>(limit / 256 + 1), seen = static_cast<double>(limit - first);
        const double relative = 1.01 * (2 * score_error + eps32 * (range + 4 + blocks * (range + 6) + 2 * seen + 2 * blocks + 2)) +
                                (rounds ? 0x1p-8 : 0.0);
        for (Index s = first; s < limit; ++s) {
          const double p = weights[static_cast<std::size_t>(s - first)] / sum;
          for (Index d = 0; d < c.dim; ++d) {
            result.y(b, i, h * c.dim + d) += p * v(b, s, column + d);
            result.bound(b, i, h * c.dim + d) += relative * p * std::abs(v(b, s, column + d));
          }
        }
      }
  return result;
}

template <class Dot>
void check(const Case& c) {
  CAPTURE(c.queries);
  CAPTURE(c.past);
  CAPTURE(c.dim);
  const Inputs in(c);
  const bool rounds = std::is_same_v<Dot, BFloat16Dot> && c.queries > jf::detail::few_queries;
  const Exact expected = exact(c, in, rounds, std::is_same_v<Dot, BFloat16Dot> ? c.past : 0);
  CHECK(worst_ratio(run<Dot>(c, in), expected.y, [&](Index i) { return expected.bound.data()[i]; }) <= 1);
}

const std::vector<Case> cases{
    {.queries = 1},
    {.queries = 4, .seed = 10},
    {.queries = 5, .seed = 20},
    {.dim = 1, .queries = 6, .causal = false, .seed = 30},
    {.dim = 7, .queries = 30, .seed = 40},
    {.dim = 33, .queries = 17, .causal = false, .seed = 50},
    {.batch = 3, .heads = 6, .kv_heads = 2, .dim = 10, .queries = 19, .seed = 60},                            // grouped
    {.batch = 2, .heads = 4, .kv_heads = 1, .dim = 12, .queries = 3, .past = 11, .seed = 70},                 // few, after a past
    {.batch = 2, .heads = 2, .kv_heads = 2, .dim = 8, .queries = 37, .past = 13, .seed = 80},                 // many, after one
    {.batch = 3, .queries = 11, .first_key = {0, 4, 10}, .seed = 90},                                         // left padding
    {.batch = 2, .queries = 4, .past = 37, .first_key = {3, 0}, .seed = 100},                                 // the same, decoding
    {.dim = 8, .queries = 257, .seed = 110},                                                                  // blocks of keys
    {.dim = 8, .queries = 9, .past = 505, .seed = 120},
    {.dim = 8, .queries = 2, .past = 600, .seed = 130},
    {.batch = 2, .dim = 8, .queries = 5, .past = 600, .first_key = {256, 300}, .seed = 140},                  // whole blocks of padding
    {.batch = 2, .dim = 8, .queries = 2, .past = 600, .first_key = {256, 300}, .seed = 150},
    {.heads = 11, .kv_heads = 11, .dim = 8, .queries = 1, .past = 200, .seed = 180},                          // more heads than side by side
    {.batch = 2, .heads = 12, .kv_heads = 4, .dim = 20, .queries = 2, .past = 130, .first_key = {70, 5}, .seed = 190},
    {.heads = 9, .kv_heads = 3, .dim = 33, .queries = 3, .seed = 200},
    {.dim = 8, .queries = 6, .causal = false, .seed = 160, .new_keys = 300},                                  // more keys than queries
    {.dim = 8, .queries = 6, .causal = false, .seed = 170, .new_keys = 1},
};

}  // namespace

TEST_CASE_TEMPLATE("attention: against double", Dot, Float32Dot, BFloat16Dot) {
  for (const Case& c : cases) check<Dot>(c);
}

TEST_CASE("attention: the reference is its definition") {
  const Case c{.heads = 4, .kv_heads = 2, .queries = 8, .past = 3, .first_key = {2}};
  const Inputs in(c);
  const TensorView<const float, 3> q = in.q, k = in.k, v = in.v;
  const auto of_floats = jf::reference::attention(q[0], k[0], v[0], c.heads, c.kv_heads, true, 2);
  const Exact expected = exact(c, in, false);
  for (Index i = 0; i < of_floats.size(); ++i)
    CHECK(std::abs(double{of_floats.data()[i]} - expected.y.data()[i]) <= expected.bound.data()[i]);
}

TEST_CASE_TEMPLATE("attention: a sequence alone, strided rows, any number of threads: the same bytes", Dot, Float32Dot, BFloat16Dot) {
  for (Case c : cases) {
    const Inputs in(c);
    const auto together = run<Dot>(c, in);
    check_threads([&] { return run<Dot>(c, in); });
    for (Index b = 0; b < c.batch && c.batch > 1; ++b) {
      Case one = c;
      one.batch = 1;
      one.first_key.clear();
      if (!c.first_key.empty()) one.first_key.push_back(c.first_key[static_cast<std::size_t>(b)]);
      Inputs of_one(one);
      const TensorView<const float, 3> q = in.q, k = in.k, v = in.v, all = together;
      of_one.q = Tensor<float, 3>(q.slice(b, b + 1));
      of_one.k = Tensor<float, 3>(k.slice(b, b + 1));
      of_one.v = Tensor<float, 3>(v.slice(b, b + 1));
      CHECK(same_bytes(run<Dot>(one, of_one), Tensor<float, 3>(all.slice(b, b + 1))));
    }
    if (c.past) continue;
    const Strided<float, 3> q(in.q), k(in.k), v(in.v);
    CHECK(same_bytes(jf::attention<Dot>(q.columns, k.columns, v.columns, c.heads, c.kv_heads, {c.causal, c.first_key}), together));
  }
}

TEST_CASE("attention: numbers that are rounded already give the same bytes") {
  const auto round = [](const Tensor<float, 3>& x) {
    std::pair rounded{Tensor<jf::bfloat16, 3>(x.shape()), Tensor<float, 3>(x.shape())};
    for (Index i = 0; i < x.size(); ++i) rounded.second.data()[i] = rounded.first.data()[i] = jf::bfloat16(x.data()[i]);
    return rounded;
  };
  for (const Case& c : cases) {
    CAPTURE(c.queries);
    CAPTURE(c.dim);
    const Inputs in(c);
    const auto q = round(in.q), k = round(without_past(in.k, c.past)), v = round(without_past(in.v, c.past));
    const auto expected = run<BFloat16Dot, BFloat16Dot>(c, in, q.second, k.second, v.second);
    CHECK(same_bytes(run<BFloat16Dot, BFloat16Dot>(c, in, q.first, k.first, v.first), expected));
    if (c.queries > jf::detail::few_queries) {  // which round what they are given, a past in floats too
      CHECK(same_bytes(run<BFloat16Dot, Float32Dot>(c, in, q.first, k.first, v.first), expected));
      CHECK(same_bytes(run<BFloat16Dot>(c, in), expected));
    }
  }
}

TEST_CASE_TEMPLATE("attention_inputs and rounded_linear are linear_each, rope, and a rounding", T, float, jf::bfloat16) {
  const auto check = [](const auto& y, const Tensor<float, 3>& expected) {
    REQUIRE(y.shape() == expected.shape());
    Index different = 0;
    for (Index i = 0; i < y.size(); ++i) different += static_cast<float>(y.data()[i]) != static_cast<float>(static_cast<T>(expected.data()[i]));
    CHECK(different == 0);
  };
  for (const Index head_dim : {2, 6, 8, 32, 64, 96, 128})  // halves that are whole panels on some machines, and on none
    for (const auto& size : {std::pair<Index, Index>{1, 1}, {2, 1}, {1, 30}, {2, 17}}) {
      const Index batch = size.first, length = size.second;
      CAPTURE(head_dim);
      CAPTURE(length);
      const Index heads = 3, kv_heads = 1, width = 20;
      const auto x = random_tensor<float>(Shape{batch, length, width}, 1);
      const auto matrix = [&](Index out, unsigned seed) {
        jf::PackedMatrix<BFloat16Dot> weight(out, width);
        const auto rows = random_tensor<float>(Shape{out, width}, seed);
        weight.pack(rows.view());
        return weight;
      };
      const auto q = matrix(heads * head_dim, 2), k = matrix(kv_heads * head_dim, 3), v = matrix(kv_heads * head_dim, 4);
      std::vector<Index> positions;
      for (Index i = 0; i < batch * length; ++i) positions.push_back(7 + i * 5 % 31);
      const jf::Rotation rotation(positions, head_dim, 10000);
      const auto inputs = [&] { return jf::attention_inputs<T>(x, q, k, v, rotation); };
      const auto y = inputs();
      check(y[0], jf::rope(jf::linear(x, q), rotation));
      check(y[1], jf::rope(jf::linear(x, k), rotation));
      check(y[2], jf::linear(x, v));
      const auto bias = random_tensor<float>(Shape{kv_heads * head_dim}, 5);
      check(jf::rounded_linear<T>(x, v, bias), jf::linear(x, v, bias));

      positions.pop_back();
      const jf::Rotation short_by_one(positions, head_dim, 10000), of_tens(std::vector<Index>(positions.size() + 1), 10, 10000);
      CHECK(message_of([&] { jf::attention_inputs<T>(x, q, k, v, short_by_one); })
                .find("does not match " + std::to_string(positions.size()) + " positions") != std::string::npos);
      CHECK(message_of([&] { jf::attention_inputs<T>(x, q, k, v, of_tens); }).find("no whole heads of 10") != std::string::npos);
      CHECK(message_of([&] { jf::attention_inputs<T>(x, q, matrix(head_dim + 1, 3), v, rotation); }).find("no whole heads") != std::string::npos);
      CHECK(message_of([&] { jf::attention_inputs<T>(random_tensor<float>(Shape{batch, length, width + 1}, 1), q, k, v, rotation); })
                .find("does not match weight") != std::string::npos);
    }
}

TEST_CASE_TEMPLATE("attention: a past is keys that were there before, wherever it is cut", Dot, Float32Dot, BFloat16Dot) {
  const Case whole{.batch = 2, .dim = 8, .queries = 270};
  const Inputs in(whole);
  const auto expected = run<Dot>(whole, in);
  for (const Index past : {1, 15, 255, 256, 257}) {
    Case rest = whole;
    rest.past = past;
    rest.queries -= past;
    Inputs of_rest(rest);
    of_rest.q = without_past(in.q, past);
    of_rest.k = in.k.clone();
    of_rest.v = in.v.clone();
    CHECK(same_bytes(run<Dot>(rest, of_rest), without_past(expected, past)));
  }
}

TEST_CASE_TEMPLATE("attention: pasts of several lengths", Dot, Float32Dot, BFloat16Dot) {
  const auto old = random_tensor<float>(Shape{Index{70}, Index{8}}, 1);
  const TensorView<const float, 2> rows = old;
  const jf::RememberedLayer layers[] = {remembered<Dot>(rows.slice(0, 5), rows.slice(1, 6), 1, 8), remembered<Dot>(rows, rows, 1, 8)};
  const std::vector<jf::Past> pasts{{&layers[0], 5}, {&layers[1], 70}};
  for (const Index length : {2, 9}) {
    const auto x = random_tensor<float>(Shape{Index{2}, length, Index{8}}, 2);
    const auto both = jf::attention<Dot>(x, x, x, 1, 1, {.causal = true}, pasts);
    for (Index b = 0; b < 2; ++b) {
      const auto own = x.view().slice(b, b + 1);
      const auto alone = jf::attention<Dot>(own, own, own, 1, 1, {.causal = true}, std::span(pasts).subspan(static_cast<std::size_t>(b), 1));
      CHECK(std::equal(alone.begin(), alone.end(), both.data() + b * alone.size()));
    }
  }
}

TEST_CASE_TEMPLATE("attention: rows that are remembered lie as they were appended, and are forgotten", T, float, jf::bfloat16) {
  const auto rows = random_tensor<float>(Shape{Index{150}, Index{6}}, 1);
  const TensorView<const float, 2> view = rows;
  jf::HeadRows<T> remembered(2, 3);
  for (const auto& [begin, end] : {std::pair{0, 1}, {1, 1}, {1, 130}, {130, 150}}) remembered.append(view.slice(begin, end));
  const auto check = [&] {
    for (Index s = 0; s < remembered.length(); ++s)
      for (Index c = 0; c < 6; ++c) CHECK(remembered.row(c / 3, s)[c % 3] == static_cast<float>(static_cast<T>(rows(s, c))));
    for (Index s = 0; s < remembered.length(); ++s) {
      REQUIRE(remembered.end_of_run(s) > s);
      for (Index i = s; i < std::min(remembered.end_of_run(s), remembered.length()); ++i) CHECK(remembered.row(1, i) == remembered.row(1, s) + (i - s) * 3);
      // What follows a head's rows is the next one's, to the end of the page.
      CHECK(remembered.row(1, s) + remembered.rows_in_page(1, s) * 3 == remembered.row(0, s) + remembered.rows_in_page(0, s) * 3);
      CHECK(remembered.rows_in_page(1, s) == remembered.end_of_run(s) - s);
    }
  };
  CHECK(remembered.length() == 150);
  check();
  remembered.truncate(200);
  CHECK(remembered.length() == 150);
  remembered.truncate(64);
  CHECK(remembered.length() == 64);
  remembered.truncate(64);  // all of its pages are full
  remembered.append(view.slice(64, 100));
  CHECK(remembered.length() == 100);
  check();
}

TEST_CASE("attention: few queries agree with the blocks") {
  const Case c{.batch = 2, .heads = 4, .kv_heads = 2, .queries = 5, .past = 290, .first_key = {0, 257}};
  const Inputs in(c);
  const auto blocks = run<Float32Dot>(c, in);
  Case last = c;  // the last of the five alone, the others among its past
  last.past += 4;
  last.queries = 1;
  Inputs of_last(last);
  of_last.q = without_past(in.q, 4);
  of_last.k = in.k.clone();
  of_last.v = in.v.clone();
  const auto rows = run<Float32Dot>(last, of_last), expected = without_past(blocks, 4);
  const Exact exactly = exact(last, of_last, false);
  for (Index i = 0; i < rows.size(); ++i)
    CHECK(std::abs(double{rows.data()[i]} - double{expected.data()[i]}) <= 2 * exactly.bound.data()[i]);
}

TEST_CASE_TEMPLATE("attention: a query that sees no key yields zeros", Dot, Float32Dot, BFloat16Dot) {
  for (const Index queries : {3, 9, 30}) {
    const Case c{.batch = 3, .queries = queries, .first_key = {0, queries, 2}};
    const auto y = run<Dot>(c, Inputs(c));
    for (Index i = 0; i < queries; ++i) {
      const auto zeros = [&](Index b) { return std::all_of(&y(b, i, 0), &y(b, i, 0) + y.shape()[2], [](float v) { return v == 0; }); };
      CHECK(!zeros(0));
      CHECK(zeros(1));
      CHECK(zeros(2) == (i < 2));
    }
  }
  const Tensor<float, 3> q = random_tensor<float>(Shape{Index{1}, Index{6}, Index{8}}, 1), none(Shape{Index{1}, Index{0}, Index{8}});
  const auto y = jf::attention<Dot>(q, none, none, 1, 1);
  CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 0; }));
  CHECK(jf::attention<Dot>(none, q, q, 1, 1).empty());
}

TEST_CASE_TEMPLATE("attention: scores far apart and far from zero", Dot, Float32Dot, BFloat16Dot) {
  // The second key's score is 200 below the first's, or 2000 above it in the next block: its weight is 0, or all.
  for (const Index queries : {1, 6}) {
    Tensor<float, 3> q(Shape{Index{1}, queries, Index{1}}, 1.0f), k(Shape{Index{1}, Index{300}, Index{1}}, -1000.0f), v(k.shape(), 7.0f);
    k(0, 3, 0) = -800.0f, v(0, 3, 0) = 2.0f;
    CHECK(jf::attention<Dot>(q, k, v, 1, 1)(0, queries - 1, 0) == 2.0f);
    k(0, 299, 0) = 1000.0f, v(0, 299, 0) = 3.0f;
    CHECK(jf::attention<Dot>(q, k, v, 1, 1)(0, queries - 1, 0) == 3.0f);
  }
}

TEST_CASE("torch: scaled dot product attention") {
  const janusflow::test::Golden golden(JANUSFLOW_TEST_DATA "/ops/ops.safetensors");
  const auto by_token = [&](const std::string& key) {  // [B, heads, T, D] -> [B, T, heads * D]
    const auto x = golden.tensor<4>(key);
    const auto [batch, heads, length, dim] = x.shape().extents;
    Tensor<float, 3> y(Shape{batch, length, heads * dim});
    for (Index b = 0; b < batch; ++b)
      for (Index h = 0; h < heads; ++h)
        for (Index t = 0; t < length; ++t) std::copy_n(&x(b, h, t, 0), dim, &y(b, t, h * dim));
    return y;
  };
  for (const std::string name : {"sdpa_full", "sdpa_cross", "sdpa_causal", "sdpa_padded", "sdpa_causal_padded", "sdpa_gqa",
                                 "sdpa_past", "sdpa_past_one", "sdpa_past_padded"}) {
    CAPTURE(name);
    const auto shape = golden.tensor<4>(name + ".q").shape();
    Case c{.batch = shape[0], .heads = shape[1], .kv_heads = golden.tensor<4>(name + ".k").shape()[1], .dim = shape[3],
           .queries = shape[2], .causal = name.find("causal") != std::string::npos || name.find("past") != std::string::npos ||
                                          name.find("gqa") != std::string::npos};
    Inputs in(c);
    in.q = by_token(name + ".q");
    in.k = by_token(name + ".k");
    in.v = by_token(name + ".v");
    if (c.causal) c.past = in.k.shape()[1] - c.queries;
    else c.new_keys = in.k.shape()[1];
    if (name.find("padded") != std::string::npos) {
      const auto mask = golden.integers(name + ".mask");
      for (Index b = 0; b < c.batch; ++b)
        c.first_key.push_back(std::find(mask.begin() + b * c.keys(), mask.begin() + (b + 1) * c.keys(), 1) - mask.begin() - b * c.keys());
    }
    const Exact expected = exact(c, in, false);
    const auto stored = by_token(name + ".y");  // zero where a query sees no key
    const auto y = run<Float32Dot>(c, in);
    REQUIRE(y.shape() == stored.shape());
    for (Index i = 0; i < y.size(); ++i)
      CHECK(std::abs(double{y.data()[i]} - double{stored.data()[i]}) <= expected.bound.data()[i] + eps32 * std::abs(stored.data()[i]));
  }
}

TEST_CASE("attention: what does not fit is refused in one sentence") {
  const auto zeros = [](Index batch, Index length, Index channels) {
    return Tensor<float, 3>(Shape{batch, length, channels}, 0.0f);
  };
  const auto q = zeros(2, 6, 12), k = zeros(2, 6, 6);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 4, 2); }) == "nothing was thrown");
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 4, 1); }).find("do not fit together") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 5, 5); }).find("(5 heads)") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 4, 3); }).find("(3 heads)") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, zeros(2, 6, 8), zeros(2, 6, 8), 6, 4); }).find("(4 heads)") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 0, 0); }).find("(0 heads)") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, zeros(2, 7, 6), zeros(2, 7, 6), 4, 2, {.causal = true}); })
            .find("k [2, 7, 6]") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, zeros(2, 5, 6), 4, 2); }).find("v [2, 5, 6]") != std::string::npos);
  CHECK(message_of([&] { jf::attention<Float32Dot>(zeros(1, 6, 12), k, k, 4, 2); }).find("q [1, 6, 12]") != std::string::npos);
  const std::vector<jf::Past> one_past(1);
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 4, 2, {}, one_past); }) == "attention: 1 pasts for a batch of 2");
  const std::vector<Index> one{0}, negative{0, -1};
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 4, 2, {true, one}); }) == "attention: 1 first keys for a batch of 2");
  CHECK(message_of([&] { jf::attention<Float32Dot>(q, k, k, 4, 2, {true, negative}); }) ==
        "attention: the first key of a sequence is -1");
  const Tensor<float, 2> other(Shape{Index{3}, Index{10}}, 0.0f);
  for (const Index heads : {1, 2}) {
    const auto layer = remembered<BFloat16Dot>(other.view().columns(0, heads * 5), other.view().columns(0, heads * 5), heads, 5);
    const std::vector<jf::Past> wrong(2, jf::Past{&layer, 3});
    for (const auto& few : {zeros(2, 6, 12), zeros(2, 1, 12)})
      CHECK(message_of([&] { jf::attention<Float32Dot>(few, k, k, 4, 2, {}, wrong); }) ==
            janusflow::concat("attention: a past of ", heads, " heads of 5 does not match k [2, 6, 6] (2 heads)"));
  }
}
