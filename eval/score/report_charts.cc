// The report's pictures: plain SVG with classes, so that the page's style sheet colours them for light, dark and print.
#include <algorithm>
#include <cmath>

#include "eval/score/report_view.h"

namespace tephra::eval {
namespace {

constexpr double kWidth = 460, kHeight = 230;
constexpr double kLeft = 46, kRight = 12, kTop = 12, kBottom = 28;  // margins of the plot
constexpr size_t kPointsMax = 500;                                  // drawn points a curve

std::string at(double x, double y) { return fixed(x, 1) + " " + fixed(y, 1); }

std::string text(double x, double y, const char* anchor, const std::string& words, const char* css = "tick") {
  return "<text class=\"" + std::string(css) + "\" x=\"" + fixed(x, 1) + "\" y=\"" + fixed(y, 1) + "\" text-anchor=\"" +
         anchor + "\">" + html_escape(words) + "</text>";
}

std::string line(double x0, double y0, double x1, double y1, const char* css) {
  return "<line class=\"" + std::string(css) + "\" x1=\"" + fixed(x0, 1) + "\" y1=\"" + fixed(y0, 1) + "\" x2=\"" +
         fixed(x1, 1) + "\" y2=\"" + fixed(y1, 1) + "\"/>";
}

std::string svg_open(double width, double height, const std::string& title) {
  return "<svg viewBox=\"0 0 " + fixed(width, 0) + " " + fixed(height, 0) + "\" role=\"img\" aria-label=\"" +
         html_escape(title) + "\">";
}

// 1, 2 or 5 times a power of ten: about `wanted` steps in `span`.
double tick_step(double span, int wanted) {
  const double raw = span / wanted, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw) return factor * power;
  return 10 * power;
}

struct Scale {
  double low, high, from, to;
  double operator()(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

// Every k-th index, and the last.
std::vector<size_t> drawn_indices(size_t size) {
  std::vector<size_t> indices;
  const size_t stride = (size + kPointsMax - 1) / kPointsMax;
  for (size_t i = 0; i < size; i += std::max<size_t>(1, stride)) indices.push_back(i);
  if (!indices.empty() && indices.back() != size - 1) indices.push_back(size - 1);
  return indices;
}

std::string path(const std::vector<std::pair<double, double>>& points, const char* css) {
  std::string d;
  for (const auto& [x, y] : points) d += (d.empty() ? "M" : "L") + at(x, y);
  return "<path class=\"" + std::string(css) + "\" d=\"" + d + "\"/>";
}

std::string gridlines(const Scale& x, const Scale& y) {
  std::string out;
  const double dy = tick_step(y.high - y.low, 4);
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(dy) - 1e-9)));
  for (double v = std::ceil(y.low / dy - 1e-9) * dy; v <= y.high + dy * 1e-9; v += dy) {
    if (std::abs(v) < dy / 2) v = 0;  // not -0
    out += line(kLeft, y(v), kWidth - kRight, y(v), "grid") + text(kLeft - 6, y(v) + 4, "end", fixed(v, digits));
  }
  const double dx = std::max(1.0, tick_step(x.high - x.low, 5));
  for (double v = std::ceil(x.low / dx) * dx; v <= x.high + dx * 1e-9; v += dx)
    out += text(x(v), kHeight - kBottom + 16, "middle", grouped(std::llround(v)));
  return out;
}

}  // namespace

std::string loss_svg(const StageReport& stage) {
  std::vector<CurvePoint> curve;
  for (const auto& point : stage.curve)
    if (std::isfinite(point.loss)) curve.push_back(point);
  if (curve.empty()) return "";
  const auto [least, most] =
      std::minmax_element(curve.begin(), curve.end(), [](const auto& a, const auto& b) { return a.loss < b.loss; });
  double low = least->loss, high = most->loss;
  if (high - low < 1e-6) low -= 0.5, high += 0.5;
  const double pad = 0.06 * (high - low);
  const auto first = static_cast<double>(curve.front().step), last = static_cast<double>(curve.back().step);
  const Scale x{first, std::max(first + 1, last), kLeft, kWidth - kRight};
  const Scale y{std::max(low >= 0 ? 0.0 : low - pad, low - pad), high + pad, kHeight - kBottom, kTop};
  // The mean of the thirtieth of the curve around each step: what the eye should follow; the raw losses stay visible
  // behind it.
  const size_t half = curve.size() / 60;
  std::vector<double> smooth(curve.size());
  for (size_t i = 0; i < curve.size(); ++i) {
    const size_t reach = std::min({half, i, curve.size() - 1 - i});  // symmetric, so that the ends are not bent
    for (size_t k = i - reach; k <= i + reach; ++k) smooth[i] += curve[k].loss / static_cast<double>(2 * reach + 1);
  }
  std::vector<std::pair<double, double>> raw_points, smooth_points;
  for (size_t i : drawn_indices(curve.size())) {
    const double px = x(static_cast<double>(curve[i].step));
    raw_points.emplace_back(px, y(curve[i].loss));
    smooth_points.emplace_back(px, y(smooth[i]));
  }
  const std::string title = "Loss of stage " + stage.name + " by step, from " + fixed(curve.front().loss, 3) + " to " +
                            fixed(curve.back().loss, 3);
  std::string out = svg_open(kWidth, kHeight, title) + gridlines(x, y);
  if (curve.size() > 60)
    out += path(raw_points, "raw") + path(smooth_points, "curve");
  else
    out += path(raw_points, "curve");
  if (curve.size() == 1)
    out += "<circle class=\"dot\" cx=\"" + fixed(raw_points[0].first, 1) + "\" cy=\"" + fixed(raw_points[0].second, 1) +
           "\" r=\"3\"/>";
  return out + "</svg>";
}

