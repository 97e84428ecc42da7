// Sending files to one's own folders, and watching how far a refresh is.
"use strict";

const list = document.getElementById("folders");
const drop = document.getElementById("drop");
const sending = document.getElementById("sending");
const { colon } = drop.dataset;

// The list as the server told it last, and as it is shown.
let latest = null;
let shown = null;
let stopListening = () => {};
// Files that were sent, each with the line that says that it is being read.
let unread = [];

function follow() {
  stopListening();
  // Of what is sent from now on, the last word may know nothing.
  const sent = [...unread];
  stopListening = listenToPart("/folders/events", (html, isLast) => {
    latest = html;
    show();
    if (!isLast) return;
    tellRead(sent);
    unread = unread.filter((one) => !sent.includes(one));
  });
}

// Say of each of these files why it was not taken, as the list does, where that is folded up.
function tellRead(sent) {
  const told = document.createElement("template");
  told.innerHTML = latest;
  for (const { line, name } of sent) {
    const called = visible(`${drop.dataset.folder}/${name.replace(/\.safetensors$/i, "")}`);
    const problem = [...told.content.querySelectorAll("dt")].find((one) => one.textContent === called);
    if (problem) refuse(line, { detail: `${visible(name)}${colon}${problem.nextElementSibling.textContent}` });
    else line.remove();
  }
}

function refuse(line, problem) {
  line.className = "note bad";
  showProblem(line, problem);
  say(line.textContent);
}

// The server's own words name the file, and no others do.
function refuseAnswer(line, name, { status, responseText }) {
  const { detail } = problemOf(status, responseText);
  refuse(line, { status, detail: detail.includes(name) ? detail : `${visible(name)}${colon}${detail}` });
}

// Who is at a button keeps it until they leave the list; what has not changed stays as it is opened.
function show(at = document.activeElement) {
  if (latest === shown || list.contains(at)) return;
  list.innerHTML = shown = latest;
  showTimes(list);
}

list.addEventListener("focusout", (event) => show(event.relatedTarget));

// fetch does not tell how much was sent.
function send(file) {
  const line = document.createElement("li");
  const tell = (text) => { line.textContent = text; };
  const say_ = (pattern, values) => tell(pattern.replace(/\{(\w+)\}/g, (_, name) => values[name]));
  sending.append(line);
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/v1/folders/files?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      say_(drop.dataset.sending, { name: file.name, percent: Math.floor((100 * event.loaded) / event.total) });
    });
    request.addEventListener("load", () => {
      const isTaken = request.status < 300;
      if (isTaken) {
        say_(drop.dataset.sent, { name: file.name });
        say(line.textContent);
      } else refuseAnswer(line, file.name, request);
      done(isTaken && { line, name: file.name });
    });
    request.addEventListener("error", () => {
      refuse(line, { detail: `${visible(file.name)}${colon}${drop.dataset.lost}` });
      done();
    });
    request.send(file);
  });
}

// A browser tells no page where a folder is, and sends none.
function refuseFolder(name) {
  const line = document.createElement("li");
  sending.append(line);
  refuse(line, { detail: drop.dataset.isFolder.replace("{name}", () => visible(name)) });
}

async function sendAll(files) {
  for (const file of files) {
    const sent = await send(file);
    if (sent) unread.push(sent);
  }
  follow();
}

drop.querySelector("input").addEventListener("change", (event) => {
  sendAll([...event.target.files]);
  // A browser tells of no choice that is the one before.
  event.target.value = "";
});
// Text is for the field that it is dropped on.
const hasFiles = (event) => event.dataTransfer.types.includes("Files");
document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  const dropped = [...event.dataTransfer.items].filter((item) => item.kind === "file")
    .map((item) => ({ file: item.getAsFile(), isFolder: item.webkitGetAsEntry()?.isDirectory }));
  for (const { file } of dropped.filter((one) => one.isFolder)) refuseFolder(file.name);
  sendAll(dropped.filter((one) => !one.isFolder).map((one) => one.file));
});
follow();
