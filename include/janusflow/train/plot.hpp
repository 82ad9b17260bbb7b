// Curves as a picture: axes, ticks with numbers, and a legend, drawn without help.
#pragma once

#include <string>
#include <vector>

#include "janusflow/io/image.hpp"

namespace janusflow {

/// A named line through points; points whose y is not a number are left out.
struct Curve {
  std::string name;
  std::vector<double> x, y;
};

/// The curves on common axes, [height, width, 3]. Draws empty axes where there is no point.
Picture plot(const std::vector<Curve>& curves, Index width = 720, Index height = 400);

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/train/impl/plot.hpp"
#endif
