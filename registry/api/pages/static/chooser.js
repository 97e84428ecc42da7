// Choosing adapters on the page that fuses: add by search, have them chosen, order, strengths.
// The page's address follows, so that it can be kept and passed on.
"use strict";

// What the address keeps beside the prompt and adapters, so that a reload loses nothing; and what is
// meant where it says nothing.
const SETTINGS = {
  negative_prompt: "", kind: "image", mode: "", count: "1", seed: "0", steps: "", guidance: "", width: "", height: "", k: "3",
};
// Who types has paused. Safari throws where an address changes more than 100 times in 30 seconds.
const PAUSE = 400;

// An item of the list as the tray keeps it, but for what it was found by.
function entryOfItem(item) {
  const image = item.querySelector("img");
  return {
    id: Number(item.dataset.adapter),
    name: item.dataset.name,
    base: item.dataset.base,
    strength: strengthOf(item),
    cover: image?.getAttribute("src") ?? "",
    mature: item.dataset.mature === "" ? null : item.dataset.mature === "true",
  };
}

// Its sliders show steps of .05, and what is typed is drawn with. What is no strength stands there
// to be mended; until then the last one that was, which its field keeps, is meant.
function strengthOf(item) {
  const field = item.querySelector("[name=strength]");
  if (field.validity.valid) field.defaultValue = field.value;
  return Number(field.defaultValue);
}

// A template's item with its places filled: in texts and attributes, never as markup.
function filled(id, values) {
  const made = document.getElementById(id).content.cloneNode(true).firstElementChild;
  for (const part of [made, ...made.querySelectorAll("*")]) {
    for (const { name, value } of [...part.attributes]) {
      if (value.includes("{")) part.setAttribute(name, fill(value, values));
    }
    for (const node of part.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) node.nodeValue = fill(node.nodeValue, values);
    }
  }
  return made;
}

