// The check of the processor: on one that has what the build needs, it says nothing.
#include "janusflow/core/cpu.hpp"

#include <doctest/doctest.h>

using namespace janusflow;

TEST_CASE("a processor that got this far has what the program was built for") {
  CHECK(missing_cpu_feature() == nullptr);
}
