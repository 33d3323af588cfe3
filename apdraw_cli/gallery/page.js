"use strict";
// Only the cards in view are in the page, so that 10,000 entries scroll as ten do. Names are set as text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const entries = JSON.parse(byId("entries").textContent);
  const LEAST_WIDTH = 330, GAP = 12, TEXT_HEIGHT = 52, ROWS_BEYOND = 2;
  const STAY_MS = 60; // pictures of cards that only fly past are never asked for
  const STATUSES = [
    ["all", "All", () => true],
    ["done", "Drawn", (entry) => entry.status === "done"],
    ["warned", "To look at", (entry) => Boolean(entry.warnings)],
    ["no_face", "No face", (entry) => entry.status === "no_face"],
    ["failed", "Failed", (entry) => entry.status === "failed"],
  ];
  const grid = byId("grid"), search = byId("search"), reason = byId("reason"), detail = byId("detail");
  const compare = byId("compare"), cut = byId("cut");
  const reasonsOf = (entry) => entry.warnings || (entry.error ? [entry.error] : []);
  const sought = entries.map((entry) =>
    [entry.name, ...reasonsOf(entry).flat()].join("\n").normalize("NFC").toLocaleLowerCase());
  let status = "all", shown = [], current = 0, columns = 1, width = 0, rowHeight = 0, filling = 0;
  const cards = new Map();

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function filter() {
    const words = search.value.normalize("NFC").toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const fits = STATUSES.find(([id]) => id === status)[2];
    shown = [];
    for (let index = 0; index < entries.length; index += 1) {
      const entry = entries[index];
      if (!fits(entry)) continue;
      if (reason.value && !reasonsOf(entry).some(([code]) => code === reason.value)) continue;
      if (words.every((word) => sought[index].includes(word))) shown.push(entry);
    }
    current = 0;
    byId("count").textContent = shown.length === entries.length
      ? `${entries.length} ${entries.length === 1 ? "entry" : "entries"}`
      : `${shown.length} of ${entries.length} entries`;
    clear();
    layOut();
  }

  function clear() {
    for (const card of cards.values()) card.remove();
    cards.clear();
  }

  function layOut() {
    const available = grid.clientWidth;
    const before = width;
    columns = Math.max(1, Math.floor((available + GAP) / (LEAST_WIDTH + GAP)));
    width = Math.floor((available - GAP * (columns - 1)) / columns);
    if (width !== before) clear();
    rowHeight = Math.floor(width / 2) + TEXT_HEIGHT + GAP;
    grid.style.height = `${Math.ceil(shown.length / columns) * rowHeight}px`;
    draw();
  }

  function draw() {
    const top = window.scrollY - grid.offsetTop;
    const first = Math.max(0, Math.floor(top / rowHeight) - ROWS_BEYOND) * columns;
    const last = Math.min(shown.length, (Math.ceil((top + window.innerHeight) / rowHeight) + ROWS_BEYOND) * columns);
    for (const [index, card] of cards) {
      if (index < first || index >= last) {
        card.remove();
        cards.delete(index);
      }
    }
    for (let index = first; index < last; index += 1) {
      let card = cards.get(index);
      if (!card) {
        card = cardOf(shown[index], index);
        cards.set(index, card);
        grid.append(card);
      }
      card.classList.toggle("current", index === current);
    }
    if (!filling) filling = setTimeout(fill, STAY_MS);
    grid.setAttribute("aria-activedescendant", cards.has(current) ? `card-${current}` : "");
  }

  function fill() {
    filling = 0;
    const now = performance.now();
    for (const card of cards.values()) {
      if (!card.pending) continue;
      if (now - card.since < STAY_MS - 1) {
        if (!filling) filling = setTimeout(fill, STAY_MS);
        continue;
      }
      for (const [image, address] of card.pending) image.src = address;
      card.pending = null;
    }
  }

  function cardOf(entry, index) {
    const card = make("div", undefined, "card");
    card.id = `card-${index}`;
    card.setAttribute("role", "listitem");
    card.setAttribute("aria-label", titleOf(entry));
    card.style.width = `${width}px`;
    card.style.height = `${rowHeight - GAP}px`;
    card.style.transform =
      `translate(${(index % columns) * (width + GAP)}px, ${Math.floor(index / columns) * rowHeight}px)`;
    const pair = make("div", undefined, "pair");
    pair.style.height = `${Math.floor(width / 2)}px`;
    card.since = performance.now();
    card.pending = [];
    pair.append(entry.photo ? picture(card, entry.photo, "Photo") : make("span", "the photo is not at hand"));
    if (entry.shown) pair.append(picture(card, entry.shown, "Drawing"));
    else pair.append(make("span", entry.error ? entry.error[1] : missing(entry), entry.error ? "bad" : ""));
    const text = make("div", undefined, "text");
    text.append(make("div", titleOf(entry)));
    const told = reasonsOf(entry).map(([code]) => code.replaceAll("_", " ")).join(", ");
    text.append(make("div", told || "drawn", entry.warnings ? "doubt" : entry.error ? "bad" : "faint"));
    card.append(pair, text);
    card.title = entry.name;
    card.addEventListener("click", () => open(index));
    return card;
  }

  function picture(card, address, alt) {
    const image = make("img");
    image.decoding = "async";
    image.alt = alt;
    image.draggable = false;
    image.addEventListener("error", () => image.replaceWith(make("span", `${alt.toLowerCase()} not found`)));
    card.pending.push([image, address]);
    return image;
  }

  const titleOf = (entry) => (entry.number ? `${entry.name} (${entry.number})` : entry.name);
  const missing = (entry) => (entry.drawing ? "browsers do not show such files" : "the drawing is gone");

  function move(to) {
    if (!shown.length) return;
    current = Math.max(0, Math.min(shown.length - 1, to));
    const top = grid.offsetTop + Math.floor(current / columns) * rowHeight;
    const header = document.querySelector("header").offsetHeight;
    if (top < window.scrollY + header) window.scrollTo(0, top - header - GAP);
    else if (top + rowHeight > window.scrollY + window.innerHeight) window.scrollTo(0, top + rowHeight - window.innerHeight);
    draw();
  }

  function open(index) {
    current = index;
    const entry = shown[index];
    const both = Boolean(entry.photo && entry.shown);
    for (const [id, address] of [["photo", entry.photo], ["drawing", entry.shown]]) {
      byId(id).hidden = !address;
      if (address) byId(id).src = address;
      else byId(id).removeAttribute("src");
    }
    compare.hidden = !entry.photo && !entry.shown;
    compare.classList.toggle("alone", !both);
    byId("name").textContent = titleOf(entry);
    byId("place").textContent = `${index + 1} of ${shown.length}`;
    byId("reasons").replaceChildren(...reasonsOf(entry).map(([code, message]) =>
      make("li", `${message} (${code})`, entry.error ? "bad" : "doubt")));
    byId("links").replaceChildren();
    if (entry.drawing) {
      const link = make("a", "Open the drawing");
      link.href = entry.drawing;
      link.target = "_blank";
      link.rel = "noopener";
      byId("links").append(link);
    }
    if (!detail.open) detail.showModal();
    if (both) cut.focus({ preventScroll: true });
    move(index);
  }

  function setCut(value) {
    cut.value = value;
    compare.style.setProperty("--cut", `${cut.value}%`);
  }

  function setTheme(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    byId("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
    try { localStorage.setItem("apdraw-theme", theme); } catch { /* a page on a disk may have no storage */ }
  }

  function nextTheme() {
    const now = document.documentElement.dataset.theme || "auto";
    setTheme({ auto: "light", light: "dark", dark: "auto" }[now]);
  }

  for (const [id, label, fits] of STATUSES) {
    const count = entries.filter(fits).length;
    if (!count && id !== "all") continue;
    const button = make("button", `${label} ${count}`);
    button.type = "button";
    button.dataset.status = id;
    button.setAttribute("aria-pressed", String(id === status));
    button.addEventListener("click", () => {
      status = id;
      for (const each of byId("statuses").children) each.setAttribute("aria-pressed", String(each === button));
      filter();
    });
    byId("statuses").append(button);
  }

  const counts = new Map();
  for (const entry of entries) {
    for (const code of new Set(reasonsOf(entry).map(([each]) => each))) counts.set(code, (counts.get(code) || 0) + 1);
  }
  reason.append(new Option("Any warning or error", ""));
  for (const [code, count] of [...counts].sort((a, b) => b[1] - a[1])) {
    reason.append(new Option(`${code.replaceAll("_", " ")} (${count})`, code));
  }
  reason.hidden = counts.size === 0;

  let waiting = false;
  window.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }, { passive: true });
  new ResizeObserver(layOut).observe(document.body);
  search.addEventListener("input", filter);
  reason.addEventListener("change", filter);
  cut.addEventListener("input", () => setCut(cut.value));
  byId("previous").addEventListener("click", () => open(Math.max(0, current - 1)));
  byId("next").addEventListener("click", () => open(Math.min(shown.length - 1, current + 1)));
  byId("close").addEventListener("click", () => detail.close());
  byId("theme").addEventListener("click", nextTheme);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  for (const dialog of [detail, byId("keys")]) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  detail.addEventListener("close", () => grid.focus({ preventScroll: true }));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    const typing = ["INPUT", "SELECT"].includes(event.target.tagName) && event.target !== cut;
    const key = event.key;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity };
    if (detail.open) {
      const cuts = { ArrowUp: 5, ArrowDown: -5 };
      if (key === "ArrowLeft") open(Math.max(0, current - 1));
      else if (key === "ArrowRight") open(Math.min(shown.length - 1, current + 1));
      else if (key in cuts) setCut(Number(cut.value) + cuts[key]);
      else if (key === " " && event.target.tagName !== "BUTTON") setCut(Number(cut.value) > 0 ? 0 : 100);
      else return;
    } else if (typing) {
      if (key === "Escape" || (key === "Enter" && event.target === search)) grid.focus();
      else if (key === "ArrowDown" && event.target === search) grid.focus();
      else return;
    } else if (key === "/") search.focus();
    else if (key === "?") byId("keys").showModal();
    else if (key === "d") nextTheme();
    else if (key in steps && event.target.tagName !== "BUTTON") { grid.focus({ preventScroll: true }); move(current + steps[key]); }
    else if (key === "Enter" && event.target === grid && shown.length) open(current);
    else return;
    event.preventDefault();
  });

  let theme = "auto";
  try { theme = localStorage.getItem("apdraw-theme") || "auto"; } catch { /* as above */ }
  setTheme(["auto", "light", "dark"].includes(theme) ? theme : "auto");
  setCut(50);
  filter();
})();
