# The checkpoint store alone, for other CMake projects: `cmake --install build --component storage --prefix DIR`, then
# find_package(TephraStorage) and tephra::storage (docs/examples/store_cpp).
install(TARGETS tephra_base tephra_storage tephra_storage_index ARCHIVE DESTINATION lib COMPONENT storage)
foreach(FOLDER base storage)
  file(GLOB HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${FOLDER}/*.h)
  list(FILTER HEADERS EXCLUDE REGEX "/record_codec\\.h$")  # for the library's own sources
  install(FILES ${HEADERS} DESTINATION include/tephra/${FOLDER} COMPONENT storage)
endforeach()
install(FILES storage/index/store.h DESTINATION include/tephra/storage/index COMPONENT storage)
install(FILES cmake/TephraStorageConfig.cmake DESTINATION lib/cmake/TephraStorage COMPONENT storage)
