// Tensors, views of them, and shapes.
#include "janusflow/core/eigen.hpp"
#include "janusflow/core/tensor.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <locale>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

using namespace janusflow;

namespace {

/// A tensor that holds 0, 1, 2, ...
template <int R>
Tensor<float, R> counted(Shape<R> shape) {
  Tensor<float, R> x(shape);
  std::iota(x.begin(), x.end(), 0.0f);
  return x;
}

/// The sentence of the Error that `action` throws; empty when it throws none.
template <class Action>
std::string sentence(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

constexpr Index largest = std::numeric_limits<Index>::max();

}  // namespace

TEST_CASE("shapes count their elements and rows") {
  const Shape shape{2, 3, 4};
  static_assert(std::is_same_v<decltype(shape), const Shape<3>>);
  CHECK(shape.size() == 24);
  CHECK(shape.rows() == 6);
  CHECK(shape.last() == 4);
  CHECK(shape.with_last(7) == Shape{2, 3, 7});
  CHECK(shape != Shape{2, 3, 5});
  CHECK(Shape<1>{{5}}.rows() == 1);
  CHECK(concat(shape, " and ", Shape{7}) == "[2, 3, 4] and [7]");
}

TEST_CASE("sentences do not follow the program's locale") {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
    char do_decimal_point() const override { return ','; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  const std::string sentence = concat(Shape{1000003}, ' ', 0.5);
  std::locale::global(before);
  CHECK(sentence == "[1000003] 0.5");
}

TEST_CASE("an empty extent makes an empty shape, however large the others are") {
  CHECK(Shape{0, 5}.size() == 0);
  CHECK(Shape{largest, largest, Index{0}}.size() == 0);
  CHECK(Shape<2>{}.size() == 0);
}

TEST_CASE("shapes that cannot be are refused") {
  CHECK(sentence([] { (void)Shape{2, -3}.size(); }) == "shape [2, -3] has a negative extent");
  CHECK(sentence([] { (void)Shape{0, -1}.size(); }) == "shape [0, -1] has a negative extent");
  CHECK(Shape{largest, Index{1}}.size() == largest);
  CHECK(Shape{largest / 2, Index{2}}.size() == largest - 1);
  const Shape over{largest / 2 + 1, Index{2}};
  CHECK(sentence([&] { (void)over.size(); }) == concat("shape [", largest / 2 + 1, ", 2] is too large"));
  CHECK(sentence([&] { Tensor<float, 2> x(over); }) == concat("shape [", largest / 2 + 1, ", 2] is too large"));
  CHECK(sentence([] { (void)Shape{largest, largest, largest}.size(); }).ends_with("is too large"));
}

TEST_CASE("a tensor whose bytes leave the address space is refused as its shape is") {
  // Fewer elements than Index can count, yet more bytes than std::size_t: multiplied unchecked they would wrap to a small block.
  const Shape<2> wraps{{Index{1} << 61, 2}};
  CHECK(sentence([&] { Tensor<double, 2> x(wraps); }) == concat("shape ", wraps, " is too large"));
  CHECK(sentence([] { Tensor<float, 1> x(Shape{Index{1} << 60}); }) ==
        "out of memory: no block of 4611686018427387904 bytes is to be had");
}

TEST_CASE("a default tensor is empty and harmless") {
  const Tensor<float, 3> x;
  CHECK(x.empty());
  CHECK(x.size() == 0);
  CHECK(x.begin() == x.end());
  CHECK(x.clone().empty());
  const Tensor<float, 2> no_rows(Shape{0, 7}), no_columns(Shape{7, 0});
  CHECK(no_rows.clone().shape() == Shape{0, 7});
  CHECK(no_columns.clone().shape() == Shape{7, 0});
  CHECK(as_matrix(no_rows).cols() == 7);
}

TEST_CASE("the last dimension is the fastest") {
  Tensor<float, 3> x = counted(Shape{2, 3, 4});
  CHECK(x(0, 0, 0) == 0);
  CHECK(x(0, 0, 3) == 3);
  CHECK(x(0, 2, 1) == 9);
  CHECK(x(1, 2, 3) == 23);
  x(1, 0, 2) = -1;
  CHECK(x.data()[14] == -1);
  CHECK(std::as_const(x)(1, 0, 2) == -1);
  CHECK(counted(Shape{5})(4) == 4);
}

TEST_CASE("storage is aligned to 64 bytes whatever its size") {
  for (Index n = 1; n < 3'000'000; n = n * 3 + 1) {
    const Tensor<bfloat16, 1> x(Shape{n});
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
  }
}

TEST_CASE("moving takes the numbers along and leaves an empty tensor") {
  Tensor<float, 2> x = counted(Shape{3, 4});
  const float* numbers = x.data();
  Tensor<float, 2> y = std::move(x);
  CHECK(y.data() == numbers);
  CHECK(y(2, 3) == 11);
  CHECK(x.empty());  // NOLINT: that a tensor moved from is empty is part of the contract
  CHECK(x.begin() == x.end());
  CHECK(x.shape().size() == 0);

  Tensor<float, 2> z = counted(Shape{1, 2});
  z = std::move(y);
  CHECK(z.data() == numbers);
  CHECK(z.shape() == Shape{3, 4});
  CHECK(y.empty());  // NOLINT
  CHECK(y.shape().size() == 0);
}

TEST_CASE("a clone has numbers of its own") {
  Tensor<float, 2> x = counted(Shape{2, 2});
  const Tensor<float, 2> y = x.clone();
  x(0, 0) = 100;
  CHECK(y(0, 0) == 0);
  CHECK(y(1, 1) == 3);
}

TEST_CASE("slices of the first dimension") {
  Tensor<float, 3> x = counted(Shape{4, 3, 2});
  const TensorView<float, 2> third = x.view()[2];
  CHECK(third.shape == Shape{3, 2});
  CHECK(third(1, 1) == 15);
  third(0, 0) = -5;
  CHECK(x(2, 0, 0) == -5);

  const TensorView<const float, 3> middle = std::as_const(x).view().slice(1, 3);
  CHECK(middle.shape == Shape{2, 3, 2});
  CHECK(middle(0, 0, 0) == 6);
  CHECK(middle(1, 2, 1) == 17);
  CHECK(x.view().slice(4, 4).size() == 0);

  Tensor<float, 2> matrix = counted(Shape{3, 5});
  const TensorView<float, 1> row = matrix.view()[1];
  CHECK(row.contiguous());
  CHECK(row(4) == 9);
}

TEST_CASE("columns are views that keep the row's stride") {
  Tensor<float, 3> x = counted(Shape{2, 3, 5});
  const TensorView<float, 3> inner = x.view().columns(1, 4);
  CHECK(inner.shape == Shape{2, 3, 3});
  CHECK_FALSE(inner.contiguous());
  for (Index i = 0; i < 2; ++i) {
    for (Index j = 0; j < 3; ++j) {
      for (Index k = 0; k < 3; ++k) CHECK(&inner(i, j, k) == &x(i, j, k + 1));
    }
  }
  CHECK(inner.row(4)[0] == 21);

  SUBCASE("columns of columns") { CHECK(&inner.columns(1, 2)(1, 2, 0) == &x(1, 2, 2)); }
  SUBCASE("slices of columns") {
    CHECK(&inner[1](2, 0) == &x(1, 2, 1));
    CHECK(&inner.slice(1, 2)(0, 0, 2) == &x(1, 0, 3));
    CHECK(&inner[1][2](2) == &x(1, 2, 3));
  }
  SUBCASE("a clone of columns is contiguous") {
    const Tensor<float, 3> copy(inner);
    CHECK(copy.view().contiguous());
    for (Index i = 0; i < 6; ++i) {
      for (Index k = 0; k < 3; ++k) CHECK(copy.data()[i * 3 + k] == inner.row(i)[k]);
    }
  }
  SUBCASE("as an Eigen matrix") {
    const auto matrix = as_matrix(inner);
    CHECK(matrix.rows() == 6);
    CHECK(matrix.cols() == 3);
    CHECK(matrix(4, 2) == 23);
    as_matrix(inner).setZero();
    CHECK(x(0, 0, 0) == 0);
    CHECK(x(0, 0, 4) == 4);
    CHECK(x(1, 2, 1) == 0);
    CHECK(x(1, 2, 0) == 25);
  }
}

TEST_CASE("reshape sees the same numbers, or says why it cannot") {
  Tensor<float, 3> x = counted(Shape{2, 3, 4});
  const auto flat = x.view().reshape(Shape{4, 6});
  CHECK(&flat(3, 5) == &x(1, 2, 3));
  CHECK(x.view().reshape(Shape{24}).shape == Shape{24});
  CHECK(sentence([&] { (void)x.view().reshape(Shape{5, 5}); }) == "reshape: [2, 3, 4] cannot be seen as [5, 5]");
  CHECK(sentence([&] { (void)x.view().columns(0, 2).reshape(Shape{12}); }) ==
        "reshape: [2, 3, 2] (not contiguous) cannot be seen as [12]");
}

TEST_CASE("reshaped hands the numbers over") {
  Tensor<float, 3> x = counted(Shape{2, 3, 4});
  const float* numbers = x.data();
  const Tensor<float, 2> y = std::move(x).reshaped(Shape{6, 4});
  CHECK(y.data() == numbers);
  CHECK(y(5, 3) == 23);
  CHECK(x.empty());  // NOLINT
  CHECK(x.begin() == x.end());

  Tensor<float, 1> z = counted(Shape{4});
  CHECK(sentence([&] { (void)std::move(z).reshaped(Shape{3, 2}); }) == "reshape: [4] cannot be seen as [3, 2]");
  CHECK(z(3) == 3);  // NOLINT: refused, it keeps its numbers
}

TEST_CASE("Eigen maps both ways") {
  const Eigen::MatrixXf columns_first = Eigen::MatrixXf::Random(3, 5);
  const auto x = tensor_from(columns_first);
  CHECK(x(2, 4) == columns_first(2, 4));
  CHECK(as_matrix(x) == columns_first);
  const auto product = tensor_from(columns_first * columns_first.transpose());
  CHECK(product.shape() == Shape{3, 3});
  const auto whole = tensor_from(Eigen::MatrixXi::Identity(2, 2));
  CHECK(whole(1, 1) == 1);
}

TEST_CASE("sums and products by a number") {
  const Tensor<float, 2> x = counted(Shape{2, 3}), y(Shape{2, 3}, 10.0f);
  const Tensor<float, 2> z = x + 2.0f * y;
  CHECK(z.shape() == Shape{2, 3});
  for (Index i = 0; i < 6; ++i) CHECK(z.data()[i] == static_cast<float>(i) + 20);
  CHECK((y * 0.5f)(1, 2) == 5);

  Tensor<float, 2> sum = x.clone();
  sum += y;
  CHECK(sum(1, 2) == 15);
  CHECK(sentence([&] { sum += counted(Shape{3, 2}); }) == "add: [2, 3] does not match [3, 2]");
  CHECK(sentence([&] { (void)(x + counted(Shape{2, 4})); }) == "add: [2, 3] does not match [2, 4]");
}

TEST_CASE("columns can be added as any view of the right shape") {
  Tensor<float, 2> wide = counted(Shape{2, 4}), sum(Shape{2, 2}, 1.0f);
  sum += wide.view().columns(2, 4);
  CHECK(std::vector<float>(sum.begin(), sum.end()) == std::vector<float>{3, 4, 7, 8});
}
