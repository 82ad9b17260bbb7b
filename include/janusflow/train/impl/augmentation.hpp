// AugmentationSettings as JSON. Included by train/augmentation.hpp.
#pragma once

#include "janusflow/core/inline.hpp"
#include "janusflow/io/impl/json.hpp"
#include "janusflow/train/augmentation.hpp"

namespace janusflow {

JANUSFLOW_INLINE AugmentationSettings AugmentationSettings::from_json(const JsonObject& json) {
  json.require_known({"flip", "shift", "scale", "rotation", "contrast", "brightness", "noise"});
  AugmentationSettings settings;
  settings.flip = json.number("flip", 0, 1, 0.0);
  settings.shift = json.integer("shift", 0, 10'000, 0);
  settings.scale = json.number("scale", 0, 0.9, 0.0);
  settings.rotation = json.number("rotation", 0, 3.2, 0.0);
  settings.contrast = json.number("contrast", 0, 1, 0.0);
  settings.brightness = json.number("brightness", 0, 2, 0.0);
  settings.noise = json.number("noise", 0, 2, 0.0);
  return settings;
}

JANUSFLOW_INLINE Json AugmentationSettings::to_json() const {
  return {{"flip", flip},         {"shift", shift},           {"scale", scale}, {"rotation", rotation},
          {"contrast", contrast}, {"brightness", brightness}, {"noise", noise}};
}

}  // namespace janusflow
