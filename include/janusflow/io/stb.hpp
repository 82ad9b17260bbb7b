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

// A program may have its own stb, included before or after, with settings of its own: they do not reach this copy, and the program finds
// its macros as they were.
#pragma push_macro("INCLUDE_STB_IMAGE_WRITE_H")
#pragma push_macro("STBIDEF")
#pragma push_macro("STBIWDEF")
#pragma push_macro("STBIW_ASSERT")
#pragma push_macro("STBIW_CRC32")
#pragma push_macro("STBIW_FREE")
#pragma push_macro("STBIW_MALLOC")
#pragma push_macro("STBIW_MEMMOVE")
#pragma push_macro("STBIW_REALLOC")
#pragma push_macro("STBIW_REALLOC_SIZED")
#pragma push_macro("STBIW_ZLIB_COMPRESS")
#pragma push_macro("STBI_ASSERT")
#pragma push_macro("STBI_FREE")
#pragma push_macro("STBI_INCLUDE_STB_IMAGE_H")
#pragma push_macro("STBI_MALLOC")
#pragma push_macro("STBI_MAX_DIMENSIONS")
#pragma push_macro("STBI_NO_BMP")
#pragma push_macro("STBI_NO_GIF")
#pragma push_macro("STBI_NO_HDR")
#pragma push_macro("STBI_NO_JPEG")
#pragma push_macro("STBI_NO_LINEAR")
#pragma push_macro("STBI_NO_PIC")
#pragma push_macro("STBI_NO_PNG")
#pragma push_macro("STBI_NO_PNM")
#pragma push_macro("STBI_NO_PSD")
#pragma push_macro("STBI_NO_SIMD")
#pragma push_macro("STBI_NO_STDIO")
#pragma push_macro("STBI_NO_TGA")
#pragma push_macro("STBI_ONLY_JPEG")
#pragma push_macro("STBI_ONLY_PNG")
#pragma push_macro("STBI_REALLOC")
#pragma push_macro("STBI_REALLOC_SIZED")
#pragma push_macro("STBI_WRITE_NO_STDIO")
#pragma push_macro("STB_IMAGE_IMPLEMENTATION")
#pragma push_macro("STB_IMAGE_WRITE_IMPLEMENTATION")
#pragma push_macro("STB_IMAGE_WRITE_STATIC")
#pragma push_macro("stbi__err")
#pragma push_macro("stbi_failure_reason")
#pragma push_macro("stbi_info_from_memory")
#pragma push_macro("stbi_load_from_memory")
#pragma push_macro("stbi_zlib_decode_malloc_guesssize_headerflag")
#undef INCLUDE_STB_IMAGE_WRITE_H
#undef STBIDEF
#undef STBIWDEF
#undef STBIW_ASSERT
#undef STBIW_CRC32
#undef STBIW_FREE
#undef STBIW_MALLOC
#undef STBIW_MEMMOVE
#undef STBIW_REALLOC
#undef STBIW_REALLOC_SIZED
#undef STBIW_ZLIB_COMPRESS
#undef STBI_ASSERT
#undef STBI_FREE
#undef STBI_INCLUDE_STB_IMAGE_H
#undef STBI_MALLOC
#undef STBI_MAX_DIMENSIONS
#undef STBI_NO_BMP
#undef STBI_NO_GIF
#undef STBI_NO_HDR
#undef STBI_NO_JPEG
#undef STBI_NO_LINEAR
#undef STBI_NO_PIC
#undef STBI_NO_PNG
#undef STBI_NO_PNM
#undef STBI_NO_PSD
#undef STBI_NO_SIMD
#undef STBI_NO_STDIO
#undef STBI_NO_TGA
#undef STBI_ONLY_JPEG
#undef STBI_ONLY_PNG
#undef STBI_REALLOC
#undef STBI_REALLOC_SIZED
#undef STBI_WRITE_NO_STDIO
#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_STATIC
#undef stbi__err
#undef stbi_failure_reason
#undef stbi_info_from_memory
#undef stbi_load_from_memory
#undef stbi_zlib_decode_malloc_guesssize_headerflag

// stb_image's functions are extern "C", so that the assembler would take calls of the program's own stb for calls of these. Inline, only
// those that are called are compiled, and they go by names of their own.
#define STBIDEF static inline
#define stbi_failure_reason janusflow_stbi_failure_reason
#define stbi_info_from_memory janusflow_stbi_info_from_memory
#define stbi_load_from_memory janusflow_stbi_load_from_memory
#define stbi_zlib_decode_malloc_guesssize_headerflag janusflow_stbi_zlib_decode_malloc_guesssize_headerflag
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

#pragma pop_macro("INCLUDE_STB_IMAGE_WRITE_H")
#pragma pop_macro("STBIDEF")
#pragma pop_macro("STBIWDEF")
#pragma pop_macro("STBIW_ASSERT")
#pragma pop_macro("STBIW_CRC32")
#pragma pop_macro("STBIW_FREE")
#pragma pop_macro("STBIW_MALLOC")
#pragma pop_macro("STBIW_MEMMOVE")
#pragma pop_macro("STBIW_REALLOC")
#pragma pop_macro("STBIW_REALLOC_SIZED")
#pragma pop_macro("STBIW_ZLIB_COMPRESS")
#pragma pop_macro("STBI_ASSERT")
#pragma pop_macro("STBI_FREE")
#pragma pop_macro("STBI_INCLUDE_STB_IMAGE_H")
#pragma pop_macro("STBI_MALLOC")
#pragma pop_macro("STBI_MAX_DIMENSIONS")
#pragma pop_macro("STBI_NO_BMP")
#pragma pop_macro("STBI_NO_GIF")
#pragma pop_macro("STBI_NO_HDR")
#pragma pop_macro("STBI_NO_JPEG")
#pragma pop_macro("STBI_NO_LINEAR")
#pragma pop_macro("STBI_NO_PIC")
#pragma pop_macro("STBI_NO_PNG")
#pragma pop_macro("STBI_NO_PNM")
#pragma pop_macro("STBI_NO_PSD")
#pragma pop_macro("STBI_NO_SIMD")
#pragma pop_macro("STBI_NO_STDIO")
#pragma pop_macro("STBI_NO_TGA")
#pragma pop_macro("STBI_ONLY_JPEG")
#pragma pop_macro("STBI_ONLY_PNG")
#pragma pop_macro("STBI_REALLOC")
#pragma pop_macro("STBI_REALLOC_SIZED")
#pragma pop_macro("STBI_WRITE_NO_STDIO")
#pragma pop_macro("STB_IMAGE_IMPLEMENTATION")
#pragma pop_macro("STB_IMAGE_WRITE_IMPLEMENTATION")
#pragma pop_macro("STB_IMAGE_WRITE_STATIC")
#pragma pop_macro("stbi__err")
#pragma pop_macro("stbi_failure_reason")
#pragma pop_macro("stbi_info_from_memory")
#pragma pop_macro("stbi_load_from_memory")
#pragma pop_macro("stbi_zlib_decode_malloc_guesssize_headerflag")
