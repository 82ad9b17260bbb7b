// Losses and every parameter's gradient of a tiny JanusFlow against PyTorch (tests/reference/make_gradients.py), and ten steps of AdamW.
#include <doctest/doctest.h>

#include "golden.hpp"
#include "gradient_testing.hpp"
#include "io_testing.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/io/save.hpp"
#include "janusflow/train/losses.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/trained_module.hpp"
#include "tiny_model.hpp"

using namespace janusflow;
using namespace janusflow::test;

namespace {

const std::string tiny = JANUSFLOW_TEST_DATA "/golden_tiny";

enum Part { understanding = 1, flow = 2 };

/// The model in training, the head, and the golden's samples.
struct Bench {
  Golden golden{JANUSFLOW_TEST_DATA "/gradients/golden.safetensors"}, official{tiny + "/golden.safetensors"};
  JanusFlow<Taped<float>> model{read_config<JanusFlowConfig>(tiny + "/config.json")};
  RepaHead<Taped<float>> head{64, 40, 48};

  Bench() {
    load(model, std::make_shared<Checkpoint>(tiny));
    load(head, std::make_shared<Checkpoint>(JANUSFLOW_TEST_DATA "/gradients/golden.safetensors"), "repa_head.");
  }

  std::vector<std::int32_t> ids(const std::string& key) const {
    const auto list = golden.integers(key);
    return {list.begin(), list.end()};
  }
  std::vector<char> marks(const std::string& key) const {
    const auto list = golden.integers(key);
    return {list.begin(), list.end()};
  }

  /// All samples of the parts, in one sequence.
  TrainingBatch batch(int parts) const {
    TrainingBatch batch(36, 36);
    if (parts & understanding) {
      const auto und = ids("und.ids"), text = ids("text.ids");
      const std::vector<std::size_t> picture{static_cast<std::size_t>(std::find(und.begin(), und.end(), 153) - und.begin())};
      batch.add_tokens(und, marks("und.learned"), picture);
      batch.add_tokens(text, marks("text.learned"));
      batch.pixels = official.picture("und.pixels");
    }
    if (parts & flow) {
      for (int i = 0; i < 2; ++i) {
        const auto prompt = ids("prompt." + std::to_string(i));
        const auto length = static_cast<Index>(prompt.size());
        const auto said = batch.add_tokens(prompt, std::vector<char>(prompt.size(), 0));
        batch.add_painted(said, length);
        batch.add_painted(i == 0 ? said : TokenRange{said.begin, said.begin + 1}, length);  // the last one's prompt is dropped
      }
      batch.latents = golden.picture("flow.latents");
      batch.noise = golden.picture("flow.noise");
      const auto times = golden.tensor<1>("flow.times");
      batch.times.assign(times.begin(), times.end());
      const Checkpoint file(tiny + "/golden.safetensors");
      const auto second = file.at("pre.1.pixel_values").to_tensor<float, 3>();  // [3, 96, 96]
      const auto first = official.picture("und.pixels");
      Tensor<float, 4> clean(Shape{Index{2}, Index{96}, Index{96}, Index{3}});
      std::copy(first.begin(), first.end(), clean.begin());
      for (Index y = 0; y < 96; ++y)
        for (Index x = 0; x < 96; ++x)
          for (Index c = 0; c < 3; ++c) clean(1, y, x, c) = second(c, y, x);
      batch.teacher = select(teacher_features(model.understanding, clean), std::array<Index, 4>{0, 0, 1, 1});
    }
    return batch;
  }

  /// Both modules' parameters by their key.
  template <class F>
  void each(F&& f) {
    for_each_parameter(model, f);
    for_each_parameter(head, f, "repa_head.");
  }
  void clear() {
    each([](const std::string&, auto& p) { p.clear_gradient(); });
  }

  /// Whether every gradient is the sum of the golden's of the parts, within 1e-4 of its norm.
  void compare(const std::vector<std::string>& parts) {
    const Checkpoint file(JANUSFLOW_TEST_DATA "/gradients/golden.safetensors");
    Index compared = 0;
    each([&](const std::string& key, auto& parameter) { compared += check_gradient(key, parameter, file, parts); });
    CHECK(compared > 40);
  }
};

double number(const std::optional<Var<float, 1>>& loss) { return static_cast<double>(loss->value()(0)); }
double expected(const Golden& golden, const std::string& key) { return static_cast<double>(golden.tensor<0>(key).data()[0]); }

}  // namespace

