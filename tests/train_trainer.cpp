// The trainer on a tiny model: it learns, goes on bit for bit, keeps what is frozen, and refuses in one sentence.
#include <doctest/doctest.h>

#include "training_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::contains;
using io_testing::error_of;

namespace {

const TinyRun& tiny() {
  static const TinyRun run;
  return run;
}

std::vector<float> undisturbed() {
  static const std::vector<float> weights = [] {
    Trainer trainer(tiny().read(tiny().config("undisturbed")));
    CHECK(trainer.run());
    CHECK(trainer.finished());
    return weights_of(trainer);
  }();
  return weights;
}

}  // namespace

TEST_CASE("a run that is stopped and goes on ends where an undisturbed one does, on any number of threads") {
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    const std::string output = "stopped" + std::to_string(threads);
    const Json config = tiny().config(output);
    Index steps = 0;
    {
      Trainer trainer(tiny().read(config), stop_after(2));
      CHECK(!trainer.resume());
      CHECK(!trainer.run());
      steps = trainer.progress().total_steps;
    }
    CHECK(steps == 2);
    {
      Trainer trainer(tiny().read(config), stop_after(4));  // the end of a stage
      REQUIRE(trainer.resume());
      CHECK(trainer.progress().step == 2);
      CHECK(!trainer.run());
    }
    {
      Trainer trainer(tiny().read(config), stop_after(9));
      REQUIRE(trainer.resume());
      CHECK(!trainer.run());
      const SafetensorsFile saved(*trainer.latest_checkpoint());
      const std::string muon = "language_model.model.layers.0.mlp.up_proj.weight";
      CHECK(saved.find("first/" + muon));
      CHECK(!saved.find("second/" + muon));
      CHECK(saved.find("second/language_model.model.norm.weight"));
    }
    Trainer trainer(tiny().read(config));
    REQUIRE(trainer.resume());
    CHECK(trainer.progress().stage == 2);
    CHECK(trainer.run());
    CHECK(weights_of(trainer) == undisturbed());
    CHECK(trainer.log().rows().back().step == 12);
    CHECK(std::filesystem::exists(tiny().folder().path() / output / "curves.png"));
  }
  set_num_threads(before);
}

TEST_CASE("where another run has come and gone since this one looked, it touches nothing") {
  const Json config = tiny().config("overtaken");
  Trainer late(tiny().read(config));
  REQUIRE(!late.latest_checkpoint());
  CHECK(!Trainer(tiny().read(config), stop_after(1)).run());
  CHECK(error_of([&] { late.run(); }) == late.latest_checkpoint()->string() +
                                             " is of a run that is further than this one: go on with it, or name another output");
  CHECK(late.resume());
  CHECK(late.progress().total_steps == 1);
  const RunLock lock(tiny().folder().path() / "overtaken");
  CHECK(contains(error_of([&] { late.run(); }), "overtaken is in use by another run"));
}

TEST_CASE("what a stage freezes keeps its bytes; what it trains moves") {
  std::map<std::string, std::vector<float>> before;
  const auto remember = [&](const Trainer<>& trainer) {
    for (const TrainedTensor& tensor : trainer.tensors()) before[tensor.name].assign(tensor.value.begin(), tensor.value.end());
  };
  const Json config = tiny().config("frozen", 50);
  Trainer trainer(tiny().read(config));
  const auto tower = [](const std::string& name) { return name.starts_with("vision_und_enc_model."); };
  const auto language = [](const std::string& name) { return name.starts_with("language_model."); };
  for (const char* stage : {"adaptation", "pretraining", "finetuning"}) {
    CAPTURE(stage);
    remember(trainer);
    REQUIRE(trainer.run(stage));
    int moved = 0, kept = 0;
    for (const TrainedTensor& tensor : trainer.tensors()) {
      CAPTURE(tensor.name);
      const bool frozen = tensor.name.find(".attn_pool.") != std::string::npos || (tower(tensor.name) && stage != std::string("finetuning")) ||
                          (language(tensor.name) && stage == std::string("adaptation"));
      const bool equal = std::equal(tensor.value.begin(), tensor.value.end(), before[tensor.name].begin());
      CHECK(equal == frozen);
      ++(equal ? kept : moved);
    }
    CHECK(moved > 10);
    CHECK(kept > 0);
  }
  CHECK(trainer.finished());
  CHECK(contains(error_of([&] { trainer.run("adaptation"); }), "stage adaptation is done already"));
}

