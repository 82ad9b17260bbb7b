// A state of one's own: + and * are enough for most solvers, error_norm for the adaptive one, is_finite for safety.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "janusflow/flow/integrate.hpp"

namespace mechanics {

struct Pendulum {
  double angle, speed;
};
Pendulum operator+(const Pendulum& a, const Pendulum& b) { return {a.angle + b.angle, a.speed + b.speed}; }
Pendulum operator*(const Pendulum& a, double factor) { return {a.angle * factor, a.speed * factor}; }

bool is_finite(const Pendulum& p) { return std::isfinite(p.angle) && std::isfinite(p.speed); }
double error_norm(const Pendulum& error, const Pendulum& /*y0*/, const Pendulum& /*y1*/, double atol, double /*rtol*/) {
  return std::max(std::abs(error.angle), std::abs(error.speed)) / atol;
}

}  // namespace mechanics

int main() {
  using mechanics::Pendulum;
  const auto swing = [](const Pendulum& p, double) { return Pendulum{p.speed, -std::sin(p.angle)}; };
  const auto result = janusflow::integrate(janusflow::DormandPrince{.atol = 1e-6}, swing, Pendulum{0.5, 0}, {0, 20});
  std::printf("angle %.4f after %zu steps\n", result.z.angle, result.steps);
}

// Output:
// angle 0.3353 after 77 steps
