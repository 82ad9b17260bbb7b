// One product, two precisions: the policy is the packed weight's type.
#include <cstdio>

#include "janusflow/ops/linear.hpp"

using namespace janusflow;

template <class Dot>
void show(const Tensor<float, 2>& x, const Tensor<float, 2>& weight) {
  PackedMatrix<Dot> packed(weight.shape()[0], weight.shape()[1]);
  packed.pack(weight.view());
  const auto y = linear(x, packed);
  std::printf("%-4s %.6f\n", Dot::name, y(0, 0));
}

int main() {
  const Tensor<float, 2> x(Shape{1, 2}, 1.0f), weight(Shape{3, 2}, 1.001f);  // bfloat16's next to 1 is 1.0078125
  show<simd::Float32Dot>(x, weight);
  show<simd::BFloat16Dot>(x, weight);
  try {
    show<simd::Float32Dot>(Tensor<float, 2>(Shape{1, 5}, 1.0f), weight);
  } catch (const Error& error) {
    std::printf("%s\n", error.what());
  }
}

// Output:
// f32  2.002000
// bf16 2.000000
// linear: x [1, 5] does not match weight [3, 2]
