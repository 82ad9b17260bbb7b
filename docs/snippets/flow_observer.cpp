// An observer that follows the flow, looks ahead at the data, and stops when it has seen enough.
#include <cstdio>

#include "janusflow/flow/integrate.hpp"

int main() {
  using namespace janusflow;
  const auto velocity = [](double z, double t) { return 4 * t - z; };

  const auto result = integrate<Heun>(velocity, -1.0, uniform_grid(10), [](const FlowStep<double>& step) {
    std::printf("step %zu of %zu: t = %.1f, z = %.3f, heading for %.3f\n", step.step, step.total_steps, step.t, step.z,
                step.predicted_data());
    return step.step < 3;  // false cancels
  });
  std::printf("%s at t = %.1f\n", result.finished ? "finished" : "cancelled", result.t);
}

// Output:
// step 1 of 10: t = 0.1, z = -0.885, heading for 0.150
// step 2 of 10: t = 0.2, z = -0.743, heading for 0.394
// step 3 of 10: t = 0.3, z = -0.576, heading for 0.590
// cancelled at t = 0.3
