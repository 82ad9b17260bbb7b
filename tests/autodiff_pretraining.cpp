// Sampling, poolings and the losses of autoencoders and contrastive towers: their numbers, and central differences in double.
#include "autodiff_testing.hpp"
#include "janusflow/autodiff/pretraining.hpp"
#include "janusflow/autodiff/products.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {

/// labels [N, M]: 1 on the diagonal and at (0, 1), else -1.
Var<double, 2> some_labels(Index n, Index m) {
  Tensor<double, 2> z(Shape{n, m}, -1.0);
  for (Index i = 0; i < std::min(n, m); ++i) z(i, i) = 1;
  z(0, 1) = 1;
  return Var<double, 2>(std::move(z));
}

}  // namespace

TEST_CASE("pairs: average pooling") {
  auto x = leaf(Shape{Index{2}, Index{4}, Index{6}, Index{3}}, 1);
  check_gradients([](const auto& x) { return jf::average_pool2x(x); }, x);
  const auto y = jf::average_pool2x(x.value());
  CHECK(y.shape() == Shape{Index{2}, Index{2}, Index{3}, Index{3}});
  const auto v = std::as_const(x).value();
  CHECK(y(1, 1, 2, 1) == doctest::Approx((v(1, 2, 4, 1) + v(1, 2, 5, 1) + v(1, 3, 4, 1) + v(1, 3, 5, 1)) / 4));
  CHECK(message_of([] { jf::average_pool2x(Tensor<float, 4>(Shape{Index{1}, Index{3}, Index{2}, Index{1}})); }) ==
        "average_pool2x: height and width of x [1, 3, 2, 1] are not even");
}

TEST_CASE("pairs: a Gaussian's samples and divergence, from columns of one variable") {
  auto both = leaf(Shape{Index{2}, Index{3}, Index{6}}, 2);
  const Var<double, 3> noise(random_tensor<double>(Shape{Index{2}, Index{3}, Index{3}}, 3));
  check_gradients([&](const Var<double, 3>& x) { return jf::sample_gaussian(jf::columns(x, 0, 3), jf::columns(x, 3, 6), noise); }, both);
  check_gradients([](const Var<double, 3>& x) { return jf::gaussian_kl(jf::columns(x, 0, 3), jf::columns(x, 3, 6)); }, both);
  auto mean = leaf(Shape{1, 3}, 4), logvar = leaf(Shape{1, 3}, 5);
  logvar.numbers()[0] = -40;  // beyond the ranges that diffusers cuts to: nothing flows back
  logvar.numbers()[2] = 25;
  const Var<double, 2> some(random_tensor<double>(Shape{1, 3}, 6));
  check_gradients([&](const auto& m, const auto& v) { return jf::sample_gaussian<double, 2>(m, v, some); }, mean, logvar);
  const auto z = jf::sample_gaussian(mean.value(), logvar.value(), some.value());
  CHECK(z(0, 2) == doctest::Approx(mean.numbers()[2] + std::exp(10.0) * some.value()(0, 2)));
  const auto [dmean, dlogvar] = jf::gaussian_kl_backward(mean.value(), logvar.value(), 3.0);
  CHECK(dlogvar(0, 0) == 0);
  CHECK(dlogvar(0, 2) == 0);
  CHECK(dmean(0, 2) == doctest::Approx(mean.numbers()[2]));
  const Tensor<float, 2> zeros(Shape{2, 2}, 0.0f);
  CHECK(jf::gaussian_kl(zeros, zeros) == 0);  // the standard one from itself
  Tensor<float, 2> ones(Shape{2, 2}, 1.0f);
  CHECK(jf::gaussian_kl(ones, zeros) == 0.5f);
}

TEST_CASE("pairs: rows of length one, means of segments") {
  auto x = leaf(Shape{5, 4}, 7);
  check_gradients([](const auto& x) { return jf::l2_normalize(x); }, x);
  const auto y = jf::l2_normalize(x.value());
  double squares = 0;
  for (Index c = 0; c < 4; ++c) squares += y(2, c) * y(2, c);
  CHECK(squares == doctest::Approx(1));
  const Tensor<float, 2> nothing(Shape{1, 3}, 0.0f);
  for (const float v : jf::l2_normalize(nothing)) CHECK(v == 0);
  const std::vector<Index> ends{1, 4, 5};
  check_gradients([&](const auto& x) { return jf::segment_means(x, ends); }, x);
  const auto v = std::as_const(x).value();
  CHECK(jf::segment_means(v, ends)(1, 2) == doctest::Approx((v(1, 2) + v(2, 2) + v(3, 2)) / 3));
  const std::vector<Index> empty{1, 1, 5}, few{1, 4};
  CHECK(message_of([&] { jf::segment_means(v, empty); }) == "segment_means: a segment ends at 1, where it begins at 1");
  CHECK(message_of([&] { jf::segment_means(v, few); }) == "segment_means: segments end at 4, the rows at 5");
}

TEST_CASE("pairs: the sigmoid loss") {
  auto s = leaf(Shape{3, 4}, 8, 0.3);
  auto scale = leaf(Shape{1}, 9, 0, 1.2), bias = leaf(Shape{1}, 10, 0, -2);
  const auto labels = some_labels(3, 4);
  check_gradients([&](const auto& s, const auto& t, const auto& b) { return jf::sigmoid_pair_loss<double>(s, t, b, labels); }, s, scale, bias);
  double expected = 0;
  for (Index r = 0; r < 3; ++r)
    for (Index c = 0; c < 4; ++c)
      expected -= std::log(1 / (1 + std::exp(-labels.value()(r, c) * (std::exp(1.2) * std::as_const(s).value()(r, c) - 2)))) / 3;
  CHECK(jf::sigmoid_pair_loss<double>(s, scale, bias, labels).value()(0) == doctest::Approx(expected));
  const Tensor<float, 2> far(Shape{2, 2}, 1.0f);
  const Tensor<float, 2> apart(Shape{2, 2}, -1.0f);  // logits of 403: no overflow
  CHECK(jf::sigmoid_pair_loss(far, 6.f, 0.f, apart) == doctest::Approx(2 * std::exp(6.0)));
  CHECK(message_of([&] { jf::sigmoid_pair_loss(far, 0.f, 0.f, Tensor<float, 2>(Shape{2, 3})); }) ==
        "sigmoid_pair_loss: [2, 2] does not match [2, 3]");
}
