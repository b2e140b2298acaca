"""What is proved: the page of a real coordinator in a real browser: signing in, submitting, watching, reading, cancelling, going on over a
restart; with keys alone, on a phone, and for who uses a screen reader, as far as axe-core can tell."""
import os
import re
import signal
import unittest

from axe_playwright_python.sync_playwright import Axe
from harness import BASE_DIR, LIMIT_MS, LONG, TINY, PageTest, expect

PLACES = ["/jobs", "/submit", "/compare"]
PARTS = ["", "/ranks", "/logs", "/checkpoints", "/evaluation", "/recipe", "/history"]


class SignInTest(PageTest):
    def test_a_wrong_token_is_refused_and_a_right_one_stays_in_the_tab(self):
        self.expected = ["401"]
        page = self.open(token="")
        self.go("/jobs", page)
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="this token is not known here")).to_be_visible()
        page.get_by_label("Token").fill(self.server.token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        self.assertEqual(page.evaluate("[Object.values(sessionStorage).length, Object.values(localStorage).length, document.cookie]"), [1, 0, ""])
        page.reload()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        self.assertNotIn(self.server.token, page.url)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        self.assertEqual(page.evaluate("Object.values(sessionStorage).length"), 0)

    def test_a_viewer_sees_and_changes_nothing(self):
        page = self.open(token=self.server.make_token("vera", "viewer"))
        job = self.server.submit(LONG)
        self.go(f"/jobs/{job}", page)
        expect(page.get_by_role("heading", name=job)).to_be_visible()
        expect(page.locator("#who")).to_have_text("vera (viewer)")
        expect(page.locator("#cancel")).to_have_count(0)
        self.go("/submit", page)
        expect(page.get_by_text("vera is a viewer")).to_be_visible()


class JobTest(PageTest):
    def test_a_recipe_is_submitted_watched_and_its_report_read(self):
        page = self.go("/submit")
        page.get_by_label("Recipe").fill(TINY.replace("global_batch: 16", "global_batch: 15", 1).replace("seed: 5", "sede: 5"))
        page.get_by_label("Folder for relative paths").fill(BASE_DIR)
        self.expected = ["422"]
        page.get_by_role("button", name="Submit").click()
        problems = page.locator("#problems")
        expect(problems).to_contain_text("sede")
        line = TINY.split("\n").index("seed: 5") + 1
        problems.get_by_role("button", name=f"Line {line}, column").click()
        expect(page.get_by_label("Recipe")).to_be_focused()
        self.assertTrue(page.evaluate("(r => r.value.slice(r.selectionStart, r.selectionEnd))(document.getElementById('recipe'))").startswith("sede"))

        page.get_by_label("Recipe").fill(TINY)
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url("**/#/jobs/tiny-*")
        job = page.url.rsplit("/", 1)[1]
        loss = page.locator("figure", has_text="Loss").locator("canvas")
        expect(loss).to_have_attribute("aria-label", re.compile(r"Loss by step. align: \d+ steps"), timeout=LIMIT_MS)
        expect(page.locator(".badge").first).to_have_text("done", timeout=LIMIT_MS)
        expect(loss).to_have_attribute("aria-label", re.compile(r"align: 12 steps.*instruct: 12 steps"))
        expect(page.locator(".timeline li.done")).to_have_count(6)
        expect(page.locator("#job-status")).to_have_text(f"{job} is done")
        page.locator("figure", has_text="Loss").get_by_text("Table of values").click()
        expect(page.locator("figure", has_text="Loss").locator("tbody tr")).to_have_count(24)

        page.get_by_role("link", name="Evaluation").click()
        questions = page.get_by_role("table", name="Results of questions")
        expect(questions.get_by_role("row")).to_have_count(3)
        expect(questions).to_contain_text("%")
        report = page.frame_locator("iframe.report")
        expect(report.get_by_role("heading", level=1)).to_be_visible()
        picture = report.locator(".example img").first
        expect(picture).to_be_visible()
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Open it in a tab of its own").click()
        tab = opened.value
        expect(tab.get_by_role("heading", level=1)).to_be_visible()
        self.assertTrue(tab.locator(".example img").first.evaluate("image => image.complete && image.naturalWidth > 0"))
        self.assertIn("rgb", tab.locator("th").first.evaluate("cell => getComputedStyle(cell).color"))

    def test_ranks_logs_and_history_are_told_while_it_runs(self):
        job = self.server.submit(LONG)
        page = self.go(f"/jobs/{job}/ranks")
        expect(page.get_by_role("table", name="Ranks").get_by_role("row")).to_have_count(3, timeout=LIMIT_MS)
        expect(page.locator("#ranks")).to_contain_text("2 of 2")
        expect(page.locator("#ranks")).to_contain_text("s ago")
        expect(page.locator("#ranks").get_by_role("row").nth(1)).to_contain_text("MB")
        page.get_by_role("button", name="Ask the ranks now").click()
        expect(page.get_by_role("table", name="Where each rank is")).to_be_visible()
        expect(page.get_by_text("No attempt has lost a rank.")).to_be_visible()

        os.kill(self.server.wait(job, ("training",))["rank_states"][1]["pid"], signal.SIGKILL)
        lost = page.get_by_role("heading", name="The last lost attempt").locator("xpath=following-sibling::div")
        expect(lost).to_contain_text("Attempt 1 ended", timeout=LIMIT_MS)
        expect(lost.get_by_role("row").nth(2)).to_contain_text("1")

        page.get_by_role("link", name="Logs").click()
        page.get_by_label("Attempt").select_option("1")
        log = page.locator("#log")
        expect(log).to_contain_text("mpirun noticed", timeout=LIMIT_MS)
        page.get_by_label("Filter").fill("nothing is like this")
        expect(log).to_be_empty()
        page.get_by_label("Filter").fill("NOTICED")
        expect(log).to_contain_text("mpirun noticed")
        page.get_by_label("Rank").select_option("0")
        expect(log).to_be_empty()

        page.get_by_role("link", name="History").click()
        expect(page.get_by_role("table", name="Events, newest first").get_by_role("row").nth(1)).to_be_visible()

    def test_a_job_is_paused_resumed_and_cancelled(self):
        job = self.server.submit(LONG)
        page = self.go(f"/jobs/{job}")
        badge = page.locator(".badge").first
        expect(badge).to_have_text("training", timeout=LIMIT_MS)
        page.get_by_role("button", name="Pause").click()
        expect(badge).to_have_text("paused", timeout=LIMIT_MS)
        page.get_by_role("button", name="Resume").click()
        expect(badge).to_have_text("training", timeout=LIMIT_MS)
        page.get_by_role("button", name="Cancel").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        page.get_by_role("button", name="Cancel").click()
        dialog.get_by_label("Reason").fill("enough was seen")
        dialog.get_by_role("button", name="Cancel the job").click()
        expect(badge).to_have_text("cancelled", timeout=LIMIT_MS)
        expect(page.locator("#cancel")).to_have_count(0)
        page.get_by_role("link", name="History").click()
        expect(page.get_by_role("table", name="Events, newest first")).to_contain_text("enough was seen")

    def test_checkpoints_have_parents_and_are_verified(self):
        job = self.server.submit(TINY.replace("seed: 5", "seed: 6"))  # bytes that no other test's job has
        self.server.wait(job)
        page = self.go(f"/jobs/{job}/checkpoints")
        rows = page.get_by_role("table", name="Checkpoints, newest first").get_by_role("row")
        expect(rows.first).to_be_visible()
        expect(page.locator("ol.descent li").last).to_have_text(f"{job}/instruct@12")
        expect(page.locator("ol.descent")).to_contain_text(f"{job}/align@12")
        name = f"{job}/instruct@12"
        page.get_by_role("button", name=f"Verify {name}").click()
        row = page.locator(f'tr[data-checkpoint="{name}"]')
        expect(row).to_contain_text("whole", timeout=LIMIT_MS)
        # A bit in the middle of each of the job's packs.
        for pack in (self.server.store / "packs").glob(f"{job}*"):
            with pack.open("r+b") as bytes_:
                bytes_.seek(pack.stat().st_size // 2)
                byte = bytes_.read(1)
                bytes_.seek(-1, 1)
                bytes_.write(bytes([byte[0] ^ 1]))
        page.get_by_role("button", name=f"Verify {name}").click()
        expect(row).to_contain_text("damaged", timeout=LIMIT_MS)

    def test_jobs_are_compared(self):
        first, second = self.server.submit(), self.server.submit(TINY.replace("lr: 1.0e-3", "lr: 5.0e-4"))
        self.server.wait(second)
        self.server.wait(first)
        page = self.go("/jobs")
        for job in (first, second):
            page.get_by_role("checkbox", name=f"Compare {job}", exact=True).check()
        page.get_by_role("link", name="Compare 2 jobs").click()
        differences = page.get_by_role("table", name="Differences of the recipes")
        expect(differences.get_by_role("row")).to_have_count(2)
        expect(differences).to_contain_text("stages[instruct].optimizer.lr")
        expect(differences).to_contain_text("0.0005")
        canvas = page.locator("figure", has_text="Loss").locator("canvas")
        expect(canvas).to_have_attribute("aria-label", re.compile(f"{first}: 12 steps.*{second}: 12 steps"))
        expect(page.get_by_role("table", name="Scores").get_by_role("row")).to_have_count(5)
        expect(page.get_by_role("table", name="Scores")).to_contain_text("instruct, heldout: Token F1")
        expect(page.get_by_role("table", name="Scores")).not_to_contain_text("not to be compared")
        page.get_by_role("button", name=f"Leave out {second}").click()
        expect(differences).to_have_count(0)

    def test_a_recipe_is_taken_from_a_job(self):
        job = self.server.submit()
        self.server.wait(job)
        page = self.go(f"/jobs/{job}/recipe")
        page.get_by_role("link", name="Submit one like it").click()
        expect(page.get_by_label("Recipe")).to_have_value(re.compile("name: tiny"))
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url("**/#/jobs/tiny-*")
        again = self.server.ask("GET", f"/jobs/{page.url.rsplit('/', 1)[1]}")
        self.assertEqual(again["recipe"], self.server.ask("GET", f"/jobs/{job}")["recipe"])


    def test_a_submission_whose_answer_is_lost_is_made_once(self):
        page = self.go("/submit")
        page.get_by_label("Recipe").fill(TINY.replace("name: tiny", "name: once"))
        page.get_by_label("Folder for relative paths").fill(BASE_DIR)
        self.expected = ["ERR_FAILED"]

        def lose(route):
            route.fetch()  # the coordinator has it
            route.abort()

        page.route("**/api/v1/jobs", lose, times=1)
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#problems")).to_contain_text("does not answer")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url("**/#/jobs/once-*")
        self.assertEqual(len(self.server.ask("GET", "/jobs?recipe=once")["jobs"]), 1)


class PartsTest(PageTest):
    """Functions of the scripts that need no job, called in the page."""

    def call(self, module, function, *arguments):
        return self.page.evaluate("async ([module, name, given]) => (await import(module))[name](...given)", [f"/web/{module}", function, list(arguments)])

    def setUp(self):
        super().setUp()
        self.go("/jobs")

    def test_recipes_are_written_and_told_apart(self):
        recipe = {"stages": [{"train": ["llm"], "name": "a", "optimizer": {"lr": 0.001}}], "name": "x: y", "note": "true", "empty": {}, "none": None}
        self.assertEqual(self.call("recipe.js", "toYaml", recipe),
                         'name: "x: y"\nstages:\n  - name: a\n    train: [llm]\n    optimizer:\n      lr: 0.001\nnote: "true"\nempty: {}\nnone: null\n')
        other = {**recipe, "stages": [{**recipe["stages"][0], "optimizer": {"lr": 0.01, "kind": "adamw"}}]}
        self.assertEqual(self.call("compare_view.js", "differences", [recipe, other]),
                         [["stages[a].optimizer.lr", "0.001", "0.01"], ["stages[a].optimizer.kind", None, '"adamw"']])
        self.assertEqual(self.call("compare_view.js", "differences", [recipe, recipe]), [])

    def test_lines_are_found(self):
        self.assertEqual([self.call("submit_view.js", "lineStart", "ab\nc\n\nd", line) for line in range(1, 6)], [0, 3, 5, 6, 7])

    def test_curves_are_smoothed_and_told_in_words(self):
        points = [{"x": 1, "y": 1}, {"x": 2, "y": 2}, {"x": 3, "y": 0}]
        self.assertEqual(self.call("charts.js", "smoothed", points, 0.5), [{"x": 1, "y": 1}, {"x": 2, "y": 1.5}, {"x": 3, "y": 0.75}])
        self.assertEqual(self.call("charts.js", "describe", {"label": "a", "points": points}),
                         "a: 3 steps, 1 at step 1 to 0 at step 3; lowest 0 at step 3, highest 2 at step 2")
        self.assertEqual(self.call("charts.js", "describe", {"label": "a", "points": []}), "a: nothing yet")

    def test_descent_ends_where_parents_do(self):
        rows = [{"name": "j/b@2", "parent": "j/a@1"}, {"name": "j/a@1", "parent": "base/x@0"}, {"name": "j/c@1", "parent": "j/c@1"}]
        self.assertEqual(self.call("checkpoints.js", "lineage", rows, "j/b@2"), ["base/x@0", "j/a@1", "j/b@2"])
        self.assertEqual(self.call("checkpoints.js", "lineage", rows, "j/c@1"), ["j/c@1"])

    def test_results_of_other_questions_are_not_compared(self):
        def job(prompt, accuracy):
            return {"results": [{"stage": "s", "bench": "b", "metrics": {"accuracy": accuracy, "guess_level": 0.25}, "pinned": {"prompt": prompt}}]}
        self.assertEqual(self.call("compare_view.js", "scores", [job("A", 0.5), job("A", 0.25), {"results": []}]), [["s, b: Accuracy", "50.0 %", "25.0 %", None]])
        self.assertEqual(self.call("compare_view.js", "scores", [job("A", 0.5), job("B", 0.25)])[0][0], "s, b: Accuracy (asked in different ways: not to be compared)")

    def test_numbers_are_written_as_people_read_them(self):
        self.assertEqual([self.call("format.js", "number", value) for value in (None, 0.5, 12345, 0.0005, 1.23456)], ["–", "0.5", "12,345", "5e-4", "1.235"])
        self.assertEqual([self.call("format.js", "duration", value) for value in (-1, 4.25, 59.6, 75, 3700)], ["–", "4.3 s", "1 min 0 s", "1 min 15 s", "1 h 1 min"])
        self.assertEqual([self.call("format.js", "bytes", value) for value in (None, 12, 1500, 250e6)], ["–", "12 B", "1.5 kB", "250 MB"])


class ListTest(PageTest):
    def test_jobs_are_filtered_and_come_in_pages(self):
        self.server.submit(LONG, "holder")
        for i in range(28):
            self.server.submit(TINY.replace("name: tiny", f"name: many{i}"), "anna" if i % 2 else "<img src=x onerror=alert(1)>")
        page = self.go("/jobs")
        rows = page.locator("tr[data-job]")
        expect(rows).to_have_count(25)
        expect(page.get_by_text("<img src=x").first).to_be_visible()
        page.get_by_role("button", name="Older").click()
        expect(page.get_by_role("link", name="long-")).to_be_visible()
        page.get_by_role("button", name="Newer").click()
        expect(rows).to_have_count(25)
        page.get_by_label("Search").fill("many27")
        expect(rows).to_have_count(1)
        self.assertIn("text=many27", page.url)
        page.get_by_label("Search").fill("")
        page.get_by_label("User").fill("holder")
        expect(rows).to_have_count(1)
        page.get_by_label("User").fill("")
        page.get_by_label("State").select_option("failed")
        expect(page.get_by_text("No job is like that.")).to_be_visible()
        page.get_by_label("State").select_option("active")
        expect(rows).to_have_count(25)

    def test_a_list_that_is_open_shows_what_happens(self):
        page = self.go("/jobs")
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        job = self.server.submit()
        row = page.locator(f'tr[data-job="{job}"]')
        expect(row).to_be_visible()
        expect(row).to_contain_text("done", timeout=LIMIT_MS)


class StreamTest(PageTest):
    def test_a_hidden_tab_gives_its_stream_back_and_goes_on_where_it_was(self):
        job = self.server.submit(LONG)
        ended, begun = [], []
        self.page.on("requestfailed", lambda request: ended.append(request.url))
        self.page.on("request", lambda request: request.url.endswith("/events") and begun.append(request.headers.get("last-event-id")))
        page = self.go(f"/jobs/{job}")
        canvas = page.locator("figure", has_text="Loss").locator("canvas")
        expect(canvas).to_have_attribute("aria-label", re.compile(r"align: \d+ steps"), timeout=LIMIT_MS)
        hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }"
        page.evaluate(hide, True)
        self.until(lambda: any(url.endswith("/events") for url in ended))
        self.assertEqual(begun, [None])
        page.evaluate(hide, False)
        self.until(lambda: len(begun) == 2)
        self.assertRegex(begun[1], r"^\w+-\d+$")
        expect(page.locator("#banner")).to_be_hidden()
        shown = RestartTest.step_shown(page)
        self.until(lambda: RestartTest.step_shown(page) > shown)


class RestartTest(PageTest):
    @staticmethod
    def step_shown(page):
        found = re.search(r"step (\d+) of", page.locator("#doing").inner_text().replace(",", ""))
        return int(found[1]) if found else -1

    def test_the_page_says_that_the_coordinator_is_away_and_goes_on(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(how=how):
                job = self.server.submit(LONG)
                page = self.go(f"/jobs/{job}")
                canvas = page.locator("figure", has_text="Loss").locator("canvas")
                expect(canvas).to_have_attribute("aria-label", re.compile(r"align: \d+ steps"), timeout=LIMIT_MS)
                self.expected = ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET"]
                self.server.stop(how)
                expect(page.get_by_role("alert")).to_contain_text("The coordinator is away")
                expect(page.locator("#connection")).to_have_text("Reconnecting")
                self.server.start()
                expect(page.locator("#banner")).to_contain_text("Connected again")
                expect(page.locator("#connection")).to_have_text("Connected")
                before = self.server.wait(job, ("training",))["progress"]
                expect(page.locator(".badge").first).to_have_text("training", timeout=LIMIT_MS)
                reached = (before or {"step": 0})["step"] + 5
                self.until(lambda: self.step_shown(page) >= reached)
                page.get_by_role("button", name="Cancel").click()
                page.get_by_role("button", name="Cancel the job").click()
                expect(page.locator(".badge").first).to_have_text("cancelled", timeout=LIMIT_MS)


class AccessTest(PageTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.job = cls.server.submit()
        cls.server.wait(cls.job)

    def places(self):
        return PLACES + [f"/compare?jobs={self.job}"] + [f"/jobs/{self.job}{part}" for part in PARTS]

    def settle(self, page):
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)

    def test_axe_finds_nothing_in_light_and_dark(self):
        for scheme in ("light", "dark"):
            page = self.open(color_scheme=scheme)
            for place in self.places():
                with self.subTest(scheme=scheme, place=place):
                    self.go(place, page)
                    self.settle(page)
                    found = Axe().run(page, options={"iframes": False})
                    self.assertEqual([(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found.response["violations"]], [])

    def test_axe_finds_nothing_in_the_dialog_and_the_sign_in(self):
        self.expected = ["401"]
        out = self.open(token="")
        self.go("/jobs", out)
        expect(out.get_by_label("Token")).to_be_visible()
        self.assertEqual(Axe().run(out).response["violations"], [])
        page = self.go(f"/jobs/{self.server.submit(LONG)}")
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        self.assertEqual(Axe().run(page, options={"iframes": False}).response["violations"], [])

    def test_keys_are_enough(self):
        page = self.go("/jobs")
        expect(page.get_by_role("link", name=self.job)).to_be_visible()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.key") == f"link-{self.job}":
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=self.job)).to_be_visible()
        expect(page.locator("#content")).to_be_focused()
        self.assertTrue(page.title().startswith(self.job))

    def test_nothing_is_wider_than_a_phone(self):
        page = self.open(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
        for place in self.places():
            with self.subTest(place=place):
                self.go(place, page)
                self.settle(page)
                self.assertLessEqual(page.evaluate("document.scrollingElement.scrollWidth"), 390)

    def test_the_theme_is_kept(self):
        page = self.go("/jobs")
        paper = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(paper)
        page.get_by_role("button", name="Theme: auto").click()
        page.get_by_role("button", name="Theme: light").click()
        self.assertNotEqual(page.evaluate(paper), light)
        page.reload()
        expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        self.assertNotEqual(page.evaluate(paper), light)


if __name__ == "__main__":
    unittest.main()
