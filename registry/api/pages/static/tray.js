// The adapters that a person has put aside to fuse. They are kept in this browser, and outlive
// searches, pages and reloads.
"use strict";

const Tray = (() => {
  // What the page that fuses takes, either way, and how long a prompt.
  const MOST_STRENGTH = 4;
  const MOST_LETTERS = 2000;
  // What the page says of trays in its language, and which base models draw whose adapters.
  const words = () => document.querySelector("[data-drawn-by]").dataset;
  // Another registry may have been at this address, whose adapters had the same numbers.
  const key = () => `tray-${words().registry}`;
  const isText = (value) => typeof value === "string";
  // Other programs may write here, and people: the server would refuse what it does not take at
  // every visit.
  const isEntry = (entry) => Number.isSafeInteger(entry?.id) && entry.id > 0
    && isText(entry.name) && isText(entry.base) && isText(entry.cover ?? "") && isText(entry.query ?? "")
    && Number.isFinite(entry.strength) && Math.abs(entry.strength) <= MOST_STRENGTH;
  // Where a browser keeps nothing for pages, the tray lasts as long as the page.
  let kept = null;

  function read() {
    try {
      kept = localStorage.getItem(key()) ?? kept;
    } catch { /* as above */ }
    try {
      const entries = JSON.parse(kept);
      return Array.isArray(entries) ? entries.filter(isEntry).slice(0, Number(words().most)) : [];
    } catch {
      return [];
    }
  }

  function write(entries) {
    kept = JSON.stringify(entries);
    try {
      // What cannot be kept is not to be read in its place.
      localStorage.removeItem(key());
      localStorage.setItem(key(), kept);
    } catch { /* as above */ }
    document.dispatchEvent(new Event("tray"));
  }

  function commonBases(entries) {
    const drawnBy = new Map(Object.entries(JSON.parse(words().drawnBy)));
    const bases = entries.map((entry) => drawnBy.get(entry.base) ?? [entry.base]);
    return bases.length ? bases[0].filter((base) => bases.every((own) => own.includes(base))) : [];
  }

  // Why an adapter cannot join the others; nothing if it can.
  function refusal(entries, entry) {
    if (entries.some((own) => own.id === entry.id)) return fill(words().twice, entry);
    if (entries.length >= Number(words().most)) {
      return fill(words().full, { name: entry.name, most: words().most });
    }
    if (entries.length && !commonBases([...entries, entry]).length) {
      const others = [...new Set(entries.map((own) => own.base))].join(words().comma);
      return fill(words().refused, { name: entry.name, base: entry.base, others });
    }
    return "";
  }

  // The address of the page that fuses; what else `search`, an address's own, asks for stays.
  function address(entries, prompt, search = "") {
    const asked = new URLSearchParams(search);
    for (const name of ["prompt", "adapter", "strength", "lang"]) asked.delete(name);
    if (prompt) asked.set("prompt", prompt);
    for (const entry of entries) asked.append("adapter", entry.id);
    for (const entry of entries) asked.append("strength", entry.strength);
    return asked.size ? `/fuse?${asked}` : "/fuse";
  }

  // What was asked for when each was found: a thing from here, a look from there.
  function prompt(entries) {
    const asked = new Set(entries.map((entry) => entry.query).filter(Boolean));
    return [...asked].join(", ").slice(0, MOST_LETTERS);
  }

  return { read, write, refusal, commonBases, address, prompt };
})();

// "{name} is for {base}" with the values of those names.
function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => visible(String(values[name])));
}

// An adapter's picture in a list that this script makes.
function showPicture(image, cover, mature) {
  image.classList.toggle("blurred", isBlurred(mature));
  if (!cover) return image.replaceWith(Object.assign(document.createElement("span"), { className: "picture" }));
  image.src = cover;
}

// As the server does for the pages that it makes.
function isBlurred(mature) {
  const level = document.body.dataset.blur;
  return level === "unrated" ? mature !== false : level === "mature" && mature === true;
}

function entryOf(box, query) {
  const { name, base, strength, cover, mature } = box.dataset;
  return {
    id: Number(box.value), name, base, strength: Number(strength), cover, query,
    mature: mature === "" ? null : mature === "true",
  };
}

// The bar at the bottom, and the checkboxes of the adapters on the page.
function startTray(form) {
  const boxes = [...document.querySelectorAll('input[name="adapter"][form="tray"]')];
  const items = form.querySelector(".in-tray");
  const problem = form.querySelector("[role=alert]");
  const query = form.elements.prompt.value;

  function show() {
    const entries = Tray.read();
    for (const box of boxes) box.checked = entries.some((entry) => entry.id === Number(box.value));
    form.querySelector("[data-count]").textContent = entries.length;
    form.hidden = entries.length === 0;
    document.documentElement.classList.toggle("has-tray", entries.length > 0);
    items.replaceChildren(...entries.map(item));
  }

  function item(entry) {
    const made = form.querySelector("template").content.cloneNode(true).firstElementChild;
    showPicture(made.querySelector("img"), entry.cover, entry.mature);
    const link = made.querySelector("a");
    link.href = `/adapters/${entry.id}`;
    link.textContent = link.title = visible(entry.name);
    const button = made.querySelector("button");
    button.dataset.out = entry.id;
    button.setAttribute("aria-label", fill(button.getAttribute("aria-label"), entry));
    return made;
  }

  function put(entry) {
    const entries = Tray.read();
    const reason = Tray.refusal(entries, entry);
    problem.textContent = reason;
    problem.hidden = !reason;
    if (reason) show();
    else Tray.write([...entries, entry]);
    // In a low window the tray is below the list.
    if (problem.getBoundingClientRect().top > innerHeight) problem.scrollIntoView();
    if (!reason) say(fill(form.dataset.put, { name: entry.name, count: entries.length + 1 }));
    return !reason;
  }

  function take(id) {
    const entries = Tray.read();
    const taken = entries.find((entry) => entry.id === id);
    problem.hidden = true;
    Tray.write(entries.filter((entry) => entry.id !== id));
    if (taken) say(fill(form.dataset.taken, { name: taken.name, count: entries.length - 1 }));
  }

  document.addEventListener("change", (event) => {
    if (!boxes.includes(event.target)) return;
    if (event.target.checked) put(entryOf(event.target, query));
    else take(Number(event.target.value));
  });
  items.addEventListener("click", (event) => {
    const button = event.target.closest("[data-out]");
    if (!button) return;
    const place = [...items.children].indexOf(button.closest("li"));
    take(Number(button.dataset.out));
    const next = items.children[place] ?? items.lastElementChild;
    (next ? next.querySelector("button") : document.querySelector(".search input, main a")).focus();
  });
  // What is sent is the whole tray, in its order, and not what this page happens to show of it.
  form.addEventListener("formdata", (event) => {
    const entries = Tray.read();
    event.formData.delete("adapter");
    event.formData.set("prompt", Tray.prompt(entries) || query);
    for (const entry of entries) event.formData.append("adapter", entry.id);
    for (const entry of entries) event.formData.append("strength", entry.strength);
  });
  // "Fuse with this" takes along what was put aside before.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-fuse-with]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const box = boxes.find((one) => one.value === link.dataset.fuseWith);
    if (box.checked || put(entryOf(box, query))) form.requestSubmit();
  });
  document.addEventListener("tray", show);
  // Another tab changed it; or the browser brings back a page with the checks that it had.
  window.addEventListener("storage", show);
  window.addEventListener("pageshow", show);
  form.querySelector("[data-counted]").hidden = false;
  show();
}

const tray = document.getElementById("tray");
if (tray) startTray(tray);
