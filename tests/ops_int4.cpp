// 4-bit products: the packed weights, their sums exactly, their scales, and what rounding costs.
#include <numeric>

#include "janusflow/ops/linear.hpp"
#include "janusflow/simd/int4_dot.hpp"
#include "ops_testing.hpp"

using namespace janusflow;
using testing::eps32;
using testing::random_tensor;

namespace {

using simd::Int4Dot;
constexpr Index group = Int4Dot::group;

PackedMatrix<Int4Dot> packed(const Tensor<float, 2>& w) {
  PackedMatrix<Int4Dot> matrix(w.shape()[0], w.shape()[1]);
  matrix.pack(w.view());
  return matrix;
}

/// Output n's integers and scale, read from the packed words as the layout is documented.
struct Column {
  std::vector<int> q, steps, middles;
  float scale;

  Column(const PackedMatrix<Int4Dot>& matrix, Index n) {
    const auto word = [&](Index w) { return matrix.storage()[static_cast<std::size_t>((n / 16 * matrix.words() + w) * 16 + n % 16)]; };
    scale = std::bit_cast<float>(word(0));
    for (Index k = 0; k < matrix.in_features(); ++k) {
      const Index pair = 1 + k / 64 * 9, half = k / 32 % 2, value = k % 8;
      const auto byte = [&](Index i) { return static_cast<int>(word(pair) >> (8 * i) & 255); };
      const std::uint32_t bits = word(pair + 1 + 4 * half + k % 32 / 8);
      if (k % 32 == 0) steps.push_back(byte(half)), middles.push_back((byte(2 + half) ^ 128) - 128);
      q.push_back((static_cast<int>(bits >> (8 * (value % 4) + (value < 4 ? 0 : 4)) & 15) - 8) * steps.back() + middles.back());
    }
  }
  double weight(Index k) const { return q[static_cast<std::size_t>(k)] * static_cast<double>(scale); }
};

/// Row m of x as it is rounded: integers and their step.
struct Row {
  std::vector<int> q;
  float scale;

  Row(const Tensor<float, 2>& x, Index m) : scale(Int4Dot::scale_of(&x(m, 0), x.shape()[1])) {
    for (Index k = 0; k < x.shape()[1]; ++k) q.push_back(Int4Dot::quantise(x(m, k), 1.0f / scale));
  }
};

std::array<float, group> group_of(const float* values, Index count = group) {
  std::array<float, group> all;
  all.fill(values[0]);
  std::copy_n(values, count, all.begin());
  return all;
}

}  // namespace

TEST_CASE("q4: every size gives the exact integer sum of products, times both scales") {
  const Index v = simd::width;
  for (const Index rows : {1, 2, 6, 7, 13, 14, 15, 17, 29, 32, 33, 49, 50})
    for (const Index columns : {Index{1}, v - 1, v + 1, 2 * v, 3 * v + 2, Index{33}})
      for (const Index depth : {1, 7, 8, 31, 32, 33, 63, 64, 65, 96, 257, 600}) {
        const auto x = random_tensor<float>(Shape{rows, depth}, 1), w = random_tensor<float>(Shape{columns, depth}, 2);
        const auto matrix = packed(w);
        const auto y = linear(x, matrix);
        for (Index m = 0; m < rows; ++m) {
          const Row row(x, m);
          for (Index n = 0; n < columns; ++n) {
            const Column column(matrix, n);
            const auto sum = std::inner_product(row.q.begin(), row.q.end(), column.q.begin(), 0);
            REQUIRE(y(m, n) == static_cast<float>(sum) * (column.scale * row.scale));
          }
        }
      }
}

TEST_CASE("q4: the largest sums are exact, in few rows and in many") {
  const Index depth = 2048;
  Tensor<float, 2> x(Shape{Index{9}, depth}), w(Shape{Index{20}, depth});
  for (Index k = 0; k < depth; ++k) {
    for (Index m = 0; m < 9; ++m) x(m, k) = (m % 3 == 0 ? k % 2 : m % 3 - 1) ? 127.0f : -127.0f;
    for (Index n = 0; n < 20; ++n) w(n, k) = (n % 2 ? k % 2 : n % 4 / 2) ? 120.0f + static_cast<float>(n % 7) : -120.0f - static_cast<float>(n % 8);
  }
  const auto matrix = packed(w);
  for (const Index rows : {1, 2, 3, 6, 9}) {
    const TensorView<const float, 2> view = x;
    const auto y = linear(view.slice(0, rows), matrix);
    for (Index m = 0; m < rows; ++m)
      for (Index n = 0; n < 20; ++n) {
        const Column column(matrix, n);
        const Row row(x, m);
        CHECK(y(m, n) == static_cast<float>(std::inner_product(row.q.begin(), row.q.end(), column.q.begin(), 0)) * (column.scale * row.scale));
      }
  }
}

