// An autoencoder in training: gradients and steps as PyTorch's (tests/reference/make_autoencoder_training.py), runs that go on, what it refuses.
#include <doctest/doctest.h>

#include "golden.hpp"
#include "gradient_testing.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/train/autoencoder_objective.hpp"
#include "training_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::contains;
using io_testing::error_of;

namespace {

const std::string reference = JANUSFLOW_TEST_DATA "/training/autoencoder";

using AutoencoderTrainer = Trainer<AutoencoderObjective<>>;

const TinyRun& tiny() {
  static const TinyRun run;
  return run;
}

Json config(const std::string& output, Index steps = 6) {
  return {{"train", "autoencoder"}, {"model", reference}, {"manifest", "train.jsonl"}, {"output", output}, {"seed", 3}, {"from_scratch", {"*"}},
          {"losses", {{"l2", 0.5}, {"kl", 0.001}}}, {"augmentation", {{"flip", 0.5}, {"shift", 1}}}, {"pictures_at_once", 4},
          {"muon", {{"matrices", {"*.resnets.*.conv*.weight"}}}}, {"checkpoints", {{"every", 3}, {"keep", 2}}}, {"log", {{"every", 2}}},
          {"stages", {{{"name", "all"}, {"trains", {"*"}}, {"learning_rate", 4e-3}, {"warmup_steps", 1}, {"steps", steps}, {"batch_size", 6}}}}};
}

AutoencoderTrainingConfig read(const Json& json) {
  return AutoencoderTrainingConfig::from_json(JsonObject(json, "train.json"), tiny().folder().path());
}

double number(const Var<float, 1>& loss) { return static_cast<double>(loss.value()(0)); }

}  // namespace

TEST_CASE("autoencoder: losses, gradients and four steps are PyTorch's") {
  const Golden golden(reference + "/golden.safetensors");
  const Checkpoint file(reference + "/golden.safetensors");
  AutoencoderKL<Taped<float>> model(read_config<AutoencoderKLConfig>(reference + "/config.json"));
  load(model, std::make_shared<const Checkpoint>(reference + "/diffusion_pytorch_model.safetensors"));
  const auto pictures = golden.picture("pictures"), noise = golden.picture("noise");
  const auto steps = golden.tensor<2>("steps");
  const auto step = [&](Index i) {
    clear_gradients(model);
    Tape tape;
    const auto l = autoencoder_losses(model, pictures, noise, 2);
    const std::array parts{&l.l1, &l.l2, &l.multi_scale, &l.kl};
    for (std::size_t part = 0; part < 4; ++part)
      CHECK(number(*parts[part]) == doctest::Approx(static_cast<double>(steps(i, static_cast<Index>(part)))).epsilon(1e-4));
    tape.backward(l.l1 + 0.5f * l.l2 + 0.5f * l.multi_scale + 0.02f * l.kl);
  };
  step(0);
  Index compared = 0;
  for_each_parameter(model, [&](const std::string& key, auto& parameter) { compared += check_gradient(key, parameter, file, {""}); });
  CHECK(compared == 152);
  auto tensors = trained_tensors(model);
  Optimizer optimizer(tensors, {});
  for (Index i = 0; i < 4; ++i) {
    step(i);
    refresh_gradients(model, tensors);
    optimizer.step(tensors, 1e-3, 1.0);
  }
}

TEST_CASE("autoencoder: a run that is stopped and goes on ends where an undisturbed one does, on any number of threads") {
  AutoencoderTrainer whole(read(config("whole")));
  REQUIRE(whole.run());
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    const Json json = config("stopped" + std::to_string(threads));
    CHECK(!AutoencoderTrainer(read(json), stop_after(2)).run());
    AutoencoderTrainer trainer(read(json));
    REQUIRE(trainer.resume());
    CHECK(trainer.progress().step == 2);
    REQUIRE(trainer.run());
    CHECK(weights_of(trainer) == weights_of(whole));
  }
  set_num_threads(before);
  Json json = config("recompute");
  json["recompute"] = true;
  AutoencoderTrainer again(read(json));
  REQUIRE(again.run());
  CHECK(weights_of(again) == weights_of(whole));
}

TEST_CASE("autoencoder: edges are neighbours' differences, and the KL term rises to its weight") {
  Tensor<float, 4> x(Shape{Index{2}, Index{4}, Index{5}, Index{3}}), y(x.shape());
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i * 37 % 101) / 50 - 1, y.data()[i] = static_cast<float>(i * 53 % 89) / 44 - 1;
  double sum = 0, count = 0;
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 4; ++j)
        for (Index c = 0; c < 3; ++c) {
          const auto along = [&](const Tensor<float, 4>& p, Index down, Index right) { return p(b, i + down, j + right, c) - p(b, i, j, c); };
          for (const Index down : {0, 1}) sum += std::abs(static_cast<double>(along(x, down, 1 - down)) - static_cast<double>(along(y, down, 1 - down)));
          ++count;
        }
  const auto edges = [](const Tensor<float, 4>& p) { return detail::neighbour_differences(constant<float>(p)); };
  CHECK(2 * static_cast<double>(number(mean_absolute_error(edges(x), edges(y)))) == doctest::Approx(sum / count));

  Json json = config("warm", 4);
  json["log"] = {{"every", 1}};
  json["losses"] = {{"l1", 1}, {"l2", 0}, {"multi_scale", 0}, {"scales", 1}, {"edges", 0.25}, {"kl", 2}, {"kl_warmup", 12}};
  AutoencoderTrainer trainer(read(json));
  REQUIRE(trainer.run());
  const auto& rows = trainer.log().rows();
  REQUIRE(rows.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const double weight = 2 * std::min(1.0, static_cast<double>(6 * i) / 12);  // six pictures a step
    CHECK(rows[i].loss == doctest::Approx(rows[i].losses[0] + 0.25 * rows[i].losses[3] + weight * rows[i].losses[4]));
  }
}

