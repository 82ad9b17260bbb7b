// Files: read whole, mapped into memory, or written so that a reader never sees half of one; and directories.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#define JANUSFLOW_POSIX 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "janusflow/core/error.hpp"

namespace janusflow {

namespace detail {

[[noreturn]] inline void fail_with_errno(std::string_view operation, const std::filesystem::path& path, int code) {
  fail("cannot ", operation, ' ', path.string(), ": ", std::generic_category().message(code));
}

/// A name beside `path` for what is not complete yet. Random: a process's number comes again where a container starts anew.
inline std::filesystem::path temporary_beside(std::filesystem::path path) {
  std::random_device random;
  path += ".tmp-" + std::to_string(random());
  return path;
}
inline constexpr int temporary_tries = 100;  // where such a name is taken, another one is tried

inline constexpr const char* leads_nowhere = ": it is a link that leads nowhere";

}  // namespace detail

/// Whether there is something of that name, be it a link that leads nowhere: what is named must be read, and says then why it cannot be.
inline bool name_exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() != std::filesystem::file_type::not_found;
}

namespace detail {

/// Throws where there is no regular file at `path`.
inline void require_regular_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  require(status.type() != std::filesystem::file_type::not_found, "cannot read ", path.string(),
          name_exists(path) ? leads_nowhere : ": no such file");
  require(!error, "cannot read ", path.string(), ": ", error.message());
  require(!std::filesystem::is_directory(status), "cannot read ", path.string(), ": it is a directory, not a file");
  require(std::filesystem::is_regular_file(status), "cannot read ", path.string(), ": it is not a regular file");
}

}  // namespace detail

/// The whole content of the file at `path`, which may hold `limit` bytes at most. Throws Error when it is missing, a
/// directory, unreadable or larger.
inline std::string read_file(const std::filesystem::path& path, std::uintmax_t limit) {
  detail::require_regular_file(path);
  errno = 0;
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  const auto end = stream ? static_cast<std::streamoff>(stream.tellg()) : -1;  // of the open file: another may have the name by now
  if (end < 0) detail::fail_with_errno("read", path, errno ? errno : EIO);
  const auto size = static_cast<std::uintmax_t>(end);
  require(size <= limit, "cannot read ", path.string(), ": ", size, " bytes are more than the limit of ", limit);
  stream.seekg(0);
  std::string content(static_cast<std::size_t>(size), '\0');
  stream.read(content.data(), static_cast<std::streamsize>(size));
  require(static_cast<std::uintmax_t>(stream.gcount()) == size, "cannot read ", path.string(), ": it ended early");
  return content;
}

/// A file being written beside its final name: what was there before stays until commit() has put the complete new
/// content on the disk and renamed it. A link stays one: the file that it leads to is replaced. Destroyed without commit, it leaves
/// nothing behind.
class AtomicFile {
 public:
  /// Throws Error when the directory is missing or not writable, or when `path` names something that is not a regular
  /// file, or a link that leads nowhere.
  explicit AtomicFile(std::filesystem::path path) : path_(std::move(path)), target_(path_) {
    std::error_code error;
    const auto status = std::filesystem::status(path_, error);
    require(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), "cannot write ",
            path_.string(), ": ",
            std::filesystem::is_directory(status) ? "it is a directory" : "it is not a regular file");
    if (std::filesystem::is_symlink(std::filesystem::symlink_status(path_, error))) {
      target_ = std::filesystem::canonical(path_, error);
      require(!error, "cannot write ", path_.string(), detail::leads_nowhere);
    }
#if defined(JANUSFLOW_POSIX)
    const char* mode = "wbxe";  // e (glibc, musl, BSD): programs that are started meanwhile do not inherit it
#else
    const char* mode = "wbx";
#endif
    for (int tries = 1; !file_; ++tries) {
      temporary_ = detail::temporary_beside(target_);
      file_ = std::fopen(temporary_.string().c_str(), mode);
      if (!file_ && (errno != EEXIST || tries == detail::temporary_tries)) detail::fail_with_errno("write", path_, errno);
    }
    std::setvbuf(file_, nullptr, _IOFBF, std::size_t{1} << 16);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (file_) std::fclose(file_);
    std::error_code ignored;
    if (!committed_) std::filesystem::remove(temporary_, ignored);
  }

  /// Appends; throws Error when the disk is full or fails.
  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    errno = 0;
    if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) write_failed();
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Brings the content to the disk and gives it its name.
  void commit() {
    errno = 0;
    if (std::fflush(file_) != 0) write_failed();
#if defined(JANUSFLOW_POSIX)
    if (fsync(fileno(file_)) != 0) write_failed();
#endif
    if (std::fclose(std::exchange(file_, nullptr)) != 0) write_failed();
    std::error_code error;
    std::filesystem::rename(temporary_, target_, error);
    require(!error, "cannot write ", path_.string(), ": ", error.message());
    committed_ = true;
#if defined(JANUSFLOW_POSIX)
    // The new name itself survives a power failure only when the directory is on the disk too; some file systems
    // refuse, which does no harm.
    const auto parent = target_.parent_path();
    const int directory = open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_CLOEXEC);
    if (directory >= 0) {
      fsync(directory);
      close(directory);
    }
