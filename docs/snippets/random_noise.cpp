// The noise that torch.manual_seed(42); torch.randn(1, 4, 48, 48) gives.
#include <cstdio>
#include <vector>

#include "janusflow/core/random.hpp"

int main() {
  janusflow::TorchGenerator generator(42);
  std::vector<float> noise(1 * 4 * 48 * 48);
  generator.normal(noise);
  std::printf("%.4f %.4f %.4f ... %.4f\n", noise[0], noise[1], noise[2], noise.back());
}

// Output:
// 1.9269 1.4873 0.9007 ... 0.8730
