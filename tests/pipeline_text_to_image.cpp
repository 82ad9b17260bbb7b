// Text to image in float32: the official loop's numbers, and what a request may ask for.
#include "janusflow/pipeline/text_to_image.hpp"

#include <doctest/doctest.h>

#include <map>

#include "janusflow/flow/guidance.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/velocity_in_groups.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/text/processor.hpp"
#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const TextToImage<Float32>& painter() {
  static const auto instance = TextToImage<Float32>::from_directory(tiny_model().path(), tiny_model().vae());
  return instance;
}

TextToImageRequest two_steps() {
  TextToImageRequest request;
  request.prompts = {golden_prompt};
  request.num_inference_steps = 2;
  return request;
}

std::shared_ptr<Tensor<float, 4>> shared_noise(std::uint64_t seed, Index channels, Index height, Index width) {
  return std::make_shared<Tensor<float, 4>>(noise(seed, channels, height, width));
}

/// v_conditional or, for a negative prompt, its velocity, times the one step: latents of a single unguided step less the noise.
Tensor<float, 4> one_step(const std::string& prompt, double guidance, std::optional<std::string> negative = {}) {
  TextToImageRequest request = two_steps();
  request.prompts = {prompt};
  request.num_inference_steps = 1;
  request.guidance_scale = guidance;
  request.negative_prompt = std::move(negative);
  return painter()(request).latents;
}

}  // namespace

TEST_CASE("text to image: the official loop, step by step") {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto trajectory = golden.tensor<5>("gen.traj");
  std::size_t steps = 0;
  const auto result = painter()(golden_request(golden), [&](const TextToImageProgress& progress) {
    CHECK(progress.step == ++steps);
    CHECK(progress.total_steps == 4);
    CHECK(progress.t == static_cast<double>(steps) / 4);
    const Tensor<float, 4> expected(trajectory.view()[static_cast<Index>(steps) - 1]);
    CHECK(relative_error(channels_first(progress.latents), expected) < 1e-4);
    return true;
  });
  CHECK(steps == 4);
  CHECK(result.finished);
  CHECK(result.evaluations == 4);
  CHECK(relative_error(result.latents, golden.tensor<4>("gen.latents")) < 1e-4);
  REQUIRE(result.pictures.size() == 1);
  CHECK(result.pictures[0].shape() == Shape{96, 96, 3});
  CHECK(painter().image_size() == 96);
}

TEST_CASE("text to image: pictures are what the decoder makes of the latents, scaled and shifted as its config says") {
  const TinyModel other;
  Json config = read_json_file(other.vae() / "config.json");
  config["shift_factor"] = 0.25;
  other.folder().write("vae/config.json", config.dump());
  const auto result = TextToImage<Float32>::from_directory(other.path(), other.vae())(two_steps());
  const auto files = AutoencoderFiles::open(other.vae());
  AutoencoderDecoder<Float32> decoder(files.config);
  load(decoder, files.checkpoint);
  auto z = channels_last(result.latents);
  for (float& x : z) x = x / 0.13025f + 0.25f;
  CHECK(same(result.pictures[0], to_bytes(decoder(z), 0)));
}

TEST_CASE("text to image: the prompt's ids, the velocity of both rows and the guided one") {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto processor = Processor::from_directory(tiny_model().path());
  const auto ids = processor.generation_ids(golden_prompt);
  const auto expected_ids = golden.integers("gen.prompt_ids");
  REQUIRE(std::equal(ids.begin(), ids.end(), expected_ids.begin(), expected_ids.end()));

  const auto files = ModelFiles::open(tiny_model().path());
  LlamaModel<Float32> language(files.config.language);
  VelocityHead<Float32> head(files.config);
  load(language, files.checkpoint, "language_model.model.");
  load(head, files.checkpoint);
  KeyValueCache cache = language.new_cache();
  const SequenceContext start{&cache, 0, 0};
  language(language.embed(std::span(ids).first(8)).reshaped(Shape{1, 8, 64}), {&start, 1}, Remember::yes);
  const float t = golden.tensor<0>("gen.t").data()[0];
  const std::array<Index, 2> picture{0, 0};
  const std::array<SequenceContext, 2> rows{{{&cache, 8, 8}, {&cache, 1, 8}}};
  const auto z = golden.picture("gen.z");
  const auto v = velocity(language, head, z, {&t, 1}, picture, rows);
  CHECK(relative_error(v, golden.picture("gen.v_rows")) < 2e-5);
  const auto joined = guided([&](const auto&, double) { return std::pair(part(v, 0, 1), part(v, 1, 2)); }, 2.0);
  CHECK(relative_error(joined(z, 0.0), golden.picture("gen.v_cfg")) < 5e-5);  // 2 v_c - v_u: up to three times a row's error
}

