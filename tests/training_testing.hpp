// A tiny data set and config, for the tests of the trainer.
#pragma once

#include "janusflow/train/trainer.hpp"
#include "tiny_model.hpp"

namespace janusflow::test {

/// golden_tiny, eight pictures of a colour each, and a manifest of all tasks, in a folder of their own.
class TinyRun {
 public:
  TinyRun() {
    const char* names[] = {"red", "green", "blue", "white"};
    const std::uint8_t colours[][3] = {{220, 30, 30}, {30, 200, 30}, {30, 30, 220}, {240, 240, 240}};
    std::string lines;
    for (std::size_t i = 0; i < 8; ++i) {
      const Index height = 96 + 8 * static_cast<Index>(i % 3), width = 96 + 16 * static_cast<Index>(i / 4);
      Picture picture(Shape<3>{{height, width, 3}});
      for (Index p = 0; p < picture.size(); ++p)
        picture.data()[p] = static_cast<std::uint8_t>(colours[i % 4][p % 3] - (p / 3 % width) % 16);
      const std::string file = std::to_string(i) + ".png", name = names[i % 4];
      write_png(folder() / file, picture.view());
      lines += Json{{"task", "generation"}, {"prompt", "a\n" + name}, {"picture", file}}.dump() + '\n';
      lines += Json{{"task", "understanding"}, {"picture", file}, {"question", "What is it?"}, {"answer", name}}.dump() + '\n';
    }
    lines += R"({"task": "understanding", "content": [{"text": "See "}, {"picture": "0.png"}, {"text": "and"}, {"picture": "5.png"}]})" "\n";
    lines += R"({"task": "understanding", "picture": "2.png", "questions": [{"question": "And?", "answer": "b"}, {"question": "Red?", "answer": "no"}]})" "\n";
    lines += R"({"task": "text", "question": "And?", "answer": "red is red"})" "\n" R"({"task": "text", "text": "red, green"})" "\n";
    model_.folder().write("train.jsonl", lines);
  }
  const TinyModel& model() const { return model_; }
  const io_testing::Folder& folder() const { return model_.folder(); }

  /// Three short stages, one for each of the paper's, of batches of six samples.
  Json config(const std::string& output, Index steps = 4) const {
    Json json{{"model", "."}, {"manifest", "train.jsonl"}, {"output", output}, {"cache", "cache"}, {"seed", 3}, {"noise_levels", 2},
              {"pack_length", 400}, {"losses", {{"repa_layer", 1}, {"repa_width", 32}}}, {"muon", {{"matrices", {"*.mlp.*"}}}},
              {"checkpoints", {{"every", 3}, {"keep", 2}}}, {"log", {{"every", 2}}}};
    for (int stage = 1; stage <= 3; ++stage)
      json["stages"].push_back({{"preset", stage}, {"steps", steps}, {"warmup_steps", 1}, {"learning_rate", 2e-3}, {"batch_size", 6},
                                {"mix", {{"understanding", 2}, {"generation", 2}, {"text", stage == 1 ? 0 : 1}}}});
    return json;
  }
  TrainingConfig read(const Json& json) const { return TrainingConfig::from_json(JsonObject(json, "train.json"), folder().path()); }

 private:
  TinyModel model_;
};

/// All weights of a run, one after the other.
template <class Trainer>
std::vector<float> weights_of(const Trainer& trainer) {
  std::vector<float> all;
  for (const TrainedTensor& tensor : trainer.tensors()) all.insert(all.end(), tensor.value.begin(), tensor.value.end());
  return all;
}

/// Stops after so many steps.
inline TrainerObserver stop_after(Index steps) {
  TrainerObserver observer;
  observer.step = [steps](const StepReport& report) { return report.total_steps != steps; };
  return observer;
}

}  // namespace janusflow::test
