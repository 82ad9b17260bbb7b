// Classifier-free guidance around a velocity that computes both branches in one go, everywhere and on an interval.
#include <cstdio>
#include <functional>
#include <utility>

#include "janusflow/flow/guidance.hpp"
#include "janusflow/flow/integrate.hpp"

using namespace janusflow;

struct Model {
  int rows = 0;  // computed so far

  // Both velocities, as two rows of one product ...
  std::pair<double, double> operator()(double z, double t) {
    rows += 2;
    return {conditional(z, t), -z};
  }
  // ... or one row alone, where the weight is 1.
  double operator()(double z, double t, ConditionalOnly) {
    rows += 1;
    return conditional(z, t);
  }

  static double conditional(double z, double t) { return 3 * t - z; }
};

int main() {
  Model model;
  const auto always = integrate<Euler>(guided(std::ref(model), 2.0), 1.0, uniform_grid(30));
  std::printf("everywhere:     z = %.3f, %d rows\n", always.z, model.rows);

  model.rows = 0;
  const GuidanceInterval middle{.weight = 2.0, .begin = 0.2, .end = 0.7};
  const auto inside = integrate<Euler>(guided(std::ref(model), middle), 1.0, uniform_grid(30));
  std::printf("on an interval: z = %.3f, %d rows\n", inside.z, model.rows);
}

// Output:
// everywhere:     z = 2.532, 60 rows
// on an interval: z = 1.900, 46 rows
