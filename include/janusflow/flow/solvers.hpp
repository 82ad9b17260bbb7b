// Fixed-step solvers of dz/dt = v(z, t), each a rule for the one slope by which a step moves the state.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "janusflow/flow/state.hpp"

namespace janusflow {

// A solver is a type with a name for the command line and a class template Slope<Z>, made anew for each integration:
//   Z operator()(Velocity& v, const Z& z, double t0, double t1)
// returns the slope s of the step z(t1) = z(t0) + (t1 - t0) s. What a Slope keeps between calls are accepted steps.

/// Explicit Euler, order 1, one evaluation a step: the official loop of JanusFlow, `z = z + dt * v`.
struct Euler {
  static constexpr std::string_view name = "euler";

  template <class Z>
  struct Slope {
    template <class Velocity>
    Z operator()(Velocity& v, const Z& z, double t0, double /*t1*/) {
      return v(z, t0);
    }
  };
};

/// Heun's method (explicit trapezoidal rule), order 2, two evaluations a step, the second at the step's end.
struct Heun {
  static constexpr std::string_view name = "heun";

  template <class Z>
  struct Slope {
    template <class Velocity>
    Z operator()(Velocity& v, const Z& z, double t0, double t1) {
      const Z k1 = v(z, t0);
      const Z k2 = v(detail::add_scaled(z, t1 - t0, k1), t1);
      return detail::combine(0.5, k1, 0.5, k2);
    }
  };
};

/// Explicit midpoint rule, order 2, two evaluations a step, the second in the step's middle.
struct Midpoint {
  static constexpr std::string_view name = "midpoint";

  template <class Z>
  struct Slope {
    template <class Velocity>
    Z operator()(Velocity& v, const Z& z, double t0, double t1) {
      const double half = 0.5 * (t1 - t0);
      return v(detail::add_scaled(z, half, v(z, t0)), t0 + half);
    }
  };
};

/// The classical Runge-Kutta method, order 4, four evaluations a step.
struct RungeKutta4 {
  static constexpr std::string_view name = "rk4";

  template <class Z>
  struct Slope {
    template <class Velocity>
    Z operator()(Velocity& v, const Z& z, double t0, double t1) {
      const double half = 0.5 * (t1 - t0);
      const Z k1 = v(z, t0);
      const Z k2 = v(detail::add_scaled(z, half, k1), t0 + half);
      const Z k3 = v(detail::add_scaled(z, half, k2), t0 + half);
      const Z k4 = v(detail::add_scaled(z, t1 - t0, k3), t1);
      return detail::combine(1.0 / 6, k1, 1.0 / 3, k2, 1.0 / 3, k3, 1.0 / 6, k4);
    }
  };
};

/// Adams-Bashforth of order 2, one evaluation a step: the line through the last two velocities, integrated over it,
///   s = v_i + h_i / (2 h_(i-1)) (v_i - v_(i-1)),
/// exact in its order on grids of unequal steps (Hairer, Norsett, Wanner: Solving ODEs I, section III.5). The first
/// step is Euler's: its error, of order h^2, is made once and leaves the order at 2.
struct AdamsBashforth2 {
  static constexpr std::string_view name = "ab2";

  template <class Z>
  class Slope {
   public:
    template <class Velocity>
    Z operator()(Velocity& v, const Z& z, double t0, double t1) {
      const double h = t1 - t0;
      Z current = v(z, t0);
      if (!previous_) {
        previous_h_ = h;
        previous_ = detail::scaled(current, 1.0);  // a copy, also of states that can only be moved
        return current;
      }
      const double weight = h / (2 * previous_h_);
      Z slope = detail::combine(1 + weight, current, -weight, *previous_);
      previous_ = std::move(current);
      previous_h_ = h;
      return slope;
    }

   private:
    std::optional<Z> previous_;  // velocity at the beginning of the step before
    double previous_h_ = 0;
  };
};

}  // namespace janusflow
