# Fetches the packages named in `missing` from the projects that make them; used by the build only, never by the installed package.
include(FetchContent)
set(FETCHCONTENT_QUIET OFF)
set(CMAKE_POLICY_VERSION_MINIMUM 3.10) # nlohmann_json and PCRE2 ask for 3.1, which CMake 4 refuses

# janusflow_fetch(<package> <repository> <tag> [option of FetchContent_Declare...])
macro(janusflow_fetch package repository tag)
  if("${package}" IN_LIST missing)
    FetchContent_Declare(janusflow_${package} GIT_REPOSITORY ${repository} GIT_TAG ${tag} SYSTEM ${ARGN})
    FetchContent_MakeAvailable(janusflow_${package})
  endif()
endmacro()

if("OpenMP" IN_LIST missing)
  message(FATAL_ERROR "janusflow needs a compiler with OpenMP (with clang its own runtime too: Debian's libomp-dev)")
endif()

janusflow_fetch(nlohmann_json https://github.com/nlohmann/json.git v3.11.2)

# The headers of these are all it takes; a SOURCE_SUBDIR that does not exist passes their own CMake files by.
janusflow_fetch(Eigen3 https://gitlab.com/libeigen/eigen.git 3.4.0 SOURCE_SUBDIR headers-only)
if("Eigen3" IN_LIST missing)
  add_library(Eigen3::Eigen INTERFACE IMPORTED GLOBAL)
  target_include_directories(Eigen3::Eigen INTERFACE "${janusflow_eigen3_SOURCE_DIR}")
endif()
janusflow_fetch(xsimd https://github.com/xtensor-stack/xsimd.git 8.1.0 SOURCE_SUBDIR headers-only)
if("xsimd" IN_LIST missing)
  add_library(janusflow::xsimd INTERFACE IMPORTED GLOBAL)
  target_include_directories(janusflow::xsimd INTERFACE "${janusflow_xsimd_SOURCE_DIR}/include")
endif()

set(CMAKE_POLICY_DEFAULT_CMP0077 NEW) # else PCRE2's options pass these over
set(PCRE2_BUILD_TESTS OFF)
set(PCRE2_BUILD_PCRE2GREP OFF)
set(PCRE2_STATIC_PIC ON) # shared libraries may link it
janusflow_fetch(PCRE2 https://github.com/PCRE2Project/pcre2.git pcre2-10.42)
if("PCRE2" IN_LIST missing)
  add_library(janusflow::PCRE2 INTERFACE IMPORTED GLOBAL)
  target_link_libraries(janusflow::PCRE2 INTERFACE pcre2-8-static)
  target_include_directories(janusflow::PCRE2 INTERFACE "${janusflow_pcre2_BINARY_DIR}")
endif()

# stb has no releases: a commit; included as <stb/stb_image.h>.
set(stb_parent "${PROJECT_BINARY_DIR}/_deps/stb_parent")
janusflow_fetch(stb https://github.com/nothings/stb.git 5736b15f7ea0ffb08dd38af21067c314d6a3aae9 SOURCE_DIR
                "${stb_parent}/stb")
if("stb" IN_LIST missing)
  add_library(janusflow::stb INTERFACE IMPORTED GLOBAL)
  target_include_directories(janusflow::stb INTERFACE "${stb_parent}")
endif()
