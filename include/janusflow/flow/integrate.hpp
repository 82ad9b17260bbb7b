// integrate: carries a state along a velocity field over a time grid, by any solver, under an observer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/flow/dormand_prince.hpp"
#include "janusflow/flow/grid.hpp"
#include "janusflow/flow/solvers.hpp"
#include "janusflow/flow/state.hpp"

namespace janusflow {

/// What an observer is shown after every accepted step. The references hold during the call only.
template <class Z>
struct FlowStep {
  std::size_t step;         // steps done, from 1
  std::size_t total_steps;  // steps in all; 0 where the solver chooses them
  double t;                 // the time reached
  const Z& z;               // the state there
  const Z& velocity;        // by which the step moved: z = z_before + (t - t_before) * velocity

  /// Where the flow arrives at t = 1 if the velocity stays as it was: z + (1 - t) velocity, the preview of the data.
  Z predicted_data() const { return detail::add_scaled(z, 1 - t, velocity); }
};

/// What integrate returns.
template <class Z>
struct FlowResult {
  Z z;                      // the state at t
  double t;                 // the grid's end, or where the observer cancelled
  bool finished;            // false: cancelled
  std::size_t steps;        // accepted steps
  std::size_t evaluations;  // calls of the velocity
};

/// Watches nothing.
struct NoObserver {
  template <class Z>
  void operator()(const FlowStep<Z>&) const {}
};

namespace detail {

/// One integration under way: the state, the counters, and the checks that every solver owes.
template <class Z, class Velocity, class Observer>
class FlowRun {
 public:
  using State = Z;

  FlowRun(Velocity& velocity, Observer& observer, Z z, double t, std::size_t total_steps, std::string_view solver)
      : velocity_(velocity),
        observer_(observer),
        solver_(solver),
        total_steps_(total_steps),
        result_{std::move(z), t, true, 0, 0} {}

  const Z& z() const { return result_.z; }
  double t() const { return result_.t; }
  std::size_t steps() const { return result_.steps; }
  std::size_t evaluations() const { return result_.evaluations; }

  /// The velocity at (z, t), counted, and refused where it is not finite.
  Z operator()(const Z& z, double t) {
    ++result_.evaluations;
    Z v(velocity_(z, t));  // evaluates an expression before its operands go
    if (!all_finite(v)) {
      const std::string of_total = total_steps_ > 0 ? concat(" of ", total_steps_) : std::string();
      fail("integrate: the velocity is not finite in step ", steps() + 1, of_total, " of ", solver_, " at t = ", t);
    }
    return v;
  }

  /// Ends a step at (z, t1); false if the observer wants no further one.
  bool accept(Z z, const Z& slope, double t1) {
    result_.z = std::move(z);
    result_.t = t1;
    ++result_.steps;
    const FlowStep<Z> step{result_.steps, total_steps_, t1, result_.z, slope};
    if constexpr (std::is_void_v<std::invoke_result_t<Observer&, const FlowStep<Z>&>>) {
      observer_(step);
    } else {
      result_.finished = static_cast<bool>(observer_(step));
    }
    return result_.finished;
  }

  FlowResult<Z> result() && { return std::move(result_); }

 private:
  Velocity& velocity_;
  Observer& observer_;
  std::string_view solver_;
  std::size_t total_steps_;
  FlowResult<Z> result_;
};

}  // namespace detail

/// Solves dz/dt = velocity(z, t) from z0 at grid.front() to grid.back().
///   solver    the solver's settings (Euler{}, DormandPrince{.rtol = 1e-6}); see flow/solvers.hpp
///   velocity  any callable (z, t) -> a state or an expression of one; t is a double, in [0, 1] for rectified flow
///   z0        any FlowState, or an Eigen expression of one; a state in float is carried in float throughout; one that
///             cannot be copied, such as Tensor, is moved in
///   grid      strictly monotonic times, see flow/grid.hpp: one step between neighbours, or, for an adaptive solver,
///             times that its own steps must meet
///   observer  called with FlowStep<Z> after every step; may return a bool, false to cancel
/// Euler on uniform_grid(n) is the official loop, z = z + v * (1 / n), operation by operation.
/// Throws Error for a grid that is not monotonic and finite, for a velocity that is not finite (naming step and time),
/// and what the solver's own limits demand; whatever velocity and observer throw passes through.
template <class Solver, class Velocity, class Z0, class Observer = NoObserver>
FlowResult<state_t<Z0>> integrate(const Solver& solver, Velocity&& velocity, Z0&& z0, const std::vector<double>& grid,
                                  Observer&& observer = {}) {
  using Z = state_t<Z0>;
  static_assert(FlowState<Z>, "integrate: the state must be movable and have z + z and z * number");
  static_assert(std::is_constructible_v<Z, Z0&&>, "integrate: z0 cannot be copied: move it in");
  constexpr bool fixed_steps = requires { typename Solver::template Slope<Z>; };
  check_grid(grid);
  detail::FlowRun<Z, std::remove_reference_t<Velocity>, std::remove_reference_t<Observer>> run(
      velocity, observer, Z(std::forward<Z0>(z0)), grid.front(), fixed_steps ? grid.size() - 1 : 0, Solver::name);
  if constexpr (fixed_steps) {
    typename Solver::template Slope<Z> slope_of;
    for (std::size_t i = 0; i + 1 < grid.size(); ++i) {
      const Z slope = slope_of(run, run.z(), grid[i], grid[i + 1]);
      if (!run.accept(detail::add_scaled(run.z(), grid[i + 1] - grid[i], slope), slope, grid[i + 1])) break;
    }
  } else {
    solver.march(run, grid);
  }
  return std::move(run).result();
}

/// The same with the solver's default settings: integrate<Heun>(velocity, z0, grid, observer).
template <class Solver, class Velocity, class Z0, class Observer = NoObserver>
FlowResult<state_t<Z0>> integrate(Velocity&& velocity, Z0&& z0, const std::vector<double>& grid,
                                  Observer&& observer = {}) {
  return integrate(Solver{}, velocity, std::forward<Z0>(z0), grid, observer);
}

}  // namespace janusflow
