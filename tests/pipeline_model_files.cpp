// A model's files: what does not fit the config is refused when they are opened, before room is made for a model; what other writers do.
#include "janusflow/pipeline/model_files.hpp"

#include <doctest/doctest.h>

#include "janusflow/io/load.hpp"
#include "janusflow/io/random_checkpoint.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/models/janusflow.hpp"
#include "janusflow/pipeline/autoencode.hpp"
#include "pipeline_testing.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::error_of;

namespace {

using Entries = std::vector<SafetensorsEntry>;

/// The tensors of a checkpoint, which must live until they are written.
Entries entries_of(const Checkpoint& checkpoint) {
  Entries entries;
  for (const RawTensor& tensor : checkpoint.tensors())
    entries.push_back({tensor.key, tensor.dtype, tensor.shape, [bytes = tensor.bytes](const auto& put) { put(bytes); }});
  return entries;
}

/// The entry of that key.
SafetensorsEntry& entry_of(Entries& entries, const std::string& key) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.key == key; });
  REQUIRE(found != entries.end());
  return *found;
}

/// What is said of a model whose tensors were changed; empty where nothing is.
template <class Change>
std::string said_of(Change&& change) {
  const TinyModel other;
  const Checkpoint checkpoint(golden_tiny);
  auto entries = entries_of(checkpoint);
  change(entries);
  write_safetensors(other.path() / "model.safetensors", entries);
  try {
    ModelFiles::open(other.path());
  } catch (const Error& error) {
    return std::string(error.what()).substr((other.path() / "").string().size());
  }
  return {};
}

void add(Entries& entries, const std::string& key) {
  entries.push_back({key, Dtype::f32, {1}, [](const auto& put) { put(std::as_bytes(std::span("one", 4))); }});
}

}  // namespace

TEST_CASE("model files: what is unknown, misshapen or missing is refused before a model is made") {
  CHECK(said_of([](Entries&) {}).empty());
  CHECK(said_of([](Entries& entries) { add(entries, "language_model.extra"); }) ==
        "model.safetensors: language_model.extra is unknown: the config has no place for it");
  CHECK(said_of([](Entries& entries) { entry_of(entries, "language_model.model.norm.weight").shape = {32, 2}; }) ==
        "model.safetensors: language_model.model.norm.weight has shape [32, 2], expected [64]");
  const auto without = [](std::string_view beginning) {
    return said_of([&](Entries& entries) { std::erase_if(entries, [&](const auto& entry) { return entry.key.starts_with(beginning); }); });
  };
  CHECK(without("language_model.model.norm.") == "model.safetensors has no tensor language_model.model.norm.weight");
  CHECK(without("vision_gen_dec_model.input_norm.").starts_with("model.safetensors has no tensor vision_gen_dec_model.input_norm."));
  CHECK(without("language_model.model.").starts_with("model.safetensors has no tensor language_model.model."));
  for (const char* part : {"language_model.lm_head.", "vision_und_enc_model.", "vision_gen_"}) CHECK(without(part).empty());  // as a whole
}

TEST_CASE("model files: a packed matrix of another shape is refused too") {
  const TinyModel other;
  JanusFlow<Int4> whole(read_config<JanusFlowConfig>(other.path() / "config.json"));
  auto entries = packed_entries(whole, std::make_shared<const Checkpoint>(golden_tiny));
  auto& down = entry_of(entries, "language_model.model.layers.0.mlp.down_proj.weight");
  REQUIRE(down.shape[0] != down.shape[1]);
  std::swap(down.shape[0], down.shape[1]);
  write_safetensors(other.path() / "model.safetensors", entries, {{packed_precision_key, "q4"}});
  const std::string sentence = error_of([&] { ModelFiles::open(other.path()); });
  CHECK(io_testing::contains(sentence, concat("0.mlp.down_proj.weight has shape ", Extents{down.shape}, ", not that of [64, ")));
  CHECK(sentence.ends_with("] packed for q4: convert the published checkpoint again"));
}

TEST_CASE("model files: frequencies that older writers kept are no part of it, nor is the shape that they gave a vector") {
  CHECK(said_of([](Entries& entries) { add(entries, "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"); }).empty());
  CHECK(said_of([](Entries& entries) { entry_of(entries, "beg_of_und_embed").shape = {1, 1, 64}; }).empty());
}

TEST_CASE("model files: an autoencoder by the names and shapes of older writers paints the same picture") {
  const TinyModel other;
  const Checkpoint checkpoint(tiny_model().vae());
  auto entries = entries_of(checkpoint);
  int renamed = 0;
  for (auto& entry : entries) {
    const std::string old = old_attention_key(entry.key);
    renamed += old != entry.key;
    if (old != entry.key && entry.shape.size() == 2) entry.shape.insert(entry.shape.end(), {1, 1});  // a 1 x 1 convolution's
    entry.key = old;
  }
  CHECK(renamed == 16);
  write_safetensors(other.vae() / "diffusion_pytorch_model.safetensors", entries);
  TextToImageRequest request;
  request.prompts = {golden_prompt};
  request.num_inference_steps = 1;
  const auto paint = [&](const std::filesystem::path& vae) {
    return TextToImage<Float32>::from_directory(tiny_model().path(), vae)(request).pictures;
  };
  CHECK(same(paint(other.vae()), paint(tiny_model().vae())));
}

TEST_CASE("model files: an autoencoder of grey pictures is refused") {
  const TinyModel other;
  Json config = read_json_file(other.vae() / "config.json");
  config["out_channels"] = 1;
  other.folder().write("vae/config.json", config.dump());
  AutoencoderKL<Layout> layout(read_config<AutoencoderKLConfig>(other.vae() / "config.json"));
  write_safetensors(other.vae() / "diffusion_pytorch_model.safetensors", random_entries(layout, 1, Dtype::f32));
  CHECK(error_of([&] { TextToImage<Float32>::from_directory(other.path(), other.vae()); }) == "the VAE makes pictures of 1 channels, not 3");
}

TEST_CASE("autoencoder: pictures and latents of other sizes than it takes are refused") {
  const auto autoencoder = Autoencoder<Float32>::from_directory(tiny_model().vae());
  const auto encode = [&](Index height, Index width) {
    return error_of([&] { autoencoder.encode(Tensor<std::uint8_t, 3>(Shape{height, width, Index{3}}, std::uint8_t{7}).view()); });
  };
  CHECK(encode(12, 16) == "autoencoder: the picture's sides (16 x 12) must be multiples of 8");
  CHECK(encode(16, 12) == "autoencoder: the picture's sides (12 x 16) must be multiples of 8");
  const auto decode = [&](Index count, Index channels) {
    return error_of([&] { autoencoder.decode(Tensor<float, 4>(Shape{count, channels, Index{2}, Index{2}}, 0.0f).view()); });
  };
  CHECK(decode(2, 4) == "autoencoder: latents [2, 4, 2, 2] must be [1, 4, h, w]");
  CHECK(decode(1, 3) == "autoencoder: latents [1, 3, 2, 2] must be [1, 4, h, w]");
}
