// Makes a checkpoint of random weights in the published layout, to try and to measure without the real one.
#include "common/paths.hpp"
#include "common/program.hpp"
#include "common/progress.hpp"
#include "janusflow/io/random_checkpoint.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/text/byte_level.hpp"

using namespace examples;

namespace {

constexpr const char* bos = "<｜begin▁of▁sentence｜>";
constexpr const char* eos = "<｜end▁of▁sentence｜>";
constexpr const char* begin_of_generation = "<｜begin▁of▁generation｜>";

/// All that a checkpoint's files say.
struct Model {
  JanusFlowConfig config;
  AutoencoderKLConfig vae;
  Index begin_of_generation;  // its id; the three tags of a picture follow it
};

Model model_named(const std::string& name) {
  Model model;
  auto& [config, vae, generation_id] = model;
  auto& language = config.language;
  auto& vision = config.vision_und_enc;
  Index channels;
  if (name == "tiny") {  // as large as the tests need it: pictures of 64 x 64 pixels
    language = {.vocab_size = 320, .hidden_size = 64, .intermediate_size = 128, .num_hidden_layers = 2, .num_attention_heads = 4,
                .num_key_value_heads = 4, .head_dim = 16, .max_position_embeddings = 1024,
                .bos_token_id = 256, .eos_token_ids = {257}};
    vision = {.model_name = "siglip_tiny_patch16_64", .image_size = 64, .width = 48, .layers = 2, .heads = 3};
    vae.block_out_channels = {16, 16, 32, 32};
    vae.norm_num_groups = 8;
    channels = 32;
    generation_id = 258;
  } else {  // JanusFlow-1.3B and sdxl-vae
    language = {.vocab_size = 102400, .hidden_size = 2048, .intermediate_size = 5632, .num_hidden_layers = 24, .num_attention_heads = 16,
                .num_key_value_heads = 16, .head_dim = 128, .max_position_embeddings = 16384,
                .bos_token_id = 100000, .eos_token_ids = {100001}};
    vae.block_out_channels = {128, 256, 512, 512};
    vae.layers_per_block = 2;
    vae.sample_size = 1024;
    channels = 768;
    generation_id = 100015;
  }
  vae.scaling_factor = 0.13025;
  auto& encoder = config.vision_gen_enc;
  auto& decoder = config.vision_gen_dec;
  encoder.input_channels = decoder.out_channels = 4;
  encoder.stride = encoder.kernel_size = 2, encoder.padding = 0;
  encoder.block_out_channels = decoder.block_out_channels = {decoder.in_channels = channels};
  encoder.hidden_size = decoder.hidden_size = language.hidden_size;
  decoder.upsamples = 1;
  return model;
}

/// A tokenizer without merges: every byte is a token.
Json tokenizer(const Model& model) {
  Json vocabulary, added = Json::array();
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    append_byte_level(token, std::string(1, static_cast<char>(byte)));
    vocabulary[token] = byte;
  }
  const auto& language = model.config.language;
  for (const auto& [token, id] : {std::pair(bos, *language.bos_token_id), {eos, language.eos_token_ids[0]}, {begin_of_generation, model.begin_of_generation}}) {
    vocabulary[token] = id;
    added.push_back({{"id", id}, {"content", token}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false},
                     {"special", true}});
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
}

