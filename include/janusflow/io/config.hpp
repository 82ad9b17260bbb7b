// The sizes of a whole JanusFlow model: its config.json.
#pragma once

#include <filesystem>
#include <string>

#include "janusflow/io/autoencoder_config.hpp"
#include "janusflow/io/image_processor_config.hpp"
#include "janusflow/io/llama_config.hpp"
#include "janusflow/io/siglip_config.hpp"
#include "janusflow/io/uvit_config.hpp"

namespace janusflow {

/// Reads the object in the file at `path` as a Config.
template <class Config>
Config read_config(const std::filesystem::path& path);

/// A config's JSON on one line.
template <class Config>
std::string config_text(const Config& config);

/// Writes a config's JSON as write_json_file does.
template <class Config>
void write_config(const std::filesystem::path& path, const Config& config);

/// Writes a config (or any Json) as an indented JSON file, atomically.
void write_json_file(const std::filesystem::path& path, const Json& json);

/// The config.json of a JanusFlow checkpoint, its four parts under their own names.
struct JanusFlowConfig {
  LlamaConfig language;
  SiglipConfig vision_und_enc;
  ShallowUViTEncoderConfig vision_gen_enc;
  ShallowUViTDecoderConfig vision_gen_dec;

  /// Reads the published layout and checks that the parts fit together. Throws Error, naming file and key.
  static JanusFlowConfig from_json(const JsonObject& json);

  /// The same, in the published layout.
  Json to_json() const;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/config.hpp"
#endif
