// Measures an emoji model: are its pictures recognised, its answers right, its autoencoder sharp? The measures and their data are
// defined in models/emoji/evaluation/README.md.
#include <cstdio>
#include <map>
#include <optional>

#include "common/evaluation.hpp"
#include "common/paths.hpp"
#include "common/precision.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "janusflow/text/utf8.hpp"

using namespace examples;

namespace {

constexpr const char* splits[] = {"train", "heldout"};

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

/// What is measured: all of it, or one thing.
struct Measures {
  bool autoencoder = true, pictures = true, answers = true;

  static Measures only(const std::string& name) {
    if (name.empty()) return {};
    return {name == "autoencoder", name == "pictures", name == "answers"};
  }
};

template <class P>
Json measure(const std::filesystem::path& model, const Evaluation& data, Measures wanted) {
  const ModelFiles files = ModelFiles::open(model);
  const AutoencoderFiles vae = AutoencoderFiles::open(model / "vae");
  Json result;
  Progress progress;
  progress.stage("loading");
  std::optional<Autoencoder<P>> autoencoder;
  std::optional<TextToImage<P>> painter;
  std::optional<ImageToText<P>> observer;
  if (wanted.autoencoder) autoencoder.emplace(vae);
  if (wanted.pictures) painter.emplace(files, vae);
  if (wanted.answers) observer.emplace(files);
  for (const auto& [split, items] : data.items) {
    if (autoencoder) result["autoencoder_psnr"][split] = measure_autoencoder(*autoencoder, items, split, progress);
    if (observer) result["answer"][split] = measure_answers(*observer, items, split, progress);
    if (!painter) continue;
    const auto pictures = measure_pictures(*painter, data, split, 50, progress, [&](TextToImageRequest& request) {
      request.num_inference_steps = data.steps;
      request.guidance_scale = data.guidance;
    });
    result["picture"][split] = {
        {"top1", pictures.first.value()}, {"top5", pictures.first_five.value()}, {"n", pictures.first.all}};
  }
  return result;
}

/// A line of the table: a measure of both splits.
void print_row(const std::string& name, const Json& result, const std::string& path, double unit, const char* format) {
  std::printf("%-22s", name.c_str());
  for (const char* split : splits) {
    const Json::json_pointer pointer(std::string(path).replace(path.find('*'), 1, split));
    char text[32] = "-";
    if (result.contains(pointer)) std::snprintf(text, sizeof(text), format, result.at(pointer).get<double>() * unit);
    std::printf(" %9s", text);
  }
  std::printf("\n");
}

void print_table(const Json& result) {
  std::printf("%-22s %9s %9s\n", "", "training", "held out");
  if (result.contains("picture")) {
    print_row("pictures, top 1", result, "/picture/*/top1", 100, "%.1f %%");
    print_row("pictures, top 5", result, "/picture/*/top5", 100, "%.1f %%");
  }
  if (result.contains("answer"))
    for (const auto& [type, share] : result["answer"]["train"].items())
      print_row("answers, " + type, result, "/answer/*/" + type + "/accuracy", 100, "%.1f %%");
  if (result.contains("autoencoder_psnr")) print_row("autoencoder, PSNR", result, "/autoencoder_psnr/*", 1, "%.2f dB");
}

}  // namespace

int main(int argc, char** argv) {
  Program program("evaluate", "Measures an emoji model: its pictures, its answers, its autoencoder.");
  std::string model = default_model(), folder, only;
  std::size_t limit = 0;
  program.option("-m,--model", model, "DIR", "the model's directory");
  program.option("--data", folder, "DIR", "the data of the measures (evaluation in the model's unless given)");
  program.option("--only", only, "NAME", "one measure alone: autoencoder, pictures or answers")->check(CLI::IsMember({"autoencoder", "pictures", "answers"}));
  program.option("--limit", limit, "N", "only the first N pictures of each kind; 0: all");
  return program.run(argc, argv, [&] {
    const InterruptGuard::AtOnce here;
    require_model(model);
    const std::filesystem::path directory = model;
    const Evaluation data(folder.empty() ? directory / "evaluation" : std::filesystem::path(folder), limit);
    const std::string precision = choose_precision(program.precision(), Checkpoint(directory));
    program.report["settings"]["precision"] = precision;
    const Json result = with_precision(precision, [&]<class P>() { return measure<P>(directory, data, Measures::only(only)); });
    if (!program.json()) print_table(result);
    program.report.update(result);
  });
}
