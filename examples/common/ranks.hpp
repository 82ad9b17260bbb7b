// One program as one process, or as the ranks of an MPI job where it was built for that and is started by mpirun.
#pragma once

#include <iostream>
#include <new>
#include <string>

#include "common/program.hpp"
#include "janusflow/train/communicator.hpp"
#if defined(JANUSFLOW_MPI)
#include "janusflow/train/mpi_communicator.hpp"
#endif

namespace examples {

/// body(communicator). Rank 0 speaks for all where all fail or stop alike; a rank that fails alone says so, and ends the job.
template <class Body>
void with_ranks([[maybe_unused]] Program& program, Body&& body) {
#if defined(JANUSFLOW_MPI)
  if (MpiCommunicator::launched()) {
    MpiCommunicator communicator;
    if (communicator.rank() > 0) program.mute();
    if (program.cli.count("--threads") == 0) set_num_threads(communicator.threads());
    const auto fails_alone = [&](const std::string& sentence) {
      if (communicator.ranks() == 1) throw Error(sentence);
      std::cerr << program.cli.get_name() + ": rank " + std::to_string(communicator.rank()) + ": " + printable(sentence) + '\n';
      communicator.abort(1);
    };
    try {
      return body(communicator);
    } catch (const SharedError& error) {
      program.say(error.what(), 1);
      program.mute();
      on_any_rank(communicator, false);  // it is said before one leaves: mpirun ends the others then
      throw;
    } catch (const std::bad_alloc&) {
      fails_alone("out of memory");
    } catch (const std::exception& error) {
      fails_alone(error.what());
    }
  }
#endif
  body(alone());
}

}  // namespace examples
