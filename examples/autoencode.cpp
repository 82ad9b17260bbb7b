// Sends a picture through the autoencoder and back.
#include "common/paths.hpp"
#include "common/precision.hpp"
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "janusflow/pipeline/model_files.hpp"

using namespace examples;

namespace {

struct Options {
  std::string vae, input, output, save_latents;
  bool crop = false, tiling = false;
};

template <class P>
void round_trip(Program& program, const Options& options, const AutoencoderFiles& files, Picture picture) {
  std::optional<InterruptGuard::AtOnce> computing(std::in_place);
  Progress progress;
  progress.stage("loading");
  const Autoencoder<P> autoencoder(files);
  program.report["timings"]["load"] = program.seconds();

  progress.start();
  progress.show(0.0, "encoding");
  const Stopwatch encode_watch;
  const auto latents = autoencoder.encode(std::as_const(picture));  // [1, Z, h, w]
  program.report["timings"]["encode"] = encode_watch.seconds();

  progress.show(0.35, "decoding");  // the decoder is about twice as deep as the encoder
  const Stopwatch decode_watch;
  const Picture back = autoencoder.decode(latents, options.tiling);
  program.report["timings"]["decode"] = decode_watch.seconds();
  computing.reset();
  progress.clear();

  write_png(options.output, back);
  if (!options.save_latents.empty()) {
    const SafetensorsEntry entries[] = {safetensors_entry("latents", latents.view())};
    write_safetensors(options.save_latents, entries);
  }
  const double decibels = psnr(picture, back);
  program.report.update({{"psnr", decibels}, {"width", picture.shape()[1]}, {"height", picture.shape()[0]}});
  if (!program.json()) std::cout << options.output << ": PSNR " << decibels << " dB\n";
}

}  // namespace

int main(int argc, char** argv) {
  Program program("autoencode", "Encodes a picture to latents, decodes them again and says how much was lost.");
  Options options;
  if (const auto model = default_model(); !model.empty()) options.vae = model + "/vae";
  program.option("--vae", options.vae, "DIR", "the VAE's directory");
  program.option("-i,--image", options.input, "FILE", "a PNG or JPEG file")->required();
  program.option("-o,--output", options.output, "FILE", "the PNG file of what comes back")->required()->check(png_name);
  program.option("--save-latents", options.save_latents, "FILE", "safetensors file for the `latents` [1,C,h,w], the encoder's mean");
  program.cli.add_flag("--vae-tiling", options.tiling, "decode in strips: the same picture in less memory; where it is large, in a third more or about twice the time");
  program.cli.add_flag("--crop", options.crop, "cut the sides down to multiples of what the VAE needs");

  return program.run(argc, argv, [&] {
    require(!options.vae.empty(), "the examples' own model, examples/models/emoji, is not here: name a VAE's directory with --vae");
    std::vector<std::string> outputs{options.output};
    if (!options.save_latents.empty()) outputs.push_back(options.save_latents);
    require_outputs(outputs, {options.input});
    std::optional<InterruptGuard::AtOnce> reading(std::in_place);
    Picture picture = read_picture(options.input);
    reading.reset();

    const AutoencoderFiles files = AutoencoderFiles::open(options.vae);
    const Index multiple = files.config.downscale();
    if (options.crop) picture = crop_to_multiple(std::as_const(picture), multiple);
    require(picture.shape()[0] % multiple == 0 && picture.shape()[1] % multiple == 0, options.input, " has ", picture.shape()[1], " x ",
            picture.shape()[0], " pixels, but this VAE needs multiples of ", multiple, "; --crop cuts the sides down to them");
    const std::string precision = choose_precision(program.precision(), *files.checkpoint);
    program.report["settings"]["precision"] = precision;
    with_precision(precision, [&]<class P>() { round_trip<P>(program, options, files, std::move(picture)); });
  });
}
