// Activations and addition: against double, for every width, thread count and stride, and their gradients.
#include "janusflow/ops/elementwise.hpp"
#include "ops_testing.hpp"

using namespace testing;
namespace jf = janusflow;

namespace {
/// Checks op(x) element by element against exact(x) with an error of at most bound(x).
template <class Op, class Exact, class Bound>
void check_op(Op op, Exact exact, Bound bound) {
  for (const Index n : {1, 3, 5, 17, 31, 63, 100, 40'000}) {
    const auto x = random_tensor<float>(Shape{Index{3}, n}, 1, 4);
    const Tensor<float, 2> y = op(x);
    const Tensor<double, 2> reference = op(cast<double>(x));
    for (Index i = 0; i < x.size(); ++i)
      REQUIRE(std::abs(reference.data()[i] - exact(static_cast<double>(x.data()[i]))) <=
              1e-14 * (1 + std::abs(x.data()[i])));
    CHECK(worst_ratio(y, reference, [&](Index i) { return bound(static_cast<double>(x.data()[i])); }) <= 1);

    const Strided strided(x);
    CHECK(same_bytes(op(strided.columns), y));
    const Tensor<float, 2> alone = op(x.view().slice(1, 2));
    CHECK(std::equal(alone.begin(), alone.end(), y.data() + n));
    Tensor<float, 2> moved = x.clone();
    const float* memory = moved.data();
    const Tensor<float, 2> in_place = op(std::move(moved));
    CHECK(in_place.data() == memory);
    CHECK(same_bytes(in_place, y));
    check_threads([&] { return op(x); });
  }
  CHECK(op(Tensor<float, 2>(Shape{Index{0}, Index{7}})).empty());
  CHECK(op(Tensor<float, 2>(Shape{Index{7}, Index{0}})).empty());
}
}  // namespace

TEST_CASE("sigmoid, silu and gelu") {
  // ulp bounds of simd/math.hpp, as relative errors: 4 ulp are at most 8 eps32.
  check_op([](auto&& x) { return jf::sigmoid(std::forward<decltype(x)>(x)); },
           [](double x) { return 1 / (1 + std::exp(-x)); }, [](double x) { return 8 * eps32 / (1 + std::exp(-x)); });
  check_op([](auto&& x) { return jf::silu(std::forward<decltype(x)>(x)); },
           [](double x) { return x / (1 + std::exp(-x)); },
           [](double x) { return 8 * eps32 * std::abs(x) / (1 + std::exp(-x)); });
  check_op([](auto&& x) { return jf::gelu(std::forward<decltype(x)>(x)); },
           [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); },
           [](double x) { return 1.2e-7 * std::abs(x); });
}

TEST_CASE("swiglu and add") {
  const auto gate = random_tensor<float>(Shape{Index{5}, Index{43}}, 2, 3),
             up = random_tensor<float>(Shape{Index{5}, Index{43}}, 3);
  const auto y = jf::swiglu(gate, up);
  const auto exact = jf::swiglu(cast<double>(gate), cast<double>(up));
  CHECK(worst_ratio(y, exact, [&](Index i) { return 9 * eps32 * std::abs(exact.data()[i]); }) <= 1);
  CHECK(exact(1, 2) == doctest::Approx(gate(1, 2) / (1 + std::exp(-double(gate(1, 2)))) * up(1, 2)).epsilon(1e-14));
  const auto sum = jf::add(gate, Strided(up).columns);
  for (Index i = 0; i < sum.size(); ++i) CHECK(sum.data()[i] == gate.data()[i] + up.data()[i]);
}

TEST_CASE("shapes that do not match are named") {
  const Tensor<float, 2> x(Shape{Index{2}, Index{3}}), y(Shape{Index{2}, Index{4}});
  CHECK(message_of([&] { jf::add(x, y); }) == "add: [2, 3] does not match [2, 4]");
  CHECK(message_of([&] { jf::swiglu(x, y); }) == "swiglu: [2, 3] does not match [2, 4]");
  CHECK(message_of([&] { jf::gelu_backward(x, y); }) == "gelu_backward: [2, 3] does not match [2, 4]");
  Tensor<float, 2> dgate(x.shape()), dup(y.shape());
  CHECK(message_of([&] { jf::swiglu_backward(x, x, y, dgate, dgate); }) == "swiglu_backward: [2, 3] does not match [2, 4]");
  CHECK(message_of([&] { jf::swiglu_backward(x, x, x, dgate, dup); }) == "swiglu_backward: [2, 3] does not match [2, 4]");
}

TEST_CASE("gradients of silu, gelu and swiglu") {
  auto x = random_tensor<double>(Shape{Index{3}, Index{17}}, 4, 2), up = random_tensor<double>(x.shape(), 5);
  const auto dy = random_tensor<double>(x.shape(), 6);
  check_gradient(
      x, [&] { return jf::silu(x); }, dy, jf::silu_backward(x, dy));
  check_gradient(
      x, [&] { return jf::gelu(x); }, dy, jf::gelu_backward(x, dy));
  Tensor<double, 2> dgate(x.shape()), dup(x.shape());
  jf::swiglu_backward(x, up, dy, dgate, dup);
  check_gradient(
      x, [&] { return jf::swiglu(x, up); }, dy, dgate);
  check_gradient(
      up, [&] { return jf::swiglu(x, up); }, dy, dup);
  // The float kernels are the same functions: a few roundings apart.
  const auto fx = cast<float>(x), fdy = cast<float>(dy);
  CHECK(worst_ratio(jf::gelu_backward(fx, fdy), jf::gelu_backward(x, dy),
                    [&](Index i) { return 8 * eps32 * std::abs(dy.data()[i]) * (1 + std::abs(x.data()[i])); }) <= 1);
  CHECK(worst_ratio(jf::silu_backward(fx, fdy), jf::silu_backward(x, dy),
                    [&](Index i) { return 8 * eps32 * std::abs(dy.data()[i]) * (1 + std::abs(x.data()[i])); }) <= 1);
}
