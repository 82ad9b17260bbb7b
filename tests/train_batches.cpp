// The batches of a step: which noise, times, prompts and pictures, what each counts for; and what does not hang on how they are packed.
#include <doctest/doctest.h>

#include "training_testing.hpp"

using namespace janusflow;
using io_testing::contains;
using io_testing::error_of;

namespace {

/// A rank that asks nothing of the others.
struct Rank final : Communicator {
  int place, count;
  Rank(int rank, int ranks) : place(rank), count(ranks) {}
  int rank() const override { return place; }
  int ranks() const override { return count; }
  void begin_sum(std::span<float>) override {}
  Index advance() override { return 0; }
  void sum(std::span<double>) override {}
  void broadcast(std::span<std::byte>, int) override {}
};

/// A tiny run's batches.
struct Batches {
  Rank rank;
  TrainingConfig config;
  Manifest manifest;
  TrainingModel<> model;
  Processor processor;
  TrainingPictures<> pictures;
  BatchMaker<> make;

  Batches(const test::TinyRun& run, const Json& json, int place = 0, int ranks = 1)
      : rank(place, ranks),
        config(run.read(json)),
        manifest(config.manifest),
        model(read_config<JanusFlowConfig>(config.model / "config.json"), 32),
        processor(Processor::from_directory(config.model, 36)),
        pictures(model.config, ImageProcessorConfig::from_directory(config.model, 96), config.vae, config.cache),
        make(config, manifest, processor, pictures, model, rank) {
    load(model.janusflow, std::make_shared<const Checkpoint>(config.model));
    pictures.freeze_tower(1);
  }
  std::vector<float> features(const std::filesystem::path& path, Framing framing) {
    std::vector<float> numbers(36 * 48);
    pictures.features(model.janusflow.understanding, path, framing, numbers.data());
    return numbers;
  }
};

bool is_of(const TrainingBatch& batch, const Segment& segment, TrainingBatch::Source source) {
  return batch.places()[static_cast<std::size_t>(segment.begin)].source == source;
}

TaskCounts counts(Index understanding, Index generation, Index text) {
  TaskCounts all;
  all.values = {understanding, generation, text};
  return all;
}

template <int R>
std::vector<float> row(const Tensor<float, R>& x, Index i) {
  const Index size = x.size() / x.shape()[0];
  return {x.data() + i * size, x.data() + (i + 1) * size};
}

}  // namespace

TEST_CASE("times are spread as the settings say") {
  CHECK(normal_quantile(0.5) == doctest::Approx(0).epsilon(1e-12));
  CHECK(normal_quantile(0.975) == doctest::Approx(1.959963984540054));
  CHECK(time_of(0.5, {}) == doctest::Approx(0.5));
  CHECK(time_of(0.8413447460685429, {}) == doctest::Approx(1 / (1 + std::exp(-1.0))));
  CHECK(time_of(0.8413447460685429, {.time_mean = 1, .time_deviation = 2}) == doctest::Approx(1 / (1 + std::exp(-3.0))));
  LossSettings uniform;
  uniform.logit_normal = false;
  CHECK(time_of(0.3, uniform) == 0.3);
  CHECK(time_of(0.0, {}) >= 0);
}

