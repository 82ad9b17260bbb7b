// How a program that measures ends, as the example programs do, whose own frame takes longer to compile than what is measured here may.
#pragma once

#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>

#include "common/interrupt.hpp"
#include "janusflow/core/error.hpp"

namespace janusflow::bench {

using examples::InterruptGuard;

/// A command line that is not understood.
struct WrongCommand : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Calls body() and returns the program's exit status: 0, 1 for an error, 2 for WrongCommand, 130 where Ctrl-C ended it. An error is one
/// sentence on standard error.
template <class F>
int exit_status(const std::string& name, F&& body) {
  const auto say = [&](const std::string& sentence, int status) {
    std::cerr << name + ": " + sentence + '\n';
    return status;
  };
  try {
    const InterruptGuard guard(name + ": interrupted");
    const InterruptGuard::AtOnce here;
    body();
    // std::cout writes through it, too.
    require(std::fflush(stdout) == 0 && !std::ferror(stdout), "cannot write to standard output");
    return 0;
  } catch (const WrongCommand& error) {
    return say(error.what(), 2);
  } catch (const examples::Interrupted&) {
    say("interrupted", InterruptGuard::status);
    return InterruptGuard::stopped();
  } catch (const std::bad_alloc&) {
    return say("out of memory", 1);
  } catch (const std::exception& error) {
    return say(error.what(), 1);
  }
}

}  // namespace janusflow::bench
