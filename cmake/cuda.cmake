# libtephra_cuda.so: the NCCL transport as a plugin, beside the programs and linked by none of them (cluster/nccl_plugin.h). It works on
# plain device pointers and streams, so it needs CUDA's runtime and NCCL and no LibTorch; -z defs proves that nothing else is missing.
find_program(TEPHRA_NVCC nvcc HINTS ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin)
if(NOT TEPHRA_NVCC)
  message(FATAL_ERROR "TEPHRA_CUDA is on and nvcc was not found; install CUDA's toolkit, or set CUDA_HOME to where it is")
endif()
set(CMAKE_CUDA_COMPILER ${TEPHRA_NVCC})
set(CMAKE_CUDA_STANDARD 17)  # the kernels need no more, and CMake 3.25 knows no newer for nvcc
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)  # Ampere and Hopper; their PTX serves what came later
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
if(NOT NCCL_INCLUDE_DIR OR NOT NCCL_LIBRARY)
  message(FATAL_ERROR "TEPHRA_CUDA is on and NCCL was not found; install it, or set NCCL_INCLUDE_DIR and NCCL_LIBRARY")
endif()

file(GLOB SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cluster/nccl/*.cc ${PROJECT_SOURCE_DIR}/cluster/nccl/*.cu)
add_library(tephra_cuda SHARED ${SOURCES})
target_include_directories(tephra_cuda PRIVATE ${NCCL_INCLUDE_DIR})
# --exclude-libs: the plugin's copies of base and cluster stay its own.
target_link_options(tephra_cuda PRIVATE -Wl,-z,defs -Wl,--as-needed -Wl,--exclude-libs,ALL)
target_link_libraries(tephra_cuda PRIVATE tephra_cluster ${NCCL_LIBRARY} CUDA::cudart)
# In the build and installed, the plugin is in ../lib of the programs.
get_filename_component(NCCL_LIBRARY_DIR ${NCCL_LIBRARY} DIRECTORY)
set_target_properties(tephra_cuda PROPERTIES
  CXX_VISIBILITY_PRESET hidden
  CUDA_VISIBILITY_PRESET hidden
  CUDA_RUNTIME_LIBRARY None  # CUDA::cudart, the shared one, which LibTorch uses too
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
  INSTALL_RPATH "${NCCL_LIBRARY_DIR};${CUDAToolkit_LIBRARY_DIR}")
install(TARGETS tephra_cuda LIBRARY DESTINATION lib)
