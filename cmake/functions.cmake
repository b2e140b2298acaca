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
      tephra_precompiled(${NAME} torch)
    elseif("cli11" IN_LIST ARG_DEPS)
      tephra_precompiled(${NAME} cli)
    else()
      tephra_precompiled(${NAME} plain)
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
  set_source_files_properties(${OUT}.cc PROPERTIES COMPILE_OPTIONS -w SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# tephra_web(TARGET FOLDER): compiles the folder's files, and Debian's Chart.js, into TARGET (cmake/embed.cmake).
function(tephra_web TARGET FOLDER)
  set(PARTS ${PROJECT_SOURCE_DIR}/${FOLDER})
  file(GLOB FILES CONFIGURE_DEPENDS ${PARTS}/*.html ${PARTS}/*.css ${PARTS}/*.js ${PARTS}/*.svg ${PARTS}/*.txt)
  find_file(TEPHRA_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist NO_DEFAULT_PATH)
  if(NOT TEPHRA_CHART_JS)
    message(FATAL_ERROR "Chart.js is not there; install Debian's libjs-chart.js (scripts/setup.sh does)")
  endif()
  list(APPEND FILES ${TEPHRA_CHART_JS})
  list(JOIN FILES "," COMMA_LIST)
  set(OUT ${PROJECT_BINARY_DIR}/web/${TARGET}_files.cc)
  add_custom_command(OUTPUT ${OUT} COMMAND ${CMAKE_COMMAND} -DOUT=${OUT} -DFILES=${COMMA_LIST} -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${FILES} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(${TARGET} PRIVATE ${OUT})
  set_source_files_properties(${OUT} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# Precompiled headers, each built once and shared by all targets of its kind:
#   plain  the standard library and nlohmann-json
#   cli    the same and CLI11
#   test   the same as plain, and GoogleTest
#   torch  sharding/exec/aten.h: the narrow ATen headers in use; for everything that links LibTorch, its tests too
# Nothing may be included on the command line before one: GCC then ignores it without a word. Sources still include what they use;
# scripts/lint.sh compiles them without.
set(TEPHRA_PCH_plain <algorithm> <chrono> <filesystem> <fstream> <functional> <map> <memory> <mutex> <optional> <set> <span> <sstream>
    <string> <thread> <vector> <nlohmann/json.hpp>)
set(TEPHRA_PCH_cli ${TEPHRA_PCH_plain} <CLI/CLI.hpp>)
set(TEPHRA_PCH_test ${TEPHRA_PCH_plain} <gmock/gmock.h> <gtest/gtest.h>)
set(TEPHRA_PCH_torch ${PROJECT_SOURCE_DIR}/sharding/exec/aten.h)
function(tephra_precompiled TARGET KIND)
  if(NOT TEPHRA_PCH)
    return()
  endif()
  set(PCH tephra_${KIND}_pch)
  if(NOT TARGET ${PCH})
    file(WRITE ${PROJECT_BINARY_DIR}/${PCH}.cc "")
    add_library(${PCH} OBJECT ${PROJECT_BINARY_DIR}/${PCH}.cc)
    if(KIND STREQUAL "torch")
      target_link_libraries(${PCH} PRIVATE torch)
    elseif(KIND STREQUAL "test")
      target_link_libraries(${PCH} PRIVATE GTest::gmock)
    endif()
    target_precompile_headers(${PCH} PRIVATE ${TEPHRA_PCH_${KIND}})
  endif()
  # CMake would give a program -fPIE, and GCC wants the flags that the precompiled header was made with.
  set_target_properties(${TARGET} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${TARGET} PRIVATE -fPIC)
  target_precompile_headers(${TARGET} REUSE_FROM ${PCH})
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
    tephra_precompiled(${NAME} torch)
  else()
    tephra_precompiled(${NAME} test)
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
