// Shows what a checkpoint holds, and how it differs from what its config promises.
#include "common/program.hpp"
#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"

#include <iomanip>

using namespace examples;

namespace {

/// The parts of the models that are known here, by their keys' beginnings; the first that fits counts.
constexpr std::pair<std::string_view, std::string_view> parts[] = {
    {"language_model.lm_head.", "language head"},
    {"language_model.", "language model"},
    {"vision_und_enc_model.vision_tower.attn_pool.", "SigLIP's pool (not read)"},
    {"vision_und_enc_model.", "SigLIP"},
    {"vision_und_enc_aligner.", "understanding aligner"},
    {"beg_of_und_embed", "understanding aligner"},
    {"vision_gen_enc_model.", "generation encoder"},
    {"vision_gen_enc_aligner.", "generation aligners"},
    {"vision_gen_dec_aligner", "generation aligners"},
    {"vision_gen_dec_model.", "generation decoder"},
    {"encoder.", "VAE encoder"},
    {"quant_conv.", "VAE encoder"},
    {"decoder.", "VAE decoder"},
    {"post_quant_conv.", "VAE decoder"},
};

std::string_view part_of(std::string_view key) {
  for (const auto& [beginning, name] : parts)
    if (key.starts_with(beginning)) return name;
  return "other";
}

/// What the config beside the weights promises; nothing where there is none, or none of a model known here.
std::optional<CheckpointDifference> compare_with_config(const std::filesystem::path& directory, const Checkpoint& checkpoint) {
  const auto path = directory / "config.json";
  if (!name_exists(path)) return std::nullopt;
  const Json json = read_json_file(path);
  const JsonObject config(json, path.string());
  if (config.has("vision_gen_enc_config")) {
    const auto sizes = read_config<JanusFlowConfig>(path);
    JanusFlow<Layout> model(sizes);
    return compare(checkpoint, expected_tensors(model));
  }
  if (config.get<std::string>("_class_name", "") == "AutoencoderKL") {
    const auto sizes = read_config<AutoencoderKLConfig>(path);
    AutoencoderKL<Layout> model(sizes);
    return compare(checkpoint, expected_tensors(model));
  }
  return std::nullopt;
}

/// Looks at one checkpoint: `path` is a file or a directory.
Json look_at(const std::filesystem::path& path) {
  const Checkpoint checkpoint(path);
  Json found{{"weights", checkpoint.path().string()}};
  Index parameters = 0, bytes = 0;
  std::map<std::string, Index> by_part, by_dtype;
  for (const RawTensor& tensor : checkpoint.tensors()) {
    found["tensors"].push_back({{"key", tensor.key}, {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}});
    by_part[std::string(part_of(tensor.key))] += tensor.size();
    by_dtype[std::string(dtype_name(tensor.dtype))] += tensor.size();
    parameters += tensor.size();
    bytes += static_cast<Index>(tensor.bytes.size());
  }
  found.update({{"parts", by_part}, {"dtypes", by_dtype}, {"parameters", parameters}, {"bytes", bytes}});
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return found;
  if (const auto difference = compare_with_config(path, checkpoint))
    found.update({{"missing", difference->missing}, {"unknown", difference->unknown}, {"misshapen", difference->misshapen}});
  return found;
}

/// A number with its thousands apart, in a column of its own.
std::string grouped(Index number) {
  std::string text = std::to_string(number);
  for (Index at = std::ssize(text) - 3; at > 0; at -= 3) text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

void print(const Json& found, bool summary) {
  std::cout << found["weights"].get<std::string>() << '\n';
  if (!summary)
    for (const Json& tensor : found.value("tensors", Json::array()))
      std::cout << "  " << std::left << std::setw(5) << tensor["dtype"].get<std::string>() << std::setw(22) << tensor["shape"].dump()
                << ' ' << tensor["key"].get<std::string>() << '\n';
  const auto line = [](const std::string& name, Index number) {
    std::cout << "  " << std::left << std::setw(26) << name << std::right << std::setw(15) << grouped(number) << '\n';
  };
  for (const auto& [name, count] : found["parts"].items()) line(name, count);
  line("all parameters", found["parameters"]);
  for (const auto& [name, count] : found["dtypes"].items()) line("of them " + name, count);
  line("bytes", found["bytes"]);
  if (!found.contains("missing")) {
    std::cout << "  no config of a known model to compare with\n";
    return;
  }
  bool fits = true;
  for (const char* kind : {"missing", "unknown", "misshapen"})
    for (const Json& entry : found[kind]) {
      std::cout << "  " << kind << ": " << entry.get<std::string>() << '\n';
      fits = false;
    }
  if (fits) std::cout << "  every tensor that the config asks for is there, and no other\n";
}

}  // namespace

int main(int argc, char** argv) {
  Program program("inspect", "Shows a checkpoint's tensors, its parameters by part, and how it differs from its config.");
  std::string path;
  bool summary = false;
  program.option("path", path, "DIR|FILE", "a model's or a VAE's directory, or a safetensors file")->required();
  program.cli.add_flag("--summary", summary, "leave the list of tensors out");
  return program.run(argc, argv, [&] {
    const std::filesystem::path vae = std::filesystem::path(path) / "vae";
    Json found = look_at(path);
    if (name_exists(vae / "config.json")) found["vae"] = look_at(vae);
    if (!program.json()) {
      print(found, summary);
      if (found.contains("vae")) print(found["vae"], summary);
    }
    program.report.update(found);
  });
}
