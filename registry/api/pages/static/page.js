// Copying, searching by a picture, and hearing from the server.
"use strict";

// Tell those who hear a page.
function say(text) {
  document.getElementById("said").textContent = text;
}

// What to say where an answer is no success. A proxy before the server answers in HTML.
function problemOf(status, text) {
  // What the server says is for programs.
  if (status === 401) return { status, detail: document.body.dataset.loggedOut };
  try {
    const { detail, title } = JSON.parse(text);
    if (detail || title) return { status, detail: detail || title };
  } catch { /* as above */ }
  return { status, detail: document.body.dataset.noReason.replace("{status}", status) };
}

// Say it where there is a place for it; with nothing to say, hide the place.
function showProblem(place, { status, detail }) {
  place.textContent = detail;
  place.hidden = !detail;
  if (status === 401) place.append(" ", logInLink());
}

// To where one logs in, and back to this page as its address is by then.
function logInLink() {
  const link = Object.assign(document.createElement("a"), { href: "/login", textContent: document.body.dataset.logIn });
  link.addEventListener("click", () => {
    link.search = new URLSearchParams({ next: location.pathname + location.search });
  });
  return link;
}

function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const shown = button.querySelector("[data-label]") ?? button;
    const label = shown.textContent;
    const { copied, notCopied } = { ...document.body.dataset, ...button.dataset };
    let isCopied = true;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Clipboards need https or localhost; elsewhere this still works.
      const area = Object.assign(document.createElement("textarea"), { className: "hidden" });
      area.value = button.dataset.copy;
      button.after(area);
      area.select();
      isCopied = document.execCommand("copy");
      area.remove();
      button.focus({ preventScroll: true });
    }
    if ([copied, notCopied].includes(label)) return;
    shown.textContent = isCopied ? copied : notCopied;
    // Whose it is, where the button says that; not all that was copied, which may be a whole recipe.
    say(button.textContent);
    setTimeout(() => { shown.textContent = label; }, 1500);
  });
}

// Some systems know no type of a recipe's file.
function isOurs(file) {
  return file.type.startsWith("image/") || file.type === "application/json" || /\.json$/i.test(file.name);
}

// What "Copy recipe" copies, as the file that it would be; nothing of any other text.
function copiedRecipe(text) {
  try {
    const told = JSON.parse(text);
    if (!("schema" in told && Array.isArray(told.adapters))) return [];
  } catch {
    return [];
  }
  return [new File([text], "recipe.json", { type: "application/json" })];
}

function isTyping(event) {
  return event.target.matches("input:not([type=checkbox], [type=range]), textarea, select");
}

// Keys that an input method takes: they choose among its words, or put them away. Safari tells it by
// the code alone.
function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

// Spreadsheets and office programs copy a picture of their text beside it; beside a file that was
// copied there is only its name, as text.
function namesFile(text, files) {
  return [...files].some((file) => text.trim().endsWith(file.name));
}

// What is dragged within the page, such as a picture of its own, which browsers list among files, is
// for none of those who take what is dropped: they listen here too, and after this. What comes from
// outside starts elsewhere.
function startDragging() {
  let isOwn = false;
  document.addEventListener("dragstart", (event) => { isOwn = !event.defaultPrevented; });
  document.addEventListener("dragend", () => { isOwn = false; });
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => { if (isOwn) event.stopImmediatePropagation(); });
  }
}

// A picture, or a recipe, that is dropped or pasted anywhere on a page is searched for.
function startPictures(form) {
  const input = form.querySelector('input[type="file"]');
  const take = (event, files) => {
    if (!files.length) return;
    // The browser would leave the page to show what it is given.
    event.preventDefault();
    const picture = [...files].find(isOurs);
    if (!picture) return refusePicture({ detail: noPicture.dataset.pattern.replace("{name}", () => visible(files[0].name)) });
    const chosen = new DataTransfer();
    chosen.items.add(picture);
    input.files = chosen.files;
    if (document.getElementById("fuse")) fillStudio(form, picture);
    else form.submit();
  };
  document.addEventListener("dragover", (event) => {
    // Text is for the field that it is dropped on.
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  for (const over of ["dragend", "drop", "dragleave"]) {
    document.addEventListener(over, () => document.body.classList.remove("dropping"));
  }
  document.addEventListener("drop", (event) => take(event, event.dataTransfer.files));
  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    const text = event.clipboardData.getData("text/plain");
    const isText = isTyping(event) && text && !namesFile(text, files);
    take(event, files.length && !isText ? files : copiedRecipe(text));
  });
}

function refusePicture(problem) {
  showProblem(noPicture, problem);
  noPicture.scrollIntoView({ block: "nearest" });
}

// On the page that fuses a picture, or its recipe, stands for how it was made. What it cannot be filled in with, such
// as an adapter that is not here, the page of the picture tells.
async function fillStudio(form, picture) {
  const sent = { method: "POST", body: picture };
  const answer = await fetch("/v1/search/picture", sent).catch(() => null);
  if (answer && !answer.ok) return refusePicture(problemOf(answer.status, await answer.text()));
  const told = await answer?.json();
  if (told?.fuse && !told.missing.length) location.assign(told.fuse);
  else form.submit();
}

// What the form of pages that search sends, for the others.
function pictureForm() {
  const form = Object.assign(document.createElement("form"), {
    action: "/picture", method: "post", enctype: "multipart/form-data", hidden: true,
  });
  form.append(Object.assign(document.createElement("input"), { type: "file", name: "picture" }));
  document.body.append(form);
  return form;
}

