// Having images drawn, and watching how far they are. The server keeps and shows them; this only
// spares going to their pages.
"use strict";

// Tell of an image whatever the server tells, until it is finished or is not to be had.
function watch(id, told) {
  const states = { more: ["waiting", "drawing"], last: ["done", "failed", "cancelled", "interrupted"] };
  listen(`/v1/images/${id}/events`, states, (data) => told(JSON.parse(data)), async () => {
    const answer = await insist(`/v1/images/${id}`);
    if (answer.ok) setTimeout(watch, REST, id, told);
    else told({ id, state: "lost", problem: problemOf(answer.status, await answer.text()) });
  });
}

function progressText(image, words) {
  if (image.state === "waiting") return image.ahead ? words.behind.replace("{n}", image.ahead) : words.queued;
  if (image.state === "drawing") return image.total ? `${words.step} ${image.done} / ${image.total}` : words.loading;
  if (image.state === "done") return words.done;
  return image.problem?.detail ?? words[image.state] ?? words.lost;
}

function showProgress(place, image, words) {
  const bar = place.querySelector("progress");
  if (image.total) bar.value = image.done / image.total;
  const status = place.querySelector("[data-status]");
  if (image.problem) showProblem(status, image.problem);
  else status.textContent = progressText(image, words);
}

// How an image looks by now; who wants no motion has the bar alone.
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function showPreview(place, image) {
  const picture = place.querySelector("[data-preview]");
  place.dataset.state = image.state;
  if (image.state !== "drawing") picture.hidden = true;
  else if (image.preview && !calm.matches) {
    // Shown when it is here, so that nothing flickers; by then it may be done.
    const next = new Image();
    next.addEventListener("load", () => {
      if (place.dataset.state !== "drawing") return;
      picture.src = next.src;
      picture.hidden = false;
    });
    next.src = image.preview;
  }
}

// Return what is answered; what is refused is thrown, as `problemOf` has it.
async function post(path, body, headers = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body,
  });
  if (!answer.ok) throw problemOf(answer.status, await answer.text());
  return answer.json();
}

// The button is at the end of a form, and what it draws beside the form's begin, or below.
function showWhole(place) {
  const { top, bottom } = place.getBoundingClientRect();
  if (top >= 0 && bottom + place.offsetWidth <= innerHeight) return;
  place.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
}

// As many as a page still shows at a glance.
const MOST_KEPT = 12;

function startStudio(form) {
  const find = (id) => document.getElementById(id);
  const words = form.dataset;
  const drawn = find("drawn");

  const fail = (problem) => showProblem(find("problem"), problem);
  const startAnew = () => fail({ detail: "" });

  // What was asked for and not yet answered. Its key goes with it when it is sent again, so that
  // nothing is drawn twice.
  let unanswered = {};

  // A request that reaches no server has no answer.
  const asProblem = (error) => (error instanceof Error ? { detail: words.lost } : error);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector(".primary");
    // Keys send the form whatever its button says.
    if (button.disabled) return;
    startAnew();
    const focused = document.activeElement;
    button.disabled = true;
    try {
      const wanted = JSON.stringify(request(form));
      if (wanted !== unanswered.wanted) unanswered = { wanted, key: `${Date.now()}-${Math.random()}` };
      const asked = await post("/v1/images", wanted, { "Idempotency-Key": unanswered.key });
      unanswered = {};
      for (const image of asked.items.reverse()) show(image);
      showWhole(drawn.firstElementChild);
      keep(asked.items);
      say(words.queued);
    } catch (error) {
      fail(asProblem(error));
    }
    button.disabled = false;
    // Who pressed it lost the focus to nothing; who is elsewhere stays there.
    if (document.activeElement === document.body) focused.focus({ preventScroll: true });
  });

  async function giveUp(id) {
    startAnew();
    try {
      await post(`/v1/images/${id}/cancel`, "{}");
    } catch (error) {
      fail(asProblem(error));
    }
  }

  // What was drawn here is here again after a reload, and when one comes back to the page.
  function keep(images) {
    const ids = [...(history.state?.drawn ?? []), ...images.map((image) => image.id)];
    history.replaceState({ drawn: ids.slice(-MOST_KEPT) }, "");
  }

  async function bringBack() {
    for (const id of history.state?.drawn ?? []) {
      const answer = await insist(`/v1/images/${id}`);
      if (answer.ok) show(await answer.json());
    }
  }

  function show(image) {
    find("placeholder").hidden = true;
    const place = find("under-way").content.cloneNode(true).firstElementChild;
    place.dataset.image = image.id;
    for (const part of place.querySelectorAll("[aria-label]")) {
      part.setAttribute("aria-label", fill(part.getAttribute("aria-label"), { n: image.id }));
    }
    place.querySelector("button").addEventListener("click", () => giveUp(image.id));
    drawn.prepend(place);
    if (image.finished_at) update(place, image, true);
    else watch(image.id, (told) => update(place, told));
  }

  async function update(place, image, isOld = false) {
    showProgress(place, image, words);
    if (image.state !== "done") showPreview(place, image);
    if (["waiting", "drawing"].includes(image.state)) return;
    if (!isOld) say(progressText(image, words));
    const status = place.querySelector("[data-status]");
    if (image.state === "done") {
      const answer = await insist(`/images/${image.id}/result`);
      const result = await answer.text();
      if (answer.ok) return keepFocus(place, "a", () => { place.innerHTML = result; });
      showProblem(status, problemOf(answer.status, result));
    }
    status.className = "note bad";
    keepFocus(place, "[data-status]", () => {
      place.querySelector("progress").hidden = place.querySelector("button").hidden = true;
    });
  }

  // Who was at what goes with a change is at what came of it.
  function keepFocus(place, there, change) {
    const isHere = place.contains(document.activeElement);
    change();
    if (isHere) place.querySelector(there).focus();
  }

  bringBack();
}