TEST_CASE("gradients of L_AR, of L_RF + L_REPA and of the mixed batch are PyTorch's") {
  Bench bench;
  for (const int parts : {int{understanding}, int{flow}, understanding | flow}) {
    CAPTURE(parts);
    const TrainingBatch batch = bench.batch(parts);
    bench.clear();
    Tape tape;
    const auto l = losses(bench.model, &bench.head, batch, 1);
    REQUIRE(l.ar.has_value() == bool(parts & understanding));
    REQUIRE(l.rf.has_value() == bool(parts & flow));
    REQUIRE(l.repa.has_value() == bool(parts & flow));
    std::vector<std::string> golden;
    if (l.ar) {
      CHECK(number(l.ar) == doctest::Approx(expected(bench.golden, "loss.ar")).epsilon(1e-5));
      golden.push_back("ar.");
    }
    if (l.rf) {
      CHECK(number(l.rf) == doctest::Approx(expected(bench.golden, "loss.rf")).epsilon(1e-5));
      CHECK(std::abs(number(l.repa) - expected(bench.golden, "loss.repa")) < 1e-5);
      golden.push_back("flow.");
    }
    tape.backward(l.total());
    bench.compare(golden);
  }
}

TEST_CASE("block by block, on any number of threads, the gradients are the same bytes") {
  Bench bench;
  const TrainingBatch batch = bench.batch(understanding | flow);
  std::vector<float> first;
  for (const bool blocks : {false, true})
    for (const int threads : {1, 2, 3}) {
      const int before = num_threads();
      set_num_threads(threads);
      bench.clear();
      Tape tape;
      tape.checkpoints_blocks = blocks;
      tape.backward(losses(bench.model, &bench.head, batch, 1).total());
      set_num_threads(before);
      std::vector<float> all;
      bench.each([&](const std::string&, auto& p) {
        const auto g = p.gradient_numbers();
        all.insert(all.end(), g.begin(), g.end());
      });
      if (first.empty()) first = all;
      CHECK(first == all);
    }
}

TEST_CASE("what is frozen gets no gradient, and what stands before it is not recorded") {
  Bench bench;
  const auto trains = [&](auto&& wanted) {
    bench.clear();
    bench.each([&](const std::string& key, auto& p) { p.set_trains(wanted(key)); });
    Tape tape;
    tape.backward(losses(bench.model, &bench.head, bench.batch(understanding | flow), 1).total());
    Index received = 0;
    bench.each([&](const std::string& key, auto& p) {
      CAPTURE(key);
      const bool any = std::as_const(p).gradient().data != nullptr;
      if (!wanted(key)) CHECK(!any);
      received += any;
    });
    return received;
  };
  const auto siglip = [](const std::string& key) { return key.starts_with("vision_und_enc_model"); };
  const auto language = [](const std::string& key) { return key.starts_with("language_model"); };
  CHECK(trains([&](const std::string& key) { return !siglip(key) && !language(key); }) > 30);
  CHECK(trains([&](const std::string& key) { return !siglip(key); }) > 50);
  // The teacher gets nothing from the alignment, but does from answers.
  bench.each([](const std::string&, auto& p) { p.set_trains(true); });
  for (const int parts : {int{flow}, int{understanding}}) {
    bench.clear();
    Tape tape;
    tape.backward(losses(bench.model, &bench.head, bench.batch(parts), 1).total());
    Index received = 0;
    bench.each([&](const std::string& key, auto& p) { received += siglip(key) && std::as_const(p).gradient().data != nullptr; });
    CHECK((received > 0) == (parts == understanding));
  }
}

TEST_CASE("gradients of several passes are summed up") {
  Bench bench;
  for (const int parts : {int{understanding}, int{flow}}) {
    Tape tape;
    tape.backward(losses(bench.model, &bench.head, bench.batch(parts), 1).total());
  }
  bench.compare({"ar.", "flow."});
}

