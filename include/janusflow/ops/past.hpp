// Keys and values of earlier positions, as attention reads them again.
#pragma once

#include <algorithm>
#include <variant>
#include <vector>

#include "janusflow/core/bfloat16.hpp"
#include "janusflow/core/parallel.hpp"
#include "janusflow/core/tensor.hpp"

namespace janusflow {

/// Rows [S, heads * D] of float, or rounded to bfloat16, to which more are appended. They lie in pages of a few positions each, so that
/// growing moves nothing and no more than a page is held in reserve; in a page, [heads][positions][D], a head's rows follow each other.
template <class T>
class HeadRows {
 public:
  HeadRows(Index heads, Index dim) : heads_(heads), dim_(dim) {}

  Index heads() const { return heads_; }
  Index dim() const { return dim_; }
  Index length() const { return length_; }
  /// A head's D numbers at position s.
  const T* row(Index head, Index s) const { return pages_[static_cast<std::size_t>(s / positions)].data() + place(head, s); }
  /// The first position behind s whose row does not follow in memory.
  static Index end_of_run(Index s) { return (s / positions + 1) * positions; }
  /// Rows that follow in memory from a head's at position s on, to the end of the page: the next heads' too.
  Index rows_in_page(Index head, Index s) const { return (heads_ - head) * positions - s % positions; }

  /// Appends rows [T, heads * D] of float or bfloat16; throws on rows of another width.
  template <class N>
  void append(TensorView<const N, 2> rows) {
    require(rows.shape[1] == heads_ * dim_, "key-value cache: rows ", rows.shape, " are not of ", heads_, " heads of ", dim_);
    const Index begin = length_, end = begin + rows.shape[0];
    while (std::ssize(pages_) * positions < end) pages_.emplace_back(Shape{heads_, positions, dim_});
    parallel_chunks(end - begin, positions, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i)
        for (Index h = 0; h < heads_; ++h) {
          const N* from = rows.row(i) + h * dim_;
          T* to = pages_[static_cast<std::size_t>((begin + i) / positions)].data() + place(h, begin + i);
          if constexpr (std::is_same_v<N, T>) std::copy_n(from, dim_, to);
          else std::transform(from, from + dim_, to, [](float x) { return static_cast<T>(x); });
        }
    });
    length_ = end;
  }
  /// Forgets all rows from `length` on; throws where that is negative.
  void truncate(Index length) {
    require(length >= 0, "key-value cache: cannot keep ", length, " positions");
    length_ = std::min(length_, length);
    pages_.erase(pages_.begin() + (length_ + positions - 1) / positions, pages_.end());
  }

 private:
  static constexpr Index positions = 64;  // of a page

  Index place(Index head, Index s) const { return (head * positions + s % positions) * dim_; }

  Index heads_, dim_, length_ = 0;
  std::vector<Tensor<T, 3>> pages_;
};

/// What one layer remembers of a sequence.
template <class T>
struct KeysAndValues {
  HeadRows<T> keys, values;

  KeysAndValues(Index heads, Index dim) : keys(heads, dim), values(heads, dim) {}
};
using RememberedLayer = std::variant<KeysAndValues<float>, KeysAndValues<bfloat16>>;

/// The first `length` positions of what a layer remembers of one sequence, seen by all its new positions.
struct Past {
  const RememberedLayer* layer = nullptr;  // null: nothing
  Index length = 0;
};

}  // namespace janusflow