TEST_CASE("autoencoder: it learns, and what it publishes is an autoencoder with latents of unit deviation") {
  AutoencoderTrainer trainer(read(config("learns", 200)));
  REQUIRE(trainer.run());
  const auto& rows = trainer.log().rows();
  CHECK(trainer.log().header() == "step,stage,learning_rate,loss,l1,l2,multi_scale,edges,kl,gradient_norm,samples,samples_per_second");
  CHECK(rows.back().samples == 1200);
  for (const std::size_t loss : {0u, 1u, 2u}) {
    double last = 0;  // on average of ten steps: one alone is as hard as its pictures' noise
    for (std::size_t i = rows.size() - 10; i < rows.size(); ++i) last += rows[i].losses[loss] / 10;
    CHECK(last < 0.5 * rows.front().losses[loss]);
  }
  const auto directory = tiny().folder() / "learns/model";
  trainer.publish(directory);
  const auto files = AutoencoderFiles::open(directory);
  const Autoencoder<Float32> autoencoder(files);
  double sum = 0, squares = 0, count = 0;
  for (int i = 0; i < 8; ++i) {
    const auto square = resize_and_crop(read_picture(tiny().folder() / (std::to_string(i) + ".png")).view(), 16);
    const auto latents = autoencoder.encode(square.view());
    for (const float x : latents) sum += static_cast<double>(x), squares += static_cast<double>(x) * static_cast<double>(x), ++count;
    CHECK(autoencoder.decode(latents.view()).shape() == square.shape());
  }
  const double deviation = std::sqrt(squares / count - sum * sum / count / count);
  CHECK(deviation * autoencoder.config().scaling_factor == doctest::Approx(1).epsilon(0.01));  // n - 1 in place of n, float32
}

TEST_CASE("autoencoder: what does not fit together is refused in one sentence") {
  struct Case {
    const char *patch, *sentence;
  };
  const Case cases[] = {
      {R"({"model": "nowhere"})", "nowhere/config.json: no such file"},
      {R"({"from_scratch": ["*", "!encoder.conv.*"]})", "from_scratch: \"!encoder.conv.*\" matches no parameter"},
      {R"({"losses": {"ar": 1}})", "train.json: losses.ar is unknown; there are l1, l2"},
      {R"({"losses": {"l1": 0, "l2": 0}})", "train.json: losses.l1 and l2 must not both be zero"},
      {R"({"losses": {"scales": 5}})", "sample_size is 16, no multiple of 32, which the blocks and losses.scales need"},
      {R"({"augmentation": {"zoom": 1}})", "train.json: augmentation.zoom is unknown; there are flip"},
      {R"({"augmentation": {"flip": 2}})", "train.json: augmentation.flip must be between 0 and 1, not 2"},
      {R"({"noise_levels": 2})", "train.json: noise_levels is unknown"},
      {R"({"log": {"sample_prompts": ["x"]}})", "train.json: log.sample_prompts is unknown; there are every, samples_every"},
      {R"({"manifest": "texts.jsonl"})", "stages[0] asks for generation samples, and "},
  };
  tiny().folder().write("texts.jsonl", R"({"task": "text", "text": "a"})" "\n");
  for (const Case& c : cases) {
    CAPTURE(c.patch);
    Json json = config("refused");
    json.merge_patch(parse_json(c.patch, "patch"));
    const std::string sentence = error_of([&] { AutoencoderTrainer trainer(read(json)); });
    CAPTURE(sentence);
    CHECK(contains(sentence, c.sentence));
  }
  Json json = config("refused");
  json["stages"][0]["mix"] = {{"text", 1}};
  CHECK(contains(error_of([&] { read(json); }), "train.json: stages[0].mix is unknown; there are name, trains"));
  json["train"] = "siglip";
  CHECK(contains(error_of([&] { read(json); }), "train.json: train is \"siglip\", not \"autoencoder\""));
  tiny().folder().write("broken.png", "\x89PNG\r\n\x1a\nno more");
  tiny().folder().write("broken.jsonl", R"({"task": "generation", "prompt": "x", "picture": "broken.png"})" "\n");
  json = config("refused");
  json["manifest"] = "broken.jsonl";
  CHECK(contains(error_of([&] { AutoencoderTrainer(read(json)).run(); }), "broken.png is cut off"));
}
