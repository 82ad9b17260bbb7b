// What bfloat16, int8 and 4 bits cost in quality, on your own checkpoint: pictures, latents, layers and answers against float32.
#include <cmath>
#include <cstdio>

#include "common/paths.hpp"
#include "common/precision.hpp"
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/llama.hpp"
#include "janusflow/pipeline/image_to_text.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/pipeline/text_to_image.hpp"
#include "janusflow/text/processor.hpp"

using namespace examples;

namespace {

struct Options {
  std::string model = default_model(), vae, image;
  std::vector<std::string> prompts, questions, precisions{"bf16", "int8", "q4"};
  std::size_t limit = 32;
  int steps = 30;
};

/// What is compared: prompts to paint, and pictures with questions.
struct Work {
  std::vector<std::string> prompts;
  struct Question {
    Picture picture;
    std::string text;
  };
  std::vector<Question> questions;
};

/// What one precision makes of it.
struct Outcome {
  std::vector<Picture> pictures;
  Tensor<float, 4> latents;
  std::vector<Tensor<float, 3>> layers;  // the language model's states on the first prompt, layer by layer
  std::vector<std::string> answers;
};

/// The prompts and questions that the evaluation of the model's directory has, as many as the limits allow.
void add_evaluation(Work& work, const std::filesystem::path& folder, std::size_t prompts, std::size_t questions) {
  const std::string path = (folder / "manifest.json").string();
  const Json json = read_json_file(path);
  const JsonObject manifest(json, path);
  const Picture sheet = read_picture(folder / "pictures.png");
  const Index size = manifest.integer("image_size", 1, 1024);
  for (const Json& entry : json.at("pictures")) {
    const JsonObject object(entry, path, "pictures");
    if (work.prompts.size() < prompts) work.prompts.push_back(object.get<std::string>("name"));
    const Index top = object.integer("row", 0, sheet.shape()[0] / size - 1) * size;
    const Index left = object.integer("column", 0, sheet.shape()[1] / size - 1) * size;
    for (const Json& question : entry.value("questions", Json::array())) {
      if (work.questions.size() == questions) break;
      Picture picture(Shape{size, size, Index{3}});
      for (Index y = 0; y < size; ++y) std::copy_n(&sheet(top + y, left, 0), size * 3, &picture(y, 0, 0));
      work.questions.push_back({std::move(picture), JsonObject(question, path, "questions").get<std::string>("question")});
    }
  }
}

/// Paints all prompts.
template <class P>
void paint(const Options& options, const ModelFiles& files, const Work& work, const std::string& precision, Outcome& outcome) {
  Progress progress;
  progress.stage(precision + ", loading");
  const TextToImage<P> painter(files, AutoencoderFiles::open(options.vae));
  TextToImageRequest request;
  request.prompts = work.prompts;
  request.num_inference_steps = options.steps;
  progress.start();
  auto result = painter(request, [&](const TextToImageProgress& now) {
    progress.show(now.t, precision + ", painting");
    return true;
  });
  outcome.pictures = std::move(result.pictures);
  outcome.latents = std::move(result.latents);
}

/// Reads the first prompt with the language model alone.
template <class P>
void read(const ModelFiles& files, const Work& work, Outcome& outcome) {
  LlamaModel<P> language(files.config.language);
  load(language, files.checkpoint, "language_model.model.");
  const auto ids = Processor::from_directory(files.directory).generation_ids(work.prompts.front());
  auto embedded = language.embed(ids);
  const Shape batch{Index{1}, embedded.shape()[0], embedded.shape()[1]};
  language.hidden(std::move(embedded).reshaped(batch), {}, Remember::no,
                  [&](Index, const Tensor<float, 3>& h) { outcome.layers.push_back(h.clone()); });
}

/// Answers all questions.
template <class P>
void answer(const ModelFiles& files, const Work& work, const std::string& precision, Outcome& outcome) {
  Progress progress;
  progress.stage(precision + ", loading");
  const ImageToText<P> observer(files);
  AnswerSettings settings;
  settings.max_new_tokens = 64;
  progress.start();
  for (std::size_t i = 0; i < work.questions.size(); ++i) {
    std::vector<Picture> picture;
    picture.emplace_back(std::as_const(work.questions[i].picture).view());
    typename ImageToText<P>::Conversation conversation(observer, std::move(picture));
    outcome.answers.push_back(conversation.ask(work.questions[i].text, settings).text);
    progress.show(static_cast<double>(i + 1) / static_cast<double>(work.questions.size()), precision + ", answering");
  }
}

/// What a precision makes of the work. One model at a time is in memory.
template <class P>
Outcome run(const Options& options, const Work& work, const std::string& precision) {
  const ModelFiles files = ModelFiles::open(options.model);
  Outcome outcome;
  if (!work.prompts.empty()) {
    paint<P>(options, files, work, precision, outcome);
    BufferPool::instance().release();
    read<P>(files, work, outcome);
    BufferPool::instance().release();
  }
  if (!work.questions.empty()) answer<P>(files, work, precision, outcome);
  BufferPool::instance().release();
  return outcome;
}

/// |x - y| / |y| over all elements.
template <int R>
double relative_error(const Tensor<float, R>& x, const Tensor<float, R>& y) {
  double error = 0, size = 0;
  for (Index i = 0; i < y.size(); ++i) {
    error += std::pow(static_cast<double>(x.data()[i]) - static_cast<double>(y.data()[i]), 2);
    size += std::pow(static_cast<double>(y.data()[i]), 2);
  }
  return size > 0 ? std::sqrt(error / size) : std::sqrt(error);
}

Json compare(const Outcome& outcome, const Outcome& exact) {
  Json result = Json::object();
  if (!exact.pictures.empty()) {
    double sum = 0, worst = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < exact.pictures.size(); ++i) {
      const double decibel = std::min(psnr(outcome.pictures[i], exact.pictures[i]), 100.0);  // equal pictures count as 100 dB
      sum += decibel;
      worst = std::min(worst, decibel);
    }
    result["psnr"] = {{"mean", sum / static_cast<double>(exact.pictures.size())}, {"worst", worst}, {"n", exact.pictures.size()}};
    result["latents_relative_error"] = relative_error(outcome.latents, exact.latents);
    for (std::size_t i = 0; i < exact.layers.size(); ++i)
      result["layers_relative_error"].push_back(relative_error(outcome.layers[i], exact.layers[i]));
  }
  if (!exact.answers.empty()) {
    std::size_t equal = 0;
    for (std::size_t i = 0; i < exact.answers.size(); ++i) equal += outcome.answers[i] == exact.answers[i];
    result["equal_answers"] = {{"share", static_cast<double>(equal) / static_cast<double>(exact.answers.size())},
                               {"n", exact.answers.size()}};
  }
  return result;
}

