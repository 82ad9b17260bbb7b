// Packing and the one matrix product: every tail of rows, columns and depth against double, in float32 and bfloat16.
#include "janusflow/ops/gemm.hpp"

#include <vector>

#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;
using jf::simd::BFloat16Dot;
using jf::simd::Float32Dot;

namespace {

constexpr Index width = jf::simd::width;

/// Extents around the sizes at which tiles and panels end.
std::vector<Index> around(std::initializer_list<Index> sizes) {
  std::vector<Index> list{1, 2, 3};
  for (const Index n : sizes)
    for (const Index m : {n - 1, n, n + 1})
      if (m > 3) list.push_back(m);
  return list;
}

/// x [M, K] . wT [N, K] as the product gives it, without anything behind it.
template <class Dot>
Tensor<float, 2> product(TensorView<const float, 2> x, const jf::PackedMatrix<Dot>& weight) {
  Tensor<float, 2> y(Shape{x.shape[0], weight.out_features()}, 99.0f);
  jf::gemm<Dot>(jf::PackedInput<Dot>(x), jf::PanelPairs<Dot>{weight}, [&](Index row, Index rows, Index pair, const float* tile) {
    for (Index r = 0; r < rows; ++r)
      for (Index j = 0; j < jf::simd::tile_columns; ++j)
        if (const Index n = pair * jf::simd::tile_columns + j; n < weight.out_features())
          y(row + r, n) = tile[r * jf::simd::tile_columns + j];
  });
  return y;
}

template <class Dot>
jf::PackedMatrix<Dot> packed(TensorView<const float, 2> w) {
  jf::PackedMatrix<Dot> matrix(w.shape[0], w.shape[1]);
  matrix.pack(w);
  return matrix;
}

/// The values that Dot multiplies, as doubles.
template <class Dot>
Tensor<double, 2> rounded(const Tensor<float, 2>& x) {
  auto y = cast<double>(x);
  for (double& v : y) v = static_cast<float>(typename Dot::Value(static_cast<float>(v)));
  return y;
}

/// Checks y = x . wT against double: K products and K sums, each at most rounded once, give K eps32 sum |x w| (Jeannerod and Rump
/// 2013: without higher orders).
template <class Dot>
void check_product(const Tensor<float, 2>& y, const Tensor<float, 2>& x, const Tensor<float, 2>& w) {
  const auto xd = rounded<Dot>(x), wd = rounded<Dot>(w);
  const Index k = x.shape()[1];
  double worst = 0;
  for (Index m = 0; m < y.shape()[0]; ++m)
    for (Index n = 0; n < y.shape()[1]; ++n) {
      double sum = 0, size = 0;
      for (Index i = 0; i < k; ++i) {
        sum += xd(m, i) * wd(n, i);
        size += std::abs(xd(m, i) * wd(n, i));
      }
      worst = std::max(worst, std::abs(y(m, n) - sum) / (static_cast<double>(k) * eps32 * size));
    }
  CHECK(worst <= 1);
}

}  // namespace

TEST_CASE("gemm: row blocks that are multiplied at once") {
  const auto at_once = [](Index rows, Index k, Index blocks) {
    return jf::blocks_at_once<Float32Dot>(rows, k, blocks, 1 << 20, 2, 16);
  };
  CHECK(at_once(16, 64, 1) == 1);
  CHECK(at_once(1000, 64, 5) == 5);  // of any cache
  const Index too_deep = static_cast<Index>(jf::last_cache_bytes() / 4 / 100);  // 100 rows fill the cache
  const Index some = at_once(600, too_deep, 6);
  CHECK(some >= 1);
  CHECK(some < 6);
  CHECK(at_once(600, 20 * too_deep, 6) == 1);
}

TEST_CASE("gemm: long and deep inputs, of which not all are in the caches at once, give each row's own bytes") {
  // Five row blocks, in a set of three and one of two where the cache is not larger than most.
  const Index rows = 4 * jf::block_rows<Float32Dot> + 5, k = static_cast<Index>(std::min<std::size_t>(jf::last_cache_bytes(), 40 << 20)) * 3 / 16 / rows;
  const auto w = random_tensor<float>(Shape{2 * jf::simd::tile_columns + 3, k}, 1);
  const auto weight = packed<Float32Dot>(std::as_const(w).view());
  const auto x = random_tensor<float>(Shape{rows, k}, 2);
  const auto whole = product<Float32Dot>(std::as_const(x).view(), weight);
  for (Index begin = 0; begin < rows; begin += 100) {
    const Index end = std::min(rows, begin + 100);
    const auto part = product<Float32Dot>(std::as_const(x).view().slice(begin, end), weight);
    CHECK(std::equal(part.begin(), part.end(), whole.data() + begin * w.shape()[0]));
  }
}

