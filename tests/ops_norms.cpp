// Normalisations and softmax: against double, for every width, thread count and stride, and their gradients.
#include "janusflow/ops/global_response_norm.hpp"
#include "janusflow/ops/group_norm.hpp"
#include "janusflow/ops/norms.hpp"
#include "janusflow/ops/softmax.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {
const Index widths[] = {1, 3, 5, 17, 31, 63, 100, 700};
constexpr float infinity = std::numeric_limits<float>::infinity();

/// Stride, batch and threads: op works on the rows of x alone, in whatever memory, on however many threads.
template <class Op>
void check_rows(Op op, const Tensor<float, 3>& x) {
  const Tensor<float, 3> y = op(x);
  CHECK(same_bytes(op(Strided(x).columns), y));
  const Tensor<float, 3> alone = op(x.view().slice(1, 2));
  CHECK(std::equal(alone.begin(), alone.end(), y.data() + alone.size()));
  check_threads([&] { return op(x); });
}
}  // namespace

TEST_CASE("rms_norm and layer_norm") {
  for (const Index n : widths) {
    const auto x = random_tensor<float>(Shape{Index{3}, Index{50}, n}, 1, 2, 1);
    const auto weight = random_tensor<float>(Shape{n}, 2), bias = random_tensor<float>(Shape{n}, 3);
    const auto wide = cast<double>(x);
    const auto wide_weight = cast<double>(weight), wide_bias = cast<double>(bias);
    // The longest chain of additions: n numbers in four batches of at least four (SSE2, NEON); then up to three vectors at the row's end,
    // the four batches' sum and a vector's lanes: eight more. The root halves what the sum of squares, its mean and eps are off by.
    const double chain = static_cast<double>(n) / 16;

    const auto rms = [&](const auto& v) { return jf::rms_norm(v, weight, 1e-6f); };
    const auto exact_rms = jf::rms_norm(wide, wide_weight, 1e-6);
    CHECK(worst_ratio(rms(x), exact_rms,
                      [&](Index i) { return (10 + chain / 2) * eps32 * std::abs(exact_rms.data()[i]); }) <= 1);
    check_rows(rms, x);

    const auto layer = [&](const auto& v) { return jf::layer_norm(v, weight, bias, 1e-2f); };
    const auto exact = jf::layer_norm(wide, wide_weight, wide_bias, double{1e-2f});
    const auto bound = [&](Index i) {
      const double* row = wide.data() + i / n * n;
      double mean = 0, squares = 0, top = 0;
      for (Index c = 0; c < n; ++c) mean += row[c] / static_cast<double>(n), top = std::max(top, std::abs(row[c]));
      for (Index c = 0; c < n; ++c) squares += (row[c] - mean) * (row[c] - mean) / static_cast<double>(n);
      const double scale = std::abs(wide_weight.data()[i % n]) / std::sqrt(squares + 1e-2);
      return (12 + chain) * eps32 * (std::abs(exact.data()[i]) + std::abs(wide_bias.data()[i % n]) + scale * top);
    };
    CHECK(worst_ratio(layer(x), exact, bound) <= 1);
    check_rows(layer, x);
  }
}

TEST_CASE("rms_norm and layer_norm by hand") {
  const Tensor<double, 1> weight(Shape{Index{2}}, 2.0), bias(Shape{Index{2}}, 1.0);
  Tensor<double, 2> x(Shape{Index{1}, Index{2}});
  x(0, 0) = 3, x(0, 1) = 4;
  CHECK(jf::rms_norm(x, weight, 0.0)(0, 1) == doctest::Approx(8 / std::sqrt(12.5)));
  CHECK(jf::layer_norm(x, weight, bias, 0.0)(0, 0) == doctest::Approx(-1));
  CHECK(jf::layer_norm(x, weight, bias, 0.75)(0, 1) == doctest::Approx(2));
}

