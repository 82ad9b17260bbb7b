// A program of several levels: says how many floats its vectors hold, and that what the library computes with them is right.
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "janusflow/ops/linear.hpp"
#include "janusflow/simd/int8_dot.hpp"

using namespace janusflow;

namespace {

/// A global whose constructor uses the level's instructions: on a lesser processor it must not run.
const Tensor<float, 2> weight = [] {
  Tensor<float, 2> w(Shape{64, 64}, 0.0f);
  for (Index i = 0; i < 64; ++i) w(i, 63 - i) = static_cast<float>(i);
  return w;
}();

template <class Dot>
Tensor<float, 2> product(const Tensor<float, 2>& x) {
  PackedMatrix<Dot> packed(64, 64);
  packed.pack(TensorView<const float, 2>(weight.view()));
  return linear(x, packed);
}

}  // namespace

int main(int count, char** arguments) try {
  if (count > 1) throw std::invalid_argument(std::string("unknown argument ") + arguments[1]);
  Tensor<float, 2> x(Shape{16, 64});
  for (Index i = 0; i < 16; ++i)
    for (Index j = 0; j < 64; ++j) x(i, j) = static_cast<float>(i + j);
  const auto y = product<simd::Float32Dot>(x), rough = product<simd::Int8Dot>(x);
  for (Index i = 0; i < 16; ++i)
    for (Index j = 0; j < 64; ++j) {
      const float exact = static_cast<float>(j) * x(i, 63 - j);
      if (y(i, j) != exact || std::abs(rough(i, j) - exact) > 0.01f * 63 * 78) return 1;
    }
  std::printf("%d\n", static_cast<int>(simd::width));
} catch (const std::exception& e) {
  std::printf("%s\n", e.what());
  return 2;
}
