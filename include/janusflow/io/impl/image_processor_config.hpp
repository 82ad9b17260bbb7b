// ImageProcessorConfig as JSON, read and written. Included by io/image_processor_config.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/image_processor_config.hpp"
#include "janusflow/io/impl/json.hpp"

namespace janusflow {

JANUSFLOW_INLINE ImageProcessorConfig ImageProcessorConfig::from_json(const JsonObject& json) {
  const auto triple = [&](const char* key, std::vector<double> fallback, double minimum, double maximum) {
    const auto values = json.get<std::vector<double>>(key, std::move(fallback));
    require(values.size() == 3, json.name(key), " must have 3 entries, not ", values.size());
    for (const double value : values)
      require(value >= minimum && value <= maximum, json.name(key), " must be between ", minimum, " and ", maximum,
              ", not ", value);
    return std::array<double, 3>{values[0], values[1], values[2]};
  };
  ImageProcessorConfig config;
  config.image_size = json.integer("image_size", 1, 16384);
  config.min_size = json.integer("min_size", 1, 16384, config.min_size);
  require(config.min_size <= config.image_size, json.name("min_size"), " (", config.min_size,
          ") is larger than image_size (", config.image_size, ")");
  config.image_mean = triple("image_mean", {0.48145466, 0.4578275, 0.40821073}, 0.0, 1.0);
  config.image_std = triple("image_std", {0.26862954, 0.26130258, 0.27577711}, 1e-6, 1e6);
  config.rescale_factor = json.number("rescale_factor", 1e-9, 1e9, config.rescale_factor);
  config.do_normalize = json.get("do_normalize", config.do_normalize);
  return config;
}

JANUSFLOW_INLINE std::array<std::uint8_t, 3> ImageProcessorConfig::background_color() const {
  std::array<std::uint8_t, 3> color;
  std::transform(image_mean.begin(), image_mean.end(), color.begin(), [](double mean) { return static_cast<std::uint8_t>(mean * 255); });
  return color;
}

JANUSFLOW_INLINE ImageProcessorConfig ImageProcessorConfig::from_directory(const std::filesystem::path& directory, Index tower_image_size) {
  const auto path = directory / "preprocessor_config.json";
  if (name_exists(path)) return from_json(JsonObject(read_json_file(path), path.string()));
  ImageProcessorConfig config;
  config.image_size = tower_image_size;
  return config;
}

JANUSFLOW_INLINE Json ImageProcessorConfig::to_json() const {
  return {{"image_processor_type", "VLMImageProcessor"},
          {"processor_class", "VLChatProcessor"},
          {"image_size", image_size},
          {"min_size", min_size},
          {"image_mean", image_mean},
          {"image_std", image_std},
          {"rescale_factor", rescale_factor},
          {"do_normalize", do_normalize},
          {"background_color", background_color()}};
}

}  // namespace janusflow