TEST_CASE("text to image: pictures flow in groups of any size with the same numbers") {
  const auto files = ModelFiles::open(tiny_model().path());
  LlamaModel<Int8> language(files.config.language);
  VelocityHead<Int8> head(files.config);
  load(language, files.checkpoint, "language_model.model.");
  load(head, files.checkpoint);
  KeyValueCache cache = language.new_cache();
  const SequenceContext start{&cache, 0, 0};
  const std::array<std::int32_t, 3> ids{1, 5, 7};
  language(language.embed(ids).reshaped(Shape{1, 3, 64}), {&start, 1}, Remember::yes);
  Tensor<float, 4> z(Shape{5, 4, 6, files.config.vision_gen_enc.input_channels});
  for (Index i = 0; i < z.size(); ++i) z.data()[i] = std::sin(static_cast<float>(i));
  // Conditional rows first, then the others, as guidance has them; the last picture has one row only.
  const std::vector<Index> picture_of{0, 1, 2, 3, 4, 0, 1, 2, 3};
  std::vector<SequenceContext> rows(5, {&cache, 3, 3});
  rows.resize(9, {&cache, 1, 3});
  const auto in_groups = [&](Index at_once) { return velocity_in_groups(language, head, z, 500.0f, picture_of, rows, at_once); };
  const auto together = in_groups(5);
  CHECK(together.shape() == Shape{9, 4, 6, z.shape()[3]});
  for (const Index at_once : {1, 2, 3, 100}) CHECK(same(in_groups(at_once), together));
  CHECK_THROWS_AS(in_groups(0), Error);
  const Index sixth = 5;
  CHECK_THROWS_AS(velocity_in_groups(language, head, z, 500.0f, {&sixth, 1}, std::span(rows).first(1), 2), Error);

  const double share = static_cast<double>(last_cache_bytes()) / static_cast<double>(pictures_at_once(files.config, 4, 6, 2));
  CHECK(share >= 4.0 * 2 * (1 + 4 * 6 / std::pow(files.config.vision_gen_enc.stride, 2)) * files.config.language.intermediate_size);
  CHECK(pictures_at_once(files.config, 1 << 14, 1 << 14, 2) == 1);
}

TEST_CASE("text to image: a directory without a processor_config.json, as older copies of the published one") {
  const TinyModel other;
  std::filesystem::remove(other.path() / "processor_config.json");
  const auto older = TextToImage<Float32>::from_directory(other.path(), other.vae());
  CHECK(same(older(two_steps()).latents, painter()(two_steps()).latents));
}

TEST_CASE("text to image: the same bytes on 1, 2 and 3 threads, alone and in company") { check_determinism(painter()); }

TEST_CASE("text to image: guidance 1 needs no unconditional row, nor does an interval without a step") {
  const auto plain = one_step("x y", 1);
  TextToImageRequest request = two_steps();
  request.guidance_scale = 1;
  const auto unguided = painter()(request);
  request.guidance_scale = 3;
  request.guidance_begin = 0.6;
  request.guidance_end = 0.9;
  CHECK(same(painter()(request).latents, unguided.latents));
  request.guidance_begin = 0.5;  // the second step only
  std::vector<Tensor<float, 4>> steps;
  const auto second = painter()(request, [&](const TextToImageProgress& p) { return steps.push_back(p.latents.clone()), true; });
  CHECK(!same(second.latents, unguided.latents));
  request.guidance_scale = 1;
  painter()(request, [&](const TextToImageProgress& p) { return steps.push_back(p.latents.clone()), true; });
  REQUIRE(steps.size() == 4);
  CHECK(same(steps[0], steps[2]));
}

