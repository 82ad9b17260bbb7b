// The solvers with fixed steps: measured orders of convergence, exactness, evaluation counts, the official Euler loop.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <complex>
#include <functional>
#include <string>
#include <vector>

#include "janusflow/flow/integrate.hpp"

using namespace janusflow;
using Complex = std::complex<double>;

namespace {

struct Problem {
  std::string name;
  std::function<Complex(Complex, double)> velocity;
  Complex z0, z1;  // at t = 0 and, exactly, at t = 1
};

std::vector<Problem> problems() {
  const Complex i(0, 1);
  return {
      {"decay", [](Complex z, double) { return -2.0 * z; }, 1.5, 1.5 * std::exp(-2.0)},
      {"rotation", [i](Complex z, double) { return 3.0 * i * z; }, {1, 0.5}, Complex(1, 0.5) * std::exp(3.0 * i)},
      {"forced", [](Complex z, double t) { return std::exp(t) - z; }, 2, 1.5 * std::exp(-1.0) + std::exp(1.0) / 2},
      {"time-dependent decay", [](Complex z, double t) { return -3.0 * z / (1 + t); }, 2, 0.25},
      {"logistic, pushed", [](Complex z, double t) { return 4 * t * z * (1.0 - z); }, 0.2,
       std::exp(2.0) / (std::exp(2.0) + 4)},
  };
}

template <class Solver>
double order(const Problem& p, int n, const std::function<std::vector<double>(int)>& grid) {
  const auto error = [&](int steps) { return std::abs(integrate<Solver>(p.velocity, p.z0, grid(steps)).z - p.z1); };
  return std::log2(error(n) / error(2 * n));
}

}  // namespace

TEST_CASE_TEMPLATE("the order of convergence is the textbook's, on equal and unequal steps", Solver, Euler, Heun,
                   Midpoint, RungeKutta4, AdamsBashforth2) {
  const double expected = Solver::name == "euler" ? 1 : Solver::name == "rk4" ? 4 : 2;
  // Fine enough for the leading term to rule, coarse enough for the error to stand above the rounding.
  const int n = Solver::name == "rk4" ? 64 : 512;
  for (const Problem& p : problems()) {
    CAPTURE(Solver::name);
    CAPTURE(p.name);
    CHECK(std::abs(order<Solver>(p, n, uniform_grid) - expected) < 0.1);
    CHECK(std::abs(order<Solver>(p, n, [](int m) { return shifted_grid(m, 3); }) - expected) < 0.1);
    CHECK(std::abs(order<Solver>(p, n, [](int m) { return shifted_grid(m, 0.5); }) - expected) < 0.1);
  }
}

TEST_CASE("every solver asks for as many velocities as it says") {
  const auto count = [](auto solver, int steps) {
    std::size_t calls = 0;
    const auto decay = [&](double z, double) { return ++calls, -z; };
    const auto result = integrate(solver, decay, 1.0, uniform_grid(steps));
    CHECK(result.evaluations == calls);
    CHECK(result.steps == static_cast<std::size_t>(steps));
    CHECK(result.finished);
    CHECK(result.t == 1);
    return calls;
  };
  CHECK(count(Euler{}, 30) == 30);
  CHECK(count(AdamsBashforth2{}, 30) == 30);
  CHECK(count(Heun{}, 30) == 60);
  CHECK(count(Midpoint{}, 30) == 60);
  CHECK(count(RungeKutta4{}, 30) == 120);
}

TEST_CASE("velocities are asked for at the times of the method, the grid's own to the bit") {
  std::vector<double> times;
  const auto velocity = [&](double z, double t) { return times.push_back(t), z; };
  const std::vector<double> grid{0, 0.2, 0.9, 1};  // 0.2 + (0.9 - 0.2) is another number
  const auto times_of = [&](auto solver) {
    times.clear();
    integrate(solver, velocity, 1.0, grid);
    return times;
  };
  CHECK(times_of(Euler{}) == std::vector<double>{0, 0.2, 0.9});
  CHECK(times_of(AdamsBashforth2{}) == std::vector<double>{0, 0.2, 0.9});
  CHECK(times_of(Heun{}) == std::vector<double>{0, 0.2, 0.2, 0.9, 0.9, 1});
  CHECK(times_of(RungeKutta4{}).back() == 1);
  CHECK(times_of(Midpoint{}) == std::vector<double>{0, 0.1, 0.2, 0.2 + 0.5 * (0.9 - 0.2), 0.9, 0.9 + 0.5 * (1 - 0.9)});
}