std::string during_svg(const ReportDuring& during) {
  std::vector<std::pair<int64_t, ReportCell>> points;
  for (const auto& point : during.points)
    if (std::isfinite(point.second.value)) points.push_back(point);
  if (points.empty()) return "";
  double low = points.front().second.value, high = low;
  const auto reach = [&](double value) {
    if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
  };
  for (const auto& [step, cell] : points) reach(cell.value), reach(cell.low), reach(cell.high);
  if (high - low < 1e-6) low -= 0.5, high += 0.5;
  const double pad = 0.06 * (high - low);
  const auto first = static_cast<double>(points.front().first), last = static_cast<double>(points.back().first);
  const double side = std::max(1.0, 0.03 * (last - first));
  const Scale x{first - side, last + side, kLeft, kWidth - kRight};
  const Scale y{low - pad, high + pad, kHeight - kBottom, kTop};
  std::string marks;
  std::vector<std::pair<double, double>> curve;
  for (const auto& [step, cell] : points) {
    const double px = x(static_cast<double>(step)), py = y(cell.value);
    curve.emplace_back(px, py);
    if (std::isfinite(cell.low)) marks += line(px, y(cell.low), px, y(cell.high), "whisker");
    marks += "<circle class=\"dot\" cx=\"" + fixed(px, 1) + "\" cy=\"" + fixed(py, 1) + "\" r=\"3.5\"/>";
  }
  const std::string title = during.table.title + ", " + during.measure + " by step, from " +
                            points.front().second.text + " to " + points.back().second.text;
  return svg_open(kWidth, kHeight, title) + gridlines(x, y) + path(curve, "curve") + marks + "</svg>";
}

std::string spark_svg(const StageReport& stage, const std::string& name, const std::string& label) {
  std::vector<double> values;
  for (const auto& point : stage.curve) {
    const double value = name == "lr" ? point.lr : name == "grad_norm" ? point.grad_norm : point.tokens_per_s;
    values.push_back(std::isfinite(value) ? value : 0);
  }
  if (values.size() < 2 || std::all_of(values.begin(), values.end(), [](double v) { return v == 0; })) return "";
  constexpr double width = 150, height = 62;
  const double high = *std::max_element(values.begin(), values.end());
  const Scale x{0, static_cast<double>(values.size() - 1), 2, width - 2};
  const Scale y{0, high > 0 ? high : 1, height - 4, 22};
  std::vector<std::pair<double, double>> points;
  for (size_t i : drawn_indices(values.size())) points.emplace_back(x(static_cast<double>(i)), y(values[i]));
  return svg_open(width, height, label + ", at most " + compact(high)) + text(2, 11, "start", label) +
         text(width - 2, 11, "end", "max " + compact(high)) + line(2, height - 4, width - 2, height - 4, "grid") +
         path(points, "spark") + "</svg>";
}

std::string ranges_svg(const ReportRanges& ranges) {
  constexpr double width = 460, label_width = 116, value_width = 52, row_height = 24, top = 20;
  const double height = top + row_height * static_cast<double>(ranges.rows.size()) + 22;
  const double floor = height - 20;
  const Scale x{0, 100, label_width, width - value_width};
  std::string out = svg_open(width, height, "Accuracy on " + ranges.title + " with 95 % intervals");
  for (int tick = 0; tick <= 100; tick += 25)
    out += line(x(tick), top - 4, x(tick), floor, "grid") + text(x(tick), floor + 14, "middle", std::to_string(tick));
  if (std::isfinite(ranges.guess))
    out += line(x(ranges.guess), top - 4, x(ranges.guess), floor, "guess") +
           text(x(ranges.guess), top - 8, "middle", "guessing", "tick");
  double middle = top + row_height / 2;
  for (const auto& row : ranges.rows) {
    out += text(label_width - 8, middle + 4, "end", row.label, row.swapped ? "tick" : "label");
    if (std::isfinite(row.cell.low))
      out += line(x(row.cell.low), middle, x(row.cell.high), middle, row.swapped ? "whisker dim" : "whisker");
    out += "<circle class=\"" + std::string(row.swapped ? "ring" : "dot") + "\" cx=\"" + fixed(x(row.cell.value), 1) +
           "\" cy=\"" + fixed(middle, 1) + "\" r=\"4.5\"/>";
    out += text(width - 2, middle + 4, "end", row.cell.text, row.swapped ? "tick" : "label");
    middle += row_height;
  }
  return out + "</svg>";
}

}  // namespace tephra::eval