TEST_CASE("text to image: a negative prompt is the unconditional row") {
  const auto noise_in = noise(42, 4, 12, 12);
  const auto wanted = one_step("x y", 1), unwanted = one_step("a longer text", 1);
  const auto guided_by_it = one_step("x y", 3, "a longer text"), guided_by_nothing = one_step("x y", 3);
  Tensor<float, 4> expected(wanted.shape());  // z + (3 v_c - 2 v_n), v = latents - z
  for (Index i = 0; i < expected.size(); ++i) expected.data()[i] = 3 * wanted.data()[i] - 2 * unwanted.data()[i];
  CHECK(relative_error(guided_by_it, expected) < 2e-6);  // a few roundings of numbers up to five times as large
  CHECK(relative_error(guided_by_nothing, expected) > 1e-3);
  CHECK(relative_error(one_step("x y", 3, "x y"), wanted) < 2e-6);
  CHECK(same(one_step("x y", 1, "a longer text"), wanted));
  CHECK(relative_error(wanted, noise_in) > 1e-2);
}

TEST_CASE("text to image: the observer cancels") {
  const Golden golden(golden_tiny + "/golden.safetensors");
  const auto result = painter()(golden_request(golden), [](const TextToImageProgress& p) { return p.step < 2; });
  CHECK(!result.finished);
  CHECK(result.pictures.empty());
  CHECK(result.evaluations == 2);
  CHECK(relative_error(result.latents, Tensor<float, 4>(golden.tensor<5>("gen.traj").view()[1])) < 1e-4);
}

TEST_CASE("text to image: previews lead to the picture") {
  TextToImageRequest request = two_steps();
  request.images_per_prompt = 2;
  std::vector<std::vector<Tensor<std::uint8_t, 3>>> previews;
  const auto result = painter()(request, [&](const TextToImageProgress& p) { return previews.push_back(p.preview()), true; });
  REQUIRE(previews.size() == 2);
  CHECK(previews[0].size() == 2);
  CHECK(!same(previews[0], result.pictures));
  CHECK(same(previews[1], result.pictures));  // at t = 1 there is nothing left to predict
  // The first preview is where a single step would have arrived.
  request.num_inference_steps = 1;
  const auto single = painter()(request).pictures;
  Index worst = 0;  // z + v / 2 + v / 2 is z + v up to rounding: a byte at most
  for (std::size_t i = 0; i < 2; ++i)
    for (Index j = 0; j < single[i].size(); ++j) worst = std::max<Index>(worst, std::abs(single[i].data()[j] - previews[0][i].data()[j]));
  CHECK(worst <= 1);
}

TEST_CASE("text to image: a step is of all pictures, or of one after the other") {
  using Step = std::array<std::size_t, 3>;
  std::vector<Step> steps;
  std::vector<Tensor<std::uint8_t, 3>> last;
  const auto watch = [&](const TextToImageProgress& p) {
    steps.push_back({p.step, p.first, p.pictures});
    CHECK(p.latents.shape()[0] == static_cast<Index>(p.pictures));
    if (p.t == 1)
      for (auto& picture : p.preview()) last.push_back(std::move(picture));
    return true;
  };
  TextToImageRequest request = two_steps();
  request.images_per_prompt = 2;
  CHECK(same(painter()(request, watch).pictures, last));
  CHECK(steps == std::vector<Step>{{1, 0, 2}, {2, 0, 2}});
  steps.clear();
  last.clear();
  request.reuse_threshold = 1e-9;
  CHECK(same(painter()(request, watch).pictures, last));
  CHECK(steps == std::vector<Step>{{1, 0, 1}, {2, 0, 1}, {1, 1, 1}, {2, 1, 1}});
  steps.clear();
  last.clear();
  request.reuse_threshold = 0;
  request.solver = DormandPrince{.atol = 1, .rtol = 1};
  CHECK(same(painter()(request, watch).pictures, last));
  for (const Step& step : steps) CHECK(step[2] == 1);
}