TEST_CASE("group_norm, alone and with silu") {
  struct Case {
    Index groups, channels, height, width;
  };
  for (const auto& [groups, channels, height, width] :
       {Case{1, 1, 1, 1}, Case{1, 3, 2, 5}, Case{17, 17, 3, 3}, Case{2, 62, 7, 5}, Case{32, 128, 24, 24},
        Case{4, 100, 9, 31}}) {
    const Shape shape{Index{2}, height, width, channels};
    // A mean of ten times the deviation: a single pass over sums of squares would lose two digits here.
    const auto x = random_tensor<float>(shape, 4, 0.5, 5);
    const auto weight = random_tensor<float>(Shape{channels}, 5), bias = random_tensor<float>(Shape{channels}, 6);
    const auto wide_weight = cast<double>(weight), wide_bias = cast<double>(bias);
    const auto norm = [&, groups = groups](const auto& v) { return jf::group_norm(v, weight, bias, groups, 1e-6f); };
    const auto exact = jf::group_norm(cast<double>(x), wide_weight, wide_bias, groups, double{1e-6f});
    const auto y = norm(x);
    const auto bound = [&, channels = channels](Index i) {
      // 1 / sqrt(variance + eps) is 2 for the deviation drawn (1000 where a group is one number), max|x| is below 8.
      const Index c = i % channels;
      const double level = 1 + (shape.size() == 2 ? 1000 : 4) * 8;
      return 24 * eps32 * (std::abs(exact.data()[i]) + std::abs(wide_bias.data()[c]) + std::abs(wide_weight.data()[c])) * level;
    };
    CHECK(worst_ratio(y, exact, bound) <= 1);
    const auto activated = jf::group_norm_silu(x, weight, bias, groups, 1e-6f);
    CHECK(same_bytes(activated, jf::silu(y)));
    CHECK(same_bytes(norm(Strided(x).columns), y));
    const auto alone = norm(x.view().slice(1, 2));
    CHECK(std::equal(alone.begin(), alone.end(), y.data() + alone.size()));
    check_threads([&] { return norm(x); });
  }
}

TEST_CASE("norms whose roundings all go one way") {
  const auto number = [](Index i) { return 1 + static_cast<float>(i) * 0x1p-23f; };
  constexpr double variance_eps = 1e-18;

  // Nine numbers whose mean square is off by more than four roundings' worth.
  const float row[] = {0x1.b21e7ap+0f, 0x1.3bc446p+0f, 0x1.1102a4p+0f, 0x1.ee42c4p+0f, 0x1.0e5042p+0f,
                       0x1.68fc94p+0f, 0x1.1257f4p+0f, 0x1.ce9e84p+0f, 0x1.a1f43p+0f};
  const float weights[] = {0x1.226efp+0f, 0x1.c24974p+0f, 0x1.985e04p+0f, 0x1.03691ep+0f, 0x1.39f97ap+0f,
                           0x1.3967a2p+0f, 0x1.588d4p+0f, 0x1.327856p+0f, 0x1.e2b094p+0f};
  Tensor<float, 2> nine(Shape{Index{1}, Index{9}});
  Tensor<float, 1> nine_weights(Shape{Index{9}});
  std::copy_n(row, 9, nine.begin());
  std::copy_n(weights, 9, nine_weights.begin());
  const float eps = 0x1.8a4c9p-3f;
  const auto exact_rms = jf::rms_norm(cast<double>(nine), cast<double>(nine_weights), double{eps});
  CHECK(worst_ratio(jf::rms_norm(nine, nine_weights, eps), exact_rms,
                    [&](Index i) { return (10 + 9.0 / 32) * eps32 * std::abs(exact_rms.data()[i]); }) <= 1);

  // Equal numbers whose partial sums are all rounded down, and one that makes the deviation as small as the mean's error.
  const auto bound = [&](double factor, double level, const Tensor<double, 1>& y, Index i) {
    const double t = factor * eps32 * level;
    return factor * eps32 * std::abs(y.data()[i]) + t + std::abs(y.data()[i]) * t * t;
  };
  const auto moments = [](const Tensor<float, 1>& x) {
    double mean = 0, squares = 0;
    for (const float v : x) mean += v;
    mean /= static_cast<double>(x.size());
    for (const float v : x) squares += (v - mean) * (v - mean) / static_cast<double>(x.size());
    return std::pair{mean, std::sqrt(squares + variance_eps)};
  };
  const auto exact_of = [&](const Tensor<float, 1>& x) {
    const auto [mean, deviation] = moments(x);
    Tensor<double, 1> y(x.shape());
    for (Index i = 0; i < x.size(); ++i) y.data()[i] = (x.data()[i] - mean) / deviation;
    return y;
  };
  for (const Index n : {256, 2048, 16384}) {
    Tensor<float, 1> x(Shape{n}, number(n / (16 * jf::simd::width) - 1));
    x.data()[n - 1] += 1e-6f * std::sqrt(static_cast<float>(n));
    const Tensor<float, 1> one(Shape{n}, 1.0f), none(Shape{n}, 0.0f);
    const auto y = exact_of(x);
    const double level = 1 / moments(x).second;
    CHECK(worst_ratio(jf::layer_norm(x, one, none, static_cast<float>(variance_eps)), y,
                      [&](Index i) { return bound(12 + static_cast<double>(n) / 16, 1.0001 * level, y, i); }) <= 1);
  }

  // Chunks of pixels of two levels, whose means are rounded away from each other.
  const Index lines = 128;
  Tensor<float, 1> x(Shape{lines * 32});
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = number(i / 32 % 2 ? 25 : 4);
  x.data()[x.size() - 1] = number(1500);
  const auto y = exact_of(x);
  const double level = 1.001 / moments(x).second;
  const Tensor<float, 1> one(Shape{Index{1}}, 1.0f), none(Shape{Index{1}}, 0.0f);
  const auto grouped = jf::group_norm(x.view().reshape(Shape{Index{1}, lines, Index{32}, Index{1}}), one, none, 1, static_cast<float>(variance_eps));
  double worst = 0;
  for (Index i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::abs(grouped.data()[i] - y.data()[i]) / bound(24, 1 + level, y, i));
  CHECK(worst <= 1);
}

