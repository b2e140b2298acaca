# tephra::storage: the checkpoint store as a static library, with what it needs of the system. C++20.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(Protobuf)
get_filename_component(TEPHRA_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
foreach(NEEDED rocksdb xxhash spdlog fmt)
  find_library(TEPHRA_${NEEDED} ${NEEDED})
  if(NOT TEPHRA_${NEEDED})
    set(TephraStorage_FOUND FALSE)
    set(TephraStorage_NOT_FOUND_MESSAGE "TephraStorage needs lib${NEEDED} (Debian: lib${NEEDED}-dev)")
    return()
  endif()
endforeach()
if(NOT TARGET tephra::storage)
  add_library(tephra::storage INTERFACE IMPORTED)
  set_target_properties(tephra::storage PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${TEPHRA_PREFIX}/include/tephra"
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_LINK_LIBRARIES "${TEPHRA_PREFIX}/lib/libtephra_storage_index.a;${TEPHRA_PREFIX}/lib/libtephra_storage.a;${TEPHRA_PREFIX}/lib/libtephra_base.a;protobuf::libprotobuf;${TEPHRA_rocksdb};${TEPHRA_xxhash};${TEPHRA_spdlog};${TEPHRA_fmt};Threads::Threads")
endif()
