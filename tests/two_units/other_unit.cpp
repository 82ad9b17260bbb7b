// The second translation unit.
#include "other_unit.hpp"

#include "janusflow/core/eigen.hpp"

float sum_elsewhere(janusflow::TensorView<const float, 2> x) { return janusflow::as_matrix(x).sum(); }

const janusflow::BufferPool* pool_elsewhere() { return &janusflow::BufferPool::instance(); }
