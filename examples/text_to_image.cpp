// Paints pictures from prompts.
#include "common/painting.hpp"
#include "common/paths.hpp"
#include "common/precision.hpp"
#include "common/progress.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/model_files.hpp"

using namespace examples;

namespace {

struct Options {
  std::string model = default_model(), vae, output = "out.png", negative, noise, save_latents;
  std::size_t preview_every = 0;
  bool grid = false;
};

/// What is written: the files' names, and how the sheet is laid out.
struct Outputs {
  std::vector<std::string> pictures, previews;
  std::string grid, latents;
  static constexpr Index gap = 4;  // between the sheet's pictures, in pixels
  Index columns;

  Outputs(const Options& options, const TextToImageRequest& request) : latents(options.save_latents) {
    const auto count = request.prompts.size() * static_cast<std::size_t>(request.images_per_prompt);
    pictures = numbered(options.output, count);
    if (options.preview_every) previews = numbered(with_suffix(options.output, "-preview"), count);
    if (options.grid) grid = with_suffix(options.output, "-grid");
    columns = request.prompts.size() > 1 && request.images_per_prompt > 1  // a row for each prompt
                  ? request.images_per_prompt
                  : static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(count))));
  }

  std::vector<std::string> all() const {
    std::vector<std::string> names = pictures;
    names.insert(names.end(), previews.begin(), previews.end());
    for (const std::string& name : {grid, latents})
      if (!name.empty()) names.push_back(name);
    return names;
  }

  /// Throws where a sheet of pictures of this size is asked for, but no picture may be so large.
  void require_sheet_fits(Index height, Index width) const {
    if (grid.empty()) return;
    const Index rows = (std::ssize(pictures) + columns - 1) / columns;
    const Index all_height = rows * (height + gap) - gap, all_width = columns * (width + gap) - gap;
    const double pixels = static_cast<double>(all_height) * static_cast<double>(all_width);
    require(pixels <= static_cast<double>(max_picture_pixels), "the sheet of ", pictures.size(), " pictures would have ", all_width, " x ",
            all_height, " pixels, more than the limit of ", max_picture_pixels, ": leave out --grid");
  }
};

/// Writes the pictures to the names from `first` on.
void write_pictures(const std::vector<Picture>& pictures, const std::vector<std::string>& names, std::size_t first = 0) {
  const InterruptGuard::Noted here;
  for (std::size_t i = 0; i < pictures.size(); ++i) write_png(names[first + i], pictures[i]);
}

