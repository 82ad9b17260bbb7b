// depthwise_conv2d: against double, on every border and odd size, and its gradients.
#include "janusflow/ops/depthwise_conv2d.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

TEST_CASE("depthwise_conv2d") {
  struct Case {
    Index kernel, height, width, channels;
  };
  for (const auto& [kernel, height, width, channels] :
       {Case{7, 24, 24, 63}, Case{7, 1, 1, 1}, Case{7, 2, 3, 17}, Case{7, 5, 37, 3}, Case{7, 70, 9, 5},
        Case{3, 6, 11, 31}, Case{1, 3, 4, 5}, Case{5, 8, 8, 100}, Case{9, 4, 6, 2}}) {
    const auto x = random_tensor<float>(Shape{Index{2}, height, width, channels}, 1);
    const auto weight = random_tensor<float>(Shape{channels, Index{1}, kernel, kernel}, 2);
    const auto bias = random_tensor<float>(Shape{channels}, 3);
    const jf::DepthwiseFilter<float> filter(weight);
    const jf::DepthwiseFilter<double> wide_filter(cast<double>(weight));
    const auto convolve = [&](const auto& v) { return jf::depthwise_conv2d(v, filter, bias); };
    const auto wide = cast<double>(x);
    const auto exact = jf::depthwise_conv2d(wide, wide_filter, cast<double>(bias));
    const auto y = convolve(x);

    auto magnitudes = cast<double>(x);  // sum |x w| + |bias|, by the same convolution
    for (double& v : magnitudes) v = std::abs(v);
    auto absolute = cast<double>(weight);
    for (double& v : absolute) v = std::abs(v);
    auto absolute_bias = cast<double>(bias);
    for (double& v : absolute_bias) v = std::abs(v);
    const auto sizes = jf::depthwise_conv2d(magnitudes, jf::DepthwiseFilter<double>(absolute), absolute_bias);
    CHECK(worst_ratio(y, exact, [&, k = kernel](Index i) {
            return static_cast<double>(k * k + 1) * eps32 * sizes.data()[i];
          }) <= 1);

    // One pixel by the definition.
    const Index h = height / 2, w = width - 1, c = channels - 1, pad = kernel / 2;
    double sum = bias(c);
    for (Index i = 0; i < kernel; ++i)
      for (Index j = 0; j < kernel; ++j) {
        const Index p = h + i - pad, q = w + j - pad;
        if (p >= 0 && p < height && q >= 0 && q < width) sum += wide(1, p, q, c) * double{weight(c, 0, i, j)};
      }
    CHECK(exact(1, h, w, c) == doctest::Approx(sum).epsilon(1e-12));

    CHECK(same_bytes(convolve(Strided(x).columns), y));
    const auto alone = convolve(x.view().slice(1, 2));
    CHECK(std::equal(alone.begin(), alone.end(), y.data() + alone.size()));
    check_threads([&] { return convolve(x); });
  }
}

TEST_CASE("gradients of depthwise_conv2d") {
  for (const Index kernel : {3, 7}) {
    auto x = random_tensor<double>(Shape{Index{2}, Index{4}, Index{5}, Index{3}}, 4);
    auto weight = random_tensor<double>(Shape{Index{3}, Index{1}, kernel, kernel}, 5);
    auto bias = random_tensor<double>(Shape{Index{3}}, 6);
    const auto dy = random_tensor<double>(x.shape(), 7);
    const auto y = [&] { return jf::depthwise_conv2d(x, jf::DepthwiseFilter<double>(weight), bias); };
    const auto gradients = jf::depthwise_conv2d_backward(x, jf::DepthwiseFilter<double>(weight), dy);
    check_gradient(x, y, dy, gradients.dx);
    check_gradient(weight, y, dy, gradients.dweight);
    check_gradient(bias, y, dy, gradients.dbias);
  }
}

TEST_CASE("depthwise_conv2d names what does not match") {
  const Tensor<float, 4> x(Shape{Index{1}, Index{2}, Index{2}, Index{4}}, 0.f),
      empty(Shape{Index{2}, Index{0}, Index{3}, Index{4}});
  const Tensor<float, 1> bias(Shape{Index{4}}, 0.f);
  const jf::DepthwiseFilter<float> three(Tensor<float, 4>(Shape{Index{3}, Index{1}, Index{7}, Index{7}}, 0.f));
  const jf::DepthwiseFilter<float> four(Tensor<float, 4>(Shape{Index{4}, Index{1}, Index{7}, Index{7}}, 0.f));
  CHECK(jf::depthwise_conv2d(empty, four, bias).empty());
  CHECK(message_of([&] { jf::depthwise_conv2d(x, three, bias); }) ==
        "depthwise_conv2d: x [1, 2, 2, 4] does not match weight [3, 1, 7, 7]");
  CHECK(message_of([&] { jf::depthwise_conv2d(x.view().columns(0, 2), three, bias); }) ==
        "depthwise_conv2d: x [1, 2, 2, 2] does not match weight [3, 1, 7, 7]");
  CHECK(message_of([] {
          jf::DepthwiseFilter<float>(Tensor<float, 4>(Shape{Index{4}, Index{1}, Index{2}, Index{2}}, 0.f));
        }) == "depthwise_conv2d: weight [4, 1, 2, 2] is not [C, 1, k, k] with an odd k");
}