function startChooser(chooser) {
  const find = (id) => document.getElementById(id);
  const chosen = find("chosen");
  const found = find("found");
  const text = find("find-text");
  const form = chooser.form;
  const words = chooser.dataset;
  // Where several base models can run, the first of them is meant.
  const { base_model } = form.elements;
  const settings = base_model ? { ...SETTINGS, base_model: base_model.options[0].value } : SETTINGS;
  // The item that what is found will stand in for.
  let replaced = null;

  const items = () => [...chosen.children];
  // The search that is under way: what it finds is wanted until another begins, or none is.
  let finding = new AbortController();
  // What this page has had, and so may take out of the tray.
  const had = new Set(items().map((item) => Number(item.dataset.adapter)));

  // The base model that draws with all of them; one that can run here, if any can.
  function baseOf(entries) {
    const bases = Tray.commonBases(entries);
    return bases.find((base) => JSON.parse(words.runnable).includes(base)) ?? bases[0] ?? "";
  }

  function refuse(reason) {
    showProblem(find("refusal"), { detail: reason });
  }

  function changed() {
    const entries = items().map(entryOfItem);
    for (const { id } of entries) had.add(id);
    const before = Tray.read();
    // What a list on this page does not show is what each was found by.
    const queryOf = (id) => before.find((entry) => entry.id === id)?.query;
    const own = entries.map((entry) => ({ ...entry, query: queryOf(entry.id) }));
    // Another tab may put aside more, and an address may name less than was.
    const others = before.filter((entry) => !had.has(entry.id));
    Tray.write([...own, ...others].slice(0, Number(words.most)));
    follow(entries);
    find("auto").hidden = entries.length > 0;
    chosen.dataset.baseModel = baseOf(entries);
  }

  function follow(entries) {
    const asked = new URLSearchParams(location.search);
    for (const [name, meant] of Object.entries(settings)) {
      const field = form.elements[name];
      asked.delete(name);
      if (field.value !== meant && field.checkValidity()) asked.set(name, field.value);
    }
    history.replaceState(history.state, "", Tray.address(entries, form.elements.prompt.value, asked));
  }

  function itemOf(adapter, reason) {
    const strength = adapter.strength ?? 1;
    const entry = { id: adapter.id, name: visible(adapter.name), base: adapter.base_model, mature: adapter.mature ?? "" };
    const made = filled("chosen-item", entry);
    made.querySelector("[name=strength]").value = strength;
    slide(made);
    showPicture(made.querySelector("img"), adapter.covers[0]?.thumbnail_url, adapter.mature);
    made.querySelector(".reason").textContent = reason;
    made.querySelector(".reason").hidden = !reason;
    return made;
  }

  function put(adapter, reason = "") {
    const others = items().filter((item) => item !== replaced).map(entryOfItem);
    const entry = { id: adapter.id, name: adapter.name, base: adapter.base_model };
    const why = Tray.refusal(others, entry);
    refuse(why);
    if (why) return false;
    const made = itemOf(adapter, reason);
    if (replaced) replaced.replaceWith(made);
    else chosen.append(made);
    changed();
    say(fill(words.put, { name: adapter.name, count: chosen.children.length }));
    return true;
  }

  async function ask(path, asked, signal = null) {
    refuse("");
    try {
      const answer = await fetch(`${path}?${new URLSearchParams(asked)}`, { signal });
      if (answer.ok) return await answer.json();
      showProblem(find("refusal"), problemOf(answer.status, await answer.text()));
    } catch {
      if (!signal?.aborted) refuse(words.lost);
    }
    return null;
  }

  async function search() {
    if (!text.value.trim()) return text.focus();
    finding.abort();
    finding = new AbortController();
    const others = items().filter((item) => item !== replaced).map(entryOfItem);
    const asked = { q: text.value, fusable: true, limit: 8 };
    const base = baseOf(others) || form.elements.base_model?.value;
    if (base) asked.base_model = base;
    const answer = await ask("/v1/search", asked, finding.signal);
    if (!answer) return;
    const ids = items().map((item) => Number(item.dataset.adapter));
    const adapters = answer.results.map((one) => one.adapter).filter((one) => !ids.includes(one.id));
    found.replaceChildren(...adapters.map(foundItem));
    const near = adapters.length ? nearness(answer, asked.q) : "";
    tellNearness(near);
    say(adapters.length ? `${near} ${fill(words.countFound, { count: adapters.length })}`.trim() : words.none);
    if (!adapters.length) refuse(words.none);
  }

  // As the page that searches says it: what is found may be something else.
  function nearness(answer, query) {
    if (answer.fits) return "";
    const { perhaps, nearest } = find("nearest").dataset;
    return fill(Object.keys(answer.found).length ? perhaps : nearest, { text: query });
  }

  function tellNearness(near) {
    find("nearest").textContent = near;
    find("nearest").hidden = !near;
  }

  function foundItem(adapter) {
    const made = filled("found-item", { id: adapter.id, name: adapter.name, base: adapter.base_model });
    showPicture(made.querySelector("img"), adapter.covers[0]?.thumbnail_url, adapter.mature);
    made.querySelector("button").addEventListener("click", () => {
      if (put(adapter)) stopFinding();
    });
    return made;
  }

  function stopFinding() {
    finding.abort();
    replaced = null;
    text.value = "";
    found.replaceChildren();
    tellNearness("");
    find("find-cancel").hidden = true;
    find("find-label").textContent = chooser.querySelector("#find").getAttribute("aria-label");
    // The button that was pressed is gone.
    text.focus();
  }

  // For each part of the prompt the adapter that suits it, with what it was chosen for.
  async function choose() {
    const prompt = form.elements.prompt;
    if (!prompt.reportValidity()) return;
    const asked = { prompt: prompt.value, k: form.elements.k.value };
    if (form.elements.base_model) asked.base_model = form.elements.base_model.value;
    const button = find("choose");
    // What is chosen twice would be refused.
    button.disabled = true;
    const choices = await ask("/v1/choose", asked);
    button.disabled = false;
    for (const choice of choices ?? []) put(choice.adapter, reasonOf(choice));
    // The button that was pressed is gone; or it lost the focus while it was disabled.
    if (items().length) items()[0].querySelector("a").focus();
    else if (document.activeElement === document.body) button.focus();
  }

  function reasonOf(choice) {
    const parts = choice.part ? [fill(words.for, choice)] : [];
    const nearest = choice.similarities ? Math.max(...choice.similarities) : null;
    if (nearest !== null) parts.push(fill(words.near, { similarity: nearest.toFixed(2) }));
    return parts.join(" · ");
  }

  function move(item, by) {
    const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    const focused = document.activeElement;
    if (by < 0) other.before(item);
    else other.after(item);
    focused.focus();
    changed();
    const place = items().indexOf(item) + 1;
    say(fill(words.moved, { name: item.dataset.name, place, count: chosen.children.length }));
  }

  function remove(item) {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    if (item === replaced) stopFinding();
    item.remove();
    refuse("");
    changed();
    say(fill(words.taken, { name: item.dataset.name, count: chosen.children.length }));
    (next?.querySelector("[data-remove]") ?? text).focus();
  }

  function replace(item) {
    replaced = item;
    find("find-cancel").hidden = false;
    find("find-label").textContent = fill(words.instead, item.dataset);
    text.value = item.dataset.name;
    text.select();
    text.focus();
    search();
  }

  // The slider and the number beside it say the same; the slider reaches as far as the number.
  function slide(item) {
    const slider = item.querySelector("[type=range]");
    const strength = Number(item.querySelector("[name=strength]").value);
    slider.min = Math.min(0, strength);
    slider.max = Math.max(2, strength);
    slider.value = strength;
  }
  chosen.addEventListener("input", (event) => {
    const item = event.target.closest("li");
    if (event.target.type === "range") item.querySelector("[name=strength]").value = event.target.value;
    else if (event.target.checkValidity()) slide(item);
  });
  chosen.addEventListener("change", (event) => {
    if (event.target.checkValidity()) changed();
  });
  chosen.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const item = event.target.closest("li");
    if (!button) return;
    if (button.dataset.move) move(item, Number(button.dataset.move));
    else if ("replace" in button.dataset) replace(item);
    else if ("remove" in button.dataset) remove(item);
  });
  chosen.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || !event.altKey) return;
    event.preventDefault();
    move(event.target.closest("li"), by);
  });
  text.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape") stopFinding();
    if (event.key !== "Enter") return;
    // Not the form around it: that would draw.
    event.preventDefault();
    search();
  });
  find("find-button").addEventListener("click", search);
  find("find-cancel").addEventListener("click", stopFinding);
  find("choose").addEventListener("click", choose);
  const followAll = () => follow(items().map(entryOfItem));
  const isKept = (field) => field.name === "prompt" || field.name in settings;
  let typing = 0;
  form.addEventListener("input", (event) => {
    if (!isKept(event.target)) return;
    clearTimeout(typing);
    typing = setTimeout(followAll, PAUSE);
  });
  form.addEventListener("change", (event) => {
    if (isKept(event.target)) followAll();
  });

  const missing = words.missing.split(" ").map(Number);
  const kept = Tray.read().filter((entry) => !missing.includes(entry.id));
  if (words.missing) Tray.write(kept);
  // The bare address is where one goes on with what was put aside, in either language.
  const isBare = [...new URLSearchParams(location.search).keys()].every((name) => name === "lang");
  if (isBare && kept.length) location.replace(Tray.address(kept, Tray.prompt(kept)));
}

const chooser = document.getElementById("chooser");
if (chooser) startChooser(chooser);
