// linear, linear_each and swiglu against double and against PyTorch.
#include "janusflow/ops/linear.hpp"

#include "golden.hpp"
#include "janusflow/ops/elementwise.hpp"
#include "janusflow/ops/norms.hpp"
#include "janusflow/simd/int4_dot.hpp"
#include "janusflow/simd/int8_dot.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;
using jf::simd::BFloat16Dot;
using jf::simd::Float32Dot;
using jf::simd::Int4Dot;
using jf::simd::Int8Dot;

namespace {

template <class Dot, class W>
jf::PackedMatrix<Dot> packed(const W& w) {
  jf::PackedMatrix<Dot> matrix(w.shape()[0], w.shape()[1]);
  matrix.pack(w.view());
  return matrix;
}

/// sum |x w| + |bias| of each element, in double.
template <int R>
Tensor<double, R> magnitudes(const Tensor<float, R>& x, const Tensor<float, 2>& w, const Tensor<float, 1>& bias) {
  auto ax = cast<double>(x);
  auto aw = cast<double>(w);
  auto ab = cast<double>(bias);
  for (double& v : ax) v = std::abs(v);
  for (double& v : aw) v = std::abs(v);
  for (double& v : ab) v = std::abs(v);
  return jf::reference::linear(ax, aw, ab);
}

void round_to_bfloat16(auto& x) {
  for (float& v : x) v = jf::bfloat16(v);
}

struct Case {
  Tensor<float, 3> x = random_tensor<float>(Shape{Index{2}, Index{9}, Index{37}}, 1);
  Tensor<float, 2> w = random_tensor<float>(Shape{Index{53}, Index{37}}, 2);
  Tensor<float, 1> bias = random_tensor<float>(Shape{Index{53}}, 3);
};

}  // namespace

TEST_CASE("linear: float32 within (in + 1) eps32 (sum |x w| + |bias|)") {
  for (const Index in : {1, 15, 16, 17, 37, 300})
    for (const Index out : {1, 7, 8, 9, 31, 33, 65}) {
      const auto x = random_tensor<float>(Shape{Index{3}, in}, 1);
      const auto w = random_tensor<float>(Shape{out, in}, 2);
      const auto bias = random_tensor<float>(Shape{out}, 3);
      const auto size = magnitudes(x, w, bias);
      const auto exact = jf::reference::linear(cast<double>(x), cast<double>(w), cast<double>(bias));
      const auto y = jf::linear(x, packed<Float32Dot>(w), bias);
      CHECK(worst_ratio(y, exact, [&](Index i) { return static_cast<double>(in + 1) * eps32 * size.data()[i]; }) <= 1);
      const auto plain = jf::reference::linear(x, w, bias);
      CHECK(worst_ratio(plain, exact, [&](Index i) { return static_cast<double>(in + 1) * eps32 * size.data()[i]; }) <= 1);
    }
}

TEST_CASE("linear: bfloat16 is exact products of rounded numbers, summed in float32") {
  Case c;
  const auto of_unrounded = jf::reference::linear(cast<double>(c.x), cast<double>(c.w), cast<double>(c.bias));
  const auto y = jf::linear(c.x, packed<BFloat16Dot>(c.w), c.bias);
  round_to_bfloat16(c.w);
  const auto of_rounded_weights = jf::reference::linear(cast<double>(c.x), cast<double>(c.w), cast<double>(c.bias));
  const auto size = magnitudes(c.x, c.w, c.bias);
  // The contract: 2^-8 sum |x w| for the rounding of x, beside float32's own error.
  CHECK(worst_ratio(y, of_rounded_weights, [&](Index i) { return (38 * eps32 + 0x1p-8) * size.data()[i]; }) <= 1);
  round_to_bfloat16(c.x);
  const auto exact = jf::reference::linear(cast<double>(c.x), cast<double>(c.w), cast<double>(c.bias));
  const auto rounded_size = magnitudes(c.x, c.w, c.bias);
  // An even number of products: the padding's zero adds a step.
  CHECK(worst_ratio(y, exact, [&](Index i) { return 39 * eps32 * rounded_size.data()[i]; }) <= 1);
  CHECK(worst_ratio(y, of_unrounded, [&](Index i) { return 0x1p-20 * size.data()[i]; }) > 1);  // it did round
}

TEST_CASE_TEMPLATE("linear: a row alone, strided rows, any number of threads: the same bytes", Dot, Float32Dot, BFloat16Dot) {
  const Case c;
  const auto w = packed<Dot>(c.w);
  const auto y = jf::linear(c.x, w, c.bias);
  const TensorView<const float, 3> x = c.x, all = y;
  for (Index b = 0; b < 2; ++b)
    for (const Index t : {0, 4, 8})
      CHECK(same_bytes(jf::linear(x[b].slice(t, t + 1), w, c.bias), Tensor<float, 2>(all[b].slice(t, t + 1))));
  const Strided<float, 3> strided(c.x);
  CHECK(same_bytes(jf::linear(strided.columns, w, c.bias), y));
  check_threads([&] { return jf::linear(c.x, w, c.bias); });
}

