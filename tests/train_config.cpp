// Stages and the config of a run: the paper's table, patterns, mixes, and every sentence for what is wrong.
#include <doctest/doctest.h>

#include "io_testing.hpp"
#include "janusflow/train/training_config.hpp"

using namespace janusflow;
using io_testing::contains;
using io_testing::error_of;

namespace {

Json good() {
  return parse_json(R"({
    "model": "start", "manifest": "data/train.jsonl", "output": "out", "seed": 7,
    "losses": {"repa": 0.5, "times": "uniform"},
    "optimizer": {"beta2": 0.97},
    "muon": {"matrices": ["*.mlp.*"], "learning_rate": 0.015},
    "checkpoints": {"every": 50, "keep": 2},
    "log": {"every": 5, "samples_every": 100, "sample_prompts": ["a red heart"]},
    "stages": [
      {"preset": 1, "steps": 30, "batch_size": 8},
      {"name": "own", "trains": ["*", "!vision_und_enc_model.*"], "learning_rate": 0.001, "steps": 40, "warmup_steps": 4, "batch_size": 10,
       "mix": {"understanding": 14, "generation": 80, "text": 6},
       "early_mix": {"steps": 10, "understanding": 30, "generation": 50, "text": 20},
       "decay": {"shape": "cosine", "steps": 20}, "rates": {"language_model.*": 0.2, "*lm_head*": 0.5}}]})",
                    "good");
}

TrainingConfig read(const Json& json) { return TrainingConfig::from_json(JsonObject(json, "train.json"), "/runs/one"); }

std::vector<TrainedTensor> tensors(std::initializer_list<const char*> names) {
  std::vector<TrainedTensor> list;
  for (const char* name : names) list.push_back({name, {1}, {}, {}});
  return list;
}

const std::initializer_list<const char*> model_names = {
    "language_model.model.embed_tokens.weight", "language_model.lm_head.weight", "vision_und_enc_model.vision_tower.norm.weight",
    "vision_und_enc_aligner.weight", "beg_of_und_embed", "vision_gen_enc_model.in_conv.weight", "vision_gen_dec_aligner_norm.weight",
    "repa_head.0.weight"};

std::vector<bool> trained(const std::vector<TrainedTensor>& list) {
  std::vector<bool> trains;
  for (const auto& tensor : list) trains.push_back(tensor.trains);
  return trains;
}

}  // namespace

TEST_CASE("a * stands for any characters") {
  CHECK(matches("*", ""));
  CHECK(matches("*", "a.b"));
  CHECK(matches("a.b", "a.b"));
  CHECK(!matches("a.b", "a.bc"));
  CHECK(matches("a*c", "ac"));
  CHECK(matches("a*c", "abbc"));
  CHECK(!matches("a*c", "acb"));
  CHECK(matches("*.layers.*.mlp.*", "language_model.model.layers.3.mlp.up_proj.weight"));
  CHECK(!matches("*.layers.*.mlp.*", "language_model.model.layers.3.self_attn.q_proj.weight"));
}

TEST_CASE("the paper's stages") {
  auto list = tensors(model_names);
  apply_stage(paper_stage(1), list);
  CHECK(trained(list) == std::vector<bool>{false, false, false, true, true, true, true, true});
  apply_stage(paper_stage(2), list);
  CHECK(trained(list) == std::vector<bool>{true, true, false, true, true, true, true, true});
  apply_stage(paper_stage(3), list);
  CHECK(trained(list) == std::vector<bool>{true, true, true, true, true, true, true, true});
  const auto numbers = [](int n) {
    const Stage s = paper_stage(n);
    return std::vector<double>{s.learning_rate, static_cast<double>(s.schedule.warmup_steps), static_cast<double>(s.schedule.steps),
                               static_cast<double>(s.batch_size), s.mix.values[0], s.mix.values[1], s.mix.values[2]};
  };
  CHECK(numbers(1) == std::vector<double>{1e-4, 2000, 10000, 512, 50, 50, 0});
  CHECK(numbers(2) == std::vector<double>{1e-4, 2000, 390000, 512, 14, 80, 6});
  CHECK(numbers(3) == std::vector<double>{2e-5, 1000, 26000, 256, 21, 70, 9});
  CHECK(paper_stage(2).early_steps == 10000);
  CHECK(contains(error_of([] { paper_stage(4); }), "not 4"));
  Stage early = paper_stage(1);
  CHECK(!early.asks_for(Task::text));
  early.early_mix[Task::text] = 1;
  CHECK(!early.asks_for(Task::text));
  early.early_steps = 1;
  CHECK(early.asks_for(Task::text));
}

