// The library's version: the one place it is written; CMake reads it from here.
#pragma once

#define JANUSFLOW_VERSION_MAJOR 0
#define JANUSFLOW_VERSION_MINOR 1
#define JANUSFLOW_VERSION_PATCH 0

namespace janusflow {

/// The version as people write it, such as "0.1.0".
#define JANUSFLOW_TEXT_OF(number) #number
#define JANUSFLOW_JOINED(major, minor, patch) JANUSFLOW_TEXT_OF(major) "." JANUSFLOW_TEXT_OF(minor) "." JANUSFLOW_TEXT_OF(patch)
inline constexpr const char* version =
    JANUSFLOW_JOINED(JANUSFLOW_VERSION_MAJOR, JANUSFLOW_VERSION_MINOR, JANUSFLOW_VERSION_PATCH);
#undef JANUSFLOW_JOINED
#undef JANUSFLOW_TEXT_OF

}  // namespace janusflow
