// The pipelines in bfloat16: as close to float32 as the official code is, and as deterministic.
#include <doctest/doctest.h>

#include "janusflow/pipeline/image_to_text.hpp"
#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const TextToImage<BFloat16>& painter() {
  static const auto instance = TextToImage<BFloat16>::from_directory(tiny_model().path(), tiny_model().vae());
  return instance;
}

double relative_norm(const Tensor<float, 4>& x, const Tensor<float, 4>& expected) {
  double error = 0, size = 0;
  for (Index i = 0; i < x.size(); ++i) {
    error += std::pow(double{x.data()[i]} - double{expected.data()[i]}, 2);
    size += std::pow(double{expected.data()[i]}, 2);
  }
  return std::sqrt(error / size);
}

}  // namespace

TEST_CASE("bfloat16: latents closer to float32's than the official code's in bfloat16") {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.tensor<4>("gen.latents"), official = golden.tensor<4>("gen.latents_bf16");
  const auto latents = painter()(golden_request(golden)).latents;
  const double ours = relative_norm(latents, expected), theirs = relative_norm(official, expected);
  MESSAGE("relative error of the latents: " << ours << ", of the official code in bfloat16: " << theirs);
  CHECK(ours < theirs);
  CHECK(ours > 1e-4);  // it is bfloat16 indeed
}

TEST_CASE("bfloat16: the same bytes on 1, 2 and 3 threads, alone and in company") { check_determinism(painter()); }

TEST_CASE("bfloat16: an answer on any number of threads") {
  const auto model = ImageToText<BFloat16>::from_directory(tiny_model().path());
  const Checkpoint golden(golden_tiny + "/golden.safetensors");
  const auto picture = golden.at("pre.0.image_u8").to_tensor<std::uint8_t, 3>();
  std::vector<std::int32_t> ids;
  with_threads([&](int threads) {
    std::vector<Tensor<std::uint8_t, 3>> pictures;
    pictures.push_back(picture.clone());
    ImageToText<BFloat16>::Conversation conversation(model, std::move(pictures));
    const auto answer = conversation.ask(golden_question, {.max_new_tokens = 8});
    if (threads == 1) ids = answer.ids;
    CHECK(answer.ids == ids);
  });
  CHECK(ids.size() == 8);
}
