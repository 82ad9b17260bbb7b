// For one file of a program: on a processor that lacks what the program was built for, the program says so and exits with 1
// before anything else of it runs, where it would otherwise die of an illegal instruction. Not part of the umbrella header.
#pragma once

#include <unistd.h>

#include <cstring>

#include "janusflow/core/cpu.hpp"

namespace janusflow::detail {

JANUSFLOW_ANY_PROCESSOR inline void say(const char* text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text));
}

// 101 is the first priority that is not the compiler's own: before the constructors of globals.
[[gnu::constructor(101)]] JANUSFLOW_ANY_PROCESSOR static void guard_cpu() {
  const char* missing = missing_cpu_feature();
  if (!missing) return;
  say("this program was built for ");
  say(missing);
  say(", which this processor does not have; rebuild with -DJANUSFLOW_NATIVE=OFF\n");
  ::_exit(1);
}

}  // namespace janusflow::detail