TEST_CASE_TEMPLATE("linear: what follows the product is the operation itself", Dot, Float32Dot, BFloat16Dot) {
  const Case c;
  const auto w = packed<Dot>(c.w);
  const auto y = jf::linear(c.x, w, c.bias);
  CHECK(same_bytes(jf::linear(c.x, w, c.bias, jf::Gelu{}), jf::gelu(y)));
  CHECK(same_bytes(jf::linear(c.x, w, c.bias, jf::Silu{}), jf::silu(y)));
  const auto residual = random_tensor<float>(y.shape(), 4);
  CHECK(same_bytes(jf::linear(c.x, w, c.bias, jf::Add{residual}), y + residual));
  const Strided<float, 3> strided(residual);
  CHECK(same_bytes(jf::linear(c.x, w, c.bias, jf::Add{strided.columns}), y + residual));
  const auto without = jf::linear(c.x, w);
  CHECK(same_bytes(jf::linear(c.x, w, Tensor<float, 1>(Shape{Index{53}}, 0.0f)), without));
}

TEST_CASE_TEMPLATE("linear_each and swiglu are products of one input", Dot, Float32Dot, BFloat16Dot) {
  const Case c;
  for (const Index out : {1, 8, 16, 17, 40}) {
    const auto first = packed<Dot>(random_tensor<float>(Shape{out, Index{37}}, 5));
    const auto second = packed<Dot>(random_tensor<float>(Shape{out, Index{37}}, 6));
    const auto third = packed<Dot>(random_tensor<float>(Shape{Index{3}, Index{37}}, 7));
    const auto [a, b, d] = jf::linear_each(c.x, first, second, third);
    CHECK(same_bytes(a, jf::linear(c.x, first)));
    CHECK(same_bytes(b, jf::linear(c.x, second)));
    CHECK(same_bytes(d, jf::linear(c.x, third)));
    auto gated = jf::silu(a);
    for (Index i = 0; i < gated.size(); ++i) gated.data()[i] *= b.data()[i];
    CHECK(same_bytes(jf::swiglu(c.x, first, second), gated));
    check_threads([&] { return jf::swiglu(c.x, first, second); });
    // One row reads the weights in another order, and has the same bytes.
    const Tensor<float, 2> row(c.x.view()[1].slice(8, 9));
    const auto last = [](const Tensor<float, 3>& y) { return Tensor<float, 2>(y.view()[1].slice(8, 9)); };
    const auto [one_a, one_b, one_d] = jf::linear_each(row, first, second, third);
    CHECK(same_bytes(one_a, last(a)));
    CHECK(same_bytes(one_b, last(b)));
    CHECK(same_bytes(one_d, last(d)));
    CHECK(same_bytes(jf::linear(row, first), one_a));
    CHECK(same_bytes(jf::swiglu(row, first, second), last(gated)));
    check_threads([&] { return jf::linear(row, first); });
  }
}

TEST_CASE_TEMPLATE("linear_each and swiglu: of wide matrices too one row has the bytes that it has in company", Dot, Float32Dot, BFloat16Dot, Int8Dot,
                   Int4Dot) {
  const auto x = random_tensor<float>(Shape{Index{5}, Index{77}}, 1);
  for (const Index out : {16 * jf::simd::tile_columns, 70 * jf::simd::tile_columns + 3}) {
    const auto first = packed<Dot>(random_tensor<float>(Shape{out, Index{77}}, 2)), second = packed<Dot>(random_tensor<float>(Shape{out, Index{77}}, 3));
    const auto both = jf::linear_each(x, first, second);
    const auto gated = jf::swiglu(x, first, second);
    const auto row = [](const Tensor<float, 2>& y) { return Tensor<float, 2>(y.view().slice(3, 4)); };
    check_threads([&] {
      const auto alone = jf::linear_each(row(x), first, second);
      CHECK(same_bytes(alone[0], row(both[0])));
      CHECK(same_bytes(alone[1], row(both[1])));
      CHECK(same_bytes(jf::linear(row(x), second), row(both[1])));
      return jf::swiglu(row(x), first, second);
    });
    CHECK(same_bytes(jf::swiglu(row(x), first, second), row(gated)));
  }
}

