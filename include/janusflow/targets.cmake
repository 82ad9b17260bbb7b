# The library's targets and what they need. The build and the installed package share this file:
#   janusflow::core       with Eigen, xsimd and OpenMP: enough for the headers of core, simd, flow, ops, nn and autodiff
#   janusflow::janusflow  with nlohmann_json, PCRE2 (8 bit) and stb too: everything
#   janusflow::instances  the same, but with the pipelines compiled once, into a library of the project that links it
# JANUSFLOW_ARCH (such as x86-64-v3) or else JANUSFLOW_NATIVE=ON chooses the instruction set of all that link them; with neither, a
# program may carry several and choose when it starts (janusflow_dispatch in dispatch.cmake).
include_guard()

# Makes janusflow::<name> of a package known by a header and perhaps a library; adds the name to `missing` when it is not there.
macro(janusflow_find_files name header library)
  if(NOT TARGET janusflow::${name})
    find_path(JANUSFLOW_${name}_INCLUDE_DIR ${header})
    set(files "${JANUSFLOW_${name}_INCLUDE_DIR}")
    if(NOT "${library}" STREQUAL "")
      find_library(JANUSFLOW_${name}_LIBRARY ${library})
      list(APPEND files "${JANUSFLOW_${name}_LIBRARY}")
    endif()
    mark_as_advanced(JANUSFLOW_${name}_INCLUDE_DIR JANUSFLOW_${name}_LIBRARY)
    if(files MATCHES "NOTFOUND")
      list(APPEND missing ${name})
    else()
      add_library(janusflow::${name} INTERFACE IMPORTED GLOBAL)
      target_include_directories(janusflow::${name} INTERFACE "${JANUSFLOW_${name}_INCLUDE_DIR}")
      target_link_libraries(janusflow::${name} INTERFACE ${JANUSFLOW_${name}_LIBRARY})
    endif()
  endif()
endmacro()

# janusflow_find(<core|janusflow> <variable>): looks for the packages of a target; the variable receives the names of those missing.
function(janusflow_find component result)
  set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
  set(missing)
  find_package(Eigen3 QUIET NO_MODULE)
  if(NOT TARGET Eigen3::Eigen OR (Eigen3_VERSION AND Eigen3_VERSION VERSION_LESS 3.4))
    list(APPEND missing Eigen3)
  endif()
  find_package(OpenMP QUIET COMPONENTS CXX)
  if(NOT TARGET OpenMP::OpenMP_CXX)
    list(APPEND missing OpenMP)
  endif()
  janusflow_find_files(xsimd xsimd/xsimd.hpp "") # by header: the CMake package of Debian's 8.1 asks for a library without need
  if(component STREQUAL janusflow)
    find_package(nlohmann_json 3.10 QUIET)
    if(NOT TARGET nlohmann_json::nlohmann_json)
      list(APPEND missing nlohmann_json)
    endif()
    janusflow_find_files(PCRE2 pcre2.h pcre2-8)
    janusflow_find_files(stb stb/stb_image.h "")
  endif()
  set(${result} "${missing}" PARENT_SCOPE)
endfunction()

# janusflow_define(<core|janusflow> <include directory>): makes the target, once all its packages are there.
function(janusflow_define component include_dir)
  if(TARGET janusflow::${component})
    return()
  endif()
  include("${include_dir}/janusflow/dispatch.cmake")
  add_library(janusflow::${component} INTERFACE IMPORTED GLOBAL)
  if(component STREQUAL janusflow)
    janusflow_define(core "${include_dir}")
    target_link_libraries(janusflow::janusflow INTERFACE janusflow::core nlohmann_json::nlohmann_json janusflow::PCRE2
                                                         janusflow::stb)
    add_library(janusflow_instances STATIC EXCLUDE_FROM_ALL "${include_dir}/janusflow/instances.cpp") # nothing, unless it is linked
    add_library(janusflow::instances ALIAS janusflow_instances)
    target_link_libraries(janusflow_instances PUBLIC janusflow::janusflow)
    target_compile_definitions(janusflow_instances INTERFACE JANUSFLOW_LINK_INSTANCES)
    set_target_properties(janusflow_instances PROPERTIES POSITION_INDEPENDENT_CODE ON) # shared libraries may link it
    return()
  endif()
  target_compile_features(janusflow::core INTERFACE cxx_std_20)
  target_include_directories(janusflow::core INTERFACE "${include_dir}")
  target_link_libraries(janusflow::core INTERFACE Eigen3::Eigen janusflow::xsimd OpenMP::OpenMP_CXX)

  # The kernels say where they fuse a multiplication with an addition. Left to itself a compiler fuses as each place's inlining
  # suggests, and one formula would round differently from one call to the next.
  set(options -ffp-contract=off)
  if(JANUSFLOW_ARCH)
    list(APPEND options -march=${JANUSFLOW_ARCH})
  elseif(JANUSFLOW_NATIVE)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|i[3-6]86)$")
      list(APPEND options -march=native)
    else()
      list(APPEND options -mcpu=native)
    endif()
  endif()
  target_compile_options(janusflow::core INTERFACE "$<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang,AppleClang>:${options}>")
endfunction()
