# Projects that use the library in each of the ways a project can: installed, as a subdirectory, fetched.
set(prefix "${CMAKE_CURRENT_BINARY_DIR}/installed")
add_test(NAME install COMMAND "${CMAKE_COMMAND}" --install "${CMAKE_BINARY_DIR}" --prefix "${prefix}")
set_tests_properties(install PROPERTIES LABELS package FIXTURES_SETUP installed)

# add_consumer(<name> <source folder> [setting...]): configures, builds and runs a project of its own.
function(add_consumer name source)
  add_test(NAME consumer_${name}
           COMMAND "${CMAKE_CTEST_COMMAND}" --build-and-test "${source}" "${CMAKE_CURRENT_BINARY_DIR}/consumer_${name}"
                   --build-generator "${CMAKE_GENERATOR}" --build-options "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}"
                   "-DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}" -DCMAKE_CXX_FLAGS=-Werror ${ARGN}
                   --test-command consumer)
  set_tests_properties(consumer_${name} PROPERTIES LABELS package FIXTURES_REQUIRED installed)
endfunction()

set(source "${CMAKE_CURRENT_SOURCE_DIR}/consumer")
add_consumer(find_package ${source} -DHOW=find_package -DVERSION=${PROJECT_VERSION} "-DCMAKE_PREFIX_PATH=${prefix}")
add_consumer(find_package_core ${source} -DHOW=find_package -DCOMPONENTS=core "-DCMAKE_PREFIX_PATH=${prefix}"
             -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
add_consumer(add_subdirectory ${source} -DHOW=add_subdirectory "-DJANUSFLOW_DIR=${PROJECT_SOURCE_DIR}")
add_consumer(add_subdirectory_core ${source} -DHOW=add_subdirectory "-DJANUSFLOW_DIR=${PROJECT_SOURCE_DIR}" -DJANUSFLOW_CORE_ONLY=ON
             -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
add_consumer(fetch_content ${source} -DHOW=fetch_content "-DJANUSFLOW_DIR=${PROJECT_SOURCE_DIR}")
