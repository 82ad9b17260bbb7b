// int8 products: the integer sum exactly, its scales, and what rounding to 8 bits costs.
#include "janusflow/ops/linear.hpp"
#include "janusflow/simd/int8_dot.hpp"
#include "ops_testing.hpp"

using namespace janusflow;
using testing::random_tensor;

namespace {

using simd::Int8Dot;

/// The sum of quantised products in 64-bit integers, times both scales in double.
double expected_at(const Tensor<float, 2>& x, const Tensor<float, 2>& w, Index m, Index n) {
  const Index k = x.shape()[1];
  const float x_scale = Int8Dot::scale_of(x.data() + m * k, k), w_scale = Int8Dot::scale_of(w.data() + n * k, k);
  std::int64_t sum = 0;
  for (Index i = 0; i < k; ++i)
    sum += std::int64_t{Int8Dot::quantise(x(m, i), 1.0f / x_scale)} * Int8Dot::quantise(w(n, i), 1.0f / w_scale);
  return static_cast<double>(sum) * x_scale * w_scale;
}

PackedMatrix<Int8Dot> packed(const Tensor<float, 2>& w) {
  PackedMatrix<Int8Dot> matrix(w.shape()[0], w.shape()[1]);
  matrix.pack(w.view());
  return matrix;
}

}  // namespace

TEST_CASE("int8: every size gives the integer sum, scaled") {
  const Index v = simd::width;
  for (const Index rows : {1, 2, 13, 14, 15, 17, 29, 32, 33})
    for (const Index columns : {Index{1}, v - 1, v, v + 1, 2 * v, 3 * v + 2})
      for (const Index depth : {1, 3, 4, 5, 16, 63, 64, 65, 257}) {
        const auto x = random_tensor<float>(Shape{rows, depth}, 1), w = random_tensor<float>(Shape{columns, depth}, 2);
        const auto y = linear(x, packed(w));
        for (Index m = 0; m < rows; ++m)
          for (Index n = 0; n < columns; ++n) {
            const double expected = expected_at(x, w, m, n);
            REQUIRE(std::abs(y(m, n) - expected) <= 4 * testing::eps32 * std::abs(expected));  // int to float, two scales, bias
          }
      }
}

TEST_CASE("int8: a bias that leaves nothing of the product") {
  const auto x = random_tensor<float>(Shape{Index{5}, Index{70}}, 1), w = random_tensor<float>(Shape{Index{20}, Index{70}}, 2);
  Tensor<float, 1> bias(Shape{Index{20}});
  const auto product = linear(x, packed(w));
  for (Index n = 0; n < 20; ++n) bias.data()[n] = -product(n % 5, n);
  const auto y = linear(x, packed(w), bias);
  for (Index m = 0; m < 5; ++m)
    for (Index n = 0; n < 20; ++n) {
      const double b = bias.data()[n], expected = expected_at(x, w, m, n) + b;
      CHECK(std::abs(y(m, n) - expected) <= 4 * testing::eps32 * (std::abs(expected) + std::abs(b)));
    }
}

TEST_CASE("int8: largest values of either sign neither saturate nor wrap") {
  const Index depth = 8192;
  Tensor<float, 2> x(Shape{Index{3}, depth}, 1.0f), w(Shape{Index{2}, depth}, 1.0f);
  for (Index k = 0; k < depth; ++k) w(1, k) = -1.0f, x(1, k) = -1.0f, x(2, k) = k % 2 ? 1.0f : -1.0f;
  const auto y = linear(x, packed(w));
  const auto exact = static_cast<float>(depth);
  for (const auto& [m, n, sign] : {std::array{0, 0, 1}, {0, 1, -1}, {1, 0, -1}, {1, 1, 1}, {2, 0, 0}, {2, 1, 0}})
    CHECK(y(m, n) == doctest::Approx(static_cast<double>(sign) * exact).epsilon(4 * testing::eps32));
}

TEST_CASE("int8: zero rows stay zero, a row's result is its own, on any number of threads") {
  auto x = random_tensor<float>(Shape{Index{20}, Index{77}}, 3);
  const auto w = random_tensor<float>(Shape{Index{35}, Index{77}}, 4);
  std::fill_n(x.data() + 5 * 77, 77, 0.0f);
  const auto matrix = packed(w);
  const auto y = linear(x, matrix);
  for (Index n = 0; n < 35; ++n) CHECK(y(5, n) == 0.0f);
  CHECK(Int8Dot::scale_of(x.data() + 5 * 77, 77) == 1.0f);
  const TensorView<const float, 2> view = x;
  for (Index m = 0; m < 20; ++m) {
    const auto alone = linear(view.slice(m, m + 1), matrix);
    CHECK(std::equal(alone.begin(), alone.end(), y.data() + m * 35));
  }
  testing::check_threads([&] { return linear(x, matrix); });
}

TEST_CASE("int8: the error against exact products is that of rounding both factors to 8 bits") {
  const Index depth = 512;
  const auto x = random_tensor<float>(Shape{Index{9}, depth}, 5), w = random_tensor<float>(Shape{Index{33}, depth}, 6);
  const auto y = linear(x, packed(w));
  for (Index m = 0; m < 9; ++m)
    for (Index n = 0; n < 33; ++n) {
      const double x_step = Int8Dot::scale_of(x.data() + m * depth, depth), w_step = Int8Dot::scale_of(w.data() + n * depth, depth);
      double exact = 0, bound = 0;  // |xw - x'w'| <= |w| x_step / 2 + |x| w_step / 2 + both halves
      for (Index k = 0; k < depth; ++k) {
        exact += double{x(m, k)} * w(n, k);
        bound += (std::abs(double{w(n, k)}) * x_step + std::abs(double{x(m, k)}) * w_step + x_step * w_step / 2) / 2;
      }
      CHECK(std::abs(y(m, n) - exact) <= bound * 1.001);
    }
}

TEST_CASE("int8: swiglu and epilogues see the scaled sums") {
  const auto x = random_tensor<float>(Shape{Index{17}, Index{40}}, 7), residual = random_tensor<float>(Shape{Index{17}, Index{21}}, 8);
  const auto gate = random_tensor<float>(Shape{Index{21}, Index{40}}, 9), up = random_tensor<float>(Shape{Index{21}, Index{40}}, 10);
  const auto g = linear(x, packed(gate)), u = linear(x, packed(up)), both = swiglu(x, packed(gate), packed(up));
  const auto added = linear(x, packed(gate), {}, Add{residual});
  for (Index i = 0; i < g.size(); ++i) {
    const double s = g.data()[i] / (1 + std::exp(-double{g.data()[i]})) * u.data()[i];
    CHECK(both.data()[i] == doctest::Approx(s).epsilon(1e-5));
    CHECK(added.data()[i] == g.data()[i] + residual.data()[i]);
  }
}
