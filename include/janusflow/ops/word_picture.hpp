// A picture as convolutions read it: input words, with zeros around.
#pragma once

#include <algorithm>
#include <vector>

#include "janusflow/ops/normalised_picture.hpp"
#include "janusflow/ops/packed_filter.hpp"

namespace janusflow::detail {

/// Lines [begin, end) of a batch of pictures, counted over all of them.
struct Lines {
  Index begin, end;
};

/// The numbers of some lines of a picture as input words, pixel by pixel: rounded, or normalised, once, not once for every tap that reads
/// them. Zeros stand left and right of each line, and for lines above and below a picture.
template <class Dot>
class WordPicture {
 public:
  using Word = typename Dot::InputWord;

  /// What a convolution of x by `kernel` reads for `width` pixels of a line.
  WordPicture(TensorView<const float, 4> x, Lines lines, const ConvGeometry& geometry, Index kernel, Index width)
      : WordPicture(x.shape, geometry, kernel, width) {
    if constexpr (std::is_same_v<Word, float>) {
      if (x.contiguous() && pixels_ == x.shape[2]) {  // the values are their own words
        data_ = x.data;
        return;
      }
    }
    fill(lines, [&](Index pixel, Word* to) { Dot::input_words(x.row(pixel), x.shape[3], to); });
  }
  WordPicture(const NormalisedPicture& x, Lines lines, const ConvGeometry& geometry, Index kernel, Index width)
      : WordPicture(x.shape(), geometry, kernel, width) {
    fill(lines, [&](Index pixel, Word* to) {
      if constexpr (std::is_same_v<Word, float>) {
        x.read_pixel<float>(pixel, to);
      } else {
        thread_local std::vector<float> values;
        values.resize(static_cast<std::size_t>(x.shape()[3]));
        x.read_pixel<typename Dot::Value>(pixel, values.data());
        Dot::input_words(values.data(), x.shape()[3], to);
      }
    });
  }

  /// Bytes of the words of a line of x.
  static std::size_t line_bytes(const Shape<4>& x) {
    return static_cast<std::size_t>(x[2] * ((x[3] + Dot::depth - 1) / Dot::depth)) * sizeof(Word);
  }

  Index words() const { return words_; }
  /// Pixel 0, before which there are geometry.left more, of line y of picture b, y one of the lines or outside of the picture.
  const Word* line(Index b, Index y) const {
    const Word* first = y < 0 || y >= height_ ? static_cast<const Word*>(zeros_.data()) : data_ + (b * height_ + y) * pixels_ * words_;
    return first + left_ * words_;
  }

 private:
  WordPicture(const Shape<4>& shape, const ConvGeometry& geometry, Index kernel, Index width)
      : words_((shape[3] + Dot::depth - 1) / Dot::depth), height_(shape[1]), width_(shape[2]), left_(geometry.left),
        pixels_(std::max(left_ + width_, (width - 1) * geometry.stride + kernel)) {
    zeros_ = Buffer(static_cast<std::size_t>(pixels_ * words_) * sizeof(Word));
    std::fill_n(static_cast<Word*>(zeros_.data()), pixels_ * words_, Word{});
  }

  template <class Fill>
  void fill(Lines lines, Fill&& read) {
    if (lines.begin == lines.end) return;  // all that is read lies in the padding
    storage_ = Buffer(static_cast<std::size_t>((lines.end - lines.begin) * pixels_ * words_) * sizeof(Word));
    Word* const storage = static_cast<Word*>(storage_.data());
    constexpr Index pixels = 64;  // of a piece
    const Index pieces = (width_ + pixels - 1) / pixels, right = pixels_ - left_ - width_;
    parallel_for((lines.end - lines.begin) * pieces, [&](Index piece) {
      const Index line = piece / pieces, begin = piece % pieces * pixels, end = std::min(width_, begin + pixels);
      Word* const first = storage + (line * pixels_ + left_) * words_;
      if (begin == 0) std::fill_n(first - left_ * words_, left_ * words_, Word{});
      for (Index pixel = begin; pixel < end; ++pixel) read((lines.begin + line) * width_ + pixel, first + pixel * words_);
      if (end == width_) std::fill_n(first + width_ * words_, right * words_, Word{});
    });
    data_ = storage - lines.begin * pixels_ * words_;
  }

  Index words_, height_, width_, left_, pixels_;  // pixels_ of a line with its zeros
  Buffer storage_, zeros_;
  const Word* data_ = nullptr;
};

}  // namespace janusflow::detail