TEST_CASE_TEMPLATE("linear: of results that are written past the caches each row has the bytes that it has among few", Dot, Float32Dot, BFloat16Dot,
                   Int8Dot, Int4Dot) {
  const Index rows = 600, few = 50;  // 1 MB of bfloat16 and more, in more than one block
  const auto x = random_tensor<float>(Shape{rows, Index{19}}, 1);
  for (const Index out : {28 * Index{32}, 57 * Index{16}, Index{909}}) {  // whole cache lines of bfloat16, half of them, and no vectors
    CAPTURE(out);
    const auto weight = packed<Dot>(random_tensor<float>(Shape{out, Index{19}}, 2));
    const auto bias = random_tensor<float>(Shape{out}, 3);
    const auto residual = random_tensor<float>(Shape{rows, out}, 4);
    const auto added = jf::linear(x, weight, bias, jf::Add{residual});
    const auto rounded = jf::rounded_linear<jf::bfloat16>(x, weight, bias);
    check_threads([&] { return jf::linear(x, weight, bias, jf::Add{residual}); });
    for (Index begin = 0; begin < rows; begin += few) {
      const auto part = [&](const auto& all) { return all.view().slice(begin, begin + few); };
      const Tensor<float, 2> some(part(x)), beside(part(residual));
      CHECK(same_bytes(jf::linear(some, weight, bias, jf::Add{beside}), Tensor<float, 2>(part(added))));
      CHECK(same_bytes(jf::rounded_linear<jf::bfloat16>(some, weight, bias), Tensor<jf::bfloat16, 2>(part(rounded))));
    }
  }
}

TEST_CASE_TEMPLATE("what lies packed between two products gives the bytes of a tensor that is written", Dot, Float32Dot, BFloat16Dot, Int8Dot,
                   Int4Dot) {
  using Matrix = jf::PackedMatrix<Dot>;
  const Case c;
  const Tensor<float, 2> row(c.x.view()[1].slice(8, 9));
  const Strided strided(c.x);
  const auto norm = random_tensor<float>(Shape{Index{37}}, 10), shift = random_tensor<float>(Shape{Index{37}}, 11);
  for (const Index middle : {1, 2, 15, 16, 17, 31, 33, 70}) {
    const auto first = packed<Dot>(random_tensor<float>(Shape{middle, Index{37}}, 5));
    const auto second = packed<Dot>(random_tensor<float>(Shape{middle, Index{37}}, 6));
    const auto last = packed<Dot>(random_tensor<float>(Shape{Index{20}, middle}, 7));
    const auto bias = random_tensor<float>(Shape{middle}, 8);
    const auto check = [&](const auto& x) {
      const auto residual = jf::linear(x, packed<Dot>(random_tensor<float>(Shape{Index{20}, Index{37}}, 9)));
      // What lies between is rounded to bfloat16 first where rows are quantised; what is rounded in any case has its own activations.
      using Rounded = std::conditional_t<std::is_same_v<Dot, Float32Dot>, float, jf::bfloat16>;
      const auto rounded = [](auto y) {
        if constexpr (Dot::quantised) round_to_bfloat16(y);
        return y;
      };
      auto activated = jf::linear(x, first, bias);
      jf::simd::map(activated.size(), activated.data(), [](jf::simd::Batch v) { return jf::simd::gelu<Rounded>(v); }, activated.data());
      const auto activated_shape = activated.shape();
      auto gated = jf::linear(x, first);
      jf::simd::map(gated.size(), gated.data(), [](jf::simd::Batch g, jf::simd::Batch u) { return jf::simd::silu<Rounded>(g) * u; },
                    gated.data(), jf::linear(x, second).data());
      const auto y = jf::linear(rounded(std::move(activated)), last, {}, jf::Add{residual});
      const auto through = [&] { return jf::linear(jf::linear_for<Matrix>(x, first, bias, jf::Gelu{}), last, {}, jf::Add{residual}); };
      CHECK(same_bytes(through(), y));
      check_threads(through);
      CHECK(same_bytes(jf::linear(jf::swiglu_for<Matrix>(x, first, second), last), jf::linear(rounded(std::move(gated)), last)));
      const auto beside = random_tensor<float>(activated_shape, 12);
      CHECK(same_bytes(jf::linear(jf::linear_for<Matrix>(x, first, bias, jf::Add{beside}), last),
                       jf::linear(rounded(jf::linear(x, first, bias, jf::Add{beside})), last)));
      const auto rms = jf::rms_norm_for<Matrix>(x, norm, 1e-6f);
      CHECK(same_bytes(jf::linear(rms, first), jf::linear(jf::rms_norm(x, norm, 1e-6f), first)));
      CHECK(same_bytes(jf::swiglu(rms, first, second), jf::swiglu(jf::rms_norm(x, norm, 1e-6f), first, second)));
      const auto layer = jf::layer_norm_for<Matrix>(x, norm, shift, 1e-6f);
      const auto [a, b] = jf::linear_each(layer, first, second);
      CHECK(same_bytes(a, jf::linear(jf::layer_norm(x, norm, shift, 1e-6f), first)));
      CHECK(same_bytes(b, jf::linear(jf::layer_norm(x, norm, shift, 1e-6f), second)));
    };
    check(c.x);
    check(row);
    check(strided.columns);
  }
}

