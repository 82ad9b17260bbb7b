// Every operation on variables against central differences in double.
#include "autodiff_testing.hpp"
#include "janusflow/autodiff/losses.hpp"
#include "janusflow/autodiff/norms.hpp"
#include "janusflow/autodiff/products.hpp"
#include "janusflow/autodiff/sequence.hpp"

using namespace testing;
namespace jf = janusflow;

TEST_CASE("products: linear with all that may follow it") {
  auto x = leaf(Shape{Index{2}, Index{3}, Index{5}}, 1);
  auto w = leaf(Shape{4, 5}, 2);
  auto b = leaf(Shape{4}, 3);
  auto residual = leaf(Shape{Index{2}, Index{3}, Index{4}}, 4);
  const auto linear = [](const auto& x, const auto& w, const auto& b) { return jf::linear(x, w, b); };
  check_gradients(linear, x, w, b);
  check_gradients([](const auto& x, const auto& w) { return jf::linear(x, w); }, x, w);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::linear(x, w, b, jf::Gelu{}); }, x, w, b);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::linear(x, w, b, jf::Silu{}); }, x, w, b);
  check_gradients(
      [](const auto& x, const auto& w, const auto& b, const Var<double, 3>& r) { return jf::linear(x, w, b, jf::Add{r}); }, x, w, b,
      residual);
  const auto numbers = random_tensor<float>(Shape{3, 5}, 5);
  check_gradients([&](const auto& w, const auto& b) { return jf::linear(numbers, w, b, jf::Silu{}); }, w, b);
}

TEST_CASE("products: several of one input, and swiglu") {
  auto x = leaf(Shape{Index{2}, Index{3}, Index{5}}, 1);
  auto w = leaf(Shape{4, 5}, 2), v = leaf(Shape{4, 5}, 3), u = leaf(Shape{2, 5}, 4);
  check_gradients(
      [](const Var<double, 3>& x, const auto& w, const auto& v, const auto& u) {
        const auto [a, b, c] = jf::linear_each(x, w, v, u);
        return jf::columns(a + b, 1, 3) + c;  // four, four and two outputs
      },
      x, w, v, u);
  check_gradients([](const auto& x, const auto& w, const auto& v) { return jf::swiglu(x, w, v); }, x, w, v);
}

TEST_CASE("products: convolutions of every geometry") {
  auto x = leaf(Shape{Index{2}, Index{4}, Index{6}, Index{2}}, 1);
  auto w3 = leaf(Shape{Index{3}, Index{2}, Index{3}, Index{3}}, 2), w2 = leaf(Shape{Index{3}, Index{2}, Index{2}, Index{2}}, 3),
       w1 = leaf(Shape{Index{3}, Index{2}, Index{1}, Index{1}}, 4);
  auto b = leaf(Shape{3}, 5);
  auto r = leaf(Shape{Index{2}, Index{4}, Index{6}, Index{3}}, 6);
  const auto conv = [](jf::ConvGeometry g) { return [g](const auto& x, const auto& w, const auto& b) { return jf::conv2d(x, w, b, g); }; };
  check_gradients(conv(jf::ConvGeometry::same(3)), x, w3, b);
  check_gradients(conv({}), x, w1, b);
  check_gradients(conv({2}), x, w2, b);                                     // patchify
  check_gradients(conv({.stride = 2, .bottom = 1, .right = 1}), x, w3, b);  // the encoder's halving
  check_gradients(conv({1, 2, 0, 0, 1}), x, w3, b);
  check_gradients(
      [](const auto& x, const auto& w, const auto& b, const Var<double, 4>& r) {
        return jf::conv2d(x, w, b, jf::ConvGeometry::same(3), jf::Add{r});
      },
      x, w3, b, r);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::upsample_conv2d(x, w, b); }, x, w3, b);
  auto taps = leaf(Shape{Index{2}, Index{1}, Index{3}, Index{3}}, 7);
  auto b2 = leaf(Shape{2}, 8);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::depthwise_conv2d(x, w, b); }, x, taps, b2);
}

TEST_CASE("norms, activations and arithmetic") {
  auto x = leaf(Shape{Index{2}, Index{3}, Index{2}, Index{4}}, 1);
  auto y = leaf(Shape{Index{2}, Index{3}, Index{2}, Index{4}}, 2);
  auto w = leaf(Shape{4}, 3), b = leaf(Shape{4}, 4);
  auto s = leaf(Shape{2, 8}, 5);
  check_gradients([](const auto& x, const auto& w) { return jf::rms_norm(x, w, 1e-3f); }, x, w);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::layer_norm(x, w, b, 1e-3f); }, x, w, b);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::group_norm(x, w, b, 2, 1e-3f); }, x, w, b);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::silu_of_group_norm(x, w, b, 2, 1e-3f); }, x, w, b);
  check_gradients([](const auto& x, const auto& w, const auto& b) { return jf::global_response_norm(x, w, b); }, x, w, b);
  check_gradients([](const auto& x, const auto& s) { return jf::modulate(x, s); }, x, s);
  check_gradients([](const auto& x) { return jf::silu(x); }, x);
  check_gradients([](const auto& x) { return jf::gelu(x); }, x);
  check_gradients([](const Var<double, 4>& x, const Var<double, 4>& y) { return x + 2.5 * y; }, x, y);
  check_gradients([](const Var<double, 4>& x) { return x + x; }, x);
}

