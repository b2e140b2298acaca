# cmake -DOUT=file.cc -DFILES=a,b,c -P embed.cmake: the files as the table of coordinator/web_files.h, by their names without folders.
string(REPLACE "," ";" FILES "${FILES}")
set(ROWS "")
foreach(FILE ${FILES})
  get_filename_component(NAME ${FILE} NAME)
  file(SIZE ${FILE} SIZE)
  file(READ ${FILE} BYTES HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" BYTES "${BYTES}")
  string(APPEND ROWS "    {\"${NAME}\", {\"${BYTES}\", ${SIZE}}},\n")
endforeach()
file(WRITE ${OUT} "// Made by cmake/embed.cmake from coordinator/web.
#include \"coordinator/web_files.h\"

namespace tephra::coordinator {
namespace {
constexpr WebFile kFiles[] = {
${ROWS}};
}  // namespace
std::span<const WebFile> web_files() { return kFiles; }
}  // namespace tephra::coordinator
")
