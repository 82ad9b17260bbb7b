# Projects that use the library in each of the ways a project can: installed, as a subdirectory, fetched.
set(prefix "${CMAKE_CURRENT_BINARY_DIR}/installed")
add_test(NAME install COMMAND "${CMAKE_COMMAND}" --install "${CMAKE_BINARY_DIR}" --prefix "${prefix}")
set_tests_properties(install PROPERTIES LABELS package FIXTURES_SETUP installed)
add_test(NAME install_license COMMAND "${CMAKE_COMMAND}" -E compare_files "${PROJECT_SOURCE_DIR}/LICENSE"
                                                        "${prefix}/${CMAKE_INSTALL_DOCDIR}/LICENSE")
set_tests_properties(install_license PROPERTIES LABELS package FIXTURES_REQUIRED installed)

# add_consumer(<name> <source folder> [setting of CMake...] [RUN <program> <argument>...]): configures, builds and runs a project.
function(add_consumer name source)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" RUN)
  add_test(NAME consumer_${name}
           COMMAND "${CMAKE_CTEST_COMMAND}" --build-and-test "${source}" "${CMAKE_CURRENT_BINARY_DIR}/consumer_${name}"
                   --build-generator "${CMAKE_GENERATOR}" --build-options "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}"
                   "-DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}" -DCMAKE_CXX_FLAGS=-Werror ${arg_UNPARSED_ARGUMENTS}
                   --test-command ${arg_RUN})
  set_tests_properties(consumer_${name} PROPERTIES LABELS package FIXTURES_REQUIRED installed)
endfunction()

set(source "${CMAKE_CURRENT_SOURCE_DIR}/consumer")
set(installed -DHOW=find_package -DVERSION=${PROJECT_VERSION} "-DCMAKE_PREFIX_PATH=${prefix}")
set(no_json -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
add_consumer(find_package ${source} ${installed} RUN consumer)
add_consumer(find_package_core ${source} ${installed} -DCOMPONENTS=core ${no_json} RUN consumer)

# Installed with the headers in a folder that does not lie in the prefix.
set(elsewhere "${CMAKE_CURRENT_BINARY_DIR}/installed_elsewhere")
add_test(NAME install_elsewhere
         COMMAND "${CMAKE_CTEST_COMMAND}" --build-and-test "${PROJECT_SOURCE_DIR}" "${elsewhere}/build" --build-generator "${CMAKE_GENERATOR}"
                 --build-target install --build-options "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}" -DJANUSFLOW_CORE_ONLY=ON
                 "-DCMAKE_INSTALL_PREFIX=${elsewhere}/prefix" "-DCMAKE_INSTALL_INCLUDEDIR=${elsewhere}/headers")
set_tests_properties(install_elsewhere PROPERTIES LABELS package FIXTURES_SETUP installed_elsewhere)
add_consumer(find_package_elsewhere ${source} -DHOW=find_package -DVERSION=${PROJECT_VERSION} "-DCMAKE_PREFIX_PATH=${elsewhere}/prefix"
             -DCOMPONENTS=core RUN consumer)
set_tests_properties(consumer_find_package_elsewhere PROPERTIES FIXTURES_REQUIRED installed_elsewhere)

add_consumer(add_subdirectory ${source} -DHOW=add_subdirectory "-DJANUSFLOW_DIR=${PROJECT_SOURCE_DIR}" RUN consumer)
add_consumer(add_subdirectory_core ${source} -DHOW=add_subdirectory "-DJANUSFLOW_DIR=${PROJECT_SOURCE_DIR}"
             -DJANUSFLOW_CORE_ONLY=ON ${no_json} RUN consumer)
add_consumer(fetch_content ${source} -DHOW=fetch_content "-DJANUSFLOW_DIR=${PROJECT_SOURCE_DIR}" RUN consumer)

# One program of three levels, run as it is and where the processor is said to be a lesser one: it prints how many floats a vector has.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND CMAKE_SYSTEM_NAME STREQUAL Linux)
  add_consumer(dispatch "${CMAKE_CURRENT_SOURCE_DIR}/dispatch" "-DCMAKE_PREFIX_PATH=${prefix}" RUN dispatched)
  set_tests_properties(consumer_dispatch PROPERTIES FIXTURES_SETUP dispatched)
  find_program(QEMU_X86_64 qemu-x86_64)
  mark_as_advanced(QEMU_X86_64)
  if(QEMU_X86_64)
    foreach(lesser "qemu64:4" "max:8") # SSE alone; AVX2, for qemu knows no AVX-512
      string(REPLACE ":" ";" lesser ${lesser})
      list(GET lesser 0 processor)
      list(GET lesser 1 floats)
      add_test(NAME dispatch_${processor}
               COMMAND "${QEMU_X86_64}" -cpu ${processor} "${CMAKE_CURRENT_BINARY_DIR}/consumer_dispatch/dispatched")
      set_tests_properties(dispatch_${processor} PROPERTIES LABELS package FIXTURES_REQUIRED dispatched
                                                            PASS_REGULAR_EXPRESSION "^${floats}\n$")
    endforeach()
  else()
    message(STATUS "janusflow: the dispatch among instruction sets is tested on this processor only: qemu-x86_64 was not found")
  endif()
endif()

set(emoji "${PROJECT_SOURCE_DIR}/examples/models/emoji")
if(EXISTS "${emoji}/config.json")
  add_consumer(embed "${PROJECT_SOURCE_DIR}/examples/embed" "-DCMAKE_PREFIX_PATH=${prefix}" -DCMAKE_CXX_FLAGS_RELEASE=-O1 # half the time
               RUN embed "${emoji}" "red apple" "${CMAKE_CURRENT_BINARY_DIR}/embed.png")
  set_tests_properties(consumer_embed PROPERTIES COST 100) # the longest of all: not last and alone
else()
  message(STATUS "janusflow: the test of examples/embed is left out: there is no model in examples/models/emoji")
endif()
