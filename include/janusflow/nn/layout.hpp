// The parameters of a model as names and shapes alone: for checks, listings and new checkpoints.
#pragma once

#include <vector>

#include "janusflow/core/shape.hpp"

namespace janusflow {

/// A parameter that has a shape and no values.
struct LaidOut {
  std::vector<Index> shape;

  LaidOut() = default;
  LaidOut(Index rows, Index columns) : shape{rows, columns} {}
  template <int R>
  explicit LaidOut(const Shape<R>& of) : shape(of.extents.begin(), of.extents.end()) {}
  bool empty() const { return shape.empty(); }
};

/// The policy under which a model costs nothing: Model<Layout>(config) is the list of its parameters.
struct Layout {
  struct Filter : LaidOut {
    Filter() = default;
    Filter(Index out, Index in, Index kernel) : LaidOut(Shape{out, in, kernel, kernel}) {}
  };
  using Upsampling = Filter;
  struct Depthwise : LaidOut {
    Depthwise() = default;
    Depthwise(Index channels, Index kernel) : LaidOut(Shape{channels, Index{1}, kernel, kernel}) {}
  };
  template <int R>
  struct Sized : LaidOut {
    Sized() = default;
    explicit Sized(Shape<R> of, float = 0) : LaidOut(of) {}
  };
  using Matrix = LaidOut;
  struct Table : LaidOut {
    Table() = default;
    Table(Index vocabulary, Index channels) : LaidOut(vocabulary, channels) {}
  };
  template <int R>
  using Array = Sized<R>;
  using Precise = Layout;
  using AtLeast8Bits = Layout;
};

}  // namespace janusflow
