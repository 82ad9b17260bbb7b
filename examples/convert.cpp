// Writes a checkpoint's weights rounded and packed, so that they are used where the file is mapped.
#include "common/paths.hpp"
#include "common/precision.hpp"
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/pipeline/model_files.hpp"

#include "janusflow/io/load.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"

using namespace examples;
namespace fs = std::filesystem;

namespace {

/// Copies a directory's files but its weights: configs, tokenizer, licence. What a writer that was killed has left is none of them.
void copy_other_files(const fs::path& from, const fs::path& to) {
  std::error_code error, unknown;
  for (const auto& entry : fs::directory_iterator(from, error)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") || name.ends_with(".index.json") || name.ends_with(".bin") || name.ends_with(".pt");
    // A link that leads nowhere is not passed over: the copy would be another model.
    if (entry.is_directory(unknown) || entry.is_other(unknown) || weights || name.find(".tmp-") != std::string::npos) continue;
    fs::copy_file(entry.path(), to / name, error);
    require(!error, "cannot copy ", entry.path().string(), ": ", error.message());
  }
  require(!error, "cannot read ", from.string(), ": ", error.message());
}

/// Wraps the entries' writing in progress, and in Ctrl-C.
void write_entries(const fs::path& path, std::vector<SafetensorsEntry> entries, const std::string& precision, Progress& progress) {
  const auto total = static_cast<double>(entries.size());
  double done = 0;
  for (SafetensorsEntry& entry : entries)
    entry.write = [&, write = std::move(entry.write)](const SafetensorsEntry::Sink& put) {
      InterruptGuard::throw_if_requested();
      write(put);
      progress.show(++done / total, "writing " + path.filename().string());
    };
  progress.start();
  write_safetensors(path, entries, {{"format", "pt"}, {packed_precision_key, precision}});
}

template <class P>
void convert(const ModelFiles& files, const fs::path& vae, const fs::path& to, const std::string& precision) {
  Progress progress;
  JanusFlow<P> model(files.config);
  write_entries(to / "model.safetensors", packed_entries(model, files.checkpoint), precision, progress);
  copy_other_files(files.directory, to);
  if (vae.empty()) return;
  const AutoencoderFiles vae_files = AutoencoderFiles::open(vae);
  AutoencoderKL<typename P::Precise> autoencoder(vae_files.config);
  std::error_code error;
  fs::create_directory(to / "vae", error);
  require(!error, "cannot write ", (to / "vae").string(), ": ", error.message());
  write_entries(to / "vae" / "diffusion_pytorch_model.safetensors", packed_entries(autoencoder, vae_files.checkpoint), precision, progress);
  copy_other_files(vae, to / "vae");
}

}  // namespace

int main(int argc, char** argv) {
  Program program("convert", "Writes a model's weights rounded and packed, to be used from the file's map without a copy.");
  std::string model = default_model(), vae, output;
  program.option("-m,--model", model, "DIR", "the model's directory, as it is published");
  program.option("--vae", vae, "DIR", "the VAE's directory (vae in the model's, where it is, unless given); goes to vae in the new one");
  program.option("-o,--output", output, "DIR", "the new directory")->required();
  return program.run(argc, argv, [&] {
    require_model(model);
    std::error_code error;
    if (vae.empty() && fs::is_directory(fs::path(model) / "vae", error)) vae = (fs::path(model) / "vae").string();
    const std::string precision = program.precision() == "auto" ? "int8" : program.precision();
    require(precision != "f32", "float32 is not packed: convert to bf16, int8 or q4");
    const ModelFiles files = ModelFiles::open(model);
    AtomicDirectory directory(output);
    if (precision == "q4") convert<Int4>(files, vae, directory.path(), precision);
    else if (precision == "int8") convert<Int8>(files, vae, directory.path(), precision);
    else convert<BFloat16>(files, vae, directory.path(), precision);
    directory.commit();
    std::uintmax_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(output))
      if (entry.is_regular_file()) bytes += entry.file_size();
    program.report.update({{"output", output}, {"precision", precision}, {"bytes", bytes}});
    if (!program.json()) std::cout << output << ": " << precision << ", " << bytes << " bytes\n";
  });
}
