// SigLIP's tower in training: loss, gradients and steps as PyTorch's (tests/reference/make_siglip_training.py), runs that go on, what it refuses.
#include <doctest/doctest.h>

#include "golden.hpp"
#include "gradient_testing.hpp"
#include "janusflow/train/siglip_objective.hpp"
#include "training_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::contains;
using io_testing::error_of;

namespace {

using SiglipTrainer = Trainer<SiglipObjective<>>;

const TinyRun& tiny() {
  static const TinyRun run;
  return run;
}

Json config(const std::string& output, Index steps = 5) {
  return {{"train", "siglip"}, {"model", "."}, {"manifest", "train.jsonl"}, {"output", output}, {"seed", 3}, {"from_scratch", {"*"}},
          {"logits", {{"bias", -3}}}, {"text_tower", {{"layers", 1}, {"length", 8}}}, {"augmentation", {{"shift", 3}, {"noise", 0.05}}},
          {"muon", {{"matrices", {"*.blocks.*.weight"}}, {"learning_rate", 0.01}}}, {"checkpoints", {{"every", 3}, {"keep", 2}}}, {"log", {{"every", 5}}},
          {"stages", {{{"name", "all"}, {"trains", {"*"}}, {"learning_rate", 3e-3}, {"warmup_steps", 1}, {"steps", steps}, {"batch_size", 8}}}}};
}

SiglipTrainingConfig read(const Json& json) { return SiglipTrainingConfig::from_json(JsonObject(json, "train.json"), tiny().folder().path()); }

}  // namespace

TEST_CASE("siglip: loss, gradients and four steps are PyTorch's") {
  const std::string path = JANUSFLOW_TEST_DATA "/training/siglip.safetensors";
  const Golden golden(path);
  SiglipConfig sizes;
  sizes.image_size = 8;
  sizes.patch_size = 4;
  sizes.width = 16;
  sizes.layers = 1;
  sizes.heads = 2;
  sizes.mlp_ratio = 2;
  ContrastiveModel<Taped<float>> model(sizes, {23, 5, 2});
  const auto file = std::make_shared<const Checkpoint>(path);
  load(model, file, "weight.");
  const auto pixels = golden.picture("pixels");
  TextBatch texts;
  std::vector<std::string> words;
  for (int i = 0; i < 4; ++i) {
    const auto ids = golden.integers("ids." + std::to_string(i));
    texts.add(std::vector<std::int32_t>(ids.begin(), ids.end()), 5);
    words.push_back(std::to_string(i));
  }
  const auto labels = pair_labels<int>(std::array{0, 1, 0, 3}, words);  // pairs 0 and 2 share their picture
  CHECK(same(labels, golden.tensor<2>("labels")));
  const auto steps = golden.tensor<1>("steps");
  const auto step = [&](Index i) {
    clear_gradients(model);
    Tape tape;
    const auto result = contrastive_loss(model, pixels, texts, labels);
    CHECK(static_cast<double>(result.loss.value()(0)) == doctest::Approx(static_cast<double>(steps(i))).epsilon(1e-4));
    tape.backward(result.loss);
  };
  step(0);
  Index compared = 0;
  for_each_parameter(model, [&](const std::string& key, auto& parameter) { compared += check_gradient(key, parameter, *file, {""}); });
  CHECK(compared == 62);
  auto tensors = trained_tensors(model);
  Optimizer optimizer(tensors, {});
  for (Index i = 0; i < 4; ++i) {
    step(i);
    refresh_gradients(model, tensors);
    optimizer.step(tensors, 1e-3, 1.0);
  }
}

TEST_CASE("siglip: a text that is too long is cut, one without tokens is refused") {
  TextBatch texts;
  const std::vector<std::int32_t> ids{5, 6, 7};
  texts.add(ids, 2);
  texts.add(ids, 9);
  CHECK(texts.ends() == std::vector<Index>{2, 5});
  CHECK(texts.positions() == std::vector<std::int32_t>{0, 1, 0, 1, 2});
  CHECK(error_of([&] { texts.add({}, 2); }) == "text batch: a text has no tokens");
}

