# janusflow_dispatch(<executable> <level>...): the executable carries its code once for each level, a value of -march, the most basic
# first, and runs the last that the processor has. Its own sources and janusflow's pipelines are compiled so; what else it links is
# compiled once. For ELF systems with GNU binutils.
#
# One name has one definition in a program, but here every function of the library has several. So the code of a level is linked into
# one object, whose names are then made local but for its main and its question to the processor (dispatch.cpp).
include_guard(GLOBAL)

function(janusflow_dispatch target)
  if(JANUSFLOW_ARCH OR JANUSFLOW_NATIVE)
    message(FATAL_ERROR "janusflow_dispatch: leave out JANUSFLOW_ARCH and JANUSFLOW_NATIVE, which choose one level for all")
  endif()
  get_target_property(sources ${target} SOURCES)
  get_target_property(libraries ${target} LINK_LIBRARIES)
  set(instances FALSE)
  if("janusflow::instances" IN_LIST libraries)
    set(instances TRUE)
    list(REMOVE_ITEM libraries janusflow::instances)
    list(APPEND libraries janusflow::janusflow)
  endif()
  # Where LLVM's tools are installed CMake prefers them for clang; they do not do all that is asked of them below.
  set(linker "${CMAKE_LINKER}")
  set(objcopy "${CMAKE_OBJCOPY}")
  if(linker MATCHES "lld")
    find_program(JANUSFLOW_GNU_LD NAMES ld.bfd ld REQUIRED)
    set(linker "${JANUSFLOW_GNU_LD}")
  endif()
  if(objcopy MATCHES "llvm")
    find_program(JANUSFLOW_GNU_OBJCOPY NAMES objcopy REQUIRED)
    set(objcopy "${JANUSFLOW_GNU_OBJCOPY}")
  endif()
  set(local $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>) # a unique name would stay one for all levels
  set(levels)
  set(objects)
  foreach(level IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER "${level}" id)
    string(APPEND levels "X(${id}) ")
    add_library(${target}_${id} OBJECT ${sources} "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/dispatch_level.cpp")
    target_link_libraries(${target}_${id} PRIVATE ${libraries})
    target_compile_options(${target}_${id} PRIVATE -march=${level} ${local})
    foreach(property COMPILE_DEFINITIONS COMPILE_OPTIONS INCLUDE_DIRECTORIES)
      set_property(TARGET ${target}_${id} APPEND PROPERTY ${property} "$<TARGET_PROPERTY:${target},${property}>")
    endforeach()
    set(parts "$<TARGET_OBJECTS:${target}_${id}>")
    if(instances)
      if(NOT TARGET janusflow_instances_${id})
        add_library(janusflow_instances_${id} OBJECT EXCLUDE_FROM_ALL "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/instances.cpp")
        target_link_libraries(janusflow_instances_${id} PRIVATE ${libraries})
        target_compile_options(janusflow_instances_${id} PRIVATE -march=${level} ${local})
      endif()
      target_compile_definitions(${target}_${id} PRIVATE JANUSFLOW_LINK_INSTANCES)
      list(APPEND parts "$<TARGET_OBJECTS:janusflow_instances_${id}>")
      add_dependencies(${target} janusflow_instances_${id})
    endif()
    add_dependencies(${target} ${target}_${id})
    # The constructors of globals go where dispatch.cpp finds them, and the system's start does not.
    set(whole "${CMAKE_CURRENT_BINARY_DIR}/${target}_${id}")
    file(WRITE "${whole}.ld" "SECTIONS { janusflow_init_${id} : { KEEP(*(SORT_BY_INIT_PRIORITY(.init_array.*) .init_array)) } }\n")
    add_custom_command(
      OUTPUT "${whole}.o"
      COMMAND "${linker}" -r --force-group-allocation -T "${whole}.ld" -o "${whole}.all.o" ${parts}
      COMMAND "${objcopy}" --redefine-sym main=janusflow_main_${id} --redefine-sym janusflow_missing=janusflow_missing_${id}
              --keep-global-symbol=janusflow_main_${id} --keep-global-symbol=janusflow_missing_${id} "${whole}.all.o" "${whole}.o"
      DEPENDS ${parts} COMMAND_EXPAND_LISTS VERBATIM)
    list(APPEND objects "${whole}.o")
  endforeach()
  add_library(${target}_dispatch OBJECT "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/dispatch.cpp")
  target_compile_definitions(${target}_dispatch PRIVATE "JANUSFLOW_LEVELS=${levels}")
  set_target_properties(${target} PROPERTIES SOURCES "${objects}" LINK_LIBRARIES "${libraries};${target}_dispatch" LINKER_LANGUAGE CXX)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
endfunction()