TEST_CASE("global_response_norm") {
  for (const Index channels : widths) {
    const Shape shape{Index{2}, Index{9}, Index{8}, channels};
    const auto x = random_tensor<float>(shape, 7);
    const auto weight = random_tensor<float>(Shape{channels}, 8), bias = random_tensor<float>(Shape{channels}, 9);
    const auto norm = [&](const auto& v) { return jf::global_response_norm(v, weight, bias); };
    const auto exact = jf::global_response_norm(cast<double>(x), cast<double>(weight), cast<double>(bias));
    const auto y = norm(x);
    // nx is below 2: a channel's norm over 72 pixels is close to the mean norm.
    CHECK(worst_ratio(y, exact, [&](Index i) {
            const Index c = i % channels;
            return 40 * eps32 *
                   (std::abs(bias.data()[c]) + (2 * std::abs(weight.data()[c]) + 1) * std::abs(x.data()[i]));
          }) <= 1);
    CHECK(same_bytes(norm(Strided(x).columns), y));
    const auto alone = norm(x.view().slice(1, 2));
    CHECK(std::equal(alone.begin(), alone.end(), y.data() + alone.size()));
    check_threads([&] { return norm(x); });
  }
}

TEST_CASE("softmax") {
  for (const Index n : widths) {
    const auto x = random_tensor<float>(Shape{Index{3}, Index{50}, n}, 10, 6, 300);
    const auto softmax = [](const auto& v) { return jf::softmax(v); };
    const auto y = softmax(x);
    const auto exact = softmax(cast<double>(x));
    CHECK(worst_ratio(y, exact, [&](Index i) {
            const float* row = x.data() + i / n * n;
            const double below = static_cast<double>(*std::max_element(row, row + n) - x.data()[i]);
            return (8 + static_cast<double>(n) / 16 + below) * eps32 * exact.data()[i];
          }) <= 1);
    check_rows(softmax, x);
  }
}