TEST_CASE("batches: noise, times and left-out prompts are functions of seed and position; the levels of a sample share its picture") {
  const test::TinyRun run;
  Json json = run.config("batches");
  json["prompt_dropout"] = 0.5;
  json["pack_length"] = 100'000;
  Batches batches(run, json);
  const auto made = batches.make(counts(0, 2, 0), counts(0, 8, 0), true);
  REQUIRE(made.size() == 1);
  CHECK(made[0].rf_share == 1);
  CHECK(made[0].ar_share == 0);
  const TrainingBatch& batch = made[0].batch;
  REQUIRE(batch.painted() == 12);
  const CounterRandom times(3, "times"), noise(3, "noise"), dropout(3, "prompt dropout");
  const SampleOrder order(3, "generation", batches.manifest.weights(Task::generation));
  std::vector<Segment> prompts, painted;
  for (const Segment& segment : batch.segments())
    (is_of(batch, segment, TrainingBatch::Source::painted) ? painted : prompts).push_back(segment);
  int left_out = 0;
  for (Index position = 2; position < 8; ++position) {
    const auto path = batches.manifest.read(Task::generation, order(position)).pictures.front();
    auto latents = row(batch.latents, 0), random = latents;
    batches.pictures.latents(path, latents.data());
    for (Index level = 0; level < 2; ++level) {
      const auto draw = static_cast<std::uint64_t>(2 * position + level);
      const double u = (static_cast<double>(level) + times.uniform(draw)) / 2;  // each level has its half of the distribution
      const auto found = std::find(batch.times.begin(), batch.times.end(), static_cast<float>(time_of(u, {})));
      REQUIRE(found != batch.times.end());
      const Index i = found - batch.times.begin();
      noise.generator(draw).normal(random);
      CHECK(row(batch.noise, i) == random);
      CHECK(row(batch.latents, i) == latents);
      CHECK(row(batch.teacher, i) == batches.features(path, Framing::crop));
      const Segment& picture = painted[static_cast<std::size_t>(i)];
      const auto prompt = std::find_if(prompts.begin(), prompts.end(), [&](const Segment& s) { return s.begin == picture.prefix_begin; });
      REQUIRE(prompt != prompts.end());
      const bool without = dropout.uniform(draw) < 0.5;
      left_out += without;
      CHECK(picture.prefix_end == (without ? prompt->begin + 1 : prompt->end));
      CHECK(picture.position == prompt->length());
    }
  }
  CHECK(left_out > 0);
  CHECK(left_out < 12);
  for (const Segment& prompt : prompts) CHECK(prompt.prefix_begin == prompt.prefix_end);
  CHECK(test::same(batches.make(counts(0, 2, 0), counts(0, 8, 0), false)[0].batch.teacher, batch.teacher));  // as the tower is now
}

TEST_CASE("batches: what each counts for adds up to one, on any number of ranks, and none is longer than it may be") {
  const test::TinyRun run;
  Json json = run.config("shares");
  Batches loose(run, json);
  std::vector<Index> lengths;  // of generation samples
  for (Index i = 0; i < 8; ++i) lengths.push_back(loose.make.tokenizer()(loose.manifest.read(Task::generation, i)).length() + 2 * 37);
  std::sort(lengths.begin(), lengths.end());
  json["pack_length"] = lengths[0] + lengths[1] - 1;  // no two of them fit
  const TaskCounts before = counts(0, 0, 0), after = counts(10, 8, 2);
  for (const bool frozen : {true, false}) {
    Batches alone(run, json);
    const auto whole = alone.make(before, after, frozen);
    std::vector<float> times, dealt;
    double ar = 0, rf = 0, learned = 0;
    for (const MicroBatch& micro : whole) {
      ar += micro.ar_share, rf += micro.rf_share, learned += static_cast<double>(counted_targets(micro.batch.targets()));
      times.insert(times.end(), micro.batch.times.begin(), micro.batch.times.end());
      CHECK(micro.batch.length() <= alone.config.pack_length);
      CHECK(micro.rf_share == doctest::Approx(static_cast<double>(micro.batch.painted()) / 16));
      for (const Segment& segment : micro.batch.segments())
        if (segment.prefix_end > segment.prefix_begin && is_of(micro.batch, segment, TrainingBatch::Source::text))
          CHECK(segment.position == segment.prefix_end - segment.prefix_begin);  // a question apart goes on where its picture ends
    }
    CHECK(ar == doctest::Approx(1));
    CHECK(rf == doctest::Approx(1));
    for (int place = 0; place < 3; ++place) {
      Batches one(run, json, place, 3);
      for (const MicroBatch& micro : one.make(before, after, frozen)) {
        CHECK(micro.ar_share == doctest::Approx(static_cast<double>(counted_targets(micro.batch.targets())) / learned));
        ar -= micro.ar_share, rf -= micro.rf_share;
        dealt.insert(dealt.end(), micro.batch.times.begin(), micro.batch.times.end());
      }
    }
    CHECK(std::abs(ar) < 1e-9);
    CHECK(std::abs(rf) < 1e-9);
    std::sort(times.begin(), times.end());
    std::sort(dealt.begin(), dealt.end());
    CHECK(times == dealt);
  }
  json["pack_length"] = 100'000;
  Batches batches(run, json);
  const SampleOrder order(3, "understanding", batches.manifest.weights(Task::understanding));
  const auto path = batches.manifest.read(Task::understanding, order(0)).pictures.front();
  CHECK(row(batches.make(before, counts(1, 0, 0), true)[0].batch.features, 0) == batches.features(path, Framing::whole));
  std::vector<float> pixels(96 * 96 * 3);
  batches.pictures.pixels(path, Framing::whole, pixels.data());
  CHECK(row(batches.make(before, counts(1, 0, 0), false)[0].batch.pixels, 0) == pixels);
  Sample text{.task = Task::text, .where = "m:1", .pictures = {}, .prompt = {}, .turns = {}, .document = {{std::string(1100, 'x')}}};
  CHECK(contains(error_of([&] { batches.make.tokenizer()(text); }), "tokens, 1024 are allowed"));  // the model's positions
}

