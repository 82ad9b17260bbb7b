// integrate itself: states of every kind, the observer, cancelling, velocities gone wrong, solvers by name.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <complex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <valarray>
#include <vector>

#include "janusflow/core/tensor.hpp"
#include "janusflow/flow/any_solver.hpp"
#include "janusflow/flow/integrate.hpp"

using namespace janusflow;

// A state as a user may have it: no elements to walk through, its customisation points found by its namespace.
namespace mechanics {

struct Pendulum {
  double angle, speed;
};
Pendulum operator+(const Pendulum& a, const Pendulum& b) { return {a.angle + b.angle, a.speed + b.speed}; }
Pendulum operator*(const Pendulum& a, double s) { return {a.angle * s, a.speed * s}; }
bool is_finite(const Pendulum& p) { return std::isfinite(p.angle) && std::isfinite(p.speed); }
double error_norm(const Pendulum& error, const Pendulum&, const Pendulum&, double atol, double) {
  return std::max(std::abs(error.angle), std::abs(error.speed)) / atol;
}

}  // namespace mechanics

namespace {

const auto decay = [](const auto& z, double) { return z * -1.0; };

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

TEST_CASE_TEMPLATE("any state with + and * will do", Solver, Euler, Heun, Midpoint, RungeKutta4, AdamsBashforth2,
                   DormandPrince) {
  const auto grid = uniform_grid(200);
  const double e = integrate<Solver>(decay, 1.0, grid).z;
  REQUIRE(std::abs(e - std::exp(-1.0)) < 2e-3);
  const float tolerance = 200 * 0x1p-23f;  // two roundings a step, each of less than half an ulp of 1

  const auto in_float = integrate<Solver>([](float z, double) { return -z; }, 1.0f, grid);
  static_assert(std::is_same_v<decltype(in_float.z), float>);
  CHECK(std::abs(in_float.z - static_cast<float>(e)) <= tolerance);

  const auto spiral = integrate<Solver>(decay, std::complex<double>(1, -2), grid).z;
  CHECK(std::abs(spiral - std::complex<double>(1, -2) * e) < 1e-12);
  using ComplexFloat = std::complex<float>;
  const auto small_spiral = integrate<Solver>([](ComplexFloat z, double) { return -z; }, ComplexFloat(1, -2), grid).z;
  CHECK(std::abs(small_spiral - ComplexFloat(1, -2) * static_cast<float>(e)) <= 3 * tolerance);

  const std::valarray<float> values{1, -2, 3};
  const auto valarray = integrate<Solver>([](const std::valarray<float>& z, double) { return -z; }, values, grid).z;
  REQUIRE(valarray.size() == 3);
  CHECK(std::abs(valarray[2] - static_cast<float>(3 * e)) <= 3 * tolerance);

  // Expressions on both sides: the state is what they evaluate to.
  const Eigen::ArrayXXf start = Eigen::ArrayXXf::Ones(3, 5);
  const auto array = integrate<Solver>([](const auto& z, double) { return -z; }, 2.0f * start, grid);
  static_assert(std::is_same_v<decltype(array.z), Eigen::ArrayXXf>);
  CHECK(((array.z - static_cast<float>(2 * e)).abs() <= 2 * tolerance).all());
  const auto expression = [](const auto& z, double t) { return -z + (z * t - t * z); };
  const Eigen::Matrix2d matrix = integrate<Solver>(expression, Eigen::Matrix2d::Identity(), grid).z;
  CHECK((matrix - Eigen::Matrix2d::Identity() * e).norm() < 1e-12);
  const auto minus = [](const auto& z, double) { return -z; };
  const Eigen::VectorXcf vector = integrate<Solver>(minus, Eigen::VectorXcf::Ones(4), grid).z;
  CHECK((vector - Eigen::VectorXcf::Ones(4) * static_cast<float>(e)).norm() <= 4 * tolerance);

  // A tensor, which can be moved but not copied
  Tensor<float, 2> tensor(Shape<2>{{3, 5}}, 2.0f);
  const auto moved = integrate<Solver>(decay, std::move(tensor), grid);
  for (const float x : moved.z) CHECK(std::abs(x - static_cast<float>(2 * e)) <= 2 * tolerance);
  REQUIRE(moved.z.shape() == Shape<2>{{3, 5}});

  // The energy of a pendulum stays what it was.
  using mechanics::Pendulum;
  const auto swing = [](const Pendulum& p, double) { return Pendulum{6 * p.speed, -6 * std::sin(p.angle)}; };
  const auto energy = [](const Pendulum& p) { return 0.5 * p.speed * p.speed - std::cos(p.angle); };
  const Pendulum held{1, 0}, swung = integrate<Solver>(swing, held, uniform_grid(1500)).z;
  CHECK(std::abs(energy(swung) - energy(held)) < 1e-2);
  CHECK(swung.angle < 0.9);
}

TEST_CASE("the observer sees every step, its time, state and velocity") {
  const auto grid = shifted_grid(5, 2);
  std::size_t seen = 0;
  double before = 3;
  const auto result = integrate<Heun>(decay, 3.0, grid, [&](const FlowStep<double>& step) {
    CHECK(step.step == ++seen);
    CHECK(step.total_steps == 5);
    CHECK(step.t == grid[seen]);
    CHECK(step.z == doctest::Approx(before + (grid[seen] - grid[seen - 1]) * step.velocity).epsilon(1e-15));
    CHECK(step.predicted_data() == doctest::Approx(step.z + (1 - step.t) * step.velocity).epsilon(1e-15));
    before = step.z;
  });
  CHECK(seen == 5);
  CHECK(result.z == before);
  CHECK(result.finished);
}

// z_t + (1 - t) v is the same number at both ends of an Euler step: the reference model's preview.
TEST_CASE("the preview of an Euler step is the data that its velocity points at") {
  std::vector<double> previews, expected;
  double z = 2;
  for (int i = 0; i < 4; ++i) {
    expected.push_back(z + (1 - i / 4.0) * -z);
    z -= z / 4;
  }
  integrate<Euler>(decay, 2.0, uniform_grid(4), [&](const auto& step) { previews.push_back(step.predicted_data()); });
  REQUIRE(previews.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(previews[i] == doctest::Approx(expected[i]).epsilon(1e-15));
}

TEST_CASE_TEMPLATE("an observer that returns false ends the integration there", Solver, Euler, AdamsBashforth2,
                   DormandPrince) {
  double last = -1;
  std::size_t calls = 0;
  const auto velocity = [&](double z, double) { return ++calls, -z; };
  const auto result = integrate<Solver>(velocity, 1.0, uniform_grid(10), [&](const auto& step) {
    last = step.z;
    return step.step < 3;
  });
  CHECK_FALSE(result.finished);
  CHECK(result.steps == 3);
  CHECK(result.z == last);
  CHECK(result.t < 1);
  CHECK(result.evaluations == calls);
  // cancelled in the very last step, it is not finished either; letting it go on, it is
  const auto always = [](bool go_on) { return [go_on](const auto&) { return go_on; }; };
  CHECK_FALSE(integrate<Solver>(velocity, 1.0, {0, 1e-3}, always(false)).finished);
  CHECK(integrate<Solver>(velocity, 1.0, {0, 1e-3}, always(true)).finished);
}

TEST_CASE("a velocity that is not finite is an Error that names step and time") {
  const auto bad_from = [](double when, double what) {
    return [=](double z, double t) { return t >= when ? what : z; };
  };
  CHECK(message_of([&] { integrate<Euler>(bad_from(0.5, NAN), 1.0, uniform_grid(4)); }) ==
        "integrate: the velocity is not finite in step 3 of 4 of euler at t = 0.5");
  CHECK(message_of([&] { integrate<Heun>(bad_from(0.5, -HUGE_VAL), 1.0, uniform_grid(4)); }) ==
        "integrate: the velocity is not finite in step 2 of 4 of heun at t = 0.5");
  CHECK(message_of([&] { integrate<DormandPrince>(bad_from(0.0, NAN), 1.0, uniform_grid(1)); }) ==
        "integrate: the velocity is not finite in step 1 of dopri5 at t = 0");

  const auto one_nan = [](const Eigen::ArrayXf& z, double) {
    Eigen::ArrayXf v = z;
    v[17] = NAN;
    return v;
  };
  CHECK_THROWS_AS(integrate<Euler>(one_nan, Eigen::ArrayXf::Ones(20), uniform_grid(1)), Error);
  CHECK_THROWS_AS(integrate<Euler>([](std::complex<float>, double) { return std::complex<float>(0, NAN); },
                                   std::complex<float>(1), uniform_grid(1)),
                  Error);
  const auto lost = [](const mechanics::Pendulum&, double) { return mechanics::Pendulum{0, NAN}; };
  CHECK_THROWS_AS(integrate<Euler>(lost, mechanics::Pendulum{1, 0}, uniform_grid(1)), Error);
}

TEST_CASE("bad grids are refused before the velocity is asked") {
  const auto never = [](double, double) -> double { throw std::logic_error("asked"); };
  CHECK_THROWS_AS(integrate<Euler>(never, 1.0, {}), Error);
  CHECK_THROWS_AS(integrate<DormandPrince>(never, 1.0, {0, 0}), Error);
  CHECK_THROWS_AS(integrate<Heun>(never, 1.0, {0, NAN}), Error);
  CHECK_THROWS_AS(integrate<RungeKutta4>(never, 1.0, {0, 0.5, 0.25}), Error);
}

TEST_CASE("what velocity and observer throw passes through") {
  const auto throwing = [](const auto&...) -> double { throw std::logic_error("mine"); };
  CHECK_THROWS_WITH_AS(integrate<Euler>(throwing, 1.0, uniform_grid(2)), "mine", std::logic_error);
  CHECK_THROWS_WITH_AS(integrate<Euler>(decay, 1.0, uniform_grid(2), [&](const auto& s) { throwing(s); }), "mine",
                       std::logic_error);
}

TEST_CASE("solvers by name") {
  const std::vector<std::string> names{"euler", "heun", "midpoint", "rk4", "ab2", "dopri5"};
  CHECK(solver_names() == names);
  for (const std::string& name : names) {
    const AnySolver solver = solver_from_name(name);
    CHECK(solver_name(solver) == name);
    CHECK(is_adaptive(solver) == (name == "dopri5"));
    const auto by_name = integrate(solver, decay, 1.0, uniform_grid(10));
    const auto by_type = std::visit([](auto s) { return integrate(s, decay, 1.0, uniform_grid(10)); }, solver);
    CHECK(by_name.z == by_type.z);
    CHECK(by_name.evaluations == by_type.evaluations);
  }
  CHECK(message_of([] { solver_from_name("Euler"); }) ==
        "there is no solver \"Euler\"; there are euler, heun, midpoint, rk4, ab2, dopri5");
  for (const char* part : {"", "rk", "euler2"}) CHECK_THROWS_AS(solver_from_name(part), Error);

  std::size_t steps = 0;
  const auto result = integrate(solver_from_name("heun"), decay, Eigen::ArrayXf::Ones(3) * 2.0f, uniform_grid(10),
                                [&](const auto& step) { return steps = step.step, step.step < 4; });
  CHECK_FALSE(result.finished);
  CHECK(steps == 4);
  CHECK(integrate(AnySolver(DormandPrince{.atol = 1e-9, .rtol = 1e-9}), decay, 1.0, {0, 1}).evaluations >
        integrate(solver_from_name("dopri5"), decay, 1.0, {0, 1}).evaluations);
}

// A solver of one's own needs a name and a Slope; a wrapper of the velocity needs nothing at all.
namespace {

struct ThirdOrderHeun {
  static constexpr std::string_view name = "heun3";
  template <class Z>
  struct Slope {
    template <class Velocity>
    Z operator()(Velocity& v, const Z& z, double t0, double t1) {
      const double h = t1 - t0;
      const Z k1 = v(z, t0);
      const Z k2 = v(Z(z + k1 * (h / 3)), t0 + h / 3);
      const Z k3 = v(Z(z + k2 * (2 * h / 3)), t0 + 2 * h / 3);
      return Z(k1 * 0.25 + k3 * 0.75);
    }
  };
};

}  // namespace

TEST_CASE("users' solvers and users' wrappers are first-class") {
  const auto error = [](int n) {
    return std::abs(integrate<ThirdOrderHeun>(decay, 1.0, uniform_grid(n)).z - std::exp(-1.0));
  };
  CHECK(std::abs(std::log2(error(64) / error(128)) - 3) < 0.1);

  // Every second velocity reused: the shape of a step cache.
  int computed = 0;
  auto halved = [&, last = std::optional<double>(), calls = 0](double z, double) mutable {
    if (calls++ % 2 == 0) last = (++computed, -z);
    return *last;
  };
  const auto result = integrate<Euler>(halved, 1.0, uniform_grid(20));
  CHECK(computed == 10);
  CHECK(result.z == doctest::Approx(integrate<Euler>(decay, 1.0, uniform_grid(10)).z).epsilon(1e-14));
}
