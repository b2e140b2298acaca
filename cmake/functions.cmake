# tephra_library(FOLDER DEPS ... [PROTO file]): the library tephra_<folder with _> from the folder's own .cc files.
# Files are globbed with CONFIGURE_DEPENDS: adding a file is adding it to the build.
function(tephra_library FOLDER)
  cmake_parse_arguments(ARG "" "PROTO" "DEPS" ${ARGN})
  string(REPLACE "/" "_" NAME tephra_${FOLDER})
  file(GLOB SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${FOLDER}/*.cc)
  list(FILTER SOURCES EXCLUDE REGEX "/main\\.cc$")
  if(SOURCES)
    add_library(${NAME} STATIC ${SOURCES})
    target_include_directories(${NAME} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/proto)
    target_link_libraries(${NAME} PUBLIC ${ARG_DEPS})
    if("torch" IN_LIST ARG_DEPS)
      tephra_torch_headers(${NAME})
    endif()
    if(ARG_PROTO AND EXISTS ${PROJECT_SOURCE_DIR}/${ARG_PROTO})
      tephra_proto(${NAME} ${ARG_PROTO})
    endif()
  else()
    add_library(${NAME} INTERFACE)
    target_include_directories(${NAME} INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/proto)
    target_link_libraries(${NAME} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

# Generated code is compiled into the library with warnings off; includes read "storage/records.pb.h".
function(tephra_proto TARGET PROTO)
  string(REGEX REPLACE "\\.proto$" "" STEM ${PROTO})
  set(OUT ${PROJECT_BINARY_DIR}/proto/${STEM}.pb)
  add_custom_command(OUTPUT ${OUT}.cc ${OUT}.h
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/proto
    COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR} --cpp_out=${PROJECT_BINARY_DIR}/proto ${PROJECT_SOURCE_DIR}/${PROTO}
    DEPENDS ${PROJECT_SOURCE_DIR}/${PROTO})
  target_sources(${TARGET} PRIVATE ${OUT}.cc)
  set_source_files_properties(${OUT}.cc PROPERTIES COMPILE_OPTIONS -w)
endfunction()

# One precompiled header (sharding/exec/aten.h: the narrow ATen headers in use), built once and shared by everything that links
# LibTorch. Nothing may be included on the command line before it: GCC then ignores it without a word.
function(tephra_torch_headers TARGET)
  if(NOT TEPHRA_PCH)
    return()
  endif()
  if(NOT TARGET tephra_torch_pch)
    file(WRITE ${PROJECT_BINARY_DIR}/torch_pch.cc "")
    add_library(tephra_torch_pch OBJECT ${PROJECT_BINARY_DIR}/torch_pch.cc)
    target_link_libraries(tephra_torch_pch PRIVATE torch)
    target_precompile_headers(tephra_torch_pch PRIVATE ${PROJECT_SOURCE_DIR}/sharding/exec/aten.h)
  endif()
  target_precompile_headers(${TARGET} REUSE_FROM tephra_torch_pch)
endfunction()

function(tephra_program NAME MAIN)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  if(EXISTS ${PROJECT_SOURCE_DIR}/${MAIN})
    add_executable(${NAME} ${MAIN})
    target_link_libraries(${NAME} PRIVATE ${ARG_DEPS})
    set_target_properties(${NAME} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/tephra/torch/lib")
    install(TARGETS ${NAME} RUNTIME DESTINATION bin)
  endif()
endfunction()

# tephra_test(FOLDER DEPS ... [LABELS ...] [TIMEOUT s] [WHOLE] [TORCH]): tests/FOLDER/*.cc as one GoogleTest program. WHOLE: one CTest test for
# the program, not one for each of its tests: for programs that start slowly, or whose tests share something costly.
# TORCH: its sources include LibTorch.
function(tephra_test FOLDER)
  cmake_parse_arguments(ARG "WHOLE;TORCH" "TIMEOUT" "DEPS;LABELS" ${ARGN})
  file(GLOB SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${FOLDER}/*.cc)
  if(NOT SOURCES)
    return()
  endif()
  string(REPLACE "/" "_" NAME ${FOLDER}_test)
  add_executable(${NAME} ${SOURCES})
  target_include_directories(${NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${NAME} PRIVATE TEPHRA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TEPHRA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  if(ARG_TORCH)
    # CMake would give a program -fPIE, and GCC wants the flags that the precompiled header was made with.
    set_target_properties(${NAME} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${NAME} PRIVATE -fPIC)
    tephra_torch_headers(${NAME})
  endif()
  set(TIMEOUT 120)
  if(ARG_TIMEOUT)
    set(TIMEOUT ${ARG_TIMEOUT})
  endif()
  if(ARG_WHOLE)
    add_test(NAME ${FOLDER} COMMAND ${NAME})
    set_tests_properties(${FOLDER} PROPERTIES TIMEOUT ${TIMEOUT} LABELS "${ARG_LABELS}")
    return()
  endif()
  # PRE_TEST: the program is asked for its tests when ctest runs, not while building (a LibTorch program starts slowly).
  gtest_discover_tests(${NAME} TEST_PREFIX "${FOLDER}/" DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
