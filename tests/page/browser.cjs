// The local page in a real Chromium: `node browser.cjs SCENARIO PAGE CHROMIUM [MORE…]`. Ends with 0 where all is as it must be;
// else it says what is not.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [scenario, page, executablePath, ...more] = process.argv.slice(2);
const PATIENCE_MS = 30_000;
// What nobody may find again.
const SUBJECT = "crm:ayse.yilmaz.7711@example.org";

async function browser(args = []) {
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath, args: [...quiet, ...args] });
}

// A page of its own, and what it asked for and complained of.
async function opened(within, own = {}) {
  const context = await within.newContext({ viewport: { width: 1200, height: 900 }, ...own });
  const tab = await context.newPage();
  const seen = { requests: [], complaints: [] };
  context.on("request", (request) => seen.requests.push(request));
  tab.on("console", (message) => seen.complaints.push(message.text()));
  tab.on("pageerror", (error) => seen.complaints.push(String(error)));
  tab.setDefaultTimeout(PATIENCE_MS);
  await tab.goto(page);
  return { context, tab, seen };
}

// What axe finds wrong with the page as it is, by the rules of WCAG 2.2 AA and good practice.
async function faults(tab) {
  await tab.evaluate(axe);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await tab.evaluate((values) => globalThis.axe.run(document, { runOnly: { type: "tag", values } }), tags);
  assert(found.passes.length > 20, "axe has looked at little");
  return found.violations.map((fault) => `${fault.impact} ${fault.id}: ${fault.nodes.map((node) => node.html).join(" ")}`);
}

// Nothing is wider than the window, and nothing moves.
async function fits(tab) {
  const [content, window, moving] = await tab.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
    document.getAnimations().length,
  ]);
  assert(content <= window, `${content} px in a window of ${window} px`);
  assert.equal(moving, 0);
}

// Where the keyboard is.
const focused = (tab) => tab.evaluate(() => document.activeElement.id || document.activeElement.value || document.activeElement.textContent);

async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < end, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const text = (tab, selector) => tab.locator(selector).innerText();
const got = async (path) => (await fetch(new URL(path, page))).text();

// Fills the form by keyboard alone, from the top of the page.
async function ask(tab, subject) {
  await tab.keyboard.press("Tab");
  assert.equal(await focused(tab), "To the question");
  await tab.keyboard.press("Enter");
  await tab.keyboard.press("Tab");
  for (const [name, typed] of [["subject", subject], ["purpose", "newsletter"], ["channel", "email"]]) {
    assert.equal(await focused(tab), name);
    await tab.keyboard.type(typed);
    await tab.keyboard.press("Escape");
    await tab.keyboard.press("Tab");
  }
  // The details, then the buttons.
  await tab.keyboard.press("Tab");
  assert.equal(await focused(tab), "ask");
  await tab.keyboard.press("Enter");
  await until("an answer", async () => (await text(tab, "#told")) !== "");
}

