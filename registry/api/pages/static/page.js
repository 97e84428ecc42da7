// Copying, searching by a picture, and making an image with progress.
"use strict";

// Tell those who hear a page.
function say(text) {
  document.getElementById("said").textContent = text;
}

function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const shown = button.querySelector("[data-label]") ?? button;
    const label = shown.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Clipboards need https or localhost; elsewhere this still works.
      const area = document.createElement("textarea");
      area.value = button.dataset.copy;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    if (label === button.dataset.copied) return;
    shown.textContent = button.dataset.copied;
    say(`${button.dataset.copied}: ${button.dataset.copy}`);
    setTimeout(() => { shown.textContent = label; }, 1500);
  });
}

// A picture that is dropped or pasted anywhere on the page is searched for.
function startPictures(form) {
  const input = form.querySelector('input[type="file"]');
  const take = (event, files) => {
    const pictures = [...files].filter((file) => file.type.startsWith("image/"));
    if (!pictures.length) return;
    event.preventDefault();
    const chosen = new DataTransfer();
    chosen.items.add(pictures[0]);
    input.files = chosen.files;
    form.submit();
  };
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", event.dataTransfer.types.includes("Files"));
  });
  for (const over of ["dragend", "drop", "dragleave"]) {
    document.addEventListener(over, () => document.body.classList.remove("dropping"));
  }
  document.addEventListener("drop", (event) => take(event, event.dataTransfer.files));
  document.addEventListener("paste", (event) => take(event, event.clipboardData.files));
}

function startStudio(form) {
  const find = (id) => document.getElementById(id);
  const chosen = find("chosen");
  const progress = find("progress");
  const bar = progress.querySelector("progress");
  let running = null;
  let finished = false;

  find("stop").addEventListener("click", () => running && running.abort());

  const show = (text) => { find("status").textContent = text; };
  const fail = (text) => { find("problem").textContent = text; find("problem").hidden = false; };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    finished = false;
    form.querySelector(".primary").disabled = true;
    find("problem").hidden = true;
    find("stop").hidden = progress.hidden = false;
    bar.removeAttribute("value");
    show(form.dataset.queued);
    try {
      const answer = await fetch("/v1/fuse", {
        method: "POST",
        headers: { "Content-Type": "application/json", "Accept": "application/x-ndjson" },
        body: JSON.stringify(request(form, chosen)),
        signal: running.signal,
      });
      if (!answer.ok) {
        const problem = await answer.json();
        throw new Error(problem.detail || problem.title);
      }
      for await (const line of lines(answer.body)) handle(line);
      if (!finished) throw new TypeError("the stream ended early");
    } catch (error) {
      if (error.name === "AbortError") show(form.dataset.stopped);
      else { show(""); fail(error instanceof TypeError ? form.dataset.lost : error.message); }
    }
    form.querySelector(".primary").disabled = false;
    find("stop").hidden = progress.hidden = true;
    running = null;
  });

  function handle(line) {
    if (line.event === "started") show(form.dataset.loading);
    if (line.event === "step") {
      bar.value = line.done / line.total;
      show(`${form.dataset.step} ${line.done} / ${line.total}`);
    }
    if (line.event === "error") throw new Error(line.problem.detail);
    if (line.event === "done") { finished = true; show(""); draw(line.result); }
  }

  function draw(result) {
    const image = find("image");
    image.src = find("save").href = result.image;
    image.alt = visible(result.recipe.full_prompt || result.recipe.prompt);
    image.classList.toggle("pixels", result.recipe.width <= 96);
    const recipe = JSON.stringify(result.recipe, null, 1);
    find("recipe").textContent = find("copy-recipe").dataset.copy = recipe;
    find("activity").replaceChildren(...result.activity.map(activityRow));
    find("placeholder").hidden = true;
    find("outcome").hidden = false;
  }
}

function request(form, chosen) {
  const adapters = [...chosen.children].map((item) => ({
    id: Number(item.dataset.adapter),
    strength: Number(item.querySelector("input").value),
  }));
  const asked = {
    prompt: form.prompt.value,
    mode: form.mode.value,
    seed: Number(form.seed.value),
    steps: Number(form.steps.value),
  };
  if (adapters.length) asked.adapters = adapters;
  if (chosen.dataset.baseModel) asked.base_model = chosen.dataset.baseModel;
  else asked.k = Number(form.k.value);
  if (!adapters.length && form.base_model) asked.base_model = form.base_model.value;
  return asked;
}

function activityRow(used) {
  const row = document.createElement("div");
  const name = document.createElement("dt");
  const link = document.createElement("a");
  link.href = `/adapters/${used.id}`;
  link.textContent = name.title = visible(used.name);
  name.append(link);
  const value = document.createElement("dd");
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = used.mean === null ? "–" : `${Math.round(100 * used.mean)} %`;
  const svg = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(svg, "svg");
  picture.setAttribute("class", "bar weights");
  picture.setAttribute("viewBox", "0 0 100 6");
  picture.setAttribute("preserveAspectRatio", "none");
  for (const [kind, width] of [["track", 100], ["fill", 100 * (used.mean ?? 0)]]) {
    const rect = document.createElementNS(svg, "rect");
    rect.setAttribute("class", kind);
    rect.setAttribute("width", width);
    rect.setAttribute("height", 6);
    picture.append(rect);
  }
  value.append(picture, number);
  row.append(name, value);
  return row;
}

// As the server does in its pages: signs that turn the direction of text, or hide, are written out.
function visible(text) {
  return text.replace(/(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (sign) => `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`);
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}

// A page's address may have changed since the page was made.
function startLanguage(link) {
  link.addEventListener("click", () => {
    const asked = new URLSearchParams(location.search);
    asked.set("lang", new URLSearchParams(link.search).get("lang"));
    link.search = asked;
  });
}

// `/` leads to the search box, and Ctrl+Enter draws what is chosen.
function startKeys() {
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input:not([type=checkbox], [type=range]), textarea, select");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const box = [...document.querySelectorAll("input[type=search]")].find((one) => one.checkVisibility());
      if (!box) return;
      event.preventDefault();
      box.focus();
      box.select();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const form = document.getElementById("fuse") ?? document.getElementById("tray");
      if (!form?.checkVisibility()) return;
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

startCopying();
startKeys();
startLanguage(document.querySelector(".language"));
const byPicture = document.getElementById("by-picture");
if (byPicture) startPictures(byPicture);
const studio = document.getElementById("fuse");
if (studio) startStudio(studio);
