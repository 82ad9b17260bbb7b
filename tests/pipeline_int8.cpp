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
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.tensor<4>("gen.latents");
  const auto latents = painter()(golden_request(golden)).latents;
  double error = 0, size = 0;
  for (Index i = 0; i < latents.size(); ++i) {
    error += std::pow(double{latents.data()[i]} - double{expected.data()[i]}, 2);
    size += std::pow(double{expected.data()[i]}, 2);
  }
  const double relative = std::sqrt(error / size);
  MESSAGE("relative error of the latents: " << relative);
  CHECK(relative < 1e-1);  // what full-size int8 models are allowed
  CHECK(relative > 1e-4);  // it is int8 indeed
}

TEST_CASE("int8: the same bytes on 1, 2 and 3 threads, alone and in company") { check_determinism(painter()); }
