// One pipeline called from several threads of a program at once.
#include <doctest/doctest.h>

#include <thread>

#include "janusflow/pipeline/image_to_text.hpp"
#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

TEST_CASE("pipelines: several threads of a program share one, each with the results it would have alone") {
  const auto paint = TextToImage<Float32>::from_directory(tiny_model().path(), tiny_model().vae());
  const auto look = ImageToText<Float32>::from_directory(tiny_model().path());
  struct Result {
    Tensor<float, 4> latents;
    std::vector<std::int32_t> ids;
  };
  const auto run = [&](std::uint64_t seed) {
    TextToImageRequest request;
    request.prompts = {"a red apple"};
    request.seed = seed;
    request.num_inference_steps = 2;
    auto painted = paint(request);
    ImageToText<Float32>::Conversation conversation(look, std::move(painted.pictures));
    return Result{std::move(painted.latents), conversation.ask("What is this?", {.max_new_tokens = 6}).ids};
  };
  constexpr std::uint64_t callers = 4;
  std::vector<Result> alone, together(callers);
  for (std::uint64_t seed = 0; seed < callers; ++seed) alone.push_back(run(seed));
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 0; seed < callers; ++seed) threads.emplace_back([&, seed] { together[seed] = run(seed); });
  for (auto& thread : threads) thread.join();
  for (std::uint64_t seed = 0; seed < callers; ++seed) {
    CHECK(same(together[seed].latents, alone[seed].latents));
    CHECK(together[seed].ids == alone[seed].ids);
  }
}
