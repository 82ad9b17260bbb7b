// The pipelines in int8: near float32, and as deterministic.
#include <doctest/doctest.h>

#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const TextToImage<Int8>& painter() {
  static const auto instance = TextToImage<Int8>::from_directory(tiny_model().path(), tiny_model().vae());
  return instance;
}

}  // namespace

TEST_CASE("int8: latents of four guided steps stay near float32's") {
  check_latents(painter(), 1e-4, 1e-1);  // it is int8 indeed, and within what full-size int8 models are allowed
}

TEST_CASE("int8: the same bytes on 1, 2 and 3 threads, alone and in company") { check_determinism(painter()); }
