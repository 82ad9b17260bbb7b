// stb_image and stb_image_write, shut into a namespace: any number of translation units may include them, and a
// program's own copy of stb is left alone.
#pragma once
#if defined(__GNUC__)
#pragma GCC system_header  // their warnings are not ours
#endif

// What the two include themselves, first and outside of the namespace.
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "janusflow/core/error.hpp"

namespace janusflow::detail {

/// How large a block may grow while this thread decodes, and whether one was to grow beyond: a few bytes of a file must not ask for
/// what its header does not promise.
struct Growth {
  uint64_t limit;
  bool refused;
};
inline thread_local Growth growth{};

inline void* grown(void* block, size_t size) {
  if (size <= growth.limit) return realloc(block, size);
  growth.refused = true;
  return nullptr;
}

}  // namespace janusflow::detail

// A program may have included its own stb before; it must find its macros as they were.
#if defined(STBI_INCLUDE_STB_IMAGE_H)
#define JANUSFLOW_RESTORE_STB_IMAGE
#undef STBI_INCLUDE_STB_IMAGE_H
#endif
#if defined(INCLUDE_STB_IMAGE_WRITE_H)
#define JANUSFLOW_RESTORE_STB_IMAGE_WRITE
#undef INCLUDE_STB_IMAGE_WRITE_H
#endif
#pragma push_macro("STBIDEF")
#pragma push_macro("STBIWDEF")
#pragma push_macro("STBI_ASSERT")
#pragma push_macro("STBI_MALLOC")
#pragma push_macro("STBI_REALLOC")
#pragma push_macro("STBI_REALLOC_SIZED")
#pragma push_macro("STBI_FREE")
#undef STBIDEF
#undef STBIWDEF
#undef STBI_ASSERT
#undef STBI_MALLOC
#undef STBI_REALLOC
#undef STBI_REALLOC_SIZED
#undef STBI_FREE
#undef stbi__err

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_NO_SIMD  // one result on every machine
#define STBI_ASSERT(x) ((x) ? (void)0 : ::janusflow::fail("picture: not a picture that can be decoded"))
// A damaged file may refer to tables that it never gave: they are zero, not what was in memory before.
#define STBI_MALLOC(size) calloc(1, size)
#define STBI_REALLOC(block, size) ::janusflow::detail::grown(block, size)
#define STBI_FREE(block) free(block)
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO

// The coefficients of a damaged JPEG overflow stb_image's int arithmetic. Each sum only ever becomes a sample, clamped
// to a byte, so wrapping around does no harm: gcc is told to wrap, and clang not to report (it has no such switch
// inside a file).
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("signed-integer-overflow", "shift"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("wrapv")
#endif
namespace janusflow::detail::stb {
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
}  // namespace janusflow::detail::stb
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

#undef STB_IMAGE_STATIC
#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_STATIC
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#undef STBI_INCLUDE_STB_IMAGE_H
#undef INCLUDE_STB_IMAGE_WRITE_H
#undef STBI_ONLY_PNG
#undef STBI_ONLY_JPEG
#undef STBI_NO_BMP
#undef STBI_NO_GIF
#undef STBI_NO_HDR
#undef STBI_NO_LINEAR
#undef STBI_NO_PIC
#undef STBI_NO_PNM
#undef STBI_NO_PSD
#undef STBI_NO_SIMD
#undef STBI_NO_STDIO
#undef STBI_NO_TGA
#undef STBI_WRITE_NO_STDIO
#undef stbi__err
#pragma pop_macro("STBIDEF")
#pragma pop_macro("STBIWDEF")
#pragma pop_macro("STBI_ASSERT")
#pragma pop_macro("STBI_MALLOC")
#pragma pop_macro("STBI_REALLOC")
#pragma pop_macro("STBI_REALLOC_SIZED")
#pragma pop_macro("STBI_FREE")
#if defined(JANUSFLOW_RESTORE_STB_IMAGE)
#define STBI_INCLUDE_STB_IMAGE_H
#undef JANUSFLOW_RESTORE_STB_IMAGE
#endif
#if defined(JANUSFLOW_RESTORE_STB_IMAGE_WRITE)
#define INCLUDE_STB_IMAGE_WRITE_H
#undef JANUSFLOW_RESTORE_STB_IMAGE_WRITE
#endif