TEST_CASE("siglip: a run that is stopped and goes on ends where an undisturbed one does, on any number of threads") {
  SiglipTrainer whole(read(config("whole")));
  REQUIRE(whole.run());
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    Json json = config("stopped" + std::to_string(threads));
    json["recompute"] = threads == 3;  // changes no bit
    CHECK(!SiglipTrainer(read(json), stop_after(2)).run());
    SiglipTrainer trainer(read(json));
    REQUIRE(trainer.resume());
    REQUIRE(trainer.run());
    CHECK(weights_of(trainer) == weights_of(whole));
  }
  set_num_threads(before);
}

TEST_CASE("siglip: it learns to tell colours, and JanusFlow starts from what it publishes") {
  SiglipTrainer trainer(read(config("learns", 40)));
  REQUIRE(trainer.run());
  const auto& rows = trainer.log().rows();
  CHECK(trainer.log().header() == "step,stage,learning_rate,loss,sigmoid,accuracy,gradient_norm,samples,samples_per_second");
  CHECK(rows.back().losses[0] < 0.5 * rows.front().losses[0]);
  CHECK(rows.back().losses[1] > 0.9);
  const auto directory = tiny().folder() / "learns/model";
  trainer.publish(directory, Dtype::f32);
  const Checkpoint tower(directory), all(directory / "siglip.safetensors");
  for (const RawTensor& tensor : tower.tensors()) {
    CAPTURE(tensor.key);
    REQUIRE(tensor.key.starts_with("vision_und_enc_model.vision_tower."));
    CHECK(std::ranges::equal(tensor.bytes, all.at(tensor.key.substr(std::string("vision_und_enc_model.").size())).bytes));
  }
  CHECK(tower.contains("vision_und_enc_model.vision_tower.attn_pool.latent"));
  CHECK(all.contains("text_tower.embed_tokens.weight"));
  CHECK(all.contains("logit_bias"));
  CHECK(read_config<SiglipConfig>(directory / "siglip.json").width == trainer.config().stages.size() * 48);

  Json json = tiny().config("from_tower");
  json["model"] = "learns/model";
  json["vae"] = "vae";
  json["from_scratch"] = {"*", "!vision_und_enc_model.*"};
  const Trainer janusflow(tiny().read(json));
  for (const TrainedTensor& tensor : janusflow.tensors()) {
    if (!tower.contains(tensor.name)) continue;
    std::vector<float> stored(tensor.value.size());
    tower.at(tensor.name).copy_to(stored.data());
    CAPTURE(tensor.name);
    CHECK(std::ranges::equal(stored, tensor.value));
  }
  json.erase("from_scratch");
  CHECK(contains(error_of([&] { Trainer missing(tiny().read(json)); }), "model.safetensors has no tensor language_model."));
}

TEST_CASE("siglip: what does not fit together is refused in one sentence") {
  struct Case {
    const char *patch, *sentence;
  };
  const Case cases[] = {
      {R"({"model": "nowhere"})", "nowhere/config.json: no such file"},
      {R"({"logits": {"scale": 0}})", "train.json: logits.scale must be between 0.001 and 1000, not 0"},
      {R"({"logits": {"temperature": 1}})", "train.json: logits.temperature is unknown; there are scale, bias"},
      {R"({"text_tower": {"layers": 0}})", "train.json: text_tower.layers must be between 1 and 1000, not 0"},
      {R"({"text_tower": {"width": 8}})", "train.json: text_tower.width is unknown; there are layers, length"},
      {R"({"log": {"samples_every": 2}})", "train.json: log.samples_every is unknown; there are every"},
      {R"({"losses": {"ar": 1}})", "train.json: losses is unknown"},
      {R"({"muon": {"matrices": ["*.mpl.*"]}})", "muon.matrices: \"*.mpl.*\" matches no parameter of the model"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.patch);
    Json json = config("refused");
    json.merge_patch(parse_json(c.patch, "patch"));
    const std::string sentence = error_of([&] { SiglipTrainer trainer(read(json)); });
    CAPTURE(sentence);
    CHECK(contains(sentence, c.sentence));
  }
}
