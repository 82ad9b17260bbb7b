// A module of one's own: parameters, a call made of free functions, and one visit that names them as a checkpoint does.
#include <cstdio>

#include "janusflow/nn/layers.hpp"
#include "janusflow/nn/random_weights.hpp"

using namespace janusflow;

template <class P>
struct FeedForward {
  RmsNorm<P> norm;
  Linear<P> up, down;

  FeedForward(Index width, Index hidden)
      : norm(width, 1e-6f), up(width, hidden), down(hidden, width, Bias::none) {}

  /// x [..., C] -> [..., C]
  template <class X>
  X operator()(const X& x) const {
    return down(up(norm(x), Gelu{}), Add{x});  // residual + down(gelu(up(norm(x))))
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("norm", self.norm);
    walk("up", self.up);
    walk("down", self.down);
  }
};

int main() {
  FeedForward<BFloat16> block(8, 32);
  randomize(block, 1);  // through the visitor, as loading, saving and counting go
  for_each_parameter(
      block, [](const std::string& key, auto&) { std::printf("%s\n", key.c_str()); }, "model.blocks.0.");

  const Tensor<float, 3> x(Shape{2, 5, 8}, 1.0f);
  const auto y = block(x);
  std::printf("[%td, %td, %td]\n", y.shape()[0], y.shape()[1], y.shape()[2]);
}

// Output:
// model.blocks.0.norm.weight
// model.blocks.0.up.weight
// model.blocks.0.up.bias
// model.blocks.0.down.weight
// [2, 5, 8]
