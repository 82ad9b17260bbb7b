// The measures of the emoji model that several programs take: their data, the judge, and picture accuracy. Both are defined in
// models/emoji/evaluation/README.md.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/io/config.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/io/latents.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/siglip.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

namespace examples {

/// One picture of the evaluation's set.
struct Item {
  std::string name;
  Picture picture;
  Index noise;      // its row of the noise
  Index embedding;  // its row of the pooled embeddings
  struct Question {
    std::string type, text, answer;
  };
  std::vector<Question> questions;
};

/// The model's SigLIP as it was trained contrastively, with its pool.
struct ContrastiveTower {
  SiglipTower<Float32> tower;
  SiglipPool<Float32> pool;

  explicit ContrastiveTower(const SiglipConfig& config) : tower(config), pool(config) {}

  /// The embedding of a picture, of length 1: [C]
  Tensor<float, 1> operator()(const Picture& picture) const {
    Tensor<float, 3> pooled = pool(tower(from_bytes(picture)));  // [1, 1, C]
    const Index channels = pooled.size();
    return normalised(std::move(pooled).reshaped(Shape{channels}));
  }

  static Tensor<float, 1> normalised(Tensor<float, 1> x) {
    double sum = 0;
    for (const float value : x) sum += static_cast<double>(value) * value;
    for (float& value : x) value = static_cast<float>(value / std::sqrt(sum));
    return x;
  }

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("vision_tower", self.tower);
    walk("vision_tower.attn_pool", self.pool);
  }
};

/// The data of the measures: models/emoji/evaluation.
struct Evaluation {
  std::map<std::string, std::vector<Item>> items;  // by split
  std::vector<std::string> split_of;               // of every picture that there is
  std::vector<Tensor<float, 1>> embeddings;        // and its embedding
  Tensor<float, 4> noise;
  ContrastiveTower siglip;
  int steps;
  double guidance;

  Evaluation(const std::filesystem::path& folder, std::size_t limit)
      : noise(SafetensorsFile(folder / "noise.safetensors").at("noise").to_tensor<float, 4>()),
        siglip(read_config<SiglipConfig>(folder / "siglip.json")) {
    load(siglip, std::make_shared<Checkpoint>(folder / "siglip.safetensors"));
    const auto pooled = SafetensorsFile(folder / "pooled.safetensors").at("pooled").to_tensor<float, 2>();
    for (Index i = 0; i < pooled.shape()[0]; ++i) {
      Tensor<float, 1> row(Shape{pooled.shape()[1]});
      std::copy_n(pooled.view().row(i), row.size(), row.data());
      embeddings.push_back(ContrastiveTower::normalised(std::move(row)));
    }
    read_manifest(folder, limit);
  }

  /// The rows of the `count` embeddings nearest to the picture's, the nearest first: of training pictures for the training split, of
  /// all for another.
  std::vector<Index> nearest(const Picture& picture, const std::string& split, std::size_t count) const {
    const auto own = siglip(picture);
    std::vector<std::pair<float, Index>> distances;
    for (std::size_t k = 0; k < embeddings.size(); ++k)
      if (split != "train" || split_of[k] == split)
        distances.emplace_back(-std::inner_product(own.begin(), own.end(), embeddings[k].begin(), 0.0f), static_cast<Index>(k));
    count = std::min(count, distances.size());
    std::partial_sort(distances.begin(), distances.begin() + static_cast<Index>(count), distances.end());
    std::vector<Index> rows;
    for (std::size_t i = 0; i < count; ++i) rows.push_back(distances[i].second);
    return rows;
  }

