// The solvers by name, for choices made at run time.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/flow/integrate.hpp"

namespace janusflow {

/// One of the solvers, with its settings.
using AnySolver = std::variant<Euler, Heun, Midpoint, RungeKutta4, AdamsBashforth2, DormandPrince>;

/// The solver's name: "euler", "heun", "midpoint", "rk4", "ab2", "dopri5".
inline std::string_view solver_name(const AnySolver& solver) {
  return std::visit([](const auto& s) { return s.name; }, solver);
}

/// Whether the solver chooses its own steps: give it {0, 1} for a grid, where the others want one time a step.
inline bool is_adaptive(const AnySolver& solver) {
  const auto has_own_steps = []<class S>(const S&) {
    return !requires { typename S::template Slope<double>; };
  };
  return std::visit(has_own_steps, solver);
}

namespace detail {

template <std::size_t... I>
std::array<AnySolver, sizeof...(I)> every_solver(std::index_sequence<I...>) {
  return {AnySolver(std::in_place_index<I>)...};
}
inline auto every_solver() { return every_solver(std::make_index_sequence<std::variant_size_v<AnySolver>>()); }

}  // namespace detail

/// All names, in the order of AnySolver.
inline std::vector<std::string> solver_names() {
  std::vector<std::string> names;
  for (const AnySolver& solver : detail::every_solver()) names.emplace_back(solver_name(solver));
  return names;
}

/// The solver of that name with its default settings; Error, which lists the names, if there is none.
inline AnySolver solver_from_name(std::string_view name) {
  std::string known;
  for (const AnySolver& solver : detail::every_solver()) {
    if (solver_name(solver) == name) return solver;
    known += concat(known.empty() ? "" : ", ", solver_name(solver));
  }
  fail("there is no solver \"", name, "\"; there are ", known);
}

/// integrate (flow/integrate.hpp) by a solver chosen at run time.
template <class Velocity, class Z0, class Observer = NoObserver>
FlowResult<state_t<Z0>> integrate(const AnySolver& solver, Velocity&& velocity, Z0&& z0,
                                  const std::vector<double>& grid, Observer&& observer = {}) {
  return std::visit([&](const auto& s) { return integrate(s, velocity, std::forward<Z0>(z0), grid, observer); },
                    solver);
}

}  // namespace janusflow
