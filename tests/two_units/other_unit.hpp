// What the second translation unit offers to the first.
#pragma once

#include "janusflow/janusflow.hpp"

float sum_elsewhere(janusflow::TensorView<const float, 2> x);
const janusflow::BufferPool* pool_elsewhere();
bool reads_pictures_elsewhere();
