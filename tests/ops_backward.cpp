// The float32 backward kernels of products, convolutions, attention in segments and losses, against double; any number of threads.
#include "janusflow/ops/conv2d_backward.hpp"
#include "janusflow/ops/losses.hpp"
#include "janusflow/ops/segmented_attention.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {

template <janusflow::TensorLike X>
Tensor<double, X::rank> magnitudes(const X& x) {
  auto y = cast<double>(x);
  for (double& v : y) v = std::abs(v);
  return y;
}

/// A sum of `terms` products has an error of at most (terms + 2) eps32 times the sum of their magnitudes, which the same backward gives
/// on magnitudes.
template <int R>
void check_sum(const Tensor<float, R>& y, const Tensor<double, R>& exact, const Tensor<double, R>& magnitude, Index terms) {
  CHECK(worst_ratio(y, exact, [&](Index i) { return static_cast<double>(terms + 2) * eps32 * magnitude.data()[i]; }) <= 1);
}

}  // namespace

TEST_CASE("linear: gradients of input, weight and bias") {
  for (const auto& sizes : {std::array<Index, 3>{1, 1, 1}, {5, 7, 3}, {33, 40, 70}, {2100, 17, 30}, {20, 5, 300}}) {
    const Index rows = sizes[0], in = sizes[1], out = sizes[2];
    CAPTURE(rows);
    const auto x = random_tensor<float>(Shape{rows, in}, 1), w = random_tensor<float>(Shape{out, in}, 2);
    const auto dense = random_tensor<float>(Shape{rows, out}, 3);
    const Strided<float, 2> strided(dense);
    const TensorView<const float, 2> dy = strided.columns;
    const auto x64 = cast<double>(x), w64 = cast<double>(w), dy64 = cast<double>(dense);
    const auto dx = jf::linear_backward_input(w, dy);
    check_sum(dx, jf::linear_backward_input(w64, dy64), jf::linear_backward_input(magnitudes(w), magnitudes(dense)), out);
    const auto dw = jf::linear_backward_weight(x, dy);
    check_sum(dw, jf::linear_backward_weight(x64, dy64), jf::linear_backward_weight(magnitudes(x), magnitudes(dense)), rows);
    const auto db = jf::linear_backward_bias(dy);
    check_sum(db, jf::linear_backward_bias(dy64), jf::linear_backward_bias(magnitudes(dense)), rows);
    check_threads([&] { return jf::linear_backward_input(w, dy); });
    check_threads([&] { return jf::linear_backward_weight(x, dy); });
    check_threads([&] { return jf::linear_backward_bias(dy); });
  }
  { const Tensor<float, 2> used(Shape{3, 7}, 1.0f); }  // what lies where the gradient will
  const auto of_no_rows = jf::linear_backward_weight(Tensor<float, 2>(Shape{0, 7}), Tensor<float, 2>(Shape{0, 3}));
  CHECK(std::ranges::count(of_no_rows, 0.0f) == 21);
  const Tensor<float, 2> x(Shape{3, 4}, 0.0f), dy(Shape{2, 5}, 0.0f);
  CHECK(message_of([&] { jf::linear_backward_weight(x, dy); }) == "linear_backward_weight: x [3, 4] does not match dy [2, 5]");
  CHECK(message_of([&] { jf::linear_backward_input(x, dy); }) == "linear_backward_input: dy [2, 5] does not match weight [3, 4]");
}

