// Files: whole, mapped, atomically written.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "io_testing.hpp"
#include "janusflow/io/file.hpp"

using namespace janusflow;
using namespace io_testing;

TEST_CASE("a file is read whole, and not above its limit") {
  const Folder folder;
  const auto path = folder.write("a", std::string("x\0y\n", 4));
  CHECK(read_file(path, 4) == std::string("x\0y\n", 4));
  CHECK(error_of([&] { read_file(path, 3); }) ==
        "cannot read " + path.string() + ": 4 bytes are more than the limit of 3");
  CHECK(error_of([&] { read_file(folder / "b", 3); }) == "cannot read " + (folder / "b").string() + ": no such file");
  CHECK(error_of([&] { read_file(folder.path(), 3); }) ==
        "cannot read " + folder.path().string() + ": it is a directory, not a file");
  CHECK(contains(error_of([&] { read_file("/dev/zero", 3); }), "not a regular file"));
}

TEST_CASE("a file appears complete or not at all") {
  const Folder folder;
  const auto path = folder.write("a", "old");
  SUBCASE("complete") {
    write_file(path, "new");
    CHECK(read_file(path, 10) == "new");
  }
  SUBCASE("an exception leaves the old one") {
    CHECK_THROWS_AS(write_atomically(path,
                                     [](AtomicFile& file) {
                                       file.write("half");
                                       throw std::runtime_error("stopped");
                                     }),
                    std::runtime_error);
    CHECK(read_file(path, 10) == "old");
  }
  SUBCASE("without commit nothing is written") {
    { AtomicFile(path).write("half"); }
    CHECK(read_file(path, 10) == "old");
  }
  const auto files = std::distance(std::filesystem::directory_iterator(folder.path()), {});
  CHECK(files == 1);  // nothing temporary is left
}

TEST_CASE("a file that is replaced while it is read is read whole, the old one or the new") {
  const Folder folder;
  const auto path = folder.write("a", "old");
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < 300; ++i) std::filesystem::rename(folder.write("b", i % 2 ? "old" : "a longer new one"), path);
    done = true;
  });
  int others = 0;
  while (!done) {
    std::string content;
    try {
      content = read_file(path, 20);
    } catch (const Error& error) {
      content = error.what();
    }
    others += content != "old" && content != "a longer new one";
  }
  writer.join();
  CHECK(others == 0);
}

