"use strict";
(() => {
  const POLL_MS = 2000;
  const PATIENCE_MS = 5000;
  const byId = (id) => document.getElementById(id);

  // What the server shows anew replaces what has changed, and nothing else: focus, open parts and scrolling stay.
  const morph = (have, fresh) => {
    if (have.nodeType !== fresh.nodeType || have.nodeName !== fresh.nodeName) {
      have.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (have.nodeType !== Node.ELEMENT_NODE) {
      if (have.nodeValue !== fresh.nodeValue) have.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes) {
      if (have.getAttribute(name) !== value) have.setAttribute(name, value);
    }
    for (const { name } of [...have.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) have.removeAttribute(name);
    }
    const olds = [...have.childNodes];
    const news = [...fresh.childNodes];
    news.forEach((child, place) => {
      if (place < olds.length) morph(olds[place], child);
      else have.append(document.importNode(child, true));
    });
    olds.slice(news.length).forEach((child) => child.remove());
  };

  let timer = 0;
  let lastSeen = new Date();
  let pending = null;
  const CROSS = "M5 5l14 14M19 5L5 19";
  const away = (what, title) => {
    const ready = byId("ready");
    ready.className = "ready no";
    ready.querySelector("path").setAttribute("d", CROSS);
    const since = lastSeen.toISOString().slice(11, 19);
    const told = `${what} since ${since} UTC; what is shown here is as of then`;
    if (ready.lastElementChild.textContent !== told) ready.lastElementChild.textContent = told;
    document.title = `${title} · consentd`;
  };
  const silent = () => away("No answer from the sidecar", "No answer");
  const poll = () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const earlier = pending;
    const request = new XMLHttpRequest();
    pending = request;
    // What it was to bring may be of another range than is shown now.
    if (earlier) earlier.abort();
    request.open("GET", `live${location.search}`);
    request.responseType = "document";
    request.timeout = PATIENCE_MS;
    request.onload = () => {
      if (request.status !== 200) return away(`The sidecar has answered with status ${request.status} and no page`, "No page");
      const page = request.responseXML;
      if (!page) return away("The sidecar has answered with what is no page", "No page");
      for (const part of page.querySelectorAll("[data-live]")) {
        const have = byId(part.id);
        if (have) morph(have, part);
      }
      document.title = page.title;
      lastSeen = new Date();
    };
    request.onerror = silent;
    request.ontimeout = silent;
    request.onloadend = () => {
      if (pending !== request) return;
      pending = null;
      clearTimeout(timer);
      timer = setTimeout(poll, POLL_MS);
    };
    request.send();
  };
  document.addEventListener("visibilitychange", poll);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-range]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", link.getAttribute("href"));
    poll();
  });
  timer = setTimeout(poll, POLL_MS);

  const form = byId("question");
  if (!form) return;
  form.hidden = false;
  const told = byId("told");
  const shown = byId("shown");
  let reasons = {};
  fetch("reasons.json").then((response) => response.json()).then((words) => { reasons = words; }, () => {});

  const el = (tag, own, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(own)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const plain = (word, prefix) => (word || "").replace(prefix, "").toLowerCase().replaceAll("_", " ");
  const reasonOf = (answer) => (answer.reason || "REASON_UNSPECIFIED").replace("REASON_", "");
  // Whatever is not an ALLOW is none.
  const verdictOf = (answer) => (answer.verdict === "VERDICT_ALLOW" ? "ALLOW" : "DENY");
  const sentenceOf = (reason) => (reasons[reason] ? `: ${reasons[reason].sentence}` : "");
  const known = (facts) => {
    const list = el("dl", { class: "known" });
    for (const [name, value] of facts) {
      if (value) list.append(el("dt", {}, name), el("dd", {}, String(value)));
    }
    return list;
  };
  const table = (caption, heads, rows) => {
    const head = el("tr", {}, ...heads.map((name) => el("th", { scope: "col", class: "text" }, name)));
    const body = rows.map(([first, ...others]) =>
      el("tr", {}, el("th", { scope: "row" }, first), ...others.map((value) => el("td", { class: /^[✓✗·] /.test(value) ? "text outcome" : "text" }, value))));
    const made = el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...body));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
  };

  const about = (answer, response) => {
    const notice = answer.notice ? `${answer.notice.id}, version ${answer.notice.version || 0} or later` : "";
    const failed = answer.failedPurpose ? `${answer.failedPurpose}, which is denied: ${(answer.failedReason || "").replace("REASON_", "")}` : "";
    const view = response.view || {};
    return known([
      ["What can be done", (reasons[reasonOf(answer)] || {}).advice],
      ["Required purpose", failed],
      ["Legal basis", plain(answer.legalBasis, "LEGAL_BASIS_") || "none"],
      ["Record", plain(answer.status, "CONSENT_STATUS_") || "none decided"],
      ["Valid until", answer.validUntil],
      ["Not before", answer.notBefore],
      ["Notice to show", notice],
      ["View", `${view.staleness || "0s"} old, catalogue ${view.catalogueVersion || 0}, token ${view.ledgerToken || "none"}`],
      ["Evidence", response.evidenceId || "none could be written"],
    ]);
  };
  const RESULTS = {
    RULE_RESULT_PASSED: "✓ passed",
    RULE_RESULT_DENIED: "✗ denied",
    RULE_RESULT_ALLOWED: "✓ allowed",
    RULE_RESULT_NOT_REACHED: "· not reached",
  };
  const rules = (caption, list) =>
    table(caption, ["Rule", "Outcome", "What it says"], list.map((rule) => [
      rule.purpose ? `${rule.rule} (${rule.purpose})` : rule.rule,
      RESULTS[rule.result] || "· not known",
      [rule.description, rule.finding, rule.detail].filter(Boolean).join(" → "),
    ]));
  const VOIDS = ["preTicked", "passive", "bundled", "darkPattern", "penalised", "notSpecific", "coerced", "notInformed", "withdrawalUntold"];
  const record = (title, own) => {
    if (!own) return [];
    const collection = own.collection || {};
    const voids = VOIDS.filter((name) => collection[name]).map((name) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`));
    const notice = own.notice ? [own.notice.id, `version ${own.notice.version || 0}`, own.notice.language].filter(Boolean).join(", ") : "none on record";
    return [el("h3", {}, title), known([
      ["Said", `${plain(own.status, "CONSENT_STATUS_")} (${plain(own.legalBasis, "LEGAL_BASIS_")})`],
      ["About", [own.purpose, own.channel, own.recipient || "the controller itself"].join(" · ")],
      ["When", own.eventTime],
      ["Ends", own.expiresAt],
      ["Collected by", collection.method || own.collectionMethod || "not said"],
      ["Which voids it", voids.join(", ")],
      ["By a guardian", collection.byGuardian ? "yes" : ""],
      ["Notice shown", notice],
      ["Where", own.jurisdiction],
      ["Proof", own.proof],
      ["Written by", own.source],
      ["In the ledger", own.position],
    ])];
  };
  const STANDINGS = {
    REPLAY_STANDING_REPRODUCED: "Decided again from what was known then, it comes out the same.",
    REPLAY_STANDING_CONTRADICTED: "ALARM: decided again from what was known then, it comes out differently. Check the evidence with consentd evidence verify.",
    REPLAY_STANDING_IMPOSSIBLE: "It cannot be decided again.",
  };
  const CAUSES = {
    DIFFERENCE_CAUSE_TIME: "time has passed",
    DIFFERENCE_CAUSE_RECORDS: "the ledger has said something since",
    DIFFERENCE_CAUSE_CATALOGUE: "another catalogue is in force",
    DIFFERENCE_CAUSE_VIEW: "the sidecar's view is in another condition",
  };
  const earlier = (replay) => {
    if (!replay) return [];
    const then = replay.recorded || {};
    const causes = (replay.causes || []).map((cause) => CAUSES[cause] || cause).join("; ");
    return [
      el("h3", {}, "The earlier answer"),
      known([
        ["Answered", `${verdictOf(then)} ${reasonOf(then)}${sentenceOf(reasonOf(then))}`],
        ["When", then.answeredAt],
        ["Asked by", then.caller],
        ["Evidence", replay.evidenceId],
        ["Decided again", STANDINGS[replay.standing]],
        ["To be said", (replay.remarks || []).map((remark) => remark.sentence).join(" ")],
        ["Today", replay.differs ? `another answer: ${causes || "only several changes together make the difference"}` : "the same answer"],
      ]),
      ...record("The record that decided then", replay.record),
    ];
  };
  const show = (what, response) => {
    const answer = response.answer || {};
    const reason = reasonOf(answer);
    const verdict = verdictOf(answer);
    told.className = `told ${verdict.toLowerCase()}`;
    told.textContent = `${verdict} ${reason}${sentenceOf(reason)}.`;
    const parts = [about(answer, response)];
    if (what === "explain") {
      parts.push(...record("The record that decided", response.record));
      if (!response.record) parts.push(el("p", { class: "note" }, "No record decided: the answer does not rest on anything that the subject said."));
      parts.push(rules("The rules, in order; the first that applies decides", response.rules || []));
      parts.push(...earlier(response.replay));
    }
    shown.replaceChildren(...parts);
    shown.hidden = false;
  };
  const FIELDS = { "subject.space": "subject", "subject.id": "subject", time_zone: "timeZone", "signals.tcf": "tcf", "signals.gpp": "gpp", evidence_id: "evidenceId" };
  const fail = (sentence) => {
    told.className = "told failed";
    told.textContent = `Nothing was answered: ${sentence}.`;
    shown.replaceChildren();
    shown.hidden = true;
    const named = /^`(?:question\.)?([a-z_.]+)`/.exec(sentence);
    const field = named && form.elements.namedItem(FIELDS[named[1]] || named[1]);
    if (field) {
      field.setAttribute("aria-invalid", "true");
      field.focus();
    }
  };

  const value = (name) => form.elements.namedItem(name).value.trim();
  const message = (what) => {
    const [space, ...id] = value("subject").split(":");
    const signals = { tcf: value("tcf"), gpp: value("gpp") };
    if (form.elements.namedItem("gpc").checked) signals.secGpc = "1";
    const question = { subject: { space, id: id.join(":") }, signals };
    for (const name of ["purpose", "channel", "recipient", "jurisdiction", "timeZone"]) question[name] = value(name);
    return what === "explain" ? { question, evidenceId: value("evidenceId") } : { question };
  };
  let asking = false;
  // Which question is the last: the answer to one that was cleared away meanwhile is nobody's any more.
  let number = 0;
  const ask = (is) => {
    asking = is;
    for (const button of form.querySelectorAll("button[type=submit]")) {
      if (is) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    const own = ++number;
    ask(true);
    const what = event.submitter ? event.submitter.value : "ask";
    form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
    // The same words twice are told twice.
    told.textContent = "";
    try {
      const response = await fetch(what, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(message(what)),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
      const body = await response.json();
      if (own !== number) return;
      if (response.ok) show(what, body);
      else fail(body.error || `the sidecar said ${response.status}`);
    } catch {
      if (own !== number) return;
      fail("the sidecar could not be reached, or what it said could not be read");
    }
    ask(false);
    poll();
  });
  const clear = () => {
    number += 1;
    ask(false);
    told.className = "told";
    told.textContent = "";
    shown.replaceChildren();
    shown.hidden = true;
    form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
  };
  form.addEventListener("reset", () => {
    clear();
    form.elements.namedItem("subject").focus();
  });
  // Whoever comes back to the page, by whatever way, finds nobody's name on it.
  addEventListener("pagehide", () => form.reset());
})();