TEST_CASE("conv2d and upsample_conv2d: gradients of every geometry") {
  struct Case {
    Index batch, height, width, in, out, kernel;
    jf::ConvGeometry geometry;
  };
  for (const Case& c : {Case{2, 5, 6, 3, 4, 3, jf::ConvGeometry::same(3)}, {1, 8, 8, 5, 17, 1, {}}, {3, 8, 6, 4, 20, 2, {2}},
                        {1, 6, 6, 8, 8, 3, {.stride = 2, .bottom = 1, .right = 1}}, {2, 7, 5, 3, 6, 4, {3, 1, 2, 3, 1}},
                        {1, 50, 50, 2, 3, 3, jf::ConvGeometry::same(3)}, {2, 6, 5, 3, 4, 3, {1, 2, 0, 1, 2}}, {1, 4, 5, 2, 3, 2, {1, 2, 0, 3, 1}},
                        {3, 64, 64, 1, 2, 2, {2}}}) {
    CAPTURE(c.kernel);
    const auto& g = c.geometry;
    const Index height = (c.height + g.top + g.bottom - c.kernel) / g.stride + 1, width = (c.width + g.left + g.right - c.kernel) / g.stride + 1;
    const auto x = random_tensor<float>(Shape{c.batch, c.height, c.width, c.in}, 1);
    const auto w = random_tensor<float>(Shape{c.out, c.in, c.kernel, c.kernel}, 2);
    const auto dy = random_tensor<float>(Shape{c.batch, height, width, c.out}, 3);
    const auto dx = jf::conv2d_backward_input(x.shape(), w, g, dy);
    check_sum(dx, jf::conv2d_backward_input(x.shape(), cast<double>(w), g, cast<double>(dy)),
              jf::conv2d_backward_input(x.shape(), magnitudes(w), g, magnitudes(dy)), c.out * c.kernel * c.kernel);
    Shape<4> one = x.shape();
    one[0] = 1;
    const auto last = jf::conv2d_backward_input(one, w, g, dy.view().slice(c.batch - 1, c.batch));
    CHECK(std::equal(last.begin(), last.end(), dx.end() - last.size()));
    const auto dw = jf::conv2d_backward_weight(x, c.kernel, g, dy);
    check_sum(dw, jf::conv2d_backward_weight(cast<double>(x), c.kernel, g, cast<double>(dy)),
              jf::conv2d_backward_weight(magnitudes(x), c.kernel, g, magnitudes(dy)), c.batch * height * width);
    check_threads([&] { return jf::conv2d_backward_input(x.shape(), w, g, dy); });
    check_threads([&] { return jf::conv2d_backward_weight(x, c.kernel, g, dy); });
  }
  const auto x = random_tensor<float>(Shape{Index{2}, Index{4}, Index{3}, Index{5}}, 1);
  const auto w = random_tensor<float>(Shape{Index{6}, Index{5}, Index{3}, Index{3}}, 2);
  const auto dy = random_tensor<float>(Shape{Index{2}, Index{8}, Index{6}, Index{6}}, 3);
  check_sum(jf::upsample_conv2d_backward_input(x.shape(), w, dy),
            jf::upsample_conv2d_backward_input(x.shape(), cast<double>(w), cast<double>(dy)),
            jf::upsample_conv2d_backward_input(x.shape(), magnitudes(w), magnitudes(dy)), 6 * 9 + 4);
  check_sum(jf::upsample_conv2d_backward_weight(x, dy), jf::upsample_conv2d_backward_weight(cast<double>(x), cast<double>(dy)),
            jf::upsample_conv2d_backward_weight(magnitudes(x), magnitudes(dy)), 2 * 8 * 6);
}

namespace {

/// Bounds of attention's output and gradients in float32, as multiples of eps32. For one query, seen keys n, dimension d:
///   a weight p is within rho p: twice a score's error (d + 12) sum |q k| / sqrt(d), and range + n + 8 for the exponential, its
///   argument and the sum it is divided by;
///   dp = dy . v is within (d + 2) sum |dy v|; the level sum p dp within sum p |dp| (rho + n + 2) and the errors of dp;
///   ds = p (dp - level) within p (|dp - level| (rho + 4) + the errors of dp and level);
///   dq, dk and dv within the errors of ds and p, and a sum of as many terms as there are keys or queries.
struct AttentionBounds {
  Tensor<double, 2> y, dq, dk, dv;