template <class P>
void paint(Program& program, const Options& options, const Outputs& outputs, const ModelFiles& files, const TextToImageRequest& request) {
  std::optional<InterruptGuard::AtOnce> computing(std::in_place);
  Progress progress;
  progress.stage("loading");
  const AutoencoderFiles vae = AutoencoderFiles::open(options.vae);
  const auto side = [&](Index given, int axis) {  // of the pictures, in pixels
    if (request.noise) return request.noise->shape()[axis] * vae.config.downscale();
    return given ? given : files.config.vision_und_enc.image_size;
  };
  outputs.require_sheet_fits(side(request.height, 2), side(request.width, 3));
  const TextToImage<P> pipeline(files, vae);
  program.report["timings"]["load"] = program.seconds();

  const std::size_t count = outputs.pictures.size();
  progress.stage("reading the prompt");
  progress.start();
  const auto result = pipeline(request, [&](const TextToImageProgress& now) {
    std::string step = "step " + std::to_string(now.step);
    if (now.total_steps) step += " of " + std::to_string(now.total_steps);
    if (now.pictures < count) step = "picture " + std::to_string(now.first + 1) + " of " + std::to_string(count) + ", " + step;
    progress.show((static_cast<double>(now.first) + static_cast<double>(now.pictures) * now.t) / static_cast<double>(count), step);
    if (options.preview_every && now.step % options.preview_every == 0 && now.t < 1)
      write_pictures(now.preview(), outputs.previews, now.first);
    if (now.t == 1 && now.first + now.pictures == count) progress.stage("decoding");
    return !InterruptGuard::requested();
  });
  if (!result.finished) throw Interrupted();
  computing.reset();
  progress.clear();

  write_pictures(result.pictures, outputs.pictures);
  if (!outputs.latents.empty()) {
    const SafetensorsEntry latents[] = {safetensors_entry("latents", std::as_const(result.latents).view())};
    write_safetensors(outputs.latents, latents);
  }
  if (options.grid) write_png(outputs.grid, contact_sheet(result.pictures, outputs.columns, Outputs::gap));
  program.report["pictures"] = outputs.pictures;
  program.report["evaluations"] = result.evaluations;
  program.report["rows"] = result.rows;
  program.report["timings"].update(
      {{"prompt", result.prompt_seconds}, {"flow", result.flow_seconds}, {"decode", result.decode_seconds}});
  if (!program.json())
    for (const std::string& name : outputs.pictures) std::cout << name << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  Program program("text_to_image", "Paints pictures from prompts with JanusFlow.");
  Options options;
  TextToImageRequest request;
  auto& cli = program.cli;
  program.option("-m,--model", options.model, "DIR", "the model's directory");
  program.option("--vae", options.vae, "DIR", "the VAE's directory (vae in the model's unless given)");
  program.option("-p,--prompt", request.prompts, "TEXT", "what to paint; may be given several times")
      ->required()->allow_extra_args(false);
  const auto* negative = program.option("-n,--negative-prompt", options.negative, "TEXT", "what guidance leads away from");
  program.option("-o,--output", options.output, "FILE", "the PNG file; of several, out-1.png, out-2.png, ...")
      ->check(png_name);
  const PaintingOptions painting(cli);
  program.option("-s,--seed", request.seed, "N", "of the noise; picture j of a prompt takes seed + j")
      ->transform(CLI::Validator(seed_below_zero, ""));
  program.option("-b,--batch-count", request.images_per_prompt, "N", "pictures for each prompt")
      ->check(CLI::Range(1, 10000));
  program.option("--width", request.width, "N", "of the pictures in pixels; 0: the model's own")->check(CLI::Range(0, 16384));
  program.option("--height", request.height, "N", "the same")->check(CLI::Range(0, 16384));
  cli.add_flag("--vae-tiling", request.vae_tiling, "decode in strips: the same picture in less memory; where it is large, in a third more or about twice the time");
  program.option("--noise", options.noise, "FILE", "safetensors file whose `noise` [B,C,h,w] to start from");
  program.option("--save-latents", options.save_latents, "FILE", "safetensors file for the `latents` [B,C,h,w]");
  program.option("--preview-every", options.preview_every, "K", "write out-preview.png every K steps; 0: never");
  cli.add_flag("--grid", options.grid, "write all pictures on one sheet too, out-grid.png");

  return program.run(argc, argv, [&] {
    require_model(options.model);
    if (options.vae.empty()) options.vae = (std::filesystem::path(options.model) / "vae").string();
    painting.apply(request);
    if (negative->count()) request.negative_prompt = options.negative;
    require_command(!negative->count() || request.guidance_scale != 1, "--negative-prompt has no effect with --guidance 1");
    if (!options.noise.empty()) {
      request.noise = std::make_shared<Tensor<float, 4>>(SafetensorsFile(options.noise).at("noise").to_tensor<float, 4>());
      if (cli.count("--batch-count") == 0)  // then the noise says how many
        request.images_per_prompt = std::max<Index>(1, request.noise->shape()[0] / std::ssize(request.prompts));
    }
    const Outputs outputs(options, request);
    require_outputs(outputs.all(), {options.noise});

    const ModelFiles files = ModelFiles::open(options.model);
    const std::string precision = choose_precision(program.precision(), *files.checkpoint);
    program.report["settings"].update({{"vae", options.vae}, {"precision", precision},  // and what --fast made of these
                                       {"solver", solver_name(request.solver)}, {"steps", request.num_inference_steps}});
    with_precision(precision, [&]<class P>() { paint<P>(program, options, outputs, files, request); });
  });
}
