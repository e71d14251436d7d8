"use strict";
// What other people wrote (names, reasons) is shown as text, never as markup.
const $ = (id) => document.getElementById(id);
let picture = null; // a Blob
let asked = 0; // only the latest answer is shown

function element(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

async function call(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const detail = typeof body.detail === "string" ? body.detail : response.statusText;
    throw new Error(detail || `the service answered ${response.status}`);
  }
  return body;
}

function complain(error) {
  $("error").textContent = error ? error.message : "";
  $("error").hidden = !error;
}

function bars(list, answers) {
  list.replaceChildren(...answers.map(({ label, share }) => {
    const item = element("li");
    const bar = element("progress");
    bar.max = 1;
    bar.value = share;
    bar.setAttribute("aria-label", label);
    item.append(element("span", label), element("span", `${(100 * share).toFixed(1)} %`, "share"), bar);
    return item;
  }));
}

function verdict({ on, before, after }) {
  if (!on.length) return "Switch a patch on to compare.";
  const [was, is] = [before[0].label, after[0].label];
  return was === is
    ? `Both say ${was}: the patch does not change this answer.`
    : `The original says ${was}, the model now says ${is}.`;
}

function state(on) {
  $("state").textContent = on.length ? on.join(" + ") : "no patch";
  $("state").classList.toggle("on", on.length > 0);
}

async function label() {
  if (!picture) return;
  const mine = ++asked;
  try {
    const found = await call("/api/label", { method: "POST", body: picture });
    if (mine !== asked) return;
    complain(null);
    bars($("before"), found.before);
    bars($("after"), found.after);
    state(found.on);
    $("verdict").textContent = verdict(found);
  } catch (error) {
    if (mine !== asked) return;
    $("before").replaceChildren();
    $("after").replaceChildren();
    $("verdict").textContent = "";
    complain(error);
  }
  document.body.dataset.answers = String(mine);
}

function show(blob) {
  if (!blob) return;
  picture = blob;
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(blob);
  $("preview").hidden = false;
  $("hint").hidden = true;
  $("drop").classList.add("full");
  label();
}

async function flip(name, box) {
  try {
    const { on } = await call(`/api/patches/${encodeURIComponent(name)}`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ on: box.checked }),
    });
    complain(null);
    state(on);
    await label();
  } catch (error) {
    await refresh();
    complain(error);
  }
}

function row({ name, on, refused, forgets, layers }) {
  const item = element("li", "", refused ? "refused" : "");
  const box = element("input");
  box.type = "checkbox";
  box.checked = on;
  box.disabled = Boolean(refused) && !on;
  box.addEventListener("change", () => flip(name, box));
  const text = element("label", name);
  text.append(box);
  const what = forgets.length ? `forgets ${forgets.map((path) => path.split("/").pop()).join(", ")}` : "";
  item.append(text);
  if (refused) {
    const detail = element("details", "", "detail");
    detail.append(element("summary", "Cannot be used with this model"), element("p", refused));
    item.append(detail);
  } else {
    item.append(element("p", [what, layers.join(", ")].filter(Boolean).join(" \u00b7 "), "detail"));
  }
  return item;
}

async function refresh() {
  const found = await call("/api/patches");
  $("about").textContent = `${found.model}, zero-shot among ${found.classes} classes`;
  const rows = found.patches.map(row);
  $("patches").replaceChildren(...(rows.length ? rows : [element("li", "The folder has no patch yet.")]));
  state(found.patches.filter((each) => each.on).map((each) => each.name));
  return found;
}

function offer(samples) {
  $("samples").replaceChildren(...samples.map((name, number) => {
    const button = element("button");
    const image = element("img");
    image.src = `/api/samples/${number}`;
    image.alt = button.title = name;
    button.append(image);
    button.addEventListener("click", async () => show(await (await fetch(image.src)).blob()));
    return button;
  }));
}

$("file").addEventListener("change", () => show($("file").files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") show(event.dataTransfer.files[0]);
  });
}
$("drop").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") $("file").click();
});
window.addEventListener("focus", () => refresh().catch(complain)); // the folder may have new files
refresh().then((found) => {
  offer(found.samples);
  document.body.dataset.ready = "true";
}).catch(complain);
