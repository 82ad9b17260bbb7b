// Classifier-free guidance: its formula to the bit, its interval, and how often which branch is computed.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "janusflow/core/tensor.hpp"
#include "janusflow/flow/guidance.hpp"
#include "janusflow/flow/integrate.hpp"

using namespace janusflow;

namespace {

/// Two linear fields with counters, able to give the conditional one alone.
struct CountingPair {
  int* both;
  int* alone;

  std::pair<double, double> operator()(double z, double t) { return ++*both, std::pair{-z + t, 3 * z}; }
  double operator()(double z, double t, ConditionalOnly) { return ++*alone, -z + t; }
};

}  // namespace

TEST_CASE("the velocity is w v_c - (w - 1) v_u, in float and to the bit") {
  const Eigen::ArrayXf z = Eigen::ArrayXf::LinSpaced(1000, -3.1f, 2.7f);
  using State = Eigen::ArrayXf;
  const auto conditional = [](const State& x, double t) { return State(x * static_cast<float>(1.7 + t)); };
  const auto unconditional = [](const State& x, double) { return State(x * -0.3f); };
  for (const double w : {2.0, 5.0, 7.5, 1.1, 0.0, -1.0}) {
    CAPTURE(w);
    // the reference model: cfg_weight * v_cond - (cfg_weight - 1.) * v_uncond, with the scalars rounded to float32
    const Eigen::ArrayXf first = static_cast<float>(w) * conditional(z, 0.3);
    const Eigen::ArrayXf second = static_cast<float>(w - 1) * unconditional(z, 0.3);
    const Eigen::ArrayXf expected = first - second;

    CHECK((guided(conditional, unconditional, w)(z, 0.3) == expected).all());
    const auto pair = [&](const State& x, double t) { return std::pair{conditional(x, t), unconditional(x, t)}; };
    CHECK((guided(pair, w)(z, 0.3) == expected).all());

    const Tensor<float, 1> tensor(TensorView<const float, 1>(z.data(), {{1000}}));
    const auto tensors = [&](const Tensor<float, 1>& x, double t) {
      const Eigen::Map<const State> values(x.data(), x.size());
      const State c = conditional(values, t), u = unconditional(values, t);
      return std::pair{Tensor<float, 1>(TensorView<const float, 1>(c.data(), x.shape())),
                       Tensor<float, 1>(TensorView<const float, 1>(u.data(), x.shape()))};
    };
    CHECK(std::ranges::equal(guided(tensors, w)(tensor, 0.3), expected));
  }
}

TEST_CASE("weight 1 is the conditional velocity, and the other one is not computed") {
  int both = 0, alone = 0;
  const auto velocity = guided(CountingPair{&both, &alone}, 1);
  CHECK(velocity(2.0, 0.5) == -1.5);
  CHECK(both == 0);
  CHECK(alone == 1);

  const auto never = [](double, double) -> double {
    throw std::logic_error("the unconditional velocity was computed");
  };
  CHECK(guided([](double z, double) { return 4 * z; }, never, 1.0)(2.0, 0.5) == 8);

  // a pair that cannot do one alone gives both, of which one is dropped, infinite as it may be
  CHECK(guided([](double z, double) { return std::pair{4 * z, HUGE_VAL}; }, 1.0)(2.0, 0.5) == 8);
}

TEST_CASE("guidance on an interval costs the second branch inside it only") {
  int both = 0, alone = 0;
  const GuidanceInterval middle{3.0, 0.25, 0.75};
  const auto result = integrate<Euler>(guided(CountingPair{&both, &alone}, middle), 1.0, uniform_grid(8));
  CHECK(both == 5);   // t = 2/8 ... 6/8, the ends belong to it
  CHECK(alone == 3);  // t = 0, 1/8, 7/8
  double z = 1;
  for (int i = 0; i < 8; ++i) {
    const double t = i / 8.0, w = t >= 0.25 && t <= 0.75 ? 3 : 1;
    z += (w * (-z + t) - (w - 1) * 3 * z) / 8;
  }
  CHECK(result.z == doctest::Approx(z).epsilon(1e-14));

  both = alone = 0;
  integrate<Heun>(guided(CountingPair{&both, &alone}, GuidanceInterval{3.0}), 1.0, uniform_grid(8));
  CHECK(both == 16);
  CHECK(alone == 0);
}

TEST_CASE("the weight may be any function of the time; it must be finite where it is asked for") {
  const auto pair = [](double z, double) { return std::pair{z, -z}; };
  CHECK(guided(pair, [](double t) { return 1 + 4 * t; })(1.0, 0.5) == 3 + 2);
  CHECK(guided(pair, std::function<double(double)>([](double) { return 2; }))(1.0, 0.5) == 3);
  auto bad = guided(pair, std::nan(""));
  CHECK_THROWS_WITH(bad(1.0, 0.5), "guided: the guidance weight is nan at t = 0.5");
  CHECK_THROWS_AS(guided(pair, [](double t) { return 1 / (t - t); })(1.0, 0.5), Error);
}

TEST_CASE("a pair may be held by reference, and wrappers compose") {
  int both = 0, alone = 0;
  CountingPair pair{&both, &alone};
  const auto slow = [velocity = guided(std::ref(pair), 2.0)](double z, double t) { return 0.5 * velocity(z, t); };
  CHECK(slow(1.0, 0.0) == 0.5 * (2 * -1 - 3));
  CHECK(both == 1);
  auto inside = guided(std::ref(pair), 1.0);
  CHECK(inside(1.0, 0.0) == -1);
  CHECK(alone == 1);

  // guidance against a field that is itself guided: 2 (2 * 1 + 1) - 0.5
  const auto one = [](double x) { return [x](double, double) { return x; }; };
  CHECK(guided(guided(one(1), one(-1), 2.0), one(0.5), 2.0)(0.0, 0.0) == 2 * 3 - 0.5);
}
