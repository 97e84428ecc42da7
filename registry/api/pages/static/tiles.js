// What tiles do beside being links: a larger look at covers, a way among them by arrows, stars.
"use strict";

// How long one points at a tile before its covers come up.
const PREVIEW_AFTER = 400;

function startPreviews() {
  const panel = document.createElement("div");
  panel.className = "preview";
  // The tile says all of it in words.
  panel.setAttribute("aria-hidden", "true");
  panel.hidden = true;
  document.body.append(panel);
  let wanted = null;
  let timer = 0;

  function want(card) {
    if (card === wanted) return;
    wanted = card;
    clearTimeout(timer);
    if (card) timer = setTimeout(show, PREVIEW_AFTER, card);
    else panel.hidden = true;
  }

  function show(card) {
    const cover = card.querySelector("[data-covers]");
    const isVeiled = cover?.matches(".veiled") && !cover.querySelector(".reveal input").checked;
    panel.hidden = !cover || isVeiled || window.innerWidth < 900;
    if (panel.hidden) return;
    const [first, ...others] = cover.dataset.covers.trim().split(" ");
    const more = document.createElement("div");
    more.append(...others.map(imageOf));
    panel.replaceChildren(imageOf(first.replace("&thumbnail=1", "")), ...(others.length ? [more] : []));
    place(card.getBoundingClientRect());
  }

  // Beside the tile, where there is more room, and within the window.
  function place(tile) {
    const { width, height } = panel.getBoundingClientRect();
    const right = window.innerWidth - tile.right > tile.left;
    panel.style.left = `${Math.max(8, right ? Math.min(tile.right + 10, window.innerWidth - width - 8) : tile.left - width - 10)}px`;
    panel.style.top = `${Math.max(8, Math.min(tile.top, window.innerHeight - height - 8))}px`;
  }

  function imageOf(address) {
    const image = Object.assign(document.createElement("img"), { className: "picture", alt: "" });
    image.src = address;
    return image;
  }

  // It lies over other tiles: a click is meant for what is below.
  panel.addEventListener("click", (event) => {
    panel.hidden = true;
    // With the keys that were held: they open another tab.
    document.elementFromPoint(event.clientX, event.clientY)?.dispatchEvent(new MouseEvent("click", event));
  });
  const cardOf = (event) => event.target.closest?.(".card");
  document.addEventListener("pointerover", (event) => {
    // A finger that scrolls does not point.
    if (event.pointerType === "mouse" && !panel.contains(event.target)) want(cardOf(event));
  });
  document.addEventListener("focusin", (event) => want(event.target.matches("h3 a") ? cardOf(event) : null));
  document.addEventListener("scroll", () => { panel.hidden = true; }, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !isComposing(event)) { clearTimeout(timer); panel.hidden = true; }
  });
}

// From a tile's name the arrows lead to the tiles around it.
function startArrows() {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    const link = event.target.closest?.(".card h3 a");
    if (!step || !link || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const links = [...document.querySelectorAll(".card h3 a")];
    const next = step[0] ? links[links.indexOf(link) + step[0]] : nearest(links, link, step[1]);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}

// The tile of the next row, above or below, that is most in line with this one.
function nearest(links, link, direction) {
  const boxOf = (one) => one.closest(".card").getBoundingClientRect();
  const own = boxOf(link);
  const beyond = links.filter((one) => direction * (boxOf(one).top - own.top) > 1);
  const rows = beyond.map((one) => direction * boxOf(one).top);
  const row = beyond.filter((one) => direction * boxOf(one).top - Math.min(...rows) < 1);
  return row.sort((a, b) => Math.abs(boxOf(a).left - own.left) - Math.abs(boxOf(b).left - own.left))[0];
}

// Stars mark without leaving the page; without this script they are forms that lead to the adapter.
function startStars() {
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.star) return;
    event.preventDefault();
    const button = form.querySelector("button");
    const marks = form.elements.starred.value !== "";
    const answer = await fetch(`/v1/favourites/${form.dataset.star}`, {
      method: marks ? "PUT" : "DELETE",
      headers: { "Content-Type": "application/json" },
      body: marks ? "{}" : undefined,
    }).catch(() => null);
    // The server's own answer says what went wrong.
    if (!answer?.ok) return form.submit();
    form.elements.starred.value = marks ? "" : "yes";
    button.setAttribute("aria-pressed", marks);
    say(fill(marks ? form.dataset.kept : form.dataset.dropped, form.dataset));
  });
}

if (document.querySelector(".card")) {
  startStars();
  startPreviews();
  startArrows();
}