TEST_CASE("it learns: four colours by name, and the losses fall") {
  Json config = tiny().config("learns", 60);
  config["stages"] = Json::array({config["stages"][1]});
  config["stages"][0]["learning_rate"] = 3e-3;
  config["losses"].update({{"rf", 2}, {"repa", 0.5}});
  std::vector<double> totals;
  TrainerObserver observer;
  observer.step = [&](const StepReport& report) { return totals.push_back(report.losses.total), true; };
  Trainer trainer(tiny().read(config), observer);
  REQUIRE(trainer.run());
  const auto& rows = trainer.log().rows();
  REQUIRE(rows.size() == 30);
  for (std::size_t i = 0; i < 30; ++i) {
    CHECK(rows[i].loss == doctest::Approx((totals[2 * i] + totals[2 * i + 1]) / 2));
    CHECK(rows[i].loss == doctest::Approx(rows[i].losses[0] + 2 * rows[i].losses[1] + 0.5 * rows[i].losses[2]));
  }
  const auto mean = [&](std::size_t loss, std::size_t begin) {
    double sum = 0;
    for (std::size_t i = begin; i < begin + 5; ++i) sum += rows[i].losses[loss] / 5;
    return sum;
  };
  CHECK(mean(0, 25) < 0.5 * mean(0, 0));  // next token
  for (const std::size_t loss : {1u, 2u}) CHECK(mean(loss, 25) < mean(loss, 0));
  for (const LogRow& row : rows) CHECK(row.samples == 6 * row.step);
}

TEST_CASE("validation looks at the averages, learns nothing, and counts the answers that greedy decoding gives") {
  tiny().folder().write("validation.jsonl",
                        R"({"task": "generation", "prompt": "a red", "picture": "0.png"})" "\n"
                        R"({"task": "understanding", "picture": "0.png", "questions": [{"question": "What is it?", "answer": "red"}, {"question": "Sky?", "answer": "no"}]})" "\n"
                        R"({"task": "understanding", "picture": "1.png", "question": "What is it?", "answer": "green"})" "\n");
  Json config = tiny().config("validated");
  config["validation"] = {{"manifest", "validation.jsonl"}, {"every", 5}};
  Trainer trainer(tiny().read(config));
  REQUIRE(trainer.run());
  CHECK(weights_of(trainer) == undisturbed());
  const TrainingLog log(tiny().folder().path() / "validated/validation.csv", {"ar", "rf", "repa", "answers"}, 12);
  REQUIRE(log.rows().size() == 3);
  CHECK(log.rows()[0].step == 5);
  CHECK(log.rows()[1].step == 10);
  CHECK(log.rows()[2].step == 12);
  for (const LogRow& row : log.rows()) {
    for (std::size_t i = 0; i < 2; ++i) CHECK(row.losses[i] > 0);
    CHECK(row.losses[2] < 1);
    const double thirds = row.losses[3] * 3;  // of three answers
    CHECK(thirds == doctest::Approx(std::round(thirds)));
  }
  config["output"] = "still";
  config["optimizer"] = {{"ema_decay", 1}};  // an average that never moves
  config["stages"] = {config["stages"][2], config["stages"][1]};  // the tower trains, and is frozen then
  config["stages"][1]["warmup_steps"] = 2;
  config["validation"]["every"] = 3;
  REQUIRE(Trainer(tiny().read(config)).run());
  const TrainingLog still(tiny().folder().path() / "still/validation.csv", {"ar", "rf", "repa", "answers"}, 12);
  REQUIRE(still.rows().size() == 3);
  for (const LogRow& row : still.rows()) CHECK(row.losses == still.rows()[0].losses);
  CHECK(still.rows()[1].learning_rate == doctest::Approx(2e-3));  // behind the warm-up
  config["output"] = "refused";
  config["validation"]["manifest"] = "nowhere.jsonl";
  CHECK(contains(error_of([&] { Trainer(tiny().read(config)); }), "nowhere.jsonl: no such file"));
  config["validation"] = {{"manifest", "validation.jsonl"}, {"evry", 5}};
  CHECK(contains(error_of([&] { tiny().read(config); }), "evry"));
}

