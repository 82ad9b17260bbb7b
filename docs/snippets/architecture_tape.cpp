// A block of architecture.md read by a tape: the gradient of each of its parameters.
#include <cstdio>

#include "janusflow/autodiff/operations.hpp"
#include "janusflow/autodiff/parameters.hpp"
#include "janusflow/nn/layers.hpp"

using namespace janusflow;

template <class P>
struct FeedForward {
  RmsNorm<P> norm;
  Linear<P> up, down;

  FeedForward(Index width, Index hidden)
      : norm(width, 1e-6f), up(width, hidden), down(hidden, width, Bias::none) {}

  template <class X>
  X operator()(const X& x) const {
    return down(up(norm(x), Gelu{}), Add{x});
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("norm", self.norm);
    walk("up", self.up);
    walk("down", self.down);
  }
};

int main() {
  FeedForward<Taped<float>> block(4, 8);
  for_each_parameter(block, [](const std::string&, auto& parameter) {
    for (float& value : parameter.numbers()) value = 0.5f;
  });
  block.up.weight.set_trains(false);

  const Var<float, 2> x(Tensor<float, 2>(Shape{1, 4}, 1.0f));
  Tape tape;
  const auto y = block(x);
  const auto loss = mean_squared_error(y, Var<float, 2>(Tensor<float, 2>(y.shape(), 2.0f)));
  tape.backward(loss);
  std::printf("loss %.4f\n", loss.value()(0));
  for_each_parameter(block, [](const std::string& key, auto& parameter) {
    std::printf("%-12s %s\n", key.c_str(), std::as_const(parameter).gradient().data ? "has a gradient" : "is frozen");
  });
}
// Output:
// loss 21.1522
// norm.weight  has a gradient
// up.weight    is frozen
// up.bias      has a gradient
// down.weight  has a gradient
