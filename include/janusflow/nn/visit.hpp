// One walk over a model's parameters: each with the key that the checkpoint has for it.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace janusflow {

template <class F>
class ParameterWalk;

/// A struct of parameters and sub-modules, with static visit(self, walk) that calls walk("name", member) for each.
template <class M, class F>
concept ModuleFor = requires(M& module, ParameterWalk<F>& walk) { std::remove_const_t<M>::visit(module, walk); };

/// Carries a function down a module's tree and the key along with it. Made by for_each_parameter.
template <class F>
class ParameterWalk {
 public:
  ParameterWalk(F& function, std::string prefix) : function_(function), prefix_(std::move(prefix)) {}

  /// A parameter, a sub-module, one that may be missing (std::optional), or a list of sub-modules (whose keys are name.0, name.1, ...).
  template <class M>
  void operator()(std::string_view name, M& member) {
    const std::string key = prefix_ + std::string(name);
    if constexpr (ModuleFor<M, F>) {
      ParameterWalk inner(function_, key + '.');
      std::remove_const_t<M>::visit(member, inner);
    } else if constexpr (requires { member.has_value(); *member; }) {
      if (member) (*this)(name, *member);
    } else if constexpr (requires { member[0]; member.begin(); typename M::allocator_type; }) {
      for (std::size_t i = 0; i < member.size(); ++i) {
        ParameterWalk inner(function_, key + '.');
        inner(std::to_string(i), member[i]);
      }
    } else {
      function_(key, member);
    }
  }

 private:
  F& function_;
  std::string prefix_;
};

/// Calls function(key, parameter) for every parameter of `module` in the order of its definition; keys begin with `prefix`.
template <class M, class F>
void for_each_parameter(M& module, F&& function, std::string prefix = "") {
  ParameterWalk<std::remove_reference_t<F>> walk(function, std::move(prefix));
  std::remove_const_t<M>::visit(module, walk);
}

}  // namespace janusflow
