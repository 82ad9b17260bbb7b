// Reuse of velocities and of guidance's difference: what is computed when, what it costs in accuracy, and that it can be left out.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <cmath>
#include <complex>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "janusflow/core/tensor.hpp"
#include "janusflow/flow/any_solver.hpp"
#include "janusflow/flow/reuse.hpp"

using namespace janusflow;

namespace {

/// A field that counts how often it is computed.
template <class F>
struct Counted {
  F field;
  std::vector<double>* times;

  template <class Z>
  Z operator()(const Z& z, double t) const {
    times->push_back(t);
    return field(z, t);
  }
};
template <class F>
Counted(F, std::vector<double>*) -> Counted<F>;

/// The exact velocity for data ~ N(2, 0.1^2), straight but for its ends.
double towards_data(double z, double t) {
  const double mean = 2, deviation = 0.1, variance = t * t * deviation * deviation + (1 - t) * (1 - t);
  return mean + (t * deviation * deviation - (1 - t)) / variance * (z - t * mean);
}

struct CountingPair {
  int* both;
  int* alone;

  std::pair<double, double> operator()(double z, double t) { return ++*both, std::pair{-z + t, 3 * t}; }
  double operator()(double z, double t, ConditionalOnly) { return ++*alone, -z + t; }
};

}  // namespace

TEST_CASE("reused: with threshold 0 every velocity is computed, and every solver's result is the same to the bit") {
  for (const std::string& name : solver_names()) {
    CAPTURE(name);
    const AnySolver solver = solver_from_name(name);
    const auto grid = is_adaptive(solver) ? std::vector<double>{0, 1} : uniform_grid(12);
    const auto plain = integrate(solver, towards_data, 0.7, grid);
    const auto wrapped = integrate(solver, reused<double>(towards_data, 0), 0.7, grid);
    CHECK(wrapped.z == plain.z);
    CHECK(wrapped.evaluations == plain.evaluations);
  }
}

TEST_CASE("reused: a velocity that is a line in time is computed twice, and its integral is exact") {
  std::vector<double> times;
  const Counted line{[](double, double t) { return 3 + 2 * t; }, &times};
  const auto result = integrate<Midpoint>(reused<double>(line, 1), 1.0, uniform_grid(20));
  CHECK(result.z == doctest::Approx(5).epsilon(1e-14));
  CHECK(result.evaluations == 40);  // integrate's count is of the wrapper
  CHECK(times == std::vector<double>{0, 0.025});
  times.clear();
  integrate<Midpoint>(reused<double>(line, 0.1), 1.0, uniform_grid(20));
  // Each time the change since the last one computed reaches a tenth of v there: 0.1 (3 + 2 t) / 2 later.
  REQUIRE(times.size() > 3);
  for (std::size_t i = 2; i < times.size(); ++i) {
    const double reach = 0.1 * (3 + 2 * times[i - 1]) / 2;
    CHECK(times[i] - times[i - 1] >= reach * (1 - 1e-9));
    CHECK(times[i] - times[i - 1] <= reach + 0.025 * (1 + 1e-9));
  }
}

TEST_CASE("reused: fewer velocities for a larger threshold, and an error of its square") {
  const auto run = [](double threshold) {
    std::vector<double> times;
    const Counted turn{[](std::complex<double> z, double) { return std::complex<double>(0, 2) * z; }, &times};
    const auto z = integrate<RungeKutta4>(reused<std::complex<double>>(turn, threshold), std::complex<double>(1), uniform_grid(400)).z;
    return std::pair{times.size(), std::abs(z - std::exp(std::complex<double>(0, 2)))};
  };
  const auto all = run(0), careful = run(0.05), bold = run(0.1);
  CHECK(all.first == 1600);
  CHECK(careful.first < all.first / 15);
  CHECK(2 * bold.first < careful.first + 10);
  // |v| = 2, |v'| = 4, |v''| = 8: velocities are computed h = threshold / 2 apart. At a distance s beyond the last one the line errs
  // by |v''| s (s + h) / 2, on average by 10/3 h^2 = 5/6 threshold^2. All errors in one direction would add up to this over t in
  // [0, 1]; the velocity of the wrong state, and the whole steps in which h is counted, add a little.
  for (const auto& [outcome, threshold] : {std::pair(careful, 0.05), std::pair(bold, 0.1)}) {
    CHECK(outcome.second < 1.5 * 5 / 6 * threshold * threshold);
    CHECK(outcome.second > 0.2 * threshold * threshold);
  }
}

