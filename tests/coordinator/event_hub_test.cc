// What is proved: that the hub keeps no more than it may, knows which ids it can go on from, and lets go of streams that
// ended.
#include "coordinator/event_hub.h"

#include <gtest/gtest.h>

#include "tests/base/temp_dir.h"
#include "victim.h"

namespace tephra::coordinator {
namespace {

class Collected final : public cluster::HttpStream {
 public:
  bool write(const std::string& bytes) override {
    if (gone_) return false;
    text_ += bytes;
    return true;
  }
  void close() override { closed_ = true; }
  void on_closed(std::function<void()> callback) override { on_closed_ = std::move(callback); }
  void repeat(std::chrono::milliseconds, std::function<bool()>) override {}

  void leave() {
    gone_ = true;
    if (on_closed_) on_closed_();
  }
  bool closed() const { return closed_; }
  std::vector<std::string> ids() const {
    std::vector<std::string> ids;
    for (size_t at = 0; (at = text_.find("\nid: ", at)) != std::string::npos; at += 5)
      ids.push_back(text_.substr(at + 5, text_.find('\n', at + 5) - at - 5));
    return ids;
  }

 private:
  std::string text_;
  bool closed_ = false, gone_ = false;
  std::function<void()> on_closed_;
};

TEST(EventHub, KeepsTheNewestAndKnowsWhatItCanGoOnFrom) {
  TempDir dir;
  auto coordinator = Coordinator::start(make_options(dir / "store"));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  EventHub hub(**coordinator, 5);
  auto all = std::make_shared<Collected>(), left = std::make_shared<Collected>();
  EXPECT_EQ(hub.last(), 0u);
  hub.attach(all, "", 0, false);
  hub.attach(left, "", 0, false);
  left->leave();
  EXPECT_EQ(left.use_count(), 1) << "the hub has let go of it";
  const auto id = (*coordinator)->submit(make_recipe(dir.path(), 1, 4), "x");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE((*coordinator)->wait(*id, Deadline::after(std::chrono::seconds(60))).ok());
  (*coordinator)->shutdown();  // nothing happens any more
  const std::vector<std::string> ids = all->ids();
  ASSERT_GT(ids.size(), 10u);
  EXPECT_EQ(ids.size(), hub.last());
  EXPECT_FALSE(all->closed());
  EXPECT_TRUE(left->ids().empty());

  auto late = std::make_shared<Collected>();
  hub.attach(late, "", 0, false);
  EXPECT_EQ(late->ids(), std::vector<std::string>(ids.end() - 5, ids.end()));
  EXPECT_EQ(hub.position(ids.back()), hub.last());
  EXPECT_EQ(hub.position(ids[ids.size() - 6]), hub.last() - 5) << "all that came after it is kept";
  EXPECT_EQ(hub.position(ids[ids.size() - 7]), std::nullopt);
  for (const std::string& odd : {std::string(), std::string("5"), "0" + ids.back(), ids.back() + "0", std::string("-")})
    EXPECT_EQ(hub.position(odd), std::nullopt) << odd;

  auto other = std::make_shared<Collected>(), ended = std::make_shared<Collected>();
  hub.attach(other, "another-1", 0, true);
  EXPECT_TRUE(other->ids().empty());
  hub.attach(ended, *id, 0, true);
  EXPECT_TRUE(ended->closed()) << "the job's last event was among them";
}

TEST(EventHub, KeepsNoMoreBytesThanItMay) {
  TempDir dir;
  auto coordinator = Coordinator::start(make_options(dir / "store"));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  EventHub hub(**coordinator, 4096, 1);
  const auto id = (*coordinator)->submit(make_recipe(dir.path(), 1, 2), "x");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE((*coordinator)->wait(*id, Deadline::after(std::chrono::seconds(60))).ok());
  (*coordinator)->shutdown();
  auto late = std::make_shared<Collected>();
  hub.attach(late, "", 0, false);
  EXPECT_EQ(late->ids().size(), 1u) << "the newest, whatever its size";
}

}  // namespace
}  // namespace tephra::coordinator
