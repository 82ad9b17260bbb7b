// Dormand-Prince: order, error against tolerance, what it costs, where it puts its steps, and its limits.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <string>
#include <vector>

#include "janusflow/flow/integrate.hpp"

using namespace janusflow;

namespace {

const std::vector<double> kUnit{0, 1};

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("with its steps held equal, Dormand-Prince is of order 5") {
  using Complex = std::complex<double>;
  const auto error = [](auto velocity, Complex z0, Complex z1, int n) {
    const double h = 1.0 / n;
    const DormandPrince held{.atol = 1, .rtol = 1, .initial_step = h, .max_step = h};
    const auto result = integrate(held, velocity, z0, kUnit);
    CHECK(result.steps == static_cast<std::size_t>(n));
    CHECK(result.evaluations == 1 + 6 * static_cast<std::size_t>(n));  // the last velocity of a step begins the next
    return std::abs(result.z - z1);
  };
  const auto order = [&](auto velocity, Complex z0, Complex z1) {
    return std::log2(error(velocity, z0, z1, 16) / error(velocity, z0, z1, 32));
  };
  const Complex i(0, 1);
  CHECK(std::abs(order([](Complex z, double) { return -2.0 * z; }, 1.5, 1.5 * std::exp(-2.0)) - 5) < 0.15);
  CHECK(std::abs(order([i](Complex z, double) { return 3.0 * i * z; }, 1, std::exp(3.0 * i)) - 5) < 0.15);
  CHECK(std::abs(order([](Complex z, double t) { return -3.0 * z / (1 + t); }, 2, 0.25) - 5) < 0.15);
  const double end = 1.5 * std::exp(-1.0) + std::exp(1.0) / 2;
  CHECK(std::abs(order([](Complex z, double t) { return std::exp(t) - z; }, 2, end) - 5) < 0.15);
}

// Where neighbouring solutions do not part, the errors of the steps add up at most: the final error stays under
// steps * (atol + rtol * max |z|), the bound of every accepted step's estimate.
TEST_CASE("the error stays within the tolerance, at a price that grows as tolerance^(-1/5)") {
  std::size_t before = 0;
  for (const double tolerance : {1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10}) {
    CAPTURE(tolerance);
    const DormandPrince solver{.atol = tolerance, .rtol = tolerance};
    const auto bound = [&](const auto& result) { return 2 * tolerance * static_cast<double>(result.steps); };

    std::size_t calls = 0;
    const auto fall = [&](double z, double) { return ++calls, -5 * z; };
    const auto decay = integrate(solver, fall, 1.0, kUnit);
    CHECK(std::abs(decay.z - std::exp(-5.0)) <= bound(decay));
    CHECK(decay.finished);
    CHECK(decay.t == 1);
    CHECK(decay.evaluations == calls);
    CHECK((decay.evaluations - 2) % 6 == 0);  // one to begin, one for the first step's length, six for each attempt
    CHECK(decay.evaluations <= 2 + 6 * (decay.steps + 2));  // on a smooth field next to no attempt is in vain

    const std::complex<double> i(0, 1);
    const auto turn = [&](std::complex<double> z, double) { return 2 * std::numbers::pi * i * z; };
    const auto rotation = integrate(solver, turn, std::complex<double>(1), kUnit);
    CHECK(std::abs(rotation.z - 1.0) <= bound(rotation));

    // A transient 200 times faster than the solution cos t. Stability (|200 h| < 3.3) asks for 61 steps; as long as
    // accuracy does not ask for more, the controller keeps near them.
    const auto pull = [](double z, double t) { return -200 * (z - std::cos(t)) - std::sin(t); };
    const auto stiff = integrate(solver, pull, 2.0, kUnit);
    CHECK(std::abs(stiff.z - std::cos(1.0)) <= 2 * bound(stiff));
    if (tolerance >= 1e-5) CHECK(stiff.evaluations < 2 + 6 * 2 * 61);

    // Ten times the accuracy, 10^(1/5) = 1.58 times the steps (Hairer et al., section II.4); whole steps blur it.
    if (before >= 60) CHECK(static_cast<double>(rotation.evaluations) / before == doctest::Approx(1.58).epsilon(0.15));
    before = rotation.evaluations;
  }
}

TEST_CASE("the steps are short where the field changes fast, and long elsewhere") {
  constexpr double width = 0.003;  // of a bump at t = 0.3
  std::vector<double> times{0};
  const auto bump = [](double, double t) { return width / ((t - 0.3) * (t - 0.3) + width * width); };
  const auto result = integrate(DormandPrince{.atol = 1e-6, .rtol = 0}, bump, 0.0, kUnit, [&](const auto& step) {
    times.push_back(step.t);
    CHECK(step.step == times.size() - 1);
    CHECK(step.total_steps == 0);
  });
  CHECK(std::abs(result.z - std::atan(0.7 / width) - std::atan(0.3 / width)) <=
        1e-6 * static_cast<double>(result.steps));
  double shortest = 1, longest = 0;
  for (std::size_t i = 1; i < times.size(); ++i) {
    const double h = times[i] - times[i - 1];
    if (std::abs(times[i] - 0.3) < width) shortest = std::min(shortest, h);
    longest = std::max(longest, h);
  }
  CHECK(longest > 50 * shortest);
  CHECK(result.evaluations < 6 / shortest / 2);  // equal steps as short would cost twice as much and more
}

TEST_CASE("every time of the grid is met, and meeting it does not shorten the steps that follow") {
  const auto turn = [](std::complex<double> z, double) { return std::complex<double>(0, 6) * z; };
  const std::vector<double> grid{0, 0.5, 0.5 + 1e-7, 0.8, 1};
  std::vector<double> times;
  const auto through =
      integrate<DormandPrince>(turn, std::complex<double>(1), grid, [&](const auto& step) { times.push_back(step.t); });
  for (std::size_t i = 1; i < grid.size(); ++i) CHECK(std::count(times.begin(), times.end(), grid[i]) == 1);
  const auto direct = integrate<DormandPrince>(turn, std::complex<double>(1), kUnit);
  CHECK(through.steps <= direct.steps + 4);

  // and back again, to where it came from
  const auto back = integrate<DormandPrince>(turn, direct.z, {1, 0});
  CHECK(back.t == 0);
  CHECK(std::abs(back.z - 1.0) <= 2e-5 * static_cast<double>(direct.steps + back.steps));
}

TEST_CASE("max_step holds") {
  double before = 0, longest = 0;
  const auto watch = [&](const auto& step) {
    longest = std::max(longest, step.t - before);
    before = step.t;
  };
  const auto slow = [](double z, double) { return -0.1 * z; };
  integrate(DormandPrince{.max_step = 0.05}, slow, 1.0, kUnit, watch);
  CHECK(longest <= 0.0505 + 1e-15);  // 1 % is granted where it saves a sliver before a time of the grid
}

TEST_CASE("a state of nothing but zeros, and a field of nothing but zeros, pass at atol = 0") {
  const DormandPrince solver{.atol = 0, .rtol = 1e-6};
  const auto decay = [](double z, double) { return -z; };
  const auto still = [](double, double) { return 0.0; };
  CHECK(integrate(solver, decay, 0.0, kUnit).z == 0);
  CHECK(integrate(solver, still, 3.0, kUnit).z == 3);
}

TEST_CASE("what cannot be done is said in one sentence") {
  const auto decay = [](double z, double) { return -z; };
  const auto with = [&](DormandPrince solver) { return message_of([&] { integrate(solver, decay, 1.0, kUnit); }); };
  CHECK(with({.atol = -1}).find("atol") != std::string::npos);
  CHECK(with({.atol = 0, .rtol = 0}).find("not both zero") != std::string::npos);
  CHECK(with({.rtol = NAN}).find("rtol") != std::string::npos);
  CHECK(with({.initial_step = -0.1}).find("initial_step") != std::string::npos);
  CHECK(with({.max_step = 0}).find("max_step") != std::string::npos);
  CHECK(with({.max_evaluations = 10}).find("max_evaluations = 10") != std::string::npos);

  // z' = z^2 from 2 leaves for infinity at t = 1/2: the steps shrink until they vanish.
  const auto blow_up = message_of([] { integrate<DormandPrince>([](double z, double) { return z * z; }, 2.0, kUnit); });
  CHECK(blow_up.find("the step fell to") != std::string::npos);

  std::size_t calls = 0;
  const auto count = [&](double z, double) { return ++calls, std::cos(1e5 * z) * 1e5; };
  const auto endless = [&] { integrate(DormandPrince{.max_evaluations = 500}, count, 0.3, kUnit); };
  CHECK(message_of(endless).find("max_evaluations") != std::string::npos);
  CHECK(calls <= 500);
  // As many as are needed are enough; of a step that cannot be finished none is spent.
  const auto counted = [&](double z, double) { return ++calls, -5 * z; };
  const std::size_t needed = integrate(DormandPrince{}, counted, 1.0, kUnit).evaluations;
  CHECK(integrate(DormandPrince{.max_evaluations = needed}, counted, 1.0, kUnit).finished);
  calls = 0;
  CHECK(message_of([&] { integrate(DormandPrince{.max_evaluations = needed - 1}, counted, 1.0, kUnit); }).find("max_evaluations") !=
        std::string::npos);
  CHECK(calls == needed - 6);
}

namespace {

/// A number whose error is not a number where it is too large.
struct Judged {
  double value;

  friend Judged operator+(Judged a, Judged b) { return {a.value + b.value}; }
  friend Judged operator*(Judged a, double factor) { return {a.value * factor}; }
  friend double error_norm(Judged error, Judged, Judged, double atol, double) {
    return std::abs(error.value) <= atol ? std::abs(error.value) / atol : std::nan("");
  }
};

}  // namespace

TEST_CASE("an error that is not a number is a large one") {
  const auto fall = [](Judged z, double) { return z * -5; };
  const auto result = integrate(DormandPrince{.atol = 1e-6, .initial_step = 1}, fall, Judged{1}, kUnit);
  CHECK(std::abs(result.z.value - std::exp(-5.0)) <= 1e-6 * static_cast<double>(result.steps));
}