TEST_CASE("softmax of infinities and NaN") {
  const auto row = [](std::initializer_list<float> values) {
    Tensor<float, 2> x(Shape{Index{1}, static_cast<Index>(values.size())});
    std::copy(values.begin(), values.end(), x.begin());
    const auto y = jf::softmax(x);
    const auto exact = jf::softmax(cast<double>(x));
    for (Index i = 0; i < y.size(); ++i) {
      CHECK(std::isnan(y.data()[i]) == std::isnan(exact.data()[i]));
      if (!std::isnan(y.data()[i])) CHECK(y.data()[i] == doctest::Approx(exact.data()[i]));
    }
    return std::vector<float>(y.begin(), y.end());
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(row({-infinity, -infinity, -infinity}) == std::vector<float>{0, 0, 0});
  CHECK(row({-infinity, 5, -infinity}) == std::vector<float>{0, 1, 0});
  CHECK(row({3e38f, 3e38f}) == std::vector<float>{0.5f, 0.5f});
  CHECK(std::isnan(row({1, nan, 2})[0]));
  CHECK(std::isnan(row({-infinity, nan})[1]));
  CHECK(std::isnan(row({infinity, 0})[0]));
}

TEST_CASE("empty tensors and shapes that do not match") {
  const Tensor<float, 1> three(Shape{Index{3}}, 1.f), none(Shape{Index{0}});
  CHECK(jf::rms_norm(Tensor<float, 2>(Shape{Index{0}, Index{3}}), three, 1e-6f).empty());
  CHECK(jf::layer_norm(Tensor<float, 2>(Shape{Index{2}, Index{0}}), none, none, 1e-6f).empty());
  CHECK(jf::softmax(Tensor<float, 2>(Shape{Index{2}, Index{0}})).empty());
  const Tensor<float, 4> picture(Shape{Index{1}, Index{2}, Index{2}, Index{4}}, 1.f);
  CHECK(
      jf::group_norm(Tensor<float, 4>(Shape{Index{0}, Index{2}, Index{2}, Index{3}}), three, three, 3, 1e-6f).empty());
  CHECK(
      jf::global_response_norm(Tensor<float, 4>(Shape{Index{2}, Index{0}, Index{2}, Index{3}}), three, three).empty());
  CHECK(message_of([&] { jf::rms_norm(picture, three, 1e-6f); }) ==
        "rms_norm: x [1, 2, 2, 4] does not match weight [3]");
  const Tensor<float, 1> four(Shape{Index{4}}, 1.f);
  CHECK(message_of([&] { jf::layer_norm(picture, four, three, 1e-6f); }) ==
        "layer_norm: x [1, 2, 2, 4] does not match bias [3]");
  CHECK(message_of([&] { jf::group_norm(picture, four, four, 3, 1e-6f); }) ==
        "group_norm: the channels of x [1, 2, 2, 4] are not a multiple of 3 groups");
  CHECK(message_of([&] { jf::global_response_norm(picture, three, three); }) ==
        "global_response_norm: x [1, 2, 2, 4] does not match weight [3]");
}

TEST_CASE("gradients of the normalisations and of softmax") {
  auto x = random_tensor<double>(Shape{Index{2}, Index{3}, Index{2}, Index{6}}, 11, 1, 0.5);
  auto weight = random_tensor<double>(Shape{Index{6}}, 12), bias = random_tensor<double>(Shape{Index{6}}, 13);
  const auto dy = random_tensor<double>(x.shape(), 14);
  const double eps = 1e-3;
  SUBCASE("rms_norm") {
    const auto gradients = jf::rms_norm_backward(x, weight, eps, dy);
    const auto y = [&] { return jf::rms_norm(x, weight, eps); };
    check_gradient(x, y, dy, gradients.dx);
    check_gradient(weight, y, dy, gradients.dweight);
    CHECK(gradients.dbias.empty());
  }
  SUBCASE("layer_norm") {
    const auto gradients = jf::layer_norm_backward(x, weight, eps, dy);
    const auto y = [&] { return jf::layer_norm(x, weight, bias, eps); };
    check_gradient(x, y, dy, gradients.dx);
    check_gradient(weight, y, dy, gradients.dweight);
    check_gradient(bias, y, dy, gradients.dbias);
  }
  SUBCASE("group_norm") {
    const auto gradients = jf::group_norm_backward(x, weight, 2, eps, dy);
    const auto y = [&] { return jf::group_norm(x, weight, bias, 2, eps); };
    check_gradient(x, y, dy, gradients.dx);
    check_gradient(weight, y, dy, gradients.dweight);
    check_gradient(bias, y, dy, gradients.dbias);
  }
  SUBCASE("global_response_norm") {
    const auto gradients = jf::global_response_norm_backward(x, weight, dy);
    const auto y = [&] { return jf::global_response_norm(x, weight, bias); };
    check_gradient(x, y, dy, gradients.dx);
    check_gradient(weight, y, dy, gradients.dweight);
    check_gradient(bias, y, dy, gradients.dbias);
    for (Index p = 0; p < x.shape().rows(); ++p) x.data()[p * 6 + 2] = 0;  // a channel without a norm passes on what comes
    CHECK(jf::global_response_norm_backward(x, weight, dy).dx(1, 2, 1, 2) == dy(1, 2, 1, 2));
  }
  SUBCASE("softmax") {
    check_gradient(
        x, [&] { return jf::softmax(x); }, dy, jf::softmax_backward(jf::softmax(x), dy));
  }
}

TEST_CASE("float gradients follow the double ones and do not depend on the threads") {
  const auto x = random_tensor<float>(Shape{Index{2}, Index{20}, Index{10}, Index{24}}, 15, 1, 0.5),
             dy = random_tensor<float>(x.shape(), 16);
  const auto weight = random_tensor<float>(Shape{Index{24}}, 17);
  const auto wx = cast<double>(x), wdy = cast<double>(dy);
  const auto wide_weight = cast<double>(weight);
  const auto check = [&](auto run, const auto& exact) {
    const auto found = run();
    // Sums of up to n = 400 products of order 10, each with a few roundings, grow with sqrt(n) and are bounded by n.
    const auto dx_bound = [](Index) { return 400 * 10 * eps32; };
    CHECK(worst_ratio(found.dx, exact.dx, dx_bound) <= 1);
    CHECK(worst_ratio(found.dweight, exact.dweight, dx_bound) <= 1);
    check_threads([&] { return run().dx; });
    check_threads([&] { return run().dweight; });
  };
  check([&] { return jf::rms_norm_backward(x, weight, 1e-6f, dy); }, jf::rms_norm_backward(wx, wide_weight, 1e-6, wdy));
  check([&] { return jf::layer_norm_backward(x, weight, 1e-6f, dy); },
        jf::layer_norm_backward(wx, wide_weight, 1e-6, wdy));
  check([&] { return jf::group_norm_backward(x, weight, 4, 1e-6f, dy); },
        jf::group_norm_backward(wx, wide_weight, 4, 1e-6, wdy));
  // Of few numbers a group each counts.
  const auto few = random_tensor<float>(Shape{Index{2}, Index{1}, Index{2}, Index{24}}, 19), dfew = random_tensor<float>(few.shape(), 20);
  check([&] { return jf::group_norm_backward(few, weight, 4, 1e-6f, dfew); },
        jf::group_norm_backward(cast<double>(few), wide_weight, 4, 1e-6, cast<double>(dfew)));
  const auto bias = random_tensor<float>(Shape{Index{24}}, 18);
  const Strided<float, 4> strided_x(x), strided_dy(dy);
  CHECK(same_bytes(jf::group_norm_backward(x, weight, 4, 1e-6f, strided_dy.columns).dx, jf::group_norm_backward(x, weight, 4, 1e-6f, dy).dx));
  CHECK(same_bytes(jf::group_norm_silu_backward(strided_x.columns, weight, bias, 4, 1e-6f, dy.clone()).dx,
                   jf::group_norm_silu_backward(x, weight, bias, 4, 1e-6f, dy.clone()).dx));
  check([&] { return jf::group_norm_silu_backward(x, weight, bias, 4, 1e-6f, dy.clone()); },
        jf::group_norm_silu_backward(wx, wide_weight, cast<double>(bias), 4, 1e-6, wdy.clone()));
  check([&] { return jf::global_response_norm_backward(x, weight, dy); },
        jf::global_response_norm_backward(wx, wide_weight, wdy));
}
