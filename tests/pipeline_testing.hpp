// What the tests of the pipelines share: one tiny model, the golden's request, and the rule of determinism.
#pragma once

#include "janusflow/pipeline/text_to_image.hpp"
#include "tiny_model.hpp"

namespace janusflow::test {

inline const TinyModel& tiny_model() {
  static const TinyModel instance;
  return instance;
}

/// The four guided steps of the golden.
inline TextToImageRequest golden_request(const Golden& golden) {
  TextToImageRequest request;
  request.prompts = {golden_prompt};
  request.num_inference_steps = 4;
  request.guidance_scale = 2;
  request.noise = std::make_shared<Tensor<float, 4>>(golden.tensor<4>("gen.noise"));
  return request;
}

/// The latents of the golden's four guided steps are nearer to float32's than `below` of their size, and not nearer than `above`.
template <class P>
void check_latents(const TextToImage<P>& paint, double above, double below) {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto expected = golden.tensor<4>("gen.latents");
  const auto latents = paint(golden_request(golden)).latents;
  double error = 0, size = 0;
  for (Index i = 0; i < latents.size(); ++i) {
    error += std::pow(double{latents.data()[i]} - double{expected.data()[i]}, 2);
    size += std::pow(double{expected.data()[i]}, 2);
  }
  const double relative = std::sqrt(error / size);
  MESSAGE("relative error of the latents: " << relative);
  CHECK(relative < below);
  CHECK(relative > above);
}

/// Same seed, same bytes: for 1, 2 and 3 threads, alone, in a batch of four, and among prompts of other lengths.
template <class P>
void check_determinism(const TextToImage<P>& paint) {
  const auto run = [&](std::vector<std::string> prompts, Index images, std::uint64_t seed) {
    TextToImageRequest request;
    request.prompts = std::move(prompts);
    request.images_per_prompt = images;
    request.seed = seed;
    request.num_inference_steps = 2;
    return paint(request);
  };
  const std::vector<std::string> prompts{"a red apple", "x", "a prompt that is longer than the others"};
  const auto together = run(prompts, 4, 42);
  REQUIRE(together.pictures.size() == 12);
  with_threads([&](int threads) {
    const auto again = run(prompts, 4, 42);
    CHECK(same(again.latents, together.latents));
    CHECK(same(again.pictures, together.pictures));
    const Index picture = 4 * (threads - 1) + threads;  // the threads-th picture of a prompt
    const auto alone = run({prompts[static_cast<std::size_t>(threads) - 1]}, 1, 42 + static_cast<std::uint64_t>(threads));
    CHECK(same(alone.latents, part(together.latents, picture, picture + 1)));
    CHECK(same(alone.pictures[0], together.pictures[static_cast<std::size_t>(picture)]));
  });
  for (Index i = 1; i < 12; ++i) CHECK(!same(part(together.latents, i, i + 1), part(together.latents, 0, 1)));
}

}  // namespace janusflow::test
