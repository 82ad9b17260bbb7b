// The pipelines in 4 bits: near float32, and as deterministic.
#include <doctest/doctest.h>

#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const TextToImage<Int4>& painter() {
  static const auto instance = TextToImage<Int4>::from_directory(tiny_model().path(), tiny_model().vae());
  return instance;
}

}  // namespace

TEST_CASE("q4: latents of four guided steps stay near float32's") {
  check_latents(painter(), 1e-3, 0.1);  // it is 4 bits indeed: weights that are off by 8 % each, errors of either sign
}

TEST_CASE("q4: the same bytes on 1, 2 and 3 threads, alone and in company") { check_determinism(painter()); }
