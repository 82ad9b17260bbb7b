// Shapes: fixed-rank lists of extents, last dimension fastest.
#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <ostream>
#include <span>

#include "janusflow/core/error.hpp"

namespace janusflow {

using Index = std::ptrdiff_t;

/// Prints extents as [577, 2048].
struct Extents {
  std::span<const Index> values;
};

inline std::ostream& operator<<(std::ostream& out, Extents extents) {
  out << '[';
  for (std::size_t i = 0; i < extents.values.size(); ++i) out << (i ? ", " : "") << extents.values[i];
  return out << ']';
}

/// The product of `extents`; throws when an extent is negative or the product leaves Index.
inline Index checked_product(std::span<const Index> extents) {
  bool empty = false;
  for (const Index n : extents) {
    require(n >= 0, "shape ", Extents{extents}, " has a negative extent");
    empty = empty || n == 0;
  }
  if (empty) return 0;
  Index product = 1;
  for (const Index n : extents) {
    require(product <= std::numeric_limits<Index>::max() / n, "shape ", Extents{extents}, " is too large");
    product *= n;
  }
  return product;
}

/// The extents of a rank-R tensor.
template <int R>
struct Shape {
  std::array<Index, R> extents{};

  Index& operator[](int i) { return extents[static_cast<std::size_t>(i)]; }
  Index operator[](int i) const { return extents[static_cast<std::size_t>(i)]; }
  /// The last extent: channels of a picture, features of a token.
  Index last() const { return extents[R - 1]; }
  /// Number of elements; throws as checked_product does.
  Index size() const { return checked_product(extents); }
  /// Number of last-dimension rows.
  Index rows() const { return checked_product(std::span(extents).first(R - 1)); }
  /// This shape with its last extent replaced.
  Shape with_last(Index n) const {
    Shape other = *this;
    other.extents[R - 1] = n;
    return other;
  }
  bool operator==(const Shape&) const = default;
};

template <class... I>
Shape(I...) -> Shape<sizeof...(I)>;

template <int R>
std::ostream& operator<<(std::ostream& out, const Shape<R>& shape) {
  return out << Extents{shape.extents};
}

}  // namespace janusflow