TEST_CASE("latents are shifted and scaled as the autoencoder's config says, and another image processor has its own features") {
  const test::TinyRun run;
  Json vae = parse_json(read_file(run.folder() / "vae/config.json", 1 << 20), "vae");
  vae["shift_factor"] = 0.5;
  write_json_file(run.folder() / "vae/config.json", vae);
  Batches batches(run, run.config("shifted"));
  AutoencoderEncoder<Float32> encoder(read_config<AutoencoderKLConfig>(run.folder() / "vae/config.json"));
  load(encoder, std::make_shared<const Checkpoint>(run.folder() / "vae"));
  const auto square = resize_and_crop(read_picture(run.folder() / "4.png").view(), 96);
  const auto mean = encoder(from_bytes(square.view())).mean;
  std::vector<float> latents(static_cast<std::size_t>(mean.size()));
  batches.pictures.latents(run.folder() / "4.png", latents.data());
  for (Index i = 0; i < mean.size(); ++i) REQUIRE(latents[static_cast<std::size_t>(i)] == (mean.data()[i] - 0.5f) * 0.13025f);

  const auto features = batches.features(run.folder() / "4.png", Framing::whole);
  batches.pictures.flush();
  write_json_file(run.folder() / "preprocessor_config.json", {{"image_size", 96}, {"image_mean", {0.1, 0.2, 0.3}}});
  CHECK(Batches(run, run.config("other")).features(run.folder() / "4.png", Framing::whole) != features);
}

TEST_CASE("validation's means are of tokens, pictures and answers, however samples are packed") {
  const test::TinyRun run;
  std::vector<std::vector<double>> means;
  for (const Index length : {250, 4000}) {
    Json json = run.config("packed");
    json["pack_length"] = length;
    json["validation"] = {{"manifest", "train.jsonl"}};
    const TrainingConfig config = run.read(json);
    const Manifest manifest(config.manifest);
    JanusFlowObjective<> objective(config, manifest, alone());
    const auto tensors = trained_tensors(objective.module());
    means.push_back(objective.validate(tensors, Optimizer(tensors, {}), [](const std::string&, double) { return true; }));
    REQUIRE(means.back().size() == 4);
  }
  for (std::size_t i = 0; i < 4; ++i) CHECK(means[0][i] == doctest::Approx(means[1][i]).epsilon(1e-5));  // float32
}

TEST_CASE("the layer whose states are aligned is the config's") {
  const test::TinyRun run;
  std::vector<double> first;
  for (const Index layer : {1, 2}) {
    Json config = run.config(concat("layer", layer));
    config["losses"]["repa_layer"] = layer;
    TrainerObserver observer;
    observer.step = [&](const StepReport& report) { return first.push_back(report.losses.parts[2].value()), false; };
    Trainer(run.read(config), observer).run();
  }
  REQUIRE(first.size() == 2);
  CHECK(std::abs(first[0] - first[1]) > 1e-3);
}

TEST_CASE("a step is as long as the schedule says") {
  const test::TinyRun run;
  const auto moved = [&](Index warmup) {
    Json config = run.config("warmup" + std::to_string(warmup), 100);
    config["stages"][0]["warmup_steps"] = warmup;
    Trainer trainer(run.read(config), test::stop_after(1));
    const auto before = test::weights_of(trainer);
    trainer.run();
    const auto after = test::weights_of(trainer);
    double sum = 0;
    for (std::size_t i = 0; i < after.size(); ++i) sum += std::abs(static_cast<double>(after[i]) - static_cast<double>(before[i]));
    return sum;
  };
  CHECK(100 * moved(100) == doctest::Approx(moved(1)).epsilon(0.01));  // of steps of 2e-5, numbers below two are rounded by 6e-8
}
