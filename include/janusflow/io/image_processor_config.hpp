// How a picture is prepared for the vision tower: preprocessor_config.json.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

#include "janusflow/io/json.hpp"

namespace janusflow {

/// The settings of the official VLMImageProcessor. The members' defaults are those of the published JanusFlow
/// checkpoint.
struct ImageProcessorConfig {
  Index image_size = 384;
  Index min_size = 14;
  std::array<double, 3> image_mean{0.5, 0.5, 0.5};
  std::array<double, 3> image_std{0.5, 0.5, 0.5};
  double rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;

  /// The colour around a picture that is not square: int(mean * 255) of each channel.
  std::array<std::uint8_t, 3> background_color() const;

  /// Reads a preprocessor_config.json. What it leaves out takes the official class's default (CLIP's mean and
  /// deviation). Its background_color is not read: the official class makes it from the mean, whatever the file says.
  static ImageProcessorConfig from_json(const JsonObject& json);

  /// Reads preprocessor_config.json of a model's directory; where there is none, the members' defaults with the tower's
  /// image_size.
  static ImageProcessorConfig from_directory(const std::filesystem::path& directory, Index tower_image_size);

  /// The same, as the official class writes it.
  Json to_json() const;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/image_processor_config.hpp"
#endif
