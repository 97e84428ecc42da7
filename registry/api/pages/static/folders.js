// Sending files to one's own folders, and watching how far a refresh is.
"use strict";

const list = document.getElementById("folders");
const drop = document.getElementById("drop");
const sending = document.getElementById("sending");

// The list as the server told it last, and as it is shown.
let latest = null;
let shown = null;
let stopListening = () => {};

function follow() {
  stopListening();
  stopListening = listenToPart("/folders/events", (html) => {
    latest = html;
    show();
  });
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
      if (request.status < 300) say_(drop.dataset.sent, { name: file.name });
      else {
        line.className = "note bad";
        tell(JSON.parse(request.responseText).detail);
      }
      say(line.textContent);
      done();
    });
    request.addEventListener("error", () => { line.className = "note bad"; tell(drop.dataset.lost); done(); });
    request.send(file);
  });
}

async function sendAll(files) {
  for (const file of files) await send(file);
  follow();
}

drop.querySelector("input").addEventListener("change", (event) => sendAll([...event.target.files]));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  sendAll([...event.dataTransfer.files]);
});
follow();