// A perfectly rectified flow goes straight: one step of any size is the whole way.
TEST_CASE_TEMPLATE("straight flows are exact, in one step and backwards", Solver, Euler, Heun, Midpoint, RungeKutta4,
                   AdamsBashforth2, DormandPrince) {
  const Eigen::ArrayXf noise = Eigen::ArrayXf::LinSpaced(16, -2, 3), data = Eigen::ArrayXf::LinSpaced(16, 5, -7);
  const auto straight = [&](const Eigen::ArrayXf&, double) { return data - noise; };
  for (const int n : {1, 2, 7}) {
    const auto forward = integrate<Solver>(straight, noise, uniform_grid(n));
    // n roundings of sums and products of values up to 12, more for the sums of Dormand-Prince's large weights
    CHECK(((forward.z - data).abs() <= 40 * static_cast<float>(n) * 12 * 0x1p-24f).all());
    auto grid = uniform_grid(n);
    std::reverse(grid.begin(), grid.end());
    const auto back = integrate<Solver>(straight, forward.z, grid);
    CHECK(((back.z - noise).abs() <= 80 * static_cast<float>(n) * 12 * 0x1p-24f).all());
    CHECK(back.t == 0);
  }
}

TEST_CASE("Adams-Bashforth 2 integrates a velocity linear in time exactly after its first step, on any grid") {
  const std::vector<double> grid{0, 0.25, 0.3125, 0.75, 0.875, 1};
  const auto result = integrate<AdamsBashforth2>([](double, double t) { return 1 + 4 * t; }, 0.0, grid);
  // z = t + 2 t^2, but for Euler's first step, which misses 2 (1/4)^2. All numbers are short in binary, so
  // only the weights h / (2 h_previous) round.
  CHECK(result.z == doctest::Approx(3 - 2.0 / 16).epsilon(1e-15));
}

// The loop of the reference model: for i in range(n): t = i / n * 1000; v = model(z, t); z = z + dt * v, with
// dt = torch.zeros_like(z) + 1.0 / n, every operation rounded to float32.
TEST_CASE("Euler is the official loop to the bit") {
  const auto model = [](const Eigen::ArrayXf& z, double t) {
    const auto time = static_cast<float>(t);
    const Eigen::ArrayXf square = z * z;
    return Eigen::ArrayXf((square - 0.37f) * (1 / (1 + time)));  // no product is added to, so no compiler fuses
  };
  const Eigen::ArrayXf noise = Eigen::ArrayXf::LinSpaced(4 * 48 * 48, -1.7f, 1.1f);
  for (const int n : {1, 4, 7, 30, 50, 100}) {
    Eigen::ArrayXf z = noise;
    const Eigen::ArrayXf dt = Eigen::ArrayXf::Zero(z.size()) + static_cast<float>(1.0 / n);
    for (int i = 0; i < n; ++i) {
      const Eigen::ArrayXf v = model(z, static_cast<double>(i) / n);
      const Eigen::ArrayXf product = dt * v;
      z = z + product;
    }
    const Eigen::ArrayXf ours = integrate<Euler>(model, noise, uniform_grid(n)).z;
    CAPTURE(n);
    REQUIRE(z.isFinite().all());
    CHECK((ours == z).all());
  }
}

TEST_CASE("the steps of a uniform grid are the official dt in float") {
  for (int n = 1; n <= 500; ++n) {
    const auto grid = uniform_grid(n);
    const auto dt = static_cast<float>(1.0 / n);
    int different = 0;
    for (std::size_t i = 0; i + 1 < grid.size(); ++i) different += static_cast<float>(grid[i + 1] - grid[i]) != dt;
    CHECK_MESSAGE(different == 0, n);
  }
}
