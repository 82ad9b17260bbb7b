// The second translation unit, where the program has an stb of its own, which reads no PNG and nothing as large as two pixels.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_PNG
#define STBI_MAX_DIMENSIONS 1
#include "other_unit.hpp"

#include <stb/stb_image.h>

#include "janusflow/core/eigen.hpp"

float sum_elsewhere(janusflow::TensorView<const float, 2> x) { return janusflow::as_matrix(x).sum(); }

const janusflow::BufferPool* pool_elsewhere() { return &janusflow::BufferPool::instance(); }

bool reads_pictures_elsewhere() {
  const janusflow::Picture picture(janusflow::Shape{2, 2, 3}, std::uint8_t{7});
  const std::vector<std::byte> png = janusflow::encode_png(picture);
  int width, height, channels;
  const bool own = stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(png.data()), static_cast<int>(png.size()), &width, &height,
                                         &channels);
  return !own && std::ranges::equal(janusflow::decode_picture(png, "a picture"), picture);
}

#if !defined(STBI_NO_PNG) || STBI_MAX_DIMENSIONS != 1 || defined(STBIW_MALLOC) || defined(STBI_WRITE_NO_STDIO)
#error "the program's macros are not as they were"
#endif
