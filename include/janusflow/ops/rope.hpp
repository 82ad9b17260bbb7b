// Rotary position embedding in the halves convention of Llama's transformers weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

/// cos and sin [positions, head_dim / 2], from position `begin` on, of position * theta^(-2 i / head_dim) (Su et al. 2021, arXiv 2104.09864, eq.
/// 15), rounded where transformers' LlamaRotaryEmbedding rounds in float32: the frequency, then the angle, then cosine
/// and sine.
struct RopeTable {
  Tensor<float, 2> cos, sin;
  Index begin = 0;

  RopeTable() = default;
  /// Throws unless head_dim is even and positive, and theta positive.
  RopeTable(Index positions, Index head_dim, double theta, Index begin = 0) : begin(begin) {
    require(head_dim > 0 && head_dim % 2 == 0, "rope: head_dim must be even and positive, not ", head_dim);
    require(theta > 0, "rope: theta must be positive, not ", theta);
    const Index half = head_dim / 2;
    cos = Tensor<float, 2>(Shape{positions, half});
    sin = Tensor<float, 2>(Shape{positions, half});
    Tensor<float, 1> frequency(Shape{half});
    for (Index i = 0; i < half; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
      frequency.data()[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    }
    detail::for_rows(positions, half * 8, [&](Index first, Index last) {
      for (Index p = first; p < last; ++p)
        for (Index i = 0; i < half; ++i) {
          const double angle = static_cast<double>(static_cast<float>(begin + p) * frequency.data()[i]);
          cos(p, i) = static_cast<float>(std::cos(angle));
          sin(p, i) = static_cast<float>(std::sin(angle));
        }
    });
  }

  Index end() const { return begin + cos.shape()[0]; }
  Index head_dim() const { return 2 * cos.shape()[1]; }
};

namespace reference {

/// Rotates each pair (x[i], x[i + half]) of each head of row r by the angle of position first + r, backwards if
/// `inverse`.
template <class T>
void rope(TensorView<T, 2> x, const RopeTable& table, Index first, bool inverse = false) {
  const Index half = table.head_dim() / 2;
  for (Index r = 0; r < x.rows(); ++r)
    for (Index h = 0; h < x.shape[1]; h += 2 * half)
      for (Index i = 0; i < half; ++i) {
        const Index row = first - table.begin + r;
        const T c = table.cos(row, i), s = inverse ? -table.sin(row, i) : table.sin(row, i);
        const T left = x(r, h + i), right = x(r, h + half + i);
        x(r, h + i) = left * c - right * s;
        x(r, h + half + i) = right * c + left * s;
      }
}

}  // namespace reference

namespace detail {

/// Both halves of a pair, rotated by an angle of this cosine and sine.
inline std::pair<simd::Batch, simd::Batch> rotated(simd::Batch left, simd::Batch right, simd::Batch c, simd::Batch s) {
  return {simd::multiply_add(left, c, -(right * s)), simd::multiply_add(right, c, left * s)};
}

template <class T>
void rotate(const char* op, TensorView<T, 2> x, const RopeTable& table, Index first, bool inverse) {
  require(
      first >= table.begin && first <= table.end() - x.rows() && table.head_dim() > 0 && x.shape[1] % table.head_dim() == 0,
      op, ": x ", x.shape, " from position ", first, " does not match a table of ", table.end() - table.begin,
      " positions and head_dim ", table.head_dim());
  if constexpr (!vectorised<T>) {
    reference::rope(x, table, first, inverse);
  } else {
    const Index half = table.head_dim() / 2;
    const simd::Batch direction(inverse ? -1.f : 1.f);
    for_rows(x.rows(), x.shape[1], [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const float *cos = &table.cos(first - table.begin + r, 0), *sin = &table.sin(first - table.begin + r, 0);
        for (float* head = x.row(r); head < x.row(r) + x.shape[1]; head += 2 * half)
          for (Index i = 0; i < half; i += simd::width) {
            const Index lanes = std::min(simd::width, half - i);
            const auto c = simd::load(cos + i, lanes), s = simd::load(sin + i, lanes) * direction;
            const auto [left, right] = rotated(simd::load(head + i, lanes), simd::load(head + half + i, lanes), c, s);
            simd::store(left, head + i, lanes);
            simd::store(right, head + half + i, lanes);
          }
      }
    });
  }
}

}  // namespace detail

