// The sizes of a SigLIP vision tower, given by a model's name or one by one.
#pragma once

#include <string>

#include "janusflow/io/json.hpp"

namespace janusflow {

/// The params of the official CLIPVisionTower for a SigLIP model; the members' defaults are those of siglip_large_patch16_384.
struct SiglipConfig {
  std::string model_name = "siglip_large_patch16_384";
  Index image_size = 384;
  Index width = 1024;
  Index layers = 24;
  Index heads = 16;
  Index patch_size = 16;
  double mlp_ratio = 4.0;

  /// Width of the MLP's hidden layer: width * mlp_ratio, cut off to an integer as the official code does it.
  Index mlp_width() const { return static_cast<Index>(static_cast<double>(width) * mlp_ratio); }
  /// Patches along one side; pixels beyond the last whole patch are not looked at.
  Index grid() const { return image_size / patch_size; }
  /// Tokens of one picture.
  Index num_patches() const { return grid() * grid(); }

  /// Reads `params`: the sizes of model_name from a table of the published ones, each replaced where a key of its own is given (a
  /// name outside the table needs them all). image_size and select_layer must be given, for what the official class takes where they
  /// are not, 336 and the last layer but one, fits no published model. Throws Error for another layer than the last one;
  /// select_feature is not read: of a SigLIP model the official class takes every token, whatever it says.
  static SiglipConfig from_json(const JsonObject& json);

  /// The same; the sizes stand there one by one also where the name would give them.
  Json to_json() const;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/siglip_config.hpp"
#endif