TEST_CASE("a validation that was stopped, or that a killed run did not come to, is made up for") {
  tiny().folder().write("one.jsonl", R"({"task": "generation", "prompt": "a red", "picture": "0.png"})" "\n");
  for (const Index every : {5, 100}) {
    CAPTURE(every);
    Json config = tiny().config("late" + std::to_string(every));
    config["validation"] = {{"manifest", "one.jsonl"}, {"every", every}};
    const Index first = every == 5 ? 5 : 12;
    const auto rows = [&] {
      return TrainingLog(tiny().folder().path() / config["output"].get<std::string>() / "validation.csv", {"ar", "rf", "repa", "answers"}, 12).rows();
    };
    {
      TrainerObserver observer;
      observer.preparing = [](const std::string& what, double) { return what != "validating"; };
      Trainer trainer(tiny().read(config), observer);
      CHECK(!trainer.run());
      CHECK(trainer.progress().total_steps == first);
      CHECK(rows().empty());
    }
    Trainer trainer(tiny().read(config));
    REQUIRE(trainer.resume());
    CHECK(trainer.run());
    CHECK(weights_of(trainer) == undisturbed());
    REQUIRE(rows().size() == (every == 5 ? 3u : 1u));
    CHECK(rows()[0].step == first);
    CHECK(rows()[0].samples == 6 * first);
    CHECK(rows()[0].stage == (every == 5 ? "pretraining" : "finetuning"));
    CHECK(rows()[0].learning_rate == doctest::Approx(2e-3));
  }
}

TEST_CASE("samples a second are those of the steps since the line before, also where a stage with another batch begins") {
  Json config = tiny().config("paced", 2);
  for (std::size_t i = 0; i < 3; ++i) config["stages"][i]["batch_size"] = 9 - 4 * i;
  config["log"]["every"] = 100;
  double seconds = 0;
  TrainerObserver observer;
  observer.step = [&](const StepReport& report) { return seconds += report.seconds, true; };
  Trainer trainer(tiny().read(config), observer);
  REQUIRE(trainer.run());
  REQUIRE(trainer.log().rows().size() == 1);
  const LogRow& row = trainer.log().rows()[0];
  CHECK(row.samples == 2 * (9 + 5 + 1));
  CHECK(row.samples_a_second == doctest::Approx(static_cast<double>(row.samples) / seconds));
}

TEST_CASE("validation leaves no features of the averages behind for a tower that is frozen after it has trained") {
  tiny().folder().write("answers.jsonl", R"({"task": "understanding", "picture": "0.png", "question": "What is it?", "answer": "red"})" "\n");
  const auto stage = [](const char* name, int preset, Index steps, const char* task) {
    return Json{{"name", name}, {"preset", preset}, {"steps", steps}, {"warmup_steps", 0}, {"learning_rate", 2e-3}, {"batch_size", 6},
                {"mix", {{task, 1}}}};
  };
  std::vector<std::vector<float>> weights;
  for (const bool validated : {false, true}) {
    const std::string name = validated ? "looked_at" : "not_looked_at";
    Json config = tiny().config(name);
    config["cache"] = name + "/cache";
    config["stages"] = {stage("all", 3, 4, "understanding"), stage("paints", 2, 2, "generation"), stage("answers", 2, 2, "understanding")};
    if (validated) config["validation"] = {{"manifest", "answers.jsonl"}, {"every", 2}};
    Trainer trainer(tiny().read(config));
    REQUIRE(trainer.run());
    weights.push_back(weights_of(trainer));
  }
  CHECK(weights[0] == weights[1]);
}

