// 4-bit products: the packed weights, their sums exactly, their scales, and what rounding costs.
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

/// Output n's integers and scales, read from the packed words as the layout is documented.
struct Column {
  std::vector<int> q;
  std::vector<float> scales;

  Column(const PackedMatrix<Int4Dot>& matrix, Index n) {
    const auto word = [&](Index w) { return matrix.storage()[static_cast<std::size_t>((n / 16 * matrix.words() + w) * 16 + n % 16)]; };
    for (Index k = 0; k < matrix.in_features(); ++k) {
      const Index pair = k / 64 * 9, half = k / 32 % 2, value = k % 8;
      const std::uint32_t bits = word(pair + 1 + 4 * half + k % 32 / 8);
      q.push_back(static_cast<int>(bits >> (8 * (value % 4) + (value < 4 ? 0 : 4)) & 15) - 8);
      if (k % 32 == 0) scales.push_back(std::bit_cast<float>(half == 0 ? word(pair) << 16 : word(pair) & 0xffff0000u));
    }
  }
  double weight(Index k) const { return q[static_cast<std::size_t>(k)] * static_cast<double>(scales[static_cast<std::size_t>(k / group)]); }
};

/// Row m of x as it is rounded: integers times their group's scale.
std::vector<double> rounded(const Tensor<float, 2>& x, Index m) {
  const Index depth = x.shape()[1];
  std::vector<double> row;
  for (Index k = 0; k < depth; ++k) {
    const Index begin = k / group * group;
    const float scale = Int4Dot::scale_of(x.data() + m * depth + begin, std::min(group, depth - begin));
    row.push_back(Int4Dot::quantise(x(m, k), 1.0f / scale) * static_cast<double>(scale));
  }
  return row;
}

}  // namespace

TEST_CASE("q4: every size gives the sum of the rounded numbers' products") {
  const Index v = simd::width;
  for (const Index rows : {1, 2, 6, 7, 13, 14, 15, 17, 29, 32, 33})
    for (const Index columns : {Index{1}, v - 1, v + 1, 2 * v, 3 * v + 2, Index{33}})
      for (const Index depth : {1, 7, 8, 31, 32, 33, 63, 64, 65, 96, 257}) {
        const auto x = random_tensor<float>(Shape{rows, depth}, 1), w = random_tensor<float>(Shape{columns, depth}, 2);
        const auto matrix = packed(w);
        const auto y = linear(x, matrix);
        const auto groups = static_cast<double>((depth + group - 1) / group);
        for (Index m = 0; m < rows; ++m) {
          const auto row = rounded(x, m);
          for (Index n = 0; n < columns; ++n) {
            const Column column(matrix, n);
            double expected = 0, size = 0;  // size: of the groups' sums, which alone are rounded
            for (Index begin = 0; begin < depth; begin += group) {
              double sum = 0;
              for (Index k = begin; k < std::min(depth, begin + group); ++k) sum += row[static_cast<std::size_t>(k)] * column.weight(k);
              expected += sum;
              size += std::abs(sum);
            }
            // the product of the scales, that with the sum, and one addition a group; the bias
            REQUIRE(std::abs(y(m, n) - expected) <= (groups + 3) * eps32 * size);
          }
        }
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
      for (Index begin = 0; begin < depth; begin += group) {
        std::array<float, group> values{};
        std::copy_n(&w(n, begin), std::min(group, depth - begin), values.data());
        std::array<std::int8_t, group> q;
        const bfloat16 scale = Int4Dot::quantise_group(values.data(), q.data());
        REQUIRE(column.scales[static_cast<std::size_t>(begin / group)] == static_cast<float>(scale));
        for (Index k = begin; k < std::min(depth, begin + group); ++k)
          REQUIRE(column.q[static_cast<std::size_t>(k)] == q[static_cast<std::size_t>(k - begin)]);
      }
    }
  }
}

TEST_CASE("q4: a group's error is at most that of the plain choice of a scale") {
  double error_of_all = 0, plain_error_of_all = 0;
  const auto w = random_tensor<float>(Shape{Index{1000}, group}, 4);
  for (Index n = 0; n < 1000; ++n) {
    std::array<std::int8_t, group> q;
    const float* values = &w(n, 0);
    const double scale = static_cast<float>(Int4Dot::quantise_group(values, q.data()));
    double error = 0, largest = 0, squares = 0;
    for (Index k = 0; k < group; ++k) {
      REQUIRE(std::abs(q[static_cast<std::size_t>(k)]) <= 8);
      error += std::pow(double{values[k]} - scale * q[static_cast<std::size_t>(k)], 2);
      largest = std::max(largest, std::abs(double{values[k]}));
      squares += std::pow(q[static_cast<std::size_t>(k)], 2);
    }
    error_of_all += error;
    // With steps of largest / 8 every number is within half a step, or a whole one past 7; the best scale for the same integers
    // does no worse, and rounding that to bfloat16 moves it by 2^-9 at most.
    const double step = largest / 8;
    plain_error_of_all += group * step * step / 12;
    CHECK(error <= group * step * step + std::pow(0x1p-9 * scale, 2) * squares);
    double product = 0;
    for (Index k = 0; k < group; ++k) product += double{values[k]} * q[static_cast<std::size_t>(k)];
    CHECK(scale == static_cast<float>(bfloat16(static_cast<float>(product / squares))));  // the best for its integers
  }
  // Rounding to steps of largest / 8 costs a twelfth of their squares on average: the choice of scales gains on that.
  CHECK(error_of_all < plain_error_of_all);
  CHECK(error_of_all > 0.8 * plain_error_of_all);
}

TEST_CASE("q4: against exact products of the rounded weights the error is that of inputs in 8 bits") {
  const Index depth = 512;
  auto x = random_tensor<float>(Shape{Index{9}, depth}, 5);
  for (Index m = 0; m < 9; ++m) x(m, 7) *= 100;  // an outlier coarsens its own group alone
  const auto matrix = packed(random_tensor<float>(Shape{Index{33}, depth}, 6));
  const auto y = linear(x, matrix);
  for (Index m = 0; m < 9; ++m)
    for (Index n = 0; n < 33; ++n) {
      const Column column(matrix, n);
      double exact = 0, bound = 0, size = 0;
      for (Index k = 0; k < depth; ++k) {
        const double step = Int4Dot::scale_of(&x(m, k / group * group), group);
        exact += column.weight(k) * double{x(m, k)};
        bound += std::abs(column.weight(k)) * step / 2;
        size += std::abs(column.weight(k)) * (std::abs(double{x(m, k)}) + step / 2);
      }
      CHECK(std::abs(y(m, n) - exact) <= bound * 1.00001 + (depth / group + 3) * eps32 * size);  // 1e-5: scales are rounded too
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
    CHECK(y(m, n) == doctest::Approx(static_cast<double>(sign) * exact).epsilon(128 * eps32));  // a rounding each group
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