TEST_CASE("q4: many rows multiply the bytes that the layout says") {
  const Index depth = 200, out = 37;
  const auto matrix = packed(random_tensor<float>(Shape{out, depth}, 12));
  const Index words = Int4Dot::many_rows_words(matrix.words());
  for (Index n = 0; n < out; ++n) {
    const Index lane = n % simd::width;
    Buffer memory(static_cast<std::size_t>(words * simd::panel_columns) * sizeof(std::uint32_t));
    auto* const panel = static_cast<std::uint32_t*>(memory.data());
    Int4Dot::for_many_rows(matrix.words(), matrix.panel(n / simd::width), panel);
    const Column column(matrix, n);
    CHECK(std::bit_cast<float>(panel[lane]) == column.scale);
    for (Index k = 0; k < depth; ++k)
      CHECK(static_cast<int>(panel[(1 + k / 4) * simd::panel_columns + lane] >> (8 * (k % 4)) & 255) - 128 == column.q[static_cast<std::size_t>(k)]);
  }
}

TEST_CASE("q4: weights are packed as quantise_group rounds them, from float32 as from bfloat16") {
  for (const Index depth : {1, 32, 40, 64, 100}) {
    auto w = random_tensor<float>(Shape{Index{19}, depth}, 3);
    Tensor<bfloat16, 2> small(w.shape());
    for (Index i = 0; i < w.size(); ++i) w.data()[i] = small.data()[i] = bfloat16(w.data()[i]);
    const auto matrix = packed(w);
    PackedMatrix<Int4Dot> from_bfloat16(19, depth);
    from_bfloat16.pack(std::as_const(small).view());
    CHECK(std::ranges::equal(matrix.storage(), from_bfloat16.storage()));
    for (Index n = 0; n < 19; ++n) {
      const Column column(matrix, n);
      REQUIRE(column.scale == Int4Dot::scale_of_weights(&w(n, 0), depth));
      for (Index begin = 0; begin < depth; begin += group) {
        const auto rounded = Int4Dot::quantise_group(group_of(&w(n, begin), std::min(group, depth - begin)), column.scale);
        REQUIRE(column.steps[static_cast<std::size_t>(begin / group)] == rounded.step);
        REQUIRE(column.middles[static_cast<std::size_t>(begin / group)] == rounded.middle);
        for (Index k = begin; k < std::min(depth, begin + group); ++k)
          REQUIRE(column.q[static_cast<std::size_t>(k)] == static_cast<int>(rounded.n[static_cast<std::size_t>(k - begin)]) * rounded.step + rounded.middle);
      }
    }
  }
}

TEST_CASE("q4: a group's weights are off by half of its steps and of its output's, or by less altogether") {
  double error_of_all = 0, squares_of_all = 0;
  for (const double spread : {0.0, 1.0, 3.0})  // groups of like sizes, and of very different ones
    for (Index n = 0; n < 300; ++n) {
      auto w = random_tensor<float>(Shape{Index{8}, group}, 100 + static_cast<std::uint64_t>(n));
      for (Index g = 0; g < 8; ++g)
        for (Index k = 0; k < group; ++k) w(g, k) *= static_cast<float>(std::exp(spread * (g % 3 - 1)));
      const float scale = Int4Dot::scale_of_weights(w.data(), w.size());
      for (Index g = 0; g < 8; ++g) {
        const auto values = group_of(&w(g, 0));
        const auto rounded = Int4Dot::quantise_group(values, scale);
        const auto [low, high] = std::ranges::minmax(values);
        REQUIRE((rounded.step >= 1 && rounded.step <= 17));
        double error = 0;
        for (std::size_t k = 0; k < values.size(); ++k) {
          const int q = static_cast<int>(rounded.n[k]) * rounded.step + rounded.middle;
          REQUIRE((rounded.n[k] >= -8 && rounded.n[k] <= 7 && q >= -128 && q <= 127));
          error += std::pow(double{values[k]} - double{scale} * q, 2);
          if (spread == 0) squares_of_all += std::pow(double{values[k]}, 2);
        }
        if (spread == 0) error_of_all += error;
        // The step that spans the range is at most a fifteenth of it and one scale more, and a middle is a whole number of scales.
        const double most = (double{high} - low) / 30 + double{scale};
        CHECK(error <= group * most * most * 1.00001);
      }
    }
  // Of normal numbers, 32 of which span some 4.1 of their standard deviations: fifteenths of that, and a little for whole numbers.
  CHECK(std::sqrt(error_of_all / squares_of_all) < 0.078);
  CHECK(std::sqrt(error_of_all / squares_of_all) > 0.070);
}

