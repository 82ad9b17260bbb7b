// One run at a time in a directory.
#pragma once

#include <cerrno>
#include <filesystem>
#include <utility>

#include "janusflow/io/file.hpp"

#if defined(JANUSFLOW_POSIX)
#include <sys/file.h>
#endif

namespace janusflow {

/// Holds a directory for this process until it is destroyed; the system lets go when the process dies, however it dies. Where there
/// are no such locks, nobody is kept out.
class RunLock {
 public:
  /// Throws Error when another process, or another lock of this one, holds `directory`.
  explicit RunLock([[maybe_unused]] const std::filesystem::path& directory) {
#if defined(JANUSFLOW_POSIX)
    const auto path = directory / "lock";
    file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0) detail::fail_with_errno("write", path, errno);
    if (flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;  // some network file systems have none
    close(std::exchange(file_, -1));
    fail(directory.string(), " is in use by another run");
#endif
  }
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
#if defined(JANUSFLOW_POSIX)
  ~RunLock() {
    if (file_ >= 0) close(file_);
  }

 private:
  int file_ = -1;
#endif
};

}  // namespace janusflow