TEST_CASE("reused: nothing is reused at a time that comes again or goes back, nor where the velocity is zero") {
  std::vector<double> times;
  auto field = reused<double>(Counted{[](double z, double) { return z; }, &times}, 10);
  for (const double t : {0.0, 0.5, 0.5, 0.25, 0.5}) CHECK(field(t + 1, t) == t + 1);
  CHECK(times.size() == 5);
  auto still = reused<double>(Counted{[](double, double) { return 0.0; }, &times}, 10);
  for (const double t : {0.0, 0.5, 1.0}) CHECK(still(1.0, t) == 0);
  CHECK(times.size() == 8);
  // A change of just the threshold is not less.
  times.clear();
  integrate<Euler>(reused<double>(Counted{[](double, double t) { return 1 + 2 * t; }, &times}, 0.5), 1.0, {0, 0.5, 1, 1.5});
  CHECK(times == std::vector<double>{0, 0.5, 1});
  // Backwards in time is forwards for it.
  times.clear();
  integrate<Euler>(reused<double>(Counted{[](double, double t) { return 3 + 2 * t; }, &times}, 1), 1.0, {1, 0.75, 0.5, 0.25, 0});
  CHECK(times == std::vector<double>{1, 0.75});
}

TEST_CASE("reused: velocities whose squares are no floats") {
  for (const float size : {1e-30f, 1.0f, 1e30f}) {
    std::vector<double> times;
    const auto line = [size](float, double t) { return size * static_cast<float>(3 + t); };
    integrate<Euler>(reused<float>(Counted{line, &times}, 1), 0.0f, uniform_grid(8));
    CHECK(times == std::vector<double>{0, 0.125});
  }
}

TEST_CASE("reused: tensors and Eigen's arrays") {
  int computed = 0;
  const auto field = [&](const Tensor<float, 1>& z, double) { return ++computed, z * -1.0f; };
  Tensor<float, 1> z(Shape{3}, 1.0f);
  const auto result = integrate<Euler>(reused<Tensor<float, 1>>(field, 0.2), std::move(z), uniform_grid(100));
  CHECK(computed < 20);
  for (const float value : result.z) CHECK(value == doctest::Approx(std::exp(-1)).epsilon(0.02));

  using State = Eigen::ArrayXd;
  const auto slow = [](const State& x, double) { return State(-x); };
  const auto end = integrate<Midpoint>(reused<State>(slow, 0.2), State::Constant(2, 1.0).eval(), uniform_grid(100)).z;
  CHECK(end[1] == doctest::Approx(std::exp(-1)).epsilon(0.02));
}

TEST_CASE("reused difference: both velocities at every k-th call, the conditional one alone between") {
  int both = 0, alone = 0;
  const CountingPair pair{&both, &alone};
  const auto run = [&](std::size_t period) {
    both = alone = 0;
    return integrate<Euler>(guided(with_reused_difference<double>(pair, period), 2.0), 1.0, uniform_grid(12)).z;
  };
  const double plain = integrate<Euler>(guided(pair, 2.0), 1.0, uniform_grid(12)).z;
  CHECK(run(1) == plain);
  CHECK(both == 12);
  CHECK(alone == 0);
  run(3);
  CHECK(both == 4);
  CHECK(alone == 8);
  run(100);
  CHECK(both == 1);

  // By hand: v = v_c + (w - 1) d, d from the last call that was one of every third.
  double z = 1, d = 0;
  for (int i = 0; i < 12; ++i) {
    const double t = i / 12.0;
    if (i % 3 == 0) d = -z + t - 3 * t;
    z += (-z + t + d) / 12;
  }
  CHECK(run(3) == doctest::Approx(z).epsilon(1e-13));
}

TEST_CASE("reused difference: with an interval, and under a reused velocity") {
  int both = 0, alone = 0;
  const CountingPair pair{&both, &alone};
  integrate<Euler>(guided(with_reused_difference<double>(pair, 2), GuidanceInterval{3.0, 0.25, 0.75}), 1.0, uniform_grid(8));
  CHECK(both == 3);   // of five guided times: the first, the third, the fifth
  CHECK(alone == 5);

  both = alone = 0;
  integrate<Euler>(reused<double>(guided(with_reused_difference<double>(pair, 2), 2.0), 0.3), 1.0, uniform_grid(40));
  CHECK(both > 1);
  CHECK(std::abs(both - alone) <= 1);
  CHECK(both + alone < 40);
}

TEST_CASE("reuse: settings that cannot be") {
  CHECK_THROWS_WITH(reused<double>(towards_data, -0.1), "reused: the threshold must be finite and 0 or more, not -0.1");
  CHECK_THROWS_AS(reused<double>(towards_data, std::nan("")), Error);
  int both = 0, alone = 0;
  CHECK_THROWS_WITH(with_reused_difference<double>(CountingPair{&both, &alone}, 0),
                    "with_reused_difference: the period must be 1 or more");
}