function request(form) {
  const fields = form.elements;
  const adapters = [...document.getElementById("chosen").children].map((item) => ({
    id: Number(item.dataset.adapter),
    strength: strengthOf(item),
  }));
  const asked = { prompt: fields.prompt.value, kind: fields.kind.value };
  for (const name of ["seed", "steps", "guidance", "width", "height", "count"]) {
    if (fields[name].value) asked[name] = Number(fields[name].value);
  }
  if (fields.mode.value) asked.mode = fields.mode.value;
  if (fields.negative_prompt.value) asked.negative_prompt = fields.negative_prompt.value;
  const base = document.getElementById("chosen").dataset.baseModel || (!adapters.length && fields.base_model?.value);
  if (base) asked.base_model = base;
  if (adapters.length) asked.adapters = adapters;
  else asked.k = Number(fields.k.value);
  return asked;
}

// The page of one image that is not finished.
function startWatching(place) {
  watch(Number(place.dataset.watch), (image) => {
    showProgress(place, image, place.dataset);
    if (image.state !== "done") showPreview(place, image);
    if (!["waiting", "drawing", "lost"].includes(image.state)) location.reload();
  });
}

function startDice() {
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-dice]")) return;
    const { seed } = event.target.closest("form").elements;
    seed.value = Math.floor(Math.random() * 2 ** 32);
    seed.dispatchEvent(new Event("change", { bubbles: true }));
  });
}

// Two images over one another, and how much of each is seen: by the slider, or dragged on them.
function startComparing(figure) {
  const range = figure.querySelector('input[type="range"]');
  const layers = figure.querySelector(".layers");
  const cut = () => figure.style.setProperty("--cut", `${range.value}%`);
  const drag = (event) => {
    if (!event.buttons) return;
    const { left, width } = layers.getBoundingClientRect();
    range.value = (100 * (event.clientX - left)) / width;
    cut();
  };
  range.addEventListener("input", cut);
  layers.addEventListener("pointerdown", (event) => {
    layers.setPointerCapture(event.pointerId);
    drag(event);
  });
  layers.addEventListener("pointermove", drag);
  // The browser would drag the picture itself.
  layers.addEventListener("dragstart", (event) => event.preventDefault());
  cut();
}

// The history: what is drawn meanwhile takes its place, and buttons wait for as many as they need.
function startHistory(form) {
  const enable = () => {
    const ticked = [...form.querySelectorAll("input:checked")];
    const areDone = ticked.every((box) => "done" in box.dataset);
    for (const button of form.querySelectorAll("[data-ticked]")) {
      const wanted = Number(button.dataset.ticked);
      button.disabled = wanted ? ticked.length !== wanted || !areDone : !ticked.length;
    }
  };
  form.addEventListener("change", enable);
  enable();
  const timer = setInterval(async () => {
    const unfinished = [...form.querySelectorAll("[data-unfinished]")];
    if (!unfinished.length) return clearInterval(timer);
    if (document.hidden) return;
    const answer = await fetch(location.href).catch(() => null);
    if (!answer?.ok) return;
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const item of unfinished) {
      const told = now.getElementById(item.id);
      if (!told) continue;
      showTimes(told);
      if (!item.contains(document.activeElement)) item.replaceWith(told);
    }
  }, 3000);
}

startDice();
const history_ = document.getElementById("history");
if (history_) startHistory(history_);
const studio = document.getElementById("fuse");
if (studio) startStudio(studio);
const watched = document.querySelector("[data-watch]");
if (watched) startWatching(watched);
document.querySelectorAll("[data-compare]").forEach(startComparing);
