// JanusFlowConfig as JSON, read and written, and the files of all configs. Included by io/config.hpp.
#pragma once

#include <string_view>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/config.hpp"
#include "janusflow/io/impl/json.hpp"

namespace janusflow {

template <class Config>
Config read_config(const std::filesystem::path& path) {
  const Json json = read_json_file(path, std::uintmax_t{1} << 20);
  return Config::from_json(JsonObject(json, path.string()));
}

template <class Config>
std::string config_text(const Config& config) {
  return config.to_json().dump();
}

template <class Config>
void write_config(const std::filesystem::path& path, const Config& config) {
  write_json_file(path, config.to_json());
}

JANUSFLOW_INLINE void write_json_file(const std::filesystem::path& path, const Json& json) {
  write_file(path, json.dump(2) + '\n');
}

JANUSFLOW_INLINE JanusFlowConfig JanusFlowConfig::from_json(const JsonObject& json) {
  const auto type = json.get<std::string>("model_type", "multi_modality");
  require(type == "multi_modality", json.name("model_type"), " must be \"multi_modality\", not \"", type, '"');
  require(
      json.has("vision_gen_enc_config") && json.has("vision_gen_dec_config"), json.name("vision_gen_enc_config"),
      " or vision_gen_dec_config is missing: this is no JanusFlow model (Janus and Janus-Pro are built differently)");
  const auto part = [&](const char* key, std::string_view expected) {
    const JsonObject config = json.object(key);
    const auto cls = config.get<std::string>("cls");
    require(cls == expected, config.name("cls"), " must be \"", expected, "\", not \"", cls, '"');
    return config.object("params");
  };
  const JsonObject language = json.object("language_config");
  const auto language_type = language.get<std::string>("model_type", "llama");
  require(language_type == "llama", language.name("model_type"), " must be \"llama\", not \"", language_type, '"');

  JanusFlowConfig config;
  config.language = LlamaConfig::from_json(language);
  config.vision_und_enc = SiglipConfig::from_json(part("vision_und_enc_config", "CLIPVisionTower"));
  config.vision_gen_enc = ShallowUViTEncoderConfig::from_json(part("vision_gen_enc_config", "ShallowUViTEncoder"));
  config.vision_gen_dec = ShallowUViTDecoderConfig::from_json(part("vision_gen_dec_config", "ShallowUViTDecoder"));

  const auto agree = [&](const char* first, Index a, const char* second, Index b) {
    require(a == b, json.name(first), " (", a, ") and ", second, " (", b, ") must be equal");
  };
  const auto& encoder = config.vision_gen_enc;
  const auto& decoder = config.vision_gen_dec;
  // The time embedding is a token of the language model and conditions both the encoder and the decoder.
  agree("vision_gen_enc_config.params.hidden_size", encoder.hidden_size, "language_config.hidden_size",
        config.language.hidden_size);
  agree("vision_gen_dec_config.params.hidden_size", decoder.hidden_size, "vision_gen_enc_config.params.hidden_size",
        encoder.hidden_size);
  // The decoder is given the encoder's output over the skip connection, and its velocity has the latents' shape.
  agree("vision_gen_dec_config.params.block_out_channels", decoder.block_out_channels.back(),
        "vision_gen_enc_config.params.block_out_channels", encoder.block_out_channels.back());
  agree("vision_gen_dec_config.params.out_channels", decoder.out_channels,
        "vision_gen_enc_config.params.input_channels", encoder.input_channels);
  agree("vision_gen_enc_config.params.stride", encoder.stride, "2 ^ vision_gen_dec_config.params.upsamples",
        Index{1} << decoder.upsamples);
  return config;
}

JANUSFLOW_INLINE Json JanusFlowConfig::to_json() const {
  const auto part = [](const char* type, const char* cls, Json params) {
    return Json{{"model_type", type}, {"cls", cls}, {"params", std::move(params)}};
  };
  return {{"architectures", {"MultiModalityCausalLM"}},
          {"model_type", "multi_modality"},
          {"language_config", language.to_json()},
          {"vision_und_enc_config", part("vision_und_enc", "CLIPVisionTower", vision_und_enc.to_json())},
          {"vision_gen_enc_config", part("vision_gen_enc", "ShallowUViTEncoder", vision_gen_enc.to_json())},
          {"vision_gen_dec_config", part("vision_gen_dec", "ShallowUViTDecoder", vision_gen_dec.to_json())}};
}

}  // namespace janusflow
