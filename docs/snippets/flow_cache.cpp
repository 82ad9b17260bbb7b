// A velocity wrapped in another: the last velocity is used again while the state has hardly moved.
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "janusflow/flow/integrate.hpp"

template <class Velocity>
class Reused {
 public:
  Reused(Velocity velocity, double threshold) : velocity_(std::move(velocity)), threshold_(threshold) {}

  double operator()(double z, double t) {
    if (!last_velocity_ || std::abs(z - last_z_) > threshold_) {
      last_z_ = z;
      last_velocity_ = velocity_(z, t);
    }
    return *last_velocity_;
  }

 private:
  Velocity velocity_;
  double threshold_;
  double last_z_ = 0;
  std::optional<double> last_velocity_;
};

int main() {
  int computed = 0;
  const auto velocity = [&](double z, double) { return ++computed, -3 * z; };
  for (const double threshold : {0.0, 0.02, 0.05}) {
    computed = 0;
    const auto result =
        janusflow::integrate<janusflow::Euler>(Reused(velocity, threshold), 1.0, janusflow::uniform_grid(60));
    std::printf("threshold %.2f: %2d velocities computed for %zu steps, z = %.3f\n", threshold, computed, result.steps,
                result.z);
  }
}

// Output:
// threshold 0.00: 60 velocities computed for 60 steps, z = 0.046
// threshold 0.02: 32 velocities computed for 60 steps, z = 0.039
// threshold 0.05: 16 velocities computed for 60 steps, z = 0.028