TEST_CASE("text to image: where pictures flow one after the other, those whose turn did not come are their noise") {
  TextToImageRequest request = two_steps();
  request.images_per_prompt = 3;
  request.reuse_threshold = 1e-9;
  const auto cancelled = painter()(request, [](const TextToImageProgress& p) { return p.first == 0 || p.step < 1; });
  CHECK(!cancelled.finished);
  CHECK(same(part(cancelled.latents, 0, 1), painter()(two_steps()).latents));
  CHECK(!same(part(cancelled.latents, 1, 2), noise(43, 4, 12, 12)));
  CHECK(same(part(cancelled.latents, 2, 3), noise(44, 4, 12, 12)));
}

TEST_CASE("text to image: every solver by its name") {
  const auto run = [](AnySolver solver, int steps) {
    TextToImageRequest request = two_steps();
    request.solver = std::move(solver);
    request.num_inference_steps = steps;
    std::size_t total = 99;
    auto result = painter()(request, [&](const TextToImageProgress& p) { return total = p.total_steps, true; });
    CHECK(result.finished);
    CHECK(result.pictures.size() == 1);
    CHECK(total == (is_adaptive(request.solver) ? 0 : static_cast<std::size_t>(steps)));
    return result;
  };
  const auto euler = run(Euler{}, 2);
  const std::map<std::string, std::size_t> evaluations{{"euler", 2}, {"heun", 4}, {"midpoint", 4}, {"rk4", 8}, {"ab2", 2}};
  for (const auto& expected : evaluations) {
    const std::string name = expected.first;
    CAPTURE(name);
    const auto result = run(solver_from_name(name), 2);
    CHECK(result.evaluations == expected.second);
    CHECK(same(result.latents, euler.latents) == (name == "euler"));
  }
  // Random weights make a field that no step of a picture's would resolve: this is the machinery alone.
  const auto adaptive = run(DormandPrince{.atol = 1, .rtol = 1}, 2);
  CHECK(adaptive.evaluations >= 7);
  CHECK(solver_names().size() == evaluations.size() + 1);
}

TEST_CASE("text to image: what is left out is not computed, and depends on no company") {
  const auto run = [](auto change) {
    TextToImageRequest request = two_steps();
    request.num_inference_steps = 6;
    change(request);
    return painter()(request);
  };
  const auto plain = run([](auto&) {});
  CHECK(plain.evaluations == 6);
  CHECK(plain.rows == 12);
  const auto interval = run([](auto& r) { r.guidance_begin = 0.5; });
  CHECK(interval.evaluations == 6);
  CHECK(interval.rows == 9);
  CHECK(run([](auto& r) { r.guidance_end = 0.4; }).rows == 9);
  const auto period = run([](auto& r) { r.guidance_period = 3; });
  CHECK(period.evaluations == 6);
  CHECK(period.rows == 8);
  CHECK(!same(period.latents, plain.latents));
  CHECK(relative_error(period.latents, plain.latents) < 0.5);
  const auto unguided = run([](auto& r) { r.guidance_scale = 1; });
  CHECK(unguided.rows == 6);
  CHECK(same(run([](auto& r) { r.guidance_scale = 1, r.guidance_period = 3; }).latents, unguided.latents));

  // A threshold that no change reaches: the first two velocities, and their line from there on.
  const auto line = run([](auto& r) { r.reuse_threshold = 1e9; });
  CHECK(line.evaluations == 2);
  CHECK(line.rows == 4);
  CHECK(same(run([](auto& r) { r.reuse_threshold = 1e-9; }).latents, plain.latents));
  const auto several = run([](auto& r) { r.reuse_threshold = 1e9, r.images_per_prompt = 3, r.seed = 41; });
  CHECK(several.evaluations == 6);
  CHECK(same(part(several.latents, 1, 2), line.latents));

  const auto shifted = run([](auto& r) { r.shift = 3, r.num_inference_steps = 1; });
  CHECK(same(shifted.latents, run([](auto& r) { r.num_inference_steps = 1; }).latents));
  std::vector<double> times;
  TextToImageRequest request = two_steps();
  request.shift = 3;
  painter()(request, [&](const TextToImageProgress& p) { return times.push_back(p.t), true; });
  CHECK(times == std::vector<double>{0.25, 1});
}