TEST_CASE("what validation and sheets need is looked at before the first step, and a checkpoint comes before them") {
  const auto sentence_of = [](const Json& config) { return error_of([&] { Trainer(tiny().read(config)).check_samples(); }); };
  tiny().folder().write("cut.png", "\x89PNG\r\n\x1a\nno more");
  tiny().folder().write("cut.jsonl", R"({"task": "understanding", "picture": "cut.png", "question": "What is it?", "answer": "red"})" "\n");
  write_png(tiny().folder() / "thin.png", Picture(Shape<3>{{1, 200, 3}}, std::uint8_t{100}).view());
  tiny().folder().write("thin.jsonl", R"({"task": "generation", "prompt": "a thread", "picture": "thin.png"})" "\n");
  Json config = tiny().config("looks");
  config["validation"] = {{"manifest", "cut.jsonl"}};
  CHECK(contains(sentence_of(config), "cut.png is cut off"));
  config["validation"]["manifest"] = "thin.jsonl";
  CHECK(contains(sentence_of(config), "thin.png is too thin: of 200 x 1 pixels"));
  config.erase("validation");
  const Index positions = read_config<JanusFlowConfig>(tiny().folder() / "config.json").language.max_position_embeddings;
  config["log"]["samples_every"] = 3;
  config["log"]["sample_prompts"] = {"a\nred", std::string(static_cast<std::size_t>(positions), 'x')};
  const std::string sentence = sentence_of(config);
  CHECK(contains(sentence, "log.sample_prompts: \"xxx"));
  CHECK(contains(sentence, " tokens with its picture, the model has " + std::to_string(positions) + " positions"));
  config["log"]["sample_prompts"] = {"a\nred"};
  TrainerObserver observer;
  observer.samples = [](const StepReport&) { fail("no sheet"); };
  for (const int steps : {3, 4}) {  // every third step, and behind a stage
    config["log"]["samples_every"] = steps;
    config["output"] = concat("looks", steps);
    Trainer trainer(tiny().read(config), observer);
    CHECK(error_of([&] { trainer.run(); }) == "no sheet");
    REQUIRE(trainer.latest_checkpoint());
    CHECK(trainer.latest_checkpoint()->filename() == concat("step-00000000", steps, ".safetensors"));
  }
}

TEST_CASE("a run that is stopped while samples are checked trains nothing, and can go on") {
  std::string lines;
  for (int i = 0; i < 600; ++i) lines += R"({"task": "text", "text": "red, green"})" "\n";
  tiny().folder().write("long.jsonl", lines);
  Json config = tiny().config("checked", 1);
  config["manifest"] = "long.jsonl";
  config["stages"] = {{{"preset", 2}, {"steps", 1}, {"mix", {{"text", 1}}}, {"batch_size", 2}}};
  int calls = 0;
  TrainerObserver observer;
  observer.preparing = [&](const std::string&, double) { return ++calls, false; };
  Trainer stopped(tiny().read(config), observer);
  CHECK(!stopped.run());
  CHECK(calls == 1);
  CHECK(stopped.progress().total_steps == 0);
  Trainer trainer(tiny().read(config));
  REQUIRE(trainer.resume());
  CHECK(trainer.run());
}