#endif
  }

 private:
  [[noreturn]] void write_failed() { detail::fail_with_errno("write", path_, errno ? errno : EIO); }

  std::filesystem::path path_, target_, temporary_;
  std::FILE* file_ = nullptr;
  bool committed_ = false;
};

/// Calls writer(AtomicFile&) and commits what it wrote to `path`; when it throws, `path` is left as it was.
template <class Writer>
void write_atomically(const std::filesystem::path& path, Writer&& writer) {
  AtomicFile file(path);
  writer(file);
  file.commit();
}

/// Replaces the file at `path` by `content`, atomically.
inline void write_file(const std::filesystem::path& path, std::string_view content) {
  write_atomically(path, [&](AtomicFile& file) { file.write(content); });
}

/// What lies in a directory, by name. Throws Error where that cannot be read.
inline std::vector<std::filesystem::path> paths_in(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  const std::filesystem::directory_iterator end;
  for (std::filesystem::directory_iterator at(directory, error); !error && at != end; at.increment(error)) paths.push_back(at->path());
  require(!error, "cannot read the directory ", directory.string(), ": ", error.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Makes a directory, and those above it, where there is none. Throws Error where that is not possible.
inline void make_directories(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  require(!error, "cannot make the directory ", directory.string(), ": ", error.message());
}

/// A new directory, made beside its final name, which it takes when it is complete. Destroyed without commit, it leaves nothing behind.
class AtomicDirectory {
 public:
  /// Throws Error when there is something of the name `path` (which may end in a slash), or when the directory that it lies in is missing
  /// or not writable.
  explicit AtomicDirectory(const std::filesystem::path& path) : path_((path / "").parent_path()) {
    require_new();
    std::error_code error;
    for (int tries = 1;; ++tries) {
      temporary_ = detail::temporary_beside(path_);
      if (std::filesystem::create_directory(temporary_, error)) break;
      if (!error) error = std::make_error_code(std::errc::file_exists);  // a directory that is there is none to create_directory
      require(error == std::errc::file_exists && tries < detail::temporary_tries, "cannot make ", path_.string(), ": ", error.message());
    }
  }
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  ~AtomicDirectory() {
    std::error_code ignored;
    if (!committed_) std::filesystem::remove_all(temporary_, ignored);
  }

  /// Where it lies until commit().
  const std::filesystem::path& path() const { return temporary_; }

  /// Gives it its name; throws Error when that was taken meanwhile.
  void commit() {
    require_new();
    std::error_code error;
    std::filesystem::rename(temporary_, path_, error);
    require(!error, "cannot make ", path_.string(), ": ", error.message());
    committed_ = true;
  }

 private:
  void require_new() const { require(!name_exists(path_), "cannot make ", path_.string(), ": it exists already"); }

  std::filesystem::path path_, temporary_;
  bool committed_ = false;
};

/// A file seen as memory, read only. The pages come from the disk as they are touched; where memory maps are missing
/// the whole file is read. The file must not be shortened while it is mapped.
class MappedFile {
 public:
  /// Throws Error when `path` is missing, a directory or unreadable.
  explicit MappedFile(const std::filesystem::path& path) {
#if defined(JANUSFLOW_POSIX)
    detail::require_regular_file(path);
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) detail::fail_with_errno("read", path, errno);
    struct stat status;
    const bool known = fstat(file, &status) == 0;  // of the open file: the name may have changed hands meanwhile
    size_ = known ? static_cast<std::size_t>(status.st_size) : 0;
    void* map = known && size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
    const int code = errno;
    close(file);
    if (!known || map == MAP_FAILED) detail::fail_with_errno("map", path, code);
    data_ = static_cast<const std::byte*>(map);
#else
    content_ = read_file(path, ~std::uintmax_t{0});
    data_ = reinterpret_cast<const std::byte*>(content_.data());
    size_ = content_.size();
#endif
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
#if defined(JANUSFLOW_POSIX)
  ~MappedFile() {
    if (data_) munmap(const_cast<std::byte*>(data_), size_);
  }
#endif

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Maps the pages of [offset, offset + length) at once (Linux 5.14): for what is about to be read whole, one call in place of a
  /// fault for every few pages. Does nothing elsewhere.
  void prepare([[maybe_unused]] std::size_t offset, [[maybe_unused]] std::size_t length) const {
#if defined(JANUSFLOW_POSIX) && defined(MADV_POPULATE_READ)
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t first = std::min(offset, size_) / page * page;
    const std::size_t last = offset >= size_ || length > size_ - offset ? size_ : offset + length;
    if (first < last) madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_POPULATE_READ);
#endif
  }

  /// Drops the whole pages inside [offset, offset + length) from this process's resident memory: after a weight was
  /// packed, its mapped original need not count twice. The bytes stay readable (they would come from the disk again).
  void release([[maybe_unused]] std::size_t offset, [[maybe_unused]] std::size_t length) const {
#if defined(JANUSFLOW_POSIX)
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t end = offset >= size_ || length > size_ - offset ? size_ : offset + length;
    const std::size_t first = (offset + page - 1) / page * page;
    const std::size_t last = end == size_ ? end : end / page * page;
    if (first < last) madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
#endif
  }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
#if !defined(JANUSFLOW_POSIX)
  std::string content_;
#endif
};

}  // namespace janusflow