TEST_CASE("text to image: other sizes and given noise") {
  TextToImageRequest request = two_steps();
  request.height = 48;
  request.width = 112;
  const auto result = painter()(request);
  CHECK(result.latents.shape() == Shape{1, 4, 6, 14});
  CHECK(result.pictures.at(0).shape() == Shape{48, 112, 3});
  TextToImageRequest given = two_steps();
  given.noise = shared_noise(42, 4, 6, 14);
  CHECK(same(painter()(given).latents, result.latents));
  TextToImageRequest copy = given;  // with the same noise
  copy.width = 112;
  CHECK(same(painter()(copy).latents, result.latents));
}

TEST_CASE("text to image: a prompt may be as long as the model's positions allow") {
  const auto processor = Processor::from_directory(tiny_model().path());
  const auto room = 1024 - 36 - processor.generation_ids("x").size() + 1;  // a letter is a token
  TextToImageRequest request = two_steps();
  request.num_inference_steps = 1;
  request.prompts = {std::string(room, 'x')};
  CHECK(painter()(request).finished);
  request.prompts[0] += 'x';
  CHECK(io_testing::error_of([&] { painter()(request); }) ==
        "text to image: a sequence of 1025 tokens, 36 of them the picture's, is longer than the model's 1024");
}

TEST_CASE("text to image: requests that cannot be are refused in one sentence") {
  const auto refusal = [](auto change) {
    TextToImageRequest request = two_steps();
    change(request);
    return io_testing::error_of([&] { painter()(request); });
  };
  CHECK(refusal([](auto& r) { r.prompts.clear(); }) == "text to image: there is no prompt");
  CHECK(refusal([](auto& r) { r.images_per_prompt = 0; }) ==
        "text to image: the number of pictures for a prompt must be from 1 to 10000, not 0");
  CHECK(refusal([](auto& r) { r.num_inference_steps = 0; }) == "uniform_grid: the number of steps must be from 1 to 100000, not 0");
  CHECK(refusal([](auto& r) { r.guidance_scale = std::nan(""); }) == "text to image: the guidance scale is nan");
  CHECK(refusal([](auto& r) { r.guidance_begin = 0.9, r.guidance_end = 0.1; }) ==
        "text to image: guidance from t = 0.9 to 0.1 is no interval");
  CHECK(refusal([](auto& r) { r.guidance_end = std::nan(""); }) == "text to image: guidance from t = 0 to nan is no interval");
  CHECK(refusal([](auto& r) { r.guidance_period = 0; }) == "text to image: the guidance period must be 1 or more, not 0");
  CHECK(refusal([](auto& r) { r.reuse_threshold = -1; }) == "text to image: the reuse threshold must be finite and 0 or more, not -1");
  CHECK(refusal([](auto& r) { r.shift = 0; }) == "shifted_grid: shift must be finite and positive, not 0");
  for (const bool velocities : {false, true})
    CHECK(refusal([&](auto& r) { r.solver = DormandPrince{}, velocities ? r.reuse_threshold = 0.1 : r.guidance_period = 2; }) ==
          "text to image: dopri5 chooses its steps by their error, and can neither reuse velocities nor compute the unconditional one "
          "at times only");
  CHECK(refusal([](auto& r) { r.height = 100; }) == "text to image: the height must be a multiple of 16 from 16 to 16384, not 100");
  CHECK(refusal([](auto& r) { r.width = -16; }) == "text to image: the width must be a multiple of 16 from 16 to 16384, not -16");
  CHECK(refusal([](auto& r) { r.noise = shared_noise(1, 3, 12, 12); }) ==
        "text to image: the noise is [1, 3, 12, 12], expected [1, 4, 12, 12]");
  CHECK(refusal([](auto& r) { r.noise = shared_noise(1, 4, 11, 12); }) ==
        "text to image: the noise is [1, 4, 11, 12], expected [1, 4, 12, 12]");
  CHECK(refusal([](auto& r) { r.images_per_prompt = 2, r.noise = shared_noise(1, 4, 12, 12); }) ==
        "text to image: the noise is [1, 4, 12, 12], expected [2, 4, 12, 12]");
  CHECK(refusal([](auto& r) { r.noise = shared_noise(1, 4, 12, 12), r.height = 48; }) ==
        "text to image: the noise is [1, 4, 12, 12], expected [1, 4, 6, 12]");
  CHECK(refusal([](auto& r) { r.noise = shared_noise(1, 4, 12, 12), r.width = 48; }) ==
        "text to image: the noise is [1, 4, 12, 12], expected [1, 4, 12, 6]");
  const auto damaged = shared_noise(1, 4, 12, 12);
  damaged->data()[5] = std::nanf("");
  CHECK(refusal([&](auto& r) { r.noise = damaged; }) == "text to image: the noise holds NaN or infinity");
  CHECK(refusal([](auto& r) { r.prompts = {std::string(1100, 'x')}; }).find("is longer than the model's 1024") != std::string::npos);
  CHECK(refusal([](auto& r) { r.prompts = {std::string(1000, 'x')}; }).find("is longer than the model's 1024") != std::string::npos);
  CHECK(refusal([](auto& r) { r.negative_prompt = std::string(1000, 'x'); }).find("is longer than the model's 1024") != std::string::npos);
  CHECK(refusal([](auto& r) { r.height = r.width = 16384; }) ==
        "text to image: a sequence of 1048585 tokens, 1048576 of them the picture's, is longer than the model's 1024");
  CHECK(io_testing::error_of([] { TextToImage<Float32>::from_directory("/nowhere/at/all", tiny_model().vae()); }) ==
        "the model directory /nowhere/at/all does not exist");
  CHECK(io_testing::error_of([] { TextToImage<Float32>::from_directory(tiny_model().path(), tiny_model().path() / "config.json"); })
            .ends_with("config.json is not a directory"));
  CHECK(io_testing::error_of([] { TextToImage<Float32>::from_directory(tiny_model().path(), JANUSFLOW_TEST_DATA "/vae/twelve"); }) ==
        "the VAE has 12 latent channels, the model 4");
}

TEST_CASE("text to image: settings out of range are refused before a prompt is read") {
  const TinyModel other;  // with a token behind the embedding table's end: what reads it fails
  other.folder().write("tokenizer_config.json",
                       Json{{"unk_token", nullptr}, {"additional_special_tokens", {"<a>", "<b>", "<c>", "<d>", "<e>"}}}.dump());
  const auto unreadable = TextToImage<Float32>::from_directory(other.path(), other.vae());
  const auto refusal = [&](auto change) {
    TextToImageRequest request = two_steps();
    request.prompts = {"<e>"};
    change(request);
    return io_testing::error_of([&] { unreadable(request); });
  };
  CHECK(refusal([](auto&) {}).starts_with("embedding"));
  CHECK(refusal([](auto& r) { r.num_inference_steps = 0; }).starts_with("uniform_grid: "));
  CHECK(refusal([](auto& r) { r.shift = 0; }).starts_with("shifted_grid: "));
  CHECK(refusal([](auto& r) { r.reuse_threshold = std::nan(""); }).starts_with("text to image: the reuse threshold"));
  CHECK(refusal([](auto& r) { r.solver = DormandPrince{.atol = -1}; }).starts_with("dopri5: "));
}
