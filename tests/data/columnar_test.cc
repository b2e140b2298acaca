// Parquet and Arrow are told by their first bytes, wherever conversations are read, and with how to rewrite them.
#include "data/columnar.h"

#include <gtest/gtest.h>

#include "data/conversation_source.h"
#include "data/convert.h"
#include "tests/data/folder.h"

namespace tephra::data {
namespace {

bool has(const Status& status, const std::string& words) { return status.message().find(words) != std::string::npos; }

TEST(RefuseColumnar, SaysHowToRewriteIt) {
  const Status parquet = refuse_columnar("PAR1\x15\x04", "a/x.parquet");
  EXPECT_EQ(parquet.code(), Code::kUnsupported);
  EXPECT_TRUE(has(parquet, "a/x.parquet: is Parquet, which takes Apache Arrow")) << parquet.message();
  EXPECT_TRUE(has(parquet, "load_dataset('parquet', data_files='a/x.parquet')['train'].to_json(")) << parquet.message();
  EXPECT_TRUE(has(refuse_columnar(std::string("ARROW1\0\0", 8), "x.arrow"), "Dataset.from_file('x.arrow')"));
  EXPECT_TRUE(refuse_columnar("[{\"id\": \"PAR1\"}]", "x.json").ok());
  EXPECT_TRUE(refuse_columnar("", "x.json").ok());
}

class RefuseColumnarFile : public FolderTest {};

TEST_F(RefuseColumnarFile, WhereverConversationsAreRead) {
  const std::string path = write("x.parquet", "PAR1 and so on PAR1");
  for (const std::string layout : {"llava", "sharegpt", "alpaca", "messages"})
    EXPECT_EQ(read_layout({layout, path}).status().code(), Code::kUnsupported) << layout;
  EXPECT_EQ(open_conversations(path).status().code(), Code::kUnsupported);
}

}  // namespace
}  // namespace tephra::data
