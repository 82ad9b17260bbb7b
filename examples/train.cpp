// Trains a model, an autoencoder or SigLIP's tower by a config file: stages, checkpoints to go on from, a directory that programs read.
#include <optional>

#include "common/program.hpp"
#include "common/progress.hpp"
#include "common/ranks.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/pipeline/text_to_image.hpp"
#include "janusflow/train/autoencoder_objective.hpp"
#include "janusflow/train/siglip_objective.hpp"
#include "janusflow/train/trainer.hpp"

using namespace examples;

namespace {

struct Options {
  std::string config, stage;
  bool resume = false, check = false, publish = false;
};

/// Pictures on a sheet of about as many columns as rows; so many that belong together stay side by side.
Picture sheet(const std::vector<Picture>& pictures, Index together = 1) {
  const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(pictures.size()))));
  return contact_sheet(pictures, (columns + together - 1) / together * together, 4);
}

/// What the model that was published last paints for the sample prompts.
Picture sample(const TrainingConfig& config) {
  TextToImageRequest request;
  request.prompts = config.sample_prompts;
  const auto model = config.output / "model";
  return sheet(TextToImage<Float32>::from_directory(model, model / "vae")(request).pictures);
}
/// Pictures of the manifest, each beside what the autoencoder that was published last makes of it.
Picture sample(const AutoencoderTrainingConfig& config) {
  const auto autoencoder = Autoencoder<Float32>::from_directory(config.output / "model");
  const Manifest manifest(config.manifest);
  const PaintedPictures pictures(manifest, autoencoder.config().sample_size, {}, config.seed);
  std::vector<Picture> pairs;
  for (const auto& path : pictures.spread(18)) {
    pairs.push_back(resize_and_crop(read_picture(path).view(), autoencoder.config().sample_size, path.string()));
    pairs.push_back(autoencoder.decode(autoencoder.encode(std::as_const(pairs.back()).view()).view()));
  }
  return sheet(pairs, 2);
}
Picture sample(const SiglipTrainingConfig&) { return {}; }

/// The line on the terminal, and the time that is left by the pace since the first step of this call.
class Reporter {
 public:
  void stage(const std::string& what) { progress_.stage(what); }
  bool preparing(const std::string& what, double fraction) {
    if (what != preparing_) progress_.start();
    preparing_ = what;
    progress_.show(fraction, what);
    return !InterruptGuard::requested();
  }
  bool step(const StepReport& report) {
    preparing_.clear();
    if (first_ < 0) {
      first_ = report.total_steps - 1;
      before_ = report.seconds;
      watch_ = {};
    }
    // Of the steps of this call: those before it may have been done on another day.
    const double done = static_cast<double>(report.total_steps - first_), all = static_cast<double>(report.all_steps - first_);
    std::string text = report.stage.name + ' ' + std::to_string(report.step) + '/' + std::to_string(report.stage.schedule.steps);
    char number[64];
    for (std::size_t i = 0; i < report.names.size(); ++i)
      if (const auto& part = report.losses.parts[i]) text += (std::snprintf(number, sizeof(number), ", %s %.4f", report.names[i].c_str(), *part), number);
    std::snprintf(number, sizeof(number), ", %.1f samples/s", static_cast<double>(report.samples) / std::max(1e-9, report.seconds));
    progress_.show(done / all, text + number, before_ + watch_.seconds());
    return !InterruptGuard::requested();
  }
  /// A sheet of what has been learned so far.
  template <class Trainer>
  void samples(const Trainer& trainer, const StepReport& report) {
    progress_.stage("making a sheet of samples");
    const auto& output = trainer.config().output;
    trainer.publish(output / "model");
    const Picture pictures = sample(trainer.config());
    make_directories(output / "samples");
    write_png(output / "samples" / ("step-" + std::to_string(report.total_steps) + ".png"), pictures.view());
  }
  void clear() { progress_.clear(); }

