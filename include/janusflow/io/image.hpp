// Pictures: PNG and JPEG in, PNG out, sheets of several, and how far two differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "janusflow/core/tensor.hpp"

namespace janusflow {

/// An RGB picture of bytes, [H, W, 3].
using Picture = Tensor<std::uint8_t, 3>;

/// The most pixels that a picture file may have.
inline constexpr Index max_picture_pixels = 100'000'000;

/// Decodes a PNG or JPEG file that lies in memory, to what PIL's open(...).convert("RGB") gives: grey becomes three
/// equal channels, alpha and transparent palettes are dropped (not blended), 16 bits are cut to 8 (grey too, which PIL clips
/// at 255 instead), an EXIF orientation is not applied. JPEG samples may differ by a few steps from libjpeg's, and more in one
/// column by the right edge where colours have half the columns (4:2:2). Throws Error, its sentence beginning with `name`, for
/// anything else, for damaged and cut-off files, for four inks without Adobe's marker, and for more than `pixel_limit` pixels.
/// What it allocates follows from what the file's data can hold, not from its header.
Picture decode_picture(std::span<const std::byte> file, const std::string& name, Index pixel_limit = max_picture_pixels);

/// Reads a PNG or JPEG file as decode_picture does.
Picture read_picture(const std::filesystem::path& path);

/// The picture as a PNG file.
std::vector<std::byte> encode_png(TensorView<const std::uint8_t, 3> picture);

/// Writes the picture as a PNG file, atomically.
void write_png(const std::filesystem::path& path, TensorView<const std::uint8_t, 3> picture);

/// Lays pictures out in rows of `columns`, `gap` pixels between them, on white. Cells are as large as the largest
/// picture; smaller ones are centred. Throws where there is none.
Picture contact_sheet(std::span<const Picture> pictures, Index columns, Index gap);

/// The middle of a picture, its sides cut down to multiples of `multiple`. Throws where a side is shorter than that.
Picture crop_to_multiple(TensorView<const std::uint8_t, 3> picture, Index multiple);

/// Peak signal-to-noise ratio in dB, 10 log10(255^2 / mean squared difference); infinite for equal pictures. The shapes
/// must agree.
double psnr(TensorView<const std::uint8_t, 3> a, TensorView<const std::uint8_t, 3> b);

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/io/impl/image.hpp"
#endif