TEST_CASE("a mix deals its samples out evenly and exactly") {
  Stage stage = paper_stage(2);
  stage.batch_size = 10;
  TaskCounts total;
  for (Index step = 0; step < 20'000; ++step) {
    const TaskCounts before = stage.samples_before(step), after = stage.samples_before(step + 1);
    Index sum = 0;
    for (std::size_t task = 0; task < num_tasks; ++task) {
      REQUIRE(after.values[task] >= before.values[task]);
      sum += after.values[task] - before.values[task];
    }
    REQUIRE(sum == 10);
    if (step == 10'000) total = before;
  }
  CHECK(total.values == std::array<Index, 3>{30'000, 50'000, 20'000});
  const TaskCounts end = stage.samples_before(20'000);
  CHECK(end.values == std::array<Index, 3>{44'000, 130'000, 26'000});
}

TEST_CASE("no task's share of a mix ever falls, for batches of any size") {
  const auto mix = [](double understanding, double generation, double text) {
    TaskMix mix;
    mix.values = {understanding, generation, text};
    return mix;
  };
  for (const TaskMix& shares : {paper_stage(1).mix, paper_stage(2).mix, paper_stage(2).early_mix, paper_stage(3).mix, mix(45, 10, 45),
                                mix(0.1, 0.2, 0), mix(1, 0, 0), mix(0, 1, 0), mix(0, 0, 1), mix(0, 1e-3, 1e3)})
    for (Index batch = 1; batch <= 12; ++batch) {
      CAPTURE(batch);
      TaskCounts before;
      for (Index samples = batch; samples <= 1000 * batch; samples += batch) {
        const TaskCounts counts = shares.first(samples);
        Index sum = 0;
        for (std::size_t task = 0; task < num_tasks; ++task) {
          REQUIRE(counts.values[task] >= before.values[task]);
          REQUIRE(std::abs(static_cast<double>(counts.values[task]) - static_cast<double>(samples) * shares.values[task] / shares.sum()) < 2);
          sum += counts.values[task];
        }
        REQUIRE(sum == samples);
        before = counts;
      }
    }
}

TEST_CASE("a config is read, and spelled out") {
  const TrainingConfig config = read(good());
  CHECK(config.model == "/runs/one/start");
  CHECK(config.vae == "/runs/one/start/vae");
  CHECK(config.manifest == "/runs/one/data/train.jsonl");
  CHECK(config.cache == "/runs/one/out/cache");
  CHECK(config.seed == 7);
  CHECK(config.losses.repa == 0.5);
  CHECK(!config.losses.logit_normal);
  CHECK(config.optimizer.adamw.beta1 == 0.9);
  CHECK(config.optimizer.adamw.beta2 == 0.97);
  CHECK(config.muon == std::vector<std::string>{"*.mlp.*"});
  REQUIRE(config.stages.size() == 2);
  CHECK(config.stages[0].name == "adaptation");
  CHECK(config.stages[0].schedule.warmup_steps == 30);  // the preset's 2,000 are more than there are
  CHECK(config.stages[0].mix.values == std::array<double, 3>{50, 50, 0});
  CHECK(config.stages[1].schedule.decay == Decay::cosine);
  CHECK(config.stages[1].early_steps == 10);
  auto list = tensors(model_names);
  apply_stage(config.stages[1], list);
  CHECK(list[0].rate_factor == 0.2f);
  CHECK(list[1].rate_factor == 0.1f);
  CHECK(list[3].rate_factor == 1.0f);
  Json shorter = good();
  shorter["stages"] = {{{"preset", 2}, {"steps", 5}}, {{"preset", 3}, {"steps", 50}, {"warmup_steps", 8}, {"decay", Json::object()}}};
  CHECK(read(shorter).stages[0].early_steps == 5);
  CHECK(read(shorter).stages[1].schedule.decay_steps == 42);  // all behind the warm-up
  shorter["stages"][0]["mix"] = {{"text", 1}};
  CHECK(read(shorter).stages[0].early_steps == 0);
  // Spelled out, it does not depend on where files lie, and on every number.
  Json moved = good();
  moved["output"] = "elsewhere";
  moved["checkpoints"]["every"] = 7;
  CHECK(first_difference(read(moved).to_json(), config.to_json()).empty());
  Json other = good();
  other["stages"][1]["learning_rate"] = 0.002;
  CHECK(first_difference(read(other).to_json(), config.to_json()) == "stages[1].learning_rate is 0.002, not 0.001");
  for (const auto& changed : std::vector<std::pair<const char*, Json>>{
           {"/seed", 8}, {"/from_scratch", {"*"}}, {"/prompt_dropout", 0.2}, {"/noise_levels", 3}, {"/pack_length", 9}, {"/shared_encoder", true},
           {"/losses/ar", 2}, {"/losses/rf", 2}, {"/losses/repa", 2}, {"/losses/repa_layer", 2}, {"/losses/repa_width", 2},
           {"/losses/times", "logit_normal"}, {"/losses/time_mean", 2}, {"/losses/time_deviation", 2}, {"/optimizer/beta1", 0.5},
           {"/optimizer/beta2", 0.5}, {"/optimizer/eps", 0.5}, {"/optimizer/weight_decay", 0.5}, {"/optimizer/clip", 0.5},
           {"/optimizer/ema_decay", 0.5}, {"/muon/matrices", {"*"}}, {"/muon/learning_rate", 0.5}, {"/muon/momentum", 0.5},
           {"/stages/1/name", "other"}, {"/stages/1/trains", {"*"}}, {"/stages/1/steps", 41}, {"/stages/1/warmup_steps", 5},
           {"/stages/1/batch_size", 11}, {"/stages/1/mix/text", 7}, {"/stages/1/early_mix/text", 7}, {"/stages/1/early_mix/steps", 11},
           {"/stages/1/decay/shape", "linear"}, {"/stages/1/decay/steps", 21}, {"/stages/1/decay/floor", 0.5},
           {"/stages/1/rates/language_model.*", 0.3}}) {
    CAPTURE(changed.first);
    other = good();
    other[Json::json_pointer(changed.first)] = changed.second;
    CHECK(!first_difference(read(other).to_json(), config.to_json()).empty());
  }
  other = good();
  other["stages"].erase(1);
  CHECK(contains(first_difference(read(other).to_json(), config.to_json()), "stages is ["));
  other = good();
  other.erase("muon");
  CHECK(contains(first_difference(read(other).to_json(), config.to_json()), "muon is absent, not {"));
}

TEST_CASE("what is wrong with a config is said in one sentence, by key") {
  struct Case {
    const char* patch;  // a merge patch (RFC 7386) of the good config
    const char* sentence;
  };
  const Case cases[] = {
      {R"({"model": null})", "train.json: model is missing"},
      {R"({"model": ""})", "train.json: model must not be empty"},
      {R"({"modell": "x"})", "train.json: modell is unknown; there are train, model, manifest"},
      {R"({"train": "vae"})", "train.json: train must be \"janusflow\", \"autoencoder\" or \"siglip\", not \"vae\""},
      {R"({"train": "siglip"})", "train.json: train is \"siglip\", not \"janusflow\""},
      {R"({"seed": -1})", "train.json: seed must be between 0 and"},
      {R"({"seed": "x"})", "train.json: seed must be an integer, not \"x\""},
      {R"({"prompt_dropout": 1.5})", "train.json: prompt_dropout must be between 0 and 1, not 1.5"},
      {R"({"losses": {"rf": -1}})", "train.json: losses.rf must be between 0 and"},
      {R"({"losses": {"times": "normal"}})", "train.json: losses.times must be \"logit_normal\" or \"uniform\", not \"normal\""},
      {R"({"losses": {"kl": 1}})", "train.json: losses.kl is unknown; there are ar"},
      {R"({"optimizer": {"beta1": 1}})", "train.json: optimizer.beta1 must be between 0 and 0.999999, not 1"},
      {R"({"optimizer": {"lr": 1}})", "train.json: optimizer.lr is unknown"},
      {R"({"muon": {"matrices": "x"}})", "train.json: muon.matrices must be a list, not \"x\""},
      {R"({"checkpoints": {"keep": 0}})", "train.json: checkpoints.keep must be between 1 and"},
      {R"({"log": {"sample_prompts": null}})", "train.json: log.sample_prompts is missing"},
      {R"({"stages": null})", "train.json: stages is missing"},
      {R"({"stages": []})", "train.json: stages must be a list of stages, at least one"},
      {R"({"stages": [{"preset": 4}]})", "train.json: stages[0].preset must be between 1 and 3, not 4"},
      {R"({"stages": [{"preset": 1}, {"preset": 1}]})", "train.json: stages[1].name \"adaptation\" is the name of another stage too"},
      {R"({"stages": [{"preset": 1, "lr": 1}]})", "train.json: stages[0].lr is unknown"},
      {R"({"stages": [{"preset": 1, "learning_rate": -1}]})", "train.json: stages[0].learning_rate must be between 0 and 100, not -1"},
      {R"({"stages": [{"preset": 1, "steps": 5, "warmup_steps": 6}]})", "train.json: stages[0].warmup_steps (6) must not be more than steps (5)"},
      {R"({"stages": [{"preset": 1, "batch_size": 0}]})", "train.json: stages[0].batch_size must be between 1 and"},
      {R"({"stages": [{"preset": 1, "trains": []}]})", "train.json: stages[0].trains must name a parameter"},
      {R"({"stages": [{"preset": 1, "mix": {"text": 0}}]})", "stages[0].mix.understanding, generation and text must not all be zero"},
      {R"({"stages": [{"preset": 1, "mix": {"txt": 1}}]})", "train.json: stages[0].mix.txt is unknown"},
      {R"({"stages": [{"preset": 1, "decay": {"shape": "step"}}]})", "train.json: stages[0].decay.shape must be \"linear\" or \"cosine\", not \"step\""},
      {R"({"stages": [{"preset": 1, "steps": 5, "early_mix": {"text": 1, "steps": 9}}]})", "train.json: stages[0].early_mix.steps must be between 1 and 5, not 9"},
      {R"({"stages": [{"name": "x", "trains": ["*"]}]})", "train.json: stages[0].learning_rate is missing"},
      {R"({"stages": [{"name": "x", "trains": ["*"], "learning_rate": 1}]})", "train.json: stages[0].steps is missing"},
      {R"({"stages": [{"trains": ["*"]}]})", "train.json: stages[0].name is missing"},
      {R"({"stages": [{"preset": 1, "name": "a,b"}]})", "train.json: stages[0].name must have no comma, quote or new line in it"},
      {R"({"losses": {"ar": 0, "rf": 0, "repa": 0}})", "train.json: stages[0] learns nothing: the losses of its tasks have no weight"},
      {R"({"losses": {"ar": 0}, "stages": [{"preset": 1, "steps": 5}, {"preset": 2, "steps": 5, "mix": {"understanding": 1, "text": 1}}]})",
       "train.json: stages[1] learns nothing: the losses of its tasks have no weight"},
      {R"({"losses": {"rf": 0, "repa": 0}, "stages": [{"preset": 1, "steps": 5, "mix": {"generation": 1}}]})", "train.json: stages[0] learns nothing"},
      {R"({"stages": [3]})", "train.json: stages[0] must be an object, not 3"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.patch);
    Json json = good();
    json.merge_patch(parse_json(c.patch, "patch"));
    const std::string sentence = error_of([&] { read(json); });
    CAPTURE(sentence);
    CHECK(contains(sentence, c.sentence));
  }
}

TEST_CASE("patterns that match nothing, and stages in which nothing trains, are refused") {
  Json json = good();
  json["stages"][1]["trains"] = {"*", "vision_und_model.*"};
  auto list = tensors(model_names);
  CHECK(error_of([&] { apply_stage(read(json).stages[1], list); }) ==
        "train.json: stages[1].trains: \"vision_und_model.*\" matches no parameter of the model");
  json["stages"][1]["trains"] = {"*", "!*"};
  CHECK(error_of([&] { apply_stage(read(json).stages[1], list); }) == "train.json: stages[1].trains leaves no parameter to train");
  json["stages"][1]["trains"] = {"*"};
  json["stages"][1]["rates"] = {{"sigclip.*", 0.1}};
  CHECK(contains(error_of([&] { apply_stage(read(json).stages[1], list); }), "train.json: stages[1].rates: \"sigclip.*\" matches no parameter"));
}