void write_settings(const std::filesystem::path& directory, const Model& model, Dtype dtype) {
  Json config = model.config.to_json();
  config["torch_dtype"] = dtype == Dtype::bf16 ? "bfloat16" : "float32";
  ImageProcessorConfig pictures;
  pictures.image_size = model.config.vision_und_enc.image_size;
  write_json_file(directory / "config.json", config);
  write_json_file(directory / "vae/config.json", model.vae.to_json());
  write_json_file(directory / "preprocessor_config.json", pictures.to_json());
  write_json_file(directory / "processor_config.json",
                  {{"add_special_token", false}, {"ignore_id", -100}, {"image_tag", "<image_placeholder>"}, {"image_start_tag", "<image_beg>"},
                   {"image_end_tag", "<image_end>"}, {"image_gen_tag", begin_of_generation}, {"mask_prompt", true},
                   {"num_image_tokens", model.config.vision_und_enc.num_patches()}, {"processor_class", "VLChatProcessor"},
                   {"sft_format", "deepseek_old"}});
  write_json_file(directory / "tokenizer.json", tokenizer(model));
  write_json_file(directory / "tokenizer_config.json",
                  {{"add_bos_token", true}, {"add_eos_token", false}, {"bos_token", bos}, {"eos_token", eos}, {"unk_token", nullptr},
                   {"model_max_length", model.config.language.max_position_embeddings}, {"tokenizer_class", "LlamaTokenizerFast"}});
  write_json_file(directory / "special_tokens_map.json",
                  {{"bos_token", bos}, {"eos_token", eos}, {"additional_special_tokens", {begin_of_generation}}});
}

Index parameters_of(const std::vector<SafetensorsEntry>& entries) {
  Index sum = 0;
  for (const SafetensorsEntry& entry : entries) sum += checked_product(entry.shape);
  return sum;
}

void make(Program& program, const std::string& output, const std::string& config, std::uint32_t seed, Dtype dtype) {
  const Model model = model_named(config);
  JanusFlow<Layout> janusflow(model.config);
  AutoencoderEncoder<Layout> encoder(model.vae);
  AutoencoderDecoder<Layout> decoder(model.vae);
  auto weights = random_entries(janusflow, seed, dtype), vae = random_entries(encoder, seed + 1, dtype);
  for (auto& entry : random_entries(decoder, seed + 2, dtype)) vae.push_back(std::move(entry));

  const Index parameters = parameters_of(weights), vae_parameters = parameters_of(vae), total = parameters + vae_parameters;
  AtomicDirectory directory(output);
  const auto needed = static_cast<std::uintmax_t>(total) * dtype_size(dtype) + (1 << 20), free = std::filesystem::space(directory.path()).available;
  require(needed <= free, "cannot make ", output, ": ", needed >> 20, " MiB are needed, ", free >> 20, " MiB are free");

  Progress progress;
  progress.start();
  Index done = 0;
  for (auto* entries : {&weights, &vae})
    for (SafetensorsEntry& entry : *entries)
      entry.write = [&, write = std::move(entry.write), size = checked_product(entry.shape)](const auto& put) {
        write([&](const auto& bytes) {
          InterruptGuard::throw_if_requested();
          put(bytes);
        });
        done += size;
        progress.show(static_cast<double>(done) / static_cast<double>(total), "writing");
      };
  std::filesystem::create_directory(directory.path() / "vae");
  write_safetensors(directory.path() / "model.safetensors", weights, {{"format", "pt"}});
  write_safetensors(directory.path() / "vae/diffusion_pytorch_model.safetensors", vae, {{"format", "pt"}});
  write_settings(directory.path(), model, dtype);
  directory.commit();
  progress.clear();

  program.report.update({{"parameters", parameters}, {"vae_parameters", vae_parameters}, {"tensors", weights.size() + vae.size()}});
  if (!program.json())
    std::cout << output << ": " << parameters << " parameters, " << vae_parameters << " in its VAE, " << dtype_name(dtype) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  Program program("make_checkpoint", "Makes a JanusFlow checkpoint of random weights, with every file of the published one.");
  std::string output, config, dtype = "bf16";
  std::uint32_t seed = 0;
  program.option("-o,--output", output, "DIR", "the directory to make")->required();
  program.option("--config", config, "tiny|1.3b", "tiny is for tests, 1.3b as large as JanusFlow-1.3B (4.3 GB)")
      ->required()->check(CLI::IsMember({"tiny", "1.3b"}));
  program.option("--seed", seed, "N", "of the weights");
  program.option("--dtype", dtype, "bf16|f32", "of the weights")->check(CLI::IsMember({"bf16", "f32"}));
  return program.run(argc, argv, [&] { make(program, output, config, seed, dtype == "bf16" ? Dtype::bf16 : Dtype::f32); });
}
