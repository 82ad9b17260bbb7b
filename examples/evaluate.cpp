// Measures an emoji model: are its pictures recognised, its answers right, its autoencoder sharp? The measures and their data are
// defined in models/emoji/evaluation/README.md.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "common/paths.hpp"
#include "common/precision.hpp"
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/siglip.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/pipeline/text_to_image.hpp"

using namespace examples;

namespace {

constexpr const char* splits[] = {"train", "heldout"};

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
  Json reference;  // the training recipe's own figures; empty where they are not given

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
    std::error_code error;
    if (std::filesystem::exists(folder / "reference.json", error)) reference = read_json_file(folder / "reference.json");
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

/// Picture accuracy: whether a generated picture's nearest one (top 1), or one of the nearest five, is the prompt's own. Training
/// prompts are looked for among the training pictures, held-out ones among all.
template <class P>
Json measure_pictures(const TextToImage<P>& painter, const Evaluation& data, const std::string& split, Progress& progress) {
  const auto& items = data.items.at(split);
  constexpr std::size_t at_once = 50;
  const Index floats = data.noise.size() / data.noise.shape()[0];
  Share first, first_five;
  progress.start();
  for (std::size_t begin = 0; begin < items.size(); begin += at_once) {
    const std::size_t count = std::min(at_once, items.size() - begin);
    TextToImageRequest request;
    request.num_inference_steps = data.steps;
    request.guidance_scale = data.guidance;
    Shape<4> shape = data.noise.shape();
    shape[0] = static_cast<Index>(count);
    request.noise.emplace(shape);
    for (std::size_t i = 0; i < count; ++i) {
      request.prompts.push_back(items[begin + i].name);
      std::copy_n(data.noise.data() + items[begin + i].noise * floats, floats, request.noise->data() + static_cast<Index>(i) * floats);
    }
    const auto result = painter(request, [&](const TextToImageProgress& now) {
      progress.show((static_cast<double>(begin) + static_cast<double>(count) * now.t) / static_cast<double>(items.size()), "painting, " + split);
      return true;
    });
    for (std::size_t i = 0; i < count; ++i) {
      const auto own = data.siglip(result.pictures[i]);
      std::vector<std::pair<float, Index>> nearest;
      for (std::size_t k = 0; k < data.embeddings.size(); ++k)
        if (split == "heldout" || data.split_of[k] == split)
          nearest.emplace_back(-std::inner_product(own.begin(), own.end(), data.embeddings[k].begin(), 0.0f), static_cast<Index>(k));
      const std::size_t five = std::min<std::size_t>(5, nearest.size());
      std::partial_sort(nearest.begin(), nearest.begin() + static_cast<Index>(five), nearest.end());
      const auto found = std::find_if(nearest.begin(), nearest.begin() + static_cast<Index>(five),
                                      [&](const auto& entry) { return entry.second == items[begin + i].embedding; });
      first.count(found == nearest.begin());
      first_five.count(found != nearest.begin() + static_cast<Index>(five));
    }
  }
  return {{"top1", first.value()}, {"top5", first_five.value()}, {"n", first.all}};
}

/// Answer accuracy by question type: greedy answers that are exactly the expected text.
template <class P>
Json measure_answers(const ImageToText<P>& observer, const std::vector<Item>& items, const std::string& split, Progress& progress) {
  std::map<std::string, Share> shares;
  AnswerSettings settings;
  settings.max_new_tokens = 24;  // no expected answer is longer
  progress.start();
  for (std::size_t i = 0; i < items.size(); ++i) {
    for (const auto& question : items[i].questions) {
      std::vector<Picture> picture;
      picture.emplace_back(std::as_const(items[i].picture).view());
      typename ImageToText<P>::Conversation conversation(observer, std::move(picture));
      const Answer answer = conversation.ask(question.text, settings);
      shares[question.type].count(strip(answer.text) == question.answer);
    }
    progress.show(static_cast<double>(i + 1) / static_cast<double>(items.size()), "answering, " + split);
  }
  Json result;
  for (const auto& [type, share] : shares) result[type] = {{"accuracy", share.value()}, {"n", share.all}};
  return result;
}

/// The mean PSNR of pictures that went through the autoencoder and back.
template <class P>
double measure_autoencoder(const Autoencoder<P>& autoencoder, const std::vector<Item>& items, const std::string& split, Progress& progress) {
  double sum = 0;
  progress.start();
  for (std::size_t i = 0; i < items.size(); ++i) {
    sum += psnr(items[i].picture, autoencoder.decode(autoencoder.encode(items[i].picture)));
    progress.show(static_cast<double>(i + 1) / static_cast<double>(items.size()), "reconstructing, " + split);
  }
  return sum / static_cast<double>(items.size());
}

template <class P>
Json measure(const std::filesystem::path& model, const Evaluation& data) {
  const ModelFiles files = ModelFiles::open(model);
  const AutoencoderFiles vae = AutoencoderFiles::open(model / "vae");
  Json result;
  Progress progress;
  progress.stage("loading");
  const Autoencoder<P> autoencoder(vae);
  const TextToImage<P> painter(files, vae);
  const ImageToText<P> observer(files);
  for (const auto& [split, items] : data.items) {
    result["autoencoder_psnr"][split] = measure_autoencoder(autoencoder, items, split, progress);
    result["picture"][split] = measure_pictures(painter, data, split, progress);
    result["answer"][split] = measure_answers(observer, items, split, progress);
  }
  return result;
}

/// A line of the table: what was measured and, where there is one, the recipe's own figure behind it in brackets.
void print_row(const std::string& name, const Json& result, const Json& reference, const std::string& path, double unit, const char* format) {
  const auto at = [&](const Json& figures, const char* split) -> std::string {
    const Json::json_pointer pointer(std::string(path).replace(path.find('*'), 1, split));
    if (!figures.contains(pointer)) return "-";
    char text[32];
    std::snprintf(text, sizeof(text), format, figures.at(pointer).get<double>() * unit);
    return text;
  };
  std::printf("%-22s", name.c_str());
  for (const char* split : splits) {
    std::printf(" %9s", at(result, split).c_str());
    if (!reference.is_null()) std::printf(" %9s", ('(' + at(reference, split) + ')').c_str());
  }
  std::printf("\n");
}

void print_table(const Json& result, const Json& reference) {
  const int width = reference.is_null() ? 9 : 19;
  std::printf("%-22s %*s %*s\n", "", width, "training", width, "held out");
  print_row("pictures, top 1", result, reference, "/picture/*/top1", 100, "%.1f %%");
  print_row("pictures, top 5", result, reference, "/picture/*/top5", 100, "%.1f %%");
  for (const auto& [type, share] : result["answer"].begin()->items())
    print_row("answers, " + type, result, reference, "/answer/*/" + type + "/accuracy", 100, "%.1f %%");
  print_row("autoencoder, PSNR", result, reference, "/autoencoder_psnr/*", 1, "%.2f dB");
  if (!reference.is_null()) std::printf("In brackets: the training recipe's own figures.\n");
}

}  // namespace

int main(int argc, char** argv) {
  Program program("evaluate", "Measures an emoji model: its pictures, its answers, its autoencoder.");
  std::string model = default_model(), folder;
  std::size_t limit = 0;
  program.option("-m,--model", model, "DIR", "the model's directory");
  program.option("--data", folder, "DIR", "the data of the measures (evaluation in the model's unless given)");
  program.option("--limit", limit, "N", "only the first N pictures of each kind; 0: all");
  return program.run(argc, argv, [&] {
    const InterruptGuard::AtOnce here;
    require_model(model);
    const std::filesystem::path directory = model;
    const Evaluation data(folder.empty() ? directory / "evaluation" : std::filesystem::path(folder), limit);
    const std::string precision = choose_precision(program.precision(), Checkpoint(directory));
    program.report["settings"]["precision"] = precision;
    const Json result = with_precision(precision, [&]<class P>() { return measure<P>(directory, data); });
    if (!program.json()) print_table(result, data.reference);
    program.report.update(result);
    if (!data.reference.is_null()) program.report["reference"] = data.reference;
  });
}
