
"use strict";
const EVERY_MS = 5000;
const pause = document.getElementById("pause");
const freshness = document.getElementById("freshness");
const trouble = document.getElementById("trouble");
let paused = false;

function each(kind, values, show) {
  for (const element of document.querySelectorAll(`[data-${kind}]`)) {
    const value = values[element.dataset[kind]];
    if (value !== undefined) show(element, value);
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

async function update() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(`${location.pathname.replace(/\/+$/, "")}.json`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const values = await answer.json();
    if (values.shape !== document.body.dataset.shape) return location.reload();
    each("text", values.texts, setText);
    each("line", values.lines, (line, points) => line.setAttribute("points", points));
    each("state", values.states, (element, [state, fine]) => {
      setText(element, state);
      element.dataset.fine = fine;
    });
    setText(freshness, `Updated at ${new Date().toLocaleTimeString()}.`);
    setText(trouble, "");
  } catch {
    setText(trouble, "No answer: the figures below are old.");
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  setText(freshness, paused ? "Updates are paused." : "");
  update();
});
document.addEventListener("visibilitychange", update);
setInterval(update, EVERY_MS);
update();