TEST_CASE("cutting and joining") {
  auto x = leaf(Shape{Index{2}, Index{3}, Index{4}}, 1), y = leaf(Shape{Index{2}, Index{2}, Index{4}}, 2);
  auto rows = leaf(Shape{Index{1}, Index{3}, Index{4}}, 3);
  auto table = leaf(Shape{5, 4}, 4), more = leaf(Shape{2, 4}, 5);
  const std::vector<Index> twice{1, 0, 1};
  const std::vector<std::int32_t> ids{4, 0, 4, 2};
  check_gradients([&](const auto& x) { return jf::select(x, twice); }, x);
  check_gradients([&](const auto& table) { return jf::embedding(ids, table); }, table);
  check_gradients([](const auto& x, const auto& y) { return jf::concat_tokens(x, y); }, x, y);
  check_gradients([](const auto& x) { return jf::drop_tokens(x, 1); }, x);
  check_gradients([](const auto& x) { return jf::take_tokens(x, 1, 2); }, x);
  check_gradients([](const auto& x, const auto& rows) { return jf::add_rows(x, rows); }, x, rows);
  check_gradients([](const auto& x) { return jf::columns(x, 1, 3) + jf::columns(x, 2, 4); }, x);
  check_gradients(
      [](const Var<double, 2>& a, const Var<double, 2>& b) {
        const std::vector<Var<double, 2>> parts{a, b, a};
        return jf::concat_rows<double>(parts);
      },
      table, more);
  auto picture = leaf(Shape{Index{1}, Index{2}, Index{2}, Index{8}}, 6), other = leaf(Shape{Index{1}, Index{2}, Index{2}, Index{3}}, 7);
  check_gradients([](const auto& x) { return jf::pixel_shuffle(x, 2); }, picture);
  check_gradients([](const auto& a, const auto& b) { return jf::concat_channels(a, b); }, picture, other);
  const jf::Rotation rotation({0, 1, 2, 7, 8, 9}, 4, 100.0);
  check_gradients([&](const auto& x) { return jf::rope(x, rotation); }, x);
}

TEST_CASE("attention: full, causal, grouped, and in segments") {
  using Dot = jf::simd::Float32Dot;
  auto q = leaf(Shape{Index{1}, Index{7}, Index{8}}, 1), k = leaf(Shape{Index{1}, Index{7}, Index{4}}, 2),
       v = leaf(Shape{Index{1}, Index{7}, Index{4}}, 3);
  const auto with = [](Index heads, Index kv_heads, jf::AttentionMask mask) {
    return [=](const auto& q, const auto& k, const auto& v) { return jf::attention<Dot>(q, k, v, heads, kv_heads, mask); };
  };
  check_gradients(with(4, 2, {}), q, k, v);
  check_gradients(with(2, 1, {true, {}, {}}), q, k, v);
  // Two samples: a prompt of 2 with two pictures behind it, the second of which sees the first token alone; and one by itself.
  const std::vector<jf::Segment> segments{{0, 2, 0, 0, 0}, {2, 4, 0, 2, 2}, {4, 5, 0, 1, 2}, {5, 7, 5, 5, 0}};
  check_gradients(with(4, 2, {true, {}, segments}), q, k, v);
  auto one = leaf(Shape{Index{2}, Index{1}, Index{4}}, 4), keys = leaf(Shape{Index{2}, Index{3}, Index{4}}, 5),
       values = leaf(Shape{Index{2}, Index{3}, Index{4}}, 6);
  check_gradients(with(2, 2, {}), one, keys, values);
}

TEST_CASE("losses") {
  auto logits = leaf(Shape{4, 6}, 1, 2), x = leaf(Shape{4, 6}, 2), y = leaf(Shape{4, 6}, 3);
  const std::vector<std::int32_t> targets{5, jf::ignored_target, 0, 2};
  const Var<double, 2> target = y;
  check_gradients([&](const auto& x) { return jf::cross_entropy(x, targets); }, logits);
  check_gradients([&](const auto& x) { return jf::mean_squared_error(x, target); }, x);
  check_gradients([&](const auto& x) { return jf::mean_absolute_error(x, target); }, x);
  check_gradients([&](const auto& x) { return jf::mean_cosine_similarity(x, target); }, x);
  const std::vector<std::int32_t> nothing(4, jf::ignored_target);
  CHECK(jf::cross_entropy(logits, nothing).value()(0) == 0);
}