TEST_CASE("a run does not go on with another autoencoder, image processor, tokenizer, manifest or model") {
  const TinyRun run;
  const Json config = run.config("changed");
  Trainer(run.read(config), stop_after(2)).run();
  const auto sentence_with = [&](const char* file, auto&& change) {
    const auto path = run.folder() / file;
    const std::string content = read_file(path, std::uintmax_t{1} << 30);
    write_file(path, change(content));
    const std::string sentence = error_of([&] { Trainer(run.read(config)).resume(); });
    write_file(path, content);
    return sentence;
  };
  const auto last_number = [](std::string content) {
    content[content.size() - 4] = static_cast<char>(content[content.size() - 4] ^ 1);
    return content;
  };
  const std::string begin = " belongs to a run with another config: ";
  const auto longer = [](const std::string& content) { return content + "\n"; };
  CHECK(contains(sentence_with("vae/diffusion_pytorch_model.safetensors", last_number), begin + "hashes.vae is \""));
  CHECK(contains(sentence_with("tokenizer.json", longer), begin + "hashes.tokenizer is \""));
  CHECK(contains(sentence_with("train.jsonl", longer), begin + "manifest is \""));
  CHECK(contains(sentence_with("config.json", [](const std::string& content) {
    Json json = parse_json(content, "config");
    json["language_config"]["rms_norm_eps"] = 0.25;
    return json.dump();
  }), begin + "model.language_config.rms_norm_eps is 0.25, not "));
  CHECK(contains(sentence_with("preprocessor_config.json", [](const std::string& content) {
    Json json = parse_json(content, "preprocessor");
    json["image_mean"] = {0.1, 0.2, 0.3};
    return json.dump();
  }), begin + "hashes.image_processor is \""));
  CHECK(Trainer(run.read(config)).resume());
}

TEST_CASE("a stage that names only what stays frozen is refused, and entering one makes no gradients") {
  Json config = tiny().config("pool");
  config["stages"][2]["trains"] = {"vision_und_enc_model.vision_tower.attn_pool.*"};
  CHECK(error_of([&] { Trainer(tiny().read(config)); }) ==
        "train.json: stages[2].trains leaves no parameter to train: what it names stays frozen");
  TrainingModel<> model(read_config<JanusFlowConfig>(tiny().folder() / "config.json"), 32);
  const auto tensors = enter_stage(model, paper_stage(2), JanusFlowObjective<>::stays_frozen);
  Index training = 0;
  for_each_parameter(model, [&](const std::string&, auto& parameter) {
    training += parameter.trains();
    CHECK(parameter.gradient().data == nullptr);
  });
  CHECK(training == std::count_if(tensors.begin(), tensors.end(), [](const TrainedTensor& tensor) { return tensor.trains; }));
  CHECK(training > 0);
  CHECK(training < std::ssize(tensors));
}

TEST_CASE("an answer is right to its last token") {
  Tensor<float, 2> logits(Shape{5, 3});
  std::fill(logits.begin(), logits.end(), 0.0f);
  const Index likeliest[] = {2, 0, 1, 1, 2};
  for (Index i = 0; i < 5; ++i) logits(i, likeliest[i]) = 1;
  const std::int32_t none = ignored_target;
  const auto count = [&](std::vector<std::int32_t> targets) {
    const auto [right, all] = count_right_answers(std::as_const(logits).view(), targets);
    return std::pair(right, all);
  };
  CHECK(count({none, 2, 0, none, none, 1, 1, 2, none}) == std::pair<Index, Index>(2, 2));
  CHECK(count({2, 0, none, 1, 0, 2}) == std::pair<Index, Index>(1, 2));
  CHECK(count({2, none, 1, none, 1, none, 1, none, 2}) == std::pair<Index, Index>(4, 5));
  CHECK(contains(error_of([&] { count({2, 0, 1}); }), "logits [5, 3] for 3 targets"));
}