  AttentionBounds(const std::vector<jf::detail::AttentionPiece>& pieces, Index heads, Index kv_heads, const Tensor<double, 3>& q,
                  const Tensor<double, 3>& k, const Tensor<double, 3>& v, const Tensor<double, 3>& dy)
      : y(Shape{q.shape().rows(), q.shape()[2]}, 0.0), dq(y.shape(), 0.0), dk(Shape{k.shape().rows(), k.shape()[2]}, 0.0), dv(dk.shape(), 0.0) {
    const Index d = q.shape()[2] / heads;
    const double root = std::sqrt(static_cast<double>(d));
    const auto at = [](const Tensor<double, 3>& x, Index row, Index c) { return x.data()[row * x.shape()[2] + c]; };
    for (const auto& piece : pieces)
      for (Index h = 0; h < heads; ++h)
        for (Index i = 0; i < piece.queries(); ++i) {
          const Index n = piece.seen(i), row = piece.begin + i, qc = h * d, kc = h / (heads / kv_heads) * d;
          const double queries = static_cast<double>(pieces.back().end) * static_cast<double>(heads);
          std::vector<double> p(static_cast<std::size_t>(n)), dp(p), edp(p);
          double top = -1e300, low = 1e300, es = 0, sum = 0;
          for (Index s = 0; s < n; ++s) {
            double score = 0, magnitude = 0;
            const auto j = static_cast<std::size_t>(s);
            for (Index c = 0; c < d; ++c) {
              score += at(q, row, qc + c) * at(k, piece.row(s), kc + c) / root;
              magnitude += std::abs(at(q, row, qc + c) * at(k, piece.row(s), kc + c)) / root;
              dp[j] += at(dy, row, qc + c) * at(v, piece.row(s), kc + c);
              edp[j] += std::abs(at(dy, row, qc + c) * at(v, piece.row(s), kc + c)) * static_cast<double>(d + 2);
            }
            p[j] = score;
            top = std::max(top, score);
            low = std::min(low, score);
            es = std::max(es, magnitude * static_cast<double>(d + 12));
          }
          for (double& x : p) sum += x = std::exp(x - top);
          const double rho = 2 * es + (top - low) + static_cast<double>(n) + 8;
          double level = 0, elevel = 0;
          for (std::size_t j = 0; j < p.size(); ++j) {
            p[j] /= sum;
            level += p[j] * dp[j];
            elevel += p[j] * (std::abs(dp[j]) * (rho + static_cast<double>(n) + 2) + edp[j]);
          }
          for (Index s = 0; s < n; ++s) {
            const auto j = static_cast<std::size_t>(s);
            const double ds = p[j] * std::abs(dp[j] - level) / root;
            const double eds = p[j] * (std::abs(dp[j] - level) * (rho + 4) + edp[j] + elevel) / root;
            for (Index c = 0; c < d; ++c) {
              y(row, qc + c) += p[j] * std::abs(at(v, piece.row(s), kc + c)) * (rho + static_cast<double>(n) + 2);
              dq(row, qc + c) += std::abs(at(k, piece.row(s), kc + c)) * (eds + static_cast<double>(n + 2) * ds);
              dk(piece.row(s), kc + c) += std::abs(at(q, row, qc + c)) * (eds + (queries + 2) * ds);
              dv(piece.row(s), kc + c) += std::abs(at(dy, row, qc + c)) * p[j] * (rho + queries + 2);
            }
          }
        }
  }
};

}  // namespace

TEST_CASE("attention in segments, and its gradients") {
  struct Case {
    Index batch, queries, keys, heads, kv_heads, dim;
    bool causal;
    std::vector<jf::Segment> segments;
  };
  const std::vector<Case> cases{{2, 9, 9, 2, 2, 8, false, {}},
                                {2, 20, 20, 4, 2, 6, true, {}},
                                {2, 1, 37, 2, 2, 16, false, {}},
                                {1, 150, 150, 1, 1, 24, true, {}},
                                {1, 40, 40, 4, 2, 16, true, {{0, 7, 0, 0, 0}, {7, 12, 0, 7, 7}, {12, 12, 0, 7, 7}, {12, 30, 0, 1, 7}, {30, 40, 30, 30, 0}}},
                                {2, 30, 30, 2, 1, 8, true, {{0, 25, 0, 0, 0}, {25, 30, 3, 20, 20}, {30, 60, 30, 30, 0}}}};
  for (const Case& c : cases) {
    CAPTURE(c.queries);
    const auto q = random_tensor<float>(Shape{c.batch, c.queries, c.heads * c.dim}, 1, 1.5), dy = random_tensor<float>(q.shape(), 4);
    const auto k = random_tensor<float>(Shape{c.batch, c.keys, c.kv_heads * c.dim}, 2, 1.5), v = random_tensor<float>(k.shape(), 3);
    const jf::AttentionMask mask{c.causal, {}, c.segments};
    const auto q64 = cast<double>(q), k64 = cast<double>(k), v64 = cast<double>(v), dy64 = cast<double>(dy);
    const AttentionBounds bounds(jf::detail::attention_pieces(c.batch, c.queries, c.keys, mask), c.heads, c.kv_heads, q64, k64, v64, dy64);
    const auto bound = [](const Tensor<double, 2>& b) { return [&b](Index i) { return b.data()[i] * eps32; }; };
    CHECK(worst_ratio(jf::segmented_attention(q, k, v, c.heads, c.kv_heads, mask),
                      jf::segmented_attention(q64, k64, v64, c.heads, c.kv_heads, mask), bound(bounds.y)) <= 1);
    const auto g = jf::segmented_attention_backward(q, k, v, c.heads, c.kv_heads, mask, dy);
    const auto exact = jf::segmented_attention_backward(q64, k64, v64, c.heads, c.kv_heads, mask, dy64);
    CHECK(worst_ratio(g.dq, exact.dq, bound(bounds.dq)) <= 1);
    CHECK(worst_ratio(g.dk, exact.dk, bound(bounds.dk)) <= 1);
    CHECK(worst_ratio(g.dv, exact.dv, bound(bounds.dv)) <= 1);
    check_threads([&] { return jf::segmented_attention_backward(q, k, v, c.heads, c.kv_heads, mask, dy).dk; });
  }
}

