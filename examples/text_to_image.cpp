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

void write_pictures(const std::vector<Picture>& pictures, const std::vector<std::string>& names) {
  const InterruptGuard::Noted here;
  for (std::size_t i = 0; i < pictures.size(); ++i) write_png(names[i], pictures[i]);
}

template <class P>
void paint(Program& program, const Options& options, const ModelFiles& files, const TextToImageRequest& request) {
  std::optional<InterruptGuard::AtOnce> computing(std::in_place);
  Progress progress;
  progress.stage("loading");
  const TextToImage<P> pipeline(files, AutoencoderFiles::open(options.vae));
  program.report["timings"]["load"] = program.seconds();

  const std::size_t count = request.prompts.size() * static_cast<std::size_t>(request.images_per_prompt);
  const auto names = numbered(options.output, count), previews = numbered(with_suffix(options.output, "-preview"), count);
  progress.stage("reading the prompt");
  progress.start();
  const auto result = pipeline(request, [&](const TextToImageProgress& now) {
    const std::string step = "step " + std::to_string(now.step);
    progress.show(now.t, now.total_steps ? step + " of " + std::to_string(now.total_steps) : step);
    if (options.preview_every && now.step % options.preview_every == 0 && now.t < 1) write_pictures(now.preview(), previews);
    if (now.t == 1) progress.stage("decoding");
    return !InterruptGuard::requested();
  });
  if (!result.finished) throw Interrupted();
  computing.reset();
  progress.clear();

  write_pictures(result.pictures, names);
  if (options.grid) {
    const Index columns = request.prompts.size() > 1 && request.images_per_prompt > 1  // a row for each prompt
                              ? request.images_per_prompt
                              : static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(count))));
    write_png(with_suffix(options.output, "-grid"), contact_sheet(result.pictures, columns, 4));
  }
  if (!options.save_latents.empty()) {
    const SafetensorsEntry latents[] = {safetensors_entry("latents", std::as_const(result.latents).view())};
    write_safetensors(options.save_latents, latents);
  }
  program.report["pictures"] = names;
  program.report["evaluations"] = result.evaluations;
  program.report["rows"] = result.rows;
  program.report["timings"].update(
      {{"prompt", result.prompt_seconds}, {"flow", result.flow_seconds}, {"decode", result.decode_seconds}});
  if (!program.json())
    for (const std::string& name : names) std::cout << name << '\n';
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
  program.option("-s,--seed", request.seed, "N", "of the noise; picture j of a prompt takes seed + j");
  program.option("-b,--batch-count", request.images_per_prompt, "N", "pictures for each prompt")
      ->check(CLI::Range(1, 10000));
  program.option("--width", request.width, "N", "of the pictures in pixels; 0: the model's own")->check(CLI::Range(0, 16384));
  program.option("--height", request.height, "N", "the same")->check(CLI::Range(0, 16384));
  cli.add_flag("--vae-tiling", request.vae_tiling, "decode in strips: the same picture in less memory, a third slower where it is large");
  program.option("--noise", options.noise, "FILE", "safetensors file whose `noise` [B,C,h,w] to start from");
  program.option("--save-latents", options.save_latents, "FILE", "safetensors file for the `latents` [B,C,h,w]");
  program.option("--preview-every", options.preview_every, "K", "write out-preview.png every K steps; 0: never");
  cli.add_flag("--grid", options.grid, "write all pictures on one sheet too, out-grid.png");

  return program.run(argc, argv, [&] {
    require_model(options.model);
    if (options.vae.empty()) options.vae = (std::filesystem::path(options.model) / "vae").string();
    painting.apply(request);
    if (negative->count()) request.negative_prompt = options.negative;
    if (!options.noise.empty()) {
      request.noise = SafetensorsFile(options.noise).at("noise").to_tensor<float, 4>();
      if (cli.count("--batch-count") == 0)  // then the noise says how many
        request.images_per_prompt = std::max<Index>(1, request.noise->shape()[0] / std::ssize(request.prompts));
    }
    require_writable(options.output);
    if (!options.save_latents.empty()) require_writable(options.save_latents);

    const ModelFiles files = ModelFiles::open(options.model);
    const std::string precision = choose_precision(program.precision(), *files.checkpoint);
    program.report["settings"].update({{"vae", options.vae}, {"precision", precision},  // and what --fast made of these
                                       {"solver", solver_name(request.solver)}, {"steps", request.num_inference_steps}});
    with_precision(precision, [&]<class P>() { paint<P>(program, options, files, request); });
  });
}
