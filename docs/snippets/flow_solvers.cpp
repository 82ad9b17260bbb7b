// A flow whose answer is known: noise becomes a normal distribution of mean 2 and deviation 0.1, by each solver.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "janusflow/flow/any_solver.hpp"

int main() {
  using namespace janusflow;

  // The velocity that a perfectly trained model would have for data ~ N(2, 0.1^2).
  const auto velocity = [](double z, double t) {
    const double mean = 2, deviation = 0.1;
    const double variance = t * t * deviation * deviation + (1 - t) * (1 - t);  // of z at t
    return mean + (t * deviation * deviation - (1 - t)) / variance * (z - t * mean);
  };
  const double noise = 1.5, data = 2 + 0.1 * noise;  // where this noise must arrive

  // The solver fixed when the program is compiled:
  const auto result = integrate<Euler>(velocity, noise, uniform_grid(30));
  std::printf("z = %.4f after %zu steps\n", result.z, result.steps);

  // ... and chosen when it runs. An adaptive solver needs no more of the grid than its ends.
  std::printf("solver    evaluations  error\n");
  for (const std::string& name : solver_names()) {
    const AnySolver solver = solver_from_name(name);
    const std::vector<double> grid = is_adaptive(solver) ? std::vector<double>{0, 1} : uniform_grid(30);
    const auto end = integrate(solver, velocity, noise, grid);
    std::printf("%-9s %11zu  %.0e\n", name.c_str(), end.evaluations, std::abs(end.z - data));
  }
}

// Output:
// z = 2.1291 after 30 steps
// solver    evaluations  error
// euler              30  2e-02
// heun               60  2e-03
// midpoint           60  7e-05
// rk4               120  4e-06
// ab2                30  5e-03
// dopri5             50  2e-04