TEST_CASE("an encoder for both: questions train the generation encoder, and what is published asks no questions") {
  Json config = tiny().config("shared", 40);
  config["shared_encoder"] = true;
  config["stages"] = Json::array({config["stages"][1]});
  config["stages"][0].update({{"trains", {"vision_gen_enc_model.*", "vision_gen_enc_aligner.*", "language_model.*"}}, {"learning_rate", 3e-3},
                              {"mix", {{"understanding", 1}}}});
  Trainer trainer(tiny().read(config));
  const auto before = weights_of(trainer);
  REQUIRE(trainer.run());
  std::size_t at = 0;
  for (const TrainedTensor& tensor : trainer.tensors()) {
    CAPTURE(tensor.name);
    if (tensor.name == "vision_gen_enc_model.in_conv.weight" || tensor.name == "vision_gen_enc_aligner.weight")
      CHECK(!std::equal(tensor.value.begin(), tensor.value.end(), before.begin() + static_cast<std::ptrdiff_t>(at)));
    at += tensor.value.size();
  }
  const auto& rows = trainer.log().rows();
  CHECK(rows.back().losses[0] < 0.5 * rows.front().losses[0]);
  const auto directory = tiny().folder().path() / "shared/model";
  trainer.publish(directory);
  const Checkpoint checkpoint(directory);
  CHECK(checkpoint.contains("vision_gen_enc_aligner.weight"));
  CHECK(!checkpoint.contains("vision_und_enc_aligner.weight"));
}

TEST_CASE("blocks that are computed again on the way back change no bit") {
  Json config = tiny().config("recompute");
  config["recompute"] = true;
  Trainer trainer(tiny().read(config));
  REQUIRE(trainer.run());
  CHECK(weights_of(trainer) == undisturbed());
}

TEST_CASE("a run from scratch draws its weights from the seed") {
  Json config = tiny().config("scratch", 1);
  config["from_scratch"] = {"*"};
  const Trainer a(tiny().read(config)), b(tiny().read(config));
  CHECK(weights_of(a) == weights_of(b));
  config["seed"] = 4;
  CHECK(weights_of(Trainer(tiny().read(config))) != weights_of(a));
  for (const float x : weights_of(a)) REQUIRE(std::abs(x) <= 1);
  config["from_scratch"] = {"*", "!vision_und_enc_model.*"};
  const Trainer seeing(tiny().read(config));
  const Checkpoint start(tiny().model().path());
  for (const TrainedTensor& tensor : seeing.tensors()) {
    if (tensor.name.ends_with(".weight") && start.contains(tensor.name)) {
      std::vector<float> stored(tensor.value.size());
      start.at(tensor.name).copy_to(stored.data());
      CAPTURE(tensor.name);
      CHECK(std::equal(stored.begin(), stored.end(), tensor.value.begin()) == tensor.name.starts_with("vision_und_enc_model."));
    }
  }
}

TEST_CASE("what is published has every tensor, averaged, and the autoencoder") {
  Trainer trainer(tiny().read(tiny().config("published")), stop_after(6));
  trainer.run();
  const auto directory = tiny().folder().path() / "published/model";
  trainer.publish(directory, Dtype::f32);
  const auto config = read_config<JanusFlowConfig>(directory / "config.json");
  JanusFlow<Layout> layout(config);
  const Checkpoint checkpoint(directory);
  const auto difference = compare(checkpoint, expected_tensors(layout));
  CHECK(difference.missing.empty());
  CHECK(difference.unknown.empty());
  CHECK(difference.misshapen.empty());
  const std::string key = "vision_gen_dec_aligner.weight", frozen = "vision_und_enc_model.vision_tower.norm.weight";
  for (const TrainedTensor& tensor : trainer.tensors()) {
    if (tensor.name != key && tensor.name != frozen) continue;
    std::vector<float> written(tensor.value.size());
    checkpoint.at(tensor.name).copy_to(written.data());
    CHECK(std::equal(written.begin(), written.end(), tensor.value.begin()) == (tensor.name == frozen));  // the average lags behind
  }
  CHECK(weights_hash(Checkpoint(directory / "vae")) == weights_hash(Checkpoint(tiny().model().vae())));
  CHECK(std::filesystem::exists(directory / "tokenizer.json"));
  CHECK(read_json_file(directory / "config.json").at("torch_dtype") == "float32");
}