TEST_CASE("q4: against exact products of the rounded weights the error is that of inputs in 8 bits") {
  const Index depth = 512;
  const auto x = random_tensor<float>(Shape{Index{9}, depth}, 5);
  const auto matrix = packed(random_tensor<float>(Shape{Index{33}, depth}, 6));
  const auto y = linear(x, matrix);
  for (Index m = 0; m < 9; ++m)
    for (Index n = 0; n < 33; ++n) {
      const Column column(matrix, n);
      double exact = 0, bound = 0;
      for (Index k = 0; k < depth; ++k) {
        exact += column.weight(k) * double{x(m, k)};
        bound += std::abs(column.weight(k)) * Int4Dot::scale_of(&x(m, 0), depth) / 2;
      }
      CHECK(std::abs(y(m, n) - exact) <= bound * 1.00001 + 4 * eps32 * std::abs(exact));  // 1e-5: scales are rounded too
    }
}

TEST_CASE("q4: extremes, zeros and tiny numbers") {
  const Index depth = 4096;
  Tensor<float, 2> x(Shape{Index{3}, depth}, 1.0f), w(Shape{Index{5}, depth}, 1.0f);
  for (Index k = 0; k < depth; ++k) {
    w(1, k) = -1.0f;
    w(2, k) = 0.0f;
    w(3, k) = 1e-42f;
    w(4, k) = k % group == 0 ? 1e-38f : 0.0f;  // what it would be divided by has no inverse
    x(1, k) = -1.0f;
    x(2, k) = k % 2 ? 1.0f : -1.0f;
  }
  const auto y = linear(x, packed(w));
  const auto exact = static_cast<float>(depth);
  for (const auto& [m, n, sign] : {std::array{0, 0, 1}, {0, 1, -1}, {1, 0, -1}, {1, 1, 1}, {2, 0, 0}, {2, 1, 0}})
    CHECK(y(m, n) == doctest::Approx(static_cast<double>(sign) * exact).epsilon(8 * eps32));
  for (Index m = 0; m < 3; ++m) {
    CHECK(y(m, 2) == 0.0f);
    CHECK(std::abs(y(m, 3)) <= 1e-37f);
    CHECK(std::abs(y(m, 4)) <= 2e-36f);
  }
}

TEST_CASE("q4: a row's result is its own, on any number of threads") {
  auto x = random_tensor<float>(Shape{Index{31}, Index{77}}, 7);
  std::fill_n(x.data() + 5 * 77, 77, 0.0f);
  const auto matrix = packed(random_tensor<float>(Shape{Index{35}, Index{77}}, 8));
  const auto y = linear(x, matrix);
  for (Index n = 0; n < 35; ++n) CHECK(y(5, n) == 0.0f);
  const TensorView<const float, 2> view = x;
  for (Index m = 0; m < 31; ++m) {
    const auto alone = linear(view.slice(m, m + 1), matrix);
    CHECK(std::equal(alone.begin(), alone.end(), y.data() + m * 35));
  }
  const int threads = num_threads();
  for (const int n : {1, 2, 3}) {
    set_num_threads(n);
    CHECK(testing::same_bytes(linear(x, matrix), y));
  }
  set_num_threads(threads);
}

TEST_CASE("q4: swiglu and epilogues see the scaled sums") {
  const auto x = random_tensor<float>(Shape{Index{17}, Index{40}}, 9), residual = random_tensor<float>(Shape{Index{17}, Index{21}}, 10);
  const auto gate = packed(random_tensor<float>(Shape{Index{21}, Index{40}}, 11)), up = packed(random_tensor<float>(Shape{Index{21}, Index{40}}, 12));
  const auto g = linear(x, gate), u = linear(x, up), both = swiglu(x, gate, up), added = linear(x, gate, {}, Add{residual});
  for (Index i = 0; i < g.size(); ++i) {
    const double s = g.data()[i] / (1 + std::exp(-double{g.data()[i]})) * u.data()[i];
    CHECK(both.data()[i] == doctest::Approx(s).epsilon(1e-5));
    CHECK(added.data()[i] == g.data()[i] + residual.data()[i]);
  }
}