 private:
  void read_manifest(const std::filesystem::path& folder, std::size_t limit) {
    const std::string path = (folder / "manifest.json").string();
    const Json json = read_json_file(path);
    const JsonObject manifest(json, path);
    const Picture sheet = read_picture(folder / "pictures.png");
    const Index size = manifest.integer("image_size", 1, 1024);
    steps = static_cast<int>(manifest.integer("num_inference_steps", 1, 1000));
    guidance = manifest.number("guidance_scale", 0, 1000);
    split_of = manifest.get<std::vector<std::string>>("splits");
    require(split_of.size() == embeddings.size(), path, ": ", split_of.size(), " splits for ", embeddings.size(), " embeddings");
    require(json.contains("pictures") && json["pictures"].is_array(), manifest.name("pictures"), " must be a list");
    for (const Json& entry : json["pictures"]) {
      const JsonObject object(entry, path, "pictures");
      const Index top = object.integer("row", 0, sheet.shape()[0] / size - 1) * size;
      const Index left = object.integer("column", 0, sheet.shape()[1] / size - 1) * size;
      Item item{object.get<std::string>("name"), Picture(Shape{size, size, Index{3}}), object.integer("noise", 0, noise.shape()[0] - 1),
                object.integer("embedding", 0, std::ssize(embeddings) - 1), {}};
      for (Index y = 0; y < size; ++y) std::copy_n(&sheet(top + y, left, 0), size * 3, &item.picture(y, 0, 0));
      for (const Json& question : entry.value("questions", Json::array())) {
        const JsonObject q(question, path, "pictures.questions");
        item.questions.push_back({q.get<std::string>("type"), q.get<std::string>("question"), q.get<std::string>("answer")});
      }
      auto& list = items[object.get<std::string>("split")];
      if (limit == 0 || list.size() < limit) list.push_back(std::move(item));
    }
  }
};

/// How many of how many.
struct Share {
  Index right = 0, all = 0;
  void count(bool is_right) {
    right += is_right;
    ++all;
  }
  double value() const { return all ? static_cast<double>(right) / static_cast<double>(all) : 0; }
};

/// How a picture accuracy is counted, and what the pictures cost.
struct PictureAccuracy {
  Share first, first_five;
  std::vector<Picture> pictures;
  std::size_t evaluations = 0, rows = 0;  // of all pictures together
  double seconds = 0;                     // for one picture, of the fastest batch
};

/// Picture accuracy: whether a generated picture's nearest one (top 1), or one of the nearest five, is the prompt's own. Training
/// prompts are looked for among the training pictures, held-out ones among all. `set(request)` says how is painted.
template <class P, class Set>
PictureAccuracy measure_pictures(const TextToImage<P>& painter, const Evaluation& data, const std::string& split, std::size_t at_once,
                                 Progress& progress, Set&& set) {
  const auto& items = data.items.at(split);
  const Index floats = data.noise.size() / data.noise.shape()[0];
  PictureAccuracy accuracy;
  accuracy.seconds = std::numeric_limits<double>::infinity();
  progress.start();
  for (std::size_t begin = 0; begin < items.size(); begin += at_once) {
    const std::size_t count = std::min(at_once, items.size() - begin);
    TextToImageRequest request;
    set(request);
    Shape<4> shape = data.noise.shape();
    shape[0] = static_cast<Index>(count);
    const auto noise = std::make_shared<Tensor<float, 4>>(shape);
    request.noise = noise;
    for (std::size_t i = 0; i < count; ++i) {
      request.prompts.push_back(items[begin + i].name);
      std::copy_n(data.noise.data() + items[begin + i].noise * floats, floats, noise->data() + static_cast<Index>(i) * floats);
    }
    auto result = painter(request, [&](const TextToImageProgress& now) {
      const double done = static_cast<double>(begin + now.first) + static_cast<double>(now.pictures) * now.t;
      progress.show(done / static_cast<double>(items.size()), "painting, " + split);
      return true;
    });
    for (std::size_t i = 0; i < count; ++i) {
      const std::vector<Index> nearest = data.nearest(result.pictures[i], split, 5);
      const auto found = std::find(nearest.begin(), nearest.end(), items[begin + i].embedding);
      accuracy.first.count(found == nearest.begin());
      accuracy.first_five.count(found != nearest.end());
      accuracy.pictures.push_back(std::move(result.pictures[i]));
    }
    accuracy.evaluations += result.evaluations;
    accuracy.rows += result.rows;
    accuracy.seconds = std::min(accuracy.seconds,
                                (result.prompt_seconds + result.flow_seconds + result.decode_seconds) / static_cast<double>(count));
  }
  return accuracy;
}

}  // namespace examples
