// What one training step costs: forwards and backwards of a generation and an understanding batch on random weights, and where the time
// goes, operation by operation. bench/compare/pytorch_training.py does the same in PyTorch.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "exit_status.hpp"
#include "janusflow/core/stopwatch.hpp"
#include "janusflow/train/losses.hpp"

using namespace janusflow;

namespace {

struct Bench {
  JanusFlowConfig config;
  JanusFlow<Taped<float>> model{config};
  RepaHead<Taped<float>> head{config.language.hidden_size, 256, config.vision_und_enc.width};
  std::mt19937 twister{1};
  std::normal_distribution<float> normal;
  Index side = config.vision_und_enc.image_size / 8 / config.vision_gen_enc.stride;  // of a painted picture, in tokens

  explicit Bench(const JanusFlowConfig& c) : config(c) {
    const auto draw = [&](const std::string& key, auto& parameter) {
      const auto& shape = parameter.shape();
      const float scale = 1 / std::sqrt(static_cast<float>(shape.size() / shape[0]));
      for (float& x : parameter.numbers()) x = shape.extents.size() == 1 ? 1 : scale * normal(twister);
      parameter.set_trains(!key.starts_with("vision_und_enc_model"));  // stage 2 of the paper
    };
    for_each_parameter(model, draw);
    for_each_parameter(head, draw, "repa_head.");
  }

  std::vector<std::int32_t> ids(Index count) {
    std::vector<std::int32_t> list;
    for (Index i = 0; i < count; ++i) list.push_back(static_cast<std::int32_t>(twister() % static_cast<std::uint32_t>(config.language.vocab_size)));
    return list;
  }
  template <int R>
  Tensor<float, R> random(Shape<R> shape) {
    Tensor<float, R> x(shape);
    for (float& v : x) v = normal(twister);
    return x;
  }

  /// Prompts of 16 tokens, each with several noise levels of its picture.
  TrainingBatch generation(Index prompts, Index levels) {
    TrainingBatch batch(config.vision_und_enc.num_patches(), side * side);
    for (Index p = 0; p < prompts; ++p) {
      const auto prompt = batch.add_tokens(ids(16), std::vector<char>(16, 0));
      for (Index level = 0; level < levels; ++level) batch.add_painted(prompt, 16);
    }
    const Index latent = side * config.vision_gen_enc.stride;
    batch.latents = random(Shape{prompts * levels, latent, latent, config.vision_gen_enc.input_channels});
    batch.noise = random(batch.latents.shape());
    batch.teacher = random(Shape{prompts * levels, side * side, config.vision_und_enc.width});
    for (Index i = 0; i < prompts * levels; ++i) batch.times.push_back(static_cast<float>(i) / static_cast<float>(prompts * levels));
    return batch;
  }

  /// Pictures, whose features are known, among 36 tokens of prompt, each with several questions of 20 tokens, 6 of them the answer.
  TrainingBatch understanding(Index pictures, Index questions) {
    const Index patches = config.vision_und_enc.num_patches(), prompt = patches + 36;
    TrainingBatch batch(patches, side * side);
    for (Index p = 0; p < pictures; ++p) {
      const std::size_t place = 30;
      const auto seen = batch.add_tokens(ids(prompt), std::vector<char>(static_cast<std::size_t>(prompt), 0), {&place, 1});
      for (Index q = 0; q < questions; ++q) {
        std::vector<char> learned(20, 0);
        std::fill(learned.begin() + 14, learned.end(), 1);
        batch.add_tokens(ids(20), learned, {}, seen, prompt);
      }
    }
    batch.features = random(Shape{pictures, patches, config.vision_und_enc.width});
    return batch;
  }

  void measure(const char* name, const TrainingBatch& batch, int repeat) {
    const Index layer = std::min<Index>(2, config.language.num_hidden_layers);
    const auto step = [&](std::map<std::string, OperationTimes>* times) {
      const auto clear = [](const std::string&, auto& parameter) { parameter.clear_gradient(); };
      for_each_parameter(model, clear);
      for_each_parameter(head, clear);
      const Stopwatch watch;
      Tape tape;
      tape.times = times;
      const auto loss = losses(model, &head, batch, layer).total();
      const double forward = watch.seconds();
      tape.backward(loss);
      return std::pair{forward, watch.seconds()};
    };
    std::pair<double, double> best{0, 1e30};
    for (int i = 0; i < repeat; ++i)
      if (const auto seconds = step(nullptr); seconds.second < best.second) best = seconds;
    std::printf("%s: %td tokens, forward %.1f ms, backward %.1f ms, together %.1f ms, %.1f pictures/s, peak memory %.0f MB\n", name,
                batch.length(), 1e3 * best.first, 1e3 * (best.second - best.first), 1e3 * best.second,
                static_cast<double>(std::max(batch.painted(), batch.seen())) / best.second, static_cast<double>(peak_memory()) / 1e6);
    std::map<std::string, OperationTimes> times;
    step(&times);
    std::vector<std::pair<std::string, OperationTimes>> rows(times.begin(), times.end());
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
      return a.second.forward + a.second.backward > b.second.forward + b.second.backward;
    });
    std::printf("  %-24s %6s %12s %12s\n", "operation", "calls", "forward ms", "backward ms");
    for (const auto& [op, t] : rows) std::printf("  %-24s %6td %12.2f %12.2f\n", op.c_str(), t.calls, 1e3 * t.forward, 1e3 * t.backward);
  }
};

/// An argument as a whole number from 1 to `most`.
int whole_number(const std::string& argument, int most) {
  int number = 0;
  const char* end = argument.data() + argument.size();
  const auto [rest, error] = std::from_chars(argument.data(), end, number);
  if (error != std::errc() || rest != end || number < 1 || number > most)
    throw bench::WrongCommand(concat(argument, " is not a whole number from 1 to ", most));
  return number;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::exit_status("training", [&] {
    const std::string usage = "usage: training [config.json [threads [repeat]]]";
    const std::vector<std::string> given(argv + 1, argv + argc);
    if (given == std::vector<std::string>{"--help"}) {
      std::puts(usage.c_str());
      return;
    }
    if (given.size() > 3 || (!given.empty() && given[0].starts_with("-"))) throw bench::WrongCommand(usage);
    if (given.size() > 1) set_num_threads(whole_number(given[1], 1024));
    const int repeat = given.size() > 2 ? whole_number(given[2], 1000) : 5;
    Bench bench(read_config<JanusFlowConfig>(given.empty() ? "examples/models/emoji/config.json" : given[0]));
    bench.measure("generation, 24 prompts, 4 noise levels", bench.generation(24, 4), repeat);
    bench.measure("understanding, 12 pictures, 5 questions", bench.understanding(12, 5), repeat);
  });
}
