# Outside libraries, each behind one interface target named for what it is, so that folders link words and not paths.
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(PkgConfig REQUIRED)

function(tephra_external NAME)
  cmake_parse_arguments(ARG "" "" "PKG;LIBS;DEFS" ${ARGN})
  add_library(${NAME} INTERFACE)
  if(ARG_PKG)
    pkg_check_modules(PC_${NAME} REQUIRED IMPORTED_TARGET ${ARG_PKG})
    target_link_libraries(${NAME} INTERFACE PkgConfig::PC_${NAME})
  endif()
  target_link_libraries(${NAME} INTERFACE ${ARG_LIBS})
  target_compile_definitions(${NAME} INTERFACE ${ARG_DEFS})
endfunction()

tephra_external(spdlog PKG spdlog)
tephra_external(xxhash PKG libxxhash)
tephra_external(json)
tephra_external(cli11)
tephra_external(yaml PKG yaml-cpp)
tephra_external(rocksdb LIBS -lrocksdb)  # -l: the bare word would be this target itself
tephra_external(protobuf LIBS protobuf::libprotobuf)
tephra_external(pcre2 PKG libpcre2-8)
tephra_external(codecs PKG libturbojpeg libpng)
tephra_external(asio LIBS Threads::Threads DEFS BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION)
tephra_external(openssl PKG openssl)
tephra_external(mpi LIBS MPI::MPI_C DEFS OMPI_SKIP_MPICXX)

# LibTorch's CPU part, unpacked by scripts/setup.sh. -idirafter: should a LibTorch header folder ever hold a copy of a system
# library's headers again, the system's win.
set(TEPHRA_DEPS_DIR "${PROJECT_SOURCE_DIR}/.deps" CACHE PATH "where scripts/setup.sh unpacked LibTorch")
set(TORCH_DIR ${TEPHRA_DEPS_DIR}/torch)
if(NOT EXISTS ${TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not in ${TEPHRA_DEPS_DIR}; run scripts/setup.sh (make demo and make test do)")
endif()
add_library(torch INTERFACE)
target_compile_options(torch INTERFACE "SHELL:-idirafter ${TORCH_DIR}/include" "SHELL:-idirafter ${TORCH_DIR}/include/torch/csrc/api/include")
target_link_libraries(torch INTERFACE -Wl,--no-as-needed ${TORCH_DIR}/lib/libtorch_cpu.so ${TORCH_DIR}/lib/libc10.so -Wl,--as-needed)
# at::parallel_for is a template that runs on one thread alone where it is compiled without OpenMP. The runtime is LibTorch's own, so that
# there is one set of threads. Thread sanitizer does not know that runtime's barriers and would report every loop.
if(NOT TEPHRA_SANITIZE STREQUAL "thread")
  target_compile_options(torch INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fopenmp>)
  target_link_libraries(torch INTERFACE ${TORCH_DIR}/lib/libgomp.so.1)
endif()
target_link_options(torch INTERFACE -Wl,-rpath-link,${TEPHRA_DEPS_DIR}/nvidia/cu13/lib)
