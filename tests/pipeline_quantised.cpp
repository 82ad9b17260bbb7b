// The pipelines in int8 and in 4 bits: near float32, and as deterministic.
#include <doctest/doctest.h>

#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

template <class P>
const TextToImage<P>& painter() {
  static const auto instance = TextToImage<P>::from_directory(tiny_model().path(), tiny_model().vae());
  return instance;
}

}  // namespace

TEST_CASE("quantised: latents of four guided steps stay near float32's") {
  check_latents(painter<Int8>(), 1e-4, 1e-1);  // it is int8 indeed, and within what full-size int8 models are allowed
  check_latents(painter<Int4>(), 1e-3, 0.1);   // it is 4 bits indeed: weights that are off by 8 % each, errors of either sign
}

TEST_CASE_TEMPLATE("quantised: the same bytes on 1, 2 and 3 threads, alone and in company", P, Int8, Int4) { check_determinism(painter<P>()); }