// As the server does in its pages: signs that turn the direction of text, or hide, are written out.
function visible(text) {
  return text.replace(/(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (sign) => `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// A page's address may have changed since the page was made; and what it keeps, such as what was
// drawn on it, is there in the other language, too.
function startLanguage(link) {
  link.addEventListener("click", (event) => {
    const asked = new URLSearchParams(location.search);
    asked.set("lang", new URLSearchParams(link.search).get("lang"));
    link.search = asked;
    const isHere = !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (history.state && isHere) keepForNext(history.state);
  });
  const state = takeKept();
  if (state) history.replaceState(state, "");
}

// Browsers that keep nothing for pages go without.
function keepForNext(state) {
  try {
    sessionStorage.setItem("state", JSON.stringify(state));
  } catch { /* as above */ }
}

function takeKept() {
  try {
    const kept = sessionStorage.getItem("state");
    sessionStorage.removeItem("state");
    return JSON.parse(kept);
  } catch {
    return null;
  }
}

// How long a form waits for its answer. Where the page stays after all, for a download or because
// somebody stopped it, the form can be sent again then.
const PATIENCE = 30_000;

// Where an answer takes long, people press again: it would be done twice, or fail since it is done.
// Of forms that scripts send themselves, the window hears when they have.
function startSendingOnce() {
  const sent = new Set();
  window.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || (event.submitter?.formMethod || form.method) !== "post") return;
    if (sent.has(form)) return event.preventDefault();
    sent.add(form);
    setTimeout(() => sent.delete(form), PATIENCE);
  });
  // The browser may bring a page back as it was left.
  window.addEventListener("pageshow", () => sent.clear());
}

// `/` leads to the search box, on this page or the first one, and Ctrl+Enter draws what is chosen.
function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "/" && !isTyping(event) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const box = [...document.querySelectorAll("input[type=search]")].find((one) => one.checkVisibility());
      event.preventDefault();
      // The first page puts the focus there itself.
      if (!box) return location.pathname === "/" || location.assign("/");
      box.focus();
      box.select();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const form = document.getElementById("fuse") ?? document.getElementById("tray");
      if (!form?.checkVisibility()) return;
      event.preventDefault();
      // Who holds the keys down wants one image.
      if (!event.repeat) form.requestSubmit();
    }
  });
}

// Tell what the server tells by events of these names, until one that is the last of them; return
// what ends it. The browser asks again by itself when the line breaks, unless it is refused.
function listen(address, { more, last }, told, lost) {
  let events = null;
  function start() {
    // A browser has six connections for all pages of a server. One that nobody sees needs none: what
    // it missed is told when it is seen again.
    if (document.hidden) pause();
    else events ??= open();
  }
  function open() {
    const opened = new EventSource(address);
    for (const name of [...more, ...last]) {
      opened.addEventListener(name, (event) => {
        if (last.includes(name)) stop();
        told(event.data, name);
      });
    }
    opened.addEventListener("error", () => {
      if (opened.readyState !== EventSource.CLOSED) return;
      stop();
      lost();
    });
    return opened;
  }
  function pause() {
    events?.close();
    events = null;
  }
  function stop() {
    document.removeEventListener("visibilitychange", start);
    pause();
  }
  document.addEventListener("visibilitychange", start);
  start();
  return stop;
}

// How long a server that has too much to do is left alone, and how it, or a proxy, says that it has.
const REST = 5000;
const BUSY = [429, 502, 503, 504];

// Return what a server answers, asking until it has the time to.
async function insist(address) {
  for (;;) {
    const answer = await fetch(address).catch(() => null);
    if (answer && !BUSY.includes(answer.status)) return answer;
    await new Promise((done) => setTimeout(done, REST));
  }
}

// Tell how a part of the page looks by now, and whether that is the last of it; return what ends it.
function listenToPart(address, told) {
  let stop;
  let ended = false;
  const start = () => {
    stop = listen(address, { more: ["changed"], last: ["last"] }, (html, name) => told(html, name === "last"), async () => {
      // A server that has too much to do refuses, and may not later; who is logged out is refused for good.
      const answer = await insist(address);
      answer.body?.cancel();
      if (answer.ok && !ended) start();
    });
  };
  start();
  return () => {
    ended = true;
    stop();
  };
}

// By the clock of who reads; what the server wrote is kept beside it.
function showTimes(place) {
  for (const time of place.querySelectorAll("time:not([title])")) {
    const moment = new Date(time.dateTime);
    time.title = time.textContent;
    time.textContent = new Date(moment - 60_000 * moment.getTimezoneOffset()).toISOString().slice(0, 16).replace("T", " ");
  }
}

// Tell how far a refresh is that was under way when the page was made.
function startIndexing(place) {
  listenToPart("/indexing/events", (html, isLast) => {
    if (!isLast) {
      place.innerHTML = html;
      return;
    }
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = place.dataset.done;
    place.firstElementChild.replaceChildren(link);
    say(link.textContent);
  });
}

showTimes(document);
startCopying();
const indexing = document.getElementById("indexing");
if (indexing) startIndexing(indexing);
startKeys();
startSendingOnce();
// What answers a form is in one language.
const otherLanguage = document.querySelector(".language");
if (otherLanguage) startLanguage(otherLanguage);
const noPicture = document.getElementById("no-picture");
startDragging();
// Own folders take files of another kind.
if (!document.getElementById("drop")) startPictures(document.getElementById("by-picture") ?? pictureForm());
