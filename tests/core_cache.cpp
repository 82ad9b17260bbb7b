// The sizes of caches, which blocks of work follow.
#include "janusflow/core/cache.hpp"

#include <doctest/doctest.h>

using namespace janusflow;

TEST_CASE("caches: known or guessed, the second level holds something, and no more than the last") {
  CHECK(second_cache_bytes() >= std::size_t{1} << 15);
  CHECK(second_cache_bytes() <= last_cache_bytes());
}