TEST_CASE("what does not fit together is refused in one sentence") {
  struct Case {
    const char *patch, *sentence;
  };
  const Case cases[] = {
      {R"({"model": "nowhere"})", "nowhere/config.json: no such file"},
      {R"({"vae": "nowhere"})", "nowhere/config.json: no such file"},
      {R"({"manifest": "nowhere.jsonl"})", "nowhere.jsonl: no such file"},
      {R"({"losses": {"repa_layer": 3}})", "losses.repa_layer is 3, the language model has 2 layers"},
      {R"({"from_scratch": ["vit.*"]})", "from_scratch: \"vit.*\" matches no parameter of the model"},
      {R"({"muon": {"matrices": ["*.mpl.*"]}})", "muon.matrices: \"*.mpl.*\" matches no parameter of the model"},
      {R"({"stages": [{"preset": 2, "trains": ["vision_gen.*"]}]})", "train.json: stages[0].trains: \"vision_gen.*\" matches no parameter"},
      {R"({"manifest": "pictures.jsonl", "stages": [{"preset": 2}]})", "train.json: stages[0] asks for text samples, and "},
      {R"({"manifest": "pictures.jsonl"})", "train.json: stages[1] asks for text samples, and "},
  };
  tiny().folder().write("pictures.jsonl", R"({"task": "generation", "prompt": "x", "picture": "0.png"})" "\n"
                                          R"({"task": "understanding", "picture": "0.png", "caption": "red"})" "\n");
  for (const Case& c : cases) {
    CAPTURE(c.patch);
    Json json = tiny().config("refused");
    json.merge_patch(parse_json(c.patch, "patch"));
    const std::string sentence = error_of([&] { Trainer trainer(tiny().read(json)); });
    CAPTURE(sentence);
    CHECK(contains(sentence, c.sentence));
  }
  Json json = tiny().config("refused");
  json["pack_length"] = 60;  // a generation sample needs 2 x 37 tokens beside its prompt
  CHECK(contains(error_of([&] { Trainer(tiny().read(json)).run(); }), "tokens, 60 are allowed"));
  tiny().folder().write("damaged.png", "\x89PNG\r\n\x1a\nno more");
  tiny().folder().write("damaged.jsonl", R"({"task": "generation", "prompt": "x", "picture": "damaged.png"})" "\n");
  json = tiny().config("refused");
  json["manifest"] = "damaged.jsonl";
  json["stages"] = {{{"preset", 2}, {"steps", 1}, {"mix", {{"generation", 1}}}}};
  CHECK(contains(error_of([&] { Trainer(tiny().read(json)).run(); }), "damaged.png is cut off"));
  CHECK(contains(error_of([&] { Trainer(tiny().read(tiny().config("refused"))).run("pretrainig"); }), "the config has no stage pretrainig"));
  CHECK(contains(error_of([&] { Trainer(tiny().read(tiny().config("refused"))).run("finetuning"); }),
                 "stage finetuning comes behind adaptation, which is not done yet"));
  undisturbed();
  json = tiny().config("undisturbed");
  json["stages"][0]["learning_rate"] = 1;
  CHECK(contains(error_of([&] { Trainer(tiny().read(json)).resume(); }), "another config: stages[0].learning_rate is 1.0, not 0.002"));
}

TEST_CASE("a number that is not finite stops the run and names its tensor") {
  Json json = tiny().config("overflow");
  json["stages"] = Json::array({json["stages"][1]});
  json["stages"][0]["learning_rate"] = 100;
  json["stages"][0]["rates"] = {{"*", 1000}};
  json["optimizer"] = {{"clip", 0}};
  const std::string sentence = error_of([&] { Trainer(tiny().read(json)).run(); });
  CAPTURE(sentence);
  CHECK(contains(sentence, "stage pretraining, step "));
  CHECK(contains(sentence, "holds NaN or infinity"));
}