/// Rotates x [T, heads * head_dim] in place, row r standing at position first + r: x cos + rotate_half(x) sin, as
/// transformers' apply_rotary_pos_emb. x may be columns of a wider tensor. Error against exact arithmetic on the
/// table's values: at most 2 eps32 (|left| + |right|). Throws when a position is beyond the table or the heads do not
/// fill the row.
template <class T>
void rope(TensorView<T, 2> x, const RopeTable& table, Index first = 0) {
  detail::rotate("rope", x, table, first, false);
}

/// As above, row r standing at positions[r].
template <class T>
void rope(TensorView<T, 2> x, const RopeTable& table, std::span<const Index> positions) {
  require(std::ssize(positions) == x.rows(), "rope: x ", x.shape, " does not match ", positions.size(), " positions");
  for (Index r = 0; r < x.rows(); ++r)
    detail::rotate("rope", x.slice(r, r + 1), table, positions[static_cast<std::size_t>(r)], false);
}

/// How the tokens of a batch are rotated: token i of all of them, counted through, stands at (*positions)[i]. Cheap to copy, and owns
/// what it needs.
struct Rotation {
  std::shared_ptr<const RopeTable> table;
  std::shared_ptr<const std::vector<Index>> positions;

  /// With a table of its own, from the first to the last of the positions. Throws where one is negative, and as RopeTable does.
  Rotation(std::vector<Index> list, Index head_dim, double theta) {
    for (const Index p : list) require(p >= 0, "rope: a token's position is ", p);
    // From the first position that is needed: behind a long past, one token's angles must not cost more than its products.
    const auto [first, last] = std::ranges::minmax_element(list);
    const Index begin = list.empty() ? 0 : *first, count = list.empty() ? 0 : *last + 1 - begin;
    table = std::make_shared<const RopeTable>(count, head_dim, theta, begin);
    positions = std::make_shared<const std::vector<Index>>(std::move(list));
  }
};

namespace detail {

/// Throws unless every row of x has its position, and the row is whole heads.
template <int R>
void require_rotation(const char* op, Shape<R> x, const Rotation& rotation) {
  require(std::ssize(*rotation.positions) == x.rows(), op, ": x ", x, " does not match ", rotation.positions->size(), " positions");
  require(x.last() % rotation.table->head_dim() == 0, op, ": x ", x, " is no whole heads of ", rotation.table->head_dim());
}

/// Rotates x [tokens, heads * head_dim] in place, forwards or backwards.
template <class T>
void rotate(const char* op, TensorView<T, 2> x, const Rotation& rotation, bool inverse) {
  require_rotation(op, x.shape, rotation);
  for_rows(x.rows(), x.shape[1], [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      rotate(op, x.slice(r, r + 1), *rotation.table, (*rotation.positions)[static_cast<std::size_t>(r)], inverse);
  });
}

}  // namespace detail

/// x [B, T, heads * head_dim], each token rotated by its position, as above.
template <class T>
Tensor<T, 3> rope(Tensor<T, 3> x, const Rotation& rotation) {
  detail::rotate("rope", x.view().reshape(Shape{x.shape().rows(), x.shape().last()}), rotation, false);
  return x;
}
/// dx of y = rope(x, rotation): the rotation backwards.
template <class T>
Tensor<T, 3> rope_backward(const Rotation& rotation, Tensor<T, 3> dy) {
  detail::rotate("rope_backward", dy.view().reshape(Shape{dy.shape().rows(), dy.shape().last()}), rotation, true);
  return dy;
}

/// dx of y = rope(x, table, first), in place on dy: the rotation backwards.
template <class T>
void rope_backward(TensorView<T, 2> dy, const RopeTable& table, Index first = 0) {
  detail::rotate("rope_backward", dy, table, first, true);
}

}  // namespace janusflow
