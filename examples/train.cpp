// Trains a model by a config file: its stages, checkpoints to go on from, and a directory that every program reads.
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/pipeline/text_to_image.hpp"
#include "janusflow/train/trainer.hpp"

using namespace examples;

namespace {

struct Options {
  std::string config, stage;
  bool resume = false, check = false, publish = false;
};

/// The line on the terminal, and the seconds that are left by the pace of the last steps.
class Reporter {
 public:
  explicit Reporter(const TrainingConfig& config) : config_(config) {}

  bool preparing(const std::string& what, double fraction) {
    if (what != preparing_) progress_.start();
    preparing_ = what;
    progress_.show(fraction, what);
    return !InterruptGuard::requested();
  }
  bool step(const StepReport& report) {
    if (first_ < 0) {
      progress_.start();
      first_ = report.total_steps - 1;
    }
    // Of the steps of this call: those before it may have been done on another day.
    const double done = static_cast<double>(report.total_steps - first_), all = static_cast<double>(report.all_steps - first_);
    std::string text = report.stage.name + ' ' + std::to_string(report.step) + '/' + std::to_string(report.stage.schedule.steps);
    add(text, "ar", report.ar);
    add(text, "rf", report.rf);
    add(text, "repa", report.repa);
    char rate[48];
    std::snprintf(rate, sizeof(rate), ", %.1f samples/s", static_cast<double>(report.samples) / std::max(1e-9, report.seconds));
    progress_.show(done / all, text + rate);
    return !InterruptGuard::requested();
  }
  /// A sheet of what the sample prompts give now.
  void samples(const Trainer<>& trainer, const StepReport& report) {
    progress_.stage("painting samples");
    const auto model = config_.output / "model";
    trainer.publish(model);
    TextToImageRequest request;
    request.prompts = config_.sample_prompts;
    const auto result = TextToImage<Float32>::from_directory(model, model / "vae")(request);
    std::filesystem::create_directories(config_.output / "samples");
    const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(result.pictures.size()))));
    write_png(config_.output / "samples" / ("step-" + std::to_string(report.total_steps) + ".png"), contact_sheet(result.pictures, columns, 4).view());
  }
  void clear() { progress_.clear(); }

 private:
  static void add(std::string& text, const char* name, std::optional<double> loss) {
    char number[48];
    if (loss) text += (std::snprintf(number, sizeof(number), ", %s %.4f", name, *loss), number);
  }

  const TrainingConfig& config_;
  Progress progress_;
  std::string preparing_;
  Index first_ = -1;
};

void train(Program& program, const Options& options) {
  require(program.precision() == "auto" || program.precision() == "f32", "training is done in f32, not ", program.precision());
  const TrainingConfig config = TrainingConfig::from_file(options.config);
  Reporter reporter(config);
  Trainer<>* running = nullptr;
  TrainerObserver observer;
  observer.preparing = [&](const std::string& what, double fraction) { return reporter.preparing(what, fraction); };
  observer.step = [&](const StepReport& report) { return reporter.step(report); };
  observer.samples = [&](const StepReport& report) { reporter.samples(*running, report); };
  Trainer trainer(config, observer);
  running = &trainer;
  if (options.check) {
    trainer.check_samples();
    reporter.clear();
    if (!program.json()) std::cout << options.config << ": model, stages and samples fit together\n";
    return;
  }
  if (options.resume || options.publish) {
    require(trainer.resume(), config.output.string(), " holds no checkpoint to go on from");
  } else {
    require(!trainer.latest_checkpoint(), config.output.string(), " holds a run already: go on with it by --resume, or name another output");
  }
  bool finished = true;
  if (!options.publish) finished = trainer.run(options.stage);
  reporter.clear();
  const Index steps = trainer.progress().total_steps;
  program.report.update({{"steps", steps}, {"all_steps", trainer.all_steps()}, {"finished", trainer.finished()}});
  if (!finished) {
    std::cerr << "train: saved after step " << steps << " of " << trainer.all_steps() << "; --resume goes on from there\n";
    throw Interrupted();
  }
  trainer.publish(config.output / "model");
  if (!program.json()) std::cout << (config.output / "model").string() << ": the average of the weights after step " << steps << " of " << trainer.all_steps() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  Program program("train", "Trains a JanusFlow model by a config file and writes a directory that every program reads.");
  Options options;
  program.option("config", options.config, "FILE", "the config of the run, JSON")->required();
  program.cli.add_flag("--resume", options.resume, "go on from the newest checkpoint of the run's output directory");
  program.option("--stage", options.stage, "NAME", "train this stage alone, the next of the config's; all that are left unless given");
  program.cli.add_flag("--check", options.check, "only check that config, model and samples fit together");
  program.cli.add_flag("--publish", options.publish, "only write the newest checkpoint as a model");
  return program.run(argc, argv, [&] { train(program, options); });
}