TEST_CASE("packed rows: what does not fit is refused in one sentence") {
  using Matrix = jf::PackedMatrix<Float32Dot>;
  const Case c;
  const auto w = packed<Float32Dot>(c.w), next = packed<Float32Dot>(random_tensor<float>(Shape{Index{5}, Index{54}}, 1));
  const auto narrow = random_tensor<float>(Shape{Index{2}, Index{36}}, 8);
  const auto message = [](auto&& f) { return message_of(f); };
  CHECK(message([&] { jf::linear_for<Matrix>(narrow, w); }) == "linear: x [2, 36] does not match weight [53, 37]");
  CHECK(message([&] { jf::linear(jf::linear_for<Matrix>(c.x, w), next); }) == "linear: x [2, 9, 53] does not match weight [5, 54]");
  CHECK(message([&] { jf::linear_for<Matrix>(c.x, w, Tensor<float, 1>(Shape{Index{52}}, 0.0f)); }) ==
        "linear: bias [52] does not match weight [53, 37]");
  CHECK(message([&] { jf::linear_for<Matrix>(c.x, Matrix(53, 37)); }) == "linear: the weight [53, 37] has no values yet");
  CHECK(message([&] { jf::rms_norm_for<Matrix>(c.x, Tensor<float, 1>(Shape{Index{3}}, 1.0f), 1e-6f); }) ==
        "rms_norm: x [2, 9, 37] does not match weight [3]");
}

TEST_CASE("torch: linear") {
  const janusflow::test::Golden golden(JANUSFLOW_TEST_DATA "/ops/ops.safetensors");
  // Inputs of order one, rows of weights of norm one: sum |x w| stays below sqrt(in) |x| |w| < 4 sqrt(in) (Cauchy and Schwarz).
  const auto x = golden.tensor<3>("linear.x"), y = golden.tensor<3>("linear.y");
  const auto actual = jf::linear(x, packed<Float32Dot>(golden.tensor<2>("linear.w")), golden.tensor<1>("linear.b"));
  const auto size = magnitudes(x, golden.tensor<2>("linear.w"), golden.tensor<1>("linear.b"));
  CHECK(worst_ratio(actual, cast<double>(y), [&](Index i) { return 39 * eps32 * size.data()[i]; }) <= 1);
  const auto row = golden.tensor<2>("linear_no_bias.x");
  const auto alone = jf::linear(row, packed<Float32Dot>(golden.tensor<2>("linear_no_bias.w")));
  const auto row_size = magnitudes(row, golden.tensor<2>("linear_no_bias.w"), {});
  CHECK(worst_ratio(alone, cast<double>(golden.tensor<2>("linear_no_bias.y")),
                    [&](Index i) { return 130 * eps32 * row_size.data()[i]; }) <= 1);
}

TEST_CASE("linear: what does not fit is refused in one sentence") {
  const Case c;
  const auto w = packed<Float32Dot>(c.w);
  const auto narrow = random_tensor<float>(Shape{Index{2}, Index{36}}, 8);
  CHECK(message_of([&] { jf::linear(narrow, w); }) == "linear: x [2, 36] does not match weight [53, 37]");
  CHECK(message_of([&] { jf::linear_each(narrow, w); }) == "linear: x [2, 36] does not match weight [53, 37]");
  const Tensor<float, 1> bias(Shape{Index{52}}, 0.0f);
  CHECK(message_of([&] { jf::linear(c.x, w, bias); }) == "linear: bias [52] does not match weight [53, 37]");
  CHECK(message_of([&] { jf::linear(c.x, jf::PackedMatrix<Float32Dot>(53, 37)); }) ==
        "linear: the weight [53, 37] has no values yet");
  const auto other = packed<Float32Dot>(random_tensor<float>(Shape{Index{52}, Index{37}}, 9));
  CHECK(message_of([&] { jf::swiglu(c.x, w, other); }) ==
        "swiglu: x [2, 9, 37] does not match gate [53, 37] and up [52, 37]");
  const auto deeper = packed<Float32Dot>(random_tensor<float>(Shape{Index{53}, Index{38}}, 9));
  CHECK(message_of([&] { jf::swiglu(c.x, w, deeper); }) == "swiglu: x [2, 9, 37] does not match gate [53, 37] and up [53, 38]");
  for (const Shape<2>& shape : {Shape{Index{17}, Index{53}}, Shape{Index{19}, Index{53}}, Shape{Index{53}, Index{18}}}) {
    const Tensor<float, 2> residual(shape, 0.0f);
    CHECK(message_of([&] { jf::linear(c.x, w, c.bias, jf::Add{residual}); }) ==
          janusflow::concat("add: ", shape, " does not match the product [18, 53]"));
  }
}