TEST_CASE("runs of segments that share keys") {
  const std::vector<jf::Segment> segments{{0, 4, 0, 0, 0}, {4, 8, 0, 4, 4}, {8, 10, 8, 8, 0}, {10, 12, 8, 10, 2}};
  const auto runs = jf::detail::independent_runs(jf::detail::attention_pieces(1, 12, 12, {true, {}, segments}));
  CHECK(runs == std::vector<std::pair<Index, Index>>{{0, 2}, {2, 4}});
}

TEST_CASE("segments that do not fit are refused") {
  const Tensor<float, 3> q(Shape{Index{1}, Index{4}, Index{2}}, 0.0f);
  const auto message = [&](const std::vector<jf::Segment>& segments) {
    return message_of([&] { jf::segmented_attention(q, q, q, 1, 1, {true, {}, segments}); });
  };
  CHECK(message({{0, 3, 0, 0, 0}}) == "attention: segments end at 3, the tokens at 4");
  const std::string order = " must follow the one before, which ends at 2, and stand behind what it sees";
  CHECK(message({{0, 2, 0, 0, 0}, {3, 4, 0, 0, 0}}) == "attention: segment [3, 4) behind [0, 0)" + order);
  CHECK(message({{0, 2, 0, 0, 0}, {2, 4, 0, 3, 0}}) == "attention: segment [2, 4) behind [0, 3)" + order);
  CHECK(message_of([&] { jf::segmented_attention(q, q, q, 1, 1, {true, std::array<Index, 1>{1}, {}}); }) ==
        "attention: padding is not for training; leave its tokens out");
}

TEST_CASE("losses in float32") {
  std::vector<std::int32_t> targets;
  for (std::int32_t i = 0; i < 40; ++i) targets.push_back(i % 4 == 0 ? jf::ignored_target : i);
  for (const double size : {1e-3, 3.0, 1e4}) {
    CAPTURE(size);
    const auto x = random_tensor<float>(Shape{40, 50}, 1, size), y = random_tensor<float>(Shape{40, 50}, 2, size);
    const auto x64 = cast<double>(x), y64 = cast<double>(y);
    const auto near = [](float a, double b, double bound) { return std::abs(static_cast<double>(a) - b) <= bound * eps32; };
    const double entropy = jf::cross_entropy(x64, targets), squared = jf::mean_squared_error(x64, y64), absolute = jf::mean_absolute_error(x64, y64);
    CHECK(near(jf::cross_entropy(x, targets), entropy, 24 + 50.0 / 16 + 2 * entropy));
    CHECK(near(jf::mean_squared_error(x, y), squared, 4 * squared));
    CHECK(near(jf::mean_absolute_error(x, y), absolute, 2 * absolute));
    CHECK(near(jf::mean_cosine_similarity(x, y), jf::mean_cosine_similarity(x64, y64), 1));
    const auto compare = [](const auto& a, const auto& b, auto bound) {
      CHECK(worst_ratio(a, b, [&](Index i) { return eps32 * bound(i); }) <= 1);
    };
    const auto p = jf::softmax(x64);
    compare(jf::cross_entropy_backward(x, targets, 1.0f), jf::cross_entropy_backward(x64, targets, 1.0), [&](Index i) {
      const double* row = x64.data() + i / 50 * 50;
      const double below = *std::max_element(row, row + 50) - x64.data()[i];
      return ((10 + 50.0 / 16 + below) * p.data()[i] + 3) / 30 + 1e-30;
    });
    const auto dsquared = jf::mean_squared_error_backward(x64, y64, 1.0);
    compare(jf::mean_squared_error_backward(x, y, 1.0f), dsquared, [&](Index i) { return 4 * std::abs(dsquared.data()[i]); });
    compare(jf::mean_absolute_error_backward(x, y, 1.0f), jf::mean_absolute_error_backward(x64, y64, 1.0), [](Index) { return 2.0 / 2000; });
    compare(jf::mean_cosine_similarity_backward(x, y, 1.0f), jf::mean_cosine_similarity_backward(x64, y64, 1.0), [&](Index i) {
      const auto [product, a, b] = jf::detail::cosine_parts(x64.data() + i / 50 * 50, y64.data() + i / 50 * 50, Index{50});
      return 3 * (std::abs(y64.data()[i]) / (a * b) + std::abs(product * x64.data()[i]) / (a * b * a * a)) / 40;
    });
  }
  const auto x = random_tensor<float>(Shape{40, 50}, 1, 3);
  CHECK(message_of([&] { jf::cross_entropy(x, std::vector<std::int32_t>(40, 50)); }) ==
        "cross_entropy: target 50 is not in the vocabulary of 50");
  check_threads([&] { return jf::cross_entropy_backward(x, targets, 1.0f); });
  check_threads([&] { return Tensor<float, 1>(Shape{Index{1}}, jf::cross_entropy(x, targets)); });
}