 private:
  Progress progress_;
  std::string preparing_;  // if that is what was done last
  Index first_ = -1;
  double before_ = 0;  // seconds of the first step
  Stopwatch watch_;    // of what came behind it
};

/// Of several ranks the first one speaks.
template <Objective O>
void train(Program& program, const Options& options, Communicator& communicator) {
  const bool speaks = communicator.rank() == 0;
  Reporter reporter;
  std::optional<Trainer<O>> opened;
  TrainerObserver observer;
  if (speaks) {
    observer.preparing = [&](const std::string& what, double fraction) { return reporter.preparing(what, fraction); };
    observer.step = [&](const StepReport& report) { return reporter.step(report); };
    observer.samples = [&](const StepReport& report) { reporter.samples(*opened, report); };
  } else {
    observer.preparing = [](const std::string&, double) { return !InterruptGuard::requested(); };
    observer.step = [](const StepReport&) { return !InterruptGuard::requested(); };
  }
  bool checked = true;
  if (speaks) reporter.stage("loading");
  together(communicator, [&] {
    opened.emplace(read_run_config<typename O::Config>(options.config), observer, communicator);
    const auto output = opened->config().output.string();
    if (options.check) {
      if (speaks) checked = opened->check_samples();
    } else if (options.resume || options.publish) {
      require(opened->resume(), output, " holds no checkpoint to go on from");
    } else {
      require(!opened->latest_checkpoint(), output, " holds a run already: go on with it by --resume, or name another output");
    }
  });
  Trainer<O>& trainer = *opened;
  const bool prints = speaks && !program.json();
  if (options.check) {
    reporter.clear();
    if (on_any_rank(communicator, !checked)) throw Interrupted();
    if (prints) std::cout << options.config << ": model, stages and samples fit together\n";
    return;
  }
  bool finished = true;
  if (!options.publish) finished = trainer.run(options.stage);
  reporter.clear();
  const Index steps = trainer.progress().total_steps;
  program.report.update({{"steps", steps}, {"all_steps", trainer.all_steps()}, {"finished", trainer.finished()}});
  if (!finished) {
    if (speaks) std::cerr << "train: saved after step " << steps << " of " << trainer.all_steps() << "; --resume goes on from there\n";
    throw Interrupted();
  }
  const auto model = trainer.config().output / "model";
  if (speaks) reporter.stage("writing the model");
  together(communicator, [&] { trainer.publish(model); });
  reporter.clear();
  if (prints) std::cout << model.string() << ": the average of the weights after step " << steps << " of " << trainer.all_steps() << '\n';
}

void train(Program& program, const Options& options, Communicator& communicator) {
  std::string kind;
  together(communicator, [&] {
    require(program.precision() == "auto" || program.precision() == "f32", "training is done in f32, not ", program.precision());
    const Json json = read_json_file(options.config);
    kind = training_kind(JsonObject(json, options.config));
  });
  if (kind == "autoencoder") train<AutoencoderObjective<>>(program, options, communicator);
  else if (kind == "siglip") train<SiglipObjective<>>(program, options, communicator);
  else train<JanusFlowObjective<>>(program, options, communicator);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("train", "Trains a JanusFlow model, an autoencoder or SigLIP's tower by a config file and writes a directory that the programs read.");
  Options options;
  program.option("config", options.config, "FILE", "the config of the run, JSON")->required();
  program.cli.add_flag("--resume", options.resume, "go on from the newest checkpoint of the run's output directory");
  program.option("--stage", options.stage, "NAME", "train this stage alone, the next of the config's; all that are left unless given");
  program.cli.add_flag("--check", options.check, "only check that config, model and samples fit together");
  program.cli.add_flag("--publish", options.publish, "only write the newest checkpoint as a model");
  return program.run(argc, argv, [&] {
    with_ranks(program, [&](Communicator& communicator) { train(program, options, communicator); });
  });
}