TEST_CASE_TEMPLATE("gemm: every number of rows", Dot, Float32Dot, BFloat16Dot) {
  const auto w = random_tensor<float>(Shape{2 * width + 1, Index{33}}, 1);
  const auto weight = packed<Dot>(w);
  const auto all = random_tensor<float>(Shape{Index{50}, Index{33}}, 2);
  const auto whole = product<Dot>(std::as_const(all).view(), weight);
  check_product<Dot>(whole, all, w);
  for (Index m = 1; m < 50; ++m) {
    const auto part = product<Dot>(std::as_const(all).view().slice(0, m), weight);
    CHECK(same_bytes(part, Tensor<float, 2>(std::as_const(whole).view().slice(0, m))));
  }
  // A row alone is the row in company, wherever it stands.
  for (const Index m : {0, 13, 29, 49})
    CHECK(same_bytes(product<Dot>(std::as_const(all).view().slice(m, m + 1), weight),
                     Tensor<float, 2>(std::as_const(whole).view().slice(m, m + 1))));
}

TEST_CASE_TEMPLATE("gemm: depths and columns around the tiles'", Dot, Float32Dot, BFloat16Dot) {
  for (const Index k : around({width, 2 * width, 64, 128}))
    for (const Index n : around({width, 2 * width, 3 * width, 4 * width})) {
      CAPTURE(k);
      CAPTURE(n);
      const auto x = random_tensor<float>(Shape{Index{5}, k}, static_cast<unsigned>(k));
      const auto w = random_tensor<float>(Shape{n, k}, static_cast<unsigned>(n));
      check_product<Dot>(product<Dot>(std::as_const(x).view(), packed<Dot>(w)), x, w);
    }
}

TEST_CASE_TEMPLATE("gemm: a depth that is summed in pieces", Dot, Float32Dot, BFloat16Dot) {
  for (const Index words : {1537, 3100}) {
    const auto x = random_tensor<float>(Shape{Index{15}, words * Dot::depth}, 1), w = random_tensor<float>(Shape{Index{3}, words * Dot::depth}, 2);
    check_product<Dot>(product<Dot>(std::as_const(x).view(), packed<Dot>(w)), x, w);
  }
}

TEST_CASE_TEMPLATE("gemm: several row blocks, the same bytes on any number of threads", Dot, Float32Dot, BFloat16Dot) {
  const Index rows = jf::block_rows<Dot> + 3;  // one block and a bit
  const auto x = random_tensor<float>(Shape{rows, Index{19}}, 3);
  const auto w = random_tensor<float>(Shape{5 * width, Index{19}}, 4);
  const auto weight = packed<Dot>(w);
  check_product<Dot>(product<Dot>(std::as_const(x).view(), weight), x, w);
  check_threads([&] { return product<Dot>(std::as_const(x).view(), weight); });
  const Strided<float, 2> strided(x);
  CHECK(same_bytes(product<Dot>(TensorView<const float, 2>(strided.columns), weight),
                   product<Dot>(std::as_const(x).view(), weight)));
}

TEST_CASE_TEMPLATE("gemm: no rows, no columns", Dot, Float32Dot, BFloat16Dot) {
  const auto w = random_tensor<float>(Shape{Index{3}, Index{4}}, 5);
  CHECK(product<Dot>(TensorView<const float, 2>(nullptr, Shape{Index{0}, Index{4}}), packed<Dot>(w)).empty());
  const auto x = random_tensor<float>(Shape{Index{3}, Index{4}}, 6);
  CHECK(product<Dot>(std::as_const(x).view(), jf::PackedMatrix<Dot>(0, 4)).empty());
}

TEST_CASE_TEMPLATE("packing: rows, columns and bfloat16 weights give the same panels", Dot, Float32Dot, BFloat16Dot) {
  for (const auto& [n, k] : {std::pair<Index, Index>{width + 3, 7}, {2 * width, 130}, {1, 1}}) {
    auto w = random_tensor<float>(Shape{n, k}, 7);
    Tensor<jf::bfloat16, 2> small(w.shape());
    for (Index i = 0; i < w.size(); ++i) w.data()[i] = small.data()[i] = jf::bfloat16(w.data()[i]);
    Tensor<float, 2> turned(Shape{k, n});
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < k; ++j) turned(j, i) = w(i, j);
    const auto by_rows = packed<Dot>(w);
    jf::PackedMatrix<Dot> by_columns(n, k), from_bfloat16(n, k);
    by_columns.pack_columns([&](Index i) { return std::as_const(turned).view().row(i); });
    from_bfloat16.pack(std::as_const(small).view());
    CHECK(by_rows.storage().size() == static_cast<std::size_t>((n + 15) / 16 * 16 * by_rows.words()));
    CHECK(std::ranges::equal(by_rows.storage(), by_columns.storage()));
    CHECK(std::ranges::equal(by_rows.storage(), from_bfloat16.storage()));
  }
}

TEST_CASE("packing: a matrix knows its shape before it has values") {
  jf::PackedMatrix<Float32Dot> matrix(5, 7);
  CHECK(!matrix.filled());
  CHECK(matrix.panels() == (5 + width - 1) / width);
  const Tensor<float, 2> other(Shape{Index{7}, Index{5}}, 1.0f);
  CHECK(message_of([&] { matrix.pack(std::as_const(other).view()); }) == "pack: [7, 5] is not the weight's [5, 7]");
  CHECK(jf::PackedMatrix<BFloat16Dot>(5, 7).words() == 4);
}