const scenarios = {
  // The form by keyboard alone: answer, reason, explanation; and nothing of it anywhere.
  async asked() {
    const own = await browser();
    const { context, tab, seen } = await opened(own);
    assert.match(await text(tab, "#ready"), /^Ready/);
    const entries = await tab.evaluate(() => history.length);
    await ask(tab, SUBJECT);
    assert.equal(await text(tab, "#told"), "ALLOW CONSENT: the subject has given a valid consent.");
    assert.match(await text(tab, "#shown"), /Evidence\n[0-9a-f]{16}\/20\d\d-\d\d\/\d+/);
    assert.equal(await tab.locator("#told").getAttribute("role"), "status");
    await tab.keyboard.press("Tab");
    assert.equal(await focused(tab), "explain");
    await tab.keyboard.press("Enter");
    await until("an explanation", async () => (await text(tab, "#shown")).includes("The rules, in order"));
    const explained = await text(tab, "#shown");
    for (const told of ["given (consent)", "newsletter · email · the controller itself", "✓ allowed", "✓ passed"]) {
      assert(explained.includes(told), `${told} is not in ${explained}`);
    }
    assert.deepEqual(await faults(tab), []);
    await fits(tab);

    // An earlier answer, by its evidence.
    const evidence = /Evidence\n(\S+)/.exec(explained)[1];
    await tab.locator("#ask summary").press("Enter");
    await tab.locator("#evidenceId").fill(evidence);
    await tab.locator("#purpose").fill("");
    await tab.locator("#channel").fill("");
    await tab.locator("button[value=explain]").press("Enter");
    await until("a replay", async () => (await text(tab, "#shown")).includes("it comes out the same"));
    assert.match(await text(tab, "#shown"), /Asked by\nadmin:page/);

    // What cannot be answered is told, and shown where it is.
    await tab.locator("#evidenceId").fill("");
    await tab.locator("button[value=ask]").press("Enter");
    await until("a refusal", async () => (await text(tab, "#told")).includes("`question.purpose` is missing"));
    assert.equal(await focused(tab), "purpose");
    assert.equal(await tab.locator("#purpose").getAttribute("aria-invalid"), "true");
    assert.deepEqual(await faults(tab), []);

    // Nothing of it is anywhere but in the field and in the bodies of what was asked.
    const kept = await tab.evaluate(async () => ({
      local: localStorage.length,
      session: sessionStorage.length,
      cookies: document.cookie,
      databases: (await indexedDB.databases()).length,
      title: document.title,
      text: document.body.innerText,
    }));
    const { local, session, cookies, databases } = kept;
    assert.deepEqual({ local, session, cookies, databases }, { local: 0, session: 0, cookies: "", databases: 0 });
    // The way to the question is a place of its own.
    assert.equal(await tab.evaluate(() => history.length), entries + 1);
    assert.equal(tab.url(), `${page}#ask`);
    const name = SUBJECT.split(":")[1];
    for (const where of [tab.url(), kept.title, kept.text, JSON.stringify(await context.storageState())]) {
      assert(!where.includes(name), where);
    }
    const asked = [];
    for (const request of seen.requests) {
      assert.equal(new URL(request.url()).origin, new URL(page).origin);
      assert(!decodeURIComponent(request.url()).includes(name), request.url());
      for (const [header, value] of Object.entries(request.headers())) assert(!value.includes(name), header);
      if ((request.postData() || "").includes(name)) asked.push(`${request.method()} ${new URL(request.url()).pathname}`);
    }
    assert.deepEqual(asked, ["POST /ask", "POST /explain", "POST /explain", "POST /ask"]);
    // The browser complains of the question that was refused, and of nothing else.
    assert.deepEqual(seen.complaints.filter((told) => !told.includes("status of 400")), []);

    // Who comes back finds nobody's name.
    assert.equal(await tab.locator("#subject").inputValue(), SUBJECT);
    await tab.goto("about:blank");
    await tab.goBack();
    assert.equal(await tab.locator("#subject").inputValue(), "");
    await tab.locator("#subject").fill(SUBJECT);
    await tab.reload();
    assert.equal(await tab.locator("#subject").inputValue(), "");
    // Nor who clears the form.
    await tab.locator("#subject").fill(SUBJECT);
    await tab.locator("button[type=reset]").click();
    assert.equal(await tab.locator("#subject").inputValue(), "");
    await own.close();
  },

  // Light and dark, wide and narrow, asked and not: axe finds nothing, and nothing is cut off.
  async shapes() {
    const own = await browser();
    const papers = [];
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [400, 1200]) {
        const { context, tab, seen } = await opened(own, { colorScheme, reducedMotion: "reduce", viewport: { width, height: 900 } });
        await tab.locator("details").evaluateAll((all) => all.forEach((one) => { one.open = true; }));
        assert.deepEqual(await faults(tab), [], `${colorScheme}, ${width} px`);
        await fits(tab);
        await tab.locator("details").evaluateAll((all) => all.forEach((one) => { one.open = false; }));
        await ask(tab, SUBJECT);
        await tab.locator("button[value=explain]").press("Enter");
        await until("an explanation", async () => (await text(tab, "#shown")).includes("The rules, in order"));
        assert.deepEqual(await faults(tab), [], `${colorScheme}, ${width} px, explained`);
        await fits(tab);
        papers.push(await tab.evaluate(() => getComputedStyle(document.body).backgroundColor));
        assert.deepEqual(seen.complaints, []);
        await context.close();
      }
    }
    assert.equal(papers[0], papers[1]);
    assert.notEqual(papers[1], papers[2]);
    // All of it would be noticed.
    const { tab } = await opened(own, { viewport: { width: 400, height: 900 } });
    await tab.evaluate(() => {
      // Of what does not change by itself.
      document.getElementById("ask-h").style.color = "#dddddd";
      document.getElementById("question").style.width = "900px";
      document.querySelector("label[for=subject]").remove();
    });
    const found = (await faults(tab)).join("\n");
    assert(found.includes("color-contrast") && found.includes("label"), found);
    await assert.rejects(fits(tab), /9\d\d px in a window of 400 px/);
    await own.close();
  },

  // Without scripts all of it is shown, and nothing can be sent anywhere.
  async plain() {
    const own = await browser();
    const { tab, seen } = await opened(own, { javaScriptEnabled: false });
    assert.match(await text(tab, "#ready"), /^Ready/);
    for (const [section, told] of [["#decisions", "Answers by reason"], ["#evidence", "An ALLOW waits for this."], ["#ask", "JavaScript"]]) {
      assert((await text(tab, section)).includes(told), section);
    }
    assert.equal(await tab.locator("#question").isVisible(), false);
    await tab.locator("a[data-range]", { hasText: "Last hour" }).click();
    assert.equal(await tab.locator("a[aria-current]").innerText(), "Last hour");
    assert.equal(new URL(tab.url()).search, "?range=hour");
    assert.deepEqual(seen.complaints, []);
    await own.close();
  },

  // What the policy forbids does not happen.
  async policy() {
    const own = await browser();
    const asked = [];
    const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=", "base64");
    const elsewhere = http.createServer((request, response) => {
      asked.push(request.url);
      response.setHeader("access-control-allow-origin", "*");
      if (request.url === "/") return response.setHeader("content-type", "text/html").end("<!doctype html><link rel=icon href=data:,><title>x</title>");
      return response.setHeader("content-type", "image/png").end(png);
    });
    await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const there = `http://127.0.0.1:${elsewhere.address().port}/`;
    const reach = (there) => {
      const image = new Image();
      const loaded = new Promise((resolve) => { image.onload = () => resolve(true); image.onerror = () => resolve(false); });
      image.src = `${there}x.png`;
      return Promise.all([loaded, fetch(`${there}fetched`).then(() => true, () => false)]);
    };
    // Without a policy both are reached.
    const open = await (await own.newContext()).newPage();
    await open.goto(there);
    assert.deepEqual(await open.evaluate(reach, there), [true, true]);
    assert.deepEqual(asked.splice(0).sort(), ["/", "/fetched", "/x.png"]);

    const { tab, seen } = await opened(own);
    assert.deepEqual(await tab.evaluate(reach, there), [false, false]);
    const tried = await tab.evaluate(async () => {
      const tries = {
        text: () => { document.body.innerHTML = "<p>x</p>"; },
        sheet: () => new DOMParser().parseFromString("<p>x</p>", "text/html"),
      };
      const failed = Object.entries(tries).filter(([, attempt]) => { try { attempt(); return false; } catch { return true; } }).map(([name]) => name);
      const script = document.createElement("script");
      script.append("globalThis.ran = true");
      try { document.body.append(script); } catch { /* as it must */ }
      return { failed, ran: globalThis.ran === true };
    });
    assert.deepEqual(tried, { failed: ["text", "sheet"], ran: false });
    for (const directive of ["img-src", "connect-src", "TrustedHTML", "TrustedScript"]) {
      assert(seen.complaints.some((told) => told.includes(directive)), `nobody complained of ${directive}: ${seen.complaints.join("; ")}`);
    }
    assert.deepEqual(asked, [], "something was asked for elsewhere");
    const { tab: form } = await opened(own);
    await form.evaluate(() => { const question = document.getElementById("question"); question.action = "/ask"; question.submit(); });
    await form.waitForTimeout(500);
    assert.equal(form.url(), page);
    elsewhere.close();
    await own.close();
  },

  // A page from elsewhere, and one whose name leads here, get no answer.
  async strangers() {
    const { host, port } = new URL(page);
    const own = await browser([`--host-resolver-rules=MAP evil.example 127.0.0.1`]);
    const before = await got("metrics");
    const question = { subject: { space: "crm", id: SUBJECT.slice(4) }, purpose: "newsletter", channel: "email" };

    const elsewhere = http.createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>x</title>"));
    await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const tab = await (await own.newContext()).newPage();
    await tab.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
    const crossed = await tab.evaluate(async ([host, question]) => {
      const send = (own) => fetch(`http://${host}/ask`, { method: "POST", body: JSON.stringify({ question }), ...own })
        .then((response) => `${response.type} ${response.status}`, () => "failed");
      return [
        await send({ headers: { "Content-Type": "application/json" } }),
        await send({ mode: "no-cors" }),
        await send({ mode: "no-cors", headers: { "Content-Type": "text/plain" } }),
        await fetch(`http://${host}/status.json`).then(() => "read", () => "failed"),
      ];
    }, [host, question]);
    assert.deepEqual(crossed, ["failed", "failed", "failed", "failed"]);
    const frame = await tab.evaluate((host) => new Promise((resolve) => {
      const made = document.createElement("iframe");
      made.onload = () => { try { resolve(made.contentDocument === null ? "kept out" : "empty"); } catch { resolve("kept out"); } };
      made.src = `http://${host}/`;
      document.body.append(made);
    }), host);
    assert.equal(frame, "kept out");
    assert.equal(tab.frames().length, 2);
    for (const child of tab.frames().slice(1)) assert(!(await child.content()).includes("consentd"), "shown in a frame");

    const rebound = await (await own.newContext()).newPage();
    await rebound.goto(`http://evil.example:${port}/`);
    assert.match(await text(rebound, "#ask"), /You may not ask here/);
    assert(!(await rebound.content()).includes("data_dir"), "the configuration is shown");
    const answered = await rebound.evaluate(async (question) => {
      const own = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ question }) };
      const response = await fetch("/ask", own);
      return [response.status, await response.text()];
    }, question);
    assert.equal(answered[0], 403);
    assert.match(answered[1], /the header `Host` must/);

    const count = (text, name) => Number(new RegExp(`^${name.replace(/[{}"]/g, "\\$&")} (\\d+)`, "m").exec(text)[1]);
    const after = await got("metrics");
    const refused = 'consentd_refused_total{why="unknown_caller",wire="admin"}';
    // The preflight of the first is no question.
    assert.equal(count(after, refused) - count(before, refused), 3);
    const appended = 'consentd_evidence_records{stage="appended"}';
    assert.equal(count(after, appended), count(before, appended));
    elsewhere.close();
    await own.close();
  },

  // Readiness, plot and tables follow without a reload, and neither focus nor what was typed is lost.
  async live() {
    const [ledger] = more;
    const own = await browser();
    const { tab, seen } = await opened(own);
    await ask(tab, SUBJECT);
    await tab.locator("a[data-range]", { hasText: "Last minute" }).press("Enter");
    await until("the last minute", async () => (await tab.locator("a[aria-current]").innerText()) === "Last minute");
    assert.equal(new URL(tab.url()).search, "?range=minute");
    await until("the answer in the table", async () => /CONSENT\s+ALLOW\s+1\s+100.0 %\s+1/.test(await text(tab, "#decisions table >> nth=-1")));
    await tab.locator("#decisions details summary").press("Enter");
    await tab.locator("#subject").fill(SUBJECT);
    await tab.locator("#subject").focus();
    await tab.evaluate(() => { document.getElementById("ready").dataset.same = "yes"; document.getElementById("now-h").own = true; });
    fs.renameSync(ledger, `${ledger}.gone`);
    await until("it is not ready", async () => (await text(tab, "#ready")).startsWith("Not ready, because of: ledger"));
    assert.match(await text(tab, ".causes"), /ledger: .*\n*What to do: /);
    assert.equal(await tab.title(), "Not ready · consentd");
    assert.equal(await focused(tab), "subject");
    assert.equal(await tab.locator("#subject").inputValue(), SUBJECT);
    assert.equal(await tab.evaluate(() => document.getElementById("now-h").own), true, "the page was made anew");
    assert.equal(await tab.locator("#decisions details").getAttribute("open"), "");
    assert.equal(await tab.locator("#ready").getAttribute("role"), "status");
    assert.deepEqual(await faults(tab), []);
    await tab.keyboard.press("Enter");
    await until("a denial", async () => (await text(tab, "#told")).startsWith("DENY LEDGER_BROKEN"));
    assert.deepEqual(await faults(tab), []);
    assert.deepEqual(seen.complaints, []);
    await own.close();
  },

  // What is shown is no longer so: it answers with something else, then it ends, while it was ready.
  async ended() {
    const own = await browser();
    const { tab } = await opened(own);
    const sign = () => tab.locator("#ready path").getAttribute("d");
    const tick = await sign();
    assert.match(await text(tab, "#ready"), /^Ready/);
    await tab.route("**/live*", (route) => route.fulfill({ status: 502, body: "a proxy" }));
    await until("another answers", async () => /^The sidecar has answered with status 502 and no page since \d\d:\d\d:\d\d UTC;/.test(await text(tab, "#ready")));
    assert.notEqual(await sign(), tick);
    assert.equal(await tab.title(), "No page · consentd");
    await tab.unroute("**/live*");
    await until("it is ready again", async () => (await text(tab, "#ready")).startsWith("Ready"));
    assert.equal(await sign(), tick);
    const before = Date.now();
    process.kill(Number(more[1]), "SIGKILL");
    await until("nobody answers", async () => (await text(tab, "#ready")).startsWith("No answer from the sidecar since"));
    const [, hours, minutes, seconds] = /since (\d\d):(\d\d):(\d\d) UTC;/.exec(await text(tab, "#ready"));
    const since = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
    const ago = (86_400 + Math.floor(before / 1000) % 86_400 - since) % 86_400;
    assert(ago < 10, `${ago} s before it was killed`);
    assert.notEqual(await sign(), tick, "the sign still says that it is ready");
    assert.equal(await tab.locator("#ready").getAttribute("class"), "ready no");
    assert.equal(await tab.title(), "No answer · consentd");
    assert.deepEqual(await faults(tab), []);
    await own.close();
  },

  // An answer that comes late: to a question that was cleared away, and to a look at another range.
  async late() {
    const own = await browser();
    const { tab } = await opened(own);
    const held = [];
    await tab.route("**/ask", (route) => { held.push(route); });
    await tab.locator("#subject").fill(SUBJECT);
    await tab.locator("#purpose").fill("newsletter");
    await tab.locator("#channel").fill("email");
    await tab.locator("button[value=ask]").press("Enter");
    await until("it is asked", async () => held.length === 1);
    await tab.locator("button[type=reset]").press("Enter");
    const answered = tab.waitForResponse("**/ask");
    await held[0].continue();
    await (await answered).finished();
    await tab.waitForTimeout(300);
    assert.equal(await text(tab, "#told"), "");
    assert.equal(await tab.locator("#shown").isVisible(), false);
    assert.equal(await tab.locator("#subject").inputValue(), "");
    await tab.unroute("**/ask");
    await tab.locator("#subject").fill(SUBJECT);
    await tab.locator("#purpose").fill("newsletter");
    await tab.locator("#channel").fill("email");
    await tab.locator("button[value=ask]").press("Enter");
    await until("the next is answered", async () => (await text(tab, "#told")).startsWith("ALLOW CONSENT"));

    const looks = [];
    await tab.route("**/live*", (route) => (new URL(route.request().url()).search === "?range=minute" ? route.continue() : looks.push(route)));
    await until("a look at ten minutes", async () => looks.length === 1);
    await tab.locator("a[data-range]", { hasText: "Last minute" }).press("Enter");
    await until("the last minute", async () => (await tab.locator("a[aria-current]").innerText()) === "Last minute");
    // It was given up, so that nobody takes what it brings.
    await looks[0].continue().catch(() => {});
    const end = Date.now() + 1500;
    while (Date.now() < end) assert.equal(await tab.locator("a[aria-current]").innerText(), "Last minute");
    assert.equal(looks.length, 1);
    await own.close();
  },

  // Pictures for the document.
  async pictures() {
    const [folder, subject, purpose, channel] = more;
    const own = await browser();
    for (const colorScheme of ["light", "dark"]) {
      const { context, tab } = await opened(own, { colorScheme, viewport: { width: 1200, height: 900 } });
      await tab.screenshot({ path: `${folder}/page-${colorScheme}.png`, clip: await clip(tab, "#now", "#evidence"), fullPage: true });
      await tab.locator("#subject").fill(subject);
      await tab.locator("#purpose").fill(purpose);
      await tab.locator("#channel").fill(channel);
      await tab.locator("button[value=explain]").press("Enter");
      await until("an explanation", async () => (await text(tab, "#shown")).includes("The rules, in order"));
      await tab.locator("#subject").fill("");
      await tab.screenshot({ path: `${folder}/explain-${colorScheme}.png`, clip: await clip(tab, "#ask", "#shown"), fullPage: true });
      await context.close();
    }
    const { tab } = await opened(own, { colorScheme: "dark", viewport: { width: 400, height: 900 } });
    await tab.screenshot({ path: `${folder}/page-narrow.png`, clip: await clip(tab, "#now", "#decisions"), fullPage: true });
    await own.close();
  },
};

// The part of the page from one element to another.
async function clip(tab, from, to) {
  const [top, bottom] = await tab.evaluate(([from, to]) => {
    const [first, last] = [from, to].map((selector) => document.querySelector(selector).getBoundingClientRect());
    return [first.top + scrollY, last.bottom + scrollY];
  }, [from, to]);
  const y = Math.max(0, top - 24);
  return { x: 0, y, width: tab.viewportSize().width, height: bottom - y + 24 };
}

scenarios[scenario]().then(() => process.exit(0), (error) => {
  console.error(`${scenario}: ${error.stack || error}`);
  process.exit(1);
});