void print(const std::string& precision, const Json& result) {
  std::printf("%s against f32\n", precision.c_str());
  if (result.contains("psnr")) {
    std::printf("  pictures, PSNR           %.2f dB on average of %zu, worst %.2f dB\n", result["psnr"]["mean"].get<double>(),
                result["psnr"]["n"].get<std::size_t>(), result["psnr"]["worst"].get<double>());
    std::printf("  latents, relative error  %.2e\n", result["latents_relative_error"].get<double>());
    std::printf("  layers, relative error  ");
    for (const Json& error : result["layers_relative_error"]) std::printf(" %.1e", error.get<double>());
    std::printf("\n");
  }
  if (result.contains("equal_answers"))
    std::printf("  equal greedy answers     %.1f %% of %zu\n", 100 * result["equal_answers"]["share"].get<double>(),
                result["equal_answers"]["n"].get<std::size_t>());
  std::fflush(stdout);  // Ctrl-C may come while the next is compared
}

}  // namespace

int main(int argc, char** argv) {
  Program program("compare_precision", "Compares a model's pictures, latents, layers and answers with those in float32.");
  Options options;
  program.cli.remove_option(program.cli.get_option("--precision"));  // --against has several
  program.option("-m,--model", options.model, "DIR", "the model's directory");
  program.option("--vae", options.vae, "DIR", "the VAE's directory (vae in the model's unless given)");
  program.option("-p,--prompt", options.prompts, "TEXT", "what to paint; the first names of DIR/evaluation unless given")
      ->allow_extra_args(false);
  auto* image = program.option("-i,--image", options.image, "FILE", "the picture that the questions are about");
  program.option("-q,--question", options.questions, "TEXT", "what to ask; 200 questions of DIR/evaluation unless given")
      ->allow_extra_args(false)->needs(image);
  program.option("--against", options.precisions, "LIST", "precisions to compare with float32")
      ->delimiter(',')->check(CLI::IsMember({"bf16", "int8", "q4"}));
  program.option("--steps", options.steps, "N", "steps of the solver")->check(CLI::Range(1, 100000));
  program.option("--limit", options.limit, "N", "names to paint of DIR/evaluation");
  return program.run(argc, argv, [&] {
    const InterruptGuard::AtOnce here;
    require_model(options.model);
    if (options.vae.empty()) options.vae = (std::filesystem::path(options.model) / "vae").string();
    Work work{options.prompts, {}};
    const auto evaluation = std::filesystem::path(options.model) / "evaluation";
    std::error_code error;
    if (!options.questions.empty()) {
      const Picture picture = read_picture(options.image);
      for (const std::string& question : options.questions) work.questions.push_back({picture.clone(), question});
    }
    if (work.prompts.empty() && work.questions.empty() && std::filesystem::exists(evaluation, error))
      add_evaluation(work, evaluation, options.limit, 200);
    require(!work.prompts.empty() || !work.questions.empty(), options.model,
            " has no evaluation: give prompts with -p, or a picture and questions with -i and -q");
    const Outcome exact = run<Float32>(options, work, "f32");
    for (const std::string& precision : options.precisions) {
      const Json result =
          compare(with_precision(precision, [&]<class P>() { return run<P>(options, work, precision); }), exact);
      program.report[precision] = result;
      if (!program.json()) print(precision, result);
    }
  });
}