TEST_CASE("a picture that is asked about by its latents is encoded as clean, at time 1, and its time is no token") {
  const Bench bench;
  TrainingBatch batch(36, 36);
  batch.add_tokens(std::vector<std::int32_t>(40, 1), std::vector<char>(40), std::array<std::size_t, 1>{1});
  batch.seen_latents = part(bench.golden.picture("flow.latents"), 0, 1);
  const auto seen = janusflow::detail::seen_tokens(bench.model, batch);
  const auto all = bench.model.generation.encode(constant<float>(batch.seen_latents), std::array{1000.0f}).tokens;  // [1, 37, C]
  REQUIRE(seen.shape() == Shape{Index{36}, all.shape()[2]});
  CHECK(std::equal(seen.value().data, seen.value().data + seen.size(), all.value().data + all.shape()[2]));
}

TEST_CASE("first weights are spread as torch spreads a layer's, and each parameter has its own") {
  const auto drawn = [](const std::string& key, const std::vector<Index>& shape) {
    std::vector<float> numbers(static_cast<std::size_t>(checked_product(shape)), 7.0f);
    draw_weights(key, shape, numbers, 3);
    return numbers;
  };
  const auto filter = drawn("a.weight", {16, 8, 5, 5});
  float largest = 0;
  for (const float x : filter) largest = std::max(largest, std::abs(x));
  const float bound = 1 / std::sqrt(200.0f);  // of 8 x 5 x 5 inputs
  CHECK(largest <= bound);
  CHECK(largest > 0.99f * bound);  // of 3,200 numbers
  CHECK(drawn("b.weight", {16, 8, 5, 5}) != filter);
  double squares = 0;
  for (const float x : drawn("model.embed_tokens.weight", {100, 100})) squares += static_cast<double>(x) * static_cast<double>(x) / 10'000;
  CHECK(std::sqrt(squares) == doctest::Approx(0.02).epsilon(0.04));  // of 10,000 numbers: 5.6 sigma
  CHECK(drawn("norm.weight", {3}) == std::vector<float>(3, 1));
  CHECK(drawn("a.bias", {3}) == std::vector<float>(3));
  CHECK(drawn("block.channelwise_norm.weight", {1, 1, 1, 3}) == std::vector<float>(3));
}

TEST_CASE("ten steps of AdamW follow PyTorch's losses") {
  Bench bench;
  const auto steps = bench.golden.tensor<2>("steps");
  std::vector<TrainedTensor> tensors;
  std::optional<Optimizer> optimizer;
  for (Index step = 0; step < steps.shape()[0]; ++step) {
    CAPTURE(step);
    bench.clear();
    Tape tape;
    const auto l = losses(bench.model, &bench.head, bench.batch(understanding | flow), 1);
    CHECK(number(l.ar) == doctest::Approx(static_cast<double>(steps(step, 0))).epsilon(1e-4));
    CHECK(number(l.rf) == doctest::Approx(static_cast<double>(steps(step, 1))).epsilon(1e-4));
    CHECK(number(l.repa) == doctest::Approx(static_cast<double>(steps(step, 2))).epsilon(1e-4));
    tape.backward(l.total());
    tensors.clear();
    bench.each([&](const std::string& key, auto& p) {
      tensors.push_back({key, {p.shape().extents.begin(), p.shape().extents.end()}, p.numbers(), p.gradient_numbers(), true, 1});
    });
    if (!optimizer) optimizer.emplace(tensors, OptimizerSettings{});
    optimizer->step(tensors, 1e-3, 1);
  }
}

TEST_CASE("master weights are written in the published layout, as they were read") {
  Bench bench;
  const io_testing::Folder folder;
  write_safetensors(folder / "model.safetensors", parameter_entries(bench.model));
  const Checkpoint written(folder.path()), original(tiny);
  CHECK(written.tensors().size() == original.tensors().size());
  for (const RawTensor& tensor : written.tensors()) {
    CAPTURE(tensor.key);
    const RawTensor& before = original.at(tensor.key);
    CHECK(tensor.shape == before.shape);
    REQUIRE(tensor.size() == before.size());
    std::vector<float> a(static_cast<std::size_t>(tensor.size())), b(a);
    tensor.copy_to(a.data());
    before.copy_to(b.data());
    CHECK(a == b);
  }
}