TEST_CASE("a link stays a link: the file that it leads to is replaced") {
  const Folder folder;
  std::filesystem::create_directory(folder / "real");
  const auto real = folder.write("real/a", "old");
  std::filesystem::create_symlink("real/a", folder / "link");
  std::filesystem::create_symlink("link", folder / "link to it");
  write_file(folder / "link to it", "new");
  CHECK(read_file(real, 10) == "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(std::filesystem::is_symlink(folder / "link to it"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "real"), {}) == 1);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 3);
}

TEST_CASE("a link to what is no file, or to nothing, is neither replaced nor absent") {
  const Folder folder;
  REQUIRE(mkfifo((folder / "fifo").c_str(), 0600) == 0);
  std::filesystem::create_symlink("fifo", folder / "to fifo");
  std::filesystem::create_symlink("nothing", folder / "to nothing");
  std::filesystem::create_symlink("loop", folder / "loop");
  const auto refusal = [&](const char* name) {
    const auto sentence = error_of([&] { write_file(folder / name, "x"); });
    CHECK(name_exists(folder / name));
    CHECK(std::filesystem::is_symlink(folder / name));
    return sentence;
  };
  CHECK(refusal("to fifo") == "cannot write " + (folder / "to fifo").string() + ": it is not a regular file");
  CHECK(refusal("to nothing") == "cannot write " + (folder / "to nothing").string() + ": it is a link that leads nowhere");
  CHECK(refusal("loop") == "cannot write " + (folder / "loop").string() + ": it is a link that leads nowhere");
  CHECK(std::filesystem::is_fifo(folder / "fifo"));
  CHECK_FALSE(name_exists(folder / "nothing"));
  CHECK_FALSE(name_exists(folder / "fifo/a"));
  CHECK(error_of([&] { read_file(folder / "to nothing", 3); }) ==
        "cannot read " + (folder / "to nothing").string() + ": it is a link that leads nowhere");
  CHECK(error_of([&] { read_file(folder / "loop", 3); }) ==
        "cannot read " + (folder / "loop").string() + ": Too many levels of symbolic links");
}

TEST_CASE("what a killed process of the same number has left stands in nobody's way") {
  const Folder folder;
  for (int i = 0; i < 1000; ++i) folder.write(concat("a.tmp-", getpid(), '-', i), "half");
  write_file(folder / "a", "whole");
  CHECK(read_file(folder / "a", 10) == "whole");
}

#if defined(__linux__)
TEST_CASE("a file being written is not open in programs that are started meanwhile") {
  const Folder folder;
  const AtomicFile file(folder / "a");
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code closed;  // the iterator's own, by then
    if (!contains(std::filesystem::read_symlink(entry, closed).string(), (folder / "a").string())) continue;
    found = true;
    CHECK((fcntl(std::stoi(entry.path().filename()), F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(found);
}
#endif

TEST_CASE("a directory appears complete or not at all") {
  const Folder folder;
  const auto path = folder / "new";
  {
    AtomicDirectory directory(path / "");  // as a shell completes it
    CHECK(directory.path().parent_path() == folder.path());
    write_file(directory.path() / "a", "x");
    CHECK_FALSE(name_exists(path));
    SUBCASE("complete") {
      directory.commit();
      CHECK(read_file(path / "a", 10) == "x");
    }
    SUBCASE("without commit nothing is left") {}
    SUBCASE("the name was taken meanwhile, if only by an empty directory") {
      std::filesystem::create_directory(path);
      CHECK(error_of([&] { directory.commit(); }) == "cannot make " + path.string() + ": it exists already");
      CHECK(std::filesystem::is_empty(path));
    }
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == (name_exists(path) ? 1 : 0));
}

TEST_CASE("a directory that cannot be made is said in one sentence") {
  const Folder folder;
  std::filesystem::create_symlink("nothing", folder / "link");
  CHECK(error_of([&] { AtomicDirectory(folder.path()); }) == "cannot make " + folder.path().string() + ": it exists already");
  CHECK(error_of([&] { AtomicDirectory(folder / "link"); }) == "cannot make " + (folder / "link").string() + ": it exists already");
  CHECK(error_of([&] { AtomicDirectory(folder / "no/such"); }) ==
        "cannot make " + (folder / "no/such").string() + ": No such file or directory");
}

TEST_CASE("what cannot be written is said in one sentence") {
  const Folder folder;
  CHECK(contains(error_of([&] { write_file(folder / "no/such/folder", "x"); }), "No such file or directory"));
  CHECK(contains(error_of([&] { write_file(folder.path(), "x"); }), "it is a directory"));
  CHECK(contains(error_of([&] { write_file("/dev/null", "x"); }), "it is not a regular file"));
}

TEST_CASE("a full disk is reported and leaves nothing behind") {
  // A limit on the size of files stands in for the full disk: writing fails in the same call, with another code.
  const Folder folder;
  rlimit before;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto ignored = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  for (const std::size_t size : {1 << 20, 2000}) {  // what is small is written by commit()
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const auto sentence = error_of([&] { write_file(folder / "big", std::string(size, 'x')); });
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK(sentence == "cannot write " + (folder / "big").string() + ": File too large");
    CHECK(std::filesystem::is_empty(folder.path()));
  }
  signal(SIGXFSZ, ignored);
}

TEST_CASE("what lies in a directory comes by name") {
  const Folder folder;
  std::vector<std::filesystem::path> expected;
  for (const char letter : std::string("fbdace")) folder.write(std::string(1, letter), "");
  for (const char letter : std::string("abcdef")) expected.push_back(folder / std::string(1, letter));
  CHECK(paths_in(folder.path()) == expected);
  CHECK(error_of([&] { paths_in(folder / "a"); }) == "cannot read the directory " + (folder / "a").string() + ": Not a directory");
}

TEST_CASE("a mapped file shows its bytes, before and after its pages were released") {
  const Folder folder;
  std::string content(100'000, '\0');
  std::iota(content.begin(), content.end(), '\0');
  const MappedFile file(folder.write("a", content));
  const auto text = [&] {
    return std::string_view(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  };
  CHECK(text() == content);
  file.release(0, content.size());
  CHECK(text() == content);
  file.release(5000, 3);
  file.release(99'999, ~std::size_t{0});
  file.release(200'000, 7);
  CHECK(text() == content);
  CHECK(MappedFile(folder.write("empty", "")).bytes().empty());
  CHECK(contains(error_of([&] { MappedFile(folder / "b"); }), "no such file"));
  CHECK(contains(error_of([&] { MappedFile(folder.path()); }), "it is a directory, not a file"));
}
