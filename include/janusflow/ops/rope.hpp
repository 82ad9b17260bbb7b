// Rotary position embedding in the halves convention of Llama's transformers weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "janusflow/ops/rowwise.hpp"

namespace janusflow {

/// How the tokens of a batch, counted through, are rotated, each at its own position: by angles of position * theta^(-2 i / head_dim)
/// (Su et al. 2021, arXiv 2104.09864, eq. 15) for i below head_dim / 2, rounded where transformers' LlamaRotaryEmbedding rounds in
/// float32: the frequency, then the angle, then cosine and sine. Cheap to copy.
class Rotation {
 public:
  /// Throws where a position is negative, unless head_dim is even and positive, and unless theta is positive.
  Rotation(std::vector<Index> positions, Index head_dim, double theta) {
    require(head_dim > 0 && head_dim % 2 == 0, "rope: head_dim must be even and positive, not ", head_dim);
    require(theta > 0, "rope: theta must be positive, not ", theta);
    for (const Index p : positions) require(p >= 0 && p < std::numeric_limits<Index>::max(), "rope: a token's position is ", p);
    const Index half = head_dim / 2;
    Tensor<float, 1> frequency(Shape{half});
    for (Index i = 0; i < half; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
      frequency.data()[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    }
    // From the first position that is needed: behind a long past, one token's angles must not cost more than its products.
    const auto [first, last] = std::ranges::minmax_element(positions);
    const Index begin = positions.empty() ? 0 : *first, count = positions.empty() ? 0 : *last + 1 - begin;
    Angles angles{Tensor<float, 2>(Shape{count, half}), Tensor<float, 2>(Shape{count, half}), begin, std::move(positions)};
    detail::for_rows(count, half * 8, [&](Index from, Index to) {
      for (Index p = from; p < to; ++p)
        for (Index i = 0; i < half; ++i) {
          const double angle = static_cast<double>(static_cast<float>(begin + p) * frequency.data()[i]);
          angles.cos(p, i) = static_cast<float>(std::cos(angle));
          angles.sin(p, i) = static_cast<float>(std::sin(angle));
        }
    });
    angles_ = std::make_shared<const Angles>(std::move(angles));
  }

  Index tokens() const { return std::ssize(angles_->positions); }
  Index head_dim() const { return 2 * angles_->cos.shape()[1]; }
  /// The cosines and sines of a token's angles, [head_dim / 2] each.
  const float* cos(Index token) const { return angles_->cos.data() + row(token); }
  const float* sin(Index token) const { return angles_->sin.data() + row(token); }

 private:
  struct Angles {
    Tensor<float, 2> cos, sin;  // [positions, head_dim / 2], from position `begin` on
    Index begin;
    std::vector<Index> positions;  // of the tokens
  };

  Index row(Index token) const {
    return (angles_->positions[static_cast<std::size_t>(token)] - angles_->begin) * angles_->cos.shape()[1];
  }

  std::shared_ptr<const Angles> angles_;
};

namespace reference {

/// Rotates each pair (x[i], x[i + head_dim / 2]) of each head of each token by its angle, backwards if `inverse`.
template <class T>
Tensor<T, 3> rope(Tensor<T, 3> x, const Rotation& rotation, bool inverse = false) {
  const Index features = x.shape().last(), half = rotation.head_dim() / 2;
  for (Index token = 0; token < x.shape().rows(); ++token)
    for (Index h = 0; h < features; h += 2 * half)
      for (Index i = 0; i < half; ++i) {
        const T c = rotation.cos(token)[i], s = inverse ? -rotation.sin(token)[i] : rotation.sin(token)[i];
        T *left = x.data() + token * features + h + i, *right = left + half;
        const T l = *left, r = *right;
        *left = l * c - r * s;
        *right = r * c + l * s;
      }
  return x;
}

}  // namespace reference

namespace detail {

/// Both halves of a pair, rotated by an angle of this cosine and sine.
inline std::pair<simd::Batch, simd::Batch> rotated(simd::Batch left, simd::Batch right, simd::Batch c, simd::Batch s) {
  return {simd::multiply_add(left, c, -(right * s)), simd::multiply_add(right, c, left * s)};
}

/// Throws unless every row of x has its angles, and the row is whole heads.
template <int R>
void require_rotation(const char* op, Shape<R> x, const Rotation& rotation) {
  require(rotation.tokens() == x.rows(), op, ": x ", x, " does not match ", rotation.tokens(), " positions");
  require(x.last() % rotation.head_dim() == 0, op, ": x ", x, " is no whole heads of ", rotation.head_dim());
}

/// x, rotated forwards or backwards.
template <class T>
Tensor<T, 3> rotate(const char* op, Tensor<T, 3> x, const Rotation& rotation, bool inverse) {
  require_rotation(op, x.shape(), rotation);
  if constexpr (!vectorised<T>) {
    return reference::rope(std::move(x), rotation, inverse);
  } else {
    const Index features = x.shape().last(), half = rotation.head_dim() / 2;
    const simd::Batch direction(inverse ? -1.f : 1.f);
    for_rows(x.shape().rows(), features, [&](Index begin, Index end) {
      for (Index token = begin; token < end; ++token) {
        const float *cos = rotation.cos(token), *sin = rotation.sin(token);
        float* const row = x.data() + token * features;
        for (float* head = row; head < row + features; head += 2 * half)
          for (Index i = 0; i < half; i += simd::width) {
            const Index lanes = std::min(simd::width, half - i);
            const auto c = simd::load(cos + i, lanes), s = simd::load(sin + i, lanes) * direction;
            const auto [left, right] = rotated(simd::load(head + i, lanes), simd::load(head + half + i, lanes), c, s);
            simd::store(left, head + i, lanes);
            simd::store(right, head + half + i, lanes);
          }
      }
    });
    return x;
  }
}

}  // namespace detail

/// x [B, T, heads * head_dim], each token rotated by its position: x cos + rotate_half(x) sin, as transformers'
/// apply_rotary_pos_emb. Error against exact arithmetic on the rotation's values: at most 2 eps32 (|left| + |right|). Throws Error
/// unless every token has its position and the heads fill the row.
template <class T>
Tensor<T, 3> rope(Tensor<T, 3> x, const Rotation& rotation) {
  return detail::rotate("rope", std::move(x), rotation, false);
}
/// dx of y = rope(x, rotation): the rotation backwards.
template <class T>
Tensor<T, 3> rope_backward(const Rotation& rotation, Tensor<T, 3> dy) {
  return detail::rotate("rope_backward", std::move(dy), rotation, true);
}

}  // namespace janusflow
