// What image.hpp declares: pictures through stb. Included by io/image.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "janusflow/core/inline.hpp"
#include "janusflow/io/file.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/io/picture_format.hpp"
#include "janusflow/io/stb.hpp"

namespace janusflow {

namespace detail {

struct StbFree {
  void operator()(stb::stbi_uc* pixels) const { std::free(pixels); }
};
using StbPixels = std::unique_ptr<stb::stbi_uc, StbFree>;

}  // namespace detail

JANUSFLOW_INLINE Picture decode_picture(std::span<const std::byte> file, const std::string& name, Index pixel_limit) {
  require(file.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()), name,
          " is too large for a picture file");
  const PictureData data = check_picture_file(file, name);
  const auto* bytes = reinterpret_cast<const detail::stb::stbi_uc*>(file.data());
  const int size = static_cast<int>(file.size());
  int width = 0, height = 0, channels = 0;
  require(detail::stb::janusflow_stbi_info_from_memory(bytes, size, &width, &height, &channels), name,
          " cannot be decoded: its header is damaged, or of a kind that is not read");
  require(width > 0 && height > 0 && Index{height} <= pixel_limit / width, name, ": ", width, " x ", height,
          " pixels are more than the limit of ", pixel_limit);
  require(data.compressed >= data.least, name, " is cut off: its ", data.compressed, " bytes of data cannot be ", width, " x ", height,
          " pixels");
  // Blocks that grow are the data, twice as large when it does not fit, and what a PNG's is inflated to, likewise; some files have a
  // little more of that than they need.
  detail::growth = {std::max<std::uint64_t>(2 * file.size() + 4096, 2 * data.raw + 65536), false};
  const detail::StbPixels pixels(detail::stb::janusflow_stbi_load_from_memory(bytes, size, &width, &height, &channels, 3));
  require(!detail::growth.refused, name, " is damaged: its data is inflated to more than its header says");
  require(pixels != nullptr, name, " cannot be decoded: ", detail::stb::janusflow_stbi_failure_reason());
  return Picture(TensorView<const std::uint8_t, 3>(pixels.get(), Shape<3>{{height, width, 3}}));
}

JANUSFLOW_INLINE Picture read_picture(const std::filesystem::path& path) {
  const std::string file = read_file(path, std::uintmax_t{1} << 30);
  return decode_picture(std::as_bytes(std::span(file)), path.string());
}

JANUSFLOW_INLINE std::vector<std::byte> encode_png(TensorView<const std::uint8_t, 3> picture) {
  const auto [height, width, channels] = picture.shape.extents;
  require(channels == 3 && height > 0 && width > 0 && height <= max_picture_pixels / width && picture.contiguous(),
          "encode_png: ", picture.shape, " is not the shape of a picture [H, W, 3]");
  int size = 0;
  const detail::StbPixels png(detail::stb::stbi_write_png_to_mem(
      picture.data, static_cast<int>(width * 3), static_cast<int>(width), static_cast<int>(height), 3, &size));
  require(png != nullptr, "encode_png: out of memory");
  const auto* begin = reinterpret_cast<const std::byte*>(png.get());
  return {begin, begin + size};
}

JANUSFLOW_INLINE void write_png(const std::filesystem::path& path, TensorView<const std::uint8_t, 3> picture) {
  const auto png = encode_png(picture);
  write_atomically(path, [&](AtomicFile& file) { file.write(png); });
}

JANUSFLOW_INLINE Picture contact_sheet(std::span<const Picture> pictures, Index columns, Index gap) {
  require(!pictures.empty() && columns >= 1 && gap >= 0,
          "contact_sheet: needs a picture, a column and a gap that is not negative");
  const Index count = static_cast<Index>(pictures.size());
  columns = std::min(columns, count);
  const Index rows = (count + columns - 1) / columns;
  Index height = 0, width = 0;
  for (const Picture& picture : pictures) {
    require(picture.shape().last() == 3, "contact_sheet: ", picture.shape(),
            " is not the shape of a picture [H, W, 3]");
    height = std::max(height, picture.shape()[0]);
    width = std::max(width, picture.shape()[1]);
  }
  Picture sheet(Shape<3>{{rows * height + (rows - 1) * gap, columns * width + (columns - 1) * gap, 3}},
                std::uint8_t{255});
  for (Index i = 0; i < count; ++i) {
    const auto picture = pictures[static_cast<std::size_t>(i)].view();
    const auto [h, w, c] = picture.shape.extents;
    const Index top = i / columns * (height + gap) + (height - h) / 2;
    const Index left = i % columns * (width + gap) + (width - w) / 2;
    for (Index y = 0; y < h; ++y) std::copy_n(picture[y].data, w * 3, &sheet(top + y, left, 0));
  }
  return sheet;
}

JANUSFLOW_INLINE Picture crop_to_multiple(TensorView<const std::uint8_t, 3> picture, Index multiple) {
  require(multiple >= 1 && picture.shape[0] >= multiple && picture.shape[1] >= multiple, "crop_to_multiple: a picture of ",
          picture.shape[1], " x ", picture.shape[0], " pixels has no sides that are multiples of ", multiple);
  const Index height = picture.shape[0] / multiple * multiple, width = picture.shape[1] / multiple * multiple;
  const Index top = (picture.shape[0] - height) / 2, left = (picture.shape[1] - width) / 2;
  Picture middle(Shape<3>{{height, width, 3}});
  for (Index y = 0; y < height; ++y) std::copy_n(picture[top + y].row(left), width * 3, &middle(y, 0, 0));
  return middle;
}

JANUSFLOW_INLINE double psnr(TensorView<const std::uint8_t, 3> a, TensorView<const std::uint8_t, 3> b) {
  require(a.shape == b.shape && a.size() > 0 && a.contiguous() && b.contiguous(), "psnr: ", a.shape, " does not match ",
          b.shape);
  double sum = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a.data[i]) - static_cast<double>(b.data[i]);
    sum += difference * difference;
  }
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.size()) / sum);
}

}  // namespace janusflow
