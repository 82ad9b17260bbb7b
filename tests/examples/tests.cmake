# The example programs on a tiny random checkpoint: right input, wrong input.
foreach(script works refuses trains)
  add_test(NAME examples_${script}
           COMMAND sh "${CMAKE_CURRENT_LIST_DIR}/${script}.sh" "${CMAKE_BINARY_DIR}/examples" "${CMAKE_CURRENT_BINARY_DIR}/examples_${script}")
  set_tests_properties(examples_${script} PROPERTIES LABELS examples)
endforeach()
if(JANUSFLOW_MPI)
  add_test(NAME examples_mpi
           COMMAND sh "${CMAKE_CURRENT_LIST_DIR}/mpi.sh" "${CMAKE_BINARY_DIR}/examples" "${CMAKE_CURRENT_BINARY_DIR}/examples_mpi")
  set_tests_properties(examples_mpi PROPERTIES LABELS mpi)
endif()
